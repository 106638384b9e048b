r"""`PtyProcess` and `PtyProcessUnicode` with the interface of ptyprocess 0.7, on ptykill.

::

    from ptykill.integrations.ptyprocess import PtyProcess

    with PtyProcess.spawn(["bash", "-i"]) as process:
        process.write(b"sleep 1000 &\n")
    assert process.verdict.empty

`PtyProcess.close` and ``terminate(force=True)`` end all of the session, not the child alone, and
return as soon as it has ended. The descriptor ``fd`` is the terminal's master, as in ptyprocess:
use select, `os.read` and termios on it.
"""

from __future__ import annotations

import codecs
import errno
import fcntl
import math
import os
import shutil
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, Self

import ptykill
from ptykill.blocking import Session, Supervisor, supervisor_of

__all__ = ["PtyProcess", "PtyProcessError", "PtyProcessUnicode"]

_HOST = ptykill.Host(max_sessions=10_000, keep_records=0)
"""The host of all processes that have no supervisor of their own. Its first spawn starts it."""
_LOOK = 0.005
"""Seconds between two looks at what has no event: the modes of a terminal, an exit in time."""
_NO_KEY = b"\0"
"""The value of a special character that no key has (termios(3), _POSIX_VDISABLE)."""
_KEYS = {termios.VEOF: b"\x04", termios.VINTR: b"\x03"}
_CONTROLS = {b"@": 0, b"`": 0, b"[": 27, b"{": 27, b"\\": 28, b"|": 28, b"]": 29, b"}": 29}
_CONTROLS |= {b"^": 30, b"~": 30, b"_": 31, b"?": 127}


class PtyProcessError(Exception):
    """A process could not be ended. Has the name that it has in ptyprocess."""


