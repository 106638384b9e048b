"""What a cookie is good for, and what not: over HTTP, and for a page of another origin."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import trio
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import ptykill
from ptykill.page import page_app
from ptykill.testing import FakeTier
from tests.daemon import serving
from tests.page.browser import Browser
from tests.page.conftest import KEY
from tests.page.test_page import records
from tests.waiting import wait_until

API = "/api/v1/pty"


@pytest.fixture
def client(daemon: str) -> Iterator[httpx.Client]:
    """Return a client without a key."""
    with httpx.Client(
        base_url=f"http://{daemon}", timeout=60, trust_env=False, verify=False
    ) as made:
        yield made


def own(client: httpx.Client) -> dict[str, str]:
    """Return the headers of a request of the page itself."""
    return {"Origin": str(client.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}


def log_in(client: httpx.Client) -> dict[str, str]:
    """Log in, and return the headers that the page sends from then on, besides the cookie."""
    answer = client.post("/page/login", json={"key": KEY}, headers=own(client))
    assert answer.status_code == 200
    return own(client) | {"X-Ptykill-Proof": answer.json()["proof"]}


def test_headers_of_every_answer(client: httpx.Client) -> None:
    """Each answer of the page has a strict policy, and is not kept or framed."""
    for path in "/", "/page/main.js", "/page/vendor/xterm.css", "/page/settings", "/page/no":
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        kept = "no-cache" if path.startswith(("/page/m", "/page/v")) else "no-store"
        assert headers["cache-control"] == kept
    tag = client.get("/page/main.js").headers["etag"]
    again = client.get("/page/main.js", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    ["/page/", "/page/../app.py", "/page/%2e%2e/app.py", "/page/vendor", "/page/vendor/LICENSE.x"],
)
def test_nothing_but_the_page_is_served(daemon: str, path: str) -> None:
    """A path leads to no other file."""
    host, port = daemon.split(":")
    with socket.create_connection((host, int(port))) as link:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: {daemon}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(functools.partial(link.recv, 65_536), b""))
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 403"))


def test_another_host_name_gets_nothing(client: httpx.Client) -> None:
    """A page of a name that an attacker has resolve to this machine is refused."""
    for path in "/", "/page/main.js", "/page/settings":
        assert client.get(path, headers={"Host": "evil.example"}).status_code == 403
    answer = client.post("/page/login", json={"key": KEY}, headers={"Host": "evil.example"})
    assert answer.status_code == 403


def test_methods_and_bodies_of_a_login(client: httpx.Client) -> None:
    """What is no login is refused, and begins none."""
    for body in b"", b"{", b"[]", b'{"key": 3}', b'{"code": ""}', b"[" * 3000, b"x" * 10_000:
        answer = client.post("/page/login", content=body, headers=own(client))
        assert answer.status_code == 401
    assert client.get("/page/login").status_code == 405
    assert client.post("/", headers=own(client)).status_code == 405
    assert client.head("/").content == b""
    assert client.post("/page/login", json={"key": KEY}).status_code == 403
    assert not client.cookies


def test_a_cookie_needs_its_proof_and_its_own_page(client: httpx.Client) -> None:
    """The cookie, that other servers of this machine are sent too, opens nothing by itself."""
    headers = log_in(client)
    assert client.get(API, headers=headers).status_code == 200
    proofless = {name: value for name, value in headers.items() if name != "X-Ptykill-Proof"}
    siblings = {
        "Origin": "http://127.0.0.1:1",
        "Sec-Fetch-Site": "same-site",
    }
    for wrong in (
        {},
        proofless,
        headers | {"X-Ptykill-Proof": "x"},
        headers | siblings,
        headers | {"Sec-Fetch-Site": "cross-site"},
        {**proofless, "Authorization": "Bearer wrong"},
        headers | {"Authorization": "Bearer wrong"},
    ):
        for method, path in ("GET", API), ("POST", API), ("GET", f"{API}/events"):
            answer = client.request(method, path, headers=wrong, json={"command": "true"})
            assert answer.status_code == 401, (wrong, method, path)
    assert client.get(API, headers=headers).json()["sessions"] == []
    client.cookies.clear()
    assert client.get(API, headers=headers).status_code == 401


def test_a_cookie_attaches_to_nothing(client: httpx.Client, daemon: str) -> None:
    """A WebSocket wants a ticket, whatever cookie and proof it has; a ticket is for once."""
    headers = log_in(client)
    made = client.post(API, json={"command": "cat"}, headers=headers).json()
    place = f"ws://{daemon}{API}/{made['session_id']}/ws"
    cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())

    def status(query: str) -> int:
        try:
            with connect(
                place + query, additional_headers={"Cookie": cookie, **headers}, proxy=None
            ):
                return 101
        except InvalidStatus as error:
            return error.response.status_code

    assert status("") == 401
    assert status(f"?token={made['token']}") == 401
    answer = client.post(
        f"{API}/{made['session_id']}/tickets", json={"access": "write"}, headers=headers
    )
    ticket = answer.json()["ticket"]
    assert status(f"?ticket={ticket}x") == 403
    assert status(f"?ticket={ticket}") == 101
    assert status(f"?ticket={ticket}") == 403


def test_logging_out_ends_streams_of_events_and_terminals(
    client: httpx.Client, daemon: str
) -> None:
    """What the login has begun ends with it; a program's attach goes on."""
    headers = log_in(client)
    made = client.post(API, json={"command": "cat"}, headers=headers).json()
    place = f"{API}/{made['session_id']}"
    ticket = client.post(f"{place}/tickets", json={"access": "read"}, headers=headers).json()
    with (
        client.stream("GET", f"{API}/events", headers=headers) as events,
        connect(f"ws://{daemon}{place}/ws?ticket={ticket['ticket']}", proxy=None) as watching,
        connect(
            f"ws://{daemon}{place}/ws",
            additional_headers={"Authorization": f"Bearer {KEY}", "X-PTY-Token": made["token"]},
            proxy=None,
        ) as program,
    ):
        lines = events.iter_lines()
        assert next(lines).startswith("id:")
        cookie = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        out = httpx.post(
            f"http://{daemon}/page/logout",
            headers=headers | {"Cookie": cookie},
            trust_env=False,
            verify=False,
        )
        assert out.status_code == 204
        assert "Max-Age=0" in out.headers["set-cookie"]
        with contextlib.suppress(Exception):
            while True:
                watching.recv(timeout=20)
        assert watching.close_code == 1008
        program.ping().wait(20)
        # The detaching is an event, which the stream's login may not see any more.
        until, seen = time.monotonic() + 60, list[str]()
        for line in lines:
            seen.append(line)
            assert time.monotonic() < until
        assert "event: detached" not in seen
    assert client.get(API, headers=headers).status_code == 401


