"""What was seen of each pair, and the table of it in the page about mounting."""

from __future__ import annotations
from typing import Any
from tests.mount.pairs import Pair


class Seen:
    def __init__(self) -> None:
        self.notes: dict[Pair, dict[str, Any]] = {}

    def note(self, pair: Pair, **facts: Any) -> None:
        self.notes.setdefault(pair, {}).update(facts)
