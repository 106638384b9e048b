"""How a process becomes the leader of a session.

Most leaders are born by posix_spawn(3), in one call: Python's own in a keeper (`bear`), the C
library's in a host (`bear_beside`, `kernel.spawn`). What that can't do, an embryo does: a process
with one thread, whose way from setsid(2) to execve(2) is plain code. A keeper forks it; where there
is no keeper, the host starts it as a program. It tells over a descriptor how it went: ``ready``
just before the exec, and then nothing, since the exec closes that; or the stage that failed and its
errno. An embryo that dies on its way has not said that it was ready.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fcntl import ioctl
from functools import partial
from typing import NoReturn, TypedDict, TypeVar

from ptykill.system.kernel import posix_spawn, syscalls

__all__ = [
    "Failed",
    "Order",
    "be_born",
    "bear",
    "bear_beside",
    "find_program",
    "outcome",
    "plain",
]

T = TypeVar("T")

STAGES = ("terminal", "limits", "user", "chdir", "exec")
"""What may fail, in the order of trying."""
READY = b"ready "
_SHELL = b"/bin/sh"
_SIGNALS = signal.valid_signals()
_EFFECTIVE = os.access in os.supports_effective_ids


class Order(TypedDict):
    """What is to be born: a command, and its attributes (see `Attributes`)."""

    args: Sequence[bytes]
    env: Mapping[bytes, bytes]
    cwd: bytes | None
    uid: int | None
    gid: int | None
    groups: Sequence[int] | None
    umask: int | None
    limits: Mapping[str, tuple[int, int]] | None
    nice: int | None
    death_signal: int | None


class Failed(OSError):
    """There was no birth. ``stage`` is the one of `STAGES` that failed."""

    def __init__(self, number: int, stage: str) -> None:
        super().__init__(number, os.strerror(number))
        self.stage = stage


_PLAIN = ("uid", "umask", "limits", "nice", "death_signal")
"""Attributes that posix_spawn(3) does not know."""


def plain(order: Order) -> bool:
    """Return whether posix_spawn(3) can do it."""
    return all(order[name] is None for name in _PLAIN)  # type: ignore[literal-required]


def bear(order: Order, terminal: int, directory: int, stdin: int | None = None) -> int:
    """Have a child become what the order says; return its pid. Raises `Failed`.

    ``directory`` is where it starts from; ``stdin``, which is above 2, becomes its descriptor 0 in
    place of the terminal. Blocks until the exec is done; for a process with one
    thread, no descriptor that is inherited, and no use for its working directory.
    """
    path = posix_spawn.terminal_path(terminal)
    if path is None or not plain(order):
        return _fork_embryo(order, terminal, directory, stdin)
    stage = "chdir"
    try:
        os.fchdir(directory)  # Not by its name: it may have none any more.
        if order["cwd"] is not None:
            os.chdir(order["cwd"])
        stage = "exec"
        program = find_program(order["args"][0], order["env"].get(b"PATH"))

        def start(file: bytes, arguments: Sequence[bytes]) -> int:
            # A session leader's first terminal is its controlling one (`kernel.spawn`).
            return os.posix_spawn(
                file,
                [*arguments],
                order["env"],
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, path, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 0, 1),
                    (os.POSIX_SPAWN_DUP2, 0, 2),
                    *([] if stdin is None else [(os.POSIX_SPAWN_DUP2, stdin, 0)]),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_SIGNALS,
            )

        return _by_shell_if_script(start, program, order["args"])
    except NotImplementedError:
        # This Python was built where the C library had no POSIX_SPAWN_SETSID (glibc before 2.26),
        # as are those that are to run everywhere; the one that it runs with may have it.
        if posix_spawn.available():
            return bear_beside(order, path, directory, stdin)
        return _fork_embryo(order, terminal, directory, stdin)
    except OSError as error:
        raise _failed(error, stage, path) from None
    finally:
        os.chdir("/")


def _failed(error: OSError, stage: str, terminal: bytes) -> Failed:
    """Return what a failure means: posix_spawn(3) does not tell which of its parts failed."""
    number = error.errno or errno.EIO
    if stage == "exec":
        try:
            os.close(os.open(terminal, os.O_RDWR | os.O_NOCTTY))
        except OSError as refused:
            # Here it may be for want of descriptors; there it had them.
            if refused.errno == number:
                stage = "terminal"
    return Failed(number, stage)


def bear_beside(
    order: Order, terminal: bytes, directory: int | None, stdin: int | None = None
) -> int:
    """As `bear`, for a plain order, and any process, whatever it has and does: `kernel.spawn`.

    ``terminal`` is the path of the slave.
    """
    held = None
    try:
        if order["cwd"] is not None:
            try:
                # Held open, so that what is checked is what the child enters.
                held = os.open(
                    order["cwd"],
                    getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY,
                    dir_fd=directory,
                )
                if not may_execute(".", held):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError as error:
                raise Failed(error.errno or errno.EIO, "chdir") from None
        try:
            inside = directory if held is None else held
            program = find_program(order["args"][0], order["env"].get(b"PATH"), inside)

            def start(file: bytes, arguments: Sequence[bytes]) -> int:
                return posix_spawn.start(file, arguments, order["env"], terminal, inside, stdin)

            return _by_shell_if_script(start, program, order["args"], inside)
        except OSError as error:
            raise _failed(error, "exec", terminal) from None
    finally:
        if held is not None:
            os.close(held)


def _fork_embryo(order: Order, terminal: int, directory: int, stdin: int | None) -> int:
    report, told = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                be_born(order, terminal, directory, told, stdin)
            finally:
                os._exit(127)
        os.close(told)
        said = b""
        while more := os.read(report, 256):
            said += more
    finally:
        os.close(report)
    failure = outcome(said)
    if failure is not None:
        os.waitpid(pid, 0)
        raise failure
    return pid


def outcome(said: bytes) -> Failed | None:
    """Return what an embryo meant; None if it was born."""
    if said == READY:
        return None
    words = said.decode().split()
    if len(words) < 2 or words[-2] not in STAGES:
        return Failed(errno.EIO, "exec")  # It died on its way.
    return Failed(int(words[-1]), words[-2])


def be_born(
    order: Order, terminal: int, directory: int, told: int, stdin: int | None = None
) -> NoReturn:
    """Become what the order says. The caller leads a session, and has one thread."""
    stage = "terminal"
    try:
        ioctl(terminal, termios.TIOCSCTTY, 0)
        for fd in 0, 1, 2:
            os.dup2(terminal if fd or stdin is None else stdin, fd)
        os.fchdir(directory)  # Not by its name: it may have none any more.
        stage = "limits"
        for name, pair in (order["limits"] or {}).items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), pair)
        if order["nice"] is not None:
            os.setpriority(os.PRIO_PROCESS, 0, order["nice"])
        stage = "user"
        if order["uid"] is not None and order["gid"] is not None:
            os.setgroups(order["groups"] or ())
            os.setresgid(order["gid"], order["gid"], order["gid"])
            os.setresuid(order["uid"], order["uid"], order["uid"])
        stage = "chdir"
        if order["cwd"] is not None:
            os.chdir(order["cwd"])
        if order["umask"] is not None:
            os.umask(order["umask"])
        if order["death_signal"] is not None:
            _die_with_parent(order["death_signal"])
        stage = "exec"
        program = find_program(order["args"][0], order["env"].get(b"PATH"))
        _forget_the_parent(told)
        os.write(told, READY)
        _by_shell_if_script(partial(_execute, order["env"]), program, order["args"])
    except OSError as error:
        number = error.errno or errno.EIO
    except ValueError:  # setrlimit(2), EINVAL: a soft limit above the hard one, say.
        number = errno.EINVAL
    with suppress(OSError):
        os.write(told, f"{stage} {number}".encode())
    os._exit(127)


def find_program(name: bytes, path: bytes | None, directory: int | None = None) -> bytes:
    """Return the file that execvp(3) would take by a PATH, in a directory. Raises OSError.

    A name with a slash is left to the kernel.
    """
    if b"/" in name:
        return name
    number = errno.ENOENT
    for folder in (os.fsencode(os.defpath) if path is None else path).split(b":"):
        file = (folder or b".") + b"/" + name  # An empty entry means the working directory.
        # Asked in this order, most entries cost one call, and no exception.
        if not os.access(file, os.F_OK, dir_fd=directory):
            continue
        if stat.S_ISREG(os.stat(file, dir_fd=directory).st_mode):
            if may_execute(file, directory):
                return file
            number = errno.EACCES
    raise OSError(number, os.strerror(number))


def _execute(
    environment: Mapping[bytes, bytes], program: bytes, arguments: Sequence[bytes]
) -> NoReturn:
    os.execve(program, [*arguments], environment)  # noqa: S606 - no shell is wanted


def _by_shell_if_script(
    start: Callable[[bytes, Sequence[bytes]], T],
    program: bytes,
    arguments: Sequence[bytes],
    directory: int | None = None,
) -> T:
    """Start a program; if it is a script that does not name its interpreter, start sh(1) with it.

    So does execvp(3), and hence every shell; execve(2) and posix_spawn(3) say ENOEXEC. A binary
    that this machine can't execute says the same, and is refused, as shells have it.
    """
    try:
        return start(program, arguments)
    except OSError as error:
        if error.errno != errno.ENOEXEC or not _is_text(program, directory):
            raise
    # Below the working directory, what begins with a dash would be an option.
    script = b"./" + program if program.startswith(b"-") else program
    return start(_SHELL, [_SHELL, script, *arguments[1:]])


def _is_text(program: bytes, directory: int | None) -> bool:
    """Return whether a file looks like a script: no NUL in its first line, as bash(1) has it."""
    try:
        file = os.open(program, os.O_RDONLY, dir_fd=directory)
    except OSError:
        return False  # sh(1) could not read it either.
    try:
        return b"\0" not in os.read(file, 256).partition(b"\n")[0]
    except OSError:
        return False
    finally:
        os.close(file)


def may_execute(file: bytes | str, directory: int | None) -> bool:
    """Return whether a program may be executed, or a folder entered, by whom we are."""
    return os.access(file, os.X_OK, dir_fd=directory, effective_ids=_EFFECTIVE)


def _die_with_parent(number: int) -> None:
    parent = os.getppid()
    syscalls.die_with_parent(number)
    if os.getppid() != parent:  # It died just before, and would not be noticed.
        os.kill(os.getpid(), number)


def _forget_the_parent(told: int) -> None:
    """Close every descriptor but the terminal's and the one that tells; no signal stays ignored.

    What is ignored stays ignored across execve(2), and what is blocked, blocked.
    """
    os.closerange(3, told)
    os.closerange(told + 1, os.sysconf("SC_OPEN_MAX"))
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
