"""The host's side of a birth: tell an embryo what to become, and hear how it went."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from ptykill.command import Command
from ptykill.errors import SpawnError
from ptykill.kernel.birth import STAGES, Order, packed

__all__ = ["Stillborn", "bear"]

_PATIENCE = 60.0
"""Seconds that a birth may take: an exec can wait for a slow file system."""


class Stillborn(SpawnError):
    """The embryo died before it had become anything, so that another one may be tried."""


async def bear(embryo: socket.socket, command: Command, terminal: int, death_signal: str) -> None:
    """Have an embryo become a session's leader on a terminal. Raises `SpawnError`.

    ``death_signal`` is the name of what the leader gets when its parent dies, unless the command
    says otherwise; "" for none. Waits until the exec is done.
    """
    said = b""
    with trio.move_on_after(_PATIENCE) as patience, _working_directory(command) as here:
        try:
            await _send(embryo, packed(order(command, death_signal)), [terminal, here])
            while more := await _receive(embryo):
                said += more
        except OSError:  # It has died.
            pass
    if said == b"ready " and not patience.cancelled_caught:
        return
    words = said.decode().split()
    if patience.cancelled_caught:
        raise SpawnError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT), "exec", command.args[0])
    if len(words) < 2 or words[-2] not in STAGES:
        kind = SpawnError if words else Stillborn
        raise kind(errno.EIO, "the embryo died on its way", "exec", command.args[0])
    number = int(words[-1])
    name = command.cwd or "" if words[-2] == "chdir" else command.args[0]
    raise SpawnError(number, os.strerror(number), words[-2], name)


def order(command: Command, death_signal: str) -> Order:
    """Return what an embryo is told of a command."""
    attributes = command.attributes
    name = death_signal if attributes.death_signal is None else attributes.death_signal
    return {
        "args": [os.fsencode(each) for each in command.args],
        "env": {os.fsencode(name): os.fsencode(value) for name, value in command.env.items()},
        "cwd": None if command.cwd is None else os.fsencode(command.cwd),
        "uid": attributes.uid,
        "gid": attributes.gid,
        "groups": attributes.groups,
        "umask": attributes.umask,
        "limits": attributes.limits and dict(attributes.limits),
        "nice": attributes.nice,
        "death_signal": int(signal.Signals[f"SIG{name}"]) if name else None,
    }


@contextmanager
def _working_directory(command: Command) -> Iterator[int]:
    """Hold the host's working directory, from which the embryo starts."""
    try:
        here = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    except OSError as error:
        number = error.errno or errno.EIO
        raise SpawnError(number, os.strerror(number), "exec", command.args[0]) from error
    try:
        yield here
    finally:
        os.close(here)


async def _send(embryo: socket.socket, data: bytes, fds: list[int]) -> None:
    sent = 0
    while sent < len(data):
        try:
            rest = memoryview(data)[sent:]
            sent += embryo.send(rest) if sent else socket.send_fds(embryo, [rest], fds)
        except BlockingIOError:
            await trio.lowlevel.wait_writable(embryo)


async def _receive(embryo: socket.socket) -> bytes:
    while True:
        await trio.lowlevel.wait_readable(embryo)
        try:
            return embryo.recv(256)
        except BlockingIOError:
            continue
