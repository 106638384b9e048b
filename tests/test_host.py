"""The host: a supervisor in a trio thread of its own, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import trio
import trio.testing

import ptykill
from ptykill import Host, Outcome, Session
from ptykill.rules.options import SupervisorOptions
from ptykill.testing import processes
from tests.waiting import IDLE_LOOP

PLAN = ptykill.Plan.parse("HUP@session 300ms, KILL 15s")
"""A short grace, and a bound that no machine is too slow for."""
SLEEP = ["sleep", "60"]
DEAF = ["sh", "-c", f"trap '' HUP; echo ready; {IDLE_LOOP}"]


@pytest.fixture
def host() -> Iterator[Host]:
    """Return a host, which is closed when the test is over."""
    with Host(plan=PLAN) as host:
        yield host


def spawn_deaf(host: Host) -> Session:
    """Start a session that SIGHUP does not end."""
    session = host.spawn(DEAF)
    assert b"ready" in host.call(session.receive)
    return session


def test_takes_what_open_supervisor_takes() -> None:
    """The options of a host are those of a supervisor."""
    options = set(inspect.signature(ptykill.open_supervisor).parameters)
    assert set(SupervisorOptions.__annotations__) == options


def test_it_takes_what_the_supervisor_takes() -> None:
    """`Host` has the signatures of the supervisor's methods; `SpawnOptions` types a spawn."""
    for name in "terminate", "get":
        ours, theirs = getattr(Host, name), getattr(ptykill.Supervisor, name)
        assert inspect.signature(ours) == inspect.signature(theirs)


def test_nothing_is_started_before_it_is_needed() -> None:
    """An unused host has no thread, and closing it does nothing."""
    before = threading.active_count()
    host = Host()
    assert host.sessions == ()
    assert threading.active_count() == before
    host.close()
    assert threading.active_count() == before


def test_calls_from_a_thread(host: Host) -> None:
    """A thread spawns, finds, uses and ends a session."""
    session = spawn_deaf(host)
    assert host.get(session.id) is session
    assert host.sessions == (session,)
    verdict = host.terminate(session.id)
    assert processes.look_up(session.pid) is None
    assert (verdict.empty, verdict.outcome) == (True, Outcome.KILLED)
    assert host.terminate(session.id) == verdict
    with pytest.raises(ptykill.SessionNotFound):
        host.get("x")
    with pytest.raises(ptykill.InvalidGrace):
        host.terminate(session.id, grace=-1)


