"""``ptykill events``: what happens to a daemon's sessions, over connections that may be lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import IO, Any, cast

import msgspec
import pytest
import trio

import ptykill
from ptykill.cli.client import reconnecting
from ptykill.cli.client.daemon_client import DaemonClient, DaemonError
from ptykill.cli.client.event_lines import EventLines
from ptykill.cli.client.event_reader import EventParser, Received, follow
from ptykill.http.event_schema import Event
from ptykill.rules.naming import Selector
from tests.client.conftest import KEY
from tests.client.proxy import Proxy
from tests.client.terminals import PTYKILL, TIMEOUT, Cli, Terminal
from tests.client.test_short_ids import record
from tests.daemon import serving_in_a_thread

ID = "3fa" + "0" * 29
OTHER = "3fb" + "0" * 29


def event(kind: str, session_id: str = ID, **fields: Any) -> Event:  # noqa: ANN401 - of an event
    """Return an event."""
    told = {"id": "x-1", "number": 1, "kind": kind, "at": 1500, "session_id": session_id}
    return msgspec.convert({**told, **fields}, Event)


def shown(lines: EventLines, one: Event) -> str:
    """Return the line of an event without its time and session; nothing if it is not wanted."""
    return "  ".join(lines.line(one).split("\t")[3:]) if lines.wants(one) else ""


# --- parts ----------------------------------------------------------------------------------------


def test_events_are_parsed_wherever_the_bytes_are_cut() -> None:
    """Comments and unknown fields are skipped; half an event is none."""
    data = json.dumps({"id": "x-1", "number": 1, "kind": "new", "at": 1, "more": [1]}).encode()
    stream = b":\n\nid: x-1\r\nevent: new\r\ndata: " + data + b"\r\n\r\n"
    for size in (1, 7, 1000):
        parser = EventParser()
        chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
        (found,) = [one for chunk in chunks for one in parser.feed(chunk)]
        assert (found.event.id, found.event.kind, found.told["more"]) == ("x-1", "new", [1])
    assert EventParser().feed(stream[:-2]) == []
    for broken in (b"data: {}\n\n", b"data: no\n\n", b"data: \xff\n\n"):
        with pytest.raises(DaemonError, match="another version"):
            EventParser().feed(broken)


def test_each_kind_of_event_has_a_line() -> None:
    """A line tells what has changed and why; control characters are escaped."""
    lines = EventLines(Selector(), columns=False)
    delivery = {"what": "HUP@all", "reached": 2, "refused": [7, 8], "error": "late"}
    verdict = {"outcome": "forced", "took_ms": 3, "caveats": ["unproven"], "error": "7 lives"}
    expected = [
        (
            event("reset", sessions=[{"session_id": ID, "is_alive": True}]),
            "sessions: 1 live, 0 over",
        ),
        (event("created", changes={"command": "sh", "args": ["\x1b"]}), "sh '\\x1b'"),
        (event("attached", changes={"client_count": 2}), "2 attached"),
        (event("resized", changes={"cols": 90, "rows": 30}), "90x30"),
        (event("deadlines", changes={"deadlines": {"idle": 60.0, "detached": None}}), "idle 60 s"),
        (event("deadlines", changes={"deadlines": {}}), "none"),
        (event("ending", why="idle"), "idle"),
        (event("delivery", delivery=delivery), "HUP@all reached 2, refused by 7 8, late"),
        (event("exited", changes={"exit_code": 129}), "exit 129 (HUP)"),
        (event("exited", changes={"exit_code": None}), "can't be known"),
        (event("ended", verdict=verdict), "forced in 3 ms, unproven, 7 lives"),
        (event("stuck", verdict=verdict), "forced in 3 ms, unproven, 7 lives"),
        (event("later", changes={"a": 1}), '{"a": 1}'),
        (event("dropped"), ""),
        (event("reset", sessions=[]), "events are missing here; sessions: 0 live"),
    ]
    for one, text in expected:
        line = shown(lines, one)
        assert line.startswith(one.kind)
        assert text in line


def test_names_and_labels_are_followed() -> None:
    """A session is shown by its name, and only if it is wanted, as long as it is known."""
    wanted = Selector.of({"team": "ci"}, None)
    lines = EventLines(wanted, columns=True)
    listed = record(ID, "web")
    listed.labels = {"team": "ci"}
    lines.know([listed, record(OTHER)])
    assert "  web           attached   1 attached" in lines.line(
        event("attached", changes={"client_count": 1})
    )
    assert [lines.wants(event("detached", each)) for each in (ID, OTHER)] == [True, False]
    assert not lines.wants(event("dropped", OTHER))
    assert lines.wants(event("dropped"))
    assert "  web  " in lines.line(event("dropped"))
    assert lines.wants(event("detached", OTHER))  # It was dropped: nobody knows its labels.
    assert "  3fa000000000  " in lines.line(event("detached"))
    created = {"name": "two", "labels": {"team": "x"}}
    assert not lines.wants(event("created", changes=created))
    told = [{"session_id": ID, "labels": {"team": "ci"}, "is_alive": False}, {"session_id": OTHER}]
    reset = event("reset", sessions=told)
    assert lines.wants(reset)
    assert "events are missing here; sessions: 0 live, 1 over" in lines.line(reset)
    assert [lines.is_wanted(each) for each in (ID, OTHER)] == [True, False]


# --- connections ----------------------------------------------------------------------------------


async def test_no_event_is_lost_without_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is cut is made again, after the last event; another daemon resets."""
    monkeypatch.setattr(reconnecting, "NO_LISTENER_TIMEOUT", 0.0)
    seen: list[Event] = []
    news = trio.Event()

    async def use(received: Sequence[Received]) -> None:
        nonlocal news
        seen.extend(each.event for each in received)
        news.set()
        news = trio.Event()
        await trio.lowlevel.checkpoint()

    async def until(kind: str) -> None:
        with trio.fail_after(TIMEOUT):
            while not seen or seen[-1].kind != kind:
                await news.wait()

    with (
        ptykill.Host() as host,
        ptykill.Host() as another,
        serving_in_a_thread(host, KEY) as address,
        serving_in_a_thread(another, KEY) as second,
    ):
        proxy = Proxy(int(address.partition(":")[2]))
        try:
            async with (
                DaemonClient(f"http://{address}", KEY) as daemon,
                DaemonClient(f"http://127.0.0.1:{proxy.port}", KEY) as far,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(_gone, far, use)
                await until("reset")
                created = await daemon.create(["sleep", "1000"])
                await until("created")
                proxy.cut()
                await daemon.kill(created.session_id, grace=0)
                await until("ended")
                kinds = [each.kind for each in seen]
                assert (kinds.count("reset"), kinds.count("created")) == (1, 1)
                assert [each.number for each in seen[1:]] == [
                    seen[0].number + number for number in range(1, len(seen))
                ]
                proxy.target = int(second.partition(":")[2])
                proxy.cut()
                await until("reset")
                proxy.refuse()
        finally:
            proxy.close()


async def _gone(daemon: DaemonClient, use: Callable[..., Any]) -> None:
    with pytest.raises(DaemonError, match="the daemon went away"):
        await follow(daemon, None, use)
    with pytest.raises(DaemonError, match="no daemon answers"):
        await follow(daemon, None, use)


# --- the command ----------------------------------------------------------------------------------


def test_events_at_a_terminal_and_for_programs(
    daemon: subprocess.Popen[str], cli: Cli, start: Callable[..., Terminal]
) -> None:
    """Ctrl-C ends the lines in one sentence; the daemon's end ends JSON lines well."""
    terminal = start("events", cli=cli, cols=120)
    terminal.read_until("reset      sessions: 0 live, 0 over\r\n")
    with subprocess.Popen(
        [*PTYKILL, "events", "--json", "--label", "team=ci"],
        env=os.environ | cli.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        lines = cast(IO[str], process.stdout)
        assert json.loads(lines.readline())["kind"] == "reset"
        other = cli.ask("new", "-d", "sleep", "1000").stdout.strip()
        web = cli.ask("new", "-d", "--name", "web", "--label", "team=ci", "sleep", "9").stdout
        assert json.loads(lines.readline())["changes"]["name"] == "web"
        told = terminal.read_until("  web           created    sleep 9\r\n")
        assert f"  {other[:12]}  created    sleep 1000\r\n" in told
        terminal.type("\x03")
        assert terminal.wait() == -signal.SIGINT
        assert terminal.seen.endswith("ptykill: interrupted\r\n")
        daemon.terminate()
        rest, message = process.communicate(timeout=TIMEOUT)
        events = [json.loads(line) for line in rest.splitlines()]
        assert {each["session_id"] for each in events} == {web.strip()}
        assert events[-1]["kind"] == "ended"
        assert events[-1]["verdict"]["empty"] is True
        assert message == "ptykill: the daemon has ended the stream of events\n"
        assert process.returncode == 0


def test_mistakes(cli: Cli) -> None:
    """A wrong id or label is one sentence."""
    assert cli.ask("events", "--since", "two words").returncode == 2
    done = cli.ask("events", "--label", "team=a", "--label", "team=b")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
