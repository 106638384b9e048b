"""``ptykill ps``, ``signal`` and ``interrupt``, with a real daemon."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from tests.client.terminals import Cli, Terminal

HEADS = ["pid", "parent", "user", "state", "cpu", "memory", "age", "command"]
ODD = "exec sh -c 'sleep 60; :' $'\\033[31mred\\n\\377'"


def rows(cli: Cli, *arguments: str) -> list[list[str]]:
    """Return the lines that ``ps`` prints below its heads."""
    heads, *lines = cli.ask("ps", *arguments).stdout.splitlines()
    assert heads.split("\t")[-len(HEADS) :] == HEADS
    return [line.split("\t") for line in lines]


def jobs(cli: Cli) -> str:
    """Start a session with a process in the foreground and one that has left it; return its id."""
    session_id = cli.new("setsid sleep 61 & sleep 62; :")
    until = time.monotonic() + 60
    while not {"S!", "S+"} <= {row[3] for row in rows(cli, session_id) if "sleep 6" in row[-1][:8]}:
        assert time.monotonic() < until
    return session_id


def test_processes_are_listed_and_signalled(cli: Cli) -> None:
    """A line for each process; a signal prints whom it reached."""
    session_id = jobs(cli)
    found = {row[-1]: row for row in rows(cli, session_id)}
    escaped, front = found["sleep 61"], found["sleep 62"]
    assert front[1] == str(cli.get(session_id)["pid"])
    done = cli.ask("signal", session_id, "sigterm", "--reach", "escaped")
    assert (done.returncode, done.stdout) == (0, f"{escaped[0]} reached\n")
    until = time.monotonic() + 60
    while len(cli.ask("signal", "--json", session_id, "CONT", "--reach", "escaped").stdout) > 40:
        assert time.monotonic() < until
    done = cli.ask("signal", session_id, "CONT", "--reach", "escaped")
    assert (done.returncode, done.stdout) == (1, "no process is within that reach\n")
    assert cli.ask("interrupt", session_id).returncode == 0
    while cli.get(session_id)["is_alive"]:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert rows(cli, session_id) == []
    for late in cli.ask("signal", session_id, "INT"), cli.ask("interrupt", session_id):
        assert late.returncode == 1
        assert late.stderr.startswith("ptykill: the session")


def test_all_sessions_and_json(cli: Cli) -> None:
    """Without an id the processes of all live sessions are listed; JSON has the daemon's words."""
    first, second, over = jobs(cli), cli.new("sleep 1000"), cli.new("exit 0")
    found = rows(cli)
    assert {row[0] for row in found} - {over} == {first, second}
    told = json.loads(cli.ask("ps", "--json").stdout)["sessions"]
    assert {each["session_id"] for each in told} - {over} == {first, second}
    (one,) = json.loads(cli.ask("ps", "--json", first[:8]).stdout)["sessions"]
    assert one["session_id"] == first
    assert sorted(each["escaped"] for each in one["processes"]) == [False, False, True]
    assert {each["memory"] > 0 for each in one["processes"]} == {True}


def test_mistakes(cli: Cli) -> None:
    """An unknown session, signal or reach is one sentence; nothing is signalled."""
    session_id = cli.new("sleep 1000")
    for arguments in ("ps", "nowhere"), ("signal", "nowhere", "INT"), ("interrupt", "nowhere"):
        done = cli.ask(*arguments)
        assert (done.returncode, done.stderr) == (1, "ptykill: there is no such session\n")
    done = cli.ask("signal", session_id, "NOPE")
    assert (done.returncode, done.stderr) == (1, "ptykill: there is no signal 'NOPE'\n")
    assert cli.ask("signal", session_id, "TERM", "--reach", "everybody").returncode == 2
    assert cli.get(session_id)["is_alive"]


def test_a_table_without_control_characters(cli: Cli, start: Callable[..., Terminal]) -> None:
    """A command line can't write to the terminal of the one who lists it."""
    session_id = json.loads(cli.ask("new", "--json", "bash", "-c", ODD).stdout)["session_id"]
    until = time.monotonic() + 60
    while not any("red" in row[-1] for row in rows(cli, session_id)):
        assert time.monotonic() < until
    assert any("\\x1b[31mred\\n" in row[-1] for row in rows(cli, session_id))
    terminal = start("ps", session_id, cli=cli, cols=120)
    assert terminal.wait() == 0
    assert "\\x1b[31mred\\n" in terminal.seen
    assert "\x1b[31m" not in terminal.seen
    assert "\t" not in terminal.seen
