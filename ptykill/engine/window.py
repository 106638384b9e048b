"""The window of one session: gives the terminal the size that the rule says, at a bounded pace."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from ptykill.errors import SessionEnded
from ptykill.rules import validate
from ptykill.rules.command import LARGEST_SIZE
from ptykill.rules.protocols import Terminal
from ptykill.rules.terminal_reports import is_typed
from ptykill.rules.window_size import Pace, Size, WindowPolicy, WindowSize

__all__ = ["Viewer", "Window"]

_AT_ONCE: Final = 4
_INTERVAL: Final = 0.05
"""Clients may change the size so many times at once, and then every so many seconds.

A person who drags a window's edge makes each program draw its whole screen for each size.
"""


class Window:
    """The window of one session.

    ``size`` is the size that the terminal has. ``alive`` returns whether there is a terminal;
    ``start_soon`` starts a task. ``on_resize`` is called with each new size.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self,
        terminal: Terminal,
        policy: WindowPolicy,
        size: Size,
        alive: Callable[[], bool],
        start_soon: Callable[..., None],
        on_resize: Callable[[Size], object],
    ) -> None:
        self.size: Size = size
        self._terminal = terminal
        self._rule = WindowSize(policy, size)
        self._alive = alive
        self._start_soon = start_soon
        self._on_resize = on_resize
        self._pace = Pace(_AT_ONCE, _INTERVAL)
        self._late = False
        """Whether a task will give the terminal its size."""

    def resize(self, rows: int, cols: int) -> None:
        """Set the size now, for no client. Raises `InvalidArgument` and `SessionEnded`."""
        size = self._checked(rows, cols)
        self._rule.request(size)
        self._apply()  # Even if it is the same: a program may have changed it (stty(1)).

    def tell(self, viewer: object, rows: int, cols: int) -> None:
        """Note the size of a viewer's own window. Raises `InvalidArgument` and `SessionEnded`."""
        self._rule.tell(viewer, self._checked(rows, cols))
        self._follow()

    def typed(self, viewer: object) -> None:
        """Note that a viewer has typed."""
        self._rule.typed(viewer)
        self._follow_if_alive()

    def leave(self, viewer: object) -> None:
        """Forget a viewer, and let the others decide."""
        self._rule.leave(viewer)
        self._follow_if_alive()

    def _checked(self, rows: int, cols: int) -> Size:
        validate.whole("rows", rows, 0, LARGEST_SIZE)
        validate.whole("cols", cols, 0, LARGEST_SIZE)
        if not self._alive():
            msg = "the session has no terminal any more"
            raise SessionEnded(msg)
        return Size(rows, cols)

    def _follow_if_alive(self) -> None:
        if self._alive():
            with suppress(SessionEnded):
                self._follow()

    def _follow(self) -> None:
        """Give the terminal the size by the rule: now, or soon if it has changed often."""
        if self._rule.size == self.size or self._late:
            return
        wait = self._pace.wait(trio.current_time())
        if wait:
            self._late = True
            self._start_soon(self._follow_later, wait)
        else:
            self._apply()

    async def _follow_later(self, wait: float) -> None:
        await trio.sleep(wait)
        self._late = False
        self._follow_if_alive()

    def _apply(self) -> None:
        self._terminal.resize(*self._rule.size)
        if self.size != self._rule.size:
            self.size = self._rule.size
            self._on_resize(self.size)


class Viewer:
    """What one attachment has to do with its session's window."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._left = False
        self._key = object()  # Not itself: the window would refer to it, and it to the window.

    def tell(self, rows: int, cols: int) -> None:
        """Tell the size of its own window. Raises `InvalidArgument` and `SessionEnded`."""
        if not self._left:
            self._window.tell(self._key, rows, cols)

    def typed(self, data: bytes) -> None:
        """Note that this was typed."""
        if is_typed(data):
            self._window.typed(self._key)

    def leave(self) -> None:
        """Give its size back, and have none from now on. May be called again."""
        self._left = True
        self._window.leave(self._key)
