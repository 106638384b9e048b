"""What callers choose to find sessions by: a name, labels, and an idempotency key."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from ptykill.errors import InvalidArgument
from ptykill.rules import validate

__all__ = ["LONGEST_KEY", "LONGEST_NAME", "MOST_LABELS", "Naming", "Selector"]

LONGEST_NAME = 63
"""Characters of a name, of a label, and of a label's value: as many as Kubernetes allows."""
MOST_LABELS = 16
"""Labels of one session."""
LONGEST_KEY = 255
"""Characters of an idempotency key."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", re.ASCII)
_KEY = re.compile(r"[!-~]([ -~]{0,253}[!-~])?", re.ASCII)
_ID = re.compile(r"[0-9A-Fa-f]{32}", re.ASCII)


@dataclasses.dataclass(frozen=True, slots=True)
class Naming:
    """The name, the labels and the idempotency key of a session. Raises `InvalidArgument`.

    A name has up to 63 letters, digits, dots, dashes and underscores; it begins with a letter or a
    digit, and is not 32 hexadecimal digits, as an id is. There are up to 16 labels, of the same
    characters and the slash; their values are up to 63 printable characters. A key is up to 255
    printable ASCII characters.
    """

    name: str | None = None
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    key: str | None = None

    @classmethod
    def of(cls, name: object, labels: object, key: object) -> Naming:
        """Check values of a caller; None means that there is none."""
        return cls(
            None if name is None else _checked_name(name),
            {} if labels is None else _checked_labels(labels),
            None if key is None else _checked_key(key),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Selector:
    """Selects sessions by their labels and their name; an empty one selects all.

    Each label has to be there, with this value; None stands for any value.
    """

    labels: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    name: str | None = None

    @classmethod
    def of(cls, labels: object, name: object) -> Selector:
        """Check values of a caller. Raises `InvalidArgument`."""
        wanted: dict[str, str | None] = {}
        for label, value in ({} if labels is None else validate.mapping("labels", labels)).items():
            wanted[_checked_label(label)] = None if value is None else _checked_value(label, value)
        return cls(wanted, None if name is None else _checked_name(name))

    def __bool__(self) -> bool:
        """Return whether there is anything to select by."""
        return bool(self.labels) or self.name is not None

    def matches(self, name: str | None, labels: Mapping[str, str]) -> bool:
        """Return whether a session with this name and these labels is selected."""
        if self.name is not None and name != self.name:
            return False
        return all(
            label in labels and (value is None or labels[label] == value)
            for label, value in self.labels.items()
        )


def _checked_name(value: object) -> str:
    name = validate.text("a name", value)
    if not _NAME.fullmatch(name):
        msg = (
            f"a name has 1 to {LONGEST_NAME} letters, digits, dots, dashes and underscores, and"
            f" begins with a letter or a digit, unlike {name[:80]!r}"
        )
        raise InvalidArgument(msg)
    if _ID.fullmatch(name):
        msg = f"a name can't look like an id, which is 32 hexadecimal digits: {name!r}"
        raise InvalidArgument(msg)
    return name


def _checked_labels(value: object) -> dict[str, str]:
    labels = validate.mapping("labels", value)
    if len(labels) > MOST_LABELS:
        msg = f"a session has at most {MOST_LABELS} labels, not {len(labels)}"
        raise InvalidArgument(msg)
    return {_checked_label(label): _checked_value(label, text) for label, text in labels.items()}


def _checked_label(value: object) -> str:
    label = validate.text("a label", value)
    if not _LABEL.fullmatch(label):
        msg = (
            f"a label has 1 to {LONGEST_NAME} letters, digits, dots, dashes, underscores and"
            f" slashes, and begins with a letter or a digit, unlike {label[:80]!r}"
        )
        raise InvalidArgument(msg)
    return label


def _checked_value(label: object, value: object) -> str:
    text = validate.text(f"the value of the label {label}", value)
    if len(text) > LONGEST_NAME or not text.isprintable():
        msg = f"the value of the label {label} is up to {LONGEST_NAME} printable characters"
        raise InvalidArgument(msg)
    return text


def _checked_key(value: object) -> str:
    key = validate.text("a key", value)
    if not _KEY.fullmatch(key):
        msg = f"a key has 1 to {LONGEST_KEY} printable ASCII characters, and no space at an end"
        raise InvalidArgument(msg)
    return key
