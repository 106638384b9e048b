"""One pseudo-terminal: the pair, its size, and non-blocking traffic through the master."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import struct
import sys
import termios
import weakref

import trio

from ptykill.errors import InputFull, InvalidArgument, SessionEnded, SpawnError
from ptykill.rules.command import Command
from ptykill.system.forks import close_in_child
from ptykill.system.kernel.retry import again, close
from ptykill.system.readiness import readable, writable

__all__ = ["PtyTerminal", "open_terminal"]

_CHUNK = 65_536
_LONG = 2_048
"""A read of so many bytes is rarely the last: a flooded terminal gives about 4 KB at a time."""
_LOOK = 0.1
"""Seconds between two looks at whether the typed end of input has been read."""
_NO_KEY = b"\0"
"""The value of a special character that no key has (termios(3), _POSIX_VDISABLE)."""
_CTRL_C = b"\x03"
_IUTF8 = 0x4000
"""termios(3): erase whole UTF-8 characters in line editing (Linux 2.6.4; not in `termios`)."""


class PtyTerminal:
    """A pty pair; the host keeps both ends open.

    The slave is kept open so that the master never reports EIO and POLLHUP while a program has
    merely closed its own ends (it may open ``/dev/tty`` again): EOF on a master is not death.
    """

    def __init__(self, master: int, slave: int) -> None:
        self.master: int = master
        self.slave: int = slave
        self.direct: bool = False
        """The caller has opened it, and reads and types by a master of its own.

        The caller's master shares its modes with this one (open file description, open(2)), and is
        in blocking mode. So nothing here reads or writes it: that might block the event loop.
        """
        self._writing = trio.StrictFIFOLock()
        close_in_child(self)

    @classmethod
    def create(cls) -> PtyTerminal:
        """Open a pair, which echoes what is typed. Raises `SpawnError` if there is none left."""
        try:
            master, slave = again(os.openpty)  # both close-on-exec, PEP 446
        except OSError as error:
            raise _unopened(error.errno) from error
        self = cls(master, slave)
        try:
            os.set_blocking(master, False)
            if sys.platform == "linux":
                self._change_modes(0, on=_IUTF8)
        except OSError as error:
            self.hang_up()
            raise _unopened(error.errno) from error
        except BaseException:
            self.hang_up()
            raise
        return self

    @classmethod
    def copy_of(cls, master: int, slave: int) -> PtyTerminal:
        """Copy the pair that a caller has opened. Raises `SpawnError` if no descriptor is left."""
        self = cls(-1, -1)
        self.direct = True
        try:
            self.master = os.dup(master)
            self.slave = os.dup(slave)
        except OSError as error:
            self.hang_up()
            raise _unopened(error.errno) from error
        return self

    @property
    def open(self) -> bool:
        """False once it was hung up."""
        return self.master >= 0

    def discard_if_full(self) -> None:
        """Discard the unread output if it keeps a program from writing.

        The kernel flushes the master's input queue, and wakes the writer (Linux pty_unthrottle).
        """
        if self.slave < 0:
            return
        room = select.poll()
        room.register(self.slave, select.POLLOUT)
        if not room.poll(0):
            with contextlib.suppress(termios.error, OSError):  # EIO: it was hung up.
                termios.tcflush(self.master, termios.TCIFLUSH)

    def close_slave(self) -> None:
        """Close the slave: reads of the master give EIO once no program has it open."""
        slave, self.slave = self.slave, -1
        if slave >= 0:
            close(slave)

    async def receive_some(self) -> bytes:
        """Wait for output and return some; ``b""`` when there can be no more."""
        while self.open:
            # Before the read, never after it: what has been read must not wait, nor be cancelled.
            await trio.lowlevel.checkpoint()
            try:
                piece = self._read() if self.open else b""
            except BlockingIOError:
                _flooded.discard(self)
                with contextlib.suppress(trio.ClosedResourceError):
                    await readable(self.master)
                continue
            return self._with_what_follows(piece)
        return b""

    def receive_now(self) -> bytes:
        """Return some of the output that is there; ``b""`` if there is none.

        None means none: before it says EAGAIN, a master's read flushes what is on its way from
        the slave (Linux n_tty_read, since 4.5), so nothing written before a death is missed.
        """
        if not self.open:
            return b""
        try:
            return self._read()
        except BlockingIOError:
            return b""

    async def send_all(self, data: bytes) -> None:
        """Type all of it; waits while the program does not read. Raises `SessionEnded`."""
        self._check_not_direct()
        async with self._writing:
            rest = memoryview(data)
            while rest:
                if not self.open:
                    msg = "the terminal has been hung up"
                    raise SessionEnded(msg)
                try:
                    rest = rest[self._write(rest) :]
                except BlockingIOError:
                    try:
                        await writable(self.master)
                    except trio.ClosedResourceError:
                        continue
                except OSError as error:  # EIO: it was hung up.
                    msg = f"the terminal can't be written to: {error.strerror}"
                    raise SessionEnded(msg) from error

    async def keep_at_end(self) -> None:
        """Keep an end of input typed until the hang-up, for each program that reads a line.

        An end (VEOF, termios(3)) is gone when the first program reads it, or flushes the input as
        getpass(3) does. The kernel reports neither, so this looks again and again.
        """
        self._check_not_direct()
        while self.open:
            self._type_an_end()
            await trio.sleep(_LOOK)

    def _type_an_end(self) -> None:
        """Type an end, unless something is there to be read, or keys are read one by one."""
        waiting = select.poll()
        waiting.register(self.slave, select.POLLIN)
        with contextlib.suppress(termios.error, OSError):  # It is full; or revoked, not on Linux.
            modes = termios.tcgetattr(self.slave)
            end = modes[6][termios.VEOF]
            if modes[3] & termios.ICANON and end != _NO_KEY and not waiting.poll(0):
                os.write(self.master, end)

    def interrupt(self) -> bool:
        """Do what the interrupt key does in the terminal's present mode. Never waits.

        If a key interrupts (ISIG, and VINTR is set: termios(3)), type that one. The kernel discards
        the input that waits to be read, and sends SIGINT to the foreground process group. Otherwise
        type Ctrl-C, which the program reads.

        Returns False, and types nothing, if the key could not get past input that waits: the caller
        sends the signal. Raises `SessionEnded`, and `InputFull` if a program does not read.
        """
        try:
            modes = termios.tcgetattr(self.slave)
            key = modes[6][termios.VINTR]
            interrupts = modes[3] & termios.ISIG and key != _NO_KEY
            if self.direct and interrupts:
                return False
            self._check_not_direct()
            if not interrupts:
                self._write(memoryview(_CTRL_C))
                return True
            if modes[3] & termios.NOFLSH:
                return False  # Input that waits is kept, and the key waits behind it.
            # The key itself would discard it, but is not seen while the queue is full of lines
            # (Linux n_tty_receive_buf_common).
            termios.tcflush(self.slave, termios.TCIFLUSH)
            self._write(memoryview(key))
        except BlockingIOError:
            if interrupts:
                return False
            msg = "the program does not read its input, and no more can be typed"
            raise InputFull(msg) from None
        except (termios.error, OSError) as error:  # EIO: it was hung up. EBADF: by the host.
            msg = f"the terminal can't be written to: {error.args[-1]}"
            raise SessionEnded(msg) from error
        return True

    def may_echo(self) -> bool:
        """Return whether what is typed now may come back: by the kernel, or by a program.

        It does not in the modes in which a program asks for a password: lines without ECHO
        (getpass(3)). A program that reads single keys shows them itself, as readline does.
        """
        if self.slave < 0:
            return False
        try:
            modes = termios.tcgetattr(self.slave)[3]
        except (termios.error, OSError):  # It was hung up.
            return False
        return bool(modes & termios.ECHO) or not modes & termios.ICANON

    def resize(self, rows: int, cols: int) -> None:
        """Set the window's size in characters; the foreground process group gets SIGWINCH.

        Raises `SessionEnded` if the terminal has no size any more.
        """
        size = struct.pack("HHHH", rows, cols, 0, 0)
        try:
            if self.open:
                again(lambda: fcntl.ioctl(self.master, termios.TIOCSWINSZ, size))
        except OSError as error:  # EIO: it was hung up (Linux tty_jobctrl). EBADF: by the host.
            msg = f"the terminal can't be resized: {error.strerror}"
            raise SessionEnded(msg) from error

    def resume_output(self) -> None:
        """Let the program write again, if Ctrl-S (VSTOP) or tcflow(3) has stopped the output.

        TCOON alone resumes only what TCOOFF has stopped (Linux n_tty_ioctl_helper), so that comes
        first; and only on the slave, since the master has an output of its own. A VSTART that is
        typed would be data to a program that has turned IXON off.
        """
        if self.slave >= 0:
            with contextlib.suppress(termios.error, OSError):  # EIO: revoked, elsewhere than Linux
                termios.tcflow(self.slave, termios.TCOOFF)
                termios.tcflow(self.slave, termios.TCOON)

    def disable_echo(self) -> None:
        """Echo nothing of what is typed, until a program has it otherwise (termios(3))."""
        self._change_modes(3, off=termios.ECHO)

    def give_to(self, uid: int) -> None:
        """Make a user the owner of the terminal, who then may open it by its name, as at a login.

        Programs that have lost their descriptors do so, or hand the name to others: screen(1),
        gpg's pinentry. The group stays, which is the one that write(1) uses, if any (pty(7)).
        """
        # EPERM, EINVAL: the leader can't become that user either, and its spawn says so.
        with contextlib.suppress(OSError):
            os.fchown(self.slave, uid, -1)

    def foreground(self) -> int | None:
        """Return the number of the foreground process group; None if there is none.

        Asked of the master, which answers for the slave (Linux tiocgpgrp; also the BSDs).
        """
        try:
            return os.tcgetpgrp(self.master) or None
        except OSError:
            return None

    def hang_up(self) -> None:
        """Close both ends. Closing the master hangs the session up (pty(7)). May be repeated."""
        master, slave, self.master, self.slave = self.master, self.slave, -1, -1
        _flooded.discard(self)
        if master >= 0:
            trio.lowlevel.notify_closing(master)
            close(master)
        if slave >= 0:
            close(slave)

    def close_copies(self) -> None:
        """Close the copies that a forked child has: as long as it has them, nothing hangs up."""
        master, slave, self.master, self.slave = self.master, self.slave, -1, -1
        for fd in master, slave:
            with contextlib.suppress(OSError):  # EBADF: hung up before, or closed by others.
                os.close(fd)

    def _change_modes(self, which: int, on: int = 0, off: int = 0) -> None:
        try:
            modes = termios.tcgetattr(self.slave)
            modes[which] = modes[which] & ~off | on
            termios.tcsetattr(self.slave, termios.TCSANOW, modes)
        except termios.error as error:  # It is no OSError.
            raise OSError(*error.args) from error

    def _with_what_follows(self, piece: bytes) -> bytes:
        """Return what was read, and more if it was so much that there may be more.

        No other task runs meanwhile. The more terminals are flooded, the less of each is read at a
        time, so that other tasks wait no longer for many terminals than for one.
        """
        if len(piece) < _LONG:
            _flooded.discard(self)
            return piece
        _flooded.add(self)
        pieces, left = [piece], _CHUNK // len(_flooded) - len(piece)
        while left > 0 and len(piece) >= _LONG:
            piece = self.receive_now()
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def _check_not_direct(self) -> None:
        if self.direct:
            msg = "this session's caller types by itself: the terminal is the caller's"
            raise InvalidArgument(msg)

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self.master, data)
        except BlockingIOError:
            raise
        except OSError:
            return os.write(self.master, data)

    def _read(self) -> bytes:
        try:
            return os.read(self.master, _CHUNK)
        except BlockingIOError:
            raise
        except OSError:
            try:
                return os.read(self.master, _CHUNK)
            except OSError as error:
                if error.errno == errno.EIO:
                    # Never on Linux while the slave is held here. Elsewhere the leader's death
                    # revokes it, and nothing can come any more.
                    return b""
                raise


def open_terminal(command: Command) -> PtyTerminal:
    """Open a terminal of the command's size, echo and user. Raises `SpawnError` if that fails."""
    if command.terminal is None:
        terminal = PtyTerminal.create()
    else:
        terminal = PtyTerminal.copy_of(*command.terminal)
    try:
        terminal.resize(command.rows, command.cols)
        if not command.echo:
            terminal.disable_echo()
        if command.attributes.uid is not None:
            terminal.give_to(command.attributes.uid)
    except (SessionEnded, OSError) as error:
        terminal.hang_up()
        cause = error if isinstance(error, OSError) else error.__cause__
        raise _unopened(getattr(cause, "errno", None)) from error
    except BaseException:
        terminal.hang_up()
        raise
    return terminal


_DEVPTS = "mount -t devpts devpts /dev/pts && ln -sf pts/ptmx /dev/ptmx"
_REMEDIES = {
    errno.ENOENT: f"there is none, or no devpts beside it: {_DEVPTS}",
    errno.EINVAL: f"it is no device for terminals: {_DEVPTS}",
    errno.ENXIO: f"it is no device for terminals: {_DEVPTS}",
    errno.ENOSPC: "as many terminals are open as there may be: sysctl kernel.pty.max",
}
"""What is lacking, by the error of openpty(3), whose name alone says too little (Linux
ptmx_open; grantpt(3) has EINVAL for a file that is no terminal)."""


def _unopened(number: int | None) -> SpawnError:
    number = number or errno.EIO
    remedy = f" ({_REMEDIES[number]})" if number in _REMEDIES else ""
    return SpawnError(number, f"{os.strerror(number)}{remedy}", "terminal", "/dev/ptmx")


_flooded: weakref.WeakSet[PtyTerminal] = weakref.WeakSet()
