"""Adversaries that stay in their session, or show their descent until it ends."""

from __future__ import annotations

from ptykill.rules.verdict import ExitStatus, Outcome
from ptykill.testing.adversaries.program import (
    DONE,
    KILLED,
    bash_with,
    python,
    shell,
)

__all__ = ["JOBS", "LINGERING", "PROGRAMS"]

# The file says that the signals are ignored by now: a signal before that would find it polite.
_DEAF = (
    "rm -f deaf; (trap '' HUP INT TERM QUIT; : > deaf; exec sleep 60) &"
    " until [ -e deaf ]; do :; done"
)

JOBS = (
    bash_with("a running job", "sleep 60 &"),
    bash_with("a stopped job", "sleep 60 & kill -STOP $!"),
    bash_with("a disowned job", "sleep 60 & disown"),
    bash_with("a pipeline of jobs", "sleep 60 | sleep 60 | sleep 60 &", members=4),
    bash_with("an orphan", "(sleep 60 &)"),
    bash_with(
        "a job under nohup",
        'nohup sleep 60 >nohup.out 2>&1 & until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done',
        Outcome.KILLED,
    ),
    bash_with("a deaf job", _DEAF, Outcome.KILLED),
    bash_with("a deaf and stopped job", f"{_DEAF}; kill -STOP $!", Outcome.KILLED),
    bash_with(
        "100 jobs in groups of their own",
        "for n in {1..50}; do sleep 60 & (trap '' HUP INT TERM QUIT; : > deaf$n; exec sleep 60) &"
        " done 2>jobs; for n in {1..50}; do until [ -e deaf$n ]; do :; done; done",
        Outcome.KILLED,
        members=101,
    ),
)
"""What job control makes of a session: every job is a process group of its own."""

