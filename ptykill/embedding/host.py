"""A supervisor for programs that do not run on trio: in a trio thread of its own, with two doors.

    host = Host()
    session = host.spawn(["bash", "-i"])  # the blocking door: any thread
    verdict = await host.acall(session.terminate)  # the asyncio door: any event loop

The thread is started by the first call. Grace and escalation are timed in it, so a host that
blocks its own loop, or is busy, does not make a teardown late.
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple, Unpack, overload

import trio

from ptykill.embedding.call import Call, Wake
from ptykill.embedding.loops import wait_for_call, wait_for_future
from ptykill.embedding.trio_thread import TrioThread, check_interpreter, host_closed
from ptykill.engine.session import Session
from ptykill.engine.supervisor import Supervisor
from ptykill.errors import SupervisorClosed
from ptykill.rules.command import Attributes
from ptykill.rules.options import Options, SupervisorOptions
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.protocols import Signaller
from ptykill.rules.verdict import Verdict

__all__ = ["Host"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Host:
    """Sessions for threads and for asyncio; takes what `open_supervisor` takes.

    Wrong options are raised by the first call, and so is `InterpreterPatched`, under gevent.
    Leaving a ``with`` or ``async with`` block, `close` and the end of the interpreter end every
    session; after that, calls raise `SupervisorClosed`.
    """

    def __init__(self, **options: Unpack[SupervisorOptions]) -> None:
        self._options = Options.of(**options)
        self._lock = threading.Lock()
        self._thread: TrioThread | None = None
        self._closed = False
        _all.add(self)

    # --- the doors --------------------------------------------------------------------------------

    @overload
    def call(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T: ...
    @overload
    def call(self, function: Callable[[*Ts], T], *args: *Ts) -> T: ...
    def call(self, function: Callable[[*Ts], Awaitable[T] | T], *args: *Ts) -> T:
        """Run ``async_fn(*args)`` in the trio thread, wait, and return or raise what it does.

        For `Session` and `Supervisor` methods, and for functions of your own that use them. Keyword
        arguments go through `functools.partial`. An exception in the wait, KeyboardInterrupt
        above all, cancels the function (never a teardown, which is the supervisor's). A session
        or attachment that the function has made, and returns to nobody, is ended then.

        Python may raise KeyboardInterrupt after this has returned, and before the caller has kept
        what it returned. Such a session lives until the host is closed, or it is ended by its id:
        ``supervisor.sessions`` has it.
        """
        thread = self._running()
        woken = threading.Lock()
        woken.acquire()
        call: Call[T] = Call(function, args, woken.release, host_closed)
        try:
            thread.send(call)
            woken.acquire()
            return call.result()
        except BaseException:
            call.abandon(thread.token)
            raise

    @overload
    async def acall(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T: ...
    @overload
    async def acall(self, function: Callable[[*Ts], T], *args: *Ts) -> T: ...
    async def acall(self, function: Callable[[*Ts], Awaitable[T] | T], *args: *Ts) -> T:
        """As `call`, for a task of asyncio, or of another trio run: it waits without blocking.

        Cancelling that task cancels ``async_fn``; a teardown it waited for goes on. A session or
        attachment that ``async_fn`` has made, and returns to nobody, is ended then.
        """
        thread = self._started()
        if thread.running is None:
            await wait_for_future(thread.ready)

        def make(wake: Wake) -> Call[T]:
            return Call(function, args, wake, host_closed)

        return await wait_for_call(make, thread.send, thread.token)

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
            thread.check_other_thread()
            thread.wait_ended()
            atexit.unregister(self.close)

    async def aclose(self) -> None:
        """As `close`, without blocking the loop. Cancelling it does not call the end back."""
        thread = self._closing()
        if thread is not None:
            thread.check_other_thread()
            await wait_for_future(thread.ended)
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
        await wait_for_future(self._started().ready)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
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
    """Free the locks in a forked child: whoever held one is not there, and will not release it."""
    for host in list(_all):
        host._lock = threading.Lock()  # noqa: SLF001 - as if it were a method


os.register_at_fork(after_in_child=_renew_locks)
