"""Terminals: size, echo, errors, and the end of input."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import termios
from typing import NoReturn

import pytest
import trio

from ptykill import SpawnError
from ptykill.rules.command import Command
from ptykill.system.pty.terminal import PtyTerminal, open_terminal
from tests.real.hosts import open_descriptors


async def test_it_is_as_the_command_wants_it() -> None:
    """A terminal has the command's size and echo."""
    terminal = open_terminal(Command(("x",), rows=7, cols=33, echo=False))
    assert os.get_terminal_size(terminal.slave) == (33, 7)
    assert not termios.tcgetattr(terminal.slave)[3] & termios.ECHO
    other = open_terminal(Command(("x",)))
    assert os.get_terminal_size(other.slave) == (80, 24)
    assert termios.tcgetattr(other.slave)[3] & termios.ECHO
    terminal.hang_up()
    other.hang_up()


async def test_there_may_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """If no terminal can be opened, the error has the errno and the stage `terminal`."""

    def refuse() -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "openpty", refuse)
    with pytest.raises(SpawnError) as caught:
        open_terminal(Command(("x",)))
    assert (caught.value.errno, caught.value.stage) == (errno.EMFILE, "terminal")


EIO = OSError(errno.EIO, os.strerror(errno.EIO))
REFUSED: list[tuple[object, str, BaseException]] = [
    (os, "set_blocking", EIO),
    (termios, "tcgetattr", termios.error(*EIO.args)),  # It is no OSError.
    (fcntl, "ioctl", EIO),  # its size
    (os, "set_blocking", KeyboardInterrupt()),
    (fcntl, "ioctl", KeyboardInterrupt()),
]


@pytest.mark.parametrize(
    ("module", "name", "refusal"),
    REFUSED,
    ids=["blocking", "modes", "size", "interrupted at first", "interrupted"],
)
async def test_one_that_can_not_be_set_up_is_closed(
    monkeypatch: pytest.MonkeyPatch, module: object, name: str, refusal: BaseException
) -> None:
    """If a terminal can't be set up, both its ends are closed."""

    def refuse(*_: object) -> NoReturn:
        raise refusal

    interrupted = isinstance(refusal, KeyboardInterrupt)
    before = open_descriptors()
    monkeypatch.setattr(module, name, refuse)
    with pytest.raises(KeyboardInterrupt if interrupted else SpawnError) as caught:
        open_terminal(Command(("x",)))
    if isinstance(caught.value, SpawnError):
        assert (caught.value.errno, caught.value.stage) == (errno.EIO, "terminal")
    assert open_descriptors() == before


async def test_a_terminal_that_nobody_types_at() -> None:
    """Each reader of a line gets the end of input, also after a flush; raw mode has none."""
    terminal = PtyTerminal.create()

    async def read() -> bytes:
        return await trio.to_thread.run_sync(os.read, terminal.slave, 100, abandon_on_cancel=True)

    lines = termios.tcgetattr(terminal.slave)
    keys = [*lines[:3], lines[3] & ~(termios.ICANON | termios.ECHO), *lines[4:]]
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(terminal.keep_at_end)
            with trio.fail_after(30):
                assert [await read(), await read()] == [b"", b""]
                termios.tcsetattr(terminal.slave, termios.TCSAFLUSH, keys)
                await trio.sleep(0.3)
                assert not select.select([terminal.slave], [], [], 0)[0]
                termios.tcsetattr(terminal.slave, termios.TCSAFLUSH, lines)
                assert await read() == b""
                os.write(terminal.master, b"a line\n")
                assert b"a line\n" in (await read(), await read())
                assert await read() == b""
            nursery.cancel_scope.cancel()
    finally:
        terminal.hang_up()
