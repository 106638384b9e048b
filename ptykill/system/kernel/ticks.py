"""The unit of times in /proc (proc(5), USER_HZ)."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["TICKS"]

TICKS: Final = os.sysconf("SC_CLK_TCK")
"""So many are a second."""
