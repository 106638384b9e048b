"""Test bodies for every world: written for tasks, and turned into plain functions for threads.

``p`` is `ptykill`, `ptykill.aio` or `ptykill.blocking`.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

import ptykill
from tests.waiting import IDLE_LOOP

SH = "/bin/sh"
PLAN = "HUP@session 300ms, KILL 15s"


async def a_conversation(p: Any, folder: Path) -> None:
    async with p.open_supervisor(plan=PLAN) as supervisor:
        session = await supervisor.spawn([SH, "-i"], env={"PS1": "ready: "}, cwd=folder, name="one")
        await session.expect("ready: ")
        await session.send("echo A''B C''D\n")
        found = await session.expect(re.compile(r"A(?P<second>\w)"), "CD")
        assert (found.text, found.index, found.named) == ("AB", 0, {"second": "B"})
        assert (await session.expect("nothing", "CD")).index == 1
        assert "ready: " in await session.until_quiet(0.3)
        session.resize(40, 120)
        assert (session.rows, session.cols) == (40, 120)
        await session.send(b"stty size\n")
        assert (await session.expect("40 120")).before.startswith("stty size\n")
        await session.expect("ready: ")
        (leader,) = await session.members()
        assert (leader.pid, session.state) == (session.pid, ptykill.State.RUNNING)
        await session.send("exit 7\n")
        assert await session.wait_exited() == ptykill.ExitStatus(code=7)
        verdict = await session.wait()
        assert (verdict.empty, verdict.reason) == (True, ptykill.EndReason.EXITED)
        assert verdict == session.verdict
        with pytest.raises(ptykill.SessionEnded):
            await session.send("x")
        with pytest.raises(ptykill.SessionEnded):
            session.signal("INT")


async def sessions_are_found(p: Any, folder: Path) -> None:
    async with p.open_supervisor(plan=PLAN, max_sessions=3) as supervisor:
        labels = {"team": "ci"}
        one = await supervisor.spawn(["sleep", "60"], name="one", labels=labels, key="k")
        again = await supervisor.spawn(["sleep", "60"], name="one", labels=labels, key="k")
        other = await supervisor.spawn(["sleep", "60"])
        assert one == again
        assert len({one, again, other}) == 2
        assert one != other
        assert (one.name, one.labels, one.key) == ("one", labels, "k")
        assert supervisor.get(one.id) == one
        assert supervisor.sessions == (one, other)
        assert supervisor.find(name="one") == (one,)
        assert supervisor.find(labels={"team": None}) == (one,)
        with pytest.raises(ptykill.NameTaken):
            await supervisor.spawn(["sleep", "60"], name="one")
        with pytest.raises(ptykill.SessionNotFound):
            supervisor.get("another")
        (verdict,) = await supervisor.terminate_matching(labels=labels)
        assert (verdict.session_id, verdict.empty) == (one.id, True)
        assert (await supervisor.terminate(other.id, grace=0.2)).empty
        assert (supervisor.closed, one.state, one.command.args[0]) == (False, "ended", "sleep")
    assert supervisor.closed
    with pytest.raises(ptykill.SupervisorClosed):
        await supervisor.spawn(["true"])


async def blocks_end_their_sessions(p: Any, folder: Path) -> None:
    async with p.open_supervisor(plan=PLAN) as supervisor:
        async with await supervisor.spawn([SH, "-c", "trap '' HUP; sleep 60"]) as one:
            assert one.exit_status is None
        assert one.verdict.empty
        with pytest.raises(ZeroDivisionError):
            async with await supervisor.spawn(["sleep", "60"]) as two:
                raise ZeroDivisionError
        assert two.verdict.empty
        left = await supervisor.spawn(["sleep", "60"])
    assert left.verdict.empty


async def attachments(p: Any, folder: Path) -> None:
    async with p.open_supervisor(plan=PLAN) as supervisor:
        script = "stty -echo; read x; echo one; read x; echo two; sleep 60"
        session = await supervisor.spawn([SH, "-c", script])
        with session.attach() as first, session.attach() as second:
            assert (first == second, session.attached) == (False, 2)
            await session.send("\n")
            for each in first, second:
                data = b""
                while b"one" not in data:
                    data += await each.receive()
            first.resize(30, 100)
            first.typed(b"\n")
            assert session.rows == 30
            await session.send("\n")
            await session.expect("two")  # It sees what attachments receive, too.
            offset = first.offset
        assert await first.wait_detached() is False
        assert await first.receive() == b""
        with session.attach(since=offset) as third:
            assert b"two" in await third.receive()
            assert (third.start, third.missing, third.dropped) == (offset, 0, False)
        with pytest.raises(ptykill.InvalidOffset):
            session.attach(since=10**9)
        assert (await session.kill()).empty


async def output_is_iterated_over(p: Any, folder: Path) -> None:
    async with p.open_supervisor(plan=PLAN) as supervisor:
        session = await supervisor.spawn([SH, "-c", "echo one; sleep 0.1; echo two"])
        output = b""
        async for chunk in session:
            output += chunk
        assert output == b"one\r\ntwo\r\n"
        assert session.output_offset == len(output)
        kinds = []
        async for event in supervisor.events():
            kinds.append(event.kind)
            if event.kind is not ptykill.EventKind.RESET:
                break
            again = await supervisor.spawn(["true"])
            await again.wait()
        assert kinds == [ptykill.EventKind.RESET, ptykill.EventKind.CREATED]


async def waits_that_end_without_a_match(p: Any, folder: Path) -> None:
    async with p.open_supervisor(plan=PLAN) as supervisor:
        session = await supervisor.spawn([SH, "-c", "echo prompt; read x; echo last"])
        with pytest.raises(ptykill.ExpectTimeout) as timeout:
            await session.expect("absent", timeout=0.5)
        assert timeout.value.output == "prompt\n"
        assert isinstance(timeout.value, TimeoutError)
        assert (await session.expect("prompt")).before == ""  # Nothing was lost.
        await session.send("\n")
        with pytest.raises(ptykill.OutputEnded) as ended:
            await session.expect("absent")
        assert "last" in ended.value.output
        assert (await session.expect("last")).text == "last"
        assert await session.until_quiet(10) == "\n"
        assert await session.receive() == b""
        for wrong in (), ("",), (b"bytes",), (re.compile(b"bytes"),):
            with pytest.raises(ptykill.InvalidArgument):
                await session.expect(*wrong)
        with pytest.raises(ptykill.InvalidArgument):
            await session.expect("a", timeout=-1)


async def members_are_signalled(p: Any, folder: Path) -> None:
    async with p.open_supervisor(plan=PLAN) as supervisor:
        script = f"trap 'echo interrupted' INT; echo set; {IDLE_LOOP}"
        session = await supervisor.spawn([SH, "-c", script])
        await session.expect("set")
        session.interrupt()
        await session.expect("interrupted")
        assert session.pid in session.signal("INT", "leader").reached
        await session.expect("interrupted")
        session.set_deadlines(ptykill.Deadlines(lifetime=0.1))
        verdict = await session.settled()
        assert (verdict.reason, verdict.empty) == (ptykill.EndReason.LIFETIME, True)
        assert session.usage().user_seconds is not None


async def what_is_wrong_is_said(p: Any, folder: Path) -> None:
    with pytest.raises(ptykill.PlanError):
        p.open_supervisor(plan="HUP@nobody")
    with pytest.raises(TypeError):
        p.open_supervisor(unknown=1)
    async with p.open_supervisor() as supervisor:
        with pytest.raises(ptykill.SpawnError) as error:
            await supervisor.spawn(["/absent"])
        assert error.value.code == "COMMAND_NOT_FOUND"
        for wrong in ([], "a command", [b"x"], None):
            with pytest.raises(ptykill.InvalidArgument):
                await supervisor.spawn(wrong)
        with pytest.raises(TypeError):
            await supervisor.spawn(["true"], unknown=1)
        with pytest.raises(TypeError):
            await supervisor.run(["true"], unknown=1)
        for name, value in {
            "max_output": -1,
            "timeout": 0,
            "idle": 0,
            "input": 1,
            "check": 1,
        }.items():
            with pytest.raises(ptykill.InvalidArgument, match=f"^{name} "):
                await supervisor.run(["true"], **{name: value})
        assert supervisor.sessions == ()


async def a_command_is_run(p: Any, folder: Path) -> None:
    result = await p.run([SH, "-c", "cat; echo error >&2; pwd; exit 3"], input="x\n", cwd=folder)
    assert result.text == f"x\r\nerror\r\n{folder}\r\n"
    assert (result.exit_code, result.ok, result.dropped) == (3, False, 0)
    assert (result.reason, result.verdict.empty) == (ptykill.EndReason.EXITED, True)
    with pytest.raises(ptykill.RunFailed) as failed:
        result.check()
    assert failed.value.result is result
    with pytest.raises(ptykill.RunFailed, match="status 1"):
        await p.run(["false"], check=True)
    assert (await p.run(["true"], check=True)).ok
    # Without an input the terminal is at its end.
    result = await p.run([SH, "-c", "cat; test -t 0 && test -t 1 && echo terminal"], plain=True)
    assert result.output == b"terminal\n"
    with pytest.raises(ptykill.SpawnError):
        await p.run(["/absent"])


async def output_is_bounded_and_plain(p: Any, folder: Path) -> None:
    script = "printf start; head -c 300000 /dev/zero | tr '\\0' x; printf end"
    result = await p.run([SH, "-c", script], max_output=1000)
    assert (len(result.head), len(result.tail)) == (500, 500)
    assert result.head.startswith(b"start")
    assert result.tail.endswith(b"end")
    assert result.dropped == 300_008 - 1000
    assert b"[... 299008 bytes ...]" in result.output
    result = await p.run(["printf", r"\033[1mbold\033[0m\n"], plain=True)
    assert result.text == "bold\n"
    data = bytes(range(256)) * 2000  # More than any pipe holds, and more than is read.
    result = await p.run([SH, "-c", "head -c 5 | od -An -c"], input=data, plain=True)
    assert result.text.split() == [r"\0", "001", "002", "003", "004"]
    assert (await p.run(["md5sum"], input=data, plain=True)).text.endswith(" -\n")
    assert (await p.run(["cat"], input=b"")).output == b""


async def a_run_that_does_not_end(p: Any, folder: Path) -> None:
    script = "trap '' HUP; echo begun; (setsid sleep 60 &); sleep 60"
    result = await p.run([SH, "-c", script], timeout=0.5, grace=0.2)
    assert (result.reason, result.ok) == (ptykill.EndReason.LIFETIME, False)
    assert (result.output, result.verdict.empty) == (b"begun\r\n", True)
    assert result.exit_status == ptykill.ExitStatus(signal=signal.SIGKILL)
    with pytest.raises(ptykill.RunFailed, match="not ended in time"):
        result.check()
    result = await p.run(["sleep", "60"], idle=0.3)
    assert result.reason is ptykill.EndReason.IDLE
    # A daemon does not outlive the command.
    result = await p.run([SH, "-c", "(setsid sleep 60 &); echo done"], grace=0.2)
    assert (result.text, result.exit_code, result.verdict.empty) == ("done\r\n", 0, True)


BODIES = (
    a_conversation,
    sessions_are_found,
    blocks_end_their_sessions,
    attachments,
    output_is_iterated_over,
    waits_that_end_without_a_match,
    members_are_signalled,
    what_is_wrong_is_said,
    a_command_is_run,
    output_is_bounded_and_plain,
    a_run_that_does_not_end,
)
