"""What a replay costs: processor time, not the time of a busy machine."""

from __future__ import annotations

import time

import trio

from ptykill.engine.output import Output

LINE = b"\x1b[01;34mfolder\x1b[0m  \x1b[01;32mprogram\x1b[0m  a file with a long name\r\n"
SIZE = 1 << 20
MOST = 0.1
"""Seconds: ten times what a replay may take on a machine of its own."""


async def replay(output: Output) -> tuple[int, float]:
    """Attach, and receive all that is kept; return its size, and the processor time."""
    began = time.thread_time()
    reader = output.attach(SIZE, 1.0)
    size = 0
    while reader.pending:
        size += len((await reader.receive(1 << 18)).data)
    reader.close()
    return size, time.thread_time() - began


async def test_a_replay_of_one_mebibyte() -> None:
    """One that is cut, with queries that were answered, takes milliseconds."""
    output = Output(SIZE)
    for _ in range(2 * SIZE // len(LINE) // 50):
        output.put(50 * LINE)
    with trio.fail_after(60):
        costs = [await replay(output) for _ in range(5)]
    assert {size for size, _ in costs} <= set(range(SIZE - 10, SIZE + 10))
    assert min(taken for _, taken in costs) < MOST
