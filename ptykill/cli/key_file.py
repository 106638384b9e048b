"""Reads the daemon's key from a file, and refuses a file that others can read or change."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ptykill.errors import InvalidArgument

__all__ = ["read_key"]


def read_key(path: Path) -> str:
    """Return the key in a file. Raises OSError, and `InvalidArgument` if others know the key.

    A file of this user's own is for this user alone. One of another owner (root, most often) may be
    for a group too, in which the daemon is: systemd and Kubernetes hand secrets over like that.
    """
    with path.open(encoding="utf-8") as file:
        told = os.fstat(file.fileno())  # Of what is read, not of what has the name by now.
        mode = stat.S_IMODE(told.st_mode)
        others = stat.S_IRWXO | stat.S_IWGRP
        if told.st_uid == os.geteuid():
            others |= stat.S_IRWXG
        if mode & others:
            msg = (
                f"{path} has the mode {mode:o}: others can read or change the key in it,"
                f" which chmod 600 puts right"
            )
            raise InvalidArgument(msg)
        try:
            return file.read().strip()
        except UnicodeDecodeError:
            raise InvalidArgument(f"{path} is no text") from None
