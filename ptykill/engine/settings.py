"""How one session is run and ended: the supervisor's defaults, and what its spawn changes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TypedDict

from ptykill.engine.signallers import StandardSignaller
from ptykill.rules import validate
from ptykill.rules.command import Attributes
from ptykill.rules.options import Options, check_signaller
from ptykill.rules.plan import Leftovers, Plan
from ptykill.rules.protocols import Signaller

__all__ = ["Settings", "SpawnOptions"]


class SpawnOptions(TypedDict, total=False):
    """The keyword arguments of `Supervisor.spawn` and `Host.spawn`, to annotate ``**options``."""

    env: Mapping[str, str] | None
    cwd: str | os.PathLike[str] | None
    rows: int
    cols: int
    echo: bool
    stdin: int | None
    attributes: Attributes | None
    plan: Plan | str | None
    leftovers: Leftovers | str | None
    signaller: Signaller | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one session; ``backlog`` in bytes."""

    plan: Plan
    leftovers: Leftovers
    signaller: Signaller
    backlog: int

    @classmethod
    def defaults(cls, options: Options) -> Settings:
        """Return the settings of a session whose spawn changes none."""
        return cls(
            plan=options.plan,
            leftovers=options.leftovers,
            signaller=options.signaller or StandardSignaller(),
            backlog=options.backlog,
        )

    def having(
        self,
        *,
        plan: Plan | str | None,
        leftovers: Leftovers | str | None,
        signaller: Signaller | None,
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
        )
