"""Runs ``true`` again and again, in one way: by ptykill in each world, and by Python itself.

``python -m benchmarks.runners KIND`` reads lines, each with a number of seconds and how many
commands are under way at a time, and answers each with the nanoseconds that all took together, and
those of every command.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["KINDS"]

COMMAND = ["true"]
Times = list[int]


def in_threads(run: Callable[[], object]) -> Callable[[float, int], Times]:
    """Return a function that runs commands from so many threads at a time."""

    def work(seconds: float, at_once: int) -> Times:
        times: Times = []
        until = time.monotonic() + seconds

        def go_on() -> None:
            while time.monotonic() < until:
                began = time.perf_counter_ns()
                run()
                times.append(time.perf_counter_ns() - began)

        threads = [threading.Thread(target=go_on) for _ in range(at_once)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return times

    return work


async def one_after_another(
    run: Callable[[], Awaitable[object]], until: float, times: Times
) -> None:
    """Run commands until a time."""
    while time.monotonic() < until:
        began = time.perf_counter_ns()
        await run()
        times.append(time.perf_counter_ns() - began)


def in_asyncio(run: Callable[[], Awaitable[object]]) -> Callable[[float, int], Times]:
    """Return a function that runs commands from so many tasks of asyncio at a time."""
    loop = asyncio.new_event_loop()

    async def main(seconds: float, at_once: int) -> Times:
        times: Times = []
        until = time.monotonic() + seconds
        await asyncio.gather(*(one_after_another(run, until, times) for _ in range(at_once)))
        return times

    return lambda seconds, at_once: loop.run_until_complete(main(seconds, at_once))


def by_subprocess() -> Callable[[float, int], Times]:
    """`subprocess.run`, whose output comes through a pipe."""
    return in_threads(lambda: subprocess.run(COMMAND, capture_output=True, check=True))


def by_asyncio() -> Callable[[float, int], Times]:
    """`asyncio.create_subprocess_exec` and `communicate`."""

    async def run() -> None:
        process = await asyncio.create_subprocess_exec(*COMMAND, stdout=asyncio.subprocess.PIPE)
        await process.communicate()

    return in_asyncio(run)


def by_blocking() -> Callable[[float, int], Times]:
    """`ptykill.blocking.run`."""
    from ptykill import blocking  # noqa: PLC0415 - only this kind needs it

    return in_threads(lambda: blocking.run(COMMAND, check=True))


def by_aio() -> Callable[[float, int], Times]:
    """`ptykill.aio.run`."""
    from ptykill import aio  # noqa: PLC0415 - only this kind needs it

    return in_asyncio(lambda: aio.run(COMMAND, check=True))


def by_supervisor() -> Callable[[float, int], Times]:
    """`Supervisor.run`, in one trio run for each turn."""
    import trio  # noqa: PLC0415 - only this kind needs it

    import ptykill  # noqa: PLC0415 - only this kind needs it

    async def main(seconds: float, at_once: int) -> Times:
        times: Times = []
        async with ptykill.open_supervisor(max_sessions=at_once) as supervisor:
            await supervisor.run(COMMAND)
            until = time.monotonic() + seconds
            async with trio.open_nursery() as nursery:
                for _ in range(at_once):
                    nursery.start_soon(
                        one_after_another, lambda: supervisor.run(COMMAND, check=True), until, times
                    )
        return times

    return lambda seconds, at_once: trio.run(main, seconds, at_once)


KINDS: dict[str, Callable[[], Callable[[float, int], Any]]] = {
    "subprocess.run": by_subprocess,
    "create_subprocess_exec": by_asyncio,
    "ptykill.blocking.run": by_blocking,
    "ptykill.aio.run": by_aio,
    "Supervisor.run": by_supervisor,
}
"""Each way to run commands; calling it returns the function that does so for some seconds."""


def main() -> None:
    """Answer lines until the input ends."""
    work = KINDS[sys.argv[1]]()
    work(0.1, 1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        seconds, at_once = line.split()
        began = time.perf_counter_ns()
        times = work(float(seconds), int(at_once))
        sys.stdout.write(json.dumps([time.perf_counter_ns() - began, times]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
