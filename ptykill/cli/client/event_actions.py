"""What ``events`` does, once its options are parsed."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import trio

from ptykill.cli.client import local_terminal
from ptykill.cli.client.daemon_client import DaemonClient, DaemonError
from ptykill.cli.client.daemon_requests import DaemonOptions, with_daemon
from ptykill.cli.client.event_lines import EventLines
from ptykill.cli.client.event_reader import Received, follow
from ptykill.cli.client.fd_io import write_all
from ptykill.cli.client.messages import (
    OUT,
    encode_for,
    fail,
    output_error_message,
    print_message,
)
from ptykill.errors import InvalidArgument
from ptykill.http import query

__all__ = ["DaemonOptions", "events"]


def events(
    options: DaemonOptions, labels: Sequence[str], *, since: str | None, as_json: bool
) -> None:
    """Print events until the daemon ends, a line each; only of sessions with the labels."""

    async def run(daemon: DaemonClient) -> None:
        try:
            wanted = query.selector(urlencode([("label", each) for each in labels]))
        except InvalidArgument as error:
            raise DaemonError(str(error)) from None
        lines = EventLines(wanted, columns=sys.stdout.isatty())
        if since is not None:  # No reset may tell the names and labels.
            lines.know(await daemon.list())

        async def write(received: Sequence[Received]) -> None:
            shown = [
                _as_json(lines, each.told) if as_json else lines.line(each.event)
                for each in received
                if lines.wants(each.event)
            ]
            data = encode_for("".join(f"{each}\n" for each in shown), sys.stdout)
            # In a thread: while a pipe is full, Ctrl-C has to work.
            await trio.to_thread.run_sync(write_all, OUT, data, abandon_on_cancel=True)

        await follow(daemon, since, write)

    try:
        with_daemon(options, run)
    except BrokenPipeError:
        local_terminal.die_of_signal(signal.SIGPIPE)
    except OSError as error:
        fail(output_error_message(error))
    print_message("the daemon has ended the stream of events")


def _as_json(lines: EventLines, told: dict[str, Any]) -> str:
    """Return an event as it came, in one line; a reset has only the sessions that are wanted."""
    if "sessions" in told:
        wanted = [each for each in told["sessions"] if lines.is_wanted(each.get("session_id"))]
        told = {**told, "sessions": wanted}
    return json.dumps(told)
