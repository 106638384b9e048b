"""Listing, signalling and interrupting the processes of a session over HTTP, on each server."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from ptykill import Reach
from ptykill.http.operations import Interrupt, ListProcesses, SignalProcesses
from tests.http.conftest import Server
from tests.http.test_api import PREFIX, api, refused, request

JOBS = {"command": "sh", "args": ["-c", "setsid sleep 61 & sleep 62; :"]}


def test_requests() -> None:
    """Each is read, and a mount that spawns nothing has them too."""
    assert api.read(request("GET", f"{PREFIX}/x/processes")) == ListProcesses("x")
    assert api.read(request("POST", f"{PREFIX}/x/interrupt")) == Interrupt("x")
    asked = request("POST", f"{PREFIX}/x/signal", body=b'{"signal": "sigint"}')
    assert api.read(asked) == SignalProcesses("x", "INT", Reach.FOREGROUND)
    asked = request(
        "POST", f"{PREFIX}/x/signal", body=b'{"signal": "TERM", "reach": "all", "more": 1}'
    )
    assert api.read(asked) == SignalProcesses("x", "TERM", Reach.ALL)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b'{"signal": 15}',
        b'{"signal": null}',
        b'{"signal": "NOPE"}',
        b'{"signal": "TERM", "reach": "everybody"}',
        b'{"signal": "TERM", "reach": ["all"]}',
    ],
)
def test_a_wrong_signal_is_refused(body: bytes) -> None:
    """No session is even looked for."""
    assert refused(api.read(request("POST", f"{PREFIX}/x/signal", body=body))) == (
        400,
        "INVALID_REQUEST",
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/x/processes"),
        ("GET", "/x/signal"),
        ("GET", "/x/interrupt"),
        ("DELETE", "/x/signal"),
    ],
)
def test_each_path_has_its_method(method: str, path: str) -> None:
    """Another is 405."""
    assert refused(api.read(request(method, f"{PREFIX}{path}"))) == (405, "METHOD_NOT_ALLOWED")


def processes(client: httpx.Client, url: str) -> dict[str, dict[str, Any]]:
    """Return a session's processes by their commands."""
    answer = client.get(f"{url}/processes")
    assert answer.status_code == 200
    return {each["command"]: each for each in answer.json()["processes"]}


def test_a_session(server: Server) -> None:
    """Its processes are listed, and signalled one reach after another, until it is over."""
    with server.client() as client:
        url = f"{server.url}/{client.post(server.url, json=JOBS).json()['session_id']}"
        until = time.monotonic() + 60
        while True:
            found = processes(client, url)
            if {"sleep 61", "sleep 62"} <= {*found} and found["sleep 61"]["escaped"]:
                break
            assert time.monotonic() < until, found
            time.sleep(0.02)
        leader = client.get(url).json()["pid"]
        escaped, front = found["sleep 61"], found["sleep 62"]
        assert front["parent"] == leader
        assert (front["foreground"], front["escaped"]) == (True, False)
        assert front["state"] in {"S", "R"}
        assert abs(front["started_at"] / 1000 - time.time()) < 60
        assert front["memory"] > 0
        answer = client.post(f"{url}/signal", json={"signal": "TERM", "reach": "escaped"})
        assert (answer.status_code, answer.json()) == (
            200,
            {"reached": [escaped["pid"]], "refused": []},
        )
        assert client.post(f"{url}/interrupt").status_code == 204
        while client.get(url).json()["is_alive"]:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert processes(client, url) == {}
        for late in (
            client.post(f"{url}/signal", json={"signal": "TERM"}),
            client.post(f"{url}/interrupt"),
        ):
            assert (late.status_code, late.json()["code"]) == (409, "SESSION_ENDED")
        for unknown in (
            client.get(f"{server.url}/unknown/processes"),
            client.post(f"{server.url}/unknown/signal", json={"signal": "TERM"}),
            client.post(f"{server.url}/unknown/interrupt"),
        ):
            assert (unknown.status_code, unknown.json()["code"]) == (404, "SESSION_NOT_FOUND")
