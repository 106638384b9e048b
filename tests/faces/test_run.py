"""`run` with every adversary: it returns in time, with the output until then, and none is left."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import pytest
import trio

import ptykill
from ptykill.testing import processes
from ptykill.testing.adversaries import ESCAPING, EXITING_LEADERS, PROGRAMS, Program
from tests.real.running_program import SLACK

LIFETIME, GRACE = 1.5, 0.3


@pytest.mark.parametrize("tier", ["keeper", "cgroup"], indirect=True)
@pytest.mark.parametrize("program", [*PROGRAMS, *ESCAPING, *EXITING_LEADERS], ids=str)
async def test_every_adversary(tier: str, program: Program, tmp_path: Path) -> None:
    """Whatever the program does, it costs no more than its time and the plan's."""
    if program.missing:
        pytest.skip(f"not installed: {', '.join(program.missing)}")
    mark = secrets.token_hex(16)  # The test's own is on the warden and the keepers, too.
    (tmp_path / "go").touch()  # Some leaders wait for a file.
    command = ["sh", "-c", 'echo begun; exec "$@"', "sh", *program.command(tmp_path, mark)]
    async with ptykill.open_supervisor(containment=tier) as supervisor:
        began = time.monotonic()
        result = await supervisor.run(
            command,
            cwd=tmp_path,
            timeout=LIFETIME,
            grace=GRACE,
            max_output=10_000,
            env=os.environ | {"PTYKILL_TEST_SESSION": mark},
        )
        took = time.monotonic() - began
        assert processes.names(processes.marked(mark)) == []
    assert result.verdict.empty
    assert took < LIFETIME + GRACE + SLACK
    assert result.head.startswith(b"begun\r\n")
    assert len(result.head) + len(result.tail) <= 10_000


async def test_many_at_once() -> None:
    """Each gets its own output, and all are over when they have returned."""
    results: dict[int, ptykill.RunResult] = {}
    async with ptykill.open_supervisor() as supervisor, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            results[number] = await supervisor.run(["echo", str(number)], plain=True)

        for number in range(50):
            nursery.start_soon(one, number)
    assert [results[each].text for each in range(50)] == [f"{each}\n" for each in range(50)]
    assert all(each.ok for each in results.values())
