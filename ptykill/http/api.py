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

import msgspec

from ptykill import log
from ptykill.errors import InvalidArgument, PtykillError
from ptykill.http import (
    limits,
    openapi,
    process_schema,
    query,
    schema,
    session_record,
    token_bodies,
)
from ptykill.http.auth import BearerKey, HostRules
from ptykill.http.kill_answers import answer_kill, answer_kills
from ptykill.http.messages import (
    Login,
    PageRequest,
    Request,
    Response,
    error_response,
    json_response,
)
from ptykill.http.operations import (
    Attach,
    Events,
    Get,
    Interrupt,
    Kill,
    KillMatching,
    List,
    ListProcesses,
    Operation,
    RevokeToken,
)
from ptykill.rules import validate
from ptykill.rules.verdict import Verdict

__all__ = ["DEFAULT_PREFIX", "NO_STREAM", "Api", "Result"]

DEFAULT_PREFIX = "/api/v1/pty"
Result = (
    Verdict
    | tuple[Verdict, ...]
    | session_record.SessionRecord
    | session_record.Sessions
    | schema.Created
    | process_schema.Processes
    | process_schema.Reached
    | token_bodies.IssuedToken
    | token_bodies.IssuedTicket
    | None
)
"""The result of an operation."""

_JSON = re.compile(r"application/([\w.-]+\+)?json\s*(;.*)?", re.IGNORECASE | re.ASCII)


_PARTS = ("resize", "deadlines", "ws", "processes", "signal", "interrupt", "tokens", "tickets")
"""The last words of paths below a session's."""


