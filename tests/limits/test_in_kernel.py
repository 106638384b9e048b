"""The tests beside, in a kernel of their own: there every controller is to be had."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.limits.own_kernel import kernel, run_in_kernel

_FOLDER = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(kernel() is None, reason="there is no user-mode Linux (linux.uml)")
@pytest.mark.timeout(400)
@pytest.mark.long
def test_limits_hold_in_a_kernel_that_has_all_controllers() -> None:
    """Every test of limits passes in it, and none is skipped."""
    status, said = run_in_kernel(["true"], _FOLDER, 60)
    if status < 0 and "put_fp_registers" in said:
        pytest.skip("this processor has registers that user-mode Linux does not know: it panics")
    tests = [str(_FOLDER / "tests/limits/test_limits.py")]
    options = ["-q", "-p", "no:cacheprovider", "-rs"]
    options += ["-p", "pytest_trio.plugin", "-p", "pytest_timeout"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    status, said = run_in_kernel(command, _FOLDER, 360)
    assert status == 0, said
    assert "skipped" not in said, said
