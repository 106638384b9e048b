"""Ending sessions of a daemon: all of them at once, and each is told of when it is over."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import trio

from ptykill.cli.client import tokens
from ptykill.cli.client.daemon_client import DaemonClient, DaemonError, Killed
from ptykill.cli.client.line_writer import LineWriter
from ptykill.cli.client.messages import printable

__all__ = ["KillRequests"]


class KillRequests:
    """The kills of one command. ``outcomes`` has those that are done, in the order asked for."""

    def __init__(self, grace: float | None, *, quiet: bool) -> None:
        self.outcomes: dict[str, Killed | DaemonError] = {}
        self.output_error: OSError | None = None
        """Why standard output did not take all that was told."""
        self._grace = grace
        self._quiet = quiet
        self._wanted: list[str] = []
        self._done: dict[str, Killed | DaemonError] = {}

    async def run(self, session_ids: Sequence[str], daemon: DaemonClient, *, every: bool) -> None:
        """End sessions, all that live if ``every``. Raises `DaemonError` if none can be ended."""
        self._wanted = list(dict.fromkeys(session_ids))
        if every:
            live = [each.session_id for each in await daemon.list() if each.is_alive]
            self._wanted += [each for each in live if each not in self._wanted]
        writer = LineWriter()
        async with trio.open_nursery() as telling:
            telling.start_soon(writer.run)
            async with trio.open_nursery() as nursery:
                for session_id in self._wanted:
                    nursery.start_soon(self._end, daemon, session_id, writer)
            writer.close()
        self.output_error = writer.error
        for error in self._daemon_errors():
            raise error  # Once is enough, however many there were.
        self.outcomes = {session_id: self._done[session_id] for session_id in self._wanted}

    def interrupted_message(self) -> str:
        """Return the sentence for whoever interrupts it."""
        ended = sum(isinstance(each, Killed) for each in self._done.values())
        known = f"{ended} of {len(self._wanted)} sessions are known to be over"
        return f"interrupted: {known}; the daemon goes on ending those that it was asked to"

    async def _end(self, daemon: DaemonClient, session_id: str, writer: LineWriter) -> None:
        outcome: Killed | DaemonError
        try:
            outcome = await daemon.kill(session_id, self._grace)
        except DaemonError as error:
            outcome = error
        else:
            with suppress(OSError):
                tokens.forget(session_id)
        self._done[session_id] = outcome
        name = printable(session_id)
        if self._quiet or outcome in self._daemon_errors():
            return
        if isinstance(outcome, DaemonError):
            writer.write_err(f"{name}  {printable(str(outcome))}")
        else:
            took = "" if outcome.took is None else f" in {_duration(outcome.took)}"
            writer.write_out(f"{name}  ended{took}")

    def _daemon_errors(self) -> list[DaemonError]:
        """Return the errors that are about the daemon, or our key, and not about a session."""
        errors = [each for each in self._done.values() if isinstance(each, DaemonError)]
        return [each for each in errors if each.status in (0, 401, 403)]


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
