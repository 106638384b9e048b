"""A keeper, when a system call fails at a time that no session can choose."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time

import pytest

from ptykill.system.keeper import keeper as keeper_module
from ptykill.system.keeper import wire
from ptykill.system.keeper.keeper import Keeper
from ptykill.system.keeper.stand_in import stand_in
from ptykill.system.keeper.warm_up import _HANDOVER

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="keepers need Linux")


class Changed:
    """The resources of a keeper that its last session has changed."""

    cgroup = None
    outside = False

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths
        self.asked = 0

    def renew(self, *, ahead: bool) -> bool:
        """Report a change."""
        self.asked += 1
        return False

    def drain_deaths(self) -> None:
        """Have no events."""


@pytest.mark.parametrize("call", ["receive", "send"])
def test_a_changed_keeper_refuses(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """It refuses an order, and reports that, although a system call fails meanwhile."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    deaths, writer = os.pipe()
    theirs.settimeout(0)
    resources = Changed(deaths)
    keeper = Keeper(theirs, deaths, resources)  # type: ignore[arg-type]
    keeper._renew_at = time.monotonic() + 60.0  # As after a session.
    monkeypatch.setattr(keeper_module, "start_leader", pytest.fail)
    original, failures = getattr(wire, call), [errno.ENOMEM]

    def fails_once(*arguments: object) -> object:
        if failures:
            number = failures.pop()
            raise OSError(number, os.strerror(number))
        return original(*arguments)

    with ours, stand_in() as (program, fds):
        order = wire.ORDER, {**program, "args": [b"true"]}, None, None, None, *_HANDOVER
        wire.send(ours, order, fds)
        monkeypatch.setattr(wire, call, fails_once)
        monkeypatch.setattr(keeper_module, "_CLOSE_TIMEOUT", 0.1)
        keeper.serve()
        ours.settimeout(0)
        assert not keeper._finish()
        assert wire.receive(ours)[0] == (wire.REFUSED,)
        assert resources.asked == 1
    assert not failures
    theirs.close()
    for fd in deaths, writer:
        os.close(fd)
