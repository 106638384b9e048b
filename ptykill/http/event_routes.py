"""The route of events in the OpenAPI document."""

from __future__ import annotations

from ptykill.http.event_schema import Event
from ptykill.http.routes import BODILESS, PLACE, Answer, Route

__all__ = ["EVENT_ROUTES"]

_LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The `id` of the last event that the client has seen, or the `event_id` of a"
    " list.",
}
EVENT_ROUTES = (
    Route(
        "get",
        "/events",
        "events",
        "Stream what happens to the sessions, as server-sent events. Not in Tensorlake's API. The"
        " data of each is an Event, as JSON in one line. The first is a `reset`, which has all"
        " sessions, unless the events after `Last-Event-ID` are kept: 4096 of this daemon. A client"
        " that is slower gets a `reset`, too. After 15 s without an event comes a comment.",
        {200: Answer("The events, until the server stops.", Event, "text/event-stream")},
        (*PLACE, "TOO_MANY_STREAMS", "EVENTS_NOT_OFFERED", *BODILESS),
        parameters=(_LAST_EVENT,),
    ),
)
