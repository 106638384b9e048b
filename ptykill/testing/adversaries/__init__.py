"""Programs that are hard to end, each with the result that its end must have.

``python -m ptykill.testing.judge`` runs them against any program that ends terminal sessions.
"""

from __future__ import annotations

from ptykill.testing.adversaries.clean_up import CLEAN_UP
from ptykill.testing.adversaries.daemons import DAEMONS
from ptykill.testing.adversaries.forking import FORKING
from ptykill.testing.adversaries.jobs import JOBS
from ptykill.testing.adversaries.kernel_features import KERNEL_FEATURES
from ptykill.testing.adversaries.leaders import EXITING_LEADERS, LEADERS
from ptykill.testing.adversaries.members import MEMBERS
from ptykill.testing.adversaries.output import OUTPUT
from ptykill.testing.adversaries.program import BASH, Program, bash_with, python, shell
from ptykill.testing.adversaries.tools import TOOLS

__all__ = [
    "ADVERSARIES",
    "BASH",
    "ESCAPING",
    "EXITING_LEADERS",
    "JOBS",
    "PROGRAMS",
    "Program",
    "bash_with",
    "find",
    "python",
    "shell",
]

PROGRAMS = (*LEADERS, *CLEAN_UP, *OUTPUT, *MEMBERS)
"""Programs that stay in their session, or are descendants of its leader until it ends."""
ESCAPING = (*DAEMONS, *FORKING, *KERNEL_FEATURES, *TOOLS)
"""Programs with a process outside the session: a killer that knows only the session leaves it."""
ADVERSARIES = (*PROGRAMS, *JOBS, *ESCAPING)
"""All programs that are ended while their leader lives."""


def find(name: str) -> Program:
    """Return the program of that name."""
    (found,) = (each for each in (*ADVERSARIES, *EXITING_LEADERS) if each.name == name)
    return found
