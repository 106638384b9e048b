"""The floor: a C program that does nothing but the necessary system calls (``floor.c``)."""

from __future__ import annotations

import os
import shlex
import shutil

from benchmarks.systems import BUILD, System, Unavailable
from benchmarks.systems.external import HERE, build, external

__all__ = ["FLOOR", "VERIFIED", "compiled", "systems"]

FLOOR = "C, leader only"
"""The system that all others are compared with."""
VERIFIED = "C, session verified"
FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")


def systems() -> list[System]:
    """Return the floor in its two modes."""
    binary = compiled("floor")
    return [
        external(FLOOR, binary, "leader"),
        external(VERIFIED, binary, "session", ends="session, looked for"),
    ]


def compiled(name: str, *flags: str) -> str:
    """Compile a C program of this folder, and return its path; raises `Unavailable`."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise Unavailable(f"no C compiler: {compiler[0]} is not on PATH (CC names another)")
    source, binary = HERE / f"{name}.c", BUILD / name
    build(source, binary, *compiler, *FLAGS, *flags, str(source), "-o", str(binary))
    return str(binary)