def test_the_daemons_log_has_no_secret(client: httpx.Client, tmp_path: Path) -> None:
    """Neither the key, nor a proof, a cookie, a ticket or a code is logged."""
    with (tmp_path / "log").open("w") as log, serving(key=KEY, log=log) as address:
        client.base_url = f"http://{address}"
        headers = log_in(client)
        made = client.post(API, json={"command": "cat"}, headers=headers).json()
        ticket = client.post(
            f"{API}/{made['session_id']}/tickets", json={"access": "read"}, headers=headers
        ).json()["ticket"]
        with connect(f"ws://{address}{API}/{made['session_id']}/ws?ticket={ticket}", proxy=None):
            pass
        client.post("/page/login", json={"code": "a-wrong-code"}, headers=own(client))
        secrets = [
            KEY,
            ticket,
            headers["X-Ptykill-Proof"],
            "a-wrong-code",
            *client.cookies.values(),
        ]
    told = (tmp_path / "log").read_text()
    assert "session.spawned" in told or made["session_id"] in told
    assert [each for each in secrets if each in told] == []


def test_without_the_page(client: httpx.Client) -> None:
    """With --no-page there is neither a page nor a login."""
    with serving("--no-page", key=KEY) as address:
        client.base_url = f"http://{address}"
        for path in "/", "/page/main.js", "/page/settings":
            assert client.get(path).status_code == 404
        assert client.post("/page/login", json={"key": KEY}).status_code == 404


