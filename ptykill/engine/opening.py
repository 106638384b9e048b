"""Opens a supervisor, and closes it at the end of the block: shielded, and bounded in time."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from ptykill import log
from ptykill.engine.supervisor import Supervisor, stop_timer
from ptykill.rules.deadlines import Deadlines
from ptykill.rules.options import Options
from ptykill.rules.plan import HANGUP_THEN_KILL, Leftovers, Plan
from ptykill.rules.protocols import Signaller, Tier
from ptykill.rules.window_size import WindowPolicy
from ptykill.system import containment as tiers

__all__ = ["open_supervisor", "open_with"]


def open_supervisor(  # noqa: PLR0913 - all have their defaults
    *,
    plan: Plan | str = HANGUP_THEN_KILL,
    containment: str | Tier = "auto",
    max_sessions: int = 64,
    leftovers: Leftovers | str = Leftovers.HANGUP,
    signaller: Signaller | None = None,
    backlog: int = 1 << 20,
    keep_seconds: float = 300.0,
    keep_records: int = 256,
    window_size: WindowPolicy | str = WindowPolicy.LATEST,
    deadlines: Deadlines | None = None,
    memory_max: int | None = None,
    pids_max: int | None = None,
    cpu_max: float | None = None,
) -> AbstractAsyncContextManager[Supervisor]:
    """Open a supervisor. The end of the block ends every session, also after an error or a cancel.

    That takes at most the longest of their plans (and a second), also when the block is cancelled:
    the end is shielded, and the shield is bounded.

    ``plan`` has the steps by which sessions are ended (a `Plan` or its text). ``containment`` is
    how members are found: ``"auto"`` takes the strongest one that works here; any other name takes
    that one, or raises. ``max_sessions`` is the most that may live at once; ``leftovers`` what to
    do with members when a leader ends by itself; ``backlog`` how many bytes of output are kept for
    a slow receiver. Records of ended sessions are kept for ``keep_seconds``, and at most
    ``keep_records`` of them; fewer if their commands and environments take more than 16 MiB. All
    records together hold 32 MiB of output, of the sessions that ended last. ``window_size`` says
    which size a window gets that several attachments see (`Attachment.resize`): ``"latest"`` is
    that of the attachment that has typed or changed its size last, ``"smallest"`` the least rows
    and the least columns of all. ``deadlines`` end sessions whose end is not requested
    (`Deadlines`); None means that there are none.

    ``memory_max``, ``pids_max`` and ``cpu_max`` are the limits of each session as a whole
    (`Attributes`): a spawn can ask for less, and not for more.

    Raises `PlanError` and `InvalidArgument` at once, and `ContainmentUnavailable` when the block is
    entered: `LimitsUnavailable` if sessions can't have these limits here.
    """
    return open_with(
        Options.of(
            plan=plan,
            containment=containment,
            max_sessions=max_sessions,
            leftovers=leftovers,
            signaller=signaller,
            backlog=backlog,
            keep_seconds=keep_seconds,
            keep_records=keep_records,
            window_size=window_size,
            deadlines=deadlines,
            memory_max=memory_max,
            pids_max=pids_max,
            cpu_max=cpu_max,
        )
    )


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_with(options: Options) -> AsyncIterator[Supervisor]:
    """Open a supervisor with options that were checked before."""
    named = options.containment
    tier = await tiers.open_tier(named, options.caps) if isinstance(named, str) else named
    owner = os.getpid()
    failure: BaseException | None = None
    interrupt: KeyboardInterrupt | None = None
    try:
        async with trio.open_nursery() as nursery:
            supervisor = Supervisor(nursery, tier, options)
            try:
                yield supervisor
            except BaseException as error:  # noqa: BLE001 - raised again below, as it was
                # Raised after the nursery is closed, which would wrap it in a group.
                failure = error
            try:
                interrupt = await _uninterrupted(supervisor.close, supervisor.hurry)
            finally:
                stop_timer(supervisor)
            failure = failure or interrupt
            nursery.cancel_scope.cancel()  # The other helpers of all sessions.
    except BaseExceptionGroup as group:
        interrupts, others = group.split(KeyboardInterrupt)
        if interrupts is None or others is not None:
            raise
        failure = failure or KeyboardInterrupt()  # It came while the nursery was being left.
    finally:
        if owner == os.getpid():  # A forked child must not end its parent's warden.
            try:
                interrupt = await _uninterrupted(tier.close)
            except Exception as error:  # noqa: BLE001 - all sessions are over
                log.event(logging.WARNING, "supervisor.unclosed", exc_info=error)
    failure = failure or interrupt
    if failure is not None:
        raise failure


async def _uninterrupted(
    close: Callable[[], Awaitable[None]], hurry: Callable[[], None] = lambda: None
) -> KeyboardInterrupt | None:
    """Close something without interruption; return a KeyboardInterrupt that came meanwhile.

    No shield keeps trio from raising that in the main task. It calls ``hurry``.
    """
    interrupt = None
    while True:
        try:
            with trio.CancelScope(shield=True):  # It is bounded.
                await close()
        except KeyboardInterrupt as error:
            interrupt = interrupt or error
            hurry()
        else:
            return interrupt