class PtyProcess:
    """A process on a terminal, and all that it starts. Made by `spawn`.

    ``fd`` is the terminal's master, in blocking mode; -1 once it is closed. ``exitstatus`` is the
    exit code, ``signalstatus`` the number of the signal that ended it, and ``status`` both, as
    waitpid(2) has it: None until `isalive` or `wait` has seen the exit. ``terminated`` is whether
    it has. ``flag_eof`` is whether the output has ended.

    ``delayafterclose`` and ``delayafterterminate`` (seconds) are the grace: the process gets
    SIGKILL after three times ``delayafterterminate``, and `close` adds ``delayafterclose``. Neither
    is a sleep: a process that ends earlier is not waited for.
    """

    supervisor: ClassVar[Supervisor | None] = None
    """The supervisor of the processes that are spawned; None for one that they share.

    Set it, in a subclass for example, to choose the plan, the containment and so on.
    """
    string_type: ClassVar[type] = bytes
    linesep: ClassVar[bytes | str] = os.linesep.encode()
    crlf: ClassVar[bytes | str] = b"\r\n"
    encoding: str | None = None
    argv: Sequence[str] | None = None
    env: Mapping[str, str] | None = None
    launch_dir: str | None = None

    def __init__(self, session: Session, fd: int, supervisor: Supervisor) -> None:
        self.session: Session = session
        self.pid: int = session.pid
        self.fd: int = fd
        self.closed: bool = False
        self.terminated: bool = False
        self.exitstatus: int | None = None
        self.signalstatus: int | None = None
        self.status: int | None = None
        self.flag_eof: bool = False
        self.echo: bool = session.command.echo
        self.delayafterclose: float = 0.1
        self.delayafterterminate: float = 0.1
        self._host = supervisor.host
        self._owner = os.getpid()
        self._unread = b""

    @classmethod
    def spawn(  # noqa: PLR0913, PLR0917 - as in ptyprocess
        cls,
        argv: Sequence[str | bytes],
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        echo: bool = True,  # noqa: FBT001, FBT002 - as in ptyprocess
        preexec_fn: Callable[[], object] | None = None,
        dimensions: tuple[int, int] = (24, 80),
        pass_fds: Sequence[int] = (),
    ) -> Self:
        """Start a program on a terminal of its own, and return its process.

        ``argv`` is looked up in this process's PATH; ``env`` None means all of its environment;
        ``dimensions`` are rows and columns. ``preexec_fn`` and ``pass_fds`` are not supported.

        Raises FileNotFoundError if there is no such program, `ptykill.SpawnError`, an OSError, if
        it can't be started, TypeError if ``argv`` is no list or tuple, and
        `ptykill.InvalidArgument` for other values.
        """
        if not isinstance(argv, list | tuple):
            msg = f"Expected a list or tuple for argv, got {argv!r}"
            raise TypeError(msg)
        refuse_preexec(preexec_fn)
        if pass_fds:
            msg = "pass_fds is not supported: the child gets its terminal alone"
            raise ptykill.InvalidArgument(msg)
        command, *arguments = map(os.fsdecode, argv)
        path = shutil.which(command)
        if path is None:
            msg = f"The command was not found or was not executable: {command}."
            raise FileNotFoundError(msg)
        rows, cols = dimensions
        supervisor = cls.supervisor or supervisor_of(_HOST)
        master, slave = os.openpty()
        try:
            session = supervisor.spawn(
                [path, *arguments],
                cwd=cwd,
                env=os.environ if env is None else env,
                echo=echo,
                rows=rows,
                cols=cols,
                terminal=(master, slave),
            )
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        process = cls(session, master, supervisor)
        process.argv = session.command.args
        process.env = env
        process.launch_dir = session.command.cwd
        return process

    def __repr__(self) -> str:
        more = "" if self.env is None else f", env={self.env!r}"
        more += "" if self.launch_dir is None else f", cwd={self.launch_dir!r}"
        return f"{type(self).__name__}.spawn({list(self.argv or ())!r}{more})"

    def __enter__(self) -> Self:
        """Return the process itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def __del__(self) -> None:
        """Close the descriptor, and have all of the session ended, without waiting for that.

        The garbage collector runs in any thread, and must not wait in the host's own.
        """
        if not getattr(self, "closed", True):
            self._close_fd()
            with suppress(Exception):  # The interpreter may be ending, and so the sessions.
                self._host.call_soon(_request_end, self._host, self.session.id, self._grace)

    @property
    def verdict(self) -> ptykill.Verdict | None:
        """The verdict of the session, once there is one."""
        return self.session.verdict

    # --- the end ----------------------------------------------------------------------------------

    def close(self, force: bool = True) -> None:  # noqa: FBT001, FBT002 - as in ptyprocess
        """End all of the session, and close the descriptor. May be called again.

        Without ``force`` it sends SIGHUP and SIGINT alone. Raises `PtyProcessError` if a process is
        left, and then has closed nothing; ``verdict`` names those that outlived SIGKILL. In a
        forked child this closes the child's copy of the descriptor alone.
        """
        if self.closed:
            return
        if os.getpid() == self._owner:
            ended = self._end(self.delayafterclose + self._grace) if force else self._ask_to_end()
            if not ended:
                msg = "Could not terminate the child."
                raise PtyProcessError(msg)
        self._close_fd()

    def terminate(self, force: bool = False) -> bool:  # noqa: FBT001, FBT002 - as in ptyprocess
        """Ask the process to end, by SIGHUP and SIGINT; return whether it has ended.

        With ``force``, end all of the session, by SIGKILL in the end, and return whether nothing of
        it is left. The descriptor stays open: read the last output from it.
        """
        return self._end(self._grace) if force else self._ask_to_end()

    def kill(self, sig: int) -> None:
        """Send a signal to the process, if it is alive. Raises `ptykill.InvalidArgument`."""
        if sig and self.isalive():
            with suppress(ptykill.SessionEnded):
                self.session.signal(_name(sig), ptykill.Reach.LEADER)

    def wait(self) -> int | None:
        """Wait until the process exits, and return its exit code; None if a signal ended it."""
        if not self.terminated:
            self._note_exit()
        return self.exitstatus

    def isalive(self) -> bool:
        """Return whether the process is running. Does not wait."""
        if not self.terminated and self.session.exited:
            self._note_exit()
        return not self.terminated

    @property
    def _grace(self) -> float:
        return 3 * self.delayafterterminate

    def _end(self, grace: float) -> bool:
        """End all of the session; return whether nothing is left, or only what was to be spared."""
        try:
            verdict: ptykill.Verdict | None = self.session.terminate(grace=grace)
        except ptykill.SupervisorClosed:
            verdict = self.session.verdict  # Its supervisor has ended it.
        self.isalive()
        return verdict is not None and (verdict.empty or verdict.outcome is ptykill.Outcome.SPARED)

    def _ask_to_end(self) -> bool:
        """Send SIGHUP and then SIGINT, with SIGCONT; return whether the process has ended."""
        for number in signal.SIGHUP, signal.SIGCONT, signal.SIGINT:
            self.kill(number)
            until = time.monotonic() + self.delayafterterminate
            while self.isalive() and time.monotonic() < until:
                time.sleep(_LOOK)
        return not self.isalive()

    def _note_exit(self) -> None:
        """Wait for the exit, and note how the process has ended."""
        try:
            status = self.session.wait_exited()
        except ptykill.SupervisorClosed:
            status = self.session.exit_status
        self.terminated = True
        if status is None:
            return  # It can't be known: see `ptykill.Caveat`.
        self.exitstatus, self.signalstatus = status.code, status.signal
        self.status = (status.code or 0) << 8 | (status.signal or 0)

    def _close_fd(self) -> None:
        fd, self.fd, self.closed = self.fd, -1, True
        with suppress(OSError):
            os.close(fd)

    # --- reading and writing ----------------------------------------------------------------------

    def read(self, size: int = 1024) -> bytes:
        """Wait for output, and return up to ``size`` bytes. Raises EOFError at its end."""
        if not self._unread:
            return self._read(size)
        piece, self._unread = self._unread[:size], self._unread[size:]
        return piece

    def readline(self) -> bytes:
        """Wait for a line of output, and return it. Raises EOFError at the end.

        The last line may have no end of line.
        """
        pieces: list[bytes] = []
        while True:
            try:
                piece = self.read(8192)
            except EOFError:
                if pieces:
                    return b"".join(pieces)
                raise
            line, end, rest = piece.partition(b"\n")
            pieces += line, end
            if end:
                self._unread = rest + self._unread
                return b"".join(pieces)

    def write(self, s: bytes, flush: bool = True) -> int:  # noqa: FBT001, FBT002, ARG002
        """Type all of ``s``, waiting while the program does not read; return how many bytes.

        It is written at once, also without ``flush``.
        """
        return self._write(s)

    def sendcontrol(self, char: str) -> tuple[int, bytes]:
        """Type a control character: ``sendcontrol("c")`` is Ctrl-C. Return the count and the byte.

        For a character that has no control character, it types nothing, and returns ``0, b""``.
        """
        key = char.lower().encode()
        number = key[0] - ord("a") + 1 if b"a" <= key <= b"z" else _CONTROLS.get(key)
        if number is None:
            return 0, b""
        byte = bytes([number])
        return self._write(byte), byte

    def sendeof(self) -> tuple[int, bytes]:
        """Type the terminal's end of input (Ctrl-D), to be done at the beginning of a line."""
        return self._write(key := self._key(termios.VEOF)), key

    def sendintr(self) -> tuple[int, bytes]:
        """Type the terminal's interrupt key (Ctrl-C)."""
        return self._write(key := self._key(termios.VINTR)), key

    def eof(self) -> bool:
        """Return whether the output has ended, as far as it was read."""
        return self.flag_eof

    def flush(self) -> None:
        """Do nothing: what is written is not kept back."""

    def _read(self, size: int) -> bytes:
        self._check_open()
        try:
            piece = os.read(self.fd, size)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            piece = b""
        if not piece:
            self.flag_eof = True
            msg = "End Of File (EOF)."
            raise EOFError(msg)
        return piece

    def _write(self, data: bytes) -> int:
        self._check_open()
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.fd, rest) :]
        return len(data)

    def _check_open(self) -> None:
        if self.closed:
            msg = "I/O operation on a closed process"
            raise ValueError(msg)

    # --- the terminal -----------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the descriptor of the terminal's master."""
        return self.fd

    def isatty(self) -> bool:
        """Return True: it is a terminal. False once it is closed."""
        return os.isatty(self.fd)

    def getwinsize(self) -> tuple[int, int]:
        """Return the size of the window: rows and columns."""
        rows, cols, _, _ = struct.unpack("HHHH", fcntl.ioctl(self.fd, termios.TIOCGWINSZ, bytes(8)))
        return rows, cols

    def setwinsize(self, rows: int, cols: int) -> None:
        """Set the size of the window; the foreground process group gets SIGWINCH."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def getecho(self) -> bool:
        """Return whether the terminal echoes input now."""
        self.echo = bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)
        return self.echo

    def setecho(self, state: bool) -> None:  # noqa: FBT001 - as in ptyprocess
        """Set whether the terminal echoes input from now on."""
        modes = termios.tcgetattr(self.fd)
        modes[3] = modes[3] | termios.ECHO if state else modes[3] & ~termios.ECHO
        termios.tcsetattr(self.fd, termios.TCSANOW, modes)
        self.echo = state

    def waitnoecho(self, timeout: float | None = None) -> bool:
        """Wait until the terminal does not echo, as when a program asks for a password.

        Returns False if it still does after ``timeout`` seconds; None means no limit.
        """
        until = time.monotonic() + (math.inf if timeout is None else timeout)
        while self.getecho():
            if time.monotonic() >= until:
                return False
            time.sleep(_LOOK)
        return True

    def _key(self, which: int) -> bytes:
        """Return a special character of the terminal, or the usual one if it has none."""
        key = termios.tcgetattr(self.fd)[6][which]
        return _KEYS[which] if key == _NO_KEY or not isinstance(key, bytes) else key

    @staticmethod
    def write_to_stdout(b: bytes) -> int:
        """Write output to this process's standard output."""
        try:
            return sys.stdout.buffer.write(b)
        except AttributeError:  # It was replaced.
            return sys.stdout.write(b.decode("ascii", "replace"))


