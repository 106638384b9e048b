"""Run a program as an ordinary user, who can read this interpreter wherever it is installed.

``python ordinary.py COMMAND [ARGUMENT ...]``, as root. In a mount namespace of its own, folders
that keep the user from the interpreter, the tests or the package are replaced by ones that don't.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

NOBODY = 65_534
_NEWNS, _BIND, _REC, _PRIVATE = 0x20000, 4096, 16384, 1 << 18  # <sched.h>, <sys/mount.h>


def main(*command: str) -> None:
    """Become that user, and execute the command."""
    libc = ctypes.CDLL(None, use_errno=True)

    def checked(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    checked(libc.unshare(_NEWNS))
    checked(libc.mount(b"none", b"/", None, _REC | _PRIVATE, None))
    for blocked, wanted in in_the_way().items():
        held = {path: os.open(path, os.O_PATH) for path in wanted}
        checked(libc.mount(b"none", os.fsencode(blocked), b"tmpfs", 0, b"mode=755"))
        for path, fd in held.items():
            if Path(f"/proc/self/fd/{fd}").is_dir():
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.touch()
            source = f"/proc/self/fd/{fd}".encode()
            checked(libc.mount(source, os.fsencode(path), None, _BIND | _REC, None))
            os.close(fd)
    os.chdir("/")
    # The rest of root's work in that namespace: it needs /proc until here.
    subprocess.run(["sh", "-c", os.environ.pop("PTYKILL_TEST_VIEW", ":")], check=True)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.execv(command[0], command)


def in_the_way() -> dict[Path, set[Path]]:
    """Return the folders that others may not enter, and the paths needed below each."""
    found: dict[Path, set[Path]] = {}
    executable = Path(sys.executable).resolve()
    here = Path(__file__).resolve().parents[2]
    for path in Path(sys.prefix), Path(sys.base_prefix), executable.parents[1], here:
        for folder in [*reversed(path.parents), path]:
            if not folder.stat().st_mode & 1:
                found.setdefault(folder, set()).update({path} if path != folder else path.iterdir())
                break
    return found


@cache
def ordinary_user() -> tuple[str, ...] | None:
    """Return the prefix that runs a command as an ordinary user; None if that can't be done."""
    if os.geteuid():
        return ()
    wrapper = (sys.executable, __file__)
    probe = [*wrapper, sys.executable, "-c", "import ptykill"]
    done = subprocess.run(probe, capture_output=True, check=False, timeout=60)
    return None if done.returncode else wrapper


if __name__ == "__main__":
    main(*sys.argv[1:])
