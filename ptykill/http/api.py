"""The HTTP API without I/O: turns requests into operations, and results into responses.

    refusal = api.refuse(request)  # Before its body is received.
    asked = api.read(request)
    if isinstance(asked, Response):
        return asked  # There is no operation to carry out.
    try:
        return api.answer(await perform(supervisor, asked, tokens))
    except Exception as error:
        return api.fail(error)

The checks have an order: an unknown path (404), a `Host` or `Origin` that is not allowed (403), a
missing or wrong key (401), a method that the path does not have (405). So a client without the key
learns nothing about the sessions.
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
"""The result of an operation."""

_SECONDS = re.compile(r"(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
"""The syntax of a grace. Python's float() takes more: nan, inf, 1_0, spaces, other digits."""
_DIGITS = re.compile(r"\d{1,19}", re.ASCII)
_JSON = re.compile(r"application/([\w.-]+\+)?json\s*(;.*)?", re.IGNORECASE | re.ASCII)


class _Resource(NamedTuple):
    """What a path names: a session, "" for all of them, and a part of it (``resize``, ``ws``)."""

    session_id: str
    part: str = ""


class Api:
    """Reads the requests to one mount of the API, and makes their responses.

    The parameters are those of `ptykill.asgi_app`; ``body_limit`` is the longest body in bytes,
    ``program_hosts`` are hosts that only programs, not browsers, may name (`HostRules`).
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
        document = openapi.document(
            self.prefix, version, spawning=self._spawning, grace_cap=self._grace_cap
        )
        return json_response(200, document)

    def refuse(self, request: Request) -> Response | None:
        """Return the response to a request that is refused whatever its body is; else None.

        This does not read the body, which may not have been received yet.
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
        """Return the response to a request with a body above the limit."""
        if request.method == "POST":
            return self.fail(InvalidArgument(self._limit))
        return error_response(413, "BODY_TOO_LARGE", self._limit)

    def read(self, request: Request) -> Operation | Response:
        """Return the operation that a request asks for, or the response that refuses it.

        Never raises.
        """
        refusal = self.refuse(request)
        return self.read_admitted(request) if refusal is None else refusal

    def read_admitted(self, request: Request) -> Operation | Response:
        """Do as `read`, for a request for which `refuse` has returned None already."""
        if len(request.body) > self.body_limit:
            return self.too_long(request)
        resource = self._resource(request.path)
        assert resource is not None
        try:
            return self._operation(request, resource)
        except InvalidArgument as error:
            return self.fail(error)

    def read_attach(self, request: Request) -> Attach | Response:
        """Return the attach that a WebSocket asks for, or the response that refuses it."""
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
        # A client may send the token in the header and in the query: one of the public ones does.
        return Attach(resource.session_id, tokens[0] if len(set(tokens)) == 1 else "")

    def answer(self, result: Result) -> Response:
        """Return the response for the result of an operation."""
        match result:
            case Verdict():
                return _answer_kill(result)
            case None:
                return Response(204)
        status = 201 if isinstance(result, schema.Created) else 200
        return json_response(status, msgspec.to_builtins(result))

    def fail(self, error: Exception) -> Response:
        """Return the response for a failed operation; the details of a crash go to the log only."""
        if isinstance(error, PtykillError) and error.code != "INTERNAL_ERROR":
            return error_response(error.status, error.code, str(error))
        log.event(logging.ERROR, "http.crashed", exc_info=error)
        return error_response(500, "INTERNAL_ERROR", "an internal error: see the server's log")

    # --- reading requests -------------------------------------------------------------------------

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
                    "this path takes WebSockets only",
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
        """Return the grace in a query, None if there is none; ignore other parameters."""
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
    """Return the length of the body that ``Content-Length`` gives, None without that header."""
    for value in request.header(b"content-length"):
        if value.isdigit():
            return int(value[:19])  # int() refuses thousands of digits.
    return None


_NOTHING_HERE = error_response(404, "NOT_FOUND", "there is no such path")


def _values(query: str, name: str) -> list[str]:
    return [value for each, value in parse_qsl(query, keep_blank_values=True) if each == name]


def _number(query: str, name: str, least: int, most: int) -> int | None:
    """Return the number in a query's parameter, None if there is none. Raises `InvalidArgument`."""
    values = _values(query, name)
    if not values:
        return None
    if len(values) > 1 or not _DIGITS.fullmatch(values[0]) or not least <= int(values[0]) <= most:
        msg = f"{name} is a number from {least} to {most}"
        raise InvalidArgument(msg)
    return int(values[0])


# --- the response to a kill -----------------------------------------------------------------------

_CODES = (
    ("not permitted", "KILL_NOT_PERMITTED"),
    ("uninterruptible", "KILL_UNINTERRUPTIBLE"),
    ("traces it", "LEADER_TRACED"),
)
"""Words in `Survivor.why`, and their error code; the first that fits any survivor is taken."""


def _answer_kill(verdict: Verdict) -> Response:
    """Answer 204 if, and only if, no process of the session is left."""
    caveats = _caveats(verdict)
    if verdict.empty:
        parts = (("hup", verdict.grace), ("kill", verdict.kill), ("total", verdict.took))
        timing = ", ".join(f"{name};dur={1000 * seconds:.3f}" for name, seconds in parts)
        return Response(204, ((b"server-timing", timing.encode("ascii")), *caveats))
    survivors = verdict.survivors
    whys = [survivor.why for survivor in survivors]
    codes = (code for words, code in _CODES if any(words in why for why in whys))
    left = "; ".join(map(_description, survivors)) or "its processes could not be listed"
    unproven = Caveat.UNPROVEN in verdict.caveats and not survivors
    if unproven:
        left = "its keeper was killed; no process of it is found, but its end can't be proved"
    code = next(codes, "SESSION_UNPROVEN" if unproven else "SESSION_NOT_EMPTY")
    return error_response(500, code, f"the session is not over: {left}", *caveats)


def _caveats(verdict: Verdict) -> Headers:
    """Return the header that lists the verdict's caveats, if it has any."""
    caveats = ", ".join(sorted(verdict.caveats))
    return ((b"ptykill-caveats", caveats.encode("ascii")),) if caveats else ()


def _description(survivor: Survivor) -> str:
    return f"pid {survivor.pid} ({survivor.name}, state {survivor.state}): {survivor.why}"
