r"""ptykill for asyncio: the same names as in `ptykill`, which is for trio.

::

    async with ptykill.aio.open_supervisor() as supervisor:
        session = await supervisor.spawn(["bash", "-i"])
        await session.send("sleep 1000 &\n")
        verdict = await session.terminate(grace=1.0)
        assert verdict.empty

The supervisor runs in a thread of its own, so a loop that is busy makes no teardown late. Methods
that wait are coroutines. The others are plain, as they are on trio: each has that thread do its
work, which takes some tenth of a millisecond. Every event loop of asyncio will do, uvloop too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Unpack

from ptykill.aio.faces import Attachment, Session, Supervisor
from ptykill.embedding.host import Host
from ptykill.embedding.loops import finish
from ptykill.embedding.run_through import run
from ptykill.rules.options import SupervisorOptions

__all__ = ["Attachment", "Session", "Supervisor", "open_supervisor", "run", "supervisor_of"]


def open_supervisor(
    **options: Unpack[SupervisorOptions],
) -> AbstractAsyncContextManager[Supervisor]:
    """Open a supervisor, as `ptykill.open_supervisor` does, with the same options.

    The end of the block ends every session, also after an error. If the task is cancelled it waits
    all the same until they have ended, which is bounded by the longest of their plans and a second.

    Raises `PlanError` and `InvalidArgument` at once, and `ContainmentUnavailable` when the block is
    entered.
    """
    return _open(Host(**options))


@asynccontextmanager
async def _open(host: Host) -> AsyncIterator[Supervisor]:
    try:
        await host.__aenter__()
        yield Supervisor(host, host.supervisor)
    finally:
        await finish(host.aclose)


def supervisor_of(host: Host) -> Supervisor:
    """Return the supervisor of a `Host`, which mounts of the HTTP API use, with this face.

    Waits until the host's thread has started: use it within ``async with host``.
    """
    return Supervisor(host, host.supervisor)
