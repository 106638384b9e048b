"""``ptykill deadlines``, and ``ptykill new`` with deadlines and with an idempotency key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest
from click.testing import CliRunner

import ptykill
from ptykill.cli.main import main
from tests.client.conftest import KEY
from tests.daemon import serving_in_a_thread
from tests.waiting import wait_until

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Return a function that runs a command in this process: its status, output and errors.

    The server's sessions end after 600 seconds without a client.
    """
    deadlines = ptykill.Deadlines(detached=600)
    with ptykill.Host(deadlines=deadlines) as host, serving_in_a_thread(host, KEY) as address:
        env = {"PTYKILL_URL": f"http://{address}", "PTYKILL_API_KEY": KEY}

        def run(*arguments: str) -> tuple[int, str, str]:
            done = CliRunner().invoke(main, arguments, env=env)
            out, err = capfd.readouterr()
            return done.exit_code, out, err or done.stderr

        yield run


def test_deadlines_are_shown_changed_and_removed(run: Run) -> None:
    """What is not mentioned stays; ``none`` leaves the daemon's; a late one is refused."""
    session_id = run("new", "-d", "--name", "web", "--lifetime", "1000", "sleep", "100")[1].strip()

    def now(*options: str) -> object:
        status, out, err = run("deadlines", "--json", "web", *options)
        assert (status, err) == (0, "")
        return json.loads(out)

    assert now() == {"lifetime": 1000, "idle": None, "detached": 600}
    assert now("--idle", "50", "--detached", "60.5") == {
        "lifetime": 1000, "idle": 50, "detached": 60.5,
    }  # fmt: skip
    assert now("--lifetime", "none", "--detached", "none") == {
        "lifetime": None, "idle": 50, "detached": 600,
    }  # fmt: skip
    status, out, _ = run("deadlines", session_id[:8])
    assert (status, out) == (0, "deadline\tseconds\nlifetime\tnone\nidle\t50\ndetached\t600\n")
    status, out, err = run("deadlines", session_id, "--detached", "601")
    assert (status, out) == (1, "")
    assert err == "ptykill: detached is 601 s, and may be at most 600 s here\n"
    assert run("deadlines", "nowhere")[2] == "ptykill: there is no such session\n"
    for wrong in "soon", "0", "nan":
        assert run("deadlines", session_id, "--idle", wrong)[0] == 2
    assert now() == {"lifetime": None, "idle": 50, "detached": 600}
    assert run("deadlines", session_id, "--lifetime", "0.1")[0] == 0
    wait_until(lambda: run("list", "--live")[1].count("\n") == 1)
    assert run("list")[1].endswith("\tlifetime\n")
    status, _, err = run("deadlines", session_id, "--idle", "9")
    assert (status, err.count("\n")) == (1, 1)
    assert run("deadlines", session_id)[0] == 0


def test_a_new_that_is_repeated_with_its_key(run: Run) -> None:
    """It starts one program; another program with the same key is refused."""
    first = run("new", "--json", "--idempotency-key", "k 1", "sleep", "100")
    assert first[0] == 0
    assert run("new", "--json", "--idempotency-key", "k 1", "sleep", "100") == first
    assert run("new", "-d", "--idempotency-key", "k 2", "sleep", "100")[1] not in first[1]
    status, _, err = run("new", "-d", "--idempotency-key", "k 1", "sleep", "99")
    assert (status, "k 1" in err) == (1, True)
    for wrong in "", " k", "\u00fc", "k" * 256:
        assert run("new", "-d", "--idempotency-key", wrong, "sleep", "100")[0] == 2
    assert run("list")[1].count("sleep") == 2
