"""node-pty, which VS Code and many web terminals have: ``kill()``, ``onExit`` (``node_pty.js``).

``npm install --prefix build/benchmarks node-pty`` is where it is looked for, and NODE_PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from benchmarks.systems import ENVIRONMENT, System, Unavailable
from benchmarks.systems.external import BUILD, HERE, external

__all__ = ["systems"]


def systems() -> list[System]:
    """Return the one system."""
    node = shutil.which("node")
    if node is None:
        raise Unavailable("node is not on PATH")
    places = [str(BUILD / "node_modules"), os.environ.get("NODE_PATH", "")]
    env = {**ENVIRONMENT, "NODE_PATH": os.pathsep.join(filter(None, places))}
    looked = [node, "-e", "require('node-pty')"]
    if subprocess.run(looked, env=env, capture_output=True, check=False).returncode:
        raise Unavailable("node has no node-pty: npm install --prefix build/benchmarks node-pty")
    return [external("node-pty", node, str(HERE / "node_pty.js"), env=env)]
