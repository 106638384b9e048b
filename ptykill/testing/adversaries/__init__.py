"""Programs that are hard to end, each with what is expected of its end.

Any killer of terminal sessions can be judged by them: ``python -m ptykill.testing.judge``.
"""

from __future__ import annotations

from ptykill.testing.adversaries.escaping import ESCAPING
from ptykill.testing.adversaries.in_session import JOBS, LINGERING, PROGRAMS
from ptykill.testing.adversaries.program import BASH, Program, bash_with, python, shell

__all__ = [
    "ADVERSARIES",
    "BASH",
    "ESCAPING",
    "JOBS",
    "LINGERING",
    "PROGRAMS",
    "Program",
    "bash_with",
    "find",
    "python",
    "shell",
]

ADVERSARIES = (*PROGRAMS, *JOBS, *ESCAPING)
"""All that are ended while their leader lives."""


def find(name: str) -> Program:
    """Return the program of that name."""
    (found,) = (each for each in (*ADVERSARIES, *LINGERING) if each.name == name)
    return found
