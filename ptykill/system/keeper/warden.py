"""The warden: a fork server beside the host, which forks keepers so that the host need not fork.

It is a subreaper too. If a keeper is killed before its session is over, its children become the
warden's. The warden kills them soon, since no other process knows of them all.

They become its children before the keeper can be reaped (Linux exit_notify). So when the keeper has
been reaped, and the warden has no child left but living keepers, no process of the session is left.
That is a proof, which it sends to the host.
"""

from __future__ import annotations

import gc
import math
import os
import select
import signal
import socket
import time
from contextlib import suppress

from ptykill.system.keeper import wire
from ptykill.system.keeper.keeper import NAME, run_keeper
from ptykill.system.keeper.starter import NAME as STARTER
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.children import WALL, Children
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import children, read_proc
from ptykill.system.kernel.retry import again, close

__all__ = ["Warden"]

_RETRY = 20
"""Milliseconds between two looks at orphans, while there are any."""
_RESUME = 500
"""Milliseconds between two rounds of SIGCONT to the keepers, once the host is dead."""
_ORPHAN_GRACE = 0.5
"""Seconds that orphans have to exit by the leader's death signal, or by a signal of the host's."""
_EXIT_TIMEOUT = 1.0
"""Seconds that the warden waits, when it has to exit, for keepers that are exiting."""
_MAX_CLEAR = 1000
"""Lost keepers of which the warden remembers, at most, whether an orphan was killed."""
_KEPT = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT}


