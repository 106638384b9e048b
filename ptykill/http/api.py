"""The HTTP face without I/O: what a request asks for, and how what came of it is told.

    refusal = api.refuse(request)  # Before its body is received.
    asked = api.read(request)
    if isinstance(asked, Response):
        return asked  # nothing is to be done
    try:
        return api.answer(await perform(supervisor, asked, tokens))
    except Exception as error:
        return api.fail(error)

A path that is unknown is refused first (404), then a `Host` or
`Origin` that is not allowed (403), then a client
without the key (401), then a method that the path does not have (405): nothing about the sessions
can be learned without the key.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec

from ptykill import log
from ptykill.errors import InvalidArgument, InvalidGrace, PtykillError
from ptykill.http import limits, openapi, schema
from ptykill.http.auth import BearerKey, HostRules
from ptykill.http.messages import Headers, Request, Response, error_response, json_response
from ptykill.http.operations import Attach, Get, Kill, List, Operation
from ptykill.rules import validate
from ptykill.rules.verdict import Caveat, Survivor, Verdict

__all__ = ["DEFAULT_PREFIX", "Api", "Result"]

DEFAULT_PREFIX = "/api/v1/pty"
Result = Verdict | schema.SessionRecord | schema.Sessions | schema.Created | None
"""What comes of an operation."""

_SECONDS = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
"""What a grace looks like. Python's float() takes more: nan, inf, 1_0, spaces, other digits."""
_DIGITS = re.compile(r"\d{1,19}", re.ASCII)
_JSON = re.compile(r"application/([\w.-]+\+)?json\s*(;.*)?", re.IGNORECASE | re.ASCII)


class _Resource(NamedTuple):
    """What a path names: a session, or "" for all of them, and what of it."""

    session_id: str
    part: str = ""


