"""Keeps the names of live sessions unique."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ptykill.errors import NameTaken

__all__ = ["Names"]


class Names:
    """The names of the live sessions of one supervisor, and of those that are being spawned."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    @contextmanager
    def reserved(self, name: str | None) -> Iterator[None]:
        """Take a name; free it again if the block raises. Raises `NameTaken`."""
        if name is None:
            yield
            return
        if name in self._taken:
            raise NameTaken(name)
        self._taken.add(name)
        try:
            yield
        except BaseException:
            self.free(name)
            raise

    def free(self, name: str | None) -> None:
        """Free the name of a session that has ended."""
        if name is not None:
            self._taken.discard(name)