def test_many_threads_share_one_teardown(host: Host) -> None:
    """Threads that end one session at once get the same verdict."""
    session = spawn_deaf(host)
    verdicts: list[ptykill.Verdict] = []
    threads = [
        threading.Thread(target=lambda: verdicts.append(host.terminate(session.id)))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(verdicts) == 10
    assert all(verdict is verdicts[0] for verdict in verdicts)


def test_calls_from_asyncio() -> None:
    """Tasks of asyncio do the same, and the end of the block ends the other sessions."""

    async def main() -> Session:
        async with Host(plan=PLAN) as host:
            first, second = await asyncio.gather(
                *[host.acall(host.supervisor.spawn, SLEEP) for _ in range(2)]
            )
            verdict = await host.acall(partial(host.supervisor.terminate, first.id, grace=0.1))
            assert verdict.outcome is Outcome.GRACEFUL
            with pytest.raises(ptykill.SessionNotFound):
                await host.acall(host.supervisor.terminate, "x")
            return second

    session = asyncio.run(main())
    assert session.verdict is not None
    assert session.verdict.empty


def test_calls_from_another_trio_run(host: Host) -> None:
    """A task of another trio run can use `acall`, and may be cancelled."""

    async def main() -> ptykill.Verdict:
        session = await host.acall(host.supervisor.spawn, SLEEP)
        with trio.move_on_after(0.05) as scope:
            await host.acall(session.wait)
        assert scope.cancelled_caught
        return await host.acall(session.terminate)

    assert trio.run(main).empty


def test_cancelling_a_task_leaves_the_teardown_running(host: Host) -> None:
    """An asyncio task that stops waiting for a teardown does not stop the teardown."""
    session = spawn_deaf(host)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(host.acall(session.terminate), 0.05)

    asyncio.run(main())
    assert session.state is not ptykill.State.RUNNING
    verdict = host.call(session.wait)
    assert (verdict.empty, verdict.outcome) == (True, Outcome.KILLED)


def test_cancelling_a_task_cancels_what_it_called(host: Host) -> None:
    """A user's function is cancelled with the task that waits for it."""
    cancelled = threading.Event()

    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    host.call(trio.sleep, 0)  # A call that is cancelled before there is a thread is never made.

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(host.acall(wait), 0.05)

    asyncio.run(main())
    assert cancelled.wait(10)


def test_a_blocked_loop_does_not_make_a_teardown_late(host: Host) -> None:
    """The grace is kept in the host's own thread, whatever the asyncio loop does."""
    session = spawn_deaf(host)

    async def main() -> ptykill.Verdict:
        task = asyncio.create_task(host.acall(session.terminate))
        await asyncio.sleep(0)
        until = time.monotonic() + 20
        while session.verdict is None and time.monotonic() < until:
            time.sleep(0.01)  # noqa: ASYNC251 - it is the point
        assert session.verdict is not None
        return await task

    assert asyncio.run(main()).outcome is Outcome.KILLED


def test_context_variables_travel(host: Host) -> None:
    """A function runs in the context of its caller."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def get() -> str:
        return variable.get()

    variable.set("set")
    assert host.call(get) == "set"
    assert asyncio.run(host.acall(get)) == "set"


def test_what_a_call_sets_or_cancels_is_its_own(host: Host) -> None:
    """One task runs many calls: none sees the variables, or the cancellation, of the one before."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def exchange(value: str) -> tuple[str, trio.lowlevel.Task]:
        before = variable.get()
        variable.set(value)
        await trio.lowlevel.checkpoint()
        return before, trio.lowlevel.current_task()

    async def given_up() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await host.acall(trio.sleep_forever)

    tasks = set()
    for number in range(100):
        before, task = host.call(exchange, f"of call {number}")
        assert before == "unset"
        tasks.add(task)
        if number % 10 == 0:
            asyncio.run(given_up())
    assert len(tasks) < 100
    assert variable.get() == "unset"


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, KeyboardInterrupt])
def test_errors_are_the_callers(host: Host, error: type[BaseException]) -> None:
    """Whatever a function raises is raised to its caller, and the host goes on."""

    async def fail() -> None:
        raise error

    with pytest.raises(error):
        host.call(fail)
    assert host.terminate(host.spawn(SLEEP).id).empty


def test_a_supervisor_that_does_not_open_is_an_error_of_each_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is raised to every caller, and none hangs."""

    async def open_none(*_: object) -> None:
        raise ptykill.ContainmentUnavailable("none here")

    monkeypatch.setattr("ptykill.engine.opening.tiers.open_tier", open_none)
    host = Host()
    for _ in range(2):
        with pytest.raises(ptykill.ContainmentUnavailable):
            host.spawn(SLEEP)
    host.close()


def test_calling_from_the_inside_is_refused(host: Host) -> None:
    """The trio thread would wait for itself, so the call raises an error."""

    async def inside() -> None:
        host.call(trio.sleep, 0)

    with pytest.raises(RuntimeError, match="await"):
        host.call(inside)


def test_close_ends_all_and_can_be_repeated() -> None:
    """Closing ends every session, ends every wait, and refuses every later call."""
    host = Host(plan=PLAN)
    sessions = [spawn_deaf(host) for _ in range(3)]
    told: list[BaseException | ptykill.Verdict] = []

    async def forever() -> ptykill.Verdict:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
        raise AssertionError

    def wait(async_fn: Callable[[], Awaitable[ptykill.Verdict]]) -> None:
        try:
            told.append(host.call(async_fn))
        except ptykill.SupervisorClosed as error:
            told.append(error)

    threads = [
        threading.Thread(target=wait, args=[async_fn]) for async_fn in (sessions[0].wait, forever)
    ]
    for thread in threads:
        thread.start()
    host.call(trio.sleep, 0.05)
    for _ in range(2):
        host.close()
        assert all(session.verdict is not None and session.verdict.empty for session in sessions)
    for thread in threads:
        thread.join()
    assert {type(each) for each in told} == {ptykill.Verdict, ptykill.SupervisorClosed}
    with pytest.raises(ptykill.SupervisorClosed):
        host.spawn(SLEEP)
    with pytest.raises(ptykill.SupervisorClosed):
        host.call(sessions[0].wait)


def test_a_blocked_thread_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that blocks the trio thread can't make `close` hang, and is logged."""
    monkeypatch.setattr("ptykill.embedding.trio_thread._ANSWER_TIMEOUT", 0.1)
    host = Host(plan=PLAN)
    blocked, release = threading.Event(), threading.Event()

    async def block() -> None:
        blocked.set()
        release.wait(30)

    thread = threading.Thread(target=host.call, args=[block])
    thread.start()
    assert blocked.wait(30)
    with caplog.at_level(logging.ERROR, "ptykill"):
        host.close()
    assert "host.blocked" in caplog.text
    release.set()
    thread.join()
    host.close()


