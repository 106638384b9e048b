"""Relays an ASGI server's lifespan messages to an app, and answers those that it does not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ptykill.http.asgi_types import Message, Receive, Send

__all__ = ["Lifespan"]


class Lifespan:
    """Relays lifespan messages; awaits ``close`` before it relays the answer to a shutdown.

    It does so before it relays a failed start-up, too.
    """

    def __init__(self, receive: Receive, send: Send, close: Callable[[], Awaitable[None]]) -> None:
        self._receive = receive
        self._send = send
        self._close = close
        self.requested: set[str] = set()
        """The server's messages so far: ``"startup"``, ``"shutdown"``."""
        self.answered: set[str] = set()
        """The app's answers so far, such as ``"startup.complete"``."""

    async def receive(self) -> Message:
        """Return the server's next message."""
        message = await self._receive()
        self.requested.add(message["type"].removeprefix("lifespan."))
        return message

    async def send(self, message: Message) -> None:
        """Send the app's answer to the server."""
        answer = message["type"].removeprefix("lifespan.")
        if answer != "startup.complete":
            await self._close()
        self.answered.add(answer)
        await self._send(message)

    async def fail(self, why: str) -> None:
        """Answer the server's ``startup`` with a failure."""
        await self.receive()
        await self.send({"type": "lifespan.startup.failed", "message": why})

    async def finish(self) -> None:
        """Answer the messages that the app has not answered, with success."""
        for asked in "startup", "shutdown":
            if "startup.failed" in self.answered:
                return
            if not self.answered & {f"{asked}.complete", f"{asked}.failed"}:
                if asked not in self.requested:
                    await self.receive()
                await self.send({"type": f"lifespan.{asked}.complete"})
