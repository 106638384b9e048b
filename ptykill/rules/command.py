"""What to spawn: a command, and the attributes of its process that differ from the host's."""

from __future__ import annotations

import dataclasses
import resource
import sys
from collections.abc import Collection, Mapping, Sequence

from ptykill.errors import InvalidArgument
from ptykill.rules import validate
from ptykill.rules.limits import SessionLimits

__all__ = [
    "LARGEST_SIZE",
    "Attributes",
    "Command",
    "as_bytes",
    "capped",
    "check_size",
    "limits_of",
]

_LARGEST_ID = 2**32 - 2
"""The largest uid or gid; the number above it means "leave it as it is" (setresuid(2))."""
LARGEST_SIZE = 65_535
"""The most rows or columns of a window: they are unsigned short (struct winsize, tty_ioctl(4))."""
_LARGEST_DESCRIPTOR = 2**31 - 1
"""The largest descriptor that fits an int of C."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes of the leader's process; None means the host's own value.

    ``uid`` and ``gid`` are given together; ``groups`` are the supplementary groups, none if left
    out. ``umask`` is a file mode; ``limits`` maps the name of a limit without ``RLIMIT_``
    (``"NOFILE"``) to its soft and hard value, -1 for no limit (setrlimit(2)); ``nice`` is -20 to 19
    (setpriority(2)). ``death_signal`` is the name of the signal that the kernel sends to the leader
    if its parent dies (prctl(2), PR_SET_PDEATHSIG); the parent is the keeper, if there is one.
    Without a ``death_signal``, the host or the warden kills the leader when its keeper is lost.

    ``memory_max`` (bytes), ``pids_max`` (processes and threads) and ``cpu_max`` (processors, 1.5
    for example) limit all processes of the session together, and not only the leader: memory.max,
    pids.max and cpu.max of its cgroup (the kernel's cgroup-v2.rst). They need the ``cgroup``
    containment and those controllers; where one is missing, the spawn raises `LimitsUnavailable`.

    If the kernel does not permit the host to set an attribute, the spawn raises `SpawnError` with
    the stage ``"user"`` or ``"limits"``. Raises `InvalidArgument` for an invalid value.
    """

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None
    umask: int | None = None
    limits: Mapping[str, tuple[int, int]] | None = None
    nice: int | None = None
    death_signal: str | None = None
    memory_max: int | None = None
    pids_max: int | None = None
    cpu_max: float | None = None

    def __post_init__(self) -> None:
        if (self.uid is None) != (self.gid is None) or (self.uid is None and self.groups):
            msg = "give a uid and a gid together, and groups only with them"
            raise InvalidArgument(msg)
        groups = None if self.groups is None else _all(self.groups, "groups")
        if groups is None and self.uid is not None:
            groups = ()
        object.__setattr__(self, "groups", groups)
        _check_range("a uid", self.uid, 0, _LARGEST_ID)
        _check_range("a gid", self.gid, 0, _LARGEST_ID)
        for group in groups or ():
            validate.whole("each of the groups", group, 0, _LARGEST_ID)
        _check_range("a umask", self.umask, 0, 0o777)
        _check_range("niceness", self.nice, -20, 19)
        if self.limits is not None:
            object.__setattr__(self, "limits", _limits(self.limits))
        if self.death_signal is not None:
            object.__setattr__(self, "death_signal", validate.signal_name(self.death_signal))
        object.__setattr__(self, "cpu_max", limits_of(self).cpu_max)


def limits_of(attributes: Attributes) -> SessionLimits:
    """Return the limits of the session as a whole."""
    return SessionLimits(attributes.memory_max, attributes.pids_max, attributes.cpu_max)


def capped(attributes: Attributes, caps: SessionLimits) -> Attributes:
    """Return attributes with the caps as limits where they have none. Raises `LimitAboveCap`."""
    if not caps:
        return attributes
    limits = limits_of(attributes).within(caps)
    return dataclasses.replace(attributes, **dataclasses.asdict(limits))


def _all(values: object, name: str) -> tuple[object, ...]:
    """Return the values of a sequence. Raises `InvalidArgument`, also for a str or bytes."""
    if isinstance(values, str | bytes) or not isinstance(values, Collection):
        msg = f"{name} is a sequence, not {values!r}"
        raise InvalidArgument(msg)
    return tuple(values)


