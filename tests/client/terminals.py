"""Terminals for tests, with ``ptykill`` in the foreground of each."""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from typing import Any

from tests.waiting import IDLE_LOOP

TIMEOUT = 100.0
"""Time-out for events that are due at once, on a busy machine, in seconds."""

PTYKILL = (sys.executable, "-m", "ptykill")

CATCHES = f"trap 'echo caught; exit 5' INT; echo ready; {IDLE_LOOP}"
"""A script that Ctrl-C ends, whenever it comes. (With `cat` in the place of the loop it would not:
a shell that is interrupted on the way to it waits for a `cat` that nobody has interrupted.)"""

_AT_TERMINAL = (
    "import fcntl, os, runpy, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " %s runpy.run_module('ptykill', run_name='__main__', alter_sys=True)"
)


_EXECUTE = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execvp(sys.argv[1], sys.argv[1:])"
)

SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
command = [sys.executable, "-m", "ptykill", *sys.argv[1:]]
job = os.posix_spawn(
    command[0], command, os.environ, setpgroup=0, setsigdef=[signal.SIGTTOU]
)
os.tcsetpgrp(0, job)
print(f"pid {job}.", flush=True)
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    print(f"stopped by {os.WSTOPSIG(status)}.", flush=True)
os.tcsetpgrp(0, os.getpgrp())
print(f"status {os.waitstatus_to_exitcode(status)}.", flush=True)
"""
"""A shell that reports when its one job stops or ends, and never sets the terminal's modes. bash
restores them when a job stops, and so would hide a job that did not."""


class Terminal:
    """One command at a terminal of its own. ``before`` has the modes to which it must be restored.

    With ``script``, it is a shell script, in which ``"$@"`` is ``ptykill``.
    With ``plain``, `SHELL` starts ``ptykill``. ``first`` is code that runs before the command does.
    """

    def __init__(
        self,
        *arguments: str,
        rows: int = 24,
        cols: int = 80,
        env: Mapping[str, str] | None = None,
        script: str | None = None,
        plain: bool = False,
        first: str = "",
    ) -> None:
        self.master, self.slave = os.openpty()
        self.resize(rows, cols)
        self.before = termios.tcgetattr(self.slave)
        self.seen = ""
        command = [sys.executable, "-c", _AT_TERMINAL % first, *arguments]
        if plain:
            command = [sys.executable, "-c", _EXECUTE, sys.executable, "-c", SHELL, *arguments]
        elif script is not None:
            command = [sys.executable, "-c", _EXECUTE, "bash", "-c", script, "bash", *PTYKILL]
        self.process = subprocess.Popen(
            command,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={**os.environ, "TERM": "xterm", **(env or {})},
        )

    def type(self, text: str) -> None:
        """Type some text."""
        os.write(self.master, text.encode())

    def resize(self, rows: int, cols: int) -> None:
        """Make the window another size."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def read_until(self, text: str) -> str:
        """Wait until the terminal shows a text; return the output up to the end of the text."""
        until = time.monotonic() + TIMEOUT
        while text not in self.seen:
            assert time.monotonic() < until, self.seen
            self._look(0.1)
        shown, found, self.seen = self.seen.partition(text)
        return shown + found

    def wait(self) -> int:
        """Wait for the command's end, and return its status, negative for a signal."""
        until = time.monotonic() + TIMEOUT
        while self.process.poll() is None:
            assert time.monotonic() < until, self.seen
            self._look(0.02)
        while self._look(0):
            pass
        return self.process.returncode

    @property
    def raw(self) -> bool:
        """Whether the terminal is in raw mode: no line editing and no echo."""
        return not self.modes[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    @property
    def modes(self) -> list[Any]:
        """The terminal's modes."""
        return termios.tcgetattr(self.slave)

    @property
    def restored(self) -> bool:
        """Whether the terminal's modes are restored, and writing to it does not fail."""
        flags = fcntl.fcntl(self.slave, fcntl.F_GETFL)
        return self.modes == self.before and not flags & os.O_NONBLOCK

    def leave(self) -> None:
        """End the command if it has not ended, and close the terminal."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def _look(self, timeout: float) -> bool:
        if not select.select([self.master], [], [], timeout)[0]:
            return False
        self.seen += os.read(self.master, 65_536).decode(errors="replace")
        return True


class Cli:
    """A daemon that runs, and ``ptykill`` as its client."""

    def __init__(self, url: str, key: str) -> None:
        self.env = {"PTYKILL_URL": url, "PTYKILL_API_KEY": key}

    def ask(
        self, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command with pipes, and return the completed process."""
        return ask(*arguments, stdin=stdin, env={**self.env, **(env or {})})

    def new(self, program: str) -> str:
        """Start a shell program, and return its session's id."""
        return self.ask("new", "-d", "--", "sh", "-c", program).stdout.strip()

    def get(self, session_id: str) -> dict[str, Any]:
        """Return a session's entry in the list."""
        sessions = json.loads(self.ask("list", "--json").stdout)["sessions"]
        found: dict[str, Any] = next(each for each in sessions if each["session_id"] == session_id)
        return found


def ask(
    *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``ptykill`` with pipes; return the completed process, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "ptykill", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=False,
        env={**os.environ, **(env or {})},
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def eventually(seen: Callable[[], object]) -> None:
    """Wait until a function returns a true value."""
    until = time.monotonic() + TIMEOUT
    while not seen():
        assert time.monotonic() < until
        time.sleep(0.02)
