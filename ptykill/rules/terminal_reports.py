r"""Tells what a person types from what a terminal sends by itself.

A terminal answers a program's queries, and reports its focus and the pointer's movements, as input
of the program (xterm's *Control Sequences*, ECMA-48). If several terminals show one session, each
of them answers: none of these answers means that a person uses it.
"""

from __future__ import annotations

import re

__all__ = ["is_typed"]

_REPORT = re.compile(
    rb"""
    \x1b (?:
        \[ [IO]                             # focus in, focus out (?1004)
      | \[ M [\x20-\xff]{3}                 # a pointer (?1000, ?1003)
      | \[ < [0-9;]* [Mm]                   # the same (?1006)
      | \[ [0-9;]+ R                        # DSR 6: where the cursor is
      | \[ [0-9;]* [nt]                     # DSR 5; the window's state and size
      | \[ [?>=] [0-9;:]* \$? [cnRuy]       # DA; DECDSR; DECRQM; kitty's keyboard flags
      | \[ [0-9;]* \$ y                     # DECRQM of ANSI modes
      | [\]P_^X] [^\x07\x1b]* (?: \x07 | \x1b\\ )   # OSC, DCS, APC, PM, SOS
    )
    """,
    re.VERBOSE | re.DOTALL,
)
"""xterm sends ``CSI 1;5R`` both for Ctrl-F3 and for a cursor position: it counts as the latter."""
_MARK = b"\x1b"


def is_typed(data: bytes) -> bool:
    r"""Return whether some input has more than a terminal's own reports.

    >>> is_typed(b"ls\r"), is_typed(b"\x1b[A"), is_typed(b"\x1b[?62;22c"), is_typed(b"")
    (True, True, False, False)
    """
    if not data.startswith(_MARK):  # The fast path: each sequence of the reports begins with it.
        return bool(data)
    position = 0
    while position < len(data):
        found = _REPORT.match(data, position)
        if found is None:
            return True
        position = found.end()
    return False
