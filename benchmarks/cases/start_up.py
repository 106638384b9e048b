"""Start-up: the processor time of short commands, beside that of importing trio."""

from __future__ import annotations

import os
import sys

from benchmarks.hosts import Limits, interleave
from benchmarks.report import Result, Timings
from ptykill.system.containment import STRONGEST_FIRST, why_not

__all__ = ["start_up"]

TRIO = "import trio"
COMMANDS = {
    "python -c pass": ("-c", "pass"),
    TRIO: ("-c", "import trio"),
    "import ptykill": ("-c", "import ptykill"),
    "ptykill --help": ("-m", "ptykill", "--help"),
}
"""Arguments for the interpreter."""


def start_up(limits: Limits) -> Result:
    """Time commands: user and system time, with that of their children."""
    commands = dict(COMMANDS)
    remarks = []
    for tier in reversed(STRONGEST_FIRST):
        if (reason := why_not(tier)) is None:
            commands[f"ptykill run -- true, {tier}"] = (
                *("-m", "ptykill", "run", "--containment", tier, "--", "true"),
            )
        else:
            remarks.append(f"{tier}: skipped, {reason}")
    result = Timings(
        "Start-up: processor time of a command and of its children",
        list(commands),
        {f"/ {TRIO}": dict.fromkeys(commands, TRIO)},
        remarks,
    )
    result.rounds = interleave(result.names, lambda name: used(commands[name]), limits, result)
    return result


def used(arguments: tuple[str, ...]) -> int:
    """Run the interpreter; return the processor time that it and its children took (ns)."""
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1)]
    argv = [sys.executable, *arguments]
    # Without bytecode on disk, each round would compile the modules.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    pid = os.posix_spawn(sys.executable, argv, env, file_actions=nowhere)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{argv}: status {os.waitstatus_to_exitcode(status)}")
    return round((usage.ru_utime + usage.ru_stime) * 1e9)
