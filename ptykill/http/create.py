"""The body of a create.

Imported when it is wanted, since only this needs msgspec (the extra ``http``).
"""

from __future__ import annotations

import msgspec

from ptykill.errors import InvalidArgument
from ptykill.http.operations import Create

__all__ = ["read_create"]

_MOST_ROWS, _MOST_COLS = 500, 1000


class _Body(msgspec.Struct):
    """Fields that are not named here are ignored; null is as good as left out."""

    command: str
    args: list[str] | None = None
    env: dict[str, str] | None = None
    working_dir: str | None = None
    rows: int | None = None
    cols: int | None = None


_decoder = msgspec.json.Decoder(_Body)


def read_create(body: bytes) -> Create:
    """Return what a body asks to start. Raises `InvalidArgument`."""
    try:
        asked = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        msg = f"the body can't be used: {error}"
        raise InvalidArgument(msg) from None
    return Create(
        command=(asked.command, *(asked.args or ())),
        env=asked.env or {},
        working_dir=asked.working_dir,
        rows=_clamped(asked.rows, 24, _MOST_ROWS),
        cols=_clamped(asked.cols, 80, _MOST_COLS),
    )


def _clamped(count: int | None, default: int, most: int) -> int:
    return default if count is None else min(max(count, 1), most)
