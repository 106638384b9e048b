"""The page of decisions: one form for each record, and an index of all."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import TOP

_INDEX, *_RECORDS = (TOP / "docs" / "decisions.md").read_text(encoding="utf-8").split("\n### ")
_FORM = re.compile(
    r"(?:2026-\d\d-\d\d(?:, )?)+\*\n\n"
    r"\*\*Context\.\*\* .+\n\n\*\*Decision\.\*\* .+\n\n\*\*Consequences\.\*\* ",
    re.DOTALL,
)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


@pytest.mark.parametrize("record", _RECORDS, ids=lambda record: record.partition("\n")[0])
def test_a_record_has_the_form_and_is_in_the_index(record: str) -> None:
    """It has dates, context, decision and consequences, and one link at the top."""
    title, _, text = record.partition("\n")
    assert _FORM.match(text.removeprefix("\n*")), title
    assert _INDEX.count(f"](#{_anchor(title)})") == 1, title
