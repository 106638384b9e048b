"""One trial: one system call of a host fails once, and the result is judged from outside.

strace(1) makes the call fail: ``-e inject=CALL:error=ERROR:when=N``. It is attached to one thread
(the host's trio thread, the warden, or a keeper) for one phase of the host's life (`host`).
"""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from ptykill.testing import processes
from tests.faults import host as host_program

__all__ = ["Fault", "Result", "run", "unavailable"]

_TIMEOUT = 100.0
"""Seconds after which a trial counts as hung: more than a spawn and a kill may take."""
_BOUND = 5.15 + 3.0
"""Seconds that a kill may take: the plan's, and what a slow machine may need."""
_SPAWN_BOUND = 30.0
_COMPILED = str(Path(tempfile.gettempdir(), "ptykill-faults-compiled"))
_MEMBERS = 3
"""The number of processes of a session that was not ended: see `host.STUBBORN`."""
_SESSIONS = "other", "tested", "another", "orphaned"
"""The marks of a host's sessions."""
_GONE = 5.0
"""Time-out for processes that a keeper or a warden has still to end, in seconds."""


class Fault(NamedTuple):
    """The call that fails: its error, process, phase, and number in that phase (from 1)."""

    tier: str
    process: str
    phase: str
    call: str
    error: str
    when: str = "1"

    def __str__(self) -> str:
        """Return it in one word, for a test's id."""
        return "-".join(self)


class Result(NamedTuple):
    """Whether the fault happened, and what is wrong with the result."""

    hit: bool
    wrong: list[str]
    lines: list[dict[str, Any]]


