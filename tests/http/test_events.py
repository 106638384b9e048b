"""The stream of events, on each kind of server, with real sessions."""

from __future__ import annotations

import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock
from websockets.exceptions import WebSocketException

import ptykill
from ptykill.engine import event_ring
from ptykill.http import event_stream, limits
from ptykill.http.asgi_types import Message
from ptykill.http.operations import Events
from ptykill.testing import FakeTier
from tests.daemon import serving_in_a_thread
from tests.http.conftest import KEY, Server
from tests.http.test_api import PREFIX, api, refused, request

SLEEPER = {"command": "sleep", "args": ["300"]}
TIMEOUT = 60.0
Json = dict[str, Any]
UNTOLD = ("last_input_at", "last_output_at")
"""Fields of a list that no event has."""


class Stream:
    """A client of the stream, which reads whatever comes, up to the end."""

    def __init__(self, client: httpx.Client, url: str, since: str | None = None) -> None:
        headers = {} if since is None else {"Last-Event-ID": since}
        self._opened = client.stream("GET", f"{url}/events", headers=headers, timeout=TIMEOUT)
        self.answer = self._opened.__enter__()
        self.comments = 0
        self._lines = self.answer.iter_lines()

    def __iter__(self) -> Iterator[Json]:
        """Yield the events."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                self.comments += line.startswith(":")
                fields[name] = value
            elif "data" in fields:
                event: Json = json.loads(fields["data"])
                assert (fields["id"], fields["event"]) == (event["id"], event["kind"])
                fields = {}
                yield event

    def cut(self) -> None:
        """Close the connection."""
        self._opened.__exit__(None, None, None)


def until(events: Iterator[Json], kind: str) -> list[Json]:
    """Read events up to one of a kind."""
    found = []
    for event in events:
        found.append(event)
        if event["kind"] == kind:
            return found
    raise AssertionError(found)


def apply(records: dict[str, Json], event: Json) -> None:
    """Apply one event to what is known of the sessions, as the documentation says."""
    session = event.get("session_id", "")
    if event["kind"] == "reset":
        records.clear()
        records.update({each["session_id"]: each for each in event["sessions"]})
    elif event["kind"] == "created":
        records[session] = event["changes"]
    elif event["kind"] == "dropped":
        records.pop(session, None)
    elif session in records:
        records[session] = {**records[session], **event["changes"]}


def list_of(client: httpx.Client, url: str) -> tuple[str, dict[str, Json]]:
    """Return the id of the newest event, and the list as of then."""
    answer = client.get(url).json()
    sessions = {each["session_id"]: each for each in answer["sessions"]}
    for each in sessions.values():
        for name in UNTOLD:
            each.pop(name, None)
    return answer["event_id"], sessions


# --- requests -------------------------------------------------------------------------------------


def test_the_path_is_no_id() -> None:
    """It takes GET, wants the key, and has no parts; other servers answer 501."""
    events = f"{PREFIX}/events"
    assert api.read_admitted(request("GET", events)) == Events()
    headers = (*request("GET").headers, (b"last-event-id", b"x-7"))
    assert api.read_admitted(request("GET", events, headers=headers)) == Events("x-7")
    assert refused(api.read(request("GET", events))) == (501, "EVENTS_NOT_OFFERED")
    assert refused(api.read(request("DELETE", events))) == (405, "METHOD_NOT_ALLOWED")
    assert refused(api.read(request("GET", events, headers=()))) == (401, "UNAUTHORIZED")


# --- real servers ---------------------------------------------------------------------------------


def test_a_session_is_followed(talker: Server) -> None:
    """Its life comes as it happens; a client that comes back goes on where it was cut."""
    with talker.client() as client:
        stream = Stream(client, talker.url)
        assert stream.answer.headers["content-type"] == "text/event-stream"
        events = iter(stream)
        reset = next(events)
        assert (reset["kind"], reset["sessions"]) == ("reset", [])
        made = client.post(talker.url, json={**SLEEPER, "name": "n"}).json()
        (created,) = until(events, "created")
        assert created["changes"]["name"] == "n"
        stream.cut()
        with talker.attached(made["session_id"], made["token"]):
            pass
        assert client.delete(f"{talker.url}/{made['session_id']}").status_code == 204
        stream = Stream(client, talker.url, created["id"])
        found = until(iter(stream), "ended")
        kinds = [each["kind"] for each in found]
        assert kinds[:2] == ["attached", "detached"] or kinds[:2] == ["attached", "ending"]
        assert [each["number"] for each in found] == list(
            range(created["number"] + 1, created["number"] + 1 + len(found))
        )
        assert {each["session_id"] for each in found} == {made["session_id"]}
        (ending,) = [each for each in found if each["kind"] == "ending"]
        assert ending["why"] == "requested"
        deliveries = [each["delivery"] for each in found if each["kind"] == "delivery"]
        assert deliveries[0] == {
            "what": "HUP@session", "reached": 1, "refused": [], "error": None,
        }  # fmt: skip
        verdict = found[-1]["verdict"]
        assert (verdict["empty"], verdict["outcome"]) == (True, "graceful")
        stream.cut()
        stream = Stream(client, talker.url, "another-run-17")
        assert next(iter(stream))["kind"] == "reset"
        stream.cut()


def test_events_need_the_key(talker: Server) -> None:
    """As everything else does."""
    with httpx.Client(timeout=TIMEOUT, trust_env=False) as stranger:
        assert stranger.get(f"{talker.url}/events").status_code == 401


def test_a_comment_comes_in_the_silence(talker: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a dead connection is found; an event still comes at once after it."""
    monkeypatch.setattr(event_stream, "HEARTBEAT", 0.05)
    with talker.client() as client:
        stream = Stream(client, talker.url)
        events = iter(stream)
        next(events)
        timer = threading.Timer(0.5, client.post, [talker.url], {"json": SLEEPER})
        timer.start()
        assert next(events)["kind"] == "created"
        assert stream.comments >= 2
        stream.cut()
        timer.join()


