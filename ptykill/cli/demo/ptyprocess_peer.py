"""End the same session by ``ptyprocess.PtyProcess.terminate(force=True)``, for comparison.

ptyprocess runs in a worker process: it forks, which is not safe in a process with threads, and
nothing else in the worker delays it. The worker is this module, run as a program. It gets lines on
standard input, and answers each with a line of JSON.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self, cast

from ptykill.cli.demo.scenarios import SCENARIOS, Scenario
from ptykill.cli.demo.session_setup import DemoError, prepare

__all__ = ["PtyprocessSession", "version"]


def version() -> str | None:
    """Return which ptyprocess is installed; None if none is."""
    if importlib.util.find_spec("ptyprocess") is None:
        return None
    return importlib.metadata.version("ptyprocess")


class PtyprocessSession:
    """A session that ptyprocess has spawned, in a worker process.

    ``pids`` are those of the scenario's jobs, in their order; ``worker`` is the worker's pid.
    """

    def __init__(self, scenario: Scenario, env: dict[str, str], directory: Path) -> None:
        self._worker = subprocess.Popen(
            [sys.executable, "-m", __name__, str(SCENARIOS.index(scenario))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **env, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            cwd=directory,
            process_group=0,  # Ctrl-C must reach the demo alone, which ends the worker.
        )
        self.worker: int = self._worker.pid
        try:
            self.pids: list[int] = self._line()["pids"]
        except BaseException:
            self.close()
            raise

    def terminate(self) -> tuple[bool, float, float]:
        """Call `terminate`; return what it returned, and when it was called and returned."""
        assert self._worker.stdin is not None
        self._worker.stdin.write(b"terminate\n")
        self._worker.stdin.flush()
        answer = self._line()
        return bool(answer["returned"]), float(answer["called"]), float(answer["done"])

    def _line(self) -> dict[str, Any]:
        assert self._worker.stdout is not None
        line = self._worker.stdout.readline()
        if not line:
            raise DemoError("ptyprocess could not be shown: its worker process has failed")
        return cast(dict[str, Any], json.loads(line))

    def close(self) -> None:
        """End the worker. The caller ends the processes that ptyprocess left alive."""
        self._worker.kill()
        self._worker.communicate()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker."""
        self.close()


class _WorkerTerminal:
    """The terminal of ptyprocess's session (`session_setup.Terminal`)."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, data: bytes) -> None:
        os.write(self._fd, data)

    def receive(self, timeout: float) -> bytes:
        readable, _, _ = select.select([self._fd], [], [], timeout)
        return os.read(self._fd, 65_536) if readable else b""


def _work(number: int) -> None:
    # The parent has checked that this extra is there. It has no types.
    from ptyprocess import PtyProcess  # type: ignore[import-untyped]  # noqa: PLC0415

    scenario = SCENARIOS[number]
    process = PtyProcess.spawn(list(scenario.command))
    pids = prepare(scenario, process.pid, _WorkerTerminal(process.fd))
    sys.stdout.write(json.dumps({"pids": pids}) + "\n")
    sys.stdout.flush()
    if sys.stdin.readline():
        # All processes share this clock: CLOCK_MONOTONIC.
        called = time.perf_counter()
        returned = process.terminate(force=True)
        done = time.perf_counter()
        answer = {"returned": returned, "called": called, "done": done}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    _work(int(sys.argv[1]))
