"""The reference and the tables of codes are complete."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import ptykill
import ptykill.http
import ptykill.page
import ptykill.testing
from tests.docs.pages import TOP

_REFERENCE = (TOP / "docs" / "reference.md").read_text()
_DOCUMENTED = set(re.findall(r"^\.\. auto\w+:: ([\w.]+)", _REFERENCE, re.MULTILINE))


def test_every_public_name_is_in_the_reference() -> None:
    """What can be imported from the package or its fakes is documented, and nothing else is."""
    names = {
        f"ptykill.{name}"
        for name in dir(ptykill)
        if not name.startswith("_") and not isinstance(getattr(ptykill, name), ModuleType)
    }
    names |= {f"ptykill.testing.{name}" for name in ptykill.testing.__all__}
    names |= {
        f"ptykill.http.{name}" for name in ptykill.http.__all__ if name not in ptykill.__all__
    }
    names |= {f"ptykill.page.{name}" for name in ptykill.page.__all__}
    for face in ptykill.aio, ptykill.blocking:
        names |= {f"{face.__name__}.{name}" for name in face.__all__}
    names.remove("ptykill.aio.run")  # It is `ptykill.run`.
    assert names == _DOCUMENTED


@pytest.mark.long
def test_every_public_member_is_in_the_reference(tmp_path: Path) -> None:
    """Sphinx finds each attribute, method and field of each public class, with its text."""
    pytest.importorskip("sphinx")
    from sphinx.util.inventory import InventoryFile  # noqa: PLC0415 - an extra

    (tmp_path / "conf.py").write_text('extensions = ["myst_parser", "sphinx.ext.autodoc"]\n')
    (tmp_path / "index.md").write_text(_REFERENCE)
    build = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-b",
        "html",
        str(tmp_path),
        str(tmp_path / "out"),
    ]
    subprocess.run(build, check=True, stderr=subprocess.DEVNULL)  # Of links to other pages.
    with (tmp_path / "out/objects.inv").open("rb") as file:
        there = {
            each for kind in InventoryFile.loads(file.read(), uri="").data.values() for each in kind
        }
    lacking = {
        f"{place.__name__}.{name}.{member}"
        for place in (
            ptykill,
            ptykill.http,
            ptykill.page,
            ptykill.testing,
            ptykill.aio,
            ptykill.blocking,
        )
        for name in place.__all__
        for member in _members(getattr(place, name))
    } - there
    assert lacking == set()


def _members(thing: object) -> set[str]:
    """Return the names of the public members that a class of ptykill's own defines."""
    if not inspect.isclass(thing):
        return set()
    if issubclass(thing, ptykill.PtykillError):
        return set()  # Its code and its status are in a table.
    ours = [base for base in thing.__mro__ if base.__module__.partition(".")[0] == "ptykill"]
    found = {name for base in ours for name in (*vars(base), *base.__annotations__)}
    return {name for name in found if not name.startswith("_")}


def test_every_page_can_be_found() -> None:
    """Each page is in the table of contents of the first."""
    pages = {page.stem for page in (TOP / "docs").glob("*.md")} - {"index"}
    index = (TOP / "docs/index.md").read_text()
    tables = re.findall(r"```\{toctree\}\n(?::[^\n]*\n)*([^`]*)```", index)
    listed = [name for table in tables for name in table.split()]
    assert sorted(listed) == sorted(pages)
