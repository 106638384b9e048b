"""The observer of processes and the process table of the tests and the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from ptykill.testing import processes
from ptykill.testing.observer import Observer

_TIMEOUT = 60.0
"""Time-out for events that are due at once, on a busy machine, in seconds."""


def sleeper() -> subprocess.Popen[bytes]:
    """Start a process that lives for a minute."""
    program = subprocess.Popen(["sleep", "60"])
    # The kernel closes what tells Popen of the exec before it sets the new name.
    while Path(f"/proc/{program.pid}/comm").read_text() != "sleep\n":
        time.sleep(0.001)
    return program


def test_deaths_are_recorded_while_nobody_asks() -> None:
    """The thread records a death; the time lies between the kill and now."""
    with sleeper() as program, Observer([program.pid], kills=True) as observer:
        observer.record_in_thread()
        before = time.perf_counter_ns()
        program.kill()
        until = time.monotonic() + _TIMEOUT
        while observer.alive:
            assert time.monotonic() < until
            time.sleep(0.001)
        assert before < observer.died[program.pid] < time.perf_counter_ns()


def test_closing_kills_if_asked_to() -> None:
    """Closing the observer kills the living processes, if ``kills`` is true."""
    with sleeper() as first, sleeper() as second:
        Observer([first.pid]).close()
        Observer([second.pid], records=False, kills=True).close()
        assert second.wait(_TIMEOUT) == -signal.SIGKILL
        assert first.poll() is None
        first.kill()


def test_survivors_are_asked_for_anew() -> None:
    """`survivors` asks the kernel: a death counts also if it was not recorded."""
    with sleeper() as gone:
        gone.kill()
    with sleeper() as program, Observer([program.pid, gone.pid]) as observer:
        assert observer.pids == {program.pid}
        assert observer.survivors() == [f"{program.pid} sleep"]
        program.kill()
        program.wait()
        assert (observer.alive, observer.survivors()) == ([program.pid], [])
        assert not observer.exists(program.pid)


def test_an_interrupted_start_of_the_thread_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler may raise while the thread is started."""

    def interrupted(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with (
        sleeper() as program,
        pytest.raises(KeyboardInterrupt),
        Observer([program.pid], kills=True) as observer,
    ):
        observer.record_in_thread()


@pytest.mark.parametrize(
    ("ending", "cause"),
    [("exit 3", "exit 3"), ("kill -KILL $$", "SIGKILL"), ("exit 0", "exit 0")],
)
def test_the_observer_tells_what_a_process_died_of(ending: str, cause: str) -> None:
    """The cause of death is known, also after the process was reaped."""
    program = subprocess.Popen(["sh", "-c", f"read go; {ending}"], stdin=subprocess.PIPE)
    with Observer([program.pid]) as observer:
        assert observer.alive == [program.pid]
        assert observer.cause(program.pid) is None
        program.communicate(b"\n")
        assert observer.wait(_TIMEOUT)
        assert observer.alive == []
        assert observer.cause(program.pid) in (cause, None)  # None before Linux 6.15.


def test_the_observer_does_not_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the kernel does not report a reaped process's status, the cause is None."""

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("ptykill.testing.observer.fcntl.ioctl", refuse)
    program = subprocess.Popen(["sleep", "60"])
    with Observer([program.pid]) as observer:
        observer.kill()
        assert observer.wait(_TIMEOUT)
        assert observer.cause(program.pid) == "SIGKILL"  # /proc has it while it is a zombie.
        program.wait()
        assert observer.cause(program.pid) is None


def test_kill_marked_ends_all_that_carry_the_mark() -> None:
    """All processes with the mark are killed, whatever follows it, and no others."""
    commands = {"ours": "word.1", "ours too": "word", "another's": "other"}
    programs = {
        name: subprocess.Popen(["sleep", "60"], env={**os.environ, "PTYKILL_DEMO": value})
        for name, value in commands.items()
    }
    try:
        until = time.monotonic() + _TIMEOUT
        pids = {program.pid for name, program in programs.items() if "ours" in name}
        while {each.pid for each in processes.marked("PTYKILL_DEMO=word")} != pids:
            assert time.monotonic() < until
        assert processes.kill_marked("PTYKILL_DEMO=word") == []
        assert programs["ours"].wait() == programs["ours too"].wait() == -signal.SIGKILL
        assert programs["another's"].poll() is None
    finally:
        for program in programs.values():
            program.kill()
            program.wait()
