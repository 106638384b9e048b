"""Adversaries that escape and keep forking: chains, restarting daemons, fork bombs, zombies."""

from __future__ import annotations

from functools import partial

from ptykill.rules.verdict import Outcome
from ptykill.testing.adversaries.program import KILLED, Program, python

__all__ = ["FORKING"]

_deaf = partial(python, outcome=Outcome.KILLED, status=KILLED, escapes=True)
"""A program whose leader is deaf, so that it takes SIGKILL to end it."""

FORKING: tuple[Program, ...] = (
    _deaf(
        "chain of sessions",
        "forks a child in a new session every few milliseconds, and exits",
        """
        deaf()
        def chain():
            touch("ready")
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
        "forks a child in a new session as fast as it can, and exits",
        """
        deaf()
        until = time.monotonic() + 20
        def chain():
            touch("ready")
            while time.monotonic() < until:
                os.setsid()
                if os.fork():
                    os._exit(0)
        daemon(chain)
        idle()
        """,
    ),
    _deaf(
        "forty daemons that restart each other",
        "has forty daemons, each of which starts the next one again when that has died",
        """
        deaf()
        SIZE, FORKS = 40, 2000
        forks = os.open("forks", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
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
                os.write(forks, b".")
                if os.fstat(forks).st_size > FORKS:
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
            wait_for(f"{number}")
        touch("ready")
        idle()
        """,
    ),
    _deaf(
        "bounded fork bomb",
        "forks until there are a hundred and fifty processes, and again when some have died",
        """
        deaf()
        MOST, FORKS = 150, 3000
        forks = os.open("forks", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        def bomb(depth):
            while os.fstat(forks).st_size < FORKS:
                os.write(forks, b".")
                pid = os.fork()
                if pid == 0:
                    signal.alarm(LIMIT)
                    os.setsid()
                    if depth < 4:
                        bomb(depth + 1)
                    time.sleep(0.2)
                    os._exit(0)
                if os.fstat(forks).st_size > MOST:
                    touch("ready")
                    time.sleep(0.02)
        bomb(0)
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
            touch("ready")
            idle()
        daemon(careless)
        idle()
        """,
    ),
    _deaf(
        "thousands of orphans",
        "leaves a thousand dead orphans to its subreaper, and goes on",
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
                    touch("ready")
            idle()
        daemon(breed)
        idle()
        """,
    ),
)
