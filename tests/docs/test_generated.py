"""What the pages derive from the code is what the code says now."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from ptykill.rules.lifecycle import TABLE
from tests.docs.pages import TOP


def _generate(docs: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(docs / "generate.py"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_generated_parts_are_what_the_code_says() -> None:
    """The tables and the diagram in the checkout are up to date."""
    done = _generate(TOP / "docs", "--check")
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_a_difference_is_found_and_written_away(tmp_path: Path) -> None:
    """``--check`` reports the parts that differ, and changes nothing; a run writes them."""
    docs = tmp_path / "docs"
    shutil.copytree(TOP / "docs", docs, ignore=shutil.ignore_patterns("_*", "__pycache__"))
    page, picture = docs / "lifecycle.md", docs / "lifecycle.svg"
    right, drawn = page.read_text(), picture.read_text()
    wrong = right.replace("| `KILLING` | kill bound passed |", "| `KILLING` | bound passed |")
    assert wrong != right
    page.write_text(wrong)
    picture.unlink()
    done = _generate(docs, "--check")
    assert done.returncode == 1
    assert done.stdout.split("\n")[:2] == ["lifecycle.svg is stale", "lifecycle.md is stale"]
    assert page.read_text() == wrong
    assert _generate(docs).returncode == 0
    assert (page.read_text(), picture.read_text()) == (right, drawn)


def test_the_page_has_every_row_of_the_table() -> None:
    """Each transition of the lifecycle is one line of the page, in the table's order."""
    text = (TOP / "docs" / "lifecycle.md").read_text()
    rows = re.findall(
        r"^\| `(\w+)` \| ([\w ]+) \| (?:`(\w+)`|stays) \| [\w ,]+ \|$", text, re.MULTILINE
    )
    assert [(state, event, to or state) for state, event, to in rows] == [
        (state.name, event.value, row.to.name)
        for state, events in TABLE.items()
        for event, row in events.items()
    ]
