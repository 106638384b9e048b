"""``ptykill new -d``, ``list`` and ``kill``, with a real daemon, and without one."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ptykill.cli.client.daemon_client import DaemonClient, DaemonError
from ptykill.cli.main import main
from tests.client.conftest import KEY
from tests.client.terminals import Cli, Terminal, ask
from tests.waiting import IDLE_LOOP

STAYS = "sleep 1000"
HEADS = ["id", "pid", "size", "age", "state", "command", "name", "labels", "clients", "reason"]
DEAF = f"trap '' HUP; echo ready; {IDLE_LOOP}"


def test_sessions_are_started_listed_and_killed(cli: Cli) -> None:
    """Each command prints a line for each session."""
    first, second = cli.new(STAYS), cli.new("exit 3")
    lines = cli.ask("list").stdout.splitlines()
    assert lines[0].split("\t") == HEADS
    rows = {line.split("\t")[0]: line.split("\t") for line in lines[1:]}
    assert rows[first][2] == "80x24"
    assert rows[first][4:] == ["running", "sh -c 'sleep 1000'", "", "", "0", ""]
    assert rows[second][4] == "exit 3"
    assert rows[second][-1] == "exited"
    assert second not in cli.ask("list", "--live").stdout
    done = cli.ask("kill", first, second)
    assert done.returncode == 0
    assert sorted(line.split()[:3] for line in done.stdout.splitlines()) == sorted(
        [session_id, "ended", "in"] for session_id in (first, second)
    )
    assert cli.get(first)["exit_code"] == 129
    assert "exit 129 (HUP)" in cli.ask("list").stdout


def test_for_programs(cli: Cli) -> None:
    """With ``--json`` the output is only JSON."""
    created = json.loads(cli.ask("new", "--json", "sleep", "1000").stdout)
    assert set(created) == {"session_id", "token"}
    session_id = created["session_id"]
    listed = json.loads(cli.ask("list", "--json").stdout)["sessions"]
    assert [each["session_id"] for each in listed] == [session_id]
    assert "token" not in listed[0]
    done = cli.ask("kill", "--json", session_id, "nowhere")
    assert done.returncode == 1
    ended, unknown = json.loads(done.stdout)["sessions"]
    assert (ended["session_id"], ended["ended"]) == (session_id, True)
    assert ended["took_ms"] > 0
    assert (unknown["ended"], unknown["code"]) == (False, "SESSION_NOT_FOUND")


def test_an_unknown_id_is_told_and_the_others_are_ended(cli: Cli) -> None:
    """An unknown id is reported, and the other sessions are ended."""
    session_id = cli.new(STAYS)
    done = cli.ask("kill", "nowhere", session_id)
    assert done.returncode == 1
    assert done.stderr == "nowhere  there is no such session\n"
    assert done.stdout.startswith(f"{session_id}  ended")


def test_all_of_them_by_the_grace(cli: Cli) -> None:
    """``--all`` ends all live sessions, and ``--grace`` is the time until SIGKILL."""
    sessions = [cli.new(DEAF) for _ in range(3)]
    assert cli.ask("kill", "--all", "--grace", "0").returncode == 0
    assert {cli.get(each)["exit_code"] for each in sessions} <= {129, 137}
    assert cli.ask("kill", "--all").stdout == ""
    assert cli.ask("kill", "--grace", "-1", sessions[0]).returncode == 1


def test_what_a_session_gets(cli: Cli, tmp_path: Path) -> None:
    """It has the given variables and directory; options after the command are the command's."""
    token = json.loads(
        cli.ask(
            "new",
            "--json",
            "--env",
            "WHAT=a b",
            "--cwd",
            str(tmp_path),
            "sh",
            "-c",
            "pwd;echo $WHAT",
        ).stdout
    )
    done = cli.ask("attach", "--token", token["token"], token["session_id"])
    assert done.stdout.splitlines()[:2] == [str(tmp_path), "a b"]
    assert cli.ask("new", "--env", "nothing", "sh").returncode == 2


def test_a_command_that_is_not_there(cli: Cli) -> None:
    """The client prints the daemon's error."""
    done = cli.ask("new", "-d", "there-is-no-such-command")
    assert done.returncode == 1
    assert done.stderr.startswith("ptykill: exec failed: No such file or directory")


