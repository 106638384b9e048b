"""Leaves a session's terminal to the caller who has opened it, and who reads it and types.

Until the end begins nothing is done here, and a program that writes waits for the caller, as on any
terminal. From then on a full terminal holds nobody up: the unread output is discarded, so that a
clean-up which writes can go on. What fits stays for the caller.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from ptykill.engine.output import Output
from ptykill.rules.protocols import Terminal

__all__ = ["DirectTerminal"]

_LOOK = 0.01
"""Seconds between two looks at whether the terminal is full: the kernel does not report it."""


class DirectTerminal:
    """Stands in for the `Drain` of a session whose terminal the caller has opened.

    ``may_end`` returns whether the output may end for the caller. It may once the session is over,
    or the leader has exited by itself. Before that the host's slave is needed: by a look at whether
    the terminal is full, and to resume stopped output.
    """

    def __init__(self, terminal: Terminal, output: Output, may_end: Callable[[], bool]) -> None:
        self._terminal = terminal
        self._output = output
        self._may_end = may_end

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Once the session is being ended, discard the output whenever the terminal is full."""
        with trio.CancelScope(shield=True):  # Until the watcher has called `finish`.
            await self._output.wait_flow()
            while not self._output.ended:
                self._terminal.discard_if_full()
                await trio.sleep(_LOOK)

    def finish(self) -> None:
        """End the output for the caller, if it may end now. May be called again."""
        if self._may_end():
            self._terminal.close_slave()
            self._output.end()
