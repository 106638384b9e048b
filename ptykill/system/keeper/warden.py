"""The warden: a small process beside the host that forks keepers, so that the host need not fork.

It is told over its socket to make a keeper, and has no other part in the sessions' lives, but one:
it is a subreaper too. A keeper ends when its session has; if one dies before that, killed by
whomever, its children become the warden's, which kills them soon: nobody else knows of them all.

They become its children before the keeper can be reaped (Linux exit_notify). So when the keeper has
been reaped, and no child is left but living keepers, nothing of the session is: that is a proof,
and the host is told.
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
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.children import WALL, Children
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import children, read_proc
from ptykill.system.kernel.retry import again, close

__all__ = ["Warden"]

_RETRY = 20
"""Milliseconds between two looks at orphans while there are some."""
_ROUSE = 500
"""Milliseconds between two times that keepers are made to go on, once the host has gone."""
_MERCY = 0.5
"""Seconds that orphans are given: for what the leader's death signal, and the host, tell them."""
_FAREWELL = 1.0
"""Seconds that it stays, when it is needed no more, for those that are about to go."""
_MOST_CLEAR = 1000
"""About so many lost keepers it is remembered whether an orphan of theirs was killed."""
_KEPT = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT}


class Warden:
    """The warden of one supervisor, in a process of its own."""

    def __init__(self, channel: socket.socket, host: int) -> None:
        self._channel = channel
        self._host = host
        self._keepers: set[int] = set()
        self._deaths = -1
        self._offspring: Children | None = None
        self._orphans = False
        self._killed = False
        """One of the orphans, or of those that were there with them, has been sent SIGKILL."""
        self._unclear: set[int] = set()
        """Keepers that died before their time: some orphans may be theirs."""
        self._clear: dict[int, bool] = {}
        """Those whose orphans are all gone, and whether one of them was killed."""
        self._lost: list[tuple[int, socket.socket]] = []
        """Keepers about which the host wants to know, and where to tell it."""
        self._mercy = math.inf
        """Until when orphans may live, in monotonic seconds."""
        self._leaving = math.inf
        """When to leave, whoever is left then, in monotonic seconds."""
        self._alone = False
        self._over = False

    def run(self) -> None:
        """Serve until the host has gone or has no use for it."""
        os.closerange(self._host + 1, os.sysconf("SC_OPEN_MAX"))
        os.setsid()  # Out of reach of the host's terminal.
        os.chdir("/")
        lacking = proc.find()
        if os.getppid() == 0:
            lacking = "this program starts children in another pid namespace than its own"
        syscalls.set_name(b"ptykill-warden")
        syscalls.become_subreaper()
        self._offspring = Children()
        # A member could take a keeper's socket otherwise, and tell the host that all is over.
        syscalls.set_dumpable(False)
        # What a terminal or a service manager sends to all of a host's processes is for the host:
        # when it is gone, the keepers end their sessions.
        for number in signal.valid_signals() - _KEPT:
            signal.signal(number, signal.SIG_IGN)
        deaths = self._deaths = syscalls.child_events()
        # A collection would touch, and so copy, pages that the keepers share.
        gc.disable()
        gc.freeze()
        wire.send(self._channel, (wire.READY, lacking))
        poll = select.poll()
        doors = {self._channel.fileno(): self._serve, self._host: self._lose_host}
        for fd in *doors, deaths:
            poll.register(fd, select.POLLIN)
        failed = False
        while not self._over:
            busy = failed or self._orphans or bool(self._lost) or self._leaving < math.inf
            try:
                ready = {fd for fd, _ in poll.poll(_RETRY if busy else self._pause)}
                self._rouse()
                if deaths in ready or busy:
                    with suppress(BlockingIOError):
                        os.read(deaths, 4096)
                    self._see_to_the_dead()
                for fd in ready & doors.keys():
                    doors[fd]()
                    if self._alone:
                        for each in doors:
                            poll.unregister(each)
                        doors.clear()
                        break
                failed = False
            except OSError:  # ENOMEM, say. Whom we keep must not lose us by it.
                time.sleep(_RETRY / 1000)
                failed = True

    def _serve(self) -> None:
        """Take one message."""
        (kind, *about), fds = wire.receive(self._channel)
        match kind:
            case wire.KEEP if fds:  # Or else we have none left, and who asked sees it closed.
                self._make_keeper(socket.socket(fileno=fds[0]), about[0])
            case wire.LOST if fds:
                answer = socket.socket(fileno=fds[0])
                answer.settimeout(0)
                self._lost.append((about[0], answer))
                self._see_to_the_dead()
            case wire.HURRY:
                self._mercy = 0.0
                self._see_to_the_dead()
            case wire.LEAVE:
                self._take_leave()
            case wire.GONE:
                self._lose_host()

    def _lose_host(self) -> None:
        """The host has died. Its keepers do the rest; stay for as long as one might die of it."""
        self._alone = True
        self._rouse()
        self._see_to_the_dead()

    @property
    def _pause(self) -> int | None:
        """Milliseconds until the keepers are looked after again; None while the host does that."""
        return _ROUSE if self._alone else None

    def _rouse(self) -> None:
        """Let keepers go on that somebody has stopped, if no host is there any more to do it."""
        for pid in self._keepers if self._alone else ():
            with suppress(OSError):
                os.kill(pid, signal.SIGCONT)

    def _take_leave(self) -> None:
        """The host needs no more keepers. Go, once those have gone that have nothing to keep.

        A host that is process 1, or a subreaper, gets whom we leave behind, and does not reap it.
        """
        self._alone = True
        self._leaving = time.monotonic() + _FAREWELL
        for pid in self._idle():
            os.kill(pid, signal.SIGCONT)  # Somebody may have stopped it.
        self._see_to_the_dead()

    def _idle(self) -> list[int]:
        """Return the keepers that have no session: none yet, or none any more."""
        # Before it has its name, a keeper has children that are no session's: it rehearses.
        return [
            pid
            for pid in self._keepers
            if read_proc(f"{pid}/comm").strip() != NAME or not children(pid)
        ]

    def _make_keeper(self, channel: socket.socket, groups: str | None) -> None:
        message: wire.Message
        try:
            pid = again(os.fork)
        except OSError as error:
            message = wire.FAILED, error.errno, "keeper"
        else:
            if pid == 0:
                with suppress(OSError):  # See `again.close`.
                    self._channel.close()
                close(self._deaths)
                with suppress(OSError):
                    if self._offspring is not None:
                        self._offspring.close()
                    for _, answer in self._lost:
                        answer.close()
                run_keeper(channel, self._host, groups)
            self._keepers.add(pid)
            self._clear.pop(pid, None)  # That was another one's.
            message = wire.FORKED, pid
        try:
            wire.send(channel, message)
        finally:
            channel.close()

    def _see_to_the_dead(self) -> None:
        """Reap; and kill the orphans of a keeper that died before its time, if there are any."""
        try:
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | WALL)) is not None:
                if found.si_pid in self._keepers:
                    self._keepers.discard(found.si_pid)
                    if (found.si_code, found.si_status) != (os.CLD_EXITED, 0):
                        self._unclear.add(found.si_pid)
        except ChildProcessError:
            self._over = self._alone
        assert self._offspring is not None
        # By their number: it is right whatever the numbers are that this /proc has for them.
        orphans = self._orphans = len(self._offspring.list()) > len(self._keepers)
        now = time.monotonic()
        self._mercy = min(self._mercy, now + _MERCY) if orphans else math.inf
        if self._leaving < math.inf:
            self._mercy = now  # Nobody else will do it.
            self._over |= now >= self._leaving or not (orphans or self._idle())
        if now >= self._mercy:
            reached, _ = self._offspring.kill(self._keepers)
            self._killed |= bool(reached)
        if not orphans:
            if len(self._clear) > _MOST_CLEAR:  # Nobody has asked about them.
                self._clear.clear()
            self._clear |= dict.fromkeys(self._unclear, self._killed)
            self._unclear.clear()
            self._killed = False
        self._tell_of_the_lost()

    def _tell_of_the_lost(self) -> None:
        """Tell the host about lost keepers of whom no orphan is left."""
        assert self._offspring is not None
        waiting = []
        for keeper, answer in self._lost:
            if keeper in self._keepers or keeper in self._unclear:
                waiting.append((keeper, answer))
                continue
            if self._offspring.exact:
                wire.send(answer, (wire.CLEAR, self._clear.pop(keeper, False)))
            answer.close()
        self._lost = waiting
