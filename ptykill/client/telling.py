"""What a person is told, on standard error, in one sentence."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import NoReturn

import click

__all__ = ["fail", "printable", "say"]


def say(sentence: str) -> None:
    """Tell one sentence; where standard error can't be written, nothing is told."""
    with suppress(OSError):
        click.echo(f"ptykill: {printable(sentence)}", err=True)


def fail(sentence: str, status: int = 1) -> NoReturn:
    """Tell one sentence, and exit with a status."""
    say(sentence)
    sys.exit(status)


def printable(text: str) -> str:
    """Return text without what a terminal would act upon: a command line may hold anything."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )
