"""The thread that a `Host` runs its supervisor in."""

from __future__ import annotations

import concurrent.futures
import contextvars
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

import trio

from ptykill import log
from ptykill.embedding.call import Call
from ptykill.embedding.call_tasks import CallTasks, open_call_tasks
from ptykill.engine.opening import open_with
from ptykill.engine.supervisor import Supervisor
from ptykill.errors import InterpreterPatched, SupervisorClosed
from ptykill.rules.options import Options

__all__ = ["TrioThread", "check_interpreter", "host_closed"]

T = TypeVar("T")

_ANSWER_TIMEOUT = 5.0
"""Seconds in which a trio thread that is not blocked runs a function, however busy the machine."""


class Running(NamedTuple):
    """The parts of a trio run whose supervisor is open."""

    token: trio.lowlevel.TrioToken
    supervisor: Supervisor
    tasks: CallTasks
    stop: trio.Event


class TrioThread:
    """A thread, started at once, that runs a supervisor under trio.

    ``ready`` is done when it takes calls, or has failed to open the supervisor; ``ended`` when
    every session has been ended and the run is over.
    """

    def __init__(self, options: Options) -> None:
        self.ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.running: Running | None = None
        self.ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._options = options
        self._pid = os.getpid()
        # A daemon thread: the interpreter waits for others before it calls what `atexit` has.
        self._thread = threading.Thread(target=self._run, name="ptykill", daemon=True)
        self._thread.start()
        self._ident = self._thread.ident

    # --- called from other threads ----------------------------------------------------------------

    def of_another_process(self) -> bool:
        """True in a forked child: fork(2) copies no other thread, and the sessions are not its."""
        return self._pid != os.getpid()

    def takes_calls(self) -> bool:
        """True if the supervisor is open, and this process is not a forked child."""
        return self.running is not None and self._pid == os.getpid()

    def unusable(self) -> bool:
        """True if it failed to open the supervisor, or belongs to another process."""
        if self.of_another_process():  # There, no thread would release the lock of ``ready``.
            return True
        return self.ready.done() and self.ready.exception() is not None

    def check_other_thread(self) -> None:
        """Raise RuntimeError in the trio thread itself, which would wait for itself for ever."""
        if threading.get_ident() == self._ident:
            msg = "this is the host's trio thread: await the function instead"
            raise RuntimeError(msg)

    @property
    def token(self) -> trio.lowlevel.TrioToken:
        """The way into the trio run; waits until it is ready."""
        return self.settled().token

    def settled(self) -> Running:
        """Wait until it takes calls. Raises the error with which the supervisor did not open."""
        if self.running is None:
            self.ready.result()
        assert self.running is not None
        return self.running

    def send(self, call: Call[T]) -> None:
        """Submit a call. Raises `SupervisorClosed`."""
        running = self.running or self.settled()
        self.check_other_thread()
        try:
            # With the caller's context variables, such as a request's id for the log.
            running.tasks.submit(call, contextvars.copy_context())
        except trio.RunFinishedError:
            raise host_closed() from None

    def run_soon(self, function: Callable[[], object]) -> None:
        """Run a plain function before the calls that are sent later.

        Raises `trio.RunFinishedError`.
        """
        self.settled().tasks.run_soon(function)

    def ask_to_end(self) -> None:
        """Have the run end every session, and itself, once it takes calls. Does not wait."""
        self.ready.add_done_callback(lambda _: self._end())

    def _end(self) -> None:
        running = self.running
        if running is not None:  # If the supervisor did not open, there is nothing to end.
            with suppress(trio.RunFinishedError):
                running.token.run_sync_soon(running.stop.set)

    def wait_ended(self) -> None:
        """Wait until the run is over; give up, and log it, if the thread is blocked."""
        while not self._over_within(_ANSWER_TIMEOUT):
            answered = threading.Event()
            with suppress(trio.RunFinishedError):
                self.settled().token.run_sync_soon(answered.set)
                if not answered.wait(_ANSWER_TIMEOUT):
                    log.event(logging.ERROR, "host.blocked", thread=self._thread.name)
                    return

    def _over_within(self, seconds: float) -> bool:
        return bool(concurrent.futures.wait([self.ended], seconds).done)

    # --- in the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001 - no caller is above to raise it to
            if self.ready.done():
                log.event(logging.ERROR, "host.crashed", exc_info=error)
            else:
                self.ready.set_exception(error)
        finally:
            self.ended.set_result(None)

    async def _main(self) -> None:
        async with open_with(self._options) as supervisor, open_call_tasks() as tasks:
            stop = trio.Event()
            token = trio.lowlevel.current_trio_token()
            self.running = Running(token, supervisor, tasks, stop)
            self.ready.set_result(None)
            await stop.wait()
            # Before the call tasks are cancelled: calls that wait for a verdict get it.
            await supervisor.close()


def check_interpreter() -> None:
    """Raise `InterpreterPatched` if gevent or eventlet has patched threads.

    Such a thread is a coroutine that blocks all others. Neither is imported here: a module that is
    not imported has not patched anything.
    """
    gevent = sys.modules.get("gevent.monkey")
    if gevent and any(map(gevent.is_module_patched, ("threading", "socket", "select"))):
        raise InterpreterPatched("gevent")
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet and any(map(eventlet.is_monkey_patched, ("thread", "socket", "select"))):
        raise InterpreterPatched("eventlet")


def host_closed() -> SupervisorClosed:
    """Return the error of a call that comes too late."""
    return SupervisorClosed("the host is closed, or closing")
