"""The cost of calls into ptykill's thread, by threads, by asyncio, and over HTTP."""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

from benchmarks.cases.teardown import GRACE
from benchmarks.hosts import START_BOUND, Hosts, Limits, interleave
from benchmarks.http_servers import SERVERS
from benchmarks.report import Result, Timings
from benchmarks.systems import ENVIRONMENT, PROGRAMS, QUIET, comm
from benchmarks.worker import Worker
from ptykill.testing.observer import Observer

__all__ = ["calls", "delete"]

WAYS = ("by_blocking", "by_aio", "from_thread")
CALL_TIERS = ("session", "keeper")
IN_A_ROW = 3
API = "/api/v1/pty"


def calls(limits: Limits) -> Result:
    """Time a sleep's end by each way to call, each the median of three."""
    with ExitStack() as stack:
        hosts = Hosts(stack)
        trio_calls: dict[str, str] = {}
        for tier in CALL_TIERS:
            for bare in hosts.start([f"ptykill_tier:{tier}"]):
                ways = hosts.start_each([f"{way}:{tier}" for way in WAYS])
                trio_calls |= dict.fromkeys((bare, *ways), bare)
        result = Timings(
            "sleep, by a thread and by asyncio: from the call to the answer",
            list(trio_calls),
            {"/ the trio call": trio_calls},
            hosts.remarks,
        )

        def turn(label: str) -> int:
            times = [hosts.end_unobserved(label, "sleep", GRACE) for _ in range(IN_A_ROW)]
            return round(statistics.median(times))

        result.rounds = interleave(result.names, turn, limits, result)
    for label, bare in trio_calls.items():
        if label != bare:
            derive(result, f"{label}: what it adds", label, bare)
    return result


def delete(limits: Limits) -> Result:
    """Time a DELETE, the server's answer to a request that does nothing, and the bare end."""
    with ExitStack() as stack:
        hosts = Hosts(stack)
        bare = hosts.start(["ptykill_tier:keeper"])
        servers = {}
        for kind in SERVERS:
            argv = [sys.executable, "-m", "benchmarks.http_servers", kind]
            worker = stack.enter_context(Worker(argv))
            about = json.loads(worker.answer(START_BOUND))
            if "skipped" in about:
                hosts.remarks.append(f"{kind}: skipped, {about['skipped']}")
            else:
                servers[kind] = stack.enter_context(Client(about["port"], about["nothing"]))
        acts = {f"{kind}: {act}": (kind, act) for kind in servers for act in ("nothing", "DELETE")}
        result = Timings(
            "sleep over HTTP: from the request to its answer", [*bare, *acts], {}, hosts.remarks
        )

        def turn(label: str) -> int:
            if label in bare:
                return hosts.end_unobserved(label, "sleep", GRACE)
            kind, act = acts[label]
            return servers[kind].nothing() if act == "nothing" else servers[kind].delete()

        result.rounds = interleave(result.names, turn, limits, result)
    for kind in servers:
        derive(result, f"{kind}: beyond both", f"{kind}: DELETE", f"{kind}: nothing", *bare)
    return result


def derive(result: Timings, name: str, of: str, *less: str) -> None:
    """Add a row: what something took in each round, less what others did."""
    result.names.append(name)
    for taken in result.rounds:
        if all(each in taken for each in (of, *less)):
            taken[name] = taken[of] - sum(taken[each] for each in less)


@dataclass(slots=True)
class Client:
    """A client with one connection, which it keeps; ``idle`` is the path that does nothing."""

    port: int
    idle: str
    _connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, int, bytes]:
        """Return how long an answer took (ns), its status and its body."""
        assert self._connection is not None
        headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
        sent = None if body is None else json.dumps(body)
        start = time.perf_counter_ns()
        self._connection.request(method, path, sent, headers)
        response = self._connection.getresponse()
        content = response.read()
        return time.perf_counter_ns() - start, response.status, content

    def nothing(self) -> int:
        """Send a request that does nothing."""
        return self.ask("GET", self.idle)[0]

    def delete(self) -> int:
        """Start a session, and time its DELETE."""
        command, *arguments = PROGRAMS["sleep"].argv
        asked = {"command": command, "args": arguments, "env": ENVIRONMENT}
        session = API + "/" + json.loads(self.ask("POST", API, asked)[2])["session_id"]
        pid = json.loads(self.ask("GET", session)[2])["pid"]
        while comm(pid) != PROGRAMS["sleep"].comm:
            time.sleep(QUIET)
        time.sleep(QUIET)
        with Observer([pid], records=False, kills=True) as observer:
            took, status, content = self.ask("DELETE", f"{session}?grace={GRACE}")
            if status != http.HTTPStatus.NO_CONTENT or observer.exists(pid):
                raise RuntimeError(f"{status} {content!r}, there: {observer.exists(pid)}")
        return took

    def __enter__(self) -> Self:
        """Connect."""
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        return self

    def __exit__(self, *exception: object) -> None:
        """Disconnect."""
        assert self._connection is not None
        self._connection.close()