def _limits(limits: object) -> dict[str, tuple[int, int]]:
    checked = {}
    for name, pair in validate.mapping("limits", limits).items():
        if f"RLIMIT_{name}" not in vars(resource):
            msg = f"there is no limit {name!r}: give a name such as 'NOFILE'"
            raise InvalidArgument(msg)
        values = _all(pair, f"the limit {name}")
        if len(values) != 2:
            msg = f"the limit {name} is a soft and a hard value, not {pair!r}"
            raise InvalidArgument(msg)
        soft, hard = (validate.whole(f"the limit {name}", each, -1, 2**63 - 1) for each in values)
        checked[str(name)] = soft, hard
    return checked


def _check_range(name: str, number: object, least: int, most: int) -> None:
    if number is not None:
        validate.whole(name, number, least, most)


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """What to spawn: the arguments, environment, working directory, terminal and attributes.

    ``env`` None means the host's environment at the spawn; ``cwd`` None its working directory.
    ``stdin`` is a descriptor of the host; the leader gets a copy of it as descriptor 0, in place of
    the terminal. Raises `InvalidArgument`; only the spawn checks that ``stdin`` is open.
    """

    args: tuple[str, ...]
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    rows: int = 24
    cols: int = 80
    echo: bool = True
    attributes: Attributes = Attributes()
    stdin: int | None = None

    def __post_init__(self) -> None:
        args = self.args
        if (
            isinstance(args, str | bytes)
            or not isinstance(args, Sequence)
            or not all(isinstance(each, str) for each in args)
        ):
            msg = f"a command is a sequence of str, such as ['bash', '-i'], not {args!r}"
            raise InvalidArgument(msg)
        if not args or not args[0]:
            msg = "the command is empty"
            raise InvalidArgument(msg)
        object.__setattr__(self, "args", tuple(args))
        for each in args:
            _check_text(each)
        if self.env is not None:
            object.__setattr__(self, "env", _variables(self.env))
        if self.cwd is not None:
            object.__setattr__(self, "cwd", validate.path("cwd", self.cwd))
            _check_text(self.cwd)
        check_size(self.rows, self.cols)
        validate.true_or_false("echo", self.echo)
        validate.instance("attributes", self.attributes, Attributes)
        if self.stdin is not None:
            validate.whole("stdin", self.stdin, 0, _LARGEST_DESCRIPTOR)


def _variables(env: object) -> dict[str, str]:
    checked = {}
    for name, value in validate.mapping("env", env).items():
        if not isinstance(name, str) or not isinstance(value, str) or not name or "=" in name:
            msg = f"not the name and value of an environment variable: {name!r}: {value!r}"
            raise InvalidArgument(msg)
        _check_text(name)
        _check_text(value)
        checked[name] = value
    return checked


def check_size(rows: object, cols: object) -> None:
    """Raise `InvalidArgument` for an invalid size of a window (struct winsize, tty_ioctl(4))."""
    validate.whole("rows", rows, 1, LARGEST_SIZE)
    validate.whole("cols", cols, 1, LARGEST_SIZE)


def _check_text(text: str) -> None:
    """Raise `InvalidArgument` for a text that can't be an argument, a variable or a path."""
    if "\0" in text:
        msg = f"a NUL byte can't be passed to a program: {text!r}"
        raise InvalidArgument(msg)
    if text.isascii():
        return  # The fast path: nearly all variables are ASCII.
    try:
        as_bytes(text)
    except UnicodeEncodeError:
        msg = f"a lone surrogate stands for no byte, and can't be passed to a program: {text!a}"
        raise InvalidArgument(msg) from None


def as_bytes(text: str) -> bytes:
    """Encode an argument, a variable or a path for the kernel.

    It uses the locale's encoding, as `os.fsencode` does, and UTF-8 for text that this can't encode:
    in the C locale all but ASCII. A surrogate escape becomes its byte again (PEP 383). Raises
    UnicodeEncodeError for any other lone surrogate.
    """
    try:
        return text.encode(sys.getfilesystemencoding(), "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape")
