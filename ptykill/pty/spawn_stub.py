"""Spawning through a stub: a bare interpreter that becomes the leader. Any POSIX system.

It costs the start of an interpreter (some 15 ms), and is taken where `spawn_native` can't be. The
host starts the stub with posix_spawn(3), which does not copy its memory; what the stub has to do
between setsid(2) and execve(2) is then plain code in a process of its own. It is handed four
descriptors: 0 and 2 the terminal, 1 a pipe, 3 the working directory, if there is one. The
pipe says ``ready`` just before the exec, closes when that succeeds, and otherwise carries the stage
and the errno: a stub that dies on its way has not said that it was ready.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import sys

import trio

from ptykill.contract import Command
from ptykill.errors import SpawnError

__all__ = ["start"]

_STUB = """
import fcntl, os, signal, sys, termios
stage = "terminal"
try:
    pipe = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 4)
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    stage = "chdir"
    if sys.argv[1] == "chdir":
        os.fchdir(3)
    stage = "exec"
    os.dup2(0, 1)
    os.dup2(0, 2)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if sys.argv[2] == "no locale":
        os.environ.pop("LC_CTYPE", None)  # The interpreter's own doing (PEP 538).
    os.write(pipe, b"ready ")
    os.execve(sys.argv[3], sys.argv[4:], os.environ)
except OSError as error:
    os.write(pipe, f"{stage} {error.errno}".encode())
os._exit(127)
"""


async def start(program: str, command: Command, slave: int, directory: int | None) -> int:
    """Start the leader; return its pid. Raises `SpawnError`. Waits until the exec is done."""
    report, pipe = os.pipe()
    try:
        try:
            pid = _start_stub(program, command, [slave, pipe, slave, directory])
        finally:
            os.close(pipe)  # So that the report ends with the stub.
        try:
            said = await _read_all(report)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            _reap(pid)
            raise
    finally:
        os.close(report)
    if said == ["ready"]:
        return pid
    _reap(pid)
    if not said or said[0] not in ("ready", "terminal", "chdir", "exec"):
        raise SpawnError(errno.EIO, "the stub died on its way", "exec", command.args[0])
    stage, number = said[-2], int(said[-1])
    name = command.cwd or "" if stage == "chdir" else command.args[0]
    raise SpawnError(number, os.strerror(number), stage, name)


def _start_stub(program: str, command: Command, handed: list[int | None]) -> int:
    """Start the stub with these as its descriptors 0, 1, 2 … (None: it is not handed one)."""
    where = "stay" if handed[-1] is None else "chdir"
    locale = "locale" if "LC_CTYPE" in command.env else "no locale"
    with contextlib.ExitStack() as copies:
        actions = []
        for number, fd in enumerate(handed):
            if fd is not None:
                # Out of the way of 0 to 3, onto which they are duplicated one after the other.
                copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
                copies.callback(os.close, copy)
                actions.append((os.POSIX_SPAWN_DUP2, copy, number))
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", _STUB, where, locale, program, *command.args],
            command.env,
            file_actions=actions,
        )


async def _read_all(report: int) -> list[str]:
    said = b""
    while True:
        await trio.lowlevel.wait_readable(report)
        more = os.read(report, 64)
        if not more:
            return said.decode().split()
        said += more


def _reap(pid: int) -> None:
    """Reap the stub, which is dead or dying; a host that ignores SIGCHLD has done it already."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