class Api:
    """One mount of the API: its key, its prefix, and what it lets clients do.

    The parameters are those of `ptykill.asgi_app`; ``body_limit`` is the longest body in bytes,
    ``program_hosts`` are names that only programs may ask by (`HostRules`).
    Raises `InvalidArgument` and `InvalidGrace`.
    """

    def __init__(  # noqa: PLR0913 - as `ptykill.asgi_app`, by keyword
        self,
        *,
        key: str | None,
        prefix: str = DEFAULT_PREFIX,
        spawning: bool = False,
        token_suffices: bool = False,
        grace_cap: float = 60.0,
        hosts: Sequence[str] | None = None,
        origins: Sequence[str] = (),
        program_hosts: Sequence[str] = (),
        body_limit: int = limits.BODY,
    ) -> None:
        validate.text("prefix", prefix)
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            msg = f"a prefix starts with a slash and does not end with one, unlike {prefix!r}"
            raise InvalidArgument(msg)
        self.prefix = prefix
        self.body_limit = body_limit
        self._key = BearerKey(key)
        self._host_rules = HostRules(hosts, origins, program_hosts)
        self._token_suffices = validate.true_or_false("token_suffices", token_suffices)
        self._grace_cap = validate.grace(grace_cap, "grace_cap")
        self._spawning = validate.true_or_false("spawning", spawning)

    def openapi(self, version: str) -> Response:
        """Return the OpenAPI document of this mount."""
        told = openapi.document(
            self.prefix, version, spawning=self._spawning, grace_cap=self._grace_cap
        )
        return json_response(200, told)

    def refuse(self, request: Request) -> Response | None:
        """Return the answer to a request that is refused whatever its body is; else None.

        Its body, which may not have been received yet, is not looked at.
        """
        resource = self._resource(request.path)
        if resource is None:
            return _NOTHING_HERE
        refusal = self._host_rules.refusal(request) or self._key.refusal(request)
        if refusal is not None:
            return refusal
        allowed = self._methods(resource)
        if request.method not in allowed:
            return error_response(
                405,
                "METHOD_NOT_ALLOWED",
                f"this path takes {' and '.join(allowed)}",
                (b"allow", ", ".join(allowed).encode("ascii")),
            )
        if request.method == "POST" and not _is_json(request):
            return error_response(415, "UNSUPPORTED_MEDIA_TYPE", "a body is application/json")
        length = _length(request)
        return None if length is None or length <= self.body_limit else self.too_long(request)

    def too_long(self, request: Request) -> Response:
        """Answer a request with a body above the limit."""
        if request.method == "POST":
            return self.fail(InvalidArgument(self._limit))
        return error_response(413, "BODY_TOO_LARGE", self._limit)

    def read(self, request: Request) -> Operation | Response:
        """Return what is asked for, or the answer if nothing is to be done. Never raises."""
        refusal = self.refuse(request)
        return self.read_admitted(request) if refusal is None else refusal

    def read_admitted(self, request: Request) -> Operation | Response:
        """As `read`, for a request that `refuse` was asked about already, and did not refuse."""
        if len(request.body) > self.body_limit:
            return self.too_long(request)
        resource = self._resource(request.path)
        assert resource is not None
        try:
            return self._operation(request, resource)
        except InvalidArgument as error:
            return self.fail(error)

    def read_attach(self, request: Request) -> Attach | Response:
        """Return whom a WebSocket is to be attached to, or the answer that refuses it."""
        resource = self._resource(request.path)
        if resource is None or resource.part != "ws":
            return _NOTHING_HERE
        refusal = self._host_rules.refusal(request)
        if refusal is None and not (self._token_suffices and not request.header(b"authorization")):
            refusal = self._key.refusal(request)
        if refusal is not None:
            return refusal
        tokens = [value.decode("latin-1") for value in request.header(b"x-pty-token")]
        tokens += _values(request.query, "token")
        # The header and the query may both have it, as with one of the public clients.
        return Attach(resource.session_id, tokens[0] if len(set(tokens)) == 1 else "")

    def answer(self, result: Result, status: int = 200) -> Response:
        """Tell what came of an operation."""
        match result:
            case Verdict():
                return _answer_kill(result)
            case None:
                return Response(204)
            case schema.Created():
                status = 201
        return json_response(status, msgspec.to_builtins(result))

    def fail(self, error: Exception) -> Response:
        """Tell that an operation failed; the details of a crash go to the log only."""
        if isinstance(error, PtykillError) and error.code != "INTERNAL_ERROR":
            return error_response(error.status, error.code, str(error))
        log.event(logging.ERROR, "http.crashed", exc_info=error)
        return error_response(500, "INTERNAL_ERROR", "something went wrong here; the log has it")

    # --- what is asked for ------------------------------------------------------------------------

    def _resource(self, path: str) -> _Resource | None:
        if path == self.prefix or (not self.prefix and path == "/"):
            return _Resource("")
        if not path.startswith(f"{self.prefix}/"):
            return None
        match path[len(self.prefix) + 1 :].split("/"):
            case [str(name)] if name:
                return _Resource(name)
            case [str(name), ("resize" | "ws") as part] if name:
                return _Resource(name, part)
        return None

    def _methods(self, resource: _Resource) -> tuple[str, ...]:
        match resource:
            case _Resource("", _):
                return ("GET", "POST") if self._spawning else ("GET",)
            case _Resource(_, "resize"):
                return ("POST",)
            case _Resource(_, "ws"):
                return ("GET",)
        return ("GET", "DELETE")

    def _operation(self, request: Request, resource: _Resource) -> Operation | Response:
        if request.method == "POST":
            return self._reading(request, resource)
        match request.method, resource:
            case "DELETE", _:
                return Kill(resource.session_id, self._grace(request.query))
            case _, _Resource("", _):
                after = _number(request.query, "after", 0, sys.maxsize)
                limit = _number(request.query, "limit", 1, schema.MOST_LISTED)
                return List(after or 0, limit or schema.MOST_LISTED)
            case _, _Resource(_, "ws"):
                return error_response(
                    426,
                    "UPGRADE_REQUIRED",
                    "there is a WebSocket here, and nothing else",
                    (b"upgrade", b"websocket"),
                    (b"connection", b"upgrade"),
                )
            case _:
                return Get(resource.session_id)

    def _reading(self, request: Request, resource: _Resource) -> Operation:
        """Read an operation that has a body."""
        if resource.part == "resize":
            return schema.read_resize(request.body, resource.session_id)
        return schema.read_create(request.body)

    @property
    def _limit(self) -> str:
        return f"a body is at most {self.body_limit} bytes"

    def _grace(self, query: str) -> float | None:
        """Return the grace that a query asks for; other parameters are ignored."""
        graces = _values(query, "grace")
        if not graces:
            return None
        if len(graces) > 1:
            msg = "grace is given more than once"
            raise InvalidGrace(msg)
        if not _SECONDS.fullmatch(graces[0]) or not float(graces[0]) <= self._grace_cap:
            msg = f"grace is a number of seconds from 0 to {self._grace_cap:g}"
            raise InvalidGrace(msg)
        return float(graces[0])