class PtyProcessUnicode(PtyProcess):
    """A `PtyProcess` that reads and writes text."""

    string_type: ClassVar[type] = str
    linesep: ClassVar[bytes | str] = os.linesep
    crlf: ClassVar[bytes | str] = "\r\n"

    def __init__(
        self,
        session: Session,
        fd: int,
        supervisor: Supervisor,
        encoding: str = "utf-8",
        codec_errors: str = "strict",
    ) -> None:
        super().__init__(session, fd, supervisor)
        self.encoding: str | None = encoding
        self.codec_errors: str = codec_errors
        self.decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder(encoding)(
            codec_errors
        )

    def read(self, size: int = 1024) -> str:  # type: ignore[override]
        """As `PtyProcess.read`; ``size`` is in bytes. The text may be empty."""
        return self.decoder.decode(super().read(size))

    def readline(self) -> str:  # type: ignore[override]
        """As `PtyProcess.readline`."""
        return self.decoder.decode(super().readline())

    def write(self, s: str, flush: bool = True) -> int:  # type: ignore[override]  # noqa: FBT001, FBT002, ARG002
        """As `PtyProcess.write`; returns the number of bytes."""
        return self._write(s.encode(self.encoding or "utf-8"))


def refuse_preexec(preexec_fn: object) -> None:
    """Raise `ptykill.InvalidArgument` unless it is None."""
    if preexec_fn is not None:
        msg = (
            "preexec_fn is not supported: no code of this process runs in the child, which"
            " posix_spawn(3) starts; start a program that does it, such as sh or env, instead"
        )
        raise ptykill.InvalidArgument(msg)


def _request_end(host: ptykill.Host, session_id: str, grace: float) -> None:
    """Request the end of a session, in the host's thread."""
    with suppress(ptykill.PtykillError):  # It is over.
        host.supervisor.get(session_id).request_end(grace=grace)


def _name(sig: int) -> str:
    try:
        return signal.Signals(sig).name
    except ValueError:
        msg = f"there is no signal with the number {sig}"
        raise ptykill.InvalidArgument(msg) from None
