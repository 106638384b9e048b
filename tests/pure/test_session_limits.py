"""Limits and their caps, and the sizes of the command line."""

from __future__ import annotations

import math

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptykill import Attributes, InvalidArgument, LimitAboveCap
from ptykill.cli.limit_options import limit_options
from ptykill.rules.command import capped, limits_of
from ptykill.rules.limits import SessionLimits

LIMITS = st.builds(
    SessionLimits,
    st.none() | st.integers(1 << 16, 1 << 40),
    st.none() | st.integers(1, 4_194_304),
    st.none() | st.floats(0.01, 1000),
)


@given(LIMITS, LIMITS)
def test_no_limit_exceeds_its_cap(asked: SessionLimits, caps: SessionLimits) -> None:
    """What is asked for holds if it is within the caps; a cap is the limit where none is asked."""
    pairs = [(getattr(asked, each), getattr(caps, each)) for each in asked.__slots__]
    above = any(limit is not None and cap is not None and limit > cap for limit, cap in pairs)
    attributes = Attributes(
        umask=0o27,
        memory_max=asked.memory_max,
        pids_max=asked.pids_max,
        cpu_max=asked.cpu_max,
    )
    if above:
        with pytest.raises(LimitAboveCap):
            capped(attributes, caps)
        return
    limited = capped(attributes, caps)
    assert limited.umask == 0o27
    for each, (limit, cap) in zip(asked.__slots__, pairs, strict=True):
        assert getattr(limits_of(limited), each) == (cap if limit is None else limit)


@pytest.mark.parametrize(
    ("name", "least", "most", "below", "above"),
    [
        ("memory_max", 65_536, 1 << 62, 65_535, (1 << 62) + 1),
        ("pids_max", 1, 4_194_304, 0, 4_194_305),
        ("cpu_max", 0.01, 65_536.0, 0.0099, 65_536.1),
    ],
)
def test_limits_that_the_kernel_takes(
    name: str, least: float, most: float, below: float, above: float
) -> None:
    """From the least to the most; the others are refused before anything is started."""
    for limit in least, most:
        asked = SessionLimits(**{name: limit})  # type: ignore[arg-type]
        assert (getattr(asked, name), bool(asked)) == (limit, True)
    for wrong in below, above, math.nan, True, "1":
        with pytest.raises(InvalidArgument):
            SessionLimits(**{name: wrong})  # type: ignore[arg-type]


@given(LIMITS)
def test_each_limit_needs_its_controller(limits: SessionLimits) -> None:
    """No limit, no controller."""
    names = {"memory": limits.memory_max, "pids": limits.pids_max, "cpu": limits.cpu_max}
    assert set(limits.controllers) == {name for name, limit in names.items() if limit is not None}
    assert bool(limits) is bool(limits.controllers)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("65536", 65536), ("512M", 512 << 20), ("1.5g", 3 << 29), ("2GiB", 2 << 30)],
)
def test_sizes_have_suffixes(text: str, size: int) -> None:
    """They are powers of 1024, in either case."""
    assert _size(text) == size


@pytest.mark.parametrize("text", ["", "M", "-1", "1e9", "1 G", "1X", "\u0661M", "1.G"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The message shows what was given."""
    with pytest.raises(click.BadParameter, match="is not a size such as 512M"):
        _size(text)


def _size(text: str) -> object:
    @click.command()
    @limit_options
    def command(**limits: object) -> object:
        return limits["memory_max"]

    return command.main(["--memory-max", text], standalone_mode=False)