def test_the_end_of_the_interpreter_ends_sessions() -> None:
    """A program that ends without closing its host leaves no session behind, and does not hang."""
    program = textwrap.dedent(f"""
        import ptykill
        host = ptykill.Host(plan="HUP@session 200ms, KILL 15s")
        session = host.spawn({DEAF!r})
        assert b"ready" in host.call(session.receive)
        print(session.pid, flush=True)
    """)
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert processes.look_up(int(ended.stdout)) is None


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("held", ["lock", "ready"])
def test_a_fork_while_a_lock_is_held(host: Host, held: str) -> None:
    """A lock that a thread holds at a fork stays locked in the child: ptykill's do not."""
    assert host.spawn(["true"])
    thread = host._thread
    assert thread is not None
    lock = host._lock if held == "lock" else thread.ready._condition
    taken, over = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            over.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    program = os.fork()
    if program == 0:
        signal.alarm(30)
        host.close()
        os._exit(not thread.unusable())
    over.set()
    holder.join()
    assert os.waitpid(program, 0)[1] == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_leaves_the_sessions_alone(host: Host) -> None:
    """A child of fork(2) that closes its copy of a host neither hangs nor ends a session."""
    session = spawn_deaf(host)
    program = os.fork()
    if program == 0:
        try:
            host.close()
        finally:
            os._exit(0)
    _, status = os.waitpid(program, 0)
    assert status == 0
    assert session.state is ptykill.State.RUNNING


@pytest.mark.parametrize("when", ["before", "during", "after"])
def test_a_host_starts_afresh_in_a_forked_child(when: str) -> None:
    """Made, used or closed before a fork: parent and child have sessions of their own."""
    answer = run_program(
        f"""
        import os
        import sys

        import ptykill

        def try_it(host):
            session = host.spawn({DEAF!r})
            assert b"ready" in host.call(session.receive)
            assert host.terminate(session.id).empty

        host = ptykill.Host(plan="HUP@session 200ms, KILL 15s")
        before = None
        if {when!r} != "before":
            before = host.spawn({SLEEP!r})
        if {when!r} == "after":
            host.terminate(before.id)
        child = os.fork()
        if child == 0:
            assert host.sessions == ()
            try_it(host)
            host.spawn({DEAF!r})  # The end of the interpreter ends it.
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        if {when!r} == "during":
            assert before.state is ptykill.State.RUNNING
        try_it(host)
        print("done")
        """
    )
    assert answer == "done"


def test_a_host_keeps_its_signal_handlers() -> None:
    """SIGCHLD, SIGINT and SIGTERM are the program's, while sessions come and go and afterwards."""
    answer = run_program(
        f"""
        import os
        import signal
        import subprocess

        import ptykill

        numbers = (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)
        caught = []

        def handler(number, frame):
            caught.append(number)

        for number in numbers:
            signal.signal(number, handler)

        def try_them():
            caught.clear()
            subprocess.run(["true"])
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            assert {{*numbers}} == {{*caught}}, caught
            assert all(signal.getsignal(number) is handler for number in numbers)

        with ptykill.Host(plan="HUP@session 200ms, KILL 15s") as host:
            session = host.spawn({DEAF!r})
            assert b"ready" in host.call(session.receive)
            try_them()
            assert session.state is ptykill.State.RUNNING
            assert host.terminate(session.id).empty
        try_them()
        print("done")
        """
    )
    assert answer == "done"


