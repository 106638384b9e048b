"""Go's os/exec: a signal, ``Wait`` in a goroutine, ``Kill`` after the grace (``go_exec.go``)."""

from __future__ import annotations

import shutil

from benchmarks.systems import BUILD, System, Unavailable
from benchmarks.systems.external import HERE, build, external

__all__ = ["systems"]


def systems() -> list[System]:
    """Return the one system."""
    go = shutil.which("go")
    if go is None:
        raise Unavailable("go is not on PATH")
    source, binary = HERE / "go_exec.go", BUILD / "go_exec"
    build(source, binary, go, "build", "-o", str(binary), str(source))
    return [external("Go os/exec", str(binary))]
