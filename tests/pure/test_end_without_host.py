"""The order in which a keeper ends the session of a stopped host."""

from __future__ import annotations

import math
import time
from types import SimpleNamespace
from typing import Any

import pytest

from ptykill.system.keeper import wire
from ptykill.system.keeper.kept_session import KeptSession
from ptykill.system.keeper.orphaned import OrphanedTeardown


def test_a_stopped_host_is_told_before_any_signal_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told when SIGKILL is due, too. One that is continued then sends no signal again."""
    order: list[str] = []

    def begin(_: OrphanedTeardown) -> float:
        order.append("signals are sent")
        return math.inf

    def tell() -> None:
        order.append("the host is told")
        assert 0 < kept._teardown.kill_due - time.monotonic() <= 30

    monkeypatch.setattr(OrphanedTeardown, "begin", begin)
    kept: Any = SimpleNamespace(
        _teardown=None,
        _killing=False,
        was_plain=True,
        deadlines=SimpleNamespace(close=lambda: None),
        due=math.inf,
        status=None,
    )
    handover = wire.Handover(wire.HANDOVER, "HUP@session 30s, KILL", "hangup", 0, 0.0, 0.0)
    KeptSession.end_without_host(kept, handover, 0.0, tell=tell)
    assert order == ["the host is told", "signals are sent"]
