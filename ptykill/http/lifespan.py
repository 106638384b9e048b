"""Relays an ASGI server's lifespan to an app, and answers what the app leaves unanswered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ptykill.http.asgi_types import Message, Receive, Send

__all__ = ["Lifespan"]


class Lifespan:
    """Stands between a server and an app; ``close`` is awaited before the server hears the end."""

    def __init__(self, receive: Receive, send: Send, close: Callable[[], Awaitable[None]]) -> None:
        self._receive = receive
        self._send = send
        self._close = close
        self.requested: set[str] = set()
        """What the server has asked for."""
        self.answered: set[str] = set()
        """What it has been answered: ``"startup.complete"``, say."""

    async def receive(self) -> Message:
        """Return what the server says."""
        message = await self._receive()
        self.requested.add(message["type"].removeprefix("lifespan."))
        return message

    async def send(self, message: Message) -> None:
        """Tell the server."""
        told = message["type"].removeprefix("lifespan.")
        if told != "startup.complete":
            await self._close()
        self.answered.add(told)
        await self._send(message)

    async def fail(self, why: str) -> None:
        """Answer that nothing has been started."""
        await self.receive()
        await self.send({"type": "lifespan.startup.failed", "message": why})

    async def finish(self) -> None:
        """Answer what has been left unanswered, as if all was well."""
        for asked in "startup", "shutdown":
            if "startup.failed" in self.answered:
                return
            if not self.answered & {f"{asked}.complete", f"{asked}.failed"}:
                if asked not in self.requested:
                    await self.receive()
                await self.send({"type": f"lifespan.{asked}.complete"})
