"""Reads the parameters of a request's query."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

from ptykill.errors import InvalidArgument, InvalidGrace, InvalidOffset
from ptykill.rules.naming import Selector

__all__ = ["check_known", "client", "grace", "number", "offset", "selector", "values"]

_SECONDS = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
"""The syntax of a grace. Python's float() takes more: nan, inf, 1_0, spaces, other digits."""
_CLIENT = re.compile(r"[\w.~-]{1,64}", re.ASCII)
_DIGITS = re.compile(r"\d{1,19}", re.ASCII)


def values(query: str, name: str) -> list[str]:
    """Return all values of a parameter."""
    return [value for each, value in parse_qsl(query, keep_blank_values=True) if each == name]


def check_known(query: str, *known: str) -> None:
    """Raise `InvalidArgument` for a parameter that is not known."""
    for each, _ in parse_qsl(query, keep_blank_values=True):
        if each not in known:
            msg = f"there is no parameter {each!r} here, only {', '.join(known)}"
            raise InvalidArgument(msg)


def number(query: str, name: str, least: int, most: int) -> int | None:
    """Return the number in a parameter, None if there is none. Raises `InvalidArgument`."""
    found = values(query, name)
    if not found:
        return None
    if len(found) > 1 or not _DIGITS.fullmatch(found[0]) or not least <= int(found[0]) <= most:
        msg = f"{name} is a number from {least} to {most}"
        raise InvalidArgument(msg)
    return int(found[0])


def grace(query: str, cap: float) -> float | None:
    """Return the grace, at most ``cap`` seconds; None if there is none. Raises `InvalidGrace`."""
    graces = values(query, "grace")
    if not graces:
        return None
    if len(graces) > 1:
        msg = "grace is given more than once"
        raise InvalidGrace(msg)
    if not _SECONDS.fullmatch(graces[0]) or not float(graces[0]) <= cap:
        msg = f"grace is a number of seconds from 0 to {cap:g}"
        raise InvalidGrace(msg)
    return float(graces[0])


def offset(query: str) -> int | None:
    """Return the offset to go on from, None if there is none. Raises `InvalidOffset`."""
    found = values(query, "from")
    if not found:
        return None
    if len(found) > 1 or not _DIGITS.fullmatch(found[0]):
        msg = "from is an offset in bytes, a whole number of at least 0, and is given once"
        raise InvalidOffset(msg)
    return int(found[0])


def client(query: str) -> str | None:
    """Return the name that a client gives itself, None if none. Raises `InvalidArgument`."""
    found = values(query, "client")
    if not found:
        return None
    if len(found) > 1 or not _CLIENT.fullmatch(found[0]):
        msg = "client is 1 to 64 letters, digits and any of -._~, and is given once"
        raise InvalidArgument(msg)
    return found[0]


def selector(query: str) -> Selector:
    """Return what selects sessions: ``label=KEY=VALUE`` or ``label=KEY``, repeated, and ``name``.

    Raises `InvalidArgument`.
    """
    names = values(query, "name")
    if len(names) > 1:
        msg = "name is given more than once"
        raise InvalidArgument(msg)
    return Selector.of(_labels(values(query, "label")), names[0] if names else None)


def _labels(texts: Iterable[str]) -> dict[str, str | None]:
    labels: dict[str, str | None] = {}
    for text in texts:
        label, equals, value = text.partition("=")
        wanted = value if equals else None
        if labels.setdefault(label, wanted) != wanted:
            msg = f"the label {label!r} is given more than once, with different values"
            raise InvalidArgument(msg)
    return labels
