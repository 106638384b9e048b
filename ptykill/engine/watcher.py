"""Watches one session until it is over: its one long-lived task.

The task waits for the leader's exit, and then for the end of other members. The wait ends early
when a step of the plan is due (`Schedule`). The `Driver` acts on what has happened.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ptykill.engine.cleanup import DeferredCleanup
from ptykill.engine.driver import Driver
from ptykill.rules.lifecycle import Event, State
from ptykill.rules.verdict import Caveat, EndReason

__all__ = ["Watcher"]

_PAUSE_FIRST, _PAUSE_LONGEST = 0.005, 1.0
"""Seconds from an error of ptykill's own to the next try: doubling, up to the longest."""


class Watcher:
    """Watches the session of a driver. ``on_exit`` is called once its leader's output is complete.

    That may be more than once. ``on_closed`` is called when its descriptors are closed.
    """

    def __init__(
        self,
        driver: Driver,
        on_exit: Callable[[], None],
        cleanup: DeferredCleanup,
        on_closed: Callable[[], object],
    ) -> None:
        self._driver = driver
        self._on_exit = on_exit
        self._cleanup = cleanup
        self._on_closed = on_closed
        self._pause = _PAUSE_FIRST

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Watch until the session is over, or abandoned; then close its descriptors."""
        driver = self._driver
        driver.context = trio.lowlevel.current_task().context
        try:
            with driver.shield:
                await self._watch()
                driver.cancel_deliveries()
                if driver.report.ended_by_itself:
                    self._on_exit()  # Now, since a caller may be reading its output.
                await self._cleanup.wait_idle()
        except Exception as error:  # noqa: BLE001 - no session may take the others down
            driver.fail(error)
        finally:
            driver.closed = True
            if driver.ours:
                driver.cancel_deliveries()
                for close in self._on_exit, driver.terminal.hang_up, driver.containment.close:
                    try:
                        close()
                    except Exception as error:  # noqa: BLE001 - as above
                        driver.fail(error)
                self._on_closed()
            driver.break_cycles()

    async def _watch(self) -> None:
        """Wait for exits, and do the due steps of the plan, until the session is over.

        An error of ptykill's own, such as a system call that fails with ENOMEM, does not end this.
        After a pause it tries again, and steps that are due meanwhile are done.
        """
        driver, failed = self._driver, False
        while not driver.over.is_set():
            try:
                if failed:
                    await self._pause_after_failure()
                    now = trio.current_time()
                    if driver.schedule.due <= now:
                        driver.do_due(now)
                    if driver.exited.is_set() and driver.state is not State.ENDED:
                        self._look()  # A member may have exited during the pause.
                        failed = False
                        continue
                await self._watch_once()
                failed = False
            except Exception as error:  # noqa: BLE001 - the session has to be ended all the same
                failed = True
                driver.fail(error)

    async def _watch_once(self) -> None:
        """Wait for the next exit, or for the next wake-up."""
        driver = self._driver
        if driver.state is State.ENDED:
            driver.finish()  # The last try has failed.
            return
        with driver.schedule.until_wake_up():
            if driver.exited.is_set():
                await driver.containment.wait_members()
            else:
                await driver.containment.wait_exited()
            self._look()
            return
        now = trio.current_time()
        if driver.schedule.due <= now:
            driver.do_due(now)
        else:
            driver.do_before_due(now)

    async def _pause_after_failure(self) -> None:
        """Pause, longer after each failure in a row, but not beyond the next wake-up."""
        seconds, self._pause = self._pause, min(self._pause * 2, _PAUSE_LONGEST)
        with self._driver.schedule.for_pause(_PAUSE_FIRST, seconds, trio.current_time()):
            await trio.sleep_forever()

    def _look(self) -> None:
        """Look for members that are left after an exit, and pass the events to the driver."""
        driver = self._driver
        report, containment = driver.report, driver.containment
        if not driver.exited.is_set():
            ending = containment.ending()
            report.because(EndReason.EXITED if ending is None else ending.reason)
            now = trio.current_time()
            report.began = min(report.began, now)
            driver.exited.set()
            driver.handle(Event.LEADER_EXITED, now)
        left = containment.members_left()
        report.failure = None  # This look has not failed.
        self._pause = _PAUSE_FIRST
        if left:
            self._on_exit()
            report.exit_status = containment.exit_status()
            driver.note_exit()
            driver.handle(Event.MEMBERS_FOUND, trio.current_time())
        else:
            report.unproven = Caveat.UNPROVEN in containment.caveats()
            report.empty = not report.unproven
            driver.handle(Event.SESSION_EMPTY, trio.current_time())
