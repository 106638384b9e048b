"""A supervisor for programs that do not run on trio: in a trio thread of its own, with two doors.

    host = Host()
    session = host.spawn(["bash", "-i"])  # the blocking door: any thread
    verdict = await host.acall(session.terminate)  # the asyncio door: any event loop

The thread is started by the first call. Grace and escalation are timed in it, so a host that
blocks its own loop, or is busy, does not make a teardown late.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextvars
import functools
import logging
import os
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self, TypedDict, TypeVar, TypeVarTuple, Unpack

import trio

from ptykill import log
from ptykill.embedding.loops import Errand, Ring, fetch, wait_for
from ptykill.embedding.runners import Runners, open_runners
from ptykill.engine.session import Session
from ptykill.engine.supervisor import Supervisor, open_supervisor
from ptykill.errors import InterpreterPatched, SupervisorClosed
from ptykill.rules.command import Attributes
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.protocols import Signaller, Tier
from ptykill.rules.verdict import Verdict

__all__ = ["Host", "SupervisorOptions"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_PATIENCE = 5.0
"""Seconds in which a trio thread that is not blocked answers a knock, however busy the machine."""


class SupervisorOptions(TypedDict, total=False):
    """What `open_supervisor` can be told."""

    plan: Plan | str
    containment: str | Tier
    max_sessions: int
    leftovers: Leftovers | str
    signaller: Signaller | None
    backlog: int
    keep_seconds: float
    keep_records: int


class Host:
    """Sessions for threads and for asyncio; takes what `open_supervisor` takes.

    Wrong options are raised by the first call, and so is `InterpreterPatched`, under gevent.
    Leaving a ``with`` or ``async with`` block, `close` and the end of the interpreter end every
    session; after that, calls raise `SupervisorClosed`.
    """

    def __init__(self, **options: Unpack[SupervisorOptions]) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._thread: _TrioThread | None = None
        self._closed = False
        _all.add(self)

    # --- the doors --------------------------------------------------------------------------------

    def call(self, async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Run ``async_fn(*args)`` in the trio thread, wait, and return or raise what it does.

        For `Session` and `Supervisor` methods, and for functions of your own that use them. Keyword
        arguments go through `functools.partial`. An exception in the wait, KeyboardInterrupt
        above all, cancels the function (never a teardown, which is the supervisor's). A session
        or attachment that the function has made, and returns to nobody, is ended then.
        """
        thread = self._running()
        rung = threading.Lock()
        rung.acquire()
        errand = Errand(async_fn, args, rung.release, _closed)
        try:
            thread.send(errand)
            rung.acquire()
            return errand.result()
        except BaseException:
            errand.give_up(thread.token)
            raise

    async def acall(self, async_fn: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """As `call`, for a task of asyncio, or of another trio run: it waits without blocking.

        Cancelling that task cancels ``async_fn``; a teardown it waited for goes on. A session or
        attachment that ``async_fn`` has made, and returns to nobody, is ended then.
        """
        thread = self._started()
        if thread.running is None:
            await wait_for(thread.ready)

        def errand_with(ring: Ring) -> Errand[T]:
            return Errand(async_fn, args, ring, _closed)

        return await fetch(errand_with, thread.send, thread.token)

    def call_soon(self, function: Callable[[*Ts], object], *args: *Ts) -> None:
        """Have a plain function called soon in the trio thread; do not wait. It must not raise.

        For what has to be done though the caller is being cancelled. Once the host is closed,
        nothing is called.
        """
        thread = self._thread
        if thread is not None and thread.takes_calls():
            with suppress(trio.RunFinishedError):
                thread.token.run_sync_soon(function, *args)

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor in the trio thread; its methods go through `call` and `acall`."""
        return self._running().settled().supervisor

    def spawn(  # noqa: PLR0913 - as Supervisor.spawn has them
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        rows: int = 24,
        cols: int = 80,
        echo: bool = True,
        stdin: int | None = None,
        attributes: Attributes | None = None,
        plan: Plan | str | None = None,
        leftovers: Leftovers | str | None = None,
        signaller: Signaller | None = None,
    ) -> Session:
        """As `Supervisor.spawn`, blocking. The session's own methods go through `call`."""
        return self.call(
            functools.partial(
                self.supervisor.spawn,
                command,
                env=env,
                cwd=cwd,
                rows=rows,
                cols=cols,
                echo=echo,
                stdin=stdin,
                attributes=attributes,
                plan=plan,
                leftovers=leftovers,
                signaller=signaller,
            )
        )

    def terminate(
        self, session_id: str, *, grace: float | None = None, plan: Plan | str | None = None
    ) -> Verdict:
        """As `Supervisor.terminate`, blocking: bounded by the plan."""
        return self.call(
            functools.partial(self.supervisor.terminate, session_id, grace=grace, plan=plan)
        )

    def get(self, session_id: str) -> Session:
        """As `Supervisor.get`. Raises `SessionNotFound`."""

        async def get() -> Session:
            return self.supervisor.get(session_id)

        return self.call(get)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """As `Supervisor.sessions`; none if nothing was ever asked of this host."""
        if self._thread is None:
            return ()

        async def sessions() -> tuple[Session, ...]:
            return self.supervisor.sessions

        return self.call(sessions)

    # --- beginning and end ------------------------------------------------------------------------

    def close(self) -> None:
        """End every session by its plan, and the thread. May be called again, and from any thread.

        Takes as long as `Supervisor.close`, which is bounded by the longest plan. If the trio
        thread itself is blocked, by a function given to `call`, that is logged and not waited for.
        """
        thread = self._closing()
        if thread is not None:
            thread.check_elsewhere()
            thread.wait_ended()
            atexit.unregister(self.close)

    async def aclose(self) -> None:
        """As `close`, without blocking the loop. Cancelling it does not call the end back."""
        thread = self._closing()
        if thread is not None:
            thread.check_elsewhere()
            await wait_for(thread.ended)
            atexit.unregister(self.close)

    def __enter__(self) -> Self:
        """Return the host itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """Start the thread, so that no later call has to wait for it, and return the host."""
        await wait_for(self._started().ready)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()

    def _started(self) -> _TrioThread:
        """Return the thread, started, though perhaps not ready yet."""
        thread = self._thread
        if thread is not None and not self._closed and thread.takes_calls():
            return thread
        with self._lock:
            if self._closed:
                msg = "the host is closed, or closing"
                raise SupervisorClosed(msg)
            if self._thread is None or self._thread.unusable():
                _check_interpreter()
                self._thread = _TrioThread(self._options)
                # Runs before daemon threads are stopped, and while they still are scheduled.
                atexit.unregister(self.close)
                atexit.register(self.close)
            return self._thread

    def _running(self) -> _TrioThread:
        """Return the thread once it takes calls. Raises what kept its supervisor from opening."""
        thread = self._started()
        if thread.running is None:
            thread.settled()
        return thread

    def _closing(self) -> _TrioThread | None:
        """Ask the thread to end, and return it; None if there is none to wait for."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is None or thread.of_another_process():
            return None
        thread.ask_to_end()
        return thread


_all: weakref.WeakSet[Host] = weakref.WeakSet()


def _unlock_all() -> None:
    """Free the locks in a forked child: whoever held one is not there, and will not release it."""
    for host in list(_all):
        host._lock = threading.Lock()  # noqa: SLF001 - as if it were a method


os.register_at_fork(after_in_child=_unlock_all)


class _Running(NamedTuple):
    """What is there once the supervisor is open."""

    token: trio.lowlevel.TrioToken
    supervisor: Supervisor
    runners: Runners
    stop: trio.Event


class _TrioThread:
    """A thread with a trio run with a supervisor; started by making one.

    ``ready`` is done when it takes calls, or has failed to get there; ``ended`` when every session
    has been ended and the run is over.
    """

    def __init__(self, options: SupervisorOptions) -> None:
        self.ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.running: _Running | None = None
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._options = options
        self._pid = os.getpid()
        # A daemon: the interpreter must not wait for it before `atexit` has had it end.
        self._thread = threading.Thread(target=self._run, name="ptykill", daemon=True)
        self._thread.start()
        self._ident = self._thread.ident

    # --- asked from other threads -----------------------------------------------------------------

    def of_another_process(self) -> bool:
        """True in a forked child: no thread survives fork(2), and the sessions are not its own."""
        return self._pid != os.getpid()

    def takes_calls(self) -> bool:
        """True if it is ready, and not of another process."""
        return self.running is not None and self._pid == os.getpid()

    def unusable(self) -> bool:
        """True if it never got ready, or belongs to another process: a new one may do better."""
        if self.of_another_process():  # Where a lock of ``ready`` may be held for ever.
            return True
        return self.ready.done() and self.ready.exception() is not None

    def check_elsewhere(self) -> None:
        """Raise RuntimeError in the trio thread itself, which would wait for itself."""
        if threading.get_ident() == self._ident:
            msg = "this is the host's trio thread: await the function instead"
            raise RuntimeError(msg)

    @property
    def token(self) -> trio.lowlevel.TrioToken:
        """The run, once it is ready."""
        return self.settled().token

    def settled(self) -> _Running:
        """Wait until it takes calls. Raises what kept its supervisor from opening."""
        if self.running is None:
            self.ready.result()
        assert self.running is not None
        return self.running

    def send(self, errand: Errand[T]) -> None:
        """Have an errand run. Raises `SupervisorClosed`."""
        running = self.running or self.settled()
        self.check_elsewhere()
        try:
            # In the caller's context: its variables, a request's id say, travel.
            running.runners.give(errand, contextvars.copy_context())
        except trio.RunFinishedError:
            raise _closed() from None

    def ask_to_end(self) -> None:
        """Have every session ended, and the run then. Does not wait."""
        with suppress(Exception):  # If it never got ready, there is nothing to end.
            running = self.settled()
            running.token.run_sync_soon(running.stop.set)

    def wait_ended(self) -> None:
        """Wait until the run is over, for as long as the thread is not blocked."""
        while not self._over_within(_PATIENCE):
            knock = threading.Event()
            with suppress(trio.RunFinishedError):
                self.settled().token.run_sync_soon(knock.set)
                if not knock.wait(_PATIENCE):
                    log.event(logging.ERROR, "host.blocked", thread=self._thread.name)
                    return

    def _over_within(self, seconds: float) -> bool:
        return bool(concurrent.futures.wait([self.ended], seconds).done)

    # --- in the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - there is nobody above to raise it to
            if self.ready.done():
                log.event(logging.ERROR, "host.crashed", exc_info=error)
            else:
                self.ready.set_exception(error)
        finally:
            self.ended.set_result(None)

    async def _main(self) -> None:
        async with open_supervisor(**self._options) as supervisor, open_runners() as runners:
            stop = trio.Event()
            token = trio.lowlevel.current_trio_token()
            self.running = _Running(token, supervisor, runners, stop)
            self.ready.set_result(None)
            await stop.wait()
            # First the sessions, so that those who wait for a verdict get it; then all who wait
            # for something else.
            await supervisor.close()


def _check_interpreter() -> None:
    """Raise `InterpreterPatched` where a thread would be none, and would block all others.

    Neither is imported: who has not, has not patched anything.
    """
    gevent = sys.modules.get("gevent.monkey")
    if gevent and any(map(gevent.is_module_patched, ("threading", "socket", "select"))):
        raise InterpreterPatched("gevent")
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet and any(map(eventlet.is_monkey_patched, ("thread", "socket", "select"))):
        raise InterpreterPatched("eventlet")


def _closed() -> SupervisorClosed:
    return SupervisorClosed("the host is closed, or closing")
