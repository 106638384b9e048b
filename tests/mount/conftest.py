"""``pytest tests/mount --write-table`` writes its results into the page about mounting."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.mount.seen import Seen


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--write-table", action="store_true", help="write the table of the page")


@pytest.fixture(scope="session")
def seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    """Return the collector of the table's cells."""
    seen = Seen()
    yield seen
    # The option is there only where this folder was named to pytest.
    if request.config.getoption("--write-table", default=False):
        seen.write()
