"""The terminal that is opened before anybody asks for it."""

from __future__ import annotations

import errno
import os
import termios
from typing import NoReturn

import pytest

from ptykill import SpawnError
from ptykill.command import Command
from ptykill.pty.terminals import Terminals
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
