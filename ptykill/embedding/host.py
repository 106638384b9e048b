"""A supervisor for programs that do not run on trio, in a trio thread of its own.

    host = Host()
    session = host.spawn(["bash", "-i"])  # From any thread: blocks.
    verdict = await host.acall(session.terminate)  # From any event loop: does not block it.

The first call starts the thread. Grace and escalation are timed in it, so a program that blocks its
own loop, or is busy, does not make a teardown late.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import functools
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Self, TypeVar, TypeVarTuple, Unpack, overload

import trio

from ptykill.embedding.call import Call, Wake
from ptykill.embedding.host_events import HostEvents
from ptykill.embedding.loops import wait_for_call, wait_for_future
from ptykill.embedding.trio_thread import TrioThread, check_interpreter, host_closed
from ptykill.engine.session import Session
from ptykill.engine.settings import SpawnOptions
from ptykill.engine.supervisor import Supervisor, events_after, events_left
from ptykill.errors import SupervisorClosed
from ptykill.rules import validate
from ptykill.rules.options import Options, SupervisorOptions
from ptykill.rules.plan import Plan
from ptykill.rules.session_event import SessionEvent
from ptykill.rules.verdict import Verdict

__all__ = ["Host"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Host:
    """Sessions for threads and for asyncio; takes what `open_supervisor` takes.

    Wrong options raise `InvalidArgument` and `PlanError` here. The first call starts the thread; it
    raises `InterpreterPatched` under gevent, and `ContainmentUnavailable`. Leaving a ``with`` or
    ``async with`` block, `close` and the end of the interpreter end every session; after that,
    calls raise `SupervisorClosed`.
    """

    def __init__(self, **options: Unpack[SupervisorOptions]) -> None:
        self._options = Options.of(**options)
        self._lock = threading.Lock()
        self._thread: TrioThread | None = None
        self._closed = False
        _all.add(self)

    def __repr__(self) -> str:
        thread = self._thread
        if self._closed:
            state = "closed"
        elif thread is not None and thread.takes_calls():
            state = "running"
        else:
            state = "not running"
        return f"<Host, {state}>"

    # --- calls into the trio thread ---------------------------------------------------------------

    @overload
    def call(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T: ...
    @overload
    def call(self, function: Callable[[*Ts], T], *args: *Ts) -> T: ...
    def call(self, function: Callable[[*Ts], Awaitable[T] | T], *args: *Ts) -> T:
        """Run ``function(*args)`` in the trio thread, wait, and return or raise what it does.

        For methods of `Session` and `Supervisor`, plain and async ones, and for functions of your
        own that use them. Keyword arguments go through `functools.partial`. An exception in the
        wait, such as KeyboardInterrupt, cancels the function, but no teardown that it waits for. If
        the function has made a session or an attachment, that is ended, since no caller gets it.

        Python may raise KeyboardInterrupt after this has returned, and before the caller has kept
        what it returned. Such a session lives until the host is closed, or it is ended by its id:
        ``supervisor.sessions`` has it.
        """
        validate.function("the function", function)
        thread = self._running()
        woken = threading.Lock()
        woken.acquire()
        call: Call[T] = Call(function, args, woken.release, host_closed)
        try:
            thread.send(call)
            woken.acquire()
            return call.result()
        except BaseException:
            call.abandon(thread.run_soon)
            raise

    @overload
    async def acall(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T: ...
    @overload
    async def acall(self, function: Callable[[*Ts], T], *args: *Ts) -> T: ...
    async def acall(self, function: Callable[[*Ts], Awaitable[T] | T], *args: *Ts) -> T:
        """As `call`, for a task of asyncio or of another trio run: it waits without blocking.

        Cancelling that task cancels the function; a teardown that it waits for goes on. If the
        function has made a session or an attachment, that is ended, since no caller gets it.
        """
        validate.function("the function", function)
        thread = self._started()
        if thread.running is None:
            await wait_for_future(thread.ready)

        def make(wake: Wake) -> Call[T]:
            return Call(function, args, wake, host_closed)

        return await wait_for_call(make, thread.send, thread.run_soon)

    def call_soon(self, function: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call a plain function in the trio thread soon, and do not wait. It must not raise.

        For a caller that is being cancelled, and can't wait. Once the host is closed, and before
        its first call, nothing is called.
        """
        validate.function("the function", function)
        thread = self._thread
        if thread is not None and thread.takes_calls():
            with suppress(trio.RunFinishedError):
                thread.token.run_sync_soon(function, *args)

    @property
    def supervisor(self) -> Supervisor:
        """The supervisor in the trio thread; its methods go through `call` and `acall`."""
        return self._running().settled().supervisor

    def spawn(self, command: Sequence[str], **options: Unpack[SpawnOptions]) -> Session:
        """As `Supervisor.spawn`, blocking. The session's own methods go through `call`."""
        return self.call(functools.partial(self.supervisor.spawn, command, **options))

    def terminate(
        self, session_id: str, *, grace: float | None = None, plan: Plan | str | None = None
    ) -> Verdict:
        """As `Supervisor.terminate`, blocking: bounded by the plan."""
        return self.call(
            functools.partial(self.supervisor.terminate, session_id, grace=grace, plan=plan)
        )

    def get(self, session_id: str) -> Session:
        """As `Supervisor.get`. Raises `SessionNotFound`."""
        return self.call(self.supervisor.get, session_id)

    def find(
        self, *, labels: Mapping[str, str | None] | None = None, name: str | None = None
    ) -> tuple[Session, ...]:
        """As `Supervisor.find`."""
        return self.call(functools.partial(self.supervisor.find, labels=labels, name=name))

    def terminate_matching(
        self,
        *,
        labels: Mapping[str, str | None] | None = None,
        name: str | None = None,
        grace: float | None = None,
        plan: Plan | str | None = None,
    ) -> tuple[Verdict, ...]:
        """As `Supervisor.terminate_matching`, blocking: bounded by the longest plan."""
        ended = functools.partial(
            self.supervisor.terminate_matching, labels=labels, name=name, grace=grace, plan=plan
        )
        return self.call(ended)

    def events(self, since: str | None = None) -> HostEvents:
        """Return an iterator, blocking or async, of all that happens: as `Supervisor.events`.

        Raises `InvalidArgument`.
        """
        if since is not None:
            validate.text("since", since)

        def fetch(after: str | None) -> Callable[[], Awaitable[list[SessionEvent]]]:
            async def there() -> list[SessionEvent]:  # In the trio run, where it is open for sure.
                return await events_after(self.supervisor, after)

            return there

        return HostEvents(self.call, self.acall, fetch, self._ended, self._events_left, since)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """As `Supervisor.sessions`; empty before the first call, which starts the thread."""
        if self._thread is None:
            return ()
        return self.call(lambda: self.supervisor.sessions)

    # --- beginning and end ------------------------------------------------------------------------

    def close(self) -> None:
        """End every session by its plan, and the thread. May be called again, and from any thread.

        Takes as long as `Supervisor.close`, which is bounded by the longest plan. If a function
        given to `call` blocks the trio thread, this logs ``host.blocked`` and does not wait for it.
        """
        thread = self._closing()
        if thread is not None:
            thread.check_other_thread()
            thread.wait_ended()
            atexit.unregister(self.close)

    async def aclose(self) -> None:
        """As `close`, without blocking the loop. Cancelling it stops the wait alone."""
        thread = self._closing()
        if thread is not None:
            thread.check_other_thread()
            await wait_for_future(thread.ended)
            atexit.unregister(self.close)

    def __enter__(self) -> Self:
        """Return the host itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """Start the thread, so that no call has to wait for it, and return the host."""
        await wait_for_future(self._started().ready)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()

    def _started(self) -> TrioThread:
        """Return the thread, started, though perhaps not ready yet."""
        thread = self._thread
        if thread is not None and not self._closed and thread.takes_calls():
            return thread
        with self._lock:
            if self._closed:
                msg = "the host is closed, or closing"
                raise SupervisorClosed(msg)
            if self._thread is None or self._thread.unusable():
                check_interpreter()
                self._thread = TrioThread(self._options)
                # Runs before daemon threads are stopped, and while they still are scheduled.
                atexit.unregister(self.close)
                atexit.register(self.close)
            return self._thread

    def _running(self) -> TrioThread:
        """Return the thread once it takes calls. Raises what kept its supervisor from opening."""
        thread = self._started()
        if thread.running is None:
            thread.settled()
        return thread

    def _ended(self) -> concurrent.futures.Future[None] | None:
        """Return what is done when this closed host has ended; None if it has no thread here."""
        thread = self._thread
        return None if thread is None or thread.unusable() else thread.ended

    def _events_left(self, since: str | None) -> list[SessionEvent]:
        """Return some of the events after the one with this id, once the host has ended."""
        running = None if self._thread is None else self._thread.running
        return [] if running is None else events_left(running.supervisor, since)

    def _closing(self) -> TrioThread | None:
        """Ask the thread to end, and return it; None if there is none to wait for."""
        with self._lock:
            self._closed = True
            thread = self._thread
        if thread is None or thread.of_another_process():
            return None
        thread.ask_to_end()
        return thread


_all: weakref.WeakSet[Host] = weakref.WeakSet()


def _renew_locks() -> None:
    """Make new locks in a forked child: a thread that held one does not exist there."""
    for host in list(_all):
        host._lock = threading.Lock()  # noqa: SLF001 - as if it were a method


os.register_at_fork(after_in_child=_renew_locks)
