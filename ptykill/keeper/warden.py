"""The warden: a small process beside the host that forks keepers, so that the host need not fork.

It is told over its socket to make a keeper, and has no other part in the sessions' lives, but one:
it is a subreaper too. A keeper ends when its session has; if one dies before that, killed by
whomever, its children become the warden's, which kills them soon: nobody else knows of them all.
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

from ptykill.keeper import wire
from ptykill.keeper.keep import WALL, keep
from ptykill.kernel import calls
from ptykill.kernel.descent import children

__all__ = ["Warden"]

_RETRY = 20
"""Milliseconds between two looks at orphans while there are some."""
_MERCY = 0.5
"""Seconds that orphans are given: for what the leader's death signal, and the host, tell them."""
_KEPT = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGCONT}


class Warden:
    """The warden of one supervisor, in a process of its own."""

    def __init__(self, channel: socket.socket, host: int) -> None:
        self._channel = channel
        self._host = host
        self._keepers: set[int] = set()
        self._mercy = math.inf
        """Until when orphans may live, in monotonic seconds."""

    def run(self) -> None:
        """Serve until the host has gone or has no use for it."""
        os.closerange(self._host + 1, os.sysconf("SC_OPEN_MAX"))
        os.setsid()  # Out of reach of the host's terminal.
        os.chdir("/")
        calls.set_name("ptykill-warden")
        calls.become_subreaper()
        # What a terminal or a service manager sends to all of a host's processes is for the host:
        # when it is gone, the keepers end their sessions.
        for number in signal.valid_signals() - _KEPT:
            signal.signal(number, signal.SIG_IGN)
        deaths = calls.child_events()
        # A collection would touch, and so copy, pages that the keepers share.
        gc.disable()
        gc.freeze()
        wire.send(self._channel, (wire.READY,))
        poll = select.poll()
        for fd in self._channel.fileno(), self._host, deaths:
            poll.register(fd, select.POLLIN)
        orphans = False
        while True:
            ready = {fd for fd, _ in poll.poll(_RETRY if orphans else None)}
            if self._host in ready:
                return
            if deaths in ready or orphans:
                self._drain(deaths)
                orphans = self._see_to_the_dead()
            if self._channel.fileno() in ready and not self._serve(deaths):
                return

    def _serve(self, deaths: int) -> bool:
        """Take one message; False if the host has no use for us any more."""
        (kind, *about), fds = wire.receive(self._channel)
        if kind == wire.KEEP:
            self._make_keeper(about[0], fds, deaths)
        return bool(kind != wire.GONE)

    def _make_keeper(self, cgroup: str | None, fds: list[int], deaths: int) -> None:
        channel, birth = (socket.socket(fileno=fd) for fd in fds)
        try:
            pid = os.fork()
            if pid == 0:
                self._channel.close()
                os.close(deaths)
                keep(channel, birth, self._host, cgroup)
            self._keepers.add(pid)
        except OSError as error:
            wire.send(channel, (wire.FAILED, error.errno, "fork"))
        channel.close()
        birth.close()

    def _drain(self, deaths: int) -> None:
        with suppress(BlockingIOError):
            os.read(deaths, 4096)

    def _see_to_the_dead(self) -> bool:
        """Reap, and kill the orphans of a keeper that died before its time; True if some live."""
        try:
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | WALL)) is not None:
                self._keepers.discard(found.si_pid)
        except ChildProcessError:
            self._mercy = math.inf
            return False
        orphans = set(children(os.getpid())) - self._keepers
        now = time.monotonic()
        self._mercy = min(self._mercy, now + _MERCY) if orphans else math.inf
        if now >= self._mercy:
            for pid in orphans:
                with suppress(OSError):  # EPERM: another user's.
                    os.kill(pid, signal.SIGKILL)
        return bool(orphans)
