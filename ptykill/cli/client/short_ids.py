"""Finds sessions by what a person types: an id, the beginning of one, or a name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ptykill.cli.client.daemon_client import DaemonClient, DaemonError
from ptykill.cli.client.messages import printable
from ptykill.http.session_record import SessionRecord

__all__ = ["full_id", "full_ids", "matching"]

_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_MOST_SHOWN = 8


async def full_id(text: str, daemon: DaemonClient) -> str:
    """Return the id that a text stands for. Raises `DaemonError`."""
    return (await full_ids([text], daemon))[0]


async def full_ids(texts: Sequence[str], daemon: DaemonClient) -> list[str]:
    """Return the ids that texts stand for, each once. Raises `DaemonError` if one is ambiguous.

    A whole id is not looked up. A text that fits no session is returned as it is: the daemon says
    that there is none.
    """
    if all(map(_ID.fullmatch, texts)):
        return list(dict.fromkeys(texts))
    known = await daemon.list()
    return list(dict.fromkeys(matching(text, known) for text in texts))


def matching(text: str, sessions: Sequence[SessionRecord]) -> str:
    """Return the id of the only session that fits a text. Raises `DaemonError` if several do.

    A name is that of the live session, or of the last one that had it.
    """
    named = [each for each in sessions if each.name == text]
    found = [each for each in named if each.is_alive] or named[-1:]
    found += [each for each in sessions if each.session_id.startswith(text) and text]
    ids = list(dict.fromkeys(each.session_id for each in found))
    if _ID.fullmatch(text) or not ids:
        return text
    if len(ids) > 1:
        more = f" and {len(ids) - _MOST_SHOWN} more" if len(ids) > _MOST_SHOWN else ""
        candidates = ", ".join(ids[:_MOST_SHOWN])
        msg = f"{printable(text)} is ambiguous: it may be {candidates}{more}"
        raise DaemonError(msg, "AMBIGUOUS_ID", 400)
    return ids[0]
