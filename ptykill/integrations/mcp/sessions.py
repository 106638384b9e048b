"""The sessions of one client, by their names, and what the tools do with them."""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Mapping, Sequence

import trio

from ptykill import Deadlines, InputFull, Session, SessionNotFound, Supervisor
from ptykill.integrations.mcp.keys import CURSOR_KEYS, key_bytes, with_application_keys
from ptykill.system.pty.environment import inherited

__all__ = ["Sessions"]

_TERM = "xterm-256color"
"""The terminal's type, if the client has not told any."""


class Sessions:
    """The sessions of one client. ``caps`` are the longest deadlines that it may ask for."""

    def __init__(self, supervisor: Supervisor, caps: Deadlines) -> None:
        self.supervisor: Supervisor = supervisor
        self.caps: Deadlines = caps
        self._numbers = itertools.count(1)
        self._dropped: weakref.WeakKeyDictionary[Session, int] = weakref.WeakKeyDictionary()

    def find(self, name: str) -> Session:
        """Return a session by its name, the newest of them, or by its id."""
        named = [each for each in self.supervisor.sessions if each.name == name]
        if named:
            return named[-1]
        try:
            return self.supervisor.get(name)
        except SessionNotFound:
            raise _NoSession(name, self._live_names()) from None

    def _live_names(self) -> str:
        live = [each.name or each.id for each in self.supervisor.sessions if each.verdict is None]
        return ", ".join(live) or "none"

    def new_name(self) -> str:
        """Return a name that no session has."""
        taken = {each.name for each in self.supervisor.sessions}
        return next(name for number in self._numbers if (name := f"s{number}") not in taken)

    def environment(self, env: Mapping[str, str], cwd: str | None) -> dict[str, str]:
        """Return the environment of a program: ours, with what the client has asked for."""
        ours = {os.fsdecode(name): os.fsdecode(value) for name, value in inherited(cwd).items()}
        return {"TERM": _TERM, **ours, **env}

    def newly_dropped(self, session: Session) -> int:
        """Return how many bytes of output were dropped, unread, since the last such look."""
        before = self._dropped.get(session, 0)
        self._dropped[session] = session.bytes_dropped
        return session.bytes_dropped - before

    async def typed(self, session: Session, text: str, keys: Sequence[str]) -> bytes:
        """Return what to type for a text and the names of keys."""
        application = False
        if any(each.lower() in CURSOR_KEYS for each in keys):
            application = with_application_keys(await self.newest(session))
        return text.encode() + b"".join(key_bytes(each, application=application) for each in keys)

    async def send(self, session: Session, data: bytes, timeout: float) -> None:  # noqa: ASYNC109
        """Type something. Raises `InputFull` if the program has not read it in time."""
        with trio.move_on_after(timeout) as scope:
            await session.send(data)
        if scope.cancelled_caught:
            msg = f"the program has not read all of it within {timeout:g} s"
            raise InputFull(msg)

    async def newest(self, session: Session) -> bytes:
        """Return the newest output, with its escape sequences; it can still be read after that."""
        data = []
        with session.attach() as attachment:
            while attachment.pending:
                data.append(await attachment.receive())
        return b"".join(data)


class _NoSession(SessionNotFound):
    """There is no such session; the message has the names of those that there are."""

    def __init__(self, name: str, others: str) -> None:
        super().__init__(name)
        self.args = (f"there is no session {name!r}; live sessions: {others}",)
