"""The reference and the tables of codes are complete."""

from __future__ import annotations

import re
from types import ModuleType

import ptykill
import ptykill.http
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
    for face in ptykill.aio, ptykill.blocking:
        names |= {f"{face.__name__}.{name}" for name in face.__all__}
    names.remove("ptykill.aio.run")  # It is `ptykill.run`.
    assert names == _DOCUMENTED


def test_every_page_can_be_found() -> None:
    """Each page is in the table of contents of the first."""
    pages = {page.stem for page in (TOP / "docs").glob("*.md")} - {"index"}
    listed = re.search(r"```\{toctree\}\n(.*?)```", (TOP / "docs/index.md").read_text(), re.DOTALL)
    assert listed is not None
    assert set(listed[1].split()) - {":maxdepth:", "1"} == pages
