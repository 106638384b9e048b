"""Terminals of a real Jupyter server, through its REST API and its websockets."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado import web

import ptykill
from ptykill.integrations.jupyter import TerminalManager
from ptykill.testing import FakeTier, Member, processes
from tests.integrations.jupyter import OURS, Jupyter, deaf_daemon, serving_jupyter
from tests.waiting import TIMEOUT, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """Run a server with the manager, for tests that leave it as it was."""
    with serving_jupyter(tmp_path_factory.mktemp("jupyter"), OURS) as jupyter:
        yield jupyter


def test_a_terminal_is_made_and_listed_and_deleted(server: Jupyter, tmp_path: Path) -> None:
    """The REST API answers as before: names, directories, times, 404."""
    first, named = server.create(), server.create(name="mine", cwd=str(tmp_path))
    assert (first, named) == ("1", "mine")
    assert sorted(server.names()) == ["1", "mine"]
    assert server.ask("POST", body={"name": "mine"}).status_code == 409
    before = server.ask("GET", "/mine").json()["last_activity"]
    with server.connect("mine") as terminal:
        assert terminal.run("pwd") == str(tmp_path)
        assert terminal.run("echo $TERM $JUPYTER_SERVER_ROOT $0").startswith("xterm-256color /")
    assert server.ask("GET", "/mine").json()["last_activity"] > before
    for name in first, named:
        assert server.ask("DELETE", f"/{name}").status_code == 204
        assert server.ask("GET", f"/{name}").status_code == 404
        assert server.ask("DELETE", f"/{name}").status_code == 404
    assert server.names() == []


def test_clients_share_a_terminal_of_the_smallest_size(server: Jupyter) -> None:
    """All clients see all output; the smallest window decides, and its leaving frees the others."""
    name = server.create()
    with server.connect(name) as one:
        one.resize(40, 120)
        assert one.run("stty size") == "40 120"
        with server.connect(name) as another:
            another.resize(30, 130)
            assert another.run("stty size") == "30 120"
            one.read_until("30 120\r\n")
        wait_until(lambda: one.run("stty size") == "40 120")
    server.ask("DELETE", f"/{name}")


def test_a_client_that_comes_back_gets_the_buffer(server: Jupyter) -> None:
    """What was printed before, and while no client was there, is there for the next one."""
    name = server.create()
    with server.connect(name) as terminal:
        assert terminal.run("x=42; echo befo''re") == "before"
        terminal.type("sleep 0.2; echo mean''while\r")
    with server.connect(name) as terminal:
        terminal.read_until("meanwhile\r\n")
        assert "before\r\n" in terminal.text
        assert terminal.run("echo $x") == "42"
    server.ask("DELETE", f"/{name}")


def test_much_output_comes_whole_and_in_order(server: Jupyter) -> None:
    """No output is lost between the terminal and the websocket."""
    name = server.create()
    with server.connect(name) as terminal:
        printed = terminal.run("seq 100000")
    assert printed.split() == [str(number) for number in range(1, 100_001)]
    server.ask("DELETE", f"/{name}")


def test_delete_ends_what_terminado_leaves(server: Jupyter, tmp_path: Path) -> None:
    """A deaf daemon is dead when DELETE has answered; it lives on after that of terminado."""
    name = server.create()
    with server.connect(name) as terminal:
        mark = deaf_daemon(terminal)
        terminal.type("sleep 1000 & sleep 1000\r")
        assert server.ask("DELETE", f"/{name}").status_code == 204
        assert processes.names(processes.marked(mark)) == []
        terminal.read_to_the_end()
    with serving_jupyter(tmp_path / "stock") as stock:
        name = stock.create()
        with stock.connect(name) as terminal:
            mark = deaf_daemon(terminal)
            try:
                assert stock.ask("DELETE", f"/{name}").status_code == 204
                assert len(processes.marked(mark)) > 0
                assert stock.names() == [name]  # It holds the terminal open.
            finally:
                assert processes.kill_marked(mark) == []


def test_exit_ends_what_the_shell_leaves(server: Jupyter) -> None:
    """A shell that exits by itself ends its terminal, and what it has started."""
    name = server.create()
    with server.connect(name) as terminal:
        mark = deaf_daemon(terminal)
        terminal.type("echo good''bye; exit\r")
        terminal.read_to_the_end()
        assert "goodbye\r\n" in terminal.text
    assert name not in server.names()
    assert processes.names(processes.marked(mark)) == []


def test_a_program_that_reads_nothing_stops_no_other_terminal(server: Jupyter) -> None:
    """Input that waits for one program does not hold up the input of another."""
    full, other = server.create(), server.create()
    with server.connect(full) as blocked, server.connect(other) as terminal:
        blocked.type("stty raw -echo; echo rea''dy; exec sleep 1000\r")
        blocked.read_until("ready")
        blocked.type("x" * 1_000_000)
        assert terminal.run("echo he''re") == "here"
        assert server.ask("DELETE", f"/{full}").status_code == 204
    server.ask("DELETE", f"/{other}")


def test_inactive_terminals_are_culled(tmp_path: Path) -> None:
    """A terminal without activity is ended, with all that it has started."""
    times = "cull_inactive_timeout", "cull_interval"
    options = [f"c.TerminalManager.{each} = 1" for each in times]
    with serving_jupyter(tmp_path, OURS, *options) as server:
        name = server.create()
        with server.connect(name) as terminal:
            mark = deaf_daemon(terminal)
            terminal.read_to_the_end()
        assert server.names() == []
        assert processes.names(processes.marked(mark)) == []


def test_a_server_that_stops_ends_all_terminals(tmp_path: Path) -> None:
    """Deaf daemons, and input that nobody reads, keep no server from its end."""
    plan = 'c.TerminalManager.plan = "HUP@session 500ms, KILL"'
    with serving_jupyter(tmp_path, OURS, plan) as server:
        marks = []
        for _ in range(3):
            with server.connect(server.create()) as terminal:
                marks.append(deaf_daemon(terminal))
                terminal.type("stty raw -echo; echo rea''dy; exec sleep 1000\r")
                terminal.read_until("ready")
                terminal.type("x" * 1_000_000)
        assert server.stop() < TIMEOUT / 2
        assert [processes.marked(mark) for mark in marks] == [[], [], []]
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "destroyed" not in log


def test_a_server_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    """After SIGKILL of the server the keepers end its terminals."""
    with serving_jupyter(tmp_path, OURS) as server:
        with server.connect(server.create()) as terminal:
            mark = deaf_daemon(terminal)
            server.process.kill()
            server.process.wait(TIMEOUT)
        assert processes.left(mark, within=TIMEOUT) == []


def test_a_delete_that_leaves_processes_is_an_error() -> None:
    """It answers 500, and the terminal stays in the list until they have ended."""
    tier = FakeTier(leader=Member(), members=[Member(dies_of={"KILL": math.inf})])

    async def main() -> None:
        manager = TerminalManager(shell_command=["bash"])
        manager.host = ptykill.Host(containment=tier, plan="KILL 100ms")
        name = manager.create()["name"]
        with pytest.raises(web.HTTPError) as failure:
            await manager.terminate(name, force=True)
        assert failure.value.status_code == 500
        assert [each["name"] for each in manager.list()] == [name]
        await manager.terminate_all()  # It only logs.
        await manager.shutdown()

    asyncio.run(main())


def test_a_wrong_plan_is_refused_at_the_start() -> None:
    """A plan in the configuration is checked before there is a terminal."""
    with pytest.raises(ptykill.PlanError, match=re.escape("HUPP")):
        TerminalManager(shell_command=["bash"], plan="HUPP@session 1s, KILL")
