"""Killers: adapters by which the judge has a library spawn one terminal session and end it.

A killer object is for one session. To judge another killer, write a class with the four methods of
`Killer`, and name it as ``module:Class`` or ``path/file.py:Class``.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import pty
import runpy
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, cast

import psutil

import ptykill

__all__ = ["KILLERS", "Killer", "find_killer"]


class Killer(Protocol):
    """Spawns one session and ends it. All methods block."""

    def spawn(self, command: Sequence[str], env: Mapping[str, str], folder: str) -> None:
        """Start the command on a terminal of its own, and keep reading its output."""

    def type_in(self, data: bytes) -> None:
        """Type into the terminal."""

    def end(self, grace: float) -> bool:
        """End the session, by force after ``grace`` seconds; return whether it claims success."""

    def close(self) -> None:
        """Release what the session held."""


class Ptykill:
    """ptykill, with one containment."""

    def __init__(self, containment: str = "auto") -> None:
        self._host = ptykill.Host(
            containment=containment, plan="HUP@session + TERM@escaped 2s, KILL 5s"
        )

    def spawn(self, command: Sequence[str], env: Mapping[str, str], folder: str) -> None:
        """Spawn; ptykill reads the output by itself."""
        self._session = self._host.spawn(command, env=env, cwd=folder)

    def type_in(self, data: bytes) -> None:
        """Type."""
        self._host.call(self._session.send, data)

    def end(self, grace: float) -> bool:
        """Terminate; a verdict that can't know of escaped processes claims no success."""
        verdict = self._host.call(partial(self._session.terminate, grace=grace))
        return verdict.empty and ptykill.Caveat.ESCAPEES_UNKNOWN not in verdict.caveats

    def close(self) -> None:
        """Close the host."""
        self._host.close()


class Ptyprocess:
    """ptyprocess, which Jupyter and pexpect use: ``terminate(force=True)``."""

    def spawn(self, command: Sequence[str], env: Mapping[str, str], folder: str) -> None:
        """Spawn."""
        ptyprocess = importlib.import_module("ptyprocess")
        self._process = ptyprocess.PtyProcess.spawn(list(command), env=dict(env), cwd=folder)
        _drain(self._process.fd)

    def type_in(self, data: bytes) -> None:
        """Type."""
        self._process.write(data)

    def end(self, grace: float) -> bool:
        """Terminate; its grace is fixed."""
        del grace
        return cast(bool, self._process.terminate(force=True))

    def close(self) -> None:
        """Do nothing: `terminate` has released everything."""


class _Forked:
    """A leader forked onto a terminal."""

    pid: int
    master: int

    def spawn(self, command: Sequence[str], env: Mapping[str, str], folder: str) -> None:
        """Fork, as pty.spawn does."""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execvpe(command[0], list(command), dict(env))  # noqa: S606 - no shell is wanted
        _drain(self.master)

    def type_in(self, data: bytes) -> None:
        """Type."""
        os.write(self.master, data)

    def close(self) -> None:
        """Do nothing: a thread reads the terminal until this process exits."""


class Killpg(_Forked):
    """What most programs do: SIGHUP to the process group, wait for the leader, SIGKILL."""

    def end(self, grace: float) -> bool:
        """Return True when the leader has been reaped."""
        os.killpg(self.pid, signal.SIGHUP)
        until = time.monotonic() + grace
        while time.monotonic() < until:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                return True
            time.sleep(0.01)
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return True


class Psutil(_Forked):
    """The recipe of psutil's documentation: the tree of children, terminated, then killed."""

    def end(self, grace: float) -> bool:
        """Return whether all processes that were found are gone."""
        leader = psutil.Process(self.pid)
        processes = [*leader.children(recursive=True), leader]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGHUP)
        _, alive = psutil.wait_procs(processes, timeout=grace)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _, alive = psutil.wait_procs(alive, timeout=3)
        return not alive


def _drain(master: int) -> None:
    """Read a terminal's output in a thread, so that its programs never block."""

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(master, 65_536):
                pass

    threading.Thread(target=read, daemon=True).start()


KILLERS: dict[str, Callable[[], Killer]] = {
    "ptykill": Ptykill,
    "ptykill-cgroup": partial(Ptykill, "cgroup"),
    "ptykill-keeper": partial(Ptykill, "keeper"),
    "ptykill-session": partial(Ptykill, "session"),
    "ptyprocess": Ptyprocess,
    "killpg": Killpg,
    "psutil": Psutil,
}
"""The killers that ptykill brings, by name."""


def find_killer(name: str) -> Callable[[], Killer]:
    """Return what makes a killer: one of `KILLERS`, ``module:Class``, or ``path/file.py:Class``."""
    if name in KILLERS:
        return KILLERS[name]
    place, _, attribute = name.rpartition(":")
    space = runpy.run_path(place) if place.endswith(".py") else vars(importlib.import_module(place))
    return cast(Callable[[], Killer], space[attribute])
