"""Adversaries that fill, stop or close their terminal."""

from __future__ import annotations

from ptykill.rules.verdict import Outcome
from ptykill.testing.adversaries.program import KILLED, Program, python

__all__ = ["OUTPUT"]

OUTPUT: tuple[Program, ...] = (
    python(
        "flood",
        "writes as fast as the terminal accepts it",
        """
        touch("ready")
        while True:
            os.write(1, b"x" * 4096)
        """,
    ),
    python(
        "deaf flood",
        "writes from two processes, and ignores SIGHUP",
        """
        def flood():
            while True:
                os.write(1, b"x" * 4096)
        deaf()
        fork(flood)
        touch("ready")
        flood()
        """,
        Outcome.KILLED,
        KILLED,
        members=2,
    ),
    python(
        "writer to a stopped terminal",
        "has stopped the terminal's output (Ctrl-S) and waits in write(2)",
        """
        termios.tcflow(1, termios.TCOOFF)
        touch("ready")
        while True:
            os.write(1, b"x" * 4096)
        """,
    ),
    python(
        "terminal closed by its program",
        "has closed every descriptor of its terminal",
        """
        for fd in 0, 1, 2:
            os.close(fd)
        touch("ready")
        idle()
        """,
    ),
)
