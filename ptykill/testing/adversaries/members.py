"""Adversaries with other processes in the session, or below it, that are hard to find or to end."""

from __future__ import annotations

from ptykill.rules.verdict import Outcome
from ptykill.testing.adversaries.program import KILLED, Program, python, shell

__all__ = ["MEMBERS"]

MEMBERS: tuple[Program, ...] = (
    python(
        "deaf member of a polite leader",
        "dies of SIGHUP and leaves a child that ignores it",
        'fork(lambda: (deaf(), touch("ready"), idle())); idle()',
        Outcome.KILLED,
        members=2,
    ),
    python(
        "member with a dead main thread",
        "has a child whose main thread has ended while another thread lives, deaf",
        """
        def member():
            deaf()
            task = lambda: (time.sleep(0.1), touch("ready"), time.sleep(LIMIT))
            _thread.start_new_thread(task, ())
            end_main_thread()
        fork(member)
        idle()
        """,
        Outcome.KILLED,
        members=2,
    ),
    python(
        "crowd",
        "has a hundred children, half of them deaf",
        """
        for number in range(100):
            fork((lambda: (deaf(), touch(f"deaf{number}"), idle())) if number % 2 else idle)
        for number in range(1, 100, 2):
            wait_for(f"deaf{number}")
        touch("ready")
        idle()
        """,
        Outcome.KILLED,
        members=101,
    ),
    python(
        "fork chain",
        "forks a child every few milliseconds and exits, so that its pid changes",
        """
        def chain():
            deaf()
            touch("ready")
            for _ in range(5000):
                time.sleep(0.005)
                if os.fork():
                    os._exit(0)
                signal.alarm(LIMIT)
        fork(chain)
        idle()
        """,
        Outcome.KILLED,
    ),
    python(
        "respawner",
        "is deaf, and starts its child again whenever it dies",
        """
        def child():
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            idle()
        deaf()
        fork(child)
        touch("ready")
        for _ in range(1000):
            os.wait()
            time.sleep(0.005)
            fork(child)
        """,
        Outcome.KILLED,
        KILLED,
        members=2,
    ),
    python(
        "groups of their own",
        "has children in process groups of their own, one of them stopped, one of them deaf",
        """
        def member(name, *todo):
            os.setpgid(0, 0)
            for each in todo:
                each()
            touch(name)
            idle()
        fork(lambda: member("a"))
        fork(lambda: member("b", deaf))
        stopped = fork(lambda: member("c"))
        for name in "abc":
            wait_for(name)
        os.kill(stopped, signal.SIGSTOP)
        touch("ready")
        idle()
        """,
        Outcome.KILLED,
        members=4,
    ),
    python(
        "child in a session of its own",
        "has a deaf child that called setsid, and a grandchild that did so again",
        """
        def grandchild():
            os.setsid()
            touch("ready")
            idle()
        def child():
            os.setsid()
            deaf()
            fork(grandchild)
            idle()
        fork(child)
        idle()
        """,
        Outcome.KILLED,
        members=3,
    ),
    python(
        "wiped environment",
        "has a deaf child that has wiped its environment and taken another name",
        """
        def child():
            deaf()
            touch("ready")
            source = "import time; time.sleep(60)"
            os.execve(sys.executable, ["sshd", "-ISc", source, MARK], {})
        fork(child)
        idle()
        """,
        Outcome.KILLED,
        members=2,
    ),
    shell(
        "orphan in the session",
        "has a member whose parent is dead",
        "(sleep 60 &)\n: > ready\nexec sleep 60\n",
        members=2,
    ),
)
