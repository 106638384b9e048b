"""Records which call of a `Host` made a session or an attachment.

A caller in another thread may be cancelled before it gets the session that it asked for. `Host`
then ends that session. But a call may also return an older session, which other callers use, and
which must live on. So each session and attachment has the call in which it was made.

A spawn that is repeated with its idempotency key gets the same session. Then several calls have a
claim to it, and it is not ended while one of them is left.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

__all__ = ["Caller", "claim", "claimed", "current_call", "if_undelivered", "made_in", "release"]


class Caller:
    """Identifies a call, and knows how its result is given back if no caller gets it."""

    def __init__(self) -> None:
        self._result: object = None
        self._give_back: Callable[[], object] | None = None

    def note(self, result: object, give_back: Callable[[], object]) -> None:
        """Note how a result is given back."""
        self._result, self._give_back = result, give_back

    def give_back(self, result: object) -> None:
        """Give a result back, if it is the one that was noted last."""
        noted, self._result = self._result, None
        give_back, self._give_back = self._give_back, None
        if give_back is not None and noted is result:
            give_back()


current_call: ContextVar[object] = ContextVar("current_call", default=None)
"""The call of a `Host` in which this code runs; None if it runs in no such call."""
_MOST = 64
"""Claims that are recorded: a program may make sure of its session every second, for years."""
_FOREVER = object()


def if_undelivered(result: object, give_back: Callable[[], object]) -> None:
    """Have ``give_back`` called if the caller of this call leaves before it gets this result.

    That is output: it was taken for a caller that never sees it.
    """
    call = current_call.get()
    if isinstance(call, Caller):
        call.note(result, give_back)


def made_in(thing: object, call: object) -> bool:
    """Return whether a `Session` or an `Attachment` was made in this call, or claimed by it."""
    return any(each is call for each in _claims(thing))


def claim(thing: object) -> None:
    """Add a claim of the current call; of very many, one is left that nobody releases."""
    claims = _claims(thing)
    claims.append(current_call.get())
    if len(claims) > _MOST:
        claims[:] = [_FOREVER]


def claimed(thing: object) -> bool:
    """Return whether a call has a claim to a session."""
    return bool(_claims(thing))


def release(thing: object, call: object) -> bool:
    """Remove one claim of a call; return whether no claim is left."""
    claims = _claims(thing)
    for number, each in enumerate(claims):
        if each is call:
            del claims[number]
            break
    return not claims


def _claims(thing: object) -> list[object]:
    claims: list[object] = getattr(thing, "_claims", [])
    return claims
