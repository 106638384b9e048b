"""The published Tensorlake SDK, unchanged, against ``ptykill serve``."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from tensorlake import sandbox as tensorlake  # type: ignore[import-untyped]

from ptykill.testing import processes
from tests.http.conftest import KEY
from tests.waiting import IDLE_LOOP, TIMEOUT, wait_until

# The SDK leaves its sockets to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

DEAF = f"trap '' HUP; echo deaf; {IDLE_LOOP}"


def sandbox(base: str) -> Any:  # noqa: ANN401 - the SDK's own
    """Return the SDK's client."""
    return tensorlake.Sandbox("any", proxy_url=base, api_key=KEY)


def test_the_sync_client(base: str) -> None:
    """Create, input, resize, output, wait."""
    output: list[bytes] = []
    exits: list[int] = []
    pty = sandbox(base).create_pty(
        "sh",
        ["-c", "echo $GREETING; read x; echo got $x; stty size; pwd; exit 3"],
        env={"GREETING": "hello"},
        working_dir="/",
        on_data=output.append,
        on_exit=exits.append,
    )
    wait_until(lambda: b"hello" in b"".join(output))
    pty.resize(100, 40)
    pty.send_input("abc\n")
    assert pty.wait(TIMEOUT) == 3
    assert exits == [3]
    assert b"".join(output).endswith(b"got abc\r\n40 100\r\n/\r\n")


def test_the_sync_client_kills(base: str) -> None:
    """A kill while attached: no process is left, and `wait` returns the code."""
    output: list[bytes] = []
    pty = sandbox(base).create_pty("sh", ["-c", DEAF], on_data=output.append)
    wait_until(lambda: b"deaf" in b"".join(output))
    pty.kill()
    assert pty.wait(TIMEOUT) == 137
    pty.kill()  # A second time it is over already.


def test_the_sync_client_reconnects(base: str) -> None:
    """Disconnect and connect again: the session goes on, and no output is lost."""
    output: list[bytes] = []
    pty = sandbox(base).create_pty("sh", ["-c", "echo one; read x; echo two; exit 0"])
    pty.on_data(output.append)
    pty.disconnect()
    again = sandbox(base).connect_pty(pty.session_id, pty.token, on_data=output.append)
    again.send_input(b"\n")
    assert again.wait(TIMEOUT) == 0
    assert b"two" in b"".join(output)


def test_the_limit_and_a_wrong_command(base: str) -> None:
    """A refusal is an error of the SDK's, with the status."""
    here = sandbox(base)
    with pytest.raises(tensorlake.SandboxError, match="COMMAND_NOT_FOUND"):
        here.create_pty_session("there-is-no-such-command")
    for _ in range(4):
        here.create_pty_session("sleep", ["60"])
    with pytest.raises(tensorlake.SandboxError, match="TOO_MANY_SESSIONS"):
        here.create_pty_session("sleep", ["60"])


def test_the_async_client(base: str, mark: str) -> None:
    """The same with asyncio: input, output, wait; and a kill while attached."""

    async def main() -> tuple[int, int, bytes]:
        here = tensorlake.AsyncSandbox("any", proxy_url=base, api_key=KEY)
        output: list[bytes] = []
        pty = await here.create_pty("sh", ["-c", "read x; echo got $x; exit 5"])
        pty.on_data(output.append)
        await pty.resize(90, 30)
        await pty.send_input("abc\n")
        code = await pty.wait(TIMEOUT)
        seen = asyncio.Event()
        other = await here.create_pty("sh", ["-c", DEAF], on_data=lambda _: seen.set())
        await seen.wait()
        await other.kill()
        return code, await other.wait(TIMEOUT), b"".join(output)

    code, killed, output = asyncio.run(main())
    assert (code, killed) == (5, 137)
    assert b"got abc" in output
    assert [each for each in processes.marked(mark) if each.name in {"sh", "sleep"}] == []


def test_a_sync_client_that_pauses(base: str) -> None:
    """With an ``on_data`` that sleeps for three seconds, all of 5 MB and the exit code arrive."""
    zeros: list[int] = []  # What is typed may be echoed as well, before them.

    def sleep_once(data: bytes) -> None:
        if not zeros:
            time.sleep(3)
        zeros.append(data.count(0))

    # Not before it is attached: of what comes until then, the newest megabyte is kept.
    program = "read go; head -c 5000000 /dev/zero; exit 7"
    pty = sandbox(base).create_pty("sh", ["-c", program], on_data=sleep_once)
    pty.send_input(b"\n")
    assert pty.wait(TIMEOUT) == 7
    assert sum(zeros) == 5_000_000


@pytest.mark.long
def test_a_silent_session_stays_attached(base: str) -> None:
    """A session without output for longer than the SDK's time-out stays attached."""
    pty = sandbox(base).create_pty("sh", ["-c", "sleep 31; exit 6"])
    assert pty.wait(TIMEOUT + 31) == 6