# --- a page of another origin, in a real browser --------------------------------------------------


@pytest.fixture
def other_origin(tmp_path: Path) -> Iterator[str]:
    """Serve a page at another port of this machine: the same site, as cookies have it."""
    (tmp_path / "index.html").write_text("<!doctype html><link rel=icon href=data:,><p>other")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Log nothing."""

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/index.html"
        server.shutdown()
        thread.join()


ATTACKS = """
const [base, id] = args;
const told = {};
const attempt = async (name, what) => {
  try { told[name] = await what(); } catch (error) { told[name] = `blocked: ${error.name}`; }
};
const all = { credentials: "include" };
await attempt("list", async () => (await fetch(base + "/api/v1/pty", all)).status);
await attempt("list, opaque", async () =>
  (await fetch(base + "/api/v1/pty", { ...all, mode: "no-cors" })).type);
await attempt("create", async () => (await fetch(base + "/api/v1/pty", {
  ...all, method: "POST", headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ command: "touch", args: [args[2]] }) })).status);
await attempt("create, simple", async () => (await fetch(base + "/api/v1/pty", {
  ...all, method: "POST", mode: "no-cors",
  body: JSON.stringify({ command: "touch", args: [args[2]] }) })).type);
await attempt("kill", async () =>
  (await fetch(base + `/api/v1/pty/${id}`, { ...all, method: "DELETE" })).status);
await attempt("ticket", async () => (await fetch(base + `/api/v1/pty/${id}/tickets`, {
  ...all, method: "POST", mode: "no-cors", body: '{"access": "write"}' })).type);
await attempt("log out", async () => (await fetch(base + "/page/logout", {
  ...all, method: "POST", mode: "no-cors" })).type);
await attempt("events", () => new Promise((resolve) => {
  const source = new EventSource(base + "/api/v1/pty/events", { withCredentials: true });
  source.onopen = () => resolve("open");
  source.onerror = () => resolve("blocked: events");
}));
await attempt("attach", () => new Promise((resolve) => {
  const socket = new WebSocket(base.replace("http", "ws") + `/api/v1/pty/${id}/ws`);
  socket.onopen = () => resolve("open");
  socket.onerror = () => resolve("blocked: socket");
}));
await attempt("frame", () => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.src = base + "/";
  frame.onload = () => {
    try { resolve(frame.contentDocument ? "readable" : "blocked: frame"); }
    catch { resolve("blocked: frame"); }
  };
  document.body.append(frame);
}));
await attempt("module", async () => Object.keys(await import(base + "/page/api.js")));
await attempt("proof", async () => Object.keys(localStorage));
return told;
"""


def test_a_page_of_another_origin_can_do_nothing(
    daemon: str, other_origin: str, browsers: Callable[..., Browser], tmp_path: Path
) -> None:
    """With its visitor's cookie, it can neither create, attach, read, kill nor log out."""
    person = browsers()
    person.log_in(daemon, KEY)
    session = person.create("bash --norc")
    page = person.driver.current_window_handle
    person.driver.switch_to.new_window("tab")
    person.open(other_origin)
    told: dict[str, Any] = person.js(ATTACKS, f"http://{daemon}", session, str(tmp_path / "made"))
    opaque = {"list, opaque", "create, simple", "ticket", "log out"}
    for name, result in told.items():
        if name == "proof":
            assert result == []
        elif name in opaque:  # It learns not even the status; what has happened is seen below.
            assert result in {"opaque", "blocked: TypeError"}, (name, result)
        else:
            assert str(result).startswith("blocked"), (name, result)
    person.logs()  # A browser logs what it has blocked.
    person.driver.switch_to.window(page)
    person.driver.refresh()
    person.until(lambda: person.state() == "open")
    time.sleep(0.5)
    assert not (tmp_path / "made").exists()
    (record,) = records(daemon)
    assert record["status"] == "running"
    wait_until(lambda: records(daemon)[0]["client_count"] == 1)


