"""Clients that create sessions and DELETE them, on bare sockets, each on a connection of its own.

One thread serves all of them. httpx takes more processor time for a request than the server does,
and both would share two processors; here a request is bytes that were made before, and of an answer
no more is read than its status, its length, and the session's id.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Act", "Clients"]

API = "/api/v1/pty"
ANSWER_BOUND = 30.0
"""Seconds that the next answer may take."""
SESSION_ID = re.compile(rb'"session_id": ?"([\w-]+)"')
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
NO_CONTENT = 204


class Act(StrEnum):
    """What a client asks for, by turns."""

    CREATE = "create"
    DELETE = "DELETE"


STATUS = {Act.CREATE: 201, Act.DELETE: NO_CONTENT}


@dataclass(slots=True)
class Client:
    """One connection, and the request that is under way upon it."""

    stream: socket.socket
    act: Act = Act.DELETE
    asked: int = 0
    buffered: bytes = b""

    def ask(self, act: Act, request: bytes) -> None:
        """Send a request."""
        self.act, self.asked = act, time.perf_counter_ns()
        self.stream.sendall(request)

    def answer(self) -> tuple[int, bytes] | None:
        """Receive; return the status and the body of an answer, None if it is not whole yet."""
        data = self.stream.recv(65_536)
        if not data:
            raise EOFError("the server has closed a connection")
        self.buffered += data
        head, end, body = self.buffered.partition(b"\r\n\r\n")
        if not end:
            return None
        length = LENGTH.search(head)
        if len(body) < (int(length[1]) if length else 0):
            return None
        self.buffered = b""
        return int(head.split(b" ", 2)[1]), body


@dataclass(frozen=True, slots=True)
class Clients:
    """So many clients of one server, which create sessions of a command."""

    port: int
    count: int
    command: tuple[str, ...]
    env: Mapping[str, str]

    def work(self, seconds: float, grace: float) -> tuple[int, dict[str, list[int]]]:
        """Create and DELETE for so long; return how long it took (ns), and each request's time.

        No session is begun after that, and none is left. Raises RuntimeError if an answer is not
        the one that says that it worked.
        """
        with ExitStack() as stack:
            # Before the clock starts, and anew each time: the server closes idle connections.
            clients = [Client(stack.enter_context(self._connected())) for _ in range(self.count)]
            return self._ask(clients, seconds, grace)

    def _ask(
        self, clients: Sequence[Client], seconds: float, grace: float
    ) -> tuple[int, dict[str, list[int]]]:
        command, *arguments = self.command
        about = {"command": command, "args": arguments, "env": self.env}
        create = self._request("POST", API, json.dumps(about).encode())
        times: dict[str, list[int]] = {act: [] for act in Act}
        with selectors.DefaultSelector() as waiting:
            start = time.perf_counter_ns()
            until = start + seconds * 1e9
            for client in clients:
                waiting.register(client.stream, selectors.EVENT_READ, client)
                client.ask(Act.CREATE, create)
            while waiting.get_map():
                ready = waiting.select(ANSWER_BOUND)
                if not ready:
                    raise TimeoutError("no answer")
                for key, _ in ready:
                    client = key.data
                    answered = client.answer()
                    if answered is None:
                        continue
                    now = time.perf_counter_ns()
                    times[client.act].append(now - client.asked)
                    session_id = checked(client.act, *answered)
                    if session_id is not None:
                        path = f"{API}/{session_id}?grace={grace}"
                        client.ask(Act.DELETE, self._request("DELETE", path))
                    elif now < until:
                        client.ask(Act.CREATE, create)
                    else:
                        waiting.unregister(client.stream)
            return time.perf_counter_ns() - start, times

    def _connected(self) -> socket.socket:
        stream = socket.create_connection(("127.0.0.1", self.port), ANSWER_BOUND)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return stream

    def _request(self, method: str, path: str, body: bytes = b"") -> bytes:
        about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" * bool(body)
        return (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Authorization: Bearer key\r\n{about}\r\n"
        ).encode() + body


def checked(act: Act, status: int, body: bytes) -> str | None:
    """Return the session's id from the answer to a create, None from that to a DELETE.

    Raises RuntimeError for any other answer.
    """
    found = SESSION_ID.search(body) if act is Act.CREATE else None
    if status != STATUS[act] or (act is Act.CREATE and found is None):
        raise RuntimeError(f"{act}: {status} {body!r}")
    return found[1].decode() if found else None
