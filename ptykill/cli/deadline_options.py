"""The options ``--lifetime``, ``--idle`` and ``--detached`` of ``serve``, ``new`` and ``run``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from ptykill.errors import InvalidDeadline
from ptykill.rules.deadlines import Deadlines

__all__ = ["deadline_options"]

F = TypeVar("F", bound=Callable[..., Any])

_HELP = {
    "lifetime": "End a session so many seconds after its start.",
    "idle": "End a session after so many seconds without input, output and processor time.",
    "detached": "End a session after so many seconds without an attached client.",
}


def deadline_options(*names: str, note: str = "") -> Callable[[F], F]:
    """Add options of those names to a command, which gets them together, as ``deadlines``.

    ``note`` is added to the help of each.
    """

    def add(command: F) -> F:
        @functools.wraps(command)
        def function(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - the command's own
            given = {name: options.pop(name) for name in names}
            return command(*args, deadlines=Deadlines(**given), **options)

        for name in reversed(names):
            function = click.option(
                f"--{name}",
                type=float,
                callback=_checked,
                metavar="SECONDS",
                help=_HELP[name] + note,
            )(function)
        return cast(F, function)

    return add


def _checked(_: click.Context, parameter: click.Parameter, seconds: float | None) -> float | None:
    try:
        Deadlines(**{str(parameter.name): seconds})
    except InvalidDeadline as error:
        raise click.BadParameter(str(error)) from None
    return seconds