def test_a_server_with_threads_streams_nothing() -> None:
    """A stream would occupy one of its threads."""
    with ptykill.Host() as host:
        lines: list[str] = []

        def start(line: str, *_: object) -> Callable[[bytes], object]:
            lines.append(line)
            return len

        app = ptykill.wsgi_app(host, key=None)
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": f"{PREFIX}/events",
            "wsgi.input": None,
        }
        body = app(environ, start)
        assert lines == ["501 Not Implemented"]
        assert b"EVENTS_NOT_OFFERED" in b"".join(body)


def test_streams_are_limited_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client too many is refused; when another has left, there is room again."""
    assert limits.event_streams(1024) + limits.websockets(1024) < 1024
    assert limits.event_streams(4) == 1
    monkeypatch.setattr(limits, "event_streams", lambda _: 2)
    with served() as (url, client):
        first, second, third = (Stream(client, url) for _ in range(3))
        streams = first, second, third
        assert [each.answer.status_code for each in streams] == [200, 200, 503]
        assert json.loads(third.answer.read())["code"] == "TOO_MANY_STREAMS"
        assert client.get(url).status_code == 200
        first.cut()
        end = time.monotonic() + TIMEOUT
        while True:
            again = Stream(client, url)
            status = again.answer.status_code
            again.cut()
            if status == 200:
                break
            assert time.monotonic() < end
            time.sleep(0.02)
        second.cut()


def test_a_client_that_does_not_read_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions end as quickly as ever, and other clients get all events."""
    monkeypatch.setattr(event_ring, "KEPT", 16)
    with served(keep_records=8) as (url, client):
        port = httpx.URL(url).port or 0
        with socket.create_connection(("127.0.0.1", port)) as deaf:
            deaf.sendall(
                f"GET {PREFIX}/events HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {KEY}\r\n\r\n".encode()
            )
            stream = Stream(client, url)
            events = iter(stream)
            next(events)
            for _ in range(10):
                session = client.post(url, json=SLEEPER).json()["session_id"]
                answer = client.delete(f"{url}/{session}")
                assert answer.status_code == 204
                assert until(events, "ended")[-1]["session_id"] == session
            stream.cut()


async def test_a_client_that_does_not_read_is_let_go(autojump_clock: MockClock) -> None:
    """It keeps one answer for a minute; the sessions do not wait for it."""
    sending = trio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            sending.set()
            await trio.sleep_forever()

    async def receive() -> Message:
        await trio.sleep_forever()
        raise AssertionError

    async with ptykill.open_supervisor(containment=FakeTier()) as supervisor:
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(event_stream.send_events, supervisor, None, receive, send)
            await sending.wait()
            session = await supervisor.spawn(["sh"])
            assert (await session.terminate()).empty
            assert trio.current_time() - began < 1.0
        assert trio.current_time() - began == pytest.approx(event_stream.SILENCE)


@pytest.mark.parametrize("target", ["supervisor", "host"])
def test_a_stream_ends_with_its_supervisor(target: str) -> None:
    """The last events come, and then the end of the answer."""
    sent: list[Message] = []

    requests: list[Message] = [{"type": "http.request"}]
    begun = trio.Event()

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) == 2:
            begun.set()
        await trio.lowlevel.checkpoint()

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await trio.sleep_forever()
        raise AssertionError

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            opened: Any = ptykill.open_supervisor if target == "supervisor" else ptykill.Host
            async with opened(containment=FakeTier()) as owner:
                app = ptykill.asgi_app(owner, key=None)
                scope = {
                    "type": "http", "method": "GET", "path": f"{PREFIX}/events", "headers": [],
                }  # fmt: skip
                nursery.start_soon(app, scope, receive, send)
                await begun.wait()
                if isinstance(owner, ptykill.Supervisor):
                    await owner.spawn(["sh"])

    with_timeout = trio.run(_within, main)
    assert with_timeout
    text = b"".join(each.get("body", b"") for each in sent)
    assert b"event: reset" in text
    if target == "supervisor":
        assert b"event: ended" in text
        assert sent[-1]["more_body"] is False


