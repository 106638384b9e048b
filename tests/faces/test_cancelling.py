"""A task that is cancelled, or a thread that is interrupted, leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

import ptykill
from ptykill.testing import processes

DEAF = "trap '' HUP TERM; echo $$ > pid; echo begun; exec sleep 60"
"""A program that only SIGKILL ends, and that writes its pid first."""
HELD = "trap '' HUP TERM; while ! [ -e go ]; do sleep 0.01; done; " + DEAF
"""The same once its caller has the session: one that no caller gets is killed at once."""
LATE = "trap '' HUP TERM; sleep 0.3; " + DEAF
"""The same for `run`, whose caller can't tell when it has the session."""


def gone(folder: Path) -> bool:
    """Return whether the program is dead; fail if it never ran."""
    return processes.look_up(int((folder / "pid").read_text())) is None


async def until_it_runs(folder: Path) -> None:
    """Wait in asyncio until the program has written its pid."""
    file = folder / "pid"
    while not (file.exists() and file.stat().st_size):  # noqa: ASYNC110 - it sets no event
        await asyncio.sleep(0.01)


async def run(folder: Path) -> None:
    await ptykill.aio.run(["sh", "-c", LATE], cwd=folder, grace=1.5)


async def run_by_a_supervisor(folder: Path) -> None:
    async with ptykill.aio.open_supervisor() as supervisor:
        await supervisor.run(["sh", "-c", LATE], cwd=folder, grace=1.5)


async def wait_in_a_session(folder: Path) -> None:
    async with (
        ptykill.aio.open_supervisor(plan="HUP@session 1500ms, KILL") as supervisor,
        await supervisor.spawn(["sh", "-c", HELD], cwd=folder) as session,
    ):
        (folder / "go").touch()
        await session.wait()


async def wait_in_a_supervisor(folder: Path) -> None:
    async with ptykill.aio.open_supervisor(plan="HUP@session 1500ms, KILL") as supervisor:
        session = await supervisor.spawn(["sh", "-c", HELD], cwd=folder)
        (folder / "go").touch()
        await session.expect("never", timeout=60)


WAITS = (run, run_by_a_supervisor, wait_in_a_session, wait_in_a_supervisor)


@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__)
def test_a_task_of_asyncio(tmp_path: Path, wait: Callable[[Path], Awaitable[None]]) -> None:
    """When the cancellation has arrived, the program is dead; also after a second one."""

    async def main() -> None:
        task = asyncio.ensure_future(wait(tmp_path))
        await until_it_runs(tmp_path)
        task.cancel()
        await asyncio.sleep(0.1)
        assert not task.done()  # The grace is not over.
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gone(tmp_path)

    asyncio.run(main())


def test_a_time_limit_of_asyncio(tmp_path: Path) -> None:
    """`asyncio.timeout` gets its own cancellation back, and raises TimeoutError."""

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await run(tmp_path)
        assert not (tmp_path / "pid").exists() or gone(tmp_path)

    asyncio.run(main())


def test_a_group_of_tasks(tmp_path: Path) -> None:
    """A task that fails cancels the others, and none of them leaves a program."""

    async def fail(folder: Path) -> None:
        await until_it_runs(folder)
        raise ZeroDivisionError

    async def main() -> None:
        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(run(tmp_path))
                group.create_task(fail(tmp_path))

        with pytest.raises(ExceptionGroup) as error:
            await both()
        assert error.group_contains(ZeroDivisionError)
        assert gone(tmp_path)

    asyncio.run(main())


@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
async def test_a_task_of_trio(tmp_path: Path, shared: bool) -> None:  # noqa: FBT001
    """The same, by the supervisor that all share, and by one of this trio run."""
    command = ["sh", "-c", DEAF]
    async with ptykill.open_supervisor() as supervisor, trio.open_nursery() as nursery:
        function = ptykill.run if shared else supervisor.run
        over = trio.Event()

        async def run_it() -> None:
            try:
                await function(command, cwd=tmp_path, grace=0.3)
            finally:
                assert gone(tmp_path)
                over.set()

        nursery.start_soon(run_it)
        while not ((tmp_path / "pid").exists() and (tmp_path / "pid").stat().st_size):  # noqa: ASYNC110
            await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert over.is_set()


