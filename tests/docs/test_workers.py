"""The page on workers and machines: its worker and its nginx, run and driven."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from tensorlake import sandbox as tensorlake  # type: ignore[import-untyped]
from websockets.sync.client import connect

from ptykill.testing import processes
from tests.daemon import serving
from tests.docs.running import block, needs_nginx, nginx
from tests.waiting import TIMEOUT, free_port, wait_until

KEY = "one-key-for-all-workers"
KEYS = {name: f"the-key-of-{name}" for name in ("one", "two", "three")}
"""The keys of three daemons: none accepts another's, so an answer shows which one answered."""
ALL = "/api/v1/pty"


def test_many_workers_have_one_daemon(tmp_path: Path, mark: str) -> None:
    """Each worker ends what another has started; 204, and nothing of it is left."""
    (tmp_path / "worker.py").write_text(block("workers.md", "python", "worker.py"))
    start = block("workers.md", "sh", "uvicorn").splitlines()[-1]
    port, path = free_port(), str(tmp_path / "socket")
    start = start.replace("--port 8000", f"--port {port}").replace("/run/ptykill/socket", path)
    settings, uvicorn, *options = shlex.split(start)
    name, _, value = settings.partition("=")
    assert uvicorn == "uvicorn"
    with (
        serving("--uds", path, key=KEY),
        subprocess.Popen(
            [sys.executable, "-m", uvicorn, *options, "--log-level", "error"],
            env={**os.environ, name: value, "PTYKILL_API_KEY": KEY},
            cwd=tmp_path,
        ) as workers,
    ):
        try:
            base = f"http://127.0.0.1:{port}"
            wait_until(lambda: workers.poll() is not None or _answers(f"{base}/tasks/x"))
            started: dict[int, str] = {}

            def start_one() -> int:
                # A connection for each: it is the kernel who deals them out.
                told = httpx.post(
                    f"{base}/tasks", timeout=TIMEOUT, trust_env=False, verify=False
                ).json()
                started[told["worker"]] = told["task"]
                return len(started)

            wait_until(lambda: start_one() == 2)
            for worker, task in started.items():
                wait_until(lambda task=task, worker=worker: _ended_by(base, task) != worker)  # type: ignore[misc]
        finally:
            workers.terminate()
            workers.wait(TIMEOUT)
    assert [each for each in processes.marked(mark) if each.name in {"sh", "sleep"}] == []


def _answers(url: str) -> bool:
    try:
        return httpx.delete(url, timeout=TIMEOUT, trust_env=False, verify=False).status_code == 404
    except httpx.TransportError:
        return False


def _ended_by(base: str, task: str) -> int:
    """End a task; return the pid of the worker that answered."""
    answer = httpx.delete(f"{base}/tasks/{task}", timeout=TIMEOUT, trust_env=False, verify=False)
    assert answer.status_code == 204
    return int(answer.headers["X-Worker"])


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[str]:
    """Run the page's nginx before three daemons."""
    with ExitStack() as stack:
        options = ("--allowed-host", "*.local", "--allowed-host", "127.0.0.2")
        places = {r"\.sandboxes\.example\.com$": r"\.local$", "sandboxes.example.com ": "_ "}
        for n, key in enumerate(KEYS.values(), 1):
            daemon = stack.enter_context(serving(*options, key=key))
            places[f"10.0.0.{n}:8022"] = daemon
        yield stack.enter_context(
            nginx(block("workers.md", "text", "map $sandbox"), tmp_path, places)
        )


def _auth(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS.get(name)}"}


def _ask(proxy: str, name: str) -> httpx.Client:
    headers = {**_auth(name), "Host": f"{name}.local"}
    return httpx.Client(
        base_url=f"http://{proxy}", headers=headers, timeout=TIMEOUT, trust_env=False, verify=False
    )


def _attached(proxy: str, name: str, told: dict[str, str]) -> Any:  # noqa: ANN401 - a block
    host, port = proxy.split(":")
    return connect(
        f"ws://{name}.local{ALL}/{told['session_id']}/ws",
        additional_headers={**_auth(name), "X-PTY-Token": told["token"]},
        address=(host, int(port)),
        proxy=None,
    )


@needs_nginx
def test_the_host_name_says_which_daemon(proxy: str) -> None:
    """Each session is one daemon's; attached to and killed there, and unknown to the others."""
    body = {"command": "sh", "args": ["-c", "trap '' HUP; read x; echo got $x; sleep 1000"]}
    told = {}
    for name in KEYS:
        with _ask(proxy, name) as client:
            told[name] = client.post(ALL, json=body).json()
    for name, other in ("one", "two"), ("two", "three"), ("three", "one"):
        place = f"{ALL}/{told[name]['session_id']}"
        with (
            _ask(proxy, name) as right,
            _ask(proxy, other) as wrong,
            _attached(proxy, name, told[name]) as socket,
        ):
            socket.send(b"\x02")
            socket.send(b"\x00" + name.encode() + b"\n")
            seen = b""
            while f"got {name}".encode() not in seen:
                seen += socket.recv(TIMEOUT)[1:]
            assert wrong.delete(place).json()["code"] == "SESSION_NOT_FOUND"
            assert right.get(place).json()["is_alive"] is True
            pid = right.get(place).json()["pid"]
            assert right.delete(f"{place}?grace=0.2").status_code == 204
            assert not Path(f"/proc/{pid}").exists()
            for _ in socket:  # Until it is closed.
                pass
            assert (socket.close_code, socket.close_reason) == (1001, "session terminated")


@needs_nginx
def test_a_name_that_nobody_has_is_told(proxy: str) -> None:
    """It is an error like any other."""
    with _ask(proxy, "four") as client:
        answer = client.get(ALL)
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert answer.headers["content-type"] == "application/json"


@needs_nginx
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its sockets
@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"], ids=["name", "header"])
def test_the_sdk_finds_its_sandbox(proxy: str, address: str) -> None:
    """On loopback the host name has the sandbox's name, and elsewhere a header."""
    base = f"http://{address}:{proxy.partition(':')[2]}"
    for name, key in KEYS.items():
        output: list[bytes] = []
        sandbox = tensorlake.Sandbox(name, proxy_url=base, api_key=key)
        pty = sandbox.create_pty("sh", ["-c", "echo ready; sleep 1000"], on_data=output.append)
        wait_until(lambda: b"ready" in b"".join(output))  # noqa: B023 - it is waited for here
        with _ask(proxy, name) as client:
            assert [each["is_alive"] for each in client.get(ALL).json()["sessions"]] == [True]
        pty.kill()
        assert pty.wait(TIMEOUT) == 129
