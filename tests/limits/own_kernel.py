"""A kernel of the tests' own: user-mode Linux, on this machine's files, read-only.

Its cgroups have all controllers, whatever this machine does with its own. Debian has it in the
package user-mode-linux. It is a program like any other: no privilege is needed to run it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["IN_KERNEL", "kernel", "run_in_kernel"]

IN_KERNEL = "PTYKILL_TEST_IN_KERNEL"
"""The variable that is set there."""
_VARIABLES = f"PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {IN_KERNEL}=1"
_MEMORY = "768M"
_INIT = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run
export {environment}
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs dev /dev -o mode=755
for each in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "/dev/${{each%:*}}" c 1 "${{each#*:}}"
done
mknod -m 666 /dev/tty c 5 0
ln -s /proc/self/fd /dev/fd
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts -o ptmxmode=666
ln -s pts/ptmx /dev/ptmx
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
cd {folder}
{command} </dev/null
echo "{mark} $?"
echo o >/proc/sysrq-trigger
sleep 60
"""
_MARK = "exit status in the kernel:"


def kernel() -> str | None:
    """Return the path of the kernel; None if there is none."""
    return os.environ.get("PTYKILL_TEST_KERNEL") or shutil.which("linux.uml")


def run_in_kernel(command: Sequence[str], folder: Path, seconds: float) -> tuple[int, str]:
    """Run a command in the kernel; return its exit status, -1 if it had none, and its output.

    It runs as root, on this machine's files, which it can't write to; /run is its own.
    """
    program = kernel()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="ptykill-kernel-") as own:
        init = Path(own, "init")
        init.write_text(
            _INIT.format(
                environment=_VARIABLES,
                folder=shlex.quote(str(folder)),
                command=shlex.join(command),
                mark=_MARK,
            )
        )
        init.chmod(0o755)
        arguments = [
            "root=/dev/root",
            "rootfstype=hostfs",
            "rootflags=/",
            "ro",
            f"mem={_MEMORY}",
            "con=null",
            "con0=null,fd:1",
            "quiet",
            f"uml_dir={own}",
            f"init={init}",
        ]
        with (
            tempfile.TemporaryFile() as output,
            subprocess.Popen(
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.defpath, "TMPDIR": own, **_marked()},
                start_new_session=True,  # It has processes of its own on this machine.
            ) as machine,
        ):
            try:
                with suppress(subprocess.TimeoutExpired):
                    machine.wait(seconds)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(machine.pid, signal.SIGKILL)
                machine.wait()
            output.seek(0)
            said = output.read().decode(errors="replace").replace("\r\n", "\n")
    _, found, status = said.rpartition(_MARK)
    return (int(status.split()[0]) if found else -1), said


def _marked() -> dict[str, str]:
    """Return the variables by which a test's processes are known."""
    return {name: value for name, value in os.environ.items() if name.startswith("PTYKILL_")}
