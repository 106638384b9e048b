"""Events as lines for a person, and what they tell of names and labels."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from ptykill.cli.client.messages import printable
from ptykill.cli.client.table import SHORT_ID, exit_text
from ptykill.http.event_schema import Event
from ptykill.http.session_record import SessionRecord
from ptykill.rules.naming import Selector
from ptykill.rules.session_event import EventKind

__all__ = ["EventLines"]


class EventLines:
    """Turns events into lines. It knows the sessions' names, and which of them are wanted."""

    def __init__(self, wanted: Selector, *, columns: bool) -> None:
        self._wanted = wanted
        self._columns = columns
        self._names: dict[str, str | None] = {}
        self._others: set[str] = set()
        """The sessions that are not wanted."""
        self._dropped = ""
        """The session that the event before has dropped: its name is forgotten with the next."""
        self._begun = False

    def know(self, sessions: Iterable[SessionRecord]) -> None:
        """Note names and labels from a list: events follow, so a reset says that some are lost."""
        for each in sessions:
            self._add(each.session_id, msgspec.to_builtins(each))
        self._begun = True

    def wants(self, event: Event) -> bool:
        """Note what an event tells, and return whether it is wanted.

        A session that was never listed may be any: its events are wanted.
        """
        self._names.pop(self._dropped, None)
        self._others.discard(self._dropped)
        self._dropped = ""
        if event.kind == EventKind.RESET:
            self._names.clear()
            self._others.clear()
            for record in event.sessions or ():
                self._add(str(record.get("session_id")), record)
            return True
        session_id = event.session_id or ""
        if event.kind == EventKind.CREATED:
            self._add(session_id, event.changes or {})
        if event.kind == EventKind.DROPPED:
            self._dropped = session_id
        return self.is_wanted(session_id)

    def is_wanted(self, session_id: object) -> bool:
        """Return whether a session is wanted, as far as that is known."""
        return session_id not in self._others

    def line(self, event: Event) -> str:
        """Return the line of an event: the time here, the session, the kind, and the rest."""
        session_id = event.session_id or "-"
        name = self._names.get(session_id)
        seconds, ms = divmod(event.at, 1000)
        when = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))}.{ms:03}"
        rest = printable(self._rest_of(event))
        self._begun = True
        if not self._columns:
            return "\t".join(map(printable, (when, session_id, name or "", event.kind, rest)))
        who = printable(name or session_id[:SHORT_ID])
        return f"{when}  {who:<{SHORT_ID}}  {printable(event.kind):<9}  {rest}".rstrip()

    def _add(self, session_id: str, record: Mapping[str, Any]) -> None:
        name, labels = record.get("name"), record.get("labels") or {}
        self._names[session_id] = name
        if not self._wanted.matches(name, labels):
            self._others.add(session_id)

    def _rest_of(self, event: Event) -> str:
        if event.kind == EventKind.RESET:
            return self._reset(event.sessions or [])
        return _told_of(event, event.changes or {})

    def _reset(self, sessions: list[dict[str, Any]]) -> str:
        wanted = [each for each in sessions if self.is_wanted(each.get("session_id"))]
        live = sum(bool(each.get("is_alive")) for each in wanted)
        missing = "events are missing here; " if self._begun else ""
        return f"{missing}sessions: {live} live, {len(wanted) - live} over"


def _told_of(event: Event, changes: Mapping[str, Any]) -> str:  # noqa: PLR0911 - one a kind
    """Return what an event tells, apart from its kind."""
    match event.kind:
        case EventKind.CREATED:
            return shlex.join(map(str, (changes.get("command", ""), *changes.get("args", ()))))
        case EventKind.ATTACHED | EventKind.DETACHED:
            return f"{changes.get('client_count')} attached"
        case EventKind.RESIZED:
            return f"{changes.get('cols')}x{changes.get('rows')}"
        case EventKind.ENDING:
            return "" if event.why is UNSET else event.why
        case EventKind.DELIVERY if event.delivery is not UNSET:
            return _delivery(event.delivery)
        case EventKind.EXITED:
            return exit_text(changes.get("exit_code")) or "its exit code can't be known"
        case EventKind.STUCK | EventKind.ENDED if event.verdict is not UNSET:
            return _verdict(event.verdict)
        case EventKind.DEADLINES:
            found = (changes.get("deadlines") or {}).items()
            texts = [f"{name} {seconds:g} s" for name, seconds in found if seconds is not None]
            return ", ".join(texts) or "none"
        case EventKind.DROPPED:
            return ""
    return json.dumps(changes) if changes else ""


def _delivery(delivery: Mapping[str, Any]) -> str:
    parts = [f"{delivery.get('what')} reached {delivery.get('reached')}"]
    if refused := delivery.get("refused"):
        parts.append(f"refused by {' '.join(map(str, refused))}")
    if error := delivery.get("error"):
        parts.append(str(error))
    return ", ".join(parts)


def _verdict(verdict: Mapping[str, Any]) -> str:
    parts = [f"{verdict.get('outcome')} in {verdict.get('took_ms')} ms"]
    if caveats := verdict.get("caveats"):
        parts.append(" ".join(map(str, caveats)))
    if error := verdict.get("error"):
        parts.append(str(error))
    return ", ".join(parts)