class Warden:
    """The warden of one supervisor, in a process of its own."""

    def __init__(self, channel: socket.socket, host: int) -> None:
        self._channel = channel
        self._host = host
        self._keepers: set[int] = set()
        self._deaths = -1
        self._children: Children | None = None
        self._orphans = False
        self._killed = False
        """Whether an orphan that is there, or was there with it, has been sent SIGKILL."""
        self._unclear: set[int] = set()
        """Keepers that died before their session was over: some orphans may be theirs."""
        self._clear: dict[int, bool] = {}
        """Dead keepers whose orphans are all gone, and whether any of these was killed."""
        self._lost: list[tuple[int, socket.socket]] = []
        """Dead keepers that the host has asked about, and the socket for each answer."""
        self._kill_orphans_at = math.inf
        """When to kill orphans, in monotonic seconds."""
        self._exit_at = math.inf
        """When to exit at the latest, in monotonic seconds."""
        self._host_gone = False
        self._over = False

    def run(self) -> None:
        """Serve until the host is dead, or needs no more keepers."""
        os.closerange(self._host + 1, os.sysconf("SC_OPEN_MAX"))
        os.setsid()  # Out of reach of the host's terminal.
        os.chdir("/")
        lacking = proc.find()
        if os.getppid() == 0:
            lacking = "this program starts children in another pid namespace than its own"
        syscalls.set_name(b"ptykill-warden")
        syscalls.become_subreaper()
        self._children = Children()
        # Otherwise a member could take a keeper's socket, and send the host messages.
        syscalls.set_dumpable(False)
        # A terminal or a service manager may signal all of a host's processes. That is for the
        # host: when it is dead, the keepers end their sessions.
        for number in signal.valid_signals() - _KEPT:
            signal.signal(number, signal.SIG_IGN)
        deaths = self._deaths = syscalls.child_events()
        # A collection would touch, and so copy, pages that the keepers share.
        gc.disable()
        gc.freeze()
        wire.send(self._channel, (wire.READY, lacking))
        poll = select.poll()
        handlers = {self._channel.fileno(): self._on_message, self._host: self._on_host_gone}
        for fd in *handlers, deaths:
            poll.register(fd, select.POLLIN)
        failed = False
        while not self._over:
            busy = failed or self._orphans or bool(self._lost) or self._exit_at < math.inf
            try:
                ready = {fd for fd, _ in poll.poll(_RETRY if busy else self._pause)}
                self._resume_keepers()
                if deaths in ready or busy:
                    with suppress(BlockingIOError):
                        os.read(deaths, 4096)
                    self._reap()
                for fd in ready & handlers.keys():
                    handlers[fd]()
                    if self._host_gone:
                        for each in handlers:
                            poll.unregister(each)
                        handlers.clear()
                        break
                failed = False
            except OSError:  # ENOMEM, say. The keepers must not lose their warden by it.
                time.sleep(_RETRY / 1000)
                failed = True

    def _on_message(self) -> None:
        """Handle one message."""
        (kind, *about), fds = wire.receive(self._channel)
        match kind:
            case wire.KEEP if fds:  # Without, this process has none left; the host sees a hang-up.
                self._make_keeper(socket.socket(fileno=fds[0]), about[0])
            case wire.LOST if fds:
                answer = socket.socket(fileno=fds[0])
                answer.settimeout(0)
                self._lost.append((about[0], answer))
                self._reap()
            case wire.HURRY:
                self._kill_orphans_at = 0.0
                self._reap()
            case wire.LEAVE:
                self._leave()
            case wire.GONE:
                self._on_host_gone()

    def _on_host_gone(self) -> None:
        """Stay after the host's death until the last keeper has ended its session."""
        self._host_gone = True
        self._resume_keepers()
        self._reap()

    @property
    def _pause(self) -> int | None:
        """Milliseconds until the next round of SIGCONT; None while the host lives."""
        return _RESUME if self._host_gone else None

    def _resume_keepers(self) -> None:
        """Send the keepers SIGCONT if the host is dead: they may have been stopped."""
        for pid in self._keepers if self._host_gone else ():
            with suppress(OSError):
                os.kill(pid, signal.SIGCONT)

    def _leave(self) -> None:
        """Exit soon, but after the keepers that have no session.

        A host that is process 1, or a subreaper, would inherit them, and not reap them.
        """
        self._host_gone = True
        self._exit_at = time.monotonic() + _EXIT_TIMEOUT
        for pid in self._idle():
            os.kill(pid, signal.SIGCONT)  # It may have been stopped.
        self._reap()

    def _idle(self) -> list[int]:
        """Return the keepers that have no session."""
        # A keeper that warms up has a child of no session; it gets its name afterwards.
        return [
            pid
            for pid in self._keepers
            if _name(pid) != NAME or all(_name(child) == STARTER for child in children(pid))
        ]

    def _make_keeper(self, channel: socket.socket, groups: str | None) -> None:
        message: wire.Message
        try:
            pid = again(os.fork)
        except OSError as error:
            message = wire.FAILED, error.errno, "keeper"
        else:
            if pid == 0:
                with suppress(OSError):  # See `retry.close`.
                    self._channel.close()
                close(self._deaths)
                with suppress(OSError):
                    if self._children is not None:
                        self._children.close()
                    for _, answer in self._lost:
                        answer.close()
                run_keeper(channel, self._host, groups)
            self._keepers.add(pid)
            self._clear.pop(pid, None)  # Of an earlier keeper with that pid.
            message = wire.FORKED, pid
        try:
            wire.send(channel, message)
        finally:
            channel.close()

    def _reap(self) -> None:
        """Reap dead children, and kill the orphans of dead keepers after their grace."""
        try:
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | WALL)) is not None:
                if found.si_pid in self._keepers:
                    self._keepers.discard(found.si_pid)
                    if (found.si_code, found.si_status) != (os.CLD_EXITED, 0):
                        self._unclear.add(found.si_pid)
        except ChildProcessError:
            self._over = self._host_gone
        assert self._children is not None
        # Their number is right whatever pids this /proc has for them.
        orphans = self._orphans = len(self._children.list()) > len(self._keepers)
        now = time.monotonic()
        self._kill_orphans_at = (
            min(self._kill_orphans_at, now + _ORPHAN_GRACE) if orphans else math.inf
        )
        if self._exit_at < math.inf:
            self._kill_orphans_at = now  # No other process will kill them.
            self._over |= now >= self._exit_at or not (orphans or self._idle())
        if now >= self._kill_orphans_at:
            reached, _ = self._children.kill(self._keepers)
            self._killed |= bool(reached)
        if not orphans:
            if len(self._clear) > _MAX_CLEAR:  # The host has not asked about them.
                self._clear.clear()
            self._clear |= dict.fromkeys(self._unclear, self._killed)
            self._unclear.clear()
            self._killed = False
        self._answer()

    def _answer(self) -> None:
        """Answer the host about dead keepers of which no orphan is left."""
        assert self._children is not None
        waiting = []
        for keeper, answer in self._lost:
            if keeper in self._keepers or keeper in self._unclear:
                waiting.append((keeper, answer))
                continue
            if self._children.exact:
                wire.send(answer, (wire.CLEAR, self._clear.pop(keeper, False)))
            answer.close()
        self._lost = waiting


def _name(pid: int) -> bytes:
    return read_proc(f"{pid}/comm").strip()
