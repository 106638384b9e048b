"""The trio tasks that run calls for other threads.

One task waits for the next call. When a call comes it passes that place to another task, and runs
the call itself. So a call begins in the very pass of the loop that its thread has woken: no task
and no cancel scope has to be made for it first. They are made while the call waits for something.
`trio.lowlevel.TrioToken.run_sync_soon` would take two passes more.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import trio

from ptykill.embedding.call import Call
from ptykill.system.kernel.retry import again, close
from ptykill.system.readiness import readable

__all__ = ["CallTasks", "open_call_tasks"]


class CallTasks:
    """Tasks in one nursery, and the queue of calls that none of them has begun."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._queue: deque[tuple[Call[Any], contextvars.Context]] = deque()
        self._functions: deque[Callable[[], object]] = deque()
        """Plain functions that run before the calls in the queue."""
        self._token = trio.lowlevel.current_trio_token()
        self._idle: trio.lowlevel.Task | None = None
        """A task that is free, beside the one that waits for the next call."""
        self._open = True
        # Reentrant: a signal handler may submit a call while its thread is submitting one.
        self._lock = threading.RLock()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        nursery.start_soon(self._run_calls)

    def submit(self, call: Call[Any], context: contextvars.Context) -> None:
        """Have a call run, with these context variables. From any thread.

        Raises `trio.RunFinishedError` once this is closed.
        """
        with self._lock:  # After `close_pipe`, the pipe's number could be another file's.
            if not self._open:
                raise trio.RunFinishedError
            item = call, context
            self._queue.append(item)
            try:
                again(lambda: os.write(self._wake_write, b"\0"))
            except BlockingIOError:
                return  # The pipe is full, so it is readable, and wakes the task.
            except OSError:
                # If the item is not there, a task woken by another call has begun this one.
                with suppress(ValueError):
                    self._queue.remove(item)
                    raise

    def run_soon(self, function: Callable[[], object]) -> None:
        """Run a plain function in trio before the calls that are submitted later.

        From any thread. Raises `trio.RunFinishedError`.
        """
        self._functions.append(function)
        self._token.run_sync_soon(self._run_functions)

    def _run_functions(self) -> None:
        while self._functions:
            self._functions.popleft()()

    def close(self) -> None:
        """Refuse the calls that have not begun, and all that come later."""
        with self._lock:
            self._open = False
        while self._queue:
            self._queue.popleft()[0].refuse()

    def close_pipe(self) -> None:
        """Close the pipe, once no task is left."""
        close(self._wake_read)
        close(self._wake_write)

    async def _run_calls(self) -> None:
        """Wait for a call, run it, wait as the idle task; end if there is an idle task already."""
        while True:
            with trio.CancelScope() as scope:
                await self._call_queued()
                call, context = self._queue.popleft()
                # A caller that has left gives back what it did not get, before it asks again.
                self._run_functions()
                self._let_another_wait()
                call.begin(scope)
                for variable, value in context.items():
                    variable.set(value)
                await call.run()
                # The caller is awake now, and needs the interpreter's lock, which this thread gives
                # up when it waits. So the scope is left after that wait. It can't be cancelled any
                # more; if it was, it can't be used again.
                if self._idle is not None or scope.cancel_called:
                    return
                await self._wait_idle()

    async def _call_queued(self) -> None:
        while not self._queue:
            await readable(self._wake_read)
            # Read before the next look at the queue: a call submitted after it writes again.
            with suppress(OSError):  # EAGAIN. After any other error the pipe stays readable.
                os.read(self._wake_read, 4096)

    def _let_another_wait(self) -> None:
        if self._idle is None:
            self._nursery.start_soon(self._run_calls)
        else:
            trio.lowlevel.reschedule(self._idle)
            self._idle = None

    async def _wait_idle(self) -> None:
        self._idle = trio.lowlevel.current_task()
        # The next call must not see the variables of this one's caller.
        self._idle.context = contextvars.Context()
        await trio.lowlevel.wait_task_rescheduled(self._stop_waiting)

    def _stop_waiting(self, _: object) -> trio.lowlevel.Abort:
        self._idle = None
        return trio.lowlevel.Abort.SUCCEEDED


@asynccontextmanager
async def open_call_tasks() -> AsyncIterator[CallTasks]:
    """Run calls as long as the block lasts, then cancel those that are not done."""
    with ExitStack() as stack:
        async with trio.open_nursery() as nursery:
            tasks = CallTasks(nursery)
            stack.callback(tasks.close_pipe)
            try:
                yield tasks
            finally:
                tasks.close()
                nursery.cancel_scope.cancel()
