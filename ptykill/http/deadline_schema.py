"""The JSON of deadlines, in a create, in a request to change them, and in a record."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ptykill.rules.deadlines import LONGEST_DEADLINE, SHORTEST_DEADLINE, Deadlines

__all__ = ["DeadlinesBody", "deadlines_body", "deadlines_of"]

_RANGE = {"minimum": SHORTEST_DEADLINE, "maximum": LONGEST_DEADLINE}
Lifetime = Annotated[
    float,
    Meta(description="Seconds from the create on.", extra_json_schema=_RANGE, examples=[28_800]),
]
Idle = Annotated[
    float,
    Meta(
        description="Seconds without input, output, and processor time of any process.",
        extra_json_schema=_RANGE,
        examples=[1800],
    ),
]
Detached = Annotated[
    float,
    Meta(
        description="Seconds without a WebSocket, from the create or the last detach on.",
        extra_json_schema=_RANGE,
        examples=[600],
    ),
]


class DeadlinesBody(msgspec.Struct):
    """When a session is ended although nobody requests it. Not in Tensorlake's API.

    What is null or left out is the daemon's, and nothing may be later than the daemon's.
    """

    lifetime: Lifetime | None = None
    idle: Idle | None = None
    detached: Detached | None = None


def deadlines_of(asked: DeadlinesBody | None) -> Deadlines:
    """Return deadlines of a body. Raises `InvalidDeadline`."""
    if asked is None:
        return Deadlines()
    return Deadlines(lifetime=asked.lifetime, idle=asked.idle, detached=asked.detached)


def deadlines_body(deadlines: Deadlines) -> DeadlinesBody:
    """Return deadlines for clients."""
    return DeadlinesBody(deadlines.lifetime, deadlines.idle, deadlines.detached)
