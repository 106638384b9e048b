"""Lists, signals and interrupts the members of a session, without ending it."""

from __future__ import annotations

import trio

from ptykill.engine.driver import Driver
from ptykill.errors import SessionEnded, SupervisorClosed
from ptykill.rules import validate
from ptykill.rules.member import Member
from ptykill.rules.protocols import Signalled
from ptykill.rules.steps import Reach

__all__ = ["interrupt", "list_members", "signal_members"]


@trio.lowlevel.enable_ki_protection
async def list_members(driver: Driver) -> tuple[Member, ...]:
    """Describe the members of a session; none once it is over."""
    _check_ours(driver)
    if driver.over.is_set():
        await trio.lowlevel.checkpoint()
        return ()
    return await driver.containment.list_members()


@trio.lowlevel.enable_ki_protection
def signal_members(driver: Driver, name: object, reach: object) -> Signalled:
    """Send a signal to members of a session, also while it is being ended."""
    checked = validate.signal_name(name)
    within = validate.member("reach", reach, Reach)
    _check_ours(driver)
    if driver.over.is_set():
        msg = "the session is over"
        raise SessionEnded(msg)
    return driver.containment.signal_now(checked, within)


@trio.lowlevel.enable_ki_protection
def interrupt(driver: Driver) -> None:
    """Do what Ctrl-C does in the terminal's present mode."""
    _check_ours(driver)
    if driver.exited.is_set() or not driver.terminal.open:
        msg = "the session's leader has exited, or its terminal was hung up"
        raise SessionEnded(msg)
    if not driver.terminal.interrupt():
        driver.containment.signal_now("INT", Reach.FOREGROUND)


def _check_ours(driver: Driver) -> None:
    if not driver.ours:
        msg = "this process was forked: the session is its parent's"
        raise SupervisorClosed(msg)
