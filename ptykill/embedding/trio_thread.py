"""The thread that a `Host` runs its supervisor in."""

from __future__ import annotations

import concurrent.futures
import contextvars
import logging
import os
import sys
import threading
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
    """What is there once the supervisor is open."""

    token: trio.lowlevel.TrioToken
    supervisor: Supervisor
    tasks: CallTasks
    stop: trio.Event


class TrioThread:
    """A thread with a trio run with a supervisor; started by making one.

    ``ready`` is done when it takes calls, or has failed to get there; ``ended`` when every session
    has been ended and the run is over.
    """

    def __init__(self, options: Options) -> None:
        self.ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.running: Running | None = None
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

    def check_other_thread(self) -> None:
        """Raise RuntimeError in the trio thread itself, which would wait for itself."""
        if threading.get_ident() == self._ident:
            msg = "this is the host's trio thread: await the function instead"
            raise RuntimeError(msg)

    @property
    def token(self) -> trio.lowlevel.TrioToken:
        """The run, once it is ready."""
        return self.settled().token

    def settled(self) -> Running:
        """Wait until it takes calls. Raises what kept its supervisor from opening."""
        if self.running is None:
            self.ready.result()
        assert self.running is not None
        return self.running

    def send(self, call: Call[T]) -> None:
        """Have a call run. Raises `SupervisorClosed`."""
        running = self.running or self.settled()
        self.check_other_thread()
        try:
            # In the caller's context: its variables, a request's id say, travel.
            running.tasks.submit(call, contextvars.copy_context())
        except trio.RunFinishedError:
            raise host_closed() from None

    def ask_to_end(self) -> None:
        """Have every session ended, and the run then. Does not wait."""
        with suppress(Exception):  # If it never got ready, there is nothing to end.
            running = self.settled()
            running.token.run_sync_soon(running.stop.set)

    def wait_ended(self) -> None:
        """Wait until the run is over, for as long as the thread is not blocked."""
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
        except BaseException as error:  # noqa: BLE001 - there is nobody above to raise it to
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
            # First the sessions, so that those who wait for a verdict get it; then all who wait
            # for something else.
            await supervisor.close()


def check_interpreter() -> None:
    """Raise `InterpreterPatched` where a thread would be none, and would block all others.

    Neither is imported: who has not, has not patched anything.
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
