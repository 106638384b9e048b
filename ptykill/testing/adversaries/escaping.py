"""Adversaries of which something leaves the session and loses its parent."""

from __future__ import annotations

from functools import partial

from ptykill.rules.verdict import ExitStatus, Outcome
from ptykill.testing.adversaries.program import HUNG_UP, KILLED, Program, python, shell

__all__ = ["ESCAPING"]

_deaf = partial(python, outcome=Outcome.KILLED, status=KILLED, escapes=True)
"""A program whose leader is deaf, so that the plan goes to its end."""
_polite = partial(python, outcome=Outcome.KILLED, status=HUNG_UP, escapes=True)
"""A program whose leader dies of the hangup, and leaves somebody deaf."""

ESCAPING: tuple[Program, ...] = (
    _polite(
        "daemon",
        "has a daemon, in a session of its own and without a parent",
        """
        daemon(lambda: (deaf(), say("ready"), idle()))
        idle()
        """,
    ),
    _polite(
        "daemon without a trace",
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
        say("ready")
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
            say("ready")
            idle()
        daemon(lambda: (deaf(), daemon(second), idle()))
        idle()
        """,
    ),
    _deaf(
        "daemons of a hangup",
        "starts deaf daemons when it is hung up, and lives on",
        """
        def breed():
            for _ in range(5):
                daemon(lambda: (deaf(), idle()))
        on(signal.SIGHUP, breed)
        say("ready")
        while True:
            time.sleep(1)
        """,
    ),
    _deaf(
        "daemons of a hangup, and an end",
        "starts deaf daemons when it is hung up, and exits",
        """
        def breed():
            for _ in range(5):
                daemon(lambda: (deaf(), idle()))
            cleaned(4)
        on(signal.SIGHUP, breed)
        say("ready")
        idle()
        """,
        status=ExitStatus(code=4),
        cleans_up=True,
    ),
    _deaf(
        "chain of sessions",
        "hands itself on from child to child every few milliseconds, each in a new session",
        """
        deaf()
        def chain():
            say("ready")
            for _ in range(5000):
                time.sleep(0.005)
                os.setsid()
                if os.fork():
                    os._exit(0)
                signal.alarm(LIMIT)
        daemon(chain)
        idle()
        """,
    ),
    _deaf(
        "quick chain",
        "hands itself on from child to child as fast as it can, each in a new session",
        """
        deaf()
        until = time.monotonic() + 20
        def chain():
            say("ready")
            while time.monotonic() < until:
                os.setsid()
                if os.fork():
                    os._exit(0)
        daemon(chain)
        idle()
        """,
    ),
    _deaf(
        "ring of forty",
        "has forty daemons, each of which starts the next one anew when that has died",
        """
        deaf()
        SIZE, BIRTHS = 40, 2000
        births = os.open("births", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        def member(number):
            os.setsid()
            with open(f"{number}.new", "w") as file:
                file.write(str(os.getpid()))
            os.rename(f"{number}.new", f"{number}")
            while True:
                time.sleep(0.01)
                watch((number + 1) % SIZE)
        def watch(number):
            try:
                with open(f"{number}") as file:
                    os.kill(int(file.read()), 0)
            except (OSError, ValueError):
                os.write(births, b".")
                if os.fstat(births).st_size > BIRTHS:
                    os._exit(0)
                if os.fork() == 0:
                    signal.alarm(LIMIT)
                    if os.fork() == 0:
                        signal.alarm(LIMIT)
                        member(number)
                    os._exit(0)
                os.wait()
        for number in range(SIZE):
            daemon(lambda: member(number))
        for number in range(SIZE):
            heard(f"{number}")
        say("ready")
        idle()
        """,
    ),
    _deaf(
        "bounded fork bomb",
        "forks until there are a hundred and fifty of it, and again when some have died",
        """
        deaf()
        MOST, BIRTHS = 150, 3000
        births = os.open("births", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        def bomb(depth):
            while os.fstat(births).st_size < BIRTHS:
                os.write(births, b".")
                pid = os.fork()
                if pid == 0:
                    signal.alarm(LIMIT)
                    os.setsid()
                    if depth < 4:
                        bomb(depth + 1)
                    time.sleep(0.2)
                    os._exit(0)
                if os.fstat(births).st_size > MOST:
                    say("ready")
                    time.sleep(0.02)
        bomb(0)
        idle()
        """,
    ),
    _deaf(
        "escaped tracer of its leader",
        "is traced by a daemon, which lets none of its signals through",
        """
        ATTACH, CONT, SET_PTRACER = 16, 7, 0x59616D61
        libc.prctl(SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
        leader = os.getpid()
        def tracer():
            deaf()
            libc.ptrace(ATTACH, leader, None, None)
            for _ in range(1000):
                pid, status = os.waitpid(leader, 0)
                if not os.WIFSTOPPED(status):
                    idle()
                libc.ptrace(CONT, leader, None, None)
                say("ready")
        daemon(tracer)
        idle()
        """,
    ),
    _deaf(
        "stopped tracee",
        "has a daemon that is stopped by its tracer, for good",
        """
        deaf()
        TRACEME = 0
        def tracee():
            deaf()
            libc.ptrace(TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            idle()
        def tracer():
            deaf()
            os.waitpid(fork(tracee), os.WUNTRACED)
            say("ready")
            idle()
        daemon(tracer)
        idle()
        """,
    ),
    _deaf(
        "tracee that stops at its exit",
        "has a daemon that its tracer stops when it exits, and lets wait there",
        """
        deaf()
        TRACEME, SETOPTIONS, CONT, TRACEEXIT = 0, 0x4200, 7, 0x40
        def tracee():
            deaf()
            libc.ptrace(TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            os._exit(0)
        def tracer():
            deaf()
            pid = fork(tracee)
            os.waitpid(pid, os.WUNTRACED)
            libc.ptrace(SETOPTIONS, pid, None, ctypes.c_void_p(TRACEEXIT))
            libc.ptrace(CONT, pid, None, None)
            os.waitpid(pid, os.WUNTRACED)
            say("ready")
            idle()
        daemon(tracer)
        idle()
        """,
    ),
    _deaf(
        "sibling of its leader",
        "has a child that is not its child but its parent's (CLONE_PARENT)",
        """
        deaf()
        CLONE_PARENT = 0x8000
        number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
        if system_call(number, CLONE_PARENT | signal.SIGCHLD, None, None, None, None) == 0:
            signal.alarm(LIMIT)
            os.setsid()
            say("ready")
            idle()
        idle()
        """,
    ),
    _deaf(
        "child that tells nobody of its death",
        "has children that send no SIGCHLD when they die, and daemons of that kind",
        """
        deaf()
        number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
        def quiet(do):
            if system_call(number, 0, None, None, None, None) == 0:
                signal.alarm(LIMIT)
                do()
                os._exit(0)
        quiet(idle)
        daemon(lambda: (deaf(), quiet(lambda: (os.setsid(), idle())), say("ready"), idle()))
        idle()
        """,
    ),
    _deaf(
        "nested subreaper",
        "has a subreaper that takes in what escapes below it",
        """
        deaf()
        SET_CHILD_SUBREAPER = 36
        def reaper():
            libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            deaf()
            for _ in range(3):
                daemon(lambda: (deaf(), idle()))
            say("ready")
            for _ in range(1000):
                os.wait()
            idle()
        daemon(reaper)
        idle()
        """,
    ),
    _deaf(
        "not dumpable",
        "has a daemon whose memory and environment nobody may look at",
        """
        deaf()
        SET_DUMPABLE = 4
        daemon(lambda: (deaf(), libc.prctl(SET_DUMPABLE, 0, 0, 0, 0), say("ready"), idle()))
        idle()
        """,
    ),
    _deaf(
        "daemon with a dead main thread",
        "has a daemon whose main thread has ended while another one lives",
        """
        deaf()
        def member():
            deaf()
            task = lambda: (time.sleep(0.1), say("ready"), time.sleep(LIMIT))
            _thread.start_new_thread(task, ())
            end_main_thread()
        daemon(member)
        idle()
        """,
    ),
    _deaf(
        "thousands of zombies",
        "has a daemon with two thousand dead children that it does not reap",
        """
        deaf()
        def careless():
            deaf()
            for _ in range(2000):
                if os.fork() == 0:
                    os._exit(0)
            say("ready")
            idle()
        daemon(careless)
        idle()
        """,
    ),
    _deaf(
        "thousands of orphans",
        "leaves a thousand dead orphans to whoever takes them in, and goes on",
        """
        deaf()
        def breed():
            for number in range(1000):
                if os.fork() == 0:
                    if os.fork():
                        os._exit(0)
                    os._exit(0)
                os.wait()
                if number == 500:
                    say("ready")
            idle()
        daemon(breed)
        idle()
        """,
    ),
    _deaf(
        "wait in a vfork",
        "has a daemon whose vfork waits for a child that does not get to its exec",
        """
        deaf()
        os.mkfifo("pipe")
        def waiting():
            deaf()
            say("ready")
            actions = [(os.POSIX_SPAWN_OPEN, 0, "pipe", os.O_RDONLY, 0)]
            os.posix_spawn("/bin/true", ["true", MARK], os.environ, file_actions=actions)
        daemon(waiting)
        idle()
        """,
    ),
    _deaf(
        "thief of the terminal",
        "has a daemon that takes the controlling terminal away, if it is allowed to",
        """
        deaf()
        def thief():
            deaf()
            import fcntl
            try:
                fcntl.ioctl(0, termios.TIOCSCTTY, 1)
            except OSError:
                pass
            say("ready")
            idle()
        daemon(thief)
        idle()
        """,
    ),
    _deaf(
        "other terminals",
        "has a daemon that leads a session on a terminal of its own",
        """
        deaf()
        import pty
        def other():
            deaf()
            pid, master = pty.fork()
            if pid == 0:
                deaf()
                say("ready")
            idle()
        daemon(other)
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
            say(f"up{number}")
            if number % 2:
                os.kill(os.getpid(), signal.SIGSTOP)
            idle()
        for number in range(50):
            daemon(lambda: member(number))
        for number in range(50):
            heard(f"up{number}")
        say("ready")
        idle()
        """,
    ),
    _deaf(
        "deep tree",
        "has a line of sixty descendants, each in a session of its own",
        """
        deaf()
        def line(left):
            os.setsid()
            deaf()
            if left:
                fork(lambda: line(left - 1))
            else:
                say("ready")
            idle()
        daemon(lambda: fork(lambda: line(60)) and idle())
        idle()
        """,
    ),
    _polite(
        "leader that is gone at once",
        "dies of the hangup in the midst of a burst of forks that leave its session",
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
        say("ready")
        idle()
        """,
    ),
    _deaf(
        "namespaces",
        "has a daemon that is process 1 of a pid namespace, and has daemons there",
        """
        deaf()
        NEWNS, NEWUSER, NEWPID = 0x20000, 0x10000000, 0x20000000
        def first():
            deaf()
            for _ in range(3):
                daemon(lambda: (deaf(), idle()))
            say("ready")
            idle()
        def outside():
            deaf()
            if libc.unshare(NEWPID | NEWNS) and libc.unshare(NEWUSER | NEWPID | NEWNS):
                say("ready")
                idle()
            fork(first)
            idle()
        daemon(outside)
        idle()
        """,
    ),
    shell(
        "tmux",
        "starts a tmux server with a session in it, and attaches to it",
        """
        trap '' HUP
        tmux -S socket -f /dev/null new-session -d 'trap "" HUP; sleep 60; :'
        : > ready
        env TERM=xterm tmux -S socket attach
        sleep 60
        """,
        Outcome.KILLED,
        KILLED,
        escapes=True,
        needs=("tmux",),
    ),
    shell(
        "screen",
        "starts a detached screen with a program in it",
        """
        trap '' HUP
        SCREENDIR=$PWD/screens; export SCREENDIR; mkdir -m 700 screens
        screen -d -m sh -c 'trap "" HUP; sleep 60; :'
        : > ready
        sleep 60
        """,
        Outcome.KILLED,
        KILLED,
        escapes=True,
        needs=("screen",),
    ),
    shell(
        "agents",
        "starts the agents that keep keys, which become daemons",
        """
        trap '' HUP
        eval "$(ssh-agent -a ssh)" >agents 2>&1
        mkdir -m 700 keys
        gpg-agent --homedir keys --daemon >>agents 2>&1
        : > ready
        sleep 60
        """,
        Outcome.KILLED,
        KILLED,
        escapes=True,
        needs=("ssh-agent", "gpg-agent"),
    ),
    shell(
        "job that outlives its leader",
        "has a leader that exits at the hangup, and a daemon that writes on",
        """
        (setsid sh -c 'trap "" HUP TERM INT; while :; do echo x; sleep 0.01; done' &)
        trap ': > cleaned; exit 6' HUP
        : > ready
        while :; do sleep 0.01; done
        """,
        Outcome.KILLED,
        ExitStatus(code=6),
        cleans_up=True,
        escapes=True,
    ),
)
"""Programs that leave something behind wherever only the session is looked at."""
