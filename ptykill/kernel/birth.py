"""How a process becomes the leader of a session: an embryo, which waits to be told, and execs.

It is a process with one thread, so what has to happen between setsid(2) and execve(2) is plain
code. A keeper forks it in advance; where there is no keeper, the host starts it as a program. It
has one socket, over which the host hands it the terminal, its own working directory, and a message:

    four bytes, big-endian    the length of the rest
    marshal                   arguments, environment, working directory, attributes

and which tells the host how it went: ``ready`` just before the exec, and then nothing, since the
exec closes the socket; or the stage that failed and its errno. An embryo that dies on its way has
not said that it was ready.
"""

from __future__ import annotations

import errno
import marshal
import os
import resource
import signal
import socket
import struct
import termios
from contextlib import suppress
from fcntl import ioctl
from typing import Any, NoReturn

from ptykill.kernel import passing

__all__ = ["STAGES", "Order", "be_born", "find_program", "packed"]

STAGES = ("terminal", "limits", "user", "chdir", "exec")
"""What may fail, in the order of trying."""

Order = dict[str, Any]
"""What the embryo is told: the names that `be_born` reads."""


def packed(order: Order) -> bytes:
    """Return the message that tells an embryo what to become."""
    data = marshal.dumps(order)
    return struct.pack(">I", len(data)) + data


def be_born(channel: socket.socket) -> NoReturn:
    """Wait for the order, and become what it says. The caller leads a session by now."""
    stage = "terminal"
    try:
        order, terminal, directory = _receive(channel)
        ioctl(terminal, termios.TIOCSCTTY, 0)
        for fd in 0, 1, 2:
            os.dup2(terminal, fd)
        os.fchdir(directory)  # Not by its name: it may have none any more.
        stage = "limits"
        for name, pair in (order["limits"] or {}).items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), pair)
        if order["nice"] is not None:
            os.setpriority(os.PRIO_PROCESS, 0, order["nice"])
        stage = "user"
        if order["uid"] is not None:
            os.setgroups(order["groups"])
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
        _forget_the_host(channel.fileno())
        channel.send(b"ready ")
        os.execve(program, order["args"], order["env"])  # noqa: S606 - no shell is wanted
    except OSError as error:
        _tell(channel, f"{stage} {error.errno or errno.EIO}")
    except ValueError:  # setrlimit(2), EINVAL: a soft limit above the hard one, say.
        _tell(channel, f"{stage} {errno.EINVAL}")
    os._exit(127)


def find_program(name: bytes, path: bytes | None, directory: bytes = b"") -> bytes:
    """Return the file that execvp(3) would take by a PATH, in a directory. Raises OSError.

    A name with a slash is left to the kernel.
    """
    if b"/" in name:
        return name
    number = errno.ENOENT
    for folder in (os.fsencode(os.defpath) if path is None else path).split(b":"):
        # An empty entry means the working directory.
        file = os.path.join(directory, folder or b".", name)
        if os.access(file, os.X_OK) and os.path.isfile(file):
            return os.path.abspath(file) if directory else file
        if os.path.isfile(file):
            number = errno.EACCES
    raise OSError(number, os.strerror(number))


def _receive(channel: socket.socket) -> tuple[Order, int, int]:
    data, fds = passing.receive(channel, 65_536, 2)
    if len(fds) != 2:  # The host is gone, or has no use for us any more.
        os._exit(0)
    (length,) = struct.unpack_from(">I", data)
    pieces, size = [data[4:]], len(data) - 4
    while size < length:
        more = channel.recv(1 << 20)
        if not more:
            os._exit(0)
        pieces.append(more)
        size += len(more)
    return marshal.loads(b"".join(pieces)), *fds  # noqa: S302 - from our own host


def _die_with_parent(number: int) -> None:
    from ptykill.kernel import calls  # noqa: PLC0415 - it loads ctypes, for which few have a use

    parent = os.getppid()
    calls.die_with_parent(number)
    if os.getppid() != parent:  # It died just before, and would not be noticed.
        os.kill(os.getpid(), number)


def _forget_the_host(channel: int) -> None:
    """Close every descriptor but the terminal's and the one that reports; no signal stays ignored.

    What is ignored stays ignored across execve(2), and what is blocked, blocked.
    """
    os.closerange(3, channel)
    os.closerange(channel + 1, os.sysconf("SC_OPEN_MAX"))
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _tell(channel: socket.socket, what: str) -> None:
    with suppress(OSError):
        channel.send(what.encode())