def unavailable() -> str | None:
    """Say why no faults can be injected here; None if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with subprocess.Popen(["sleep", "60"]) as victim:
        try:
            with _Injector(victim.pid, "close", "EIO", "1"):
                pass
        except RuntimeError as error:
            return f"strace can't trace here: {error}"
        finally:
            victim.kill()
    return None


class _Injector:
    """strace, attached to one thread as long as a block lasts."""

    def __init__(self, tid: int, call: str, error: str, when: str) -> None:
        descriptor, name = tempfile.mkstemp(prefix="ptykill-fault-")
        os.close(descriptor)
        self._trace = Path(name)
        inject = f"inject={call}:error={error}:when={when}"
        self._process = subprocess.Popen(
            ["strace", "-p", str(tid), "-o", self._trace, "-e", f"trace={call}", "-e", inject],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        assert self._process.stderr is not None
        said = b""
        while b"attached" not in said:
            more = os.read(self._process.stderr.fileno(), 4096)
            if not more:
                self.__exit__()
                raise RuntimeError(said.decode().strip())
            said += more
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()
        self.hit = b"(INJECTED)" in self._trace.read_bytes()
        self._trace.unlink()


def run(fault: Fault) -> Result:
    """Run a host with this fault, and judge the result."""
    mark = secrets.token_hex(16)
    program = [sys.executable, host_program.__file__, fault.tier, mark]
    trial = _Trial(fault, mark)
    # Hundreds of hosts are started: the modules are compiled once.
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": _COMPILED}
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    ) as process:
        try:
            trial.follow(process)
        finally:
            process.kill()
            assert process.stderr is not None
            trial.note_stderr(process.stderr.read().decode(errors="replace"))
    trial.judge_end()
    return Result(trial.hit, trial.wrong, trial.lines)


class _Trial:
    def __init__(self, fault: Fault, mark: str) -> None:
        self.fault = fault
        self.mark = mark
        self.hit = False
        self._set = False
        self._trio_ended = False
        self.wrong: list[str] = []
        self.lines: list[dict[str, Any]] = []

    def follow(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        until = time.monotonic() + _TIMEOUT
        rest = b""
        with ExitStack() as injected:
            injector: _Injector | None = None
            while True:
                ready, _, _ = select.select([process.stdout], [], [], until - time.monotonic())
                if not ready:
                    self.wrong.append(f"hangs after {self.lines[-1:]}")
                    break
                more = os.read(process.stdout.fileno(), 65536)
                if not more:
                    break
                *whole, rest = (rest + more).split(b"\n")
                for line in map(json.loads, whole):
                    self.lines.append(line)
                    if line["what"] == "gate":
                        if line["phase"] != "judged":
                            injected.close()
                            self.hit |= injector is not None and injector.hit
                            injector = None
                        tid = line.get(self.fault.process, 0)
                        if line["phase"] == self.fault.phase and tid and not self._set:
                            self._set = True
                            injector = _Injector(tid, *self.fault[3:])
                            injected.enter_context(injector)
                        process.stdin.write(b"\n")
                        process.stdin.flush()
                    self._judge(line)
            injected.close()
            self.hit |= injector is not None and injector.hit

    def _judge(self, line: dict[str, Any]) -> None:
        """Compare an event that the host reports with the process table."""
        judge = getattr(self, f"_judge_{line['what']}", None)
        if judge is not None:
            judge(line)

    def _judge_verdict(self, line: dict[str, Any]) -> None:
        alive = self._of("tested")
        if line["empty"] and alive:
            self.wrong.append(f"called empty: {alive}")
        if not line["empty"]:
            self.wrong.append(f"given up: {line}")
        if line["seconds"] > _BOUND:
            self.wrong.append(f"a kill took {line['seconds']:.1f} s")

    def _judge_orphaned(self, line: dict[str, Any]) -> None:
        alive = self._of("orphaned")
        if not line["empty"] or "unproven" in line["caveats"] or alive:
            self.wrong.append(f"a session without a keeper: {line}, {alive}")
        if line["seconds"] > _BOUND:
            self.wrong.append(f"a kill without a keeper took {line['seconds']:.1f} s")

    def _judge_other(self, line: dict[str, Any]) -> None:
        if line["state"] != "running" or len(self._of("other")) < _MEMBERS:
            self.wrong.append(f"the other session was touched: {line}")

    def _judge_refused(self, line: dict[str, Any]) -> None:
        if line["seconds"] > _SPAWN_BOUND:
            self.wrong.append(f"a spawn took {line['seconds']:.1f} s")
        if not line["ours"]:
            self.wrong.append(f"not our error: {line['error']}")

    def _judge_spawned(self, line: dict[str, Any]) -> None:
        self._judge_refused(line | {"ours": True})

    def _judge_again(self, line: dict[str, Any]) -> None:
        if not line["empty"]:
            self.wrong.append(f"the next spawn: {line}")

    def _judge_left(self, line: dict[str, Any]) -> None:
        # strace does not close what it says can't be closed; the kernel does.
        if line["descriptors"] > 3 * (self.fault.call == "close"):
            self.wrong.append(f"{line['descriptors']} descriptors are left")
        if line["children"]:
            self.wrong.append(f"children are left: {line['children']}")

    def _of(self, whose: str) -> list[str]:
        return processes.names(processes.marked(f"{self.mark}-{whose}"))

    def note_stderr(self, text: str) -> None:
        """Check the host's log."""
        # trio ends its run when its own wake-up socket fails. ptykill has none in the session tier.
        of_trio = "_entry_queue.py" in text or self.fault[0::3] == ("session", "sendto")
        self._trio_ended = of_trio and "TrioInternalError" in text
        if self._trio_ended:
            return
        for crash in "ExceptionGroup", "host.crashed":
            if crash in text:
                self.wrong.append(f"{crash}: {text[-3000:]}")
                break
        if "Traceback" in text and "done" not in {line["what"] for line in self.lines}:
            self.wrong.append(text[-1500:])

    def judge_end(self) -> None:
        """Check that the host exited normally, and no process of any session is left."""
        if "done" not in {line["what"] for line in self.lines} and not self._trio_ended:
            self.wrong.append(f"died after {self.lines[-1:]}")
        until = time.monotonic() + _GONE
        left = {"?"}
        while left and time.monotonic() < until:
            left = {each for whose in _SESSIONS for each in self._of(whose)}
            if left:
                time.sleep(0.05)
        if left:
            self.wrong.append(f"left: {sorted(left)}")
            for whose in _SESSIONS:
                for each in processes.marked(f"{self.mark}-{whose}"):
                    processes.end(each.pid)
