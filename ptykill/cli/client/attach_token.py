"""Finds a token by which to attach: the one given, one remembered, or a new one of the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from ptykill.cli.client import tokens
from ptykill.cli.client.daemon_client import DaemonClient, DaemonError
from ptykill.cli.client.messages import printable

__all__ = ["with_token"]

T = TypeVar("T")


async def with_token(
    daemon: DaemonClient,
    session_id: str,
    given: str | None,
    use: Callable[[str], Awaitable[T]],
    *,
    read_only: bool,
) -> T:
    """Call a function with a token, and with a new one if the daemon refuses one remembered.

    Raises `DaemonError`.
    """
    known = given or tokens.find(session_id, read_only=read_only)
    if known is not None:
        try:
            return await use(known)
        except DaemonError as error:
            if given or error.code != "INVALID_TOKEN":
                raise
    return await use(await _new_token(daemon, session_id, read_only=read_only))


async def _new_token(daemon: DaemonClient, session_id: str, *, read_only: bool) -> str:
    """Have the daemon issue a token, which it does for the key, and remember it."""
    try:
        token = await daemon.issue_token(session_id, "read" if read_only else "write")
    except DaemonError as error:
        if error.code != "NOT_FOUND":
            raise
        msg = f"the token of {printable(session_id)} is not remembered here: give --token"
        raise DaemonError(msg) from None  # An older daemon issues none.
    with suppress(OSError):
        tokens.remember(session_id, token, read_only=read_only)
    return token
