"""End sessions of a daemon, all at once, and print each outcome as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import trio

from ptykill.cli.client import tokens
from ptykill.cli.client.daemon_client import DaemonClient, DaemonError, Killed
from ptykill.cli.client.line_writer import LineWriter
from ptykill.cli.client.messages import printable
from ptykill.cli.client.short_ids import full_ids

__all__ = ["KillRequests"]


class KillRequests:
    """The requests of one ``kill`` command. ``outcomes`` has the order of the session ids."""

    def __init__(self, grace: float | None, *, quiet: bool) -> None:
        self.outcomes: dict[str, Killed | DaemonError] = {}
        self.output_error: OSError | None = None
        """The error of standard output, if it did not take all lines."""
        self._grace = grace
        self._quiet = quiet
        self._wanted: list[str] = []
        self._done: dict[str, Killed | DaemonError] = {}

    async def run(
        self,
        session_ids: Sequence[str],
        daemon: DaemonClient,
        *,
        every: bool,
        labels: Sequence[str] = (),
    ) -> None:
        """End sessions; with ``every`` all live ones too, or those that have all ``labels``.

        Raises `DaemonError` if none can be, or an id is ambiguous: then none is ended.
        """
        self._wanted = await full_ids(session_ids, daemon)
        if every or labels:
            live = [each.session_id for each in await daemon.list(labels) if each.is_alive]
            self._wanted += [each for each in live if each not in self._wanted]
        writer = LineWriter()
        async with trio.open_nursery() as writing:
            writing.start_soon(writer.run)
            async with trio.open_nursery() as nursery:
                for session_id in self._wanted:
                    nursery.start_soon(self._end, daemon, session_id, writer)
            writer.close()
        self.output_error = writer.error
        for error in self._daemon_errors():
            raise error  # One is enough: they all say the same.
        self.outcomes = {session_id: self._done[session_id] for session_id in self._wanted}

    def interrupted_message(self) -> str:
        """Return what to print when Ctrl-C interrupts the command."""
        if not self._wanted:
            return "interrupted: the end of no session was requested"
        ended = sum(isinstance(each, Killed) for each in self._done.values())
        known = f"{ended} of {len(self._wanted)} sessions are known to be over"
        return f"interrupted: {known}; the daemon goes on ending the others"

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
        """Return the errors that concern the daemon or our key, not one session."""
        errors = [each for each in self._done.values() if isinstance(each, DaemonError)]
        return [each for each in errors if each.status in (0, 401, 403)]


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.1f} ms"
