"""The terminal that is opened before anybody asks for it."""

from __future__ import annotations

import errno
import os
import select
import termios
from typing import NoReturn

import pytest
import trio

from ptykill import SpawnError
from ptykill.rules.command import Command
from ptykill.system.pty.terminal import PtyTerminal
from ptykill.system.pty.terminals import Terminals
from tests.real.hosts import open_descriptors


async def test_it_is_as_the_command_wants_it() -> None:
    """Whether it was there before or not."""
    terminals = Terminals()
    for prepared in True, True, False:
        if prepared:
            terminals.prepare()
        before = open_descriptors()
        terminal = terminals.take(Command(("x",), rows=7, cols=33, echo=False))
        assert open_descriptors() - before == (0 if prepared else 2)
        assert os.get_terminal_size(terminal.slave) == (33, 7)
        assert not termios.tcgetattr(terminal.slave)[3] & termios.ECHO
        other = terminals.take(Command(("x",)))
        assert os.get_terminal_size(other.slave) == (80, 24)
        assert termios.tcgetattr(other.slave)[3] & termios.ECHO
        terminal.hang_up()
        other.hang_up()
    terminals.close()


async def test_it_is_given_back() -> None:
    """One is held, however often it is prepared, and none when all is over."""
    before = open_descriptors()
    terminals = Terminals()
    for _ in range(3):
        terminals.prepare()
    assert open_descriptors() == before + 2
    terminals.close()
    assert open_descriptors() == before


async def test_there_may_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is told when it is asked for, not before."""

    def refuse() -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    terminals = Terminals()
    monkeypatch.setattr(os, "openpty", refuse)
    terminals.prepare()
    with pytest.raises(SpawnError) as caught:
        terminals.take(Command(("x",)))
    assert caught.value.errno == errno.EMFILE
    terminals.close()


async def test_a_terminal_that_nobody_types_at() -> None:
    """Every reader of a line finds the end, after a flush too; a reader of keys finds nothing."""
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
