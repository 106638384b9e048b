"""Write the parts of these pages that follow from the code: tables, rules, the state diagram.

``python docs/generate.py`` rewrites what stands between the markers of each page, and
``lifecycle.svg``; with ``--check`` it only compares, and exits with 1 if something differs. It is
one long file of short functions: one for each part of a page, and no part needs another.
"""

from __future__ import annotations

import ast
import enum
import errno
import inspect
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import ptykill
from ptykill import errors
from ptykill.errors import PtykillError
from ptykill.http.api import Api
from ptykill.http.openapi import CODES
from ptykill.integrations.mcp.tools import TOOLS
from ptykill.rules import lifecycle
from ptykill.rules.lifecycle import TABLE, Action, Event, Row, State
from ptykill.testing.adversaries import ADVERSARIES

HERE = Path(__file__).parent


def main(*arguments: str) -> int:
    """Write, or check; return the exit status."""
    stale = {path: text for path, text in generated().items() if _current(path) != text}
    for path, text in stale.items():
        sys.stdout.write(f"{path.name} {'is stale' if arguments else 'is written'}\n")
        if not arguments:
            path.write_text(text, encoding="utf-8")
    return 1 if stale and arguments else 0


def generated() -> dict[Path, str]:
    """Return the files that hold generated parts, as they should be."""
    files = {HERE / "lifecycle.svg": diagram()}
    for path in sorted(HERE.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if _MARKED.search(text):
            files[path] = _MARKED.sub(_fill, text)
    return files


_MARKED = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def _fill(part: re.Match[str]) -> str:
    return f"{part[1]}\n{_PARTS[part[2]]()}\n\n{part[3]}"


def _current(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


# --- words ----------------------------------------------------------------------------------------


def _markdown(docstring: str) -> str:
    """Turn a docstring's reStructuredText into Markdown, as far as ours goes."""
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", docstring)
    return re.sub(r"``([^`]+)``", r"`\1`", " ".join(text.split()))


def _about(members: type[enum.Enum]) -> dict[str, str]:
    """Return what the source says below each member of an enumeration."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(members))).body
    assert isinstance(body, ast.ClassDef)
    about: dict[str, str] = {}
    name = ""
    for each in body.body:
        match each:
            case ast.Assign(targets=[ast.Name(id=name)]):
                about[name] = ""
            case ast.Expr(value=ast.Constant(value=str(words))) if name:
                about[name] = _markdown(words)
    return about


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _members(head: str, members: type[enum.Enum]) -> str:
    about = _about(members)
    rows = [(f"`{each.name}`", str(each.value), about[each.name]) for each in members]
    return _table((head, "in words", "what it means"), rows)


def _rules() -> str:
    """Return the numbered rules of the lifecycle module."""
    words = inspect.getdoc(lifecycle) or ""
    (rules,) = re.findall(r"(^1\. .*?)\n\n", words, re.DOTALL | re.MULTILINE)
    items = re.split(r"\n(?=\d+\. )", rules)
    return "\n".join(_markdown(each) for each in items)


def _transitions() -> str:
    rows = [
        (
            f"`{state.name}`",
            event.value,
            f"`{row.to.name}`" if row.to is not state else "stays",
            ", ".join(action.value for action in row.actions) or "nothing",
        )
        for state, events in TABLE.items()
        for event, row in events.items()
    ]
    return _table(("from", "event", "to", "actions"), rows)


def _presets() -> str:
    rows = [
        (f"`{name}`", f"`{plan}`", f"{plan.grace:g} s", f"{plan.longest:g} s")
        for name in ("HANGUP_THEN_KILL", "KILL_NOW", "ASK_FIRST")
        for plan in [getattr(ptykill, name)]
    ]
    return _table(("name", "as text", "grace", "longest"), rows)


def _errors() -> str:
    rows = []
    for name in sorted([*errors.__all__, "RunFailed"]):  # It is beside what it has.
        each = getattr(ptykill if name == "RunFailed" else errors, name)
        if issubclass(each, PtykillError) and each is not errors.SpawnError:
            rows.append((f"`{name}`", f"`{each.code}`", str(each.status), each.blame.value))
    return _table(("error", "code", "status", "whose fault"), rows)


def _spawn_errors() -> str:
    # As `SpawnError` itself decides: a caller's mistake is 400, with the code that says which.
    found: dict[tuple[str, str], list[str]] = {}
    for stage in ("terminal", "limits", "user", "chdir", "exec"):
        for number, name in sorted(errno.errorcode.items()):
            error = errors.SpawnError(number, os.strerror(number), stage, "x")
            if error.status == 400:
                found.setdefault((error.code, stage), []).append(f"`{name}`")
    rows = [(f"`{code}`", "400", stage, ", ".join(names)) for (code, stage), names in found.items()]
    rows.append(("`SPAWN_FAILED`", "500", "any", "every other"))
    return _table(("code", "status", "stage", "errno"), rows)


def _adversaries() -> str:
    rows = [
        (each.name, each.about, ", ".join(f"`{need}`" for need in each.needs))
        for each in ADVERSARIES
    ]
    return _table(("program", "what it does", "needs"), rows)


def _mcp_tools() -> str:
    rows = []
    for name, tool in TOOLS.items():
        schema = tool.schema_of()
        arguments = [
            f"`{each}`" if each in schema["required"] else f"[`{each}`]"
            for each in schema["properties"]
        ]
        rows.append((f"`{name}`", ", ".join(arguments), _markdown(tool.__doc__ or "")))
    return _table(("tool", "arguments", "what a model is told"), rows)


# --- the API --------------------------------------------------------------------------------------


def _document() -> dict[str, Any]:
    """Return the OpenAPI document, as `ptykill serve` has it at ``/openapi.json``."""
    told: dict[str, Any] = json.loads(Api(key=None, spawning=True).openapi("").body)
    return told


def _endpoints() -> str:
    return "\n\n".join(
        _endpoint(method.upper(), path, operation)
        for path, operations in _document()["paths"].items()
        for method, operation in operations.items()
    )


def _endpoint(method: str, path: str, operation: Mapping[str, Any]) -> str:
    about = re.sub(r"(?<=\.) ", "\n", operation["description"])
    parts = [f"### {method} {path}", f"`{operation['operationId']}`\\\n{about}"]
    parameters = [
        (f"`{each['name']}`", each["in"], _type(each["schema"]), each["description"])
        for each in operation["parameters"]
    ]
    if parameters:
        parts.append(_table(("parameter", "in", "type", "what it is"), parameters))
    if "requestBody" in operation:
        parts.append(f"The body is a {_content(operation['requestBody'])}, and required.")
    answers = [
        (status, ", ".join(_codes(answer)) or answer["description"], _content(answer))
        for status, answer in operation["responses"].items()
    ]
    parts.append(_table(("status", "when", "body"), answers))
    return "\n\n".join(parts)


def _codes(answer: Mapping[str, Any]) -> list[str]:
    return re.findall(r"^- (`\w+`)", answer["description"], re.MULTILINE)


def _content(holder: Mapping[str, Any]) -> str:
    return "".join(
        _type(each["schema"]) + ("" if kind == "application/json" else f" as {kind}")
        for kind, each in holder.get("content", {}).items()
    )


def _bodies() -> str:
    parts = []
    for name, schema in _document()["components"]["schemas"].items():
        rows = [
            (
                f"`{field}`",
                _type(told),
                "yes" if field in schema.get("required", ()) else "no",
                _about_field(told),
            )
            for field, told in schema["properties"].items()
        ]
        table = _table(("field", "type", "required", "what it is"), rows)
        parts += [f"### {name}", schema["description"], table]
    return "\n\n".join(parts)


def _about_field(schema: Mapping[str, Any]) -> str:
    found = [each["description"] for each in _choices(schema) if "description" in each]
    return " ".join(found)


def _choices(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [schema, *schema.get("anyOf", ())]


def _type(schema: Mapping[str, Any]) -> str:
    """Return a JSON schema in words, with its limits."""
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    kind: str = schema["type"]
    if kind == "array":
        return f"list, each {_type(schema['items'])}{_limit(schema, 'Items')}"
    if kind == "object" and "additionalProperties" in schema:
        each = _type(schema["additionalProperties"])
        return f"object, each value {each}{_limit(schema, 'Properties')}"
    return kind + (_span(schema) or _limit(schema, "Length"))


def _span(schema: Mapping[str, Any]) -> str:
    if "exclusiveMinimum" in schema:
        return f", above {schema['exclusiveMinimum']:g}, to {schema['maximum']:.0f}"
    if "maximum" in schema:
        return f", {schema['minimum']:g} to {schema['maximum']:g}"
    return ""


def _limit(schema: Mapping[str, Any], of_what: str) -> str:
    limits = (("at least", f"min{of_what}"), ("at most", f"max{of_what}"))
    told = [f"{words} {schema[name]}" for words, name in limits if name in schema]
    unit = " long" if of_what == "Length" else ""
    return f" ({' and '.join(told)}{unit})" if told else ""


def _codes_table() -> str:
    rows = [(str(status), f"`{code}`", when) for code, (status, when) in CODES.items()]
    return _table(("status", "code", "when"), rows)


def _schemes() -> str:
    rows = [
        (f"`{name}`", f"{scheme['type']} {scheme['scheme']}", scheme["description"])
        for name, scheme in _document()["components"]["securitySchemes"].items()
    ]
    return _table(("scheme", "type", "what it is"), rows)


_PARTS: dict[str, Callable[[], str]] = {
    "endpoints": _endpoints,
    "bodies": _bodies,
    "codes": _codes_table,
    "schemes": _schemes,
    "rules": _rules,
    "states": lambda: _members("state", State),
    "events": lambda: _members("event", Event),
    "actions": lambda: _members("action", Action),
    "transitions": _transitions,
    "reaches": lambda: _members("reach", ptykill.Reach),
    "leftovers": lambda: _members("policy", ptykill.Leftovers),
    "presets": _presets,
    "outcomes": lambda: _members("outcome", ptykill.Outcome),
    "caveats": lambda: _members("caveat", ptykill.Caveat),
    "errors": _errors,
    "spawn-errors": _spawn_errors,
    "adversaries": _adversaries,
    "mcp-tools": _mcp_tools,
}


# --- the diagram ----------------------------------------------------------------------------------

_S = State
_WIDTH, _HEIGHT = 250, 130
_CANVAS = (1140, 620)
_CORNERS = {
    _S.RUNNING: (20, 110),
    _S.STOPPING: (430, 110),
    _S.KILLING: (840, 110),
    _S.SWEEPING: (20, 430),
    _S.ENDED: (430, 430),
    _S.STUCK: (840, 430),
}
"""Where each state's box has its upper left corner."""
_ROUTES: dict[tuple[State, State], tuple[list[tuple[int, int]], tuple[int, int]]] = {
    (_S.RUNNING, _S.STOPPING): ([(270, 175), (430, 175)], (350, 175)),
    (_S.RUNNING, _S.KILLING): ([(145, 110), (145, 50), (965, 50), (965, 110)], (555, 50)),
    (_S.RUNNING, _S.SWEEPING): ([(145, 240), (145, 430)], (145, 335)),
    (_S.SWEEPING, _S.STOPPING): ([(225, 430), (475, 240)], (350, 335)),
    (_S.SWEEPING, _S.ENDED): ([(270, 495), (430, 495)], (350, 495)),
    (_S.SWEEPING, _S.KILLING): (
        [(145, 560), (145, 595), (1118, 595), (1118, 175), (1090, 175)],
        (620, 595),
    ),
    (_S.STOPPING, _S.KILLING): ([(680, 175), (840, 175)], (760, 175)),
    (_S.STOPPING, _S.ENDED): ([(555, 240), (555, 430)], (555, 335)),
    (_S.KILLING, _S.ENDED): ([(870, 240), (650, 430)], (760, 335)),
    (_S.KILLING, _S.STUCK): ([(915, 240), (915, 430)], (915, 335)),
    (_S.STUCK, _S.KILLING): ([(1040, 430), (1040, 240)], (1040, 335)),
    (_S.STUCK, _S.ENDED): ([(840, 495), (680, 495)], (760, 495)),
}
"""The way from one state to another, and where its label stands."""
_STYLE = """
  text { font: 11px ui-monospace, monospace; fill: #1f2328; text-anchor: middle }
  .gap { fill: #fff }
  .name { font-size: 14px; font-weight: bold }
  .stays { text-anchor: start; fill: #57606a }
  .way { fill: none; stroke: #57606a; stroke-width: 1.3; marker-end: url(#tip) }
  .box { fill: #f6f8fa; stroke: #1f2328; stroke-width: 1.3 }
  .end { stroke-width: 3 }
"""
_TIP = """<defs>
<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0 8 4 0 8z" fill="#57606a"/>
</marker>
</defs>"""
_SAYS = "The states of a session and what leads from one to another; the table has the same rows."


def diagram() -> str:
    """Draw the table: states as boxes, with what leaves them as they are, and the ways between."""
    width, height = _CANVAS
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{_SAYS}</title>",
        f"<style>{_STYLE}</style>",
        _TIP,
        f'<rect width="{width}" height="{height}" rx="8" fill="#fff"/>',
    ]
    ways = {
        (state, row.to): {event: each for event, each in events.items() if each.to is row.to}
        for state, events in TABLE.items()
        for row in events.values()
    }
    between = {pair: rows for pair, rows in ways.items() if pair[0] is not pair[1]}
    if between.keys() != _ROUTES.keys() or TABLE.keys() != _CORNERS.keys():
        raise LookupError(f"draw anew: {between.keys() ^ _ROUTES.keys()}")
    for pair in between:
        points = " ".join(f"{x},{y}" for x, y in _ROUTES[pair][0])
        lines.append(f'<polyline class="way" points="{points}"/>')
    for pair, rows in between.items():
        lines += _label(_ROUTES[pair][1], rows)
    for state, corner in _CORNERS.items():
        lines += _box(state, corner, ways.get((state, state), {}))
    return "\n".join([*lines, "</svg>", ""])


def _label(place: tuple[int, int], rows: dict[Event, Row]) -> list[str]:
    """Write the events of one way around a place, and below them what is done."""
    said: list[str] = []
    for done in dict.fromkeys(map(_done, rows.values())):
        events = [event.value for event, row in rows.items() if _done(row) == done]
        said += [f"or {event}" if said or n else event for n, event in enumerate(events)]
        said += [f"/ {done}"] if done else []
    x, middle = place
    top = middle - 7 * len(said)
    wide = 7 * max(map(len, said)) + 4
    # The line goes behind it.
    size = f'width="{wide}" height="{14 * len(said)}"'
    back = f'<rect class="gap" x="{x - wide // 2}" y="{top}" {size}/>'
    return [back, *(_text(x, top + 11 + 14 * n, line, "label") for n, line in enumerate(said))]


def _box(state: State, corner: tuple[int, int], stays: dict[Event, Row]) -> list[str]:
    x, y = corner
    kind = "box" if TABLE[state].keys() - stays.keys() else "box end"
    lines = [
        f'<rect class="{kind}" x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>',
        _text(x + _WIDTH // 2, y + 24, state.name, "name"),
    ]
    for n, (event, row) in enumerate(stays.items()):
        done = f" / {_done(row)}" if row.actions else ""
        lines.append(_text(x + 14, y + 46 + 16 * n, event.value + done, "stays"))
    return lines


def _done(row: Row) -> str:
    return ", ".join(action.value for action in row.actions)


def _text(x: int, y: int, words: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(words)}</text>'


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
