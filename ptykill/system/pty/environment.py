"""Makes a session's default environment: the host's, without variables that would be wrong there.

A new session is on a new terminal, in a directory of its own. Programs believe variables that
describe the host's: a size in ``COLUMNS`` wins over the terminal's, ``TMUX`` makes tmux refuse to
start, ``PWD`` is shown in place of the directory. Terminal emulators, sshd and tmux drop them too.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ptykill.rules.command import as_bytes

__all__ = ["inherited"]

_OF_THE_TERMINAL = (
    b"COLUMNS",
    b"LINES",
    b"TERMCAP",  # screen's has the size in it.
    b"TERM_PROGRAM",
    b"TERM_PROGRAM_VERSION",
    b"VTE_VERSION",
    b"SSH_TTY",
    b"GPG_TTY",
    b"TMUX",
    b"TMUX_PANE",
    b"STY",
    b"WINDOW",
    b"ZELLIJ",
    b"ZELLIJ_PANE_ID",
    b"ZELLIJ_SESSION_NAME",
)
"""Variables that describe the host's own terminal, its size, or the multiplexer that it is in."""


def inherited(directory: str | None) -> dict[bytes, bytes]:
    """Return the host's environment, for a session that starts in a directory, or in the host's.

    ``PWD`` is the directory if that is given by an absolute path, without ``.`` and ``..``, as
    POSIX has it; or else the host's, if it is the host's directory. There is no ``OLDPWD``.
    """
    environment = dict(os.environb)  # In bytes: to decode it takes as long as a small spawn.
    for name in _OF_THE_TERMINAL:
        environment.pop(name, None)
    environment.pop(b"OLDPWD", None)
    if directory is not None:
        environment.pop(b"PWD", None)
        if os.path.isabs(directory) and os.path.normpath(directory) == directory:
            with suppress(UnicodeEncodeError):  # It can't be: the spawn will say so.
                environment[b"PWD"] = as_bytes(directory)
    elif b"PWD" in environment and not _is_here(environment[b"PWD"]):
        del environment[b"PWD"]
    return environment


def _is_here(place: bytes) -> bool:
    try:
        return os.path.isabs(place) and os.path.samestat(os.stat(place), os.stat("."))
    except OSError:
        return False
