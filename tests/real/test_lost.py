"""Sessions that turn against those who contain them: nothing untrue is said, no stranger hit."""

from __future__ import annotations

import pytest

from ptykill.containment import why_not
from tests.real.hosts import run_host

needs_cgroup = pytest.mark.skipif(why_not("cgroup") is not None, reason="no cgroup")
both = pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)


@needs_cgroup
@pytest.mark.parametrize("lost", [(), ("keeper",), ("warden", "keeper")], ids=str)
def test_strangers_in_the_cgroup(lost: tuple[str, ...]) -> None:
    """The host, another session and a bystander live on; the member that was moved out does not."""
    answer = run_host("whose_cgroups_are_mixed_up", *lost)
    assert answer["mixed"]
    assert (answer["stranger"], answer["beside"]) == (None, None)
    if "warden" not in lost:  # Nobody knows then who has left the cgroup, and the session.
        assert answer["member"]
    assert answer["outcome"] == ("unproven" if "warden" in lost else "killed")
    assert answer["empty"] == ("warden" not in lost)
