"""The terminals of a tier's sessions. One is opened before anybody asks: a tenth of a spawn."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from ptykill.errors import SessionEnded, SpawnError
from ptykill.rules.command import Command
from ptykill.system.pty.terminal import PtyTerminal

__all__ = ["Terminals"]


class Terminals:
    """Opens them, and has a spare one."""

    def __init__(self) -> None:
        self._spare: PtyTerminal | None = None
        self._owner = -1

    def take(self, command: Command) -> PtyTerminal:
        """Return a terminal as that command wants it. Raises `SpawnError`, if there is none."""
        terminal, self._spare = self._spare, None
        if terminal is not None and self._owner != os.geteuid():
            # It belongs to whom we were, and a leader opens it anew, as whom we are.
            terminal.hang_up()
        if terminal is None or not terminal.open:
            terminal = PtyTerminal.create()
        try:
            terminal.resize(command.rows, command.cols)
            if not command.echo:
                terminal.be_silent()
            if command.attributes.uid is not None:
                terminal.give_to(command.attributes.uid)
        except (SessionEnded, OSError) as error:
            terminal.hang_up()
            cause = error if isinstance(error, OSError) else error.__cause__
            number = getattr(cause, "errno", None) or errno.EIO
            raise SpawnError(number, os.strerror(number), "terminal", "/dev/ptmx") from error
        except BaseException:
            terminal.hang_up()
            raise
        return terminal

    def prepare(self) -> None:
        """Have a spare one, if it is to be had."""
        if self._spare is None:
            self._owner = os.geteuid()
            with suppress(SpawnError):
                self._spare = PtyTerminal.create()

    def close(self) -> None:
        """Give the spare one back."""
        if self._spare is not None:
            self._spare.hang_up()
            self._spare = None
