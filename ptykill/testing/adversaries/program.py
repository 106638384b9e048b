"""Define an adversary: a program in Python, in sh, or typed into a bash.

All of them are bounded: in time by an alarm or ``sleep 60``, in the number of their processes, and
in memory. They work in a folder of their own, write a file ``ready`` when they can be ended, and
``cleaned`` when they have finished a clean-up. Their processes carry a mark, a random word, as an
argument, and also in the environment unless they wipe that.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from ptykill.rules.verdict import ExitStatus, Outcome

__all__ = ["BASH", "Program", "bash_with", "python", "shell"]

BASH = shutil.which("bash") or "/bin/bash"

HUNG_UP = ExitStatus(signal=1)
KILLED = ExitStatus(signal=9)
DONE = ExitStatus(code=0)

_PRELUDE = """
import _thread, os, resource, sys, termios, time
# Not the module signal, which imports enum: that is most of what a program in Python costs.
import _signal as signal

LIMIT = 60
MARK = sys.argv[1]
signal.alarm(LIMIT)
resource.setrlimit(resource.RLIMIT_DATA, (1 << 28, 1 << 28))

class Libc:
    def __getattr__(self, name):
        import ctypes
        return getattr(ctypes.CDLL(None), name)

libc = Libc()

def touch(name):
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))

def wait_for(name):
    while not os.path.exists(name):
        time.sleep(0.002)

def on(number, do):
    signal.signal(number, lambda *_: do())

def deaf():
    for number in signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT:
        signal.signal(number, signal.SIG_IGN)

def idle():
    # No pause(2): a handler whose signal comes just before it would not run until the next signal.
    # A sleep ends at a signal too (EINTR), and otherwise soon.
    while True:
        time.sleep(0.1)

def fork(do):
    pid = os.fork()
    if pid == 0:
        signal.alarm(LIMIT)
        try:
            do()
        finally:
            os._exit(0)
    return pid

def cleaned(status=0):
    touch("cleaned")
    os._exit(status)

def daemon(do):
    # Leave the session, and become an orphan.
    def leave():
        os.setsid()
        fork(do)
    os.waitpid(fork(leave), 0)

def system_call(*arguments):
    return libc.syscall(*arguments)

def end_main_thread():
    system_call({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"""


@dataclasses.dataclass(frozen=True)
class Program:
    """A program, how to start it, and the result that its end must have.

    ``escapes``: a process leaves the session and loses its parent, so that only a containment that
    keeps escaped processes can end it. ``needs`` are the commands that it runs. ``typed`` is typed
    into it once it runs. ``outcome``, ``status`` and ``cleans_up`` are the result of SIGHUP, the
    grace, and SIGKILL. ``members`` is the least number of its processes when it is ready.
    """

    name: str
    about: str
    source: str
    interpreter: tuple[str, ...]
    outcome: Outcome = Outcome.GRACEFUL
    status: ExitStatus | None = HUNG_UP
    cleans_up: bool = False
    stops: bool = False
    members: int = 1
    typed: str = ""
    escapes: bool = False
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """The commands that it needs and that are not on PATH."""
        return [command for command in self.needs if shutil.which(command) is None]

    @property
    def grace(self) -> float:
        """Seconds of grace: long if the program ends within it, short if it has to be killed.

        A leader that ends by itself while other processes are killed gets a whole second.
        """
        if self.outcome is Outcome.GRACEFUL:
            return 30.0
        return 0.3 if self.status == KILLED else 1.0

    def command(self, folder: Path, mark: str) -> list[str]:
        """Write the program into a folder, and return the command that runs it."""
        if not self.source:
            return list(self.interpreter)
        file = folder / "program"
        file.write_text(self.source)
        return [*self.interpreter, str(file), mark]

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def python(
    name: str,
    about: str,
    source: str,
    outcome: Outcome = Outcome.GRACEFUL,
    status: ExitStatus | None = HUNG_UP,
    **more: Any,  # noqa: ANN401 - fields of Program
) -> Program:
    """Return a program in Python; the prelude above comes before its source."""
    interpreter = (sys.executable, "-I", "-S")
    return Program(
        name, about, _PRELUDE + textwrap.dedent(source), interpreter, outcome, status, **more
    )


def shell(
    name: str,
    about: str,
    source: str,
    outcome: Outcome = Outcome.GRACEFUL,
    status: ExitStatus | None = HUNG_UP,
    **more: Any,  # noqa: ANN401 - fields of Program
) -> Program:
    """Return a program in sh."""
    return Program(name, about, textwrap.dedent(source), ("/bin/sh",), outcome, status, **more)


def bash_with(
    name: str,
    line: str,
    outcome: Outcome = Outcome.GRACEFUL,
    *,
    members: int = 2,
) -> Program:
    """Return an interactive bash into which a line is typed, and then ``: > ready``."""
    return Program(
        f"bash with {name}",
        f"an interactive bash with {name}",
        "",
        (BASH, "--norc", "--noprofile", "-i"),
        outcome,
        HUNG_UP,
        members=members,
        typed=line,
    )
