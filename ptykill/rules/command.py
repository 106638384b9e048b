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

    If the kernel does not permit the host to set one, the spawn raises `SpawnError` with the stage
    ``"user"`` or ``"limits"``. ``memory_max``, ``pids_max`` and ``cpu_max`` limit all processes of
    the session together (the kernel's cgroup-v2.rst). They need the ``cgroup`` containment and
    those controllers; where one is missing, the spawn raises `LimitsUnavailable`.

    Raises `InvalidArgument` for an invalid value.
    """

    uid: int | None = None
    """The number of its user, given together with ``gid``."""
    gid: int | None = None
    """The number of its group."""
    groups: tuple[int, ...] | None = None
    """The numbers of its supplementary groups; none if left out."""
    umask: int | None = None
    """The bits that are taken from the mode of new files, such as ``0o077`` (umask(2))."""
    limits: Mapping[str, tuple[int, int]] | None = None
    """The soft and the hard value of limits, by their names without ``RLIMIT_``, such as
    ``{"NOFILE": (64, 64)}``; -1 means no limit (setrlimit(2))."""
    nice: int | None = None
    """Its niceness, -20 to 19 (setpriority(2))."""
    death_signal: str | None = None
    """The name of the signal that the kernel sends to it if its parent dies (prctl(2),
    PR_SET_PDEATHSIG); the parent is the keeper, if there is one. Without it, the host or the warden
    kills the leader when its keeper is lost."""
    memory_max: int | None = None
    """The most memory of the session, in bytes: memory.max of its cgroup."""
    pids_max: int | None = None
    """The most processes and threads of the session: pids.max."""
    cpu_max: float | None = None
    """The most processors that the session may use, such as 1.5: cpu.max."""

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
    """What to spawn. Raises `InvalidArgument`."""

    args: tuple[str, ...]
    """The program and its arguments."""
    env: Mapping[str, str] | None = None
    """Its environment; None means the host's at the spawn."""
    cwd: str | None = None
    """Its working directory; None means the host's."""
    rows: int = 24
    """The height of the window, in characters."""
    cols: int = 80
    """The width of the window, in characters."""
    echo: bool = True
    """Whether the terminal echoes input, until a program changes that (termios(3))."""
    attributes: Attributes = Attributes()
    """What the leader has different from the host."""
    stdin: int | None = None
    """A descriptor of the host, of which the leader gets a copy as its descriptor 0, in place of
    the terminal. Only the spawn checks that it is open."""
    terminal: tuple[int, int] | None = None
    """A master and its slave, descriptors of the host, of a terminal that the caller reads and
    types into; None means one that ptykill opens. Only the spawn checks that they are open."""

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
        if self.terminal is not None:
            pair = _all(self.terminal, "terminal")
            if len(pair) != 2:
                msg = f"terminal is a master and its slave, not {pair!r}"
                raise InvalidArgument(msg)
            for descriptor in pair:
                validate.whole("terminal", descriptor, 0, _LARGEST_DESCRIPTOR)
            object.__setattr__(self, "terminal", pair)


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
