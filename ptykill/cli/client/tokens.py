"""Remember the tokens of sessions that this user has started, so that ``attach ID`` finds them.

They are in one JSON file in ``$XDG_RUNTIME_DIR/ptykill`` or ``~/.local/state/ptykill``: folder
0700, file 0600. The newest 256 are kept.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["find", "folder", "forget", "remember"]

_MAX_TOKENS: Final = 256


def folder() -> Path:
    """Return the folder of the file."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    state = os.environ.get("XDG_STATE_HOME")
    base = runtime or state or Path.home() / ".local" / "state"
    return Path(base) / "ptykill"


def find(session_id: str) -> str | None:
    """Return the token of a session; None if it is not remembered."""
    return _read(folder() / "tokens").get(session_id)


def remember(session_id: str, token: str) -> None:
    """Remember a token. Raises OSError."""

    def add(tokens: dict[str, str]) -> None:
        tokens[session_id] = token
        for old in list(tokens)[:-_MAX_TOKENS]:  # The oldest come first.
            del tokens[old]

    _change(add)


def forget(session_id: str) -> None:
    """Forget the token of a session that has ended. Raises OSError."""
    if find(session_id) is not None:
        _change(lambda tokens: tokens.pop(session_id, None))


def _change(change: Callable[[dict[str, str]], object]) -> None:
    place = folder()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.chmod(0o700)
    with _locked(place):
        tokens = _read(place / "tokens")
        change(tokens)
        # A rename is atomic: a process that reads meanwhile gets the old file or the new one.
        fd, name = tempfile.mkstemp(dir=place)  # 0600, whatever the umask
        try:
            with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 - it is open already
                json.dump(tokens, file)
            Path(name).replace(place / "tokens")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Lock the file against other processes: of two changes at once one would be lost."""
    fd = os.open(place / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # There is no file, or it is not a file of ours.
        return {}
    items = found.items() if isinstance(found, dict) else ()
    return {str(name): str(token) for name, token in items}
