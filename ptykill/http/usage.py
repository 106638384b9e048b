"""The parts of JSON bodies that say what a session may use, and has used."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ptykill.engine.session import Session

__all__ = ["CpuMax", "MemoryMax", "PidsMax", "SessionUsage", "usage_of"]

_OURS = "Not in Tensorlake's API."
_CAPPED = "The daemon's cap if left out; more than that is refused."

MemoryMax = Annotated[
    int,
    Meta(
        description=f"{_OURS} The most memory of the whole session, in bytes. {_CAPPED}",
        examples=[1 << 30],
    ),
]
PidsMax = Annotated[
    int,
    Meta(
        description=f"{_OURS} The most processes and threads of the whole session. {_CAPPED}",
        examples=[200],
    ),
]
CpuMax = Annotated[
    float,
    Meta(
        description=f"{_OURS} The most processors that the whole session may use. {_CAPPED}",
        examples=[1.5],
    ),
]


class SessionUsage(msgspec.Struct):
    """What the processes of a session have used; a field that is not known is left out."""

    user_seconds: (
        Annotated[float, Meta(description="Processor time in user mode, in seconds.")] | UnsetType
    ) = UNSET
    system_seconds: (
        Annotated[float, Meta(description="Processor time in the kernel, in seconds.")] | UnsetType
    ) = UNSET
    peak_memory: (
        Annotated[int, Meta(description="The most memory of the whole session, in bytes.")]
        | UnsetType
    ) = UNSET
    largest_process: (
        Annotated[int, Meta(description="The most memory of one process, in bytes.")] | UnsetType
    ) = UNSET
    peak_tasks: (
        Annotated[int, Meta(description="The most processes and threads at once.")] | UnsetType
    ) = UNSET
    oom_kills: (
        Annotated[int, Meta(description="How many processes the out-of-memory killer has killed.")]
        | UnsetType
    ) = UNSET
    forks_refused: (
        Annotated[int, Meta(description="How often `pids_max` has refused a process or a thread.")]
        | UnsetType
    ) = UNSET
    throttled_seconds: (
        Annotated[float, Meta(description="How long `cpu_max` has held processes back.")]
        | UnsetType
    ) = UNSET


def usage_of(session: Session) -> SessionUsage:
    """Return what a session has used until now, or until its end."""
    return msgspec.convert(session.usage().known(), SessionUsage)
