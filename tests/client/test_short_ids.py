"""Names, labels and the beginnings of ids on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from ptykill.cli.client.daemon_client import DaemonError
from ptykill.cli.client.short_ids import matching
from ptykill.http.deadline_schema import DeadlinesBody
from ptykill.http.session_record import SessionRecord
from tests.daemon import serving
from tests.waiting import TIMEOUT, wait_until

KEY = "key-for-tests"


def record(session_id: str, name: str | None = None, *, alive: bool = True) -> SessionRecord:
    """Return the record of a session."""
    return SessionRecord(
        session_id=session_id,
        pid=1,
        command="sh",
        args=[],
        rows=24,
        cols=80,
        created_at=0,
        ended_at=None,
        exit_code=None,
        is_alive=alive,
        status="running",
        client_count=0,
        name=name,
        labels={},
        last_input_at=None,
        last_output_at=None,
        end_reason=None,
        deadlines=DeadlinesBody(),
    )


def test_what_a_text_stands_for() -> None:
    """An id, the beginning of one id, or a name: never one of several."""
    one, two, three = "3fa" + "0" * 29, "3fb" + "0" * 29, "abc" + "0" * 29
    known = [record(one, "web", alive=False), record(two, "web"), record(three, "3fa")]
    assert matching("3fb", known) == two
    assert matching("web", known) == two
    assert matching("web", [known[0], record(two, "web", alive=False)]) == two
    assert matching("abc", known) == three
    assert matching(one, known) == one
    assert matching("another", known) == "another"
    assert matching("", known) == ""
    for text in "3f", "3fa":  # The second is the name of one, and the beginning of another.
        with pytest.raises(DaemonError, match="ambiguous") as caught:
            matching(text, known)
        assert one in str(caught.value)
        assert caught.value.code == "AMBIGUOUS_ID"


def test_the_commands_take_names_labels_and_short_ids() -> None:
    """With a real daemon: what is meant is ended, and nothing else."""
    with serving(key=KEY) as address:
        env = {**os.environ, "PTYKILL_URL": f"http://{address}", "PTYKILL_API_KEY": KEY}

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "ptykill", *arguments],
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )

        def live(*options: str) -> list[str]:
            told = json.loads(run("list", "--live", "--json", *options).stdout)
            return [each["session_id"] for each in told["sessions"]]

        sleep = ("sleep", "300")
        web = run("new", "-d", "--name", "web", "--label", "team=ci", *sleep).stdout.strip()
        two = run("new", "-d", "--label", "team=ci", *sleep).stdout.strip()
        bare = run("new", "-d", *sleep).stdout.strip()
        assert live("--label", "team=ci") == [web, two]
        assert live() == [web, two, bare]
        taken = run("new", "-d", "--name", "web", *sleep)
        assert (taken.returncode, "web" in taken.stderr) == (1, True)
        assert "sleep 300" in run("ps", "web").stdout
        assert run("signal", web[:8], "CONT").stdout.endswith(" reached\n")
        assert run("interrupt", bare[:8]).returncode == 0
        wait_until(lambda: live() == [web, two])
        bare = run("new", "-d", *sleep).stdout.strip()
        assert run("kill", "web").returncode == 0
        assert live() == [two, bare]
        assert run("kill", "--label", "team=ci").returncode == 0
        assert live() == [bare]
        assert run("kill", "--label", "team=ci", "--all").returncode == 2
        assert run("kill", bare[:8]).returncode == 0
        assert live() == []
