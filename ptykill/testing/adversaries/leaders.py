"""Adversaries whose leader ignores, blocks or outlasts signals."""

from __future__ import annotations

from ptykill.rules.verdict import ExitStatus, Outcome
from ptykill.testing.adversaries.program import DONE, KILLED, Program, python

__all__ = ["EXITING_LEADERS", "LEADERS"]

LEADERS: tuple[Program, ...] = (
    python("polite", "dies of SIGHUP", 'touch("ready"); idle()'),
    python(
        "deaf",
        "ignores every signal that can be ignored",
        'deaf(); touch("ready"); idle()',
        Outcome.KILLED,
        KILLED,
    ),
    python(
        "all signals blocked",
        "blocks every signal in its mask",
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGALRM})
        touch("ready")
        idle()
        """,
        Outcome.KILLED,
        KILLED,
    ),
    python(
        "stopped leader",
        "is stopped when SIGHUP comes, and cleans up once it is continued",
        """
        on(signal.SIGHUP, cleaned)
        touch("ready")
        os.kill(os.getpid(), signal.SIGSTOP)
        idle()
        """,
        status=DONE,
        cleans_up=True,
        stops=True,
    ),
    python(
        "stopped and deaf leader",
        "is stopped, and ignores the signals that it gets when it is continued",
        'deaf(); touch("ready"); os.kill(os.getpid(), signal.SIGSTOP); idle()',
        Outcome.KILLED,
        KILLED,
        stops=True,
    ),
    python(
        "stops itself on SIGHUP",
        "stops itself in its SIGHUP handler, and again whenever it is continued",
        """
        def stop():
            while True:
                os.kill(os.getpid(), signal.SIGSTOP)
        on(signal.SIGHUP, stop)
        touch("ready")
        idle()
        """,
        Outcome.KILLED,
        KILLED,
    ),
    python(
        "leader that exits during the grace",
        "exits during the grace and leaves a deaf child",
        """
        on(signal.SIGHUP, lambda: (time.sleep(0.1), cleaned(3)))
        fork(lambda: (deaf(), touch("ready"), idle()))
        idle()
        """,
        Outcome.KILLED,
        ExitStatus(code=3),
        cleans_up=True,
        members=2,
    ),
    python(
        "dead main thread",
        "has ended its main thread; another thread lives, deaf",
        """
        deaf()
        _thread.start_new_thread(lambda: (time.sleep(0.1), touch("ready"), time.sleep(LIMIT)), ())
        end_main_thread()
        """,
        Outcome.KILLED,
        KILLED,
    ),
    python(
        "traced by its child",
        "is traced by its child, which suppresses its signals",
        """
        import ctypes
        ATTACH, CONT, SET_PTRACER = 16, 7, 0x59616D61
        libc.prctl(SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
        parent = os.getpid()
        def tracer():
            deaf()
            if libc.ptrace(ATTACH, parent, None, None):
                os._exit(1)
            for _ in range(1000):
                pid, status = os.waitpid(parent, 0)
                if not os.WIFSTOPPED(status):
                    idle()
                libc.ptrace(CONT, parent, None, None)
                touch("ready")
        fork(tracer)
        idle()
        """,
        Outcome.KILLED,
        KILLED,
        members=2,
    ),
)

EXITING_LEADERS: tuple[Program, ...] = (
    python(
        "leaves a polite child",
        "exits by itself, leaving a child that cleans up on SIGHUP",
        """
        def child():
            on(signal.SIGHUP, lambda: (time.sleep(0.2), cleaned()))
            touch("ready")
            idle()
        fork(child)
        wait_for("ready")
        wait_for("go")
        os._exit(5)
        """,
        status=ExitStatus(code=5),
        cleans_up=True,
        members=2,
    ),
    python(
        "leaves a deaf child",
        "exits by itself, leaving a child that is deaf",
        """
        fork(lambda: (deaf(), touch("ready"), idle()))
        wait_for("go")
        os._exit(5)
        """,
        Outcome.KILLED,
        ExitStatus(code=5),
        members=2,
    ),
)
"""Programs whose leader exits by itself, once there is a file ``go``."""