def _is_json(request: Request) -> bool:
    kinds = request.header(b"content-type")
    return all(_JSON.fullmatch(kind.decode("latin-1").strip()) for kind in kinds)


def _length(request: Request) -> int | None:
    """Return how long a request says that its body is."""
    for told in request.header(b"content-length"):
        if told.isdigit():
            return int(told[:19])  # int() refuses thousands of digits.
    return None


_NOTHING_HERE = error_response(404, "NOT_FOUND", "there is nothing here")


def _values(query: str, name: str) -> list[str]:
    return [value for each, value in parse_qsl(query, keep_blank_values=True) if each == name]


def _number(query: str, name: str, least: int, most: int) -> int | None:
    """Return the number that a query has by this name. Raises `InvalidArgument`."""
    values = _values(query, name)
    if not values:
        return None
    if len(values) > 1 or not _DIGITS.fullmatch(values[0]) or not least <= int(values[0]) <= most:
        msg = f"{name} is a number from {least} to {most}"
        raise InvalidArgument(msg)
    return int(values[0])


# --- how a kill is told ---------------------------------------------------------------------------

_CODES = (
    ("not permitted", "KILL_NOT_PERMITTED"),
    ("uninterruptible", "KILL_UNINTERRUPTIBLE"),
    ("traces it", "LEADER_TRACED"),
)
"""What `Survivor.why` speaks of, and the code that says so; the first that fits anybody."""


def _answer_kill(verdict: Verdict) -> Response:
    """Answer 204 if, and only if, nothing of the session is left."""
    caveats = _caveats(verdict)
    if verdict.empty:
        parts = (("hup", verdict.grace), ("kill", verdict.kill), ("total", verdict.took))
        timing = ", ".join(f"{name};dur={1000 * seconds:.3f}" for name, seconds in parts)
        return Response(204, ((b"server-timing", timing.encode("ascii")), *caveats))
    survivors = verdict.survivors
    whys = [survivor.why for survivor in survivors]
    codes = (code for words, code in _CODES if any(words in why for why in whys))
    left = "; ".join(map(_told, survivors)) or "what is left of it could not be told"
    unproven = Caveat.UNPROVEN in verdict.caveats and not survivors
    if unproven:
        left = "its keeper was killed, nothing of it is found any more, and nobody can prove it"
    code = next(codes, "SESSION_UNPROVEN" if unproven else "SESSION_NOT_EMPTY")
    return error_response(500, code, f"the session is not over: {left}", *caveats)


def _caveats(verdict: Verdict) -> Headers:
    """Return the header that tells what the verdict can't know, if there is anything."""
    told = ", ".join(sorted(verdict.caveats))
    return ((b"ptykill-caveats", told.encode("ascii")),) if told else ()


def _told(survivor: Survivor) -> str:
    return f"pid {survivor.pid} ({survivor.name}, state {survivor.state}): {survivor.why}"
