"""Adversaries with daemons: processes that leave the session and lose their parent."""

from __future__ import annotations

from functools import partial

from ptykill.rules.verdict import ExitStatus, Outcome
from ptykill.testing.adversaries.program import HUNG_UP, KILLED, Program, python

__all__ = ["DAEMONS"]

_deaf = partial(python, outcome=Outcome.KILLED, status=KILLED, escapes=True)
"""A program whose leader is deaf, so that it takes SIGKILL to end it."""
_polite = partial(python, outcome=Outcome.KILLED, status=HUNG_UP, escapes=True)
"""A program whose leader dies of SIGHUP, and leaves a deaf process."""

DAEMONS: tuple[Program, ...] = (
    _polite(
        "daemon",
        "has a daemon, in a session of its own and without a parent",
        """
        daemon(lambda: (deaf(), touch("ready"), idle()))
        idle()
        """,
    ),
    _polite(
        "daemon that hides its origin",
        "has a daemon that has wiped its environment, closed its descriptors and changed its name",
        """
        def vanish():
            deaf()
            os.chdir("/")
            for fd in 0, 1, 2:
                os.close(fd)
            source = "import os, time; os.close(os.open(os.sys.argv[2], 64)); time.sleep(60)"
            os.execve(sys.executable, ["sshd", "-ISc", source, MARK, ready], {})
        ready = os.path.abspath("ready")
        daemon(vanish)
        idle()
        """,
    ),
    _deaf(
        "daemon that holds the terminal",
        "has daemons that keep the terminal open, and write to it",
        """
        deaf()
        def write():
            deaf()
            while True:
                os.write(1, b"x" * 100)
                time.sleep(0.001)
        daemon(write)
        daemon(lambda: (deaf(), idle()))
        touch("ready")
        idle()
        """,
    ),
    _polite(
        "daemon of a daemon",
        "has a daemon that starts another one, which has children in sessions of their own",
        """
        def second():
            deaf()
            for _ in range(3):
                fork(lambda: (os.setsid(), idle()))
            touch("ready")
            idle()
        daemon(lambda: (deaf(), daemon(second), idle()))
        idle()
        """,
    ),
    _deaf(
        "daemons started on SIGHUP",
        "starts deaf daemons when it gets SIGHUP, and lives on",
        """
        def breed():
            for _ in range(5):
                daemon(lambda: (deaf(), idle()))
        on(signal.SIGHUP, breed)
        touch("ready")
        while True:
            time.sleep(1)
        """,
    ),
    _deaf(
        "daemons started on SIGHUP, then an exit",
        "starts deaf daemons when it gets SIGHUP, and exits",
        """
        def breed():
            for _ in range(5):
                daemon(lambda: (deaf(), idle()))
            cleaned(4)
        on(signal.SIGHUP, breed)
        touch("ready")
        idle()
        """,
        status=ExitStatus(code=4),
        cleans_up=True,
    ),
    _polite(
        "leader that dies in a burst of forks",
        "dies of SIGHUP during a burst of forks that leave its session",
        """
        def burst():
            for _ in range(20):
                if os.fork() == 0:
                    signal.alarm(LIMIT)
                    deaf()
                    os.setsid()
                    idle()
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGHUP)
        on(signal.SIGHUP, burst)
        touch("ready")
        idle()
        """,
    ),
    _deaf(
        "crowd of daemons",
        "has fifty daemons, half of them stopped",
        """
        deaf()
        def member(number):
            deaf()
            touch(f"up{number}")
            if number % 2:
                os.kill(os.getpid(), signal.SIGSTOP)
            idle()
        for number in range(50):
            daemon(lambda: member(number))
        for number in range(50):
            wait_for(f"up{number}")
        touch("ready")
        idle()
        """,
    ),
    _deaf(
        "deep tree",
        "has sixty descendants, each the child of the one before and in a session of its own",
        """
        deaf()
        def line(left):
            os.setsid()
            deaf()
            if left:
                fork(lambda: line(left - 1))
            else:
                touch("ready")
            idle()
        daemon(lambda: fork(lambda: line(60)) and idle())
        idle()
        """,
    ),
    _deaf(
        "daemon that takes the terminal",
        "has a daemon that takes the session's controlling terminal, if permitted",
        """
        deaf()
        def thief():
            deaf()
            import fcntl
            try:
                fcntl.ioctl(0, termios.TIOCSCTTY, 1)
            except OSError:
                pass
            touch("ready")
            idle()
        daemon(thief)
        idle()
        """,
    ),
    _deaf(
        "daemon on a terminal of its own",
        "has a daemon that leads a session on a terminal of its own",
        """
        deaf()
        import pty
        def other():
            deaf()
            pid, master = pty.fork()
            if pid == 0:
                deaf()
                touch("ready")
            idle()
        daemon(other)
        idle()
        """,
    ),
)
