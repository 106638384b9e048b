"""Reads a session's terminal all the time, until it ends or the leader is dead."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

import trio

from ptykill import log
from ptykill.engine.output import CHUNK, Output
from ptykill.rules.protocols import Terminal

__all__ = ["Drain"]

_PAUSE_FIRST, _PAUSE_LONGEST = 0.01, 1.0
"""Seconds from a read that failed to the next: doubling, up to the longest."""
_REST = CHUNK * 64
"""Bytes that are read after the leader's death: its leftovers may write without end."""


class Drain:
    """Moves the output of a terminal to the session's `Output`; ``on_output`` is told of it."""

    def __init__(
        self,
        session_id: str,
        terminal: Terminal,
        output: Output,
        on_output: Callable[[], None],
    ) -> None:
        self._session_id = session_id
        self._on_output = on_output
        self._terminal = terminal
        self._output = output

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Read the terminal until its end: a program that cleans up blocks on a full one."""
        with trio.CancelScope(shield=True):  # Until the driver has closed the terminal.
            pause = _PAUSE_FIRST
            while True:
                try:
                    while data := await self._terminal.receive_some():
                        pause = _PAUSE_FIRST
                        self._output.put(data)
                        self._on_output()
                        await self._output.paced()
                    break
                except OSError as error:
                    if pause == _PAUSE_FIRST:
                        self._unreadable(error)
                    if error.errno == errno.EBADF or not self._terminal.open:
                        break  # The host has closed it.
                # Try again: the program would block on a terminal that is not drained.
                await trio.sleep(pause)
                pause = min(2 * pause, _PAUSE_LONGEST)
        self._output.end()

    def finish(self) -> None:
        """End the output when the leader is dead: all that it wrote is in the terminal by then."""
        if self._output.ended:
            return
        rest = _REST
        try:
            while rest > 0 and (data := self._terminal.receive_now()):
                self._output.put(data)
                rest -= len(data)
        except OSError as error:
            self._unreadable(error)
        self._output.end()

    def _unreadable(self, error: OSError) -> None:
        """Log that the terminal can't be read. EBADF means that the host has closed it.

        The session is ended as any other: no session's end depends on its output.
        """
        log.event(
            logging.WARNING, "session.unreadable", session_id=self._session_id, error=str(error)
        )
