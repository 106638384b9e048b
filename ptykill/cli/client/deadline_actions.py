"""What ``deadlines`` does, once its options are parsed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import msgspec

from ptykill.cli.client.daemon_client import DaemonClient
from ptykill.cli.client.daemon_requests import DaemonOptions, with_daemon
from ptykill.cli.client.messages import print_output
from ptykill.cli.client.short_ids import full_id
from ptykill.cli.client.table import show_rows
from ptykill.http.deadline_schema import DeadlinesBody, deadlines_of

__all__ = ["DaemonOptions", "deadlines"]


def deadlines(
    options: DaemonOptions, session_id: str, changes: Mapping[str, float | None], *, as_json: bool
) -> None:
    """Change some deadlines of a session, in seconds, and print those in force.

    The daemon replaces all of them at once: of two changes at the same time one may be lost.
    """

    async def ask(daemon: DaemonClient) -> DeadlinesBody:
        one = await full_id(session_id, daemon)
        session = await daemon.get(one)
        if changes:
            before = deadlines_of(session.deadlines)
            await daemon.set_deadlines(one, dataclasses.replace(before, **changes))
            session = await daemon.get(one)
        return session.deadlines

    found = msgspec.to_builtins(with_daemon(options, ask))
    if as_json:
        print_output(json.dumps(found))
    else:
        rows = [
            (name, "none" if seconds is None else f"{seconds:.12g}")
            for name, seconds in found.items()
        ]
        show_rows(("deadline", "seconds"), rows, {"seconds"})
