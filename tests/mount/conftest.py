"""What was seen of each pair, and the table of it in the page about mounting."""

from __future__ import annotations
from collections.abc import Iterator
import pytest
from tests.mount.seen import Seen


@pytest.fixture(scope="session")
def seen() -> Iterator[Seen]:
    seen = Seen()
    yield seen
    import sys

    for p, n in seen.notes.items():
        print(p, n, file=sys.stderr)
