"""Checks of what a caller passes in, for all public functions: wrong values raise our errors.

Each function here takes the name of the value, for the message, and the value. It returns the value
as the type that the signature promises, or raises `InvalidArgument` that says what was expected.
"""

from __future__ import annotations

import enum
import math
import reprlib
import signal
from collections.abc import Collection, Mapping
from typing import TypeVar

from ptykill.errors import InvalidArgument, InvalidGrace, InvalidOffset

__all__ = [
    "LONGEST_WAIT",
    "byte_string",
    "function",
    "grace",
    "has_methods",
    "instance",
    "mapping",
    "member",
    "number",
    "offset",
    "path",
    "seconds",
    "signal_name",
    "text",
    "texts",
    "true_or_false",
    "typed",
    "whole",
]

T = TypeVar("T")
E = TypeVar("E", bound=enum.StrEnum)

LONGEST_WAIT = 86_400.0
"""No step, grace or kill bound is longer than this (seconds: one day)."""


def whole(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return an integer from ``least`` to ``most``; True and False are none."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < least
        or (most is not None and value > most)
    ):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidArgument(_wrong(name, f"a whole number {span}", value))
    return value


def number(name: str, value: object, least: float, most: float) -> float:
    """Return a number from ``least`` to ``most`` as a float; True and False are none."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not least <= value <= most  # also true for nan
    ):
        raise InvalidArgument(_wrong(name, f"a number from {least:g} to {most:g}", value))
    return float(value)


def seconds(name: str, value: object) -> float:
    """Return a time of 0 seconds or more, `math.inf` included, as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise InvalidArgument(_wrong(name, "a number of seconds, 0 or more", value))
    try:
        return float(value)
    except OverflowError:  # An int beyond the largest float.
        return math.inf


def grace(value: object, name: str = "a grace") -> float:
    """Return a wait in seconds, 0 to `LONGEST_WAIT`, as a float. Raises `InvalidGrace`."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not 0 <= value <= LONGEST_WAIT  # also true for nan
    ):
        span = f"a number of seconds from 0 to {LONGEST_WAIT:.0f}"
        raise InvalidGrace(_wrong(name, span, value))
    return float(value)


def offset(name: str, value: object, end: int) -> int:
    """Return an offset in an output that ends at ``end``. Raises `InvalidOffset`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= end:
        span = f"an offset from 0 to {end}, the end of the output"
        raise InvalidOffset(_wrong(name, span, value))
    return value


def true_or_false(name: str, value: object) -> bool:
    """Return a bool. Nothing else stands for one: the text "false" would be true."""
    if not isinstance(value, bool):
        raise InvalidArgument(_wrong(name, "True or False", value))
    return value


def text(name: str, value: object) -> str:
    """Return a str."""
    if not isinstance(value, str):
        raise InvalidArgument(_wrong(name, "a str", value))
    return value


def texts(name: str, value: object) -> tuple[str, ...]:
    """Return the texts of a sequence; one text alone is no sequence of texts."""
    if (
        isinstance(value, str | bytes)
        or not isinstance(value, Collection)
        or not all(isinstance(each, str) for each in value)
    ):
        raise InvalidArgument(_wrong(name, "a sequence of str", value))
    return tuple(value)


def byte_string(name: str, value: object) -> bytes:
    """Return bytes, given bytes, a bytearray or a memoryview."""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise InvalidArgument(_wrong(name, "bytes", value))
    return bytes(value)


def typed(name: str, value: object) -> bytes:
    """Return the bytes to type: those of a str are UTF-8."""
    return value.encode(errors="replace") if isinstance(value, str) else byte_string(name, value)


def instance(name: str, value: object, kind: type[T]) -> T:
    """Return an object of that class."""
    if not isinstance(value, kind):
        raise InvalidArgument(_wrong(name, f"a {kind.__name__}", value))
    return value


def member(name: str, value: object, members: type[E]) -> E:
    """Return a member of an enumeration, given itself or its text."""
    try:
        return members(value)  # type: ignore[arg-type]  # It raises ValueError for any other.
    except ValueError:
        known = ", ".join(each.value for each in members)
        raise InvalidArgument(_wrong(name, f"one of {known}", value)) from None


def path(name: str, value: object) -> str:
    """Return the text of a path, given a str or a path object such as `pathlib.Path`."""
    fspath = getattr(type(value), "__fspath__", None)
    found = value if fspath is None else fspath(value)
    if not isinstance(found, str):
        raise InvalidArgument(_wrong(name, "a path, as a str or a Path", value))
    return found


def mapping(name: str, value: object) -> dict[object, object]:
    """Return a copy of a mapping."""
    if not isinstance(value, Mapping):
        raise InvalidArgument(_wrong(name, "a mapping", value))
    return dict(value)


def function(name: str, value: object) -> None:
    """Check that a value can be called; the error explains if it is a coroutine."""
    if not callable(value):
        hint = ", with its arguments after it" if hasattr(value, "__await__") else ""
        raise InvalidArgument(_wrong(name, f"a function{hint}", value))


def has_methods(name: str, value: object, *methods: str) -> None:
    """Check that an object of the caller's own class has the methods of a protocol."""
    missing = [each for each in methods if not callable(getattr(value, each, None))]
    if missing or isinstance(value, type):
        needed = f"an object with {', '.join(f'{each}()' for each in methods)}"
        raise InvalidArgument(_wrong(name, needed, value))


def signal_name(value: object) -> str:
    """Return the name of a signal without ``SIG``, in capitals, as in a plan's text."""
    found = value.upper().removeprefix("SIG") if isinstance(value, str) else None
    if f"SIG{found}" not in signal.Signals.__members__:
        msg = f"there is no signal {reprlib.repr(value)}"
        raise InvalidArgument(msg)
    assert found is not None
    return found


def _wrong(name: str, expected: str, value: object) -> str:
    return f"{name} must be {expected}, not {reprlib.repr(value)}"
