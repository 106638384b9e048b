"""The floor: a C program that does nothing but the necessary system calls (``floor.c``)."""

from __future__ import annotations

import os
import shlex
import shutil

from benchmarks.systems import System, Unavailable
from benchmarks.systems.external import BUILD, HERE, build, external

__all__ = ["FLOOR", "VERIFIED", "systems"]

FLOOR = "C, leader only"
"""The system that all others are compared with."""
VERIFIED = "C, session verified"
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


def systems() -> list[System]:
    """Return the floor in its two modes."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise Unavailable(f"no C compiler: {compiler[0]} is not on PATH (CC names another)")
    source, binary = HERE / "floor.c", BUILD / "floor"
    build(source, binary, *compiler, *FLAGS, str(source), "-o", str(binary))
    return [
        external(FLOOR, str(binary), "leader"),
        external(VERIFIED, str(binary), "session", ends="session, looked for"),
    ]
