"""A session is ended although one system call fails: the faults of the suite."""

from __future__ import annotations

import pytest

from tests.faults.table import SHORT
from tests.faults.trial import Fault, run, unavailable

REASON = unavailable()
TRIES = 20
"""A warden's calls may come before the phase in which they are to fail, or after it."""


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
@pytest.mark.parametrize("fault", SHORT, ids=str)
def test_one_failing_call_gives_no_session_up(fault: Fault) -> None:
    """The session ends, other sessions and the next spawn work, and no process is left."""
    for _ in range(TRIES):
        result = run(fault)
        assert result.wrong == []
        if result.hit:
            return
    pytest.fail("the call that was to fail was not made: the row tests nothing")