PROGRAMS = (
    python("polite", "dies of the hangup", 'say("ready"); idle()'),
    python(
        "deaf",
        "ignores every signal that can be",
        'deaf(); say("ready"); idle()',
        Outcome.KILLED,
        KILLED,
    ),
    python(
        "blocking all signals",
        "has every signal blocked in its mask",
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGALRM})
        say("ready")
        idle()
        """,
        Outcome.KILLED,
        KILLED,
    ),
    python(
        "cleans up in half the grace",
        "needs half a second for its clean-up",
        """
        on(signal.SIGHUP, lambda: (time.sleep(0.5), cleaned(7)))
        say("ready")
        idle()
        """,
        status=ExitStatus(code=7),
        cleans_up=True,
    ),
    python(
        "cleans up for too long",
        "begins a clean-up that would take half a minute",
        """
        on(signal.SIGHUP, lambda: (say("began"), time.sleep(30), cleaned()))
        say("ready")
        idle()
        """,
        Outcome.KILLED,
        KILLED,
    ),
    python(
        "stopped leader",
        "is stopped when the hangup comes, and cleans up once it is continued",
        """
        on(signal.SIGHUP, cleaned)
        say("ready")
        os.kill(os.getpid(), signal.SIGSTOP)
        idle()
        """,
        status=DONE,
        cleans_up=True,
        stops=True,
    ),
    python(
        "stopped and deaf leader",
        "is stopped, and ignores what it is told when it is continued",
        'deaf(); say("ready"); os.kill(os.getpid(), signal.SIGSTOP); idle()',
        Outcome.KILLED,
        KILLED,
        stops=True,
    ),
    python(
        "stops itself when hung up",
        "stops itself in its SIGHUP handler, and again whenever it is continued",
        """
        def stop():
            while True:
                os.kill(os.getpid(), signal.SIGSTOP)
        on(signal.SIGHUP, stop)
        say("ready")
        idle()
        """,
        Outcome.KILLED,
        KILLED,
    ),
    python(
        "deaf member of a polite leader",
        "dies of the hangup and leaves a child that does not",
        'fork(lambda: (deaf(), say("ready"), idle())); idle()',
        Outcome.KILLED,
        members=2,
    ),
    python(
        "leader that ends during the grace",
        "exits in the midst of the grace and leaves a deaf child",
        """
        on(signal.SIGHUP, lambda: (time.sleep(0.1), cleaned(3)))
        fork(lambda: (deaf(), say("ready"), idle()))
        idle()
        """,
        Outcome.KILLED,
        ExitStatus(code=3),
        cleans_up=True,
        members=2,
    ),
    python(
        "polite member that cleans up alone",
        "dies of the hangup while its child is still cleaning up",
        """
        def member():
            on(signal.SIGHUP, lambda: (time.sleep(0.5), cleaned()))
            say("ready")
            idle()
        fork(member)
        idle()
        """,
        cleans_up=True,
        members=2,
    ),
    python(
        "flood",
        "writes as fast as the terminal takes it",
        """
        say("ready")
        while True:
            os.write(1, b"x" * 4096)
        """,
    ),
    python(
        "deaf flood",
        "writes from two processes, and ignores the hangup",
        """
        def flood():
            while True:
                os.write(1, b"x" * 4096)
        deaf()
        fork(flood)
        say("ready")
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
        say("ready")
        while True:
            os.write(1, b"x" * 4096)
        """,
    ),
    python(
        "clean-up writing to a stopped terminal",
        "writes a megabyte while it cleans up, to a terminal whose output has been stopped",
        """
        on(signal.SIGHUP, lambda: (os.write(1, b"x" * 1000000), cleaned()))
        termios.tcflow(1, termios.TCOOFF)
        say("ready")
        idle()
        """,
        status=DONE,
        cleans_up=True,
    ),
    python(
        "clean-up that floods",
        "writes two megabytes to the terminal before it is done",
        """
        def clean():
            for _ in range(500):
                rest = b"x" * 4096
                while rest:
                    rest = rest[os.write(1, rest):]
            cleaned()
        on(signal.SIGHUP, clean)
        say("ready")
        idle()
        """,
        status=DONE,
        cleans_up=True,
    ),
    python(
        "clean-up with helpers",
        "forks helpers for its clean-up, which would die of a hangup",
        """
        def clean():
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            helpers = [fork(lambda: time.sleep(0.3)) for _ in range(4)]
            if all(os.waitpid(each, 0)[1] == 0 for each in helpers):
                cleaned()
            os._exit(9)
        on(signal.SIGHUP, clean)
        say("ready")
        idle()
        """,
        status=DONE,
        cleans_up=True,
    ),
    python(
        "clean-up with helpers beside a crowd",
        "forks helpers for its clean-up while thirty others are being hung up",
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
        say("ready")
        idle()
        """,
        status=DONE,
        cleans_up=True,
        members=31,
    ),
    shell(
        "shell clean-up with helpers",
        "runs programs from a trap, without a child before",
        """
        trap 'trap - HUP; sleep 0.3 & a=$!; sleep 0.3 & b=$!; wait $a && wait $b && : > cleaned
              exit 0' HUP
        : > ready
        while :; do read line; done
        """,
        status=DONE,
        cleans_up=True,
    ),
    python(
        "dead main thread",
        "has ended its main thread; another one lives, deaf",
        """
        deaf()
        _thread.start_new_thread(lambda: (time.sleep(0.1), say("ready"), time.sleep(LIMIT)), ())
        end_main_thread()
        """,
        Outcome.KILLED,
        KILLED,
    ),
    python(
        "member with a dead main thread",
        "has a child whose main thread has ended while another one lives, deaf",
        """
        def member():
            deaf()
            task = lambda: (time.sleep(0.1), say("ready"), time.sleep(LIMIT))
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
            fork((lambda: (deaf(), say(f"deaf{number}"), idle())) if number % 2 else idle)
        for number in range(1, 100, 2):
            heard(f"deaf{number}")
        say("ready")
        idle()
        """,
        Outcome.KILLED,
        members=101,
    ),
    python(
        "fork chain",
        "hands itself on from child to child every few milliseconds",
        """
        def chain():
            deaf()
            say("ready")
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
        "is deaf, and starts its child anew whenever it has died",
        """
        def child():
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            idle()
        deaf()
        fork(child)
        say("ready")
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
            say(name)
            idle()
        fork(lambda: member("a"))
        fork(lambda: member("b", deaf))
        stopped = fork(lambda: member("c"))
        for name in "abc":
            heard(name)
        os.kill(stopped, signal.SIGSTOP)
        say("ready")
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
            say("ready")
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
        "traced by its child",
        "is traced by its child, which lets none of its signals through",
        """
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
                say("ready")
        fork(tracer)
        idle()
        """,
        Outcome.KILLED,
        KILLED,
        members=2,
    ),
    python(
        "without its terminal",
        "has closed every descriptor of its terminal",
        """
        for fd in 0, 1, 2:
            os.close(fd)
        say("ready")
        idle()
        """,
    ),
    python(
        "wiped environment",
        "has a deaf child that has wiped its environment and taken another name",
        """
        def child():
            deaf()
            say("ready")
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
"""Programs that are ready by themselves."""

LINGERING = (
    python(
        "leaves a polite child",
        "exits by itself, leaving a child that cleans up when it is hung up",
        """
        def child():
            on(signal.SIGHUP, lambda: (time.sleep(0.2), cleaned()))
            say("ready")
            idle()
        fork(child)
        heard("ready")
        heard("go")
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
        fork(lambda: (deaf(), say("ready"), idle()))
        heard("go")
        os._exit(5)
        """,
        Outcome.KILLED,
        ExitStatus(code=5),
        members=2,
    ),
)
"""Programs whose leader exits by itself, when a file ``go`` is there."""
