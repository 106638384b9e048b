"""Reads the daemon's key from a file, and refuses a file that others can read or change."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ptykill.errors import InvalidArgument

__all__ = ["read_key"]


def read_key(path: Path) -> str:
    """Return the key in a file. Raises OSError, and `InvalidArgument` if others can read the file.

    No other user may read or write a file that this user owns. The group may read a file of another
    owner, such as root: systemd and Kubernetes pass secrets to a daemon that way.
    """
    with path.open(encoding="utf-8") as file:
        # fstat, not stat: the path may name another file by now.
        status = os.fstat(file.fileno())
        mode = stat.S_IMODE(status.st_mode)
        others = stat.S_IRWXO | stat.S_IWGRP
        if status.st_uid == os.geteuid():
            others |= stat.S_IRWXG
        if mode & others:
            msg = f"{path} has the mode {mode:o}: others can read or change the key; chmod 600 it"
            raise InvalidArgument(msg)
        try:
            return file.read().strip()
        except UnicodeDecodeError:
            raise InvalidArgument(f"{path} is not a text file") from None
