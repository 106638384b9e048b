"""How one session is run and ended: the supervisor's defaults, and what its spawn changes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TypedDict

from ptykill.engine.signallers import StandardSignaller
from ptykill.errors import InvalidArgument
from ptykill.rules import validate
from ptykill.rules.command import Attributes, capped
from ptykill.rules.deadlines import Deadlines
from ptykill.rules.limits import SessionLimits
from ptykill.rules.options import Options, check_signaller
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.protocols import Signaller
from ptykill.rules.window_size import WindowPolicy

__all__ = ["Settings", "SpawnOptions", "check_open"]


_NO_ATTRIBUTES = Attributes()


class SpawnOptions(TypedDict, total=False):
    """The keyword arguments of `Supervisor.spawn` and `Host.spawn`, to annotate ``**options``."""

    env: Mapping[str, str] | None
    """The environment; None means the host's, without what describes its own terminal."""
    cwd: str | os.PathLike[str] | None
    """The working directory; None means the host's."""
    rows: int
    """The height of the window, in characters: 24."""
    cols: int
    """The width of the window, in characters: 80."""
    echo: bool
    """Whether the terminal echoes input: True."""
    stdin: int | None
    """A descriptor for the program's descriptor 0, in place of the terminal."""
    terminal: tuple[int, int] | None
    """A master and its slave that the caller has opened; None means a terminal of ptykill's."""
    attributes: Attributes | None
    """The user, limits and so on of the leader; None means the host's."""
    plan: Plan | str | None
    """The plan of this session; None means the supervisor's."""
    leftovers: Leftovers | str | None
    """What to do with members when the leader ends by itself; None means the supervisor's."""
    signaller: Signaller | None
    """What delivers the plan's steps; None means the supervisor's."""
    name: str | None
    """A name that no other live session has."""
    labels: Mapping[str, str] | None
    """Labels to find the session by."""
    key: str | None
    """An idempotency key."""
    deadlines: Deadlines | None
    """The deadlines of this session; None means the supervisor's."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one session; ``backlog`` in bytes."""

    plan: Plan
    leftovers: Leftovers
    signaller: Signaller
    backlog: int
    window_size: WindowPolicy
    deadlines: Deadlines
    caps: SessionLimits

    @classmethod
    def defaults(cls, options: Options) -> Settings:
        """Return the settings of a session whose spawn changes none."""
        return cls(
            plan=options.plan,
            leftovers=options.leftovers,
            signaller=options.signaller or StandardSignaller(),
            backlog=options.backlog,
            window_size=options.window_size,
            deadlines=options.deadlines or Deadlines(),
            caps=options.caps,
        )

    def capped(self, attributes: Attributes | None) -> Attributes:
        """Return the attributes of a session, with the caps as its limits where it has none.

        Raises `InvalidArgument`, and `LimitAboveCap` for a limit above its cap.
        """
        asked = _NO_ATTRIBUTES if attributes is None else attributes
        return capped(validate.instance("attributes", asked, Attributes), self.caps)

    def having(
        self,
        *,
        plan: Plan | str | None,
        leftovers: Leftovers | str | None,
        signaller: Signaller | None,
        deadlines: Deadlines | None,
    ) -> Settings:
        """Return these settings with those that are not None in their place.

        Raises `InvalidArgument` and `PlanError`.
        """
        check_signaller(signaller)
        return Settings(
            plan=self.plan if plan is None else Plan.of(plan),
            leftovers=self.leftovers
            if leftovers is None
            else validate.member("leftovers", leftovers, Leftovers),
            signaller=signaller or self.signaller,
            backlog=self.backlog,
            window_size=self.window_size,
            deadlines=self.deadlines
            if deadlines is None
            else validate.instance("deadlines", deadlines, Deadlines),
            caps=self.caps,
        )


def check_open(stdin: int | None, terminal: tuple[int, int] | None) -> None:
    """Raise `InvalidArgument` for descriptors that are not open, or are no terminal."""
    if stdin is not None:
        try:
            os.fstat(stdin)
        except OSError:
            msg = f"stdin is not an open descriptor: {stdin!r}"
            raise InvalidArgument(msg) from None
    if terminal is not None and not all(map(os.isatty, terminal)):
        msg = f"not the open descriptors of a terminal's master and slave: {terminal!r}"
        raise InvalidArgument(msg)
