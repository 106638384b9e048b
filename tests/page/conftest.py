"""``ptykill serve`` with its page, and browsers for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.daemon import serving

KEY = "key-for-tests"
PLAN = "HUP@session + TERM@escaped 400ms, KILL 15s"

pytest.importorskip("selenium", reason="selenium is not installed")

from tests.page.browser import MISSING, Browser, browser  # noqa: E402 - it needs selenium


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option, which is there only where this folder was named to pytest."""
    parser.addoption("--write-pictures", action="store_true", help="write the pictures of the docs")


@pytest.fixture
def daemon() -> Iterator[str]:
    """Run ``ptykill serve``, and return its address."""
    with serving("--plan", PLAN, key=KEY) as address:
        yield address


@pytest.fixture
def browsers(daemon: str) -> Iterator[Callable[..., Browser]]:
    """Return a function that starts a browser; each is ended at the end of the test.

    That comes before the daemon's end. Nothing may have been logged by then, and the policy may
    have forbidden nothing.
    """
    if MISSING:
        pytest.skip("there is no chromium with its chromedriver")
    with ExitStack() as stack:
        started: list[Browser] = []

        def start(width: int = 1200, height: int = 800, *options: str) -> Browser:
            started.append(stack.enter_context(browser(width, height, *options)))
            return started[-1]

        yield start
        assert [line for each in started for line in each.logs()] == []


@pytest.fixture
def person(browsers: Callable[..., Browser], daemon: str) -> Browser:
    """Return a browser in which a person has logged in."""
    started = browsers()
    started.log_in(daemon, KEY)
    return started
