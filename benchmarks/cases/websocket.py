"""Output through a WebSocket, and a kill by request while many sessions flood."""

from __future__ import annotations

import os
import select
import statistics
import sys
import time
from contextlib import ExitStack
from typing import Self

import ptykill
from benchmarks.hosts import START_BOUND, Limits, interleave
from benchmarks.report import Result, Timings
from benchmarks.websocket_server import BLOCK, PUMP, attached, client, flood, masked, pipe, start
from benchmarks.worker import Worker
from ptykill.http import frames
from ptykill.http.api import DEFAULT_PREFIX

__all__ = ["FLOODS", "floods", "output"]

MEGABYTES = 50
FLOODS = 64
ALONE, PUMPED, OURS = OUTPUTS = ("the terminal alone", "a bare pump, same server", "ptykill")
QUIET, FLOODED = "DELETE, no other session", f"DELETE, {FLOODS} attached and flooding"


def output(limits: Limits) -> Result:
    """Time 50 MB of output through a WebSocket."""
    result = Timings(
        f"{MEGABYTES} MB of output, one session, one client: from the first byte to the last",
        [*OUTPUTS],
        {f"/ {PUMPED}": dict.fromkeys(OUTPUTS, PUMPED)},
    )
    with Attached() as clients:
        result.rounds = interleave(result.names, clients.output, limits, result)
    for label in OUTPUTS:
        if times := result.times(label):
            speed = MEGABYTES * 1e9 / statistics.median(times)
            result.remarks.append(f"{label}: {speed:.0f} MB/s at the median")
    return result


def floods(limits: Limits) -> Result:
    """Time a kill by request beside many sessions that write output."""
    labels = [QUIET, FLOODED]
    result = Timings(
        "sleep over HTTP, beside others: from the request to its answer",
        labels,
        {f"/ {QUIET}": dict.fromkeys(labels, QUIET)},
    )
    with Attached() as clients:
        result.rounds = interleave(labels, clients.delete, limits, result)
    longest = max(result.times(FLOODED), default=0) / 1e9
    if longest > ptykill.HANGUP_THEN_KILL.longest:
        result.problems.append(f"past its plan: {longest:.1f} s")
    return result


class Attached:
    """Servers and their clients; leaving the ``with`` block ends them."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._ports: dict[str, int] = {}

    def __enter__(self) -> Self:
        """Return itself; a server starts when it is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """End servers and clients."""
        self._stack.close()

    def output(self, label: str) -> int:
        """Have 50 MB written to a terminal; return nanoseconds from the first byte to the last.

        The client counts what it receives, and reads none of it.
        """
        if label == ALONE:
            return _read_alone()
        port = self._port(label)
        if label == PUMPED:
            return _take(port, f"{PUMP}{MEGABYTES}")
        with client(port) as api:
            created = start(api, flood(MEGABYTES, held=True))
            return _take(port, f"{DEFAULT_PREFIX}/{created['session_id']}/ws", created["token"])

    def delete(self, label: str) -> int:
        """Kill a cooperative session by request; return nanoseconds until the answer is there."""
        with client(self._port(label)) as api:
            session_id = start(api, ["sleep", "60"])["session_id"]
            time.sleep(0.1)  # With so many runnable processes, its exec may take a while.
            began = time.perf_counter_ns()
            answer = api.delete(f"{DEFAULT_PREFIX}/{session_id}")
            took = time.perf_counter_ns() - began
        if answer.status_code != 204:
            raise RuntimeError(answer.text)
        return took

    def _port(self, label: str) -> int:
        """Return the port of the label's own server."""
        if label not in self._ports:
            server = self._stack.enter_context(
                Worker([sys.executable, "-m", "benchmarks.websocket_server"])
            )
            port = self._ports[label] = int(server.answer(START_BOUND))
            if label == FLOODED:
                argv = [
                    sys.executable,
                    "-m",
                    "benchmarks.websocket_server",
                    "flood",
                    str(port),
                    str(FLOODS),
                ]
                self._stack.enter_context(Worker(argv)).answer(START_BOUND)
        return self._ports[label]


def _take(port: int, path: str, token: str = "") -> int:
    buffer, left = bytearray(BLOCK), MEGABYTES * 1_000_000
    with attached(port, path, token) as stream:
        stream.sendall(masked(frames.input_frame(b"\n")))  # What a session waits for, see `flood`.
        left -= stream.recv_into(buffer)
        began = time.perf_counter_ns()
        while left > 0 and (got := stream.recv_into(buffer)):
            left -= got
        took = time.perf_counter_ns() - began
    if left > 0:
        raise RuntimeError(f"{left} bytes are missing")
    return took


def _read_alone() -> int:
    left, began = MEGABYTES * 1_000_000, 0
    with pipe(MEGABYTES) as master:
        while left > 0:
            try:
                left -= len(os.read(master, BLOCK))
            except BlockingIOError:
                select.select([master], [], [])
            began = began or time.perf_counter_ns()
        return time.perf_counter_ns() - began
