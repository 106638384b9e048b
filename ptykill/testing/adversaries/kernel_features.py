"""Adversaries that escape by a kernel feature: ptrace, clone flags, subreapers, namespaces."""

from __future__ import annotations

from functools import partial

from ptykill.rules.verdict import Outcome
from ptykill.testing.adversaries.program import KILLED, Program, python

__all__ = ["KERNEL_FEATURES"]

_deaf = partial(python, outcome=Outcome.KILLED, status=KILLED, escapes=True)
"""A program whose leader is deaf, so that it takes SIGKILL to end it."""

KERNEL_FEATURES: tuple[Program, ...] = (
    _deaf(
        "escaped tracer of its leader",
        "is traced by a daemon, which suppresses its signals",
        """
        import ctypes
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
                touch("ready")
        daemon(tracer)
        idle()
        """,
    ),
    _deaf(
        "stopped tracee",
        "has a daemon that its tracer has stopped for ever",
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
            touch("ready")
            idle()
        daemon(tracer)
        idle()
        """,
    ),
    _deaf(
        "tracee that stops at its exit",
        "has a daemon that its tracer stops when it exits, for ever",
        """
        import ctypes
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
            touch("ready")
            idle()
        daemon(tracer)
        idle()
        """,
    ),
    _deaf(
        "sibling of its leader",
        "starts a process that is its parent's child (CLONE_PARENT)",
        """
        deaf()
        CLONE_PARENT = 0x8000
        number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
        if system_call(number, CLONE_PARENT | signal.SIGCHLD, None, None, None, None) == 0:
            signal.alarm(LIMIT)
            os.setsid()
            touch("ready")
            idle()
        idle()
        """,
    ),
    _deaf(
        "children without SIGCHLD",
        "has children that send no SIGCHLD when they die, and daemons of that kind",
        """
        deaf()
        number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
        def quiet(do):
            if system_call(number, 0, None, None, None, None) == 0:
                signal.alarm(LIMIT)
                do()
                os._exit(0)
        quiet(idle)
        daemon(lambda: (deaf(), quiet(lambda: (os.setsid(), idle())), touch("ready"), idle()))
        idle()
        """,
    ),
    _deaf(
        "nested subreaper",
        "has a subreaper, whose orphaned descendants become its children",
        """
        deaf()
        SET_CHILD_SUBREAPER = 36
        def reaper():
            libc.prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            deaf()
            for _ in range(3):
                daemon(lambda: (deaf(), idle()))
            touch("ready")
            for _ in range(1000):
                os.wait()
            idle()
        daemon(reaper)
        idle()
        """,
    ),
    _deaf(
        "not dumpable",
        "has a daemon whose memory and environment may not be read",
        """
        deaf()
        SET_DUMPABLE = 4
        daemon(lambda: (deaf(), libc.prctl(SET_DUMPABLE, 0, 0, 0, 0), touch("ready"), idle()))
        idle()
        """,
    ),
    _deaf(
        "daemon with a dead main thread",
        "has a daemon whose main thread has ended while another thread lives",
        """
        deaf()
        def member():
            deaf()
            task = lambda: (time.sleep(0.1), touch("ready"), time.sleep(LIMIT))
            _thread.start_new_thread(task, ())
            end_main_thread()
        daemon(member)
        idle()
        """,
    ),
    _deaf(
        "daemon waiting in vfork",
        "has a daemon that waits in vfork for a child that never execs",
        """
        deaf()
        os.mkfifo("pipe")
        def waiting():
            deaf()
            touch("ready")
            actions = [(os.POSIX_SPAWN_OPEN, 0, "pipe", os.O_RDONLY, 0)]
            os.posix_spawn("/bin/true", ["true", MARK], os.environ, file_actions=actions)
        daemon(waiting)
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
            touch("ready")
            idle()
        def outside():
            deaf()
            if libc.unshare(NEWPID | NEWNS) and libc.unshare(NEWUSER | NEWPID | NEWNS):
                touch("ready")
                idle()
            fork(first)
            idle()
        daemon(outside)
        idle()
        """,
    ),
)