# --- mounted --------------------------------------------------------------------------------------


async def test_mounted_below_a_path(autojump_clock: trio.testing.MockClock) -> None:
    """Its cookie is for that path, its API is below it, and a path without its slash is sent on."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        app = page_app(supervisor, key=KEY, spawning=True)
        site = Starlette(routes=[Mount("/deep/sessions", app=cast(Any, app))])
        transport = httpx.ASGITransport(cast(Any, site))
        async with httpx.AsyncClient(transport=transport, base_url="https://site.example") as user:
            at = "/deep/sessions"
            assert (await user.get(f"{at}/")).text.startswith("<!doctype html>")
            assert (await user.get(f"{at}/page/main.js")).status_code == 200
            bare = await user.get(at)
            assert (bare.status_code, httpx.URL(bare.headers["location"]).path) in {
                (307, f"{at}/"),
                (308, f"{at}/"),
            }
            headers = {"Origin": "https://site.example"}
            answer = await user.post(f"{at}/page/login", json={"key": KEY}, headers=headers)
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("ptykill=")
            assert cookie.endswith(
                f"; Path={at}/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure"
            )
            proof = {"X-Ptykill-Proof": answer.json()["proof"], **headers}
            answer = await user.get(f"{at}{API}", headers=proof)
            assert answer.json()["sessions"] == []
            assert (await user.get(f"{at}{API}", headers=headers)).status_code == 401
            told = (await user.get(f"{at}/page/settings", headers=proof)).json()
            assert told == {
                "logged_in": True,
                "needs_key": True,
                "api": "api/v1/pty",
                "spawning": True,
                "grace_cap": 60.0,
            }


async def test_a_host_that_authenticates_its_clients(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Without a key nobody has to log in, and no key logs in."""
    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        app = page_app(supervisor, key=None)
        transport = httpx.ASGITransport(cast(Any, app))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as user:
            told = (await user.get("/page/settings")).json()
            assert (told["logged_in"], told["spawning"]) == (True, False)
            headers = {"Origin": "http://here"}
            answer = await user.post("/page/login", json={"key": ""}, headers=headers)
            assert answer.status_code == 401
            session = await supervisor.spawn(["x"])
            ticket = await app.issue_ticket(session.id, "read")
            assert len(ticket) == 43
            with pytest.raises(ptykill.InvalidArgument):
                await app.issue_ticket(session.id, "both")


# --- the greeting ---------------------------------------------------------------------------------


def greeting(*, terminal: bool, key: str | None) -> str:
    """Return what ``ptykill serve`` prints."""
    near, far = pty.openpty() if terminal else os.pipe()
    output = far
    environment = {k: v for k, v in os.environ.items() if k != "PTYKILL_API_KEY"}
    if key is not None:
        environment["PTYKILL_API_KEY"] = key
    with subprocess.Popen(
        [sys.executable, "-m", "ptykill", "serve", "--port", "0"],
        env=environment,
        stdout=output,
        stderr=subprocess.DEVNULL,
    ) as daemon:
        os.close(far)
        told = b""
        while b"SESSION_ID" not in told:
            told += os.read(near, 65_536)
        time.sleep(0.2)
        daemon.terminate()
        with contextlib.suppress(OSError):  # EIO: the end, of a terminal.
            while data := os.read(near, 65_536):
                told += data
    os.close(near)
    return told.decode()


def test_a_link_is_printed_only_where_it_is_no_log() -> None:
    """A service with a key of its own prints none: its output is a log."""
    assert "#login=" in greeting(terminal=True, key=KEY)
    assert "#login=" in greeting(terminal=False, key=None)
    assert "#login=" not in greeting(terminal=False, key=KEY)
