"""The examples do what they say, and leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from ptykill.testing import processes
from tests.docs.pages import TOP
from tests.waiting import IDLE_LOOP, TIMEOUT, free_port, listens, wait_until

EXAMPLES = TOP / "docs" / "examples"
DEAF = ["sh", "-c", f"trap '' HUP; setsid sleep 60 & echo ready; {IDLE_LOOP}"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a server with these arguments to Python until the block is left; SIGTERM ends it."""
    port = free_port()
    command = [sys.executable, *(each.format(port=port) for each in arguments)]
    environment = os.environ | {"PORT": str(port), "PYTHONPATH": str(EXAMPLES)}
    with subprocess.Popen(command, env=environment) as server:
        try:
            wait_until(lambda: server.poll() is not None or listens(port))
            assert server.poll() is None
            yield port, server
            server.send_signal(signal.SIGTERM)
            server.wait(TIMEOUT)
        finally:
            server.kill()


def client(port: int) -> httpx.Client:
    """Return a client of a server on a port."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT, trust_env=False, verify=False
    )


def test_the_fastapi_daemon(mark: str) -> None:
    """It runs commands, shows what they write, ends them, and ends what is left with itself."""
    with running(str(EXAMPLES / "fastapi_daemon.py")) as (port, server), client(port) as http:
        runs = [http.post("/runs", json={"command": DEAF}).json()["id"] for _ in range(2)]
        shown = http.get(f"/runs/{runs[0]}").json()
        assert shown == {"state": "running", "output": "ready\r\n"}
        ended = http.delete(f"/runs/{runs[0]}")
        assert ended.json() == {"over": True, "outcome": "killed", "survivors": []}
        missing = http.delete("/runs/another")
        assert (missing.status_code, missing.json()["code"]) == (404, "SESSION_NOT_FOUND")
        nothing = http.post("/runs", json={"command": ["there-is-no-such-command"]})
        assert (nothing.status_code, nothing.json()["code"]) == (400, "COMMAND_NOT_FOUND")
        assert processes.spawned(server.pid)
    assert processes.left(mark, TIMEOUT) == []


def test_the_flask_server(mark: str) -> None:
    """A shell of it does what is typed; it ends with its jobs, when it is to or with the server."""
    serve = ("-m", "waitress", "--listen=127.0.0.1:{port}", "flask_server:app")
    with running(*serve) as (port, server), client(port) as http:
        shells = [http.post("/shells").json()["id"] for _ in range(2)]
        for shell in shells:
            typed = http.post(
                f"/shells/{shell}", content=b"nohup sleep 60 >/dev/null & echo $((40 + 2))\n"
            )
            assert "42" in typed.text
        ended = http.delete(f"/shells/{shells[0]}").json()
        assert ended["over"] is True
        assert http.delete("/shells/another").status_code == 404
        assert processes.spawned(server.pid)
    assert processes.left(mark, TIMEOUT) == []
    assert server.returncode == 0


def test_the_trio_daemon(mark: str) -> None:
    """A connection is a shell, which ends with it, or with the daemon."""
    with running(str(EXAMPLES / "trio_daemon.py")) as (port, server):
        wait_until(lambda: not processes.spawned(server.pid))  # That of the look for a listener.
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as one:
            one.sendall(b"setsid sleep 60 & echo $((40 + 2))\n")
            hear(one, b"42")
            assert processes.spawned(server.pid)
        wait_until(lambda: not processes.spawned(server.pid))
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as another:
            another.sendall(b"exit\n")
            hear(another, None)
        staying = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        staying.sendall(b"echo $((40 + 2))\n")
        hear(staying, b"42")
    staying.close()
    assert server.returncode == 0
    assert processes.left(mark, TIMEOUT) == []


def hear(connection: socket.socket, wanted: bytes | None) -> None:
    """Receive until something has come, or to the end."""
    heard = b""
    while wanted is None or wanted not in heard:
        data = connection.recv(4096)
        if not data:
            assert wanted is None, heard
            return
        heard += data


def test_the_tool_runner() -> None:
    """Every task is answered, also one that hangs, and nothing is left of any."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "tool_runner.py")],
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=True,
    )
    told = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert "two and two is 4" in told["a tool"]
    assert "exit_code=3" in told["one that fails"]
    assert "timed_out=True" in told["one that hangs"]
    assert "exit_code=0" in told["one that leaves a server"]
    assert all("over=True" in answer for answer in told.values())
    assert f"```text\n{done.stdout}```" in (TOP / "docs" / "examples.md").read_text()


LEAKS = """

def test_that_leaves_its_program(terminal):
    terminal(["sleep", "1234"])

def test_that_leaves_a_daemon(terminal):
    terminal(["sh", "-c", "trap '' HUP; setsid sleep 1235 & echo started"]).expect("started")

def test_whose_program_ends_late(terminal):
    terminal(["sleep", "0.3"])
"""


def test_the_fixture(tmp_path: Path, mark: str) -> None:
    """It gives a test a terminal, and fails those that leave something running, which is ended."""
    file = tmp_path / "test_terminal.py"
    file.write_text((EXAMPLES / "test_terminal.py").read_text() + LEAKS)
    options = ["-q", "-c", os.devnull, "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(file)],
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=False,
    )
    assert re.search(r"4 passed, 2 errors", done.stdout), done.stdout
    assert "left running: ['sleep', '1234']" in done.stdout
    assert "left running: ['sh'" in done.stdout
    assert processes.left(mark, TIMEOUT) == []


def test_each_example_is_shown() -> None:
    """The page has all of them, and no others."""
    page = (TOP / "docs" / "examples.md").read_text()
    shown = re.findall(r"^```\{literalinclude\} examples/(\w+)\.py$", page, re.MULTILINE)
    assert sorted(shown) == sorted(path.stem for path in EXAMPLES.glob("*.py"))
