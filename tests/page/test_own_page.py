"""The programs of the page about this: a terminal in a page of one's own, by tickets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.docs.pages import TOP
from tests.page.browser import Browser
from tests.page.conftest import KEY
from tests.waiting import TIMEOUT, free_port, listens, wait_until

pytestmark = pytest.mark.long


@contextmanager
def serving(module: str, daemon: str) -> Iterator[str]:
    """Run one of the programs, and return its address."""
    port = free_port()
    commands = {
        "fastapi_page": [
            "uvicorn",
            "fastapi_page:app",
            "--port",
            str(port),
            "--log-level",
            "error",
        ],
        "flask_page": ["flask", "--app", "flask_page", "run", "--port", str(port)],
    }
    environment = os.environ | {
        "PTYKILL_API_KEY": KEY,
        "PTYKILL_URL": f"http://{daemon}",
        "PYTHONPATH": str(TOP / "docs" / "page"),
    }
    with subprocess.Popen(
        [sys.executable, "-m", *commands[module]], env=environment, stderr=subprocess.DEVNULL
    ) as server:
        try:
            wait_until(lambda: server.poll() is not None or listens(port))
            assert server.poll() is None
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(TIMEOUT)


@pytest.mark.parametrize("module", ["fastapi_page", "flask_page"])
def test_a_terminal_in_a_page_of_ones_own(
    daemon: str, browsers: Callable[..., Browser], module: str
) -> None:
    """The page shows a terminal, without the key, and nothing is logged."""
    with serving(module, daemon) as url:
        person = browsers()
        person.open(url)
        person.until(lambda: person.state() == "open")
        person.click("#terminal")
        person.enter("echo $((40 + 2)) here")
        person.until(lambda: "42 here" in person.screen())
        person.enter("exit 3")
        person.until(lambda: person.state() == "ended")
        # Neither page has an icon.
        assert all("favicon.ico" in each for each in person.logs())