async def _within(main: Callable[[], Awaitable[None]]) -> bool:
    with trio.move_on_after(TIMEOUT) as scope:
        await main()
    return not scope.cancelled_caught


@contextmanager
def served(**options: Any) -> Iterator[tuple[str, httpx.Client]]:  # noqa: ANN401
    """Serve as the daemon does, and yield the URL and a client."""
    headers = {"Authorization": f"Bearer {KEY}"}
    with (
        httpx.Client(headers=headers, timeout=TIMEOUT, trust_env=False) as client,
        ptykill.Host(plan="HUP@session 2s, KILL", **options) as host,
        serving_in_a_thread(host, KEY) as address,
    ):
        yield f"http://{address}{PREFIX}", client


class Consumer(threading.Thread):
    """Follows the sessions; it is cut at random moments, and notes what it knows at each event."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__()
        self.states: dict[str, dict[str, Json]] = {}
        self.cuts = 0
        self.resets = 0
        self.over = False
        self._url = url
        self._chance = random.Random(seed)

    def run(self) -> None:
        """Follow, until the server has stopped."""
        headers = {"Authorization": f"Bearer {KEY}"}
        with (
            httpx.Client(headers=headers, timeout=TIMEOUT, trust_env=False) as client,
            suppress(httpx.TransportError),
        ):
            records: dict[str, Json] = {}
            since: str | None = None
            while not self.over:
                stream = Stream(client, self._url, since)
                time.sleep(self._chance.choice([0, 0, 0.1]))
                for event in itertools.islice(stream, self._chance.randrange(12)):
                    self.resets += event["kind"] == "reset"
                    apply(records, event)
                    since = event["id"]
                    self.states[event["id"]] = dict(records)
                stream.cut()
                self.cuts += 1


def act(url: str, client: httpx.Client, chance: random.Random, tokens: dict[str, str]) -> None:
    """Do something to the sessions of a daemon."""
    _, sessions = list_of(client, url)
    live = [each for each in sessions.values() if each["is_alive"]]
    chosen = chance.choice(live)["session_id"] if live else ""
    match chance.randrange(7):
        case 2 if chosen:
            size = {"rows": chance.randrange(1, 50), "cols": 80}
            client.post(f"{url}/{chosen}/resize", json=size)
        case 3 if chosen:
            client.delete(f"{url}/{chosen}")
        case 4 if chosen:
            server = Server(httpx.URL(url).port or 0)
            with suppress(WebSocketException), server.attached(chosen, tokens[chosen]):
                pass
        case 5:
            time.sleep(0.01)
        case 6 if chosen:
            client.post(f"{url}/{chosen}/deadlines", json={"lifetime": chance.randrange(100, 200)})
        case _:
            long = {**SLEEPER, "labels": {"n": str(chance.random())}}
            quick = {"command": "sh", "args": ["-c", "exit 7"]}
            answer = client.post(url, json=chance.choice([long, quick])).json()
            if "token" in answer:  # Else there are too many already.
                tokens[answer["session_id"]] = answer["token"]


@pytest.mark.parametrize("kept", [8, 4096])
@pytest.mark.long
def test_a_consumer_that_is_cut_rebuilds_the_list(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut at random moments, it knows at each event exactly what the list said then."""
    monkeypatch.setattr(event_ring, "KEPT", kept)
    chance = random.Random(kept)
    lists: dict[str, dict[str, Json]] = {}
    tokens: dict[str, str] = {}
    with served(keep_records=4, max_sessions=5) as (url, client):
        consumer = Consumer(url, kept)
        consumer.start()
        for _ in range(100):
            act(url, client, chance, tokens)
            lists.update([list_of(client, url)])
        client.delete(f"{url}?label=n")
        end = time.monotonic() + TIMEOUT
        while (last := list_of(client, url))[0] not in consumer.states:
            assert time.monotonic() < end
            time.sleep(0.05)
        lists.update([last])
        consumer.over = True
    consumer.join(TIMEOUT)
    assert not consumer.is_alive()
    assert consumer.cuts > 5
    assert consumer.resets == 1 if kept == 4096 else consumer.resets > 1
    for event_id in lists.keys() & consumer.states.keys():
        assert consumer.states[event_id] == lists[event_id]
