"""What ``ps``, ``signal`` and ``interrupt`` do, once their options are parsed."""

from __future__ import annotations

import json
import sys
import time

import msgspec

from ptykill.cli.client.daemon_client import DaemonClient, DaemonError
from ptykill.cli.client.daemon_requests import DaemonOptions, with_daemon
from ptykill.cli.client.messages import print_output, printable
from ptykill.cli.client.short_ids import full_id
from ptykill.cli.client.table import age, show_rows
from ptykill.http.process_schema import ProcessRecord

__all__ = ["DaemonOptions", "interrupt", "ps", "signal"]

_HEADS = ("pid", "parent", "user", "state", "cpu", "memory", "age", "command")
_RIGHT = {"pid", "parent", "cpu", "memory", "age"}
_UNITS = ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))
_UNKNOWN = "?"


def ps(options: DaemonOptions, session_id: str | None, *, as_json: bool) -> None:
    """Print the processes of a session, or of all live ones."""

    async def ask(daemon: DaemonClient) -> dict[str, list[ProcessRecord]]:
        if session_id is not None:
            one = await full_id(session_id, daemon)
            return {one: (await daemon.processes(one)).processes}
        found = {}
        for each in await daemon.list():
            if each.is_alive:
                try:
                    found[each.session_id] = (await daemon.processes(each.session_id)).processes
                except DaemonError as error:
                    if error.code != "SESSION_NOT_FOUND":  # Its record has expired meanwhile.
                        raise
        return found

    found = with_daemon(options, ask)
    if as_json:
        sessions = [
            {"session_id": one, "processes": msgspec.to_builtins(processes)}
            for one, processes in found.items()
        ]
        print_output(json.dumps({"sessions": sessions}))
    elif session_id is not None:
        (processes,) = found.values()
        show_rows(_HEADS, [_row(each) for each in processes], _RIGHT)
    else:
        rows = [(one, *_row(each)) for one, processes in found.items() for each in processes]
        show_rows(("session", *_HEADS), rows, _RIGHT)


def signal(
    options: DaemonOptions, session_id: str, name: str, reach: str, *, as_json: bool
) -> None:
    """Send a signal, print who got it, and exit with 1 if nobody did or a process refused it."""

    async def send(daemon: DaemonClient) -> tuple[list[int], list[int]]:
        answer = await daemon.signal(await full_id(session_id, daemon), name, reach)
        return answer.reached, answer.refused

    reached, refused = with_daemon(options, send)
    if as_json:
        print_output(json.dumps({"reached": reached, "refused": refused}))
    else:
        lines = [f"{pid} reached" for pid in reached] + [f"{pid} refused" for pid in refused]
        print_output("\n".join(lines) or "no process is within that reach")
    sys.exit(0 if reached and not refused else 1)


def interrupt(options: DaemonOptions, session_id: str) -> None:
    """Interrupt what runs in a session's terminal."""

    async def send(daemon: DaemonClient) -> None:
        await daemon.interrupt(await full_id(session_id, daemon))

    with_daemon(options, send)


def _row(process: ProcessRecord) -> tuple[str, ...]:
    started, cpu = process.started_at, process.cpu_seconds
    marks = "+" * process.foreground + "!" * process.escaped
    return (
        str(process.pid),
        _text(process.parent),
        printable(_text(process.user)),
        _text(process.state) + marks,
        _UNKNOWN if cpu is None else f"{cpu:.2f}s",
        _UNKNOWN if process.memory is None else _size(process.memory),
        _UNKNOWN if started is None else age(time.time() - started / 1000),
        printable(_text(process.command)),
    )


def _text(value: object) -> str:
    return _UNKNOWN if value is None else str(value)


def _size(count: int) -> str:
    for size, unit in _UNITS:
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)
