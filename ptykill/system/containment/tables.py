"""The choice of the process table: the one that this system has."""

from __future__ import annotations

import os
import sys

from ptykill.system.containment.linux_table import LinuxTable
from ptykill.system.containment.portable_table import PortableTable
from ptykill.system.containment.process_table import ProcessTable
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.proc_view import proc

__all__ = ["open_table", "unusable"]


def open_table() -> ProcessTable:
    """Return the table that this system has."""
    return LinuxTable() if sys.platform == "linux" else PortableTable()


def unusable() -> str | None:
    """Say why sessions' members can't be found here; None if they can. Raises OSError."""
    if sys.platform != "linux":
        return None
    lacking = proc.find()
    if proc.at_proc:
        return None
    try:
        os.close(syscalls.pidfd_open(os.getpid()))
    except OSError as error:
        return lacking or f"/proc is not of our pids, and pidfd_open is refused: {error.strerror}"
    return lacking