@pytest.mark.parametrize(
    ("patched", "names"),
    [("all", "gevent"), ("thread", "gevent"), ("select", "gevent"), ("time", None)],
)
def test_a_patched_interpreter_is_refused(patched: str, names: str | None) -> None:
    """Under gevent each call is an error with a code; patches without effect are allowed."""
    answer = run_program(
        f"""
        from gevent import monkey

        monkey.patch_{patched}()

        import ptykill

        host = ptykill.Host()
        for _ in range(2):
            try:
                host.spawn(["true"])
            except ptykill.PtykillError as error:
                print(error.code, error.by)
        host.close()
        """
    )
    assert answer == (f"INTERPRETER_PATCHED {names}\n" * 2 if names else "").strip()


def test_eventlet_is_refused_as_well(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is found by its patcher module, which ptykill does not import."""
    patcher = SimpleNamespace(is_monkey_patched=lambda name: name == "thread")
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    with pytest.raises(ptykill.InterpreterPatched, match="eventlet"):
        host.spawn(SLEEP)


def run_program(text: str) -> str:
    """Run a program that has to succeed, and return its output."""
    ended = subprocess.run(
        # Python 3.12 warns of any fork beside other threads.
        [
            sys.executable,
            "-W",
            "ignore:This process:DeprecationWarning",
            "-c",
            textwrap.dedent(text),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.strip()


def test_log_context_reaches_the_sessions_events(host: Host) -> None:
    """A caller's context in structlog is in the events of the session that it spawns."""
    events: list[MutableMapping[str, Any]] = []

    def keep(logger: object, name: str, event: MutableMapping[str, Any]) -> str:
        events.append(event)
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
    try:
        with structlog.contextvars.bound_contextvars(request="blocking"):
            host.terminate(host.spawn(SLEEP).id)

        async def main() -> None:
            structlog.contextvars.bind_contextvars(request="asyncio")
            session = await host.acall(host.supervisor.spawn, SLEEP)
            await host.acall(session.terminate)

        asyncio.run(main())
    finally:
        structlog.reset_defaults()
    ended = [event["request"] for event in events if event["event"] == "session.ended"]
    assert ended == ["blocking", "asyncio"]


def test_a_hundred_callers_get_one_verdict(host: Host) -> None:
    """Fifty threads and fifty tasks of asyncio end one session at once: there is one teardown."""
    session = spawn_deaf(host)
    verdicts: list[ptykill.Verdict] = []
    threads = [
        threading.Thread(target=lambda: verdicts.append(host.terminate(session.id)))
        for _ in range(50)
    ]

    async def main() -> None:
        tasks = [asyncio.create_task(host.acall(session.terminate)) for _ in range(50)]
        for thread in threads:
            thread.start()
        verdicts.extend(await asyncio.gather(*tasks))

    asyncio.run(main())
    for thread in threads:
        thread.join()
    assert len(verdicts) == 100
    assert all(verdict is verdicts[0] for verdict in verdicts)
    assert [each.what for each in verdicts[0].deliveries] == ["HUP@session", "KILL@all"]


def test_ten_thousand_calls_leave_nothing_behind(host: Host) -> None:
    """No memory is kept of a call that has returned, or was cancelled."""

    async def main() -> None:
        for _ in range(50):
            tasks = [asyncio.create_task(host.acall(trio.sleep, 0)) for _ in range(100)]
            for task in tasks[::10]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    for _ in range(5_000):
        host.call(trio.sleep, 0)
    asyncio.run(main())

    async def tasks_left() -> int:
        await trio.testing.wait_all_tasks_blocked()
        nursery = trio.lowlevel.current_task().parent_nursery
        assert nursery is not None
        return len(nursery.child_tasks)

    assert host.call(tasks_left) == 2  # This one, and the one that leads.


def test_a_loop_that_is_blocked_for_a_second_delays_no_kill(host: Host) -> None:
    """SIGKILL comes when the grace is over, while the caller's event loop is blocked."""
    session = spawn_deaf(host)

    async def main() -> tuple[float, ptykill.Verdict]:
        task = asyncio.create_task(host.acall(session.terminate))
        await asyncio.sleep(0)
        began = time.monotonic()
        time.sleep(1)  # noqa: ASYNC251 - it is the point
        # On a machine that is busy for longer than that, until it is over.
        while session.verdict is None and time.monotonic() < began + 30:
            time.sleep(0.1)  # noqa: ASYNC251
        assert session.verdict is not None
        return time.monotonic() - began, await task

    blocked, verdict = asyncio.run(main())
    assert verdict.outcome is Outcome.KILLED
    assert verdict.took < blocked
