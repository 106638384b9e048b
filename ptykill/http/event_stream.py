"""Sends the events of all sessions to one client, as server-sent events (the HTML standard, 9.2).

This code runs in trio. `Receive` and `Send` are those of the ASGI server; if that runs on asyncio,
they are called in its event loop (`ptykill.embedding.loops`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import trio

from ptykill.engine.supervisor import Supervisor, events_after
from ptykill.http.asgi_types import Receive, Send
from ptykill.http.kill_answers import failure_of
from ptykill.http.messages import Headers
from ptykill.rules.session_event import EventKind, SessionEvent
from ptykill.rules.verdict import Delivery, Verdict

__all__ = ["as_json", "send_events"]

HEARTBEAT = 15.0
"""Seconds after which a comment is sent if there is no event, so that a dead client is found."""
SILENCE = 60.0
"""Time-out for a client that does not read, in seconds."""
_HEADERS: Headers = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx passes each event on at once.
)
_TIMES = ("created_at", "ended_at")


async def send_events(
    supervisor: Supervisor, since: str | None, receive: Receive, send: Send
) -> None:
    """Send events until the client disconnects, does not read, or the supervisor is closed."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        nursery.cancel_scope.cancel()

    headers = [[name, value] for name, value in _HEADERS]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await _send_all(supervisor, since, send)
        nursery.cancel_scope.cancel()


async def _send_all(supervisor: Supervisor, since: str | None, send: Send) -> None:
    while True:
        events: list[SessionEvent] | None = None
        with trio.move_on_after(HEARTBEAT):
            events = await events_after(supervisor, since)
        data = b":\n\n" if events is None else b"".join(map(_encoded, events))
        if events:
            since = events[-1].id
        more = events is None or bool(events)
        with trio.move_on_after(SILENCE) as scope:
            try:
                await send({"type": "http.response.body", "body": data, "more_body": more})
            except OSError:  # The client has disconnected (ASGI 2.4).
                return
        if scope.cancelled_caught or not more:
            return


def _encoded(event: SessionEvent) -> bytes:
    # In ASCII: a file name that is not UTF-8 has lone surrogates, which UTF-8 can't encode.
    data = json.dumps(as_json(event), separators=(",", ":"))
    return f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n".encode("ascii")


def as_json(event: SessionEvent) -> dict[str, object]:
    """Return an event as JSON has it: times in milliseconds, and only the fields that it has."""
    told: dict[str, object] = {
        "id": event.id,
        "number": event.number,
        "kind": event.kind.value,
        "at": int(1000 * event.at),
    }
    if event.kind is EventKind.RESET:
        told["sessions"] = [_in_ms(each) for each in event.sessions]
        return told
    told["session_id"] = event.session_id
    told["changes"] = _in_ms(event.changes)
    if event.why is not None:
        told["why"] = event.why.value
    if event.delivery is not None:
        told["delivery"] = _delivery(event.delivery)
    if event.verdict is not None:
        told["verdict"] = _verdict(event.verdict)
    return told


def _in_ms(record: Mapping[str, object]) -> dict[str, object]:
    times: dict[str, object] = {}
    for name in _TIMES:
        seconds = record.get(name)
        if isinstance(seconds, float):
            times[name] = int(1000 * seconds)
    return {**record, **times}


def _delivery(delivery: Delivery) -> dict[str, object]:
    return {
        "what": delivery.what,
        "reached": delivery.reached,
        "refused": list(delivery.refused),
        "error": delivery.error,
    }


def _verdict(verdict: Verdict) -> dict[str, object]:
    told: dict[str, object] = {
        "outcome": verdict.outcome.value,
        "empty": verdict.empty,
        "containment": verdict.containment,
        "caveats": sorted(verdict.caveats),
        "took_ms": round(1000 * verdict.took, 3),
    }
    if not verdict.empty:
        told["code"], told["error"] = failure_of(verdict)
    return told
