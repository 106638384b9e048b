"""Watches one session until it is over: its one long-lived task.

The task waits for the leader's exit, and then for the end of other members. The `Driver` acts on
what has happened. The steps of the plan have their own time (`Schedule`). Each further round of
SIGKILL begins the wait anew (`Driver.look_again`).
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ptykill.engine.cleanup import DeferredCleanup
from ptykill.engine.driver import Driver
from ptykill.rules.lifecycle import Event, State
from ptykill.rules.verdict import Caveat, EndReason

__all__ = ["Watcher"]

_PAUSE_FIRST, _PAUSE_LONGEST = 0.005, 0.1
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
        self._failed = False

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Watch until the session is over, or abandoned; then close its descriptors."""
        driver = self._driver
        driver.context = trio.lowlevel.current_task().context
        try:
            while True:
                with driver.shield:
                    await self._watch()
                    driver.cancel_deliveries()
                    if driver.report.ended_by_itself:
                        self._on_exit()  # Now, since a caller may be reading its output.
                    await self._cleanup.wait_idle()
                if driver.over.is_set():
                    break
                driver.shield = trio.CancelScope(shield=True)  # For `Driver.look_again`.
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
        """Wait for exits until the session is over.

        An error of ptykill's own, such as a system call that fails with ENOMEM, does not end this.
        After a pause it looks again, since a member may have exited meanwhile.
        """
        driver = self._driver
        while not driver.over.is_set():
            try:
                if self._failed:
                    await self._pause_after_failure()
                if driver.state is State.ENDED:
                    driver.finish()  # The last try has failed.
                    return
                if not self._failed or not driver.exited.is_set():
                    await self._wait()
                self._look()
                self._failed = False
            except Exception as error:  # noqa: BLE001 - the session has to be ended all the same
                self._failed = True
                driver.fail(error)

    async def _wait(self) -> None:
        """Wait for the next exit."""
        if self._driver.exited.is_set():
            await self._driver.containment.wait_members()
        else:
            await self._driver.containment.wait_exited()

    async def _pause_after_failure(self) -> None:
        """Pause, longer after each failure in a row."""
        seconds, self._pause = self._pause, min(self._pause * 2, _PAUSE_LONGEST)
        await trio.sleep(seconds)

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
