"""node-pty, which VS Code and many web terminals use: ``kill()``, ``onExit`` (``node_pty.js``).

It is looked for where ``npm install --prefix build/benchmarks node-pty`` puts it, and in NODE_PATH.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from benchmarks.systems import BUILD, ENVIRONMENT, System, Unavailable
from benchmarks.systems.external import HERE, external

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
