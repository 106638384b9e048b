"""Starts the leader of a session: a child with the terminal, the attributes and the command.

Most leaders are started by posix_spawn(3), in one call: Python's own in a keeper (`start_leader`),
the C library's in a host (`start_leader_by_posix_spawn`). Attributes that posix_spawn(3) does not
know need a stub: a process with one thread that calls setsid(2), sets them, and calls execve(2)
(`exec_leader`). A keeper forks the stub; without a keeper, the host starts it as a program.

The stub reports over a pipe. It writes ``ready`` just before the exec, which closes the pipe; or
the stage that failed, and the errno. A stub that dies on its way writes nothing.
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

from ptykill.system.kernel import cgroup, posix_spawn, syscalls

__all__ = [
    "Order",
    "StartFailed",
    "exec_leader",
    "failure_of_stub",
    "find_program",
    "is_plain",
    "start_leader",
    "start_leader_by_posix_spawn",
]

T = TypeVar("T")

STAGES = ("terminal", "limits", "user", "chdir", "exec")
"""The stages of a start that can fail, in their order."""
READY = b"ready "
_SHELL = b"/bin/sh"
_SIGNALS = signal.valid_signals()
_EFFECTIVE = os.access in os.supports_effective_ids


class Order(TypedDict):
    """What to start: a command, and its attributes (see `Attributes`)."""

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
    cgroup: str | None
    """The path of the cgroup that the leader enters; None for that of its parent."""


class StartFailed(OSError):
    """No leader was started. ``stage`` is the one of `STAGES` that failed."""

    def __init__(self, number: int, stage: str) -> None:
        super().__init__(number, os.strerror(number))
        self.stage = stage


_PLAIN = ("uid", "umask", "limits", "nice", "death_signal", "cgroup")
"""Attributes that posix_spawn(3) does not know."""


def is_plain(order: Order) -> bool:
    """Return whether posix_spawn(3) can carry out the order."""
    return all(order[name] is None for name in _PLAIN)  # type: ignore[literal-required]


def start_leader(order: Order, terminal: int, directory: int, stdin: int | None = None) -> int:
    """Start the leader that the order describes; return its pid. Raises `StartFailed`.

    ``directory`` is a descriptor of its first directory; ``stdin``, which is above 2, becomes its
    descriptor 0 in place of the terminal. Blocks until the exec is done. The caller has one thread
    and no descriptor that is inherited; its working directory is ``/`` afterwards.
    """
    path = posix_spawn.terminal_path(terminal)
    if path is None or not is_plain(order):
        return _fork_stub(order, terminal, directory, stdin)
    stage = "chdir"
    try:
        os.fchdir(directory)  # Not by its name: it may have none any more.
        if order["cwd"] is not None:
            os.chdir(order["cwd"])
        stage = "exec"
        program = find_program(order["args"][0], order["env"].get(b"PATH"))

        def start(file: bytes, arguments: Sequence[bytes]) -> int:
            # A session leader's first terminal is its controlling one (`kernel.posix_spawn`).
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
        # This Python was built with a C library that has no POSIX_SPAWN_SETSID (glibc before 2.26),
        # as portable builds are. The C library that it runs with may have it.
        if posix_spawn.available():
            return start_leader_by_posix_spawn(order, path, directory, stdin)
        return _fork_stub(order, terminal, directory, stdin)
    except OSError as error:
        raise _start_failed(error, stage, path) from None
    finally:
        os.chdir("/")


def _start_failed(error: OSError, stage: str, terminal: bytes) -> StartFailed:
    """Find out which stage failed, since posix_spawn(3) does not say."""
    number = error.errno or errno.EIO
    if stage == "exec":
        try:
            os.close(os.open(terminal, os.O_RDWR | os.O_NOCTTY))
        except OSError as refused:
            # Another errno says nothing: this process may lack descriptors that the child had.
            if refused.errno == number:
                stage = "terminal"
    return StartFailed(number, stage)


def start_leader_by_posix_spawn(
    order: Order, terminal: bytes, directory: int | None, stdin: int | None = None
) -> int:
    """As `start_leader`, for a plain order, in any process: threads and descriptors do no harm.

    ``terminal`` is the path of the slave.
    """
    held = None
    try:
        if order["cwd"] is not None:
            try:
                # Held open, so that the directory checked here is the one that the child enters.
                held = os.open(
                    order["cwd"],
                    getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY,
                    dir_fd=directory,
                )
                if not may_execute(".", held):
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError as error:
                raise StartFailed(error.errno or errno.EIO, "chdir") from None
        try:
            inside = directory if held is None else held
            program = find_program(order["args"][0], order["env"].get(b"PATH"), inside)

            def start(file: bytes, arguments: Sequence[bytes]) -> int:
                return posix_spawn.start(file, arguments, order["env"], terminal, inside, stdin)

            return _by_shell_if_script(start, program, order["args"], inside)
        except OSError as error:
            raise _start_failed(error, "exec", terminal) from None
    finally:
        if held is not None:
            os.close(held)


def _fork_stub(order: Order, terminal: int, directory: int, stdin: int | None) -> int:
    read_end, write_end = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                exec_leader(order, terminal, directory, write_end, stdin)
            finally:
                os._exit(127)
        os.close(write_end)
        said = b""
        while more := os.read(read_end, 256):
            said += more
    finally:
        os.close(read_end)
    failure = failure_of_stub(said)
    if failure is not None:
        os.waitpid(pid, 0)
        raise failure
    return pid


def failure_of_stub(said: bytes) -> StartFailed | None:
    """Return the failure that a stub reported; None if it reached its exec."""
    if said == READY:
        return None
    words = said.decode().split()
    if len(words) < 2 or words[-2] not in STAGES:
        return StartFailed(errno.EIO, "exec")  # It died before it reported.
    return StartFailed(int(words[-1]), words[-2])


def exec_leader(
    order: Order, terminal: int, directory: int, report: int, stdin: int | None = None
) -> NoReturn:
    """Become the command of an order. The caller leads a session, and has one thread."""
    stage = "terminal"
    try:
        ioctl(terminal, termios.TIOCSCTTY, 0)
        for fd in 0, 1, 2:
            os.dup2(terminal if fd or stdin is None else stdin, fd)
        os.fchdir(directory)  # Not by its name: it may have none any more.
        stage = "limits"
        _limit(order)
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
        _drop_inherited_state(report)
        os.write(report, READY)
        _by_shell_if_script(partial(_execute, order["env"]), program, order["args"])
    except OSError as error:
        number = error.errno or errno.EIO
    except ValueError:  # setrlimit(2), EINVAL: a soft limit above the hard one, say.
        number = errno.EINVAL
    with suppress(OSError):
        os.write(report, f"{stage} {number}".encode())
    os._exit(127)


def _limit(order: Order) -> None:
    if order["cgroup"] is not None:
        cgroup.write(f"{order['cgroup']}/cgroup.procs", "0")
    for name, pair in (order["limits"] or {}).items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), pair)
    if order["nice"] is not None:
        os.setpriority(os.PRIO_PROCESS, 0, order["nice"])


def find_program(name: bytes, path: bytes | None, directory: int | None = None) -> bytes:
    """Find a program in PATH as execvp(3) does, seen from a directory. Raises OSError.

    A name with a slash is returned as it is.
    """
    if b"/" in name:
        return name
    number = errno.ENOENT
    for folder in (os.fsencode(os.defpath) if path is None else path).split(b":"):
        file = (folder or b".") + b"/" + name  # An empty entry means the working directory.
        # In this order, most entries cost one system call, and no exception.
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
    """Start a program; start sh(1) with it if it is a script without a ``#!`` line.

    execvp(3) and every shell do so; execve(2) and posix_spawn(3) fail with ENOEXEC. A binary that
    this machine can't execute fails with ENOEXEC too, and stays refused, as shells do it.
    """
    try:
        return start(program, arguments)
    except OSError as error:
        if error.errno != errno.ENOEXEC or not _is_text(program, directory):
            raise
    # sh(1) would take a name with a dash in front for an option.
    script = b"./" + program if program.startswith(b"-") else program
    return start(_SHELL, [_SHELL, script, *arguments[1:]])


def _is_text(program: bytes, directory: int | None) -> bool:
    """Return whether a file looks like a script: no NUL in its first line, as bash(1) has it."""
    try:
        file = os.open(program, os.O_RDONLY, dir_fd=directory)
    except OSError:
        return False  # sh(1) can't read it either.
    try:
        return b"\0" not in os.read(file, 256).partition(b"\n")[0]
    except OSError:
        return False
    finally:
        os.close(file)


def may_execute(file: bytes | str, directory: int | None) -> bool:
    """Return whether this process may execute a program, or enter a folder."""
    return os.access(file, os.X_OK, dir_fd=directory, effective_ids=_EFFECTIVE)


def _die_with_parent(number: int) -> None:
    parent = os.getppid()
    syscalls.die_with_parent(number)
    if os.getppid() != parent:  # It died before prctl(2), which does not notice that.
        os.kill(os.getpid(), number)


def _drop_inherited_state(report: int) -> None:
    """Close every descriptor but 0, 1, 2 and the report's; reset signal dispositions and mask.

    Ignored signals stay ignored across execve(2), and blocked ones stay blocked.
    """
    os.closerange(3, report)
    os.closerange(report + 1, os.sysconf("SC_OPEN_MAX"))
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
