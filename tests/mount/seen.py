"""The results of each pair, and their table in the page about mounting."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.pages import TOP
from tests.mount.pairs import PAIRS, Pair

__all__ = ["PAGE", "Seen", "rows"]

PAGE = TOP / "docs" / "mounting.md"
_PART = re.compile(r"(<!-- seen: mounts -->\n).*?(<!-- end -->\n)", re.DOTALL)
_HEAD = {
    "framework": "framework",
    "server": "server",
    "delete": "DELETE",
    "dropped": "client gone in a DELETE",
    "attach": "attach",
    "stopped": "SIGTERM",
    "answer": "a DELETE at SIGTERM",
    "killed": "SIGKILL",
    "main": "SIGKILL to the main process alone",
}


class Seen:
    """Collects the tests' results."""

    def __init__(self) -> None:
        self._cells: dict[Pair, dict[str, str]] = {}

    def note(self, pair: Pair, **cells: str) -> None:
        """Record a cell of a pair's row."""
        self._cells.setdefault(pair, {}).update(cells)

    def write(self, page: Path = PAGE) -> None:
        """Write the table into the page. Raises LookupError if a cell is missing."""
        lines = [[*_HEAD.values()], ["---"] * len(_HEAD)]
        for pair in PAIRS:
            cells = {
                "framework": pair.framework,
                "server": pair.server,
                **({} if pair.worker else {"main": "there is one process"}),
                **self._cells.get(pair, {}),
            }
            if missing := _HEAD.keys() - cells.keys():
                raise LookupError(f"{pair}: {', '.join(missing)} not seen")
            lines.append([cells[name] for name in _HEAD])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        text = _PART.sub(
            lambda part: f"{part[1]}\n{table}\n\n{part[2]}", page.read_text(encoding="utf-8")
        )
        page.write_text(text, encoding="utf-8")


def rows(page: Path = PAGE) -> list[tuple[str, str]]:
    """Return the frameworks and servers in the table of the page."""
    part = _PART.search(page.read_text(encoding="utf-8"))
    assert part is not None
    cells = [line.strip("| ").split(" | ") for line in part[0].splitlines() if line.startswith("|")]
    return [(framework, server) for framework, server, *_ in cells[2:]]
