"""Describe the machine of the figures, and its installed programs, without its name."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import subprocess
import time
from importlib import metadata
from pathlib import Path

from benchmarks.report import JSON
from benchmarks.systems import BUILD

__all__ = ["describe", "first_line", "machine", "proc_field"]

PACKAGES = (
    *("ptykill", "trio", "psutil", "ptyprocess", "pexpect", "terminado"),
    *("uvicorn", "h11", "hypercorn", "structlog"),
)


def machine() -> dict[str, JSON]:
    """Describe the machine."""
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "system": platform.system(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cpu": proc_field("cpuinfo", "model name"),
        "virtual": " hypervisor " in (proc_field("cpuinfo", "flags") or ""),
        "cpus": os.cpu_count(),
        "cpus usable": len(os.sched_getaffinity(0)),
        "nice": os.nice(0),
        "memory": proc_field("meminfo", "MemTotal"),
        "load average": os.getloadavg(),
        "processes": sum(entry.name.isdigit() for entry in Path("/proc").iterdir()),
        "uptime": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
        "libc": " ".join(platform.libc_ver()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": versions(),
    }


def describe(about: dict[str, JSON]) -> str:
    """Return the machine in one line."""
    date, load = str(about["date"])[:10], about["load average"]
    assert isinstance(load, (list, tuple))
    return (
        f"{date}, Linux {about['kernel']}, {about['cpus usable']} CPUs ({about['cpu']}"
        f"{', virtual' * bool(about['virtual'])}), {about['python']},"
        f" load {load[0]:.1f} when it began"
    )


def versions() -> dict[str, JSON]:
    """Return the versions of all that is compared, None for what is not installed."""
    found: dict[str, JSON] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    node_pty = BUILD / "node_modules/node-pty/package.json"
    found_version = (
        re.search(r'"version": "(.*?)"', node_pty.read_text()) if node_pty.exists() else None
    )
    return {
        **found,
        "bash": first_line("bash", "--version"),
        "compiler": first_line(os.environ.get("CC", "cc"), "--version"),
        "go": first_line("go", "version"),
        "node": first_line("node", "--version"),
        "node-pty": found_version and found_version[1],
        "timeout": first_line("timeout", "--version"),
        "tmux": first_line("tmux", "-V"),
        "vim": first_line("vim", "--version"),
    }


def proc_field(file: str, name: str) -> str | None:
    """Return a field of a file in /proc, None if the file has none of that name."""
    for line in Path("/proc", file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def first_line(*command: str) -> str | None:
    """Return the first line that a command prints, None if there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.partition("\n")[0]
