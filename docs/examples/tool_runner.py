"""Runs the tools that an agent asks for: each task has a terminal, and it ends for sure.

A task that takes too long, or leaves something running, is ended with all that it started, and
the answer says so: whoever reads it does not have to guess what still runs.
"""

import asyncio
import functools
from dataclasses import dataclass

import ptykill
import trio

OUTPUT = 20_000
"""Characters of output that are kept: the last ones."""


@dataclass
class Answer:
    output: str
    exit_code: int | None
    timed_out: bool
    over: bool
    """Whether nothing of the task runs any more."""


async def run(supervisor: ptykill.Supervisor, command: list[str], seconds: float) -> Answer:
    output = b""
    async with await supervisor.spawn(command) as session:
        with trio.move_on_after(seconds) as limit:
            while data := await session.receive():
                output = (output + data)[-OUTPUT:]
        verdict = await session.terminate(grace=0.5)
    status = verdict.exit_status
    return Answer(
        output=output.decode(errors="replace"),
        exit_code=None if status is None else status.shell_code,
        timed_out=limit.cancelled_caught,
        over=verdict.empty,
    )


async def main() -> None:
    tasks = {
        "a tool": ["sh", "-c", "echo two and two is $((2 + 2))"],
        "one that fails": ["sh", "-c", "ls /nowhere 2>/dev/null || exit 3"],
        "one that hangs": ["sh", "-c", "trap '' HUP; echo working; while :; do sleep 1; done"],
        "one that leaves a server": ["sh", "-c", "trap '' HUP; setsid sleep 1000 & echo started"],
    }
    async with ptykill.Host(max_sessions=8) as host:

        async def task(name: str, command: list[str]) -> None:
            answer = await host.acall(functools.partial(run, host.supervisor, command, 1.0))
            answers[name] = answer

        answers: dict[str, Answer] = {}
        await asyncio.gather(*(task(*each) for each in tasks.items()))
    for name in tasks:
        print(f"{name}: {answers[name]}")


if __name__ == "__main__":
    asyncio.run(main())
