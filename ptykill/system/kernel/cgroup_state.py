"""Checks that a cgroup has not changed since it was made, so that another session may have it."""

from __future__ import annotations

import os

from ptykill.system.kernel.procfs import read_file

__all__ = ["cgroup_state"]

_SETTINGS = (
    "cgroup.freeze",
    "cgroup.max.depth",
    "cgroup.max.descendants",
    "cgroup.pressure",
    "cgroup.subtree_control",
    "cgroup.type",
)
"""What can be set in a cgroup that has no controller (cgroups(7), Linux 6.18)."""


def cgroup_state(path: str) -> object:
    """Return its settings, its files and their owners, to be compared with an earlier answer.

    Returns None for a cgroup with a controller: a session of root's may have set limits there, and
    the counters are not zero any more. Raises OSError.
    """
    if read_file(f"{path}/cgroup.controllers").strip():
        return None
    settings = [read_file(f"{path}/{name}") for name in _SETTINGS]
    with os.scandir(path) as files:
        owners = sorted((file.name, *_owner(file.stat())) for file in files)
    return _owner(os.stat(path)), owners, settings


def _owner(about: os.stat_result) -> tuple[int, int, int]:
    """Return who may write to a file: its owner, its group, and its mode."""
    return about.st_uid, about.st_gid, about.st_mode
