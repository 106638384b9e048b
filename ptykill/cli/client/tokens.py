"""Remember the tokens of sessions that this user has started, so that ``attach ID`` finds them.

A token that may only read is remembered beside the other one, under the session's id and
``/read``. They are in one JSON file in ``$XDG_RUNTIME_DIR/ptykill`` or
``~/.local/state/ptykill``: folder 0700, file 0600. The newest 256 are kept.
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


def find(session_id: str, *, read_only: bool = False) -> str | None:
    """Return the token of a session; None if it is not remembered."""
    return _read(folder() / "tokens").get(_name(session_id, read_only=read_only))


def remember(session_id: str, token: str, *, read_only: bool = False) -> None:
    """Remember a token. Raises OSError."""

    def add(tokens: dict[str, str]) -> None:
        tokens[_name(session_id, read_only=read_only)] = token
        for old in list(tokens)[:-_MAX_TOKENS]:  # The oldest come first.
            del tokens[old]

    _change(add)


def forget(session_id: str) -> None:
    """Forget the tokens of a session that has ended. Raises OSError."""
    names = {_name(session_id, read_only=read_only) for read_only in (False, True)}

    def remove(tokens: dict[str, str]) -> None:
        for name in names:
            tokens.pop(name, None)

    if names & _read(folder() / "tokens").keys():
        _change(remove)


def _name(session_id: str, *, read_only: bool) -> str:
    return f"{session_id}/read" if read_only else session_id


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
