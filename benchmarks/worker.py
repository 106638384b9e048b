"""A child process that answers each line with a line."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import Self

from ptykill.testing.observer import Observer

__all__ = ["Worker"]

ANSWER_BOUND = 60.0
"""Seconds that an answer may take."""
STOP_BOUND = 5.0
"""Seconds that a worker may take to exit after its stdin was closed."""


class Worker:
    """The process. Leaving the ``with`` block closes its stdin, which ends it."""

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> None:
        self._process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    @property
    def pid(self) -> int:
        """The process's pid."""
        return self._process.pid

    def ask(self, *fields: str, observer: Observer | None = None) -> str:
        """Send fields, with tabs between, and return the answer. Blocks."""
        self._stdin.write("\t".join(fields).encode() + b"\n")
        return self.answer(ANSWER_BOUND, observer)

    def answer(self, within: float, observer: Observer | None = None) -> str:
        """Wait up to so many seconds for an answer, and record deaths meanwhile. Blocks."""
        bound = time.monotonic() + within
        answer = b""
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        if observer is not None:
            poll.register(observer, select.POLLIN)
        while not answer.endswith(b"\n"):
            ready = dict(poll.poll(max(0.0, bound - time.monotonic()) * 1000))
            if not ready:
                self._process.kill()  # A late answer would be taken for the next one.
                raise TimeoutError(f"no answer from {self._process.args!r} in {within:.0f} s")
            if observer is not None and observer.fileno() in ready:
                observer.record()
            if self._stdout.fileno() in ready:
                data = os.read(self._stdout.fileno(), 65_536)
                if not data:
                    raise EOFError(f"{self._process.args!r} has gone")
                answer += data
        return answer.decode().rstrip("\n")

    def stop(self) -> None:
        """End the process; kill it if it does not exit in time."""
        self._stdin.close()
        try:
            self._process.wait(STOP_BOUND)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    def __enter__(self) -> Self:
        """Return the worker itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.stop()
