"""Closes the supervisor that calls of `run` share, which lives as long as the program."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import uvloop

from ptykill.embedding import run_through


@pytest.fixture(scope="session", autouse=True)
def _uvloop() -> None:
    """Create what uvloop's first loop creates and keeps."""
    uvloop.new_event_loop().close()


@pytest.fixture(autouse=True)
def _no_default_host(_nothing_leaks: None) -> Iterator[None]:
    yield
    run_through._host.close()
    run_through._host = run_through._new_host()
