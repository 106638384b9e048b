"""Adversaries that clean up when they get SIGHUP, each in a way that a killer may cut short."""

from __future__ import annotations

from ptykill.rules.verdict import ExitStatus, Outcome
from ptykill.testing.adversaries.program import DONE, KILLED, Program, python, shell

__all__ = ["CLEAN_UP"]

CLEAN_UP: tuple[Program, ...] = (
    python(
        "cleans up in half the grace",
        "needs half a second for its clean-up",
        """
        on(signal.SIGHUP, lambda: (time.sleep(0.5), cleaned(7)))
        touch("ready")
        idle()
        """,
        status=ExitStatus(code=7),
        cleans_up=True,
    ),
    python(
        "cleans up for too long",
        "starts a clean-up that would take half a minute",
        """
        on(signal.SIGHUP, lambda: (touch("began"), time.sleep(30), cleaned()))
        touch("ready")
        idle()
        """,
        Outcome.KILLED,
        KILLED,
    ),
    python(
        "member that cleans up after its leader",
        "dies of SIGHUP while its child is still cleaning up",
        """
        def member():
            on(signal.SIGHUP, lambda: (time.sleep(0.5), cleaned()))
            touch("ready")
            idle()
        fork(member)
        idle()
        """,
        cleans_up=True,
        members=2,
    ),
    python(
        "clean-up writing to a stopped terminal",
        "writes a megabyte while it cleans up, to a terminal whose output has been stopped",
        """
        on(signal.SIGHUP, lambda: (os.write(1, b"x" * 1000000), cleaned()))
        termios.tcflow(1, termios.TCOOFF)
        touch("ready")
        idle()
        """,
        status=DONE,
        cleans_up=True,
    ),
    python(
        "clean-up that floods",
        "writes two megabytes to the terminal while it cleans up",
        """
        def clean():
            for _ in range(500):
                rest = b"x" * 4096
                while rest:
                    rest = rest[os.write(1, rest):]
            cleaned()
        on(signal.SIGHUP, clean)
        touch("ready")
        idle()
        """,
        status=DONE,
        cleans_up=True,
    ),
    python(
        "clean-up with helpers",
        "forks helpers for its clean-up, which would die of SIGHUP",
        """
        def clean():
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            helpers = [fork(lambda: time.sleep(0.3)) for _ in range(4)]
            if all(os.waitpid(each, 0)[1] == 0 for each in helpers):
                cleaned()
            os._exit(9)
        on(signal.SIGHUP, clean)
        touch("ready")
        idle()
        """,
        status=DONE,
        cleans_up=True,
    ),
    python(
        "clean-up with helpers beside a crowd",
        "forks helpers for its clean-up while thirty others get SIGHUP",
        """
        def clean():
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            helpers = [fork(lambda: time.sleep(0.3)) for _ in range(4)]
            if all(os.waitpid(each, 0)[1] == 0 for each in helpers):
                cleaned()
            os._exit(9)
        for _ in range(30):
            fork(idle)
        on(signal.SIGHUP, clean)
        touch("ready")
        idle()
        """,
        status=DONE,
        cleans_up=True,
        members=31,
    ),
    shell(
        "shell clean-up with helpers",
        "runs programs from its SIGHUP trap, and had no child before",
        """
        trap 'trap - HUP; sleep 0.3 & a=$!; sleep 0.3 & b=$!; wait $a && wait $b && : > cleaned
              exit 0' HUP
        : > ready
        while :; do read line; done
        """,
        status=DONE,
        cleans_up=True,
    ),
)
