"""Write the figures of a run into a page, between its marks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import describe

__all__ = ["write"]

MARKED = re.compile(r"(<!-- measured: (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def write(document: Mapping[str, Any], page: Path) -> None:
    """Write the figures of a run into a page."""

    def fill(part: re.Match[str]) -> str:
        name = part[2]
        if name == "run":
            text = about(document)
        elif name in document["cases"]:
            text = table(document["cases"][name])
        else:
            return part[0]
        return f"{part[1]}\n{text}\n\n{part[3]}"

    page.write_text(MARKED.sub(fill, page.read_text(encoding="utf-8")), encoding="utf-8")


def about(document: Mapping[str, Any]) -> str:
    """Return the machine, the date, the load, and the versions of a run."""
    versions = document["machine"]["versions"].items()
    compared = ", ".join(f"{name} {found}" for name, found in versions if found is not None)
    loads = [case["load"] for case in document["cases"].values()]
    loaded = f"{min(loads):.1f} to {max(loads):.1f} when its cases began"
    nice = f"niceness {document['machine']['nice']}"
    return f"{describe(document['machine'])}, {loaded}; {nice}.\nCompared were {compared}."


def table(case: Mapping[str, Any]) -> str:
    """Return a case's table in Markdown."""
    content = case["table"]
    rows = [content["header"], ["---", *["---:"] * (len(content["header"]) - 1)], *content["rows"]]
    lines = ["| " + " | ".join(cell.strip() for cell in row) + " |" for row in rows]
    remarks = [f"- {remark}" for remark in content["remarks"] if "resident" not in remark]
    return "\n".join([f"**{content['title']}**", "", *lines, *([""] if remarks else []), *remarks])
