"""Idempotency keys: a spawn that is repeated with its key gets the session of the first one.

A key is kept as long as the session, or its record. A spawn that fails has started nothing, so its
key is free again: the next spawn with it tries anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Awaitable, Callable

import trio

from ptykill.engine.caller import claim
from ptykill.engine.session import Session
from ptykill.engine.settings import Settings
from ptykill.errors import KeyReused
from ptykill.rules.command import Command
from ptykill.rules.naming import Naming

__all__ = ["Keys", "digest"]


@dataclasses.dataclass(slots=True)
class _Entry:
    """One key: the digest of its first spawn, and the session, once that is spawned."""

    asked: bytes
    session: Session | None = None
    settled: trio.Event = dataclasses.field(default_factory=trio.Event)


class Keys:
    """The idempotency keys of one supervisor."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    async def once(
        self, key: str, asked: bytes, spawn: Callable[[], Awaitable[Session]]
    ) -> Session:
        """Return the session that a key stands for; spawn it if there is none.

        While another task spawns it, this waits for that. ``asked`` is the `digest` of what is to
        be spawned. Raises `KeyReused` if it differs from that of the key's first spawn, and what
        ``spawn`` does.
        """
        while (entry := self._entries.get(key)) is not None:
            if entry.asked != asked:
                raise KeyReused(key)
            await entry.settled.wait()
            if entry.session is not None:
                claim(entry.session)
                return entry.session
        entry = self._entries[key] = _Entry(asked)
        try:
            entry.session = await spawn()
        finally:
            if entry.session is None:
                del self._entries[key]
            entry.settled.set()
        return entry.session

    def forget(self, session: Session) -> None:
        """Drop the key of a session whose record was dropped."""
        if session.key is not None:
            self._entries.pop(session.key, None)


def digest(command: Command, settings: Settings, naming: Naming) -> bytes:
    """Return a digest of what is to be spawned: two spawns with the same digest ask for the same.

    An environment may take a megabyte; the digest takes 32 bytes.
    """
    fields = {each.name: getattr(command, each.name) for each in dataclasses.fields(command)}
    env, labels = fields.pop("env"), sorted(naming.labels.items())
    fields["variables"] = None if env is None else sorted(env.items())
    return hashlib.sha256(repr((fields, settings, naming.name, labels)).encode()).digest()
