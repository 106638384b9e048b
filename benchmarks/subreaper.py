"""Run the benchmarks in a child process, and kill every process that outlives them.

This process is a subreaper: orphans of the child become its children. Only it reaps them, so the
pid of an orphan can't have been reused when it is killed, and when it has no child left, no process
of the benchmarks is left. The child is a plain process, as are the hosts that it measures.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

__all__ = ["run_in_child"]

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_FOR_ORPHANS = 1.0
"""Seconds in which helper processes may exit after their host has exited."""
KILL_BOUND = 10.0
"""Seconds to wait for the death of killed processes."""


def run_in_child(work: Callable[[], int], limit: float) -> int:
    """Run ``work`` in a child for ``limit`` seconds at most; return its status, 1 if it left any.

    When this function returns or raises, no started process is alive. SIGKILL to this process is
    the only exception.
    """
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    guard = os.getpid()
    worker = os.fork()
    if worker == 0:
        run(work, guard)
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup(1) has it
            signal.signal(number, exit_by_signal)
    grace = 0.0
    try:
        status = wait_for(worker, limit)
        grace = GRACE_FOR_ORPHANS
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        strays = end_children(grace)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    for pid, command in strays.items():
        print(f"left alive, and killed: {pid} {command}", file=sys.stderr)
    return 1 if strays else status


def run(work: Callable[[], int], guard: int) -> NoReturn:
    """Do the work, in the child."""
    status = 1
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()  # The terminal's signals go to the parent alone.
        for number in ENDING:  # Sessions would inherit the SIGHUP that nohup(1) ignores.
            signal.signal(number, signal.SIG_DFL)
        if os.getppid() == guard:
            status = work()
    except Exception:  # noqa: BLE001 - it is printed; the child must not return into main
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(BrokenPipeError):
            sys.stdout.flush()
        os._exit(status)


def wait_for(worker: int, limit: float) -> int:
    """Return the child's exit status; 1 if it did not exit in time.

    Reaps orphans meanwhile, as init does: their zombies would count as members of a session.
    """
    until = time.monotonic() + limit
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while (left := until - time.monotonic()) > 0:
        while (dead := os.waitpid(-1, os.WNOHANG))[0]:
            if dead[0] == worker:
                return abs(os.waitstatus_to_exitcode(dead[1]))
        signal.sigtimedwait({signal.SIGCHLD}, left)
    print(f"stopped: not done after {limit:.0f} s", file=sys.stderr)
    return 1


def end_children(grace: float) -> dict[int, str]:
    """Reap until no child is left, with SIGKILL after ``grace``; return those that got it."""
    strays: dict[int, str] = {}
    began = time.monotonic()
    while time.monotonic() < began + grace + KILL_BOUND:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return strays
        if time.monotonic() >= began + grace:
            for pid in map(int, Path("/proc/thread-self/children").read_text().split()):
                strays[pid] = command(pid)
                os.kill(pid, signal.SIGKILL)  # It was not reaped, so its pid was not reused.
        time.sleep(0.005)
    return strays


def command(pid: int) -> str:
    """Return a process's command line, or its name."""
    process = Path(f"/proc/{pid}")
    line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return line or (process / "comm").read_text().strip()


def exit_by_signal(number: int, _frame: FrameType | None) -> NoReturn:
    """Exit with the status that a shell shows for a process that a signal ended."""
    sys.exit(128 + number)


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process (prctl(2))."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {option}")
