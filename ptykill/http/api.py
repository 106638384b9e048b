"""The HTTP face without I/O: what a request asks for, and how what came of it is told.

    asked = api.read(request)
    if isinstance(asked, Response):
        return asked  # nothing is to be done
    try:
        return api.answer(asked, await perform(supervisor, asked, tokens))
    except Exception as error:
        return api.fail(error)

A path that is unknown is refused first (404), then a client without the key (401), then a method
that the path does not have (405): nothing about the sessions can be learned without the key.
"""

from __future__ import annotations

import importlib
import logging
import re
from types import ModuleType
from typing import assert_never, cast
from urllib.parse import parse_qsl

from ptykill import log
from ptykill.errors import InvalidArgument, InvalidGrace, PtykillError
from ptykill.http.auth import Bearer
from ptykill.http.messages import Request, Response, error_response, json_response
from ptykill.http.operations import (
    Create,
    Created,
    Get,
    Kill,
    List,
    Operation,
    Result,
    SessionRecord,
)
from ptykill.plan import checked_grace
from ptykill.verdict import Survivor, Verdict

__all__ = ["DEFAULT_PREFIX", "Api"]

DEFAULT_PREFIX = "/api/v1/pty"

_SECONDS = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
"""What a grace looks like. Python's float() takes more: nan, inf, 1_0, spaces, other digits."""


class Api:
    """One mount of the API: its key, its prefix, and what it lets clients do.

    ``key`` None means that the host authenticates by itself. ``prefix`` is the path of the list;
    it starts with a slash and does not end with one, or is empty. ``spawning`` adds the create,
    which needs the extra ``http``. ``grace_cap`` is the longest ``?grace=`` in seconds;
    ``body_limit`` the longest body in bytes. Raises `InvalidArgument` and `InvalidGrace`.
    """

    def __init__(
        self,
        *,
        key: str | None,
        prefix: str = DEFAULT_PREFIX,
        spawning: bool = False,
        grace_cap: float = 60.0,
        body_limit: int = 1 << 20,
    ) -> None:
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            msg = f"a prefix starts with a slash and does not end with one, unlike {prefix!r}"
            raise InvalidArgument(msg)
        self.prefix = prefix
        self.body_limit = body_limit
        self._bearer = Bearer(key)
        self._grace_cap = checked_grace(grace_cap)
        self._spawning = spawning
        if spawning:
            _create_module()  # Missing now is better than missing at the first request.

    def read(self, request: Request) -> Operation | Response:
        """Return what is asked for, or the answer if nothing is to be done. Never raises."""
        session_id = self._session_id(request.path)
        if session_id is None:
            return error_response(404, "NOT_FOUND", "there is nothing here")
        if not self._bearer.admits(request):
            return error_response(
                401, "UNAUTHORIZED", "the key is missing or wrong", (b"www-authenticate", b"Bearer")
            )
        allowed = self._methods(session_id)
        if request.method not in allowed:
            return error_response(
                405,
                "METHOD_NOT_ALLOWED",
                f"this path takes {' and '.join(allowed)}",
                (b"allow", ", ".join(allowed).encode("ascii")),
            )
        try:
            return self._operation(request, session_id)
        except InvalidArgument as error:
            return self.fail(error)

    def answer(self, operation: Operation, result: Result) -> Response:
        """Tell what came of an operation."""
        match operation:
            case Kill():
                return _answer_kill(cast(Verdict, result))
            case Get():
                return json_response(200, cast(SessionRecord, result))
            case List():
                return json_response(200, {"sessions": cast(list[SessionRecord], result)})
            case Create():
                created = cast(Created, result)
                return json_response(
                    201, {"session_id": created.session_id, "token": created.token}
                )
        assert_never(operation)

    def fail(self, error: Exception) -> Response:
        """Tell that an operation failed; the details of a crash go to the log only."""
        if isinstance(error, PtykillError) and error.code != "INTERNAL_ERROR":
            return error_response(error.status, error.code, str(error))
        log.event(logging.ERROR, "http.crashed", exc_info=error)
        return error_response(500, "INTERNAL_ERROR", "something went wrong here; the log has it")

    # --- what is asked for ------------------------------------------------------------------------

    def _session_id(self, path: str) -> str | None:
        """Return the session that a path names, "" for the list of all, None for no such path."""
        if path == self.prefix or (not self.prefix and path == "/"):
            return ""
        folder, slash, name = path.rpartition("/")
        return name if slash and name and folder == self.prefix else None

    def _methods(self, session_id: str) -> tuple[str, ...]:
        if session_id:
            return ("GET", "DELETE")
        return ("GET", "POST") if self._spawning else ("GET",)

    def _operation(self, request: Request, session_id: str) -> Operation | Response:
        # A create is refused as the contract has it; nothing else has any use for a body.
        long = len(request.body) > self.body_limit
        limit = f"a body is at most {self.body_limit} bytes"
        match request.method, session_id:
            case "POST", "":
                if long:
                    raise InvalidArgument(limit)
                return cast(Create, _create_module().read_create(request.body))
            case _ if long:
                return error_response(413, "BODY_TOO_LARGE", limit)
            case "DELETE", _:
                return Kill(session_id, self._grace(request.query))
            case _, "":
                return List()
            case _:
                return Get(session_id)

    def _grace(self, query: str) -> float | None:
        """Return the grace that a query asks for; other parameters are ignored."""
        graces = [value for name, value in parse_qsl(query, True) if name == "grace"]  # noqa: FBT003
        if not graces:
            return None
        if len(graces) > 1:
            msg = "grace is given more than once"
            raise InvalidGrace(msg)
        if not _SECONDS.fullmatch(graces[0]) or not float(graces[0]) <= self._grace_cap:
            msg = f"grace is a number of seconds from 0 to {self._grace_cap:g}"
            raise InvalidGrace(msg)
        return float(graces[0])


def _create_module() -> ModuleType:
    """Import what reads the body of a create: only this needs msgspec."""
    try:
        return importlib.import_module("ptykill.http.create")
    except ModuleNotFoundError as error:
        if error.name != "msgspec":
            raise
        msg = "spawning over HTTP needs msgspec: install ptykill[http]"
        raise ModuleNotFoundError(msg, name=error.name) from None


# --- how a kill is told ---------------------------------------------------------------------------

_CODES = (
    ("not permitted", "KILL_NOT_PERMITTED"),
    ("uninterruptible", "KILL_UNINTERRUPTIBLE"),
    ("traces it", "LEADER_TRACED"),
)
"""What `Survivor.why` speaks of, and the code that says so; the first that fits anybody."""


def _answer_kill(verdict: Verdict) -> Response:
    """Answer 204 if, and only if, nothing of the session is left."""
    if verdict.empty:
        parts = (("hup", verdict.grace), ("kill", verdict.kill), ("total", verdict.took))
        timing = ", ".join(f"{name};dur={1000 * seconds:.3f}" for name, seconds in parts)
        return Response(204, ((b"server-timing", timing.encode("ascii")),))
    survivors = verdict.survivors
    whys = [survivor.why for survivor in survivors]
    codes = (code for words, code in _CODES if any(words in why for why in whys))
    left = "; ".join(map(_told, survivors)) or "what is left of it could not be told"
    return error_response(500, next(codes, "SESSION_NOT_EMPTY"), f"the session is not over: {left}")


def _told(survivor: Survivor) -> str:
    return f"pid {survivor.pid} ({survivor.name}, state {survivor.state}): {survivor.why}"
