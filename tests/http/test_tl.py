"""Tensorlake's command line, unchanged, against ``ptykill serve``.

The current one is in no package; this is the last one that the Python SDK's package has.
pip puts it below ``build``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio

import ptykill
from tests.http.conftest import KEY
from tests.waiting import IDLE_LOOP, TIMEOUT

VERSION = "0.5.59"
TL = Path(__file__).parents[2] / "build" / f"tl-{VERSION}"
DEAF = f"trap '' HUP; echo deaf; {IDLE_LOOP}"


@pytest.fixture(scope="session")
def tl() -> str:
    """Return the program, installed if needed; skip the tests if that fails."""
    if not TL.exists():
        TL.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TL.parent) as folder:
            _fetch(Path(folder))
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as packed:
                made = packed.extract(f"tensorlake-{VERSION}.data/scripts/tl", folder)
            Path(made).chmod(0o755)
            Path(made).rename(TL)
    return str(TL)


def _fetch(folder: Path) -> None:
    options = ("--no-deps", "--only-binary=:all:", "--retries=1", "--timeout=10")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, f"tensorlake=={VERSION}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=2 * TIMEOUT,
        check=False,
    )
    if "No matching distribution" in done.stderr:
        pytest.skip("there is no tl for this machine, or no network to fetch it from")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def env(base: str, tmp_path: Path) -> dict[str, str]:
    """Return the environment in which ``tl`` uses the daemon.

    With an API key it would first ask for the key's owner, which the daemon does not have.
    """
    return {
        **os.environ,
        "HOME": str(tmp_path),
        "TERM": "xterm",
        "TENSORLAKE_API_URL": base,
        "TENSORLAKE_SANDBOX_PROXY_URL": base,
        "TENSORLAKE_PAT": KEY,
        "TENSORLAKE_ORGANIZATION_ID": "an-organization",
        "TENSORLAKE_PROJECT_ID": "a-project",
    }


@pytest.fixture
def client(base: str) -> Iterator[httpx.Client]:
    """Return a client with the key."""
    with httpx.Client(
        base_url=f"{base}/api/v1",
        headers={"Authorization": f"Bearer {KEY}"},
        timeout=TIMEOUT,
        trust_env=False,
        verify=False,
    ) as client:
        yield client


@pytest.fixture
def deaf(client: httpx.Client) -> dict[str, str]:
    """Return the id and the token of a session that is deaf to SIGHUP."""
    told: dict[str, str] = client.post("/pty", json={"command": "sh", "args": ["-c", DEAF]}).json()
    return told


def run(tl: str, env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ``tl sbx pty``."""
    return subprocess.run(
        [tl, "sbx", "pty", *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


async def read_until(session: ptykill.Session, text: bytes) -> None:
    """Wait until a session shows a text."""
    shown = b""
    with trio.fail_after(TIMEOUT):
        while text not in shown:
            more = await session.receive()
            assert more, shown
            shown += more


async def keep_typing(session: ptykill.Session, text: bytes) -> None:
    """Type a text again and again."""
    while True:
        await session.send(text)
        await trio.sleep(0.1)


def test_it_lists_and_removes(
    tl: str, env: dict[str, str], client: httpx.Client, deaf: dict[str, str]
) -> None:
    """A session that is deaf to SIGHUP is dead when `rm` is done, and may be removed again."""
    session = deaf["session_id"]
    pid = client.get(f"/pty/{session}").json()["pid"]
    listed = run(tl, env, "ls", "any").stdout
    assert session in listed
    assert DEAF in listed
    assert "running" in listed  # Its column for the status.
    assert Path(f"/proc/{pid}").exists()
    removed = run(tl, env, "rm", "any", session)
    assert not Path(f"/proc/{pid}").exists()
    assert removed.returncode == 0
    assert f"Removed PTY session {session}" in removed.stdout
    assert run(tl, env, "rm", "any", session).returncode == 0


def test_it_shows_refusals(tl: str, env: dict[str, str]) -> None:
    """It shows the status and the body of a refusal."""
    assert run(tl, env, "ls", "any").stdout == "No PTY sessions for sandbox any.\n"
    unknown = run(tl, env, "rm", "any", "another")
    stranger = run(tl, {**env, "TENSORLAKE_PAT": "another key"}, "ls", "any")
    assert (unknown.returncode, stranger.returncode) == (1, 1)
    assert "(HTTP 404 Not Found)" in unknown.stderr
    assert "SESSION_NOT_FOUND" in unknown.stderr
    assert "(HTTP 401 Unauthorized)" in stranger.stderr
    assert "UNAUTHORIZED" in stranger.stderr


async def test_ssh(tl: str, env: dict[str, str]) -> None:
    """Input and the window's size reach the session, and the exit code comes back."""
    shell = ["-c", "echo ready; while read x; do echo got $x; stty size; done; exit 7"]
    command = [tl, "sbx", "ssh", "any", "--shell", "/bin/sh", *[f"--shell-arg={x}" for x in shell]]
    async with ptykill.open_supervisor() as supervisor:
        session = await supervisor.spawn(command, env=env, rows=30, cols=90)
        await read_until(session, b"ready")
        await session.send(b"abc\r")
        await read_until(session, b"got abc\r\n30 90\r\n")
        session.resize(rows=40, cols=70)
        async with trio.open_nursery() as nursery:
            # It tells its size beside what is typed, not before.
            nursery.start_soon(keep_typing, session, b"\r")
            await read_until(session, b"40 70\r\n")
            nursery.cancel_scope.cancel()
        await session.send(b"\x04")
        with trio.fail_after(TIMEOUT):
            status = await session.wait_exited()
        assert status is not None
        assert status.shell_code == 7


async def test_a_kill_while_attached(
    tl: str, env: dict[str, str], client: httpx.Client, deaf: dict[str, str]
) -> None:
    """It attaches to a session of another client, and gets the exit code of a kill."""
    place = deaf["session_id"]
    command = [tl, "sbx", "pty", "attach", "--token", deaf["token"], "any", place]
    async with ptykill.open_supervisor() as supervisor:
        session = await supervisor.spawn(command, env=env)
        await read_until(session, b"deaf")
        answer = await trio.to_thread.run_sync(client.delete, f"/pty/{place}")
        assert answer.status_code == 204
        with trio.fail_after(TIMEOUT):
            status = await session.wait_exited()
        assert status is not None
        assert status.shell_code == 137