def test_what_a_command_line_holds_is_not_acted_upon(cli: Cli) -> None:
    """A list shows escape sequences in a session's command line as text."""
    cli.new("sleep 1000 # \x1b]0;title\x07\n")
    listed = cli.ask("list").stdout
    assert "\x1b" not in listed
    assert r"\x1b]0;title\x07\n" in listed


# --- tokens ---------------------------------------------------------------------------------------


def test_tokens_are_remembered_privately(cli: Cli, home: Path) -> None:
    """Only their owner may read the file and its folder; a token is removed with its session."""
    session_id = cli.new(STAYS)
    assert home.stat().st_mode & 0o777 == 0o700
    assert {each.stat().st_mode & 0o777 for each in home.iterdir()} == {0o600}
    assert list(json.loads((home / "tokens").read_text())) == [session_id]
    cli.ask("kill", session_id)
    assert json.loads((home / "tokens").read_text()) == {}


def test_a_home_that_can_not_be_written_is_told(cli: Cli, tmp_path: Path) -> None:
    """The session is started all the same."""
    (tmp_path / "file").touch()
    done = cli.ask("new", "-d", "true", env={"XDG_RUNTIME_DIR": str(tmp_path / "file")})
    assert done.returncode == 0
    assert done.stdout.strip()
    assert "token" in done.stderr


# --- what is refused ------------------------------------------------------------------------------


def test_no_daemon_is_one_sentence() -> None:
    """If no daemon listens there: status 1, and a sentence that says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", "unix:/no/such/socket"):
        for command in (
            ["list"],
            ["kill", "x", "y"],
            ["new", "-d"],
            ["attach", "--token", "x", "y"],
        ):
            done = ask(*command, env={"PTYKILL_URL": url, "PTYKILL_API_KEY": KEY})
            assert done.returncode == 1
            assert len(done.stderr.splitlines()) == 1
            assert "ptykill serve" in done.stderr


def test_something_else_is_no_daemon() -> None:
    """A URL that can't be a daemon's is an error of one line."""
    for url in ("nonsense", "ftp://host", "http://", "http://host:port", "http://[", "unix:"):
        done = ask("list", "--url", url)
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1


def test_the_key_is_wanted_and_never_shown(cli: Cli, tmp_path: Path) -> None:
    """Errors about a key say where to put it and never show it; a key may be in a file."""
    file = tmp_path / "key"
    for key in ("", "another-key", "two words", "\u00fc\u00e4"):
        done = cli.ask("list", env={"PTYKILL_API_KEY": key})
        assert done.returncode == 1
        assert "PTYKILL_API_KEY" in done.stderr
        assert not key or key not in done.stderr
    file.write_text(f"{KEY}\n")
    done = cli.ask("list", "--key-file", str(file), env={"PTYKILL_API_KEY": "wrong"})
    assert done.returncode == 0
    assert KEY not in done.stdout + done.stderr
    assert cli.ask("list", "--key-file", str(tmp_path / "none")).returncode == 1


def test_usage() -> None:
    """Wrong usage exits with status 2."""
    for arguments in (["kill"], ["attach"], ["attach", "--detach-key", "f1", "x"], ["run"]):
        assert CliRunner().invoke(main, arguments).exit_code == 2


def test_a_table_for_a_person(cli: Cli, start: Callable[..., Terminal]) -> None:
    """At a terminal the list is a table, with the beginnings of ids, and with what there is."""
    session_id = cli.new(STAYS)
    terminal = start("list", cli=cli, cols=120)
    assert terminal.wait() == 0
    _, row = terminal.seen.splitlines()
    assert row.split()[0] == session_id[:12]
    assert "\t" not in terminal.seen


async def test_a_session_is_shown_and_resized(cli: Cli) -> None:
    """`DaemonClient` can show and resize a session."""
    async with DaemonClient(cli.env["PTYKILL_URL"], KEY) as daemon:
        created = await daemon.create(["sleep", "1000"], size=(30, 90))
        await daemon.resize(created.session_id, 40, 120)
        session = await daemon.get(created.session_id)
        assert (session.rows, session.cols, session.is_alive) == (40, 120, True)
        with pytest.raises(DaemonError) as refused:
            await daemon.get("nowhere")
        assert (refused.value.code, refused.value.status) == ("SESSION_NOT_FOUND", 404)
        assert (await daemon.kill(created.session_id, grace=0)).took is not None
