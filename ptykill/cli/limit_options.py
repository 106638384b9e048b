"""The options of the command line that limit sessions as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["limit_options"]

F = TypeVar("F", bound=Callable[..., Any])

_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class _Size(click.ParamType[int]):
    """A number of bytes: ``536870912``, ``512M``, ``1.5G``. K is 1024 bytes, as for systemd."""

    name = "size"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        """Return the number of bytes."""
        if isinstance(value, int) and not isinstance(value, bool):
            return value  # In a file it may be a number.
        found = _SIZE.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is not a size such as 512M or 1.5G", param, ctx)
        return int(float(found[1]) * 1024 ** _POWERS[found[2].upper()])


def limit_options(function: F) -> F:
    """Add the options that limit the memory, processes and processors of a session."""
    memory = click.option(
        "--memory-max",
        type=_Size(),
        metavar="SIZE",
        help="The most memory of a session: bytes, or with K, M, G or T.",
    )
    pids = click.option(
        "--pids-max", type=int, metavar="N", help="The most processes and threads of a session."
    )
    cpu = click.option(
        "--cpu-max",
        type=float,
        metavar="CPUS",
        help="The most processors that a session may use, such as 1.5.",
    )
    return memory(pids(cpu(function)))