@pytest.mark.parametrize("session", [False, True], ids=["run", "session"])
def test_a_thread_that_is_interrupted(tmp_path: Path, session: bool) -> None:  # noqa: FBT001
    """Ctrl-C raises KeyboardInterrupt when the program is dead."""
    use = (
        """
        with ptykill.blocking.open_supervisor(plan="HUP@session 300ms, KILL") as supervisor:
            with supervisor.spawn(command) as session:
                session.wait()
        """
        if session
        else "ptykill.blocking.run(command, grace=0.3)"
    )
    code = f"""
    import os, ptykill
    command = ["sh", "-c", {DEAF!r}]
    try:
        {textwrap.indent(textwrap.dedent(use), " " * 8).strip()}
    except KeyboardInterrupt:
        pid = int(open("pid").read())
        print("interrupted", os.path.exists(f"/proc/{{pid}}"))
    """
    host = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    file, until = tmp_path / "pid", time.monotonic() + 60
    while not (file.exists() and file.stat().st_size) and time.monotonic() < until:
        time.sleep(0.01)
    host.send_signal(signal.SIGINT)
    output, _ = host.communicate(timeout=60)
    assert output == "interrupted False\n"


@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__)
def test_the_end_of_asyncio_run(tmp_path: Path, wait: Callable[[Path], Awaitable[None]]) -> None:
    """It cancels every task, also one that is in its grace, and those that ptykill has made."""
    seen: list[bool] = []

    async def waiting() -> None:
        try:
            await wait(tmp_path)
        finally:
            seen.append(gone(tmp_path))

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(waiting())
        await until_it_runs(tmp_path)
        task.cancel()
        await asyncio.sleep(0.1)
        return task

    task = asyncio.run(main())
    assert seen == [True]
    assert task.cancelled()


@pytest.mark.parametrize("session", [False, True], ids=["run", "session"])
def test_a_host_that_is_closed_meanwhile(tmp_path: Path, session: bool) -> None:  # noqa: FBT001
    """A task that is cancelled then gets its cancellation, when the program is dead."""

    async def use(supervisor: ptykill.aio.Supervisor) -> None:
        command = ["sh", "-c", DEAF]
        if not session:
            await supervisor.run(command, cwd=tmp_path)
            return
        async with await supervisor.spawn(command, cwd=tmp_path):
            await asyncio.sleep(100)

    async def main() -> None:
        host = ptykill.Host(plan="HUP@session 500ms, KILL")
        task = asyncio.create_task(use(ptykill.aio.supervisor_of(host)))
        await until_it_runs(tmp_path)
        closing = asyncio.create_task(host.aclose())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gone(tmp_path)
        await closing

    asyncio.run(main())


def test_blocks_whose_host_is_closed() -> None:
    """Their ends raise nothing, so the block's own exception is seen."""
    with ptykill.blocking.open_supervisor() as supervisor:

        def fail() -> None:
            with supervisor.spawn(["sleep", "100"]) as session, session.attach():
                supervisor.host.close()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()

    async def fail_in_asyncio() -> None:
        async with (
            ptykill.aio.open_supervisor() as supervisor,
            await supervisor.spawn(["sleep", "100"]) as session,
        ):
            with session.attach():
                await supervisor.host.aclose()
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(fail_in_asyncio())


def test_an_exception_of_a_signal_handler(tmp_path: Path) -> None:
    """Whatever a handler raises in the wait, it is seen when the program is dead."""
    code = f"""
    import os, signal, ptykill
    def handler(*_):
        raise TimeoutError
    signal.signal(signal.SIGALRM, handler)
    try:
        ptykill.blocking.run(["sh", "-c", {DEAF!r}], grace=0.5)
    except TimeoutError:
        pid = int(open("pid").read())
        print("late", os.path.exists(f"/proc/{{pid}}"))
    """
    host = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    file, until = tmp_path / "pid", time.monotonic() + 60
    while not (file.exists() and file.stat().st_size) and time.monotonic() < until:
        time.sleep(0.01)
    host.send_signal(signal.SIGALRM)
    output, _ = host.communicate(timeout=60)
    assert output == "late False\n"
