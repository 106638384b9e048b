"""Adversaries of job control: an interactive bash with jobs, each in its own process group."""

from __future__ import annotations

from ptykill.rules.verdict import Outcome
from ptykill.testing.adversaries.program import Program, bash_with

__all__ = ["JOBS"]

# The file says that the signals are ignored: a signal before that would kill the process.
_DEAF = (
    "rm -f deaf; (trap '' HUP INT TERM QUIT; : > deaf; exec sleep 60) &"
    " until [ -e deaf ]; do :; done"
)

JOBS: tuple[Program, ...] = (
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
"""Jobs of an interactive bash, each in a process group of its own."""
