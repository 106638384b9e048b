"""The pages, and the blocks in them that are code.

- ``python``: a whole program, run by itself; as a test module, if it defines tests.
- ``output``: what the ``python`` or ``py`` block before it prints; ``…`` stands for whatever it is
  there.
- ``py``: a whole program as well, one that talks to a ``ptykill serve``, which runs meanwhile.
- ``pycon``: doctests; those of one page are one session.
- ``console``: commands after ``$``, given to one bash while ``ptykill serve`` runs, and what they
  print.

Blocks of any other kind are only shown.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = ["PAGES", "TOP", "Block", "blocks", "matches"]

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md"))]

_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: where it is, what kind it is, and what is in it."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return every fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page.name, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in _FENCED.finditer(text)
    ]


def matches(shown: str, printed: str) -> bool:
    """Return whether something was printed as it is shown, but for what ``…`` stands for.

    ``0.0 s`` is at once: on a busy machine that may take some seconds.
    """
    pattern = ".*?".join(map(re.escape, shown.strip().split("…")))
    pattern = pattern.replace(re.escape("0.0 s"), r"[0-4]\.\d\ s")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
