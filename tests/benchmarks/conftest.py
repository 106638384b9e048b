"""Makes the checkout's benchmarks importable, here and in what they start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
# Last, so that ptykill stays what is installed.
sys.path.append(str(TOP))


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have hosts import the benchmarks of the checkout, and the ptykill that is installed."""
    (tmp_path / "benchmarks").symlink_to(TOP / "benchmarks")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
