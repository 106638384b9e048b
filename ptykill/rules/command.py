"""What to spawn: a command, and the attributes its process is born with."""

from __future__ import annotations

import dataclasses
import resource
import signal
import sys
from collections.abc import Mapping

from ptykill.errors import InvalidArgument

__all__ = ["Attributes", "Command", "as_bytes"]

_LARGEST_ID = 2**32 - 2
"""The largest uid or gid; the number above it means "leave it as it is" (setresuid(2))."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attributes:
    """What is different in the leader from the host; None leaves a thing as the host has it.

    ``uid`` and ``gid`` go together; ``groups`` are the supplementary ones, none if left out.
    ``umask`` is a file mode; ``limits`` maps the name of a limit without ``RLIMIT_``
    (``"NOFILE"``) to its soft and hard value, -1 for no limit (setrlimit(2)); ``nice`` is -20 to
    19 (setpriority(2)). ``death_signal`` is the name of what the kernel sends the leader if its
    parent dies, which is its keeper, if it has one (prctl(2), PR_SET_PDEATHSIG); a leader without
    one is killed by the host, or by the warden, when its keeper is lost.

    What the kernel does not permit the host to set is a `SpawnError` with the stage ``"user"`` or
    ``"limits"``. Raises `InvalidArgument` for what can't be.
    """

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None
    umask: int | None = None
    limits: Mapping[str, tuple[int, int]] | None = None
    nice: int | None = None
    death_signal: str | None = None

    def __post_init__(self) -> None:
        if (self.uid is None) != (self.gid is None) or (self.uid is None and self.groups):
            msg = "a uid, a gid and the groups beside it are given together"
            raise InvalidArgument(msg)
        groups = () if self.groups is None and self.uid is not None else self.groups
        object.__setattr__(self, "groups", groups if groups is None else tuple(groups))
        for number in (self.uid, self.gid, *(groups or ())):
            _check("a uid or gid", number, 0, _LARGEST_ID)
        _check("a umask", self.umask, 0, 0o777)
        _check("niceness", self.nice, -20, 19)
        for name, pair in (self.limits or {}).items():
            if f"RLIMIT_{name}" not in vars(resource) or len(pair) != 2:
                msg = f"not a limit with a soft and a hard value: {name!r}: {pair!r}"
                raise InvalidArgument(msg)
            for value in pair:
                _check(f"the limit {name}", value, -1, 2**63 - 1)
        if (
            self.death_signal is not None
            and f"SIG{self.death_signal}" not in signal.Signals.__members__
        ):
            msg = f"there is no signal {self.death_signal!r}"
            raise InvalidArgument(msg)


def _check(what: str, number: object, least: int, most: int) -> None:
    if number is None:
        return
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        msg = f"{what} is a number from {least} to {most}, not {number!r}"
        raise InvalidArgument(msg)


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """What to spawn, checked: an argument vector, its environment and working directory.

    ``env`` None is the host's environment as it is at the birth. ``stdin`` is a descriptor of the
    host's, of which the leader has a copy in place of the terminal as its descriptor 0.
    """

    args: tuple[str, ...]
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    rows: int = 24
    cols: int = 80
    echo: bool = True
    attributes: Attributes = Attributes()
    stdin: int | None = None


def as_bytes(text: str) -> bytes:
    """Return what the system gets for an argument, a variable or a path.

    That is the locale's encoding, as with `os.fsencode`, and UTF-8 for what that does not have: in
    the C locale it is ASCII alone. A byte that no encoding has stays what it was (PEP 383). Raises
    UnicodeEncodeError for any other lone surrogate.
    """
    try:
        return text.encode(sys.getfilesystemencoding(), "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