class _Resource(NamedTuple):
    """What a path names: a session, "" for all, and a part (``resize``, ``ws``, ``events``).

    ``item`` is one of those that the part has: a token's id.
    """

    session_id: str
    part: str = ""
    item: str = ""


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
        # wsgiref gives a request without a type one of its own, and an interrupt has no body.
        typed = request.method == "POST" and resource.part != "interrupt"
        if typed and not _is_json(request):
            return error_response(415, "UNSUPPORTED_MEDIA_TYPE", "a body is application/json")
        length = _length(request)
        return None if length is None or length <= self.body_limit else self.too_long(request)

    def refuse_operator(self, request: Request) -> Response | None:
        """Return the response to a request beside the API that lacks the key; else None."""
        return self._host_rules.refusal(request) or self._key.refusal(request)

    def refuse_place(self, request: Request) -> Response | None:
        """Return the response to a request with a forbidden `Host` or `Origin`; else None."""
        return self._host_rules.refusal(request)

    def is_key(self, key: str) -> bool:
        """Return whether this is the key, in constant time."""
        return self._key.fits(key.encode("utf-8", "replace"))

    @property
    def needs_key(self) -> bool:
        """Whether clients need a key."""
        return self._key.needed

    @property
    def spawning(self) -> bool:
        """Whether clients may start programs."""
        return self._spawning

    @property
    def grace_cap(self) -> float:
        """The longest grace that a client may ask for, in seconds."""
        return self._grace_cap

    def too_long(self, request: Request) -> Response:
        """Return the response to a request with a body above the limit."""
        if request.method == "POST":
            return self.fail(InvalidArgument(self._limit))
        return error_response(413, "BODY_TOO_LARGE", self._limit)

    def read(self, request: Request) -> Operation | Response:
        """Return the operation that a request asks for, or the response that refuses it.

        Never raises. It refuses to stream events: that needs `read_admitted`.
        """
        refusal = self.refuse(request)
        if refusal is not None:
            return refusal
        asked = self.read_admitted(request)
        return NO_STREAM if isinstance(asked, Events) else asked

    def read_admitted(self, request: Request) -> Operation | Events | Response:
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
        tickets = query.values(request.query, "ticket")
        refusal = self._host_rules.refusal(request)
        keyless = self._token_suffices and not request.header(b"authorization")
        if refusal is None and not tickets and not keyless:
            refusal = self._key.refusal(request)
        if refusal is not None:
            return refusal
        tokens = [value.decode("latin-1") for value in request.header(b"x-pty-token")]
        tokens += query.values(request.query, "token")
        # A client may send the token in the header and in the query: one of the public ones does.
        token = tokens[0] if len(set(tokens)) == 1 else ""
        try:
            since, client = query.offset(request.query), query.client(request.query)
            ticket = (tickets[0] if len(tickets) == 1 else "") if tickets else None
            return Attach(resource.session_id, token, since, client, ticket)
        except InvalidArgument as error:
            return self.fail(error)

    def answer(self, result: Result) -> Response:
        """Return the response for the result of an operation."""
        match result:
            case Verdict():
                return answer_kill(result)
            case tuple():
                return answer_kills(result)
            case None:
                return Response(204)
        created = isinstance(
            result, schema.Created | token_bodies.IssuedToken | token_bodies.IssuedTicket
        )
        status = 201 if created else 200
        return json_response(status, msgspec.to_builtins(result))

    def fail(self, error: Exception) -> Response:
        """Return the response for a failed operation; the details of a crash go to the log only."""
        if isinstance(error, PtykillError) and error.code != "INTERNAL_ERROR":
            return error_response(error.status, error.code, str(error))
        log.event(logging.ERROR, "http.crashed", exc_info=error)
        return error_response(500, "INTERNAL_ERROR", "an internal error: see the server's log")

    # --- reading requests -------------------------------------------------------------------------

    def _resource(self, path: str) -> _Resource | None:  # noqa: PLR0911 - one for each form
        if path == self.prefix or (not self.prefix and path == "/"):
            return _Resource("")
        if not path.startswith(f"{self.prefix}/"):
            return None
        match path[len(self.prefix) + 1 :].split("/"):
            case ["events"]:  # No id: these have 32 hexadecimal digits.
                return _Resource("", "events")
            case [str(name)] if name:
                return _Resource(name)
            case [str(name), str(part)] if name and part in _PARTS:
                return _Resource(name, part)
            case [str(name), "tokens", str(token_id)] if name and token_id:
                return _Resource(name, "token", token_id)
        return None

    def _methods(self, resource: _Resource) -> tuple[str, ...]:
        match resource:
            case _Resource(_, "events"):
                return ("GET",)
            case _Resource("", _):
                return ("GET", "POST", "DELETE") if self._spawning else ("GET", "DELETE")
            case _Resource(
                _, "resize" | "deadlines" | "signal" | "interrupt" | "tokens" | "tickets"
            ):
                return ("POST",)
            case _Resource(_, "token"):
                return ("DELETE",)
            case _Resource(_, "ws" | "processes"):
                return ("GET",)
        return ("GET", "DELETE")

    def _operation(self, request: Request, resource: _Resource) -> Operation | Events | Response:
        if request.method == "POST":
            return self._reading(request, resource)
        if request.method == "DELETE":
            return self._deleting(request, resource)
        match resource:
            case _Resource(_, "events"):
                seen = request.header(b"last-event-id")
                return Events(seen[0].decode("latin-1") if seen else None)
            case _Resource("", _):
                after = query.number(request.query, "after", 0, sys.maxsize)
                limit = query.number(request.query, "limit", 1, session_record.MOST_LISTED)
                selector = query.selector(request.query)
                return List(after or 0, limit or session_record.MOST_LISTED, selector)
            case _Resource(_, "ws"):
                query.offset(request.query)  # A wrong one is an error here, too.
                query.client(request.query)
                return error_response(
                    426,
                    "UPGRADE_REQUIRED",
                    "this path takes WebSockets only",
                    (b"upgrade", b"websocket"),
                    (b"connection", b"upgrade"),
                )
            case _:
                ask = ListProcesses if resource.part == "processes" else Get
                return ask(resource.session_id)

    def _reading(  # noqa: PLR0911 - one for each form
        self, request: Request, resource: _Resource
    ) -> Operation:
        """Read an operation that may have a body."""
        match resource:
            case _Resource(session_id, "resize"):
                return schema.read_resize(request.body, session_id)
            case _Resource(session_id, "deadlines"):
                return schema.read_deadlines(request.body, session_id)
            case _Resource(session_id, "signal"):
                return process_schema.read_signal(request.body, session_id)
            case _Resource(session_id, "interrupt"):
                return Interrupt(session_id)
            case _Resource(session_id, "tokens"):
                return token_bodies.read_token(request.body, session_id)
            case _Resource(session_id, "tickets"):
                return token_bodies.read_ticket(request.body, session_id, _login(request))
        keys = request.header(b"idempotency-key")
        if len(keys) > 1:
            msg = "Idempotency-Key is given more than once"
            raise InvalidArgument(msg)
        return schema.read_create(request.body, keys[0].decode("latin-1") if keys else None)

    def _deleting(self, request: Request, resource: _Resource) -> Operation:
        match resource:
            case _Resource("", _):
                return self._kill_matching(request.query)
            case _Resource(session_id, "token", token_id):
                return RevokeToken(session_id, token_id)
        return Kill(resource.session_id, query.grace(request.query, self._grace_cap))

    def _kill_matching(self, asked: str) -> KillMatching:
        # A misspelled filter must not end more sessions than were meant.
        query.check_known(asked, "label", "name", "grace")
        selector = query.selector(asked)
        if not selector:
            msg = "give a label or a name: this would end all sessions"
            raise InvalidArgument(msg)
        return KillMatching(selector, query.grace(asked, self._grace_cap))

    @property
    def _limit(self) -> str:
        return f"a body is at most {self.body_limit} bytes"


def _login(request: Request) -> Login | None:
    return request.login if isinstance(request, PageRequest) else None


def _is_json(request: Request) -> bool:
    kinds = request.header(b"content-type")
    return all(_JSON.fullmatch(kind.decode("latin-1").strip()) for kind in kinds)


def _length(request: Request) -> int | None:
    """Return the length of the body that ``Content-Length`` gives, None without that header."""
    for value in request.header(b"content-length"):
        if value.isdigit():
            return int(value[:19])  # int() refuses thousands of digits.
    return None


NO_STREAM = error_response(
    501, "EVENTS_NOT_OFFERED", "this server can't stream events: mount the API in an ASGI server"
)
"""The response to a request for events where there is only one response to a request."""
_NOTHING_HERE = error_response(404, "NOT_FOUND", "there is no such path")
