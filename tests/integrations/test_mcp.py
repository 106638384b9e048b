"""The MCP server, driven by the SDK's own client: each tool, its limits, and every kind of end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp_types import CallToolResult, TextContent, Tool

from ptykill import InvalidArgument
from ptykill.integrations.mcp.keys import key_bytes, with_application_keys
from ptykill.integrations.mcp.texts import bounded
from ptykill.testing import processes
from tests.waiting import TIMEOUT, wait_until

DEAF = (
    "trap '' HUP TERM; setsid sh -c 'trap \"\" HUP TERM; echo daemon; sleep 1001' & "
    "echo ready; exec sleep 60"
)
"""A program that ignores what asks it to end, and has a daemon that does so too."""


class Agent:
    """A client of one server."""

    def __init__(self, client: ClientSession) -> None:
        self.client: ClientSession = client

    async def ask(self, tool: str, /, **arguments: Any) -> tuple[bool, str]:  # noqa: ANN401
        """Call a tool; return whether it answers with an error, and its text."""
        result = await self.client.call_tool(tool, arguments)
        assert isinstance(result, CallToolResult)
        (content,) = result.content
        assert isinstance(content, TextContent)
        return result.is_error, content.text

    async def call(self, tool: str, /, **arguments: Any) -> str:  # noqa: ANN401
        """Call a tool that has to succeed; return its text."""
        failed, text = await self.ask(tool, **arguments)
        assert not failed, text
        return text

    async def fail(self, tool: str, /, **arguments: Any) -> str:  # noqa: ANN401
        """Call a tool that has to fail; return its error."""
        failed, text = await self.ask(tool, **arguments)
        assert failed, text
        return text


Connect = Callable[..., AbstractAsyncContextManager[Agent]]


@pytest.fixture
def connect(mark: str) -> Connect:
    """Return what starts a server with some options, and connects to it."""

    @asynccontextmanager
    async def connected(*options: str) -> AsyncIterator[Agent]:
        server = StdioServerParameters(
            command=sys.executable,
            args=["-m", "ptykill", "mcp", *options],
            env={processes.MARK: mark},
        )
        with trio.fail_after(TIMEOUT):
            async with stdio_client(server) as streams, ClientSession(*streams) as client:
                await client.initialize()
                yield Agent(client)

    return connected


async def test_a_shell(connect: Connect) -> None:
    """Start, send, wait, read, interrupt, signal, list and kill: a session from start to end."""
    async with connect() as agent:
        assert await agent.call("list") == "there are no sessions"
        env = {"PS1": "> ", "COLOUR": "blue"}
        answer = await agent.call("start", command=["sh", "-i"], env=env, cwd="/", cols=200)
        assert re.fullmatch(r"\[s1: running, pid \d+\]", answer)
        assert (await agent.call("wait", session="s1", text="> ")).endswith("> \n[s1: running]")

        await agent.call("send", session="s1", text="echo $COLOUR $PWD; stty size", keys=["enter"])
        assert "blue /\n24 200\n" in await agent.call("wait", session="s1", regex="\n> $")

        await agent.call("send", session="s1", text="sleep 1002 & sleep 1003", keys=["enter"])
        listed = await agent.call("list")
        # Until its exec, each has the command line of the shell.
        while not all(
            re.search(rf"^    pid \d+, sleep {number}$", listed, re.MULTILINE)
            for number in (1002, 1003)
        ):
            listed = await agent.call("list")
        assert listed.startswith("[s1: running] sh -i, started ")
        await agent.call("interrupt", session="s1")
        await agent.call("wait", session="s1", text="\n> ")
        assert "sleep 1003" not in await agent.call("list")

        sent = await agent.call("signal", session="s1", name="CONT", reach="all")
        assert re.match(r"sent to pid \d+, pid \d+\n\[s1: running\]", sent)
        await agent.call("send", session="s1", text="printf '%s-%s\\n' one two", keys=["enter"])
        output = ""
        while "one-two" not in output:
            output += await agent.call("read", session="s1")
        assert "one-two" not in await agent.call("read", session="s1")
        assert "one-two" in await agent.call("read", session="s1", raw=True)

        killed = await agent.call("kill", session="s1", grace=0.5)
        assert re.search(r"^ended: pid \d+, sleep 1002$", killed, re.MULTILINE)
        assert re.search(r"^\[s1: empty: no process of it is left; ", killed, re.MULTILINE)
        again = await agent.call("kill", session="s1")
        assert "empty: no process" in again


async def test_run(connect: Connect, mark: str) -> None:
    """Output, exit status, and why it ended; nothing of the command is left at the answer."""
    async with connect() as agent:
        text = await agent.call("run", command="printf '\\033[31mred\\033[0m\\n'; exit 3")
        assert text == "red\n[exited with 3]"
        assert await agent.call("run", command=["cat"], input="it") == "it\n[exited with 0]"
        text = await agent.call("run", command="setsid sleep 1004 & sleep 0.1; echo done")
        assert text == "done\n[exited with 0; processes that it had left behind were ended]"
        assert "sleep" not in [each.name for each in processes.marked(mark)]
        text = await agent.call("run", command="sleep 1005", timeout=0.2)
        assert text.endswith("; it was ended because its time was over]")
        text = await agent.call("run", command="seq 100000", max_chars=1000)
        assert re.fullmatch(
            r"1\n2\n[\s\S]*\n\[\.\.\. \d+ bytes \.\.\.\]\n[\s\S]*\n100000\n\[exited with 0\]", text
        )
        assert len(text) < 1100


async def test_a_hostile_daemon(connect: Connect, mark: str) -> None:
    """Killing a session names its daemon, and leaves nothing of it."""
    async with connect() as agent:
        await agent.call("start", command=DEAF, name="deaf")
        await agent.call("wait", session="deaf", text="daemon")
        while not re.search(r"pid \d+, sleep 1001$", await agent.call("list"), re.MULTILINE):
            pass
        text = await agent.call("kill", session="deaf", grace=0.1)
        assert re.search(r"^ended: pid \d+, sleep 1001$", text, re.MULTILINE)
        assert re.search(r"\[deaf: empty: no process of it is left; killed in ", text)
        assert {"sleep", "sh"}.isdisjoint(each.name for each in processes.marked(mark))


async def test_much_output(connect: Connect) -> None:
    """An answer is bounded, and says what is left out of it, and what was dropped before it."""
    async with connect() as agent:
        await agent.call("start", command="seq 250000; echo end; read line")
        text = await agent.call("wait", session="s1", text="end", max_chars=2000)
        assert re.match(r"\[\d+ bytes of output were dropped before they were read\]\n", text)
        assert re.search(r"\n\[\.\.\. \d+ characters \.\.\.\]\n", text)
        assert len(text) < 2200
        assert "dropped" not in await agent.call("read", session="s1")
        raw = await agent.call("read", session="s1", raw=True, max_chars=100)
        assert raw.startswith("[... ")
        assert raw.endswith("end\r\n[s1: running]")


async def test_errors_have_codes_and_the_server_goes_on(connect: Connect) -> None:
    """A mistake of the model is an answer to it."""
    async with connect("--max-sessions", "2", "--lifetime", "100") as agent:
        assert (await agent.fail("run", command=["no-such"])).startswith("COMMAND_NOT_FOUND: ")
        assert "live sessions: none" in await agent.fail("read", session="s1")
        await agent.call("start", command="echo before; read line; exit 5", name="a.b")
        assert (await agent.fail("start", command="cat", name="a.b")).startswith("NAME_TAKEN: ")
        late = await agent.fail("start", command="cat", lifetime=101)
        assert late.startswith("INVALID_DEADLINE: ")
        await agent.call("wait", session="a.b", text="before")
        text = await agent.fail("wait", session="a.b", text="never", timeout=0.1)
        assert text.startswith("EXPECT_TIMEOUT: no match within 0.1 s; the output so far:\n")
        assert (await agent.fail("wait", session="a.b", regex="(")).startswith("INVALID_REQUEST: ")
        for wrong in {"keys": ["hyper"]}, {"text": ""}, {"txt": "x"}, {"text": 3}:
            text = await agent.fail("send", session="a.b", **wrong)
            assert text.startswith("INVALID_REQUEST: ")
        assert (await agent.fail("nothing")).startswith("INVALID_REQUEST: ")
        assert (await agent.fail("signal", session="a.b", name="NO")).startswith("INVALID_REQUEST")
        await agent.call("start", command="cat")
        assert (await agent.fail("start", command="cat")).startswith("TOO_MANY_SESSIONS: ")
        await agent.call("send", session="a.b", keys=["enter"])
        text = await agent.fail("wait", session="a.b", text="never")
        assert text.startswith("OUTPUT_ENDED: ")
        assert "[a.b: exited with 5" in text
        assert (await agent.fail("send", session="a.b", text="x")).startswith("SESSION_ENDED: ")
        assert (await agent.fail("interrupt", session="a.b")).startswith("SESSION_ENDED: ")


async def test_an_idle_session_is_ended(connect: Connect) -> None:
    """By the option of the command; the status says why."""
    async with connect("--idle", "0.3", "--containment", "session") as agent:
        await agent.call("start", command=["sleep", "1006"])
        text = ""
        while "ended by signal" not in text:
            text = await agent.call("wait", session="s1", quiet=10)
        listed = await agent.call("list")
        assert "it was ended because it was idle for too long" in listed, text


async def test_a_program_that_does_not_read(connect: Connect) -> None:
    """Sending is bounded in time."""
    async with connect() as agent:
        await agent.call("start", command="stty raw -echo; echo ready; sleep 1007")
        await agent.call("wait", session="s1", text="ready")
        text = await agent.fail("send", session="s1", text="x" * 200_000, timeout=0.2)
        assert text.startswith("INPUT_FULL: ")


async def test_a_cancelled_request_ends_its_command(connect: Connect, mark: str) -> None:
    """The server goes on."""
    async with connect() as agent:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: agent.ask("run", command="sleep 1008; :", timeout=1000))
            await trio.to_thread.run_sync(
                wait_until, lambda: "sleep" in [each.name for each in processes.marked(mark)]
            )
            nursery.cancel_scope.cancel()
        await trio.to_thread.run_sync(
            wait_until, lambda: "sleep" not in [each.name for each in processes.marked(mark)]
        )
        assert "running" not in await agent.call("list")


async def test_a_client_that_leaves_ends_all(connect: Connect, mark: str) -> None:
    """Closing the connection is enough, before the client's own time-out of two seconds."""
    async with connect() as agent:
        await agent.call("start", command=DEAF)
        await agent.call("wait", session="s1", text="daemon")
    assert processes.left(mark, TIMEOUT) == []


async def test_two_clients_have_two_servers(connect: Connect) -> None:
    """Neither sees the other's sessions, and the end of one leaves those of the other alone."""
    async with connect() as one:
        await one.call("start", command=["cat"], name="mine")
        async with connect() as another:
            assert await another.call("list") == "there are no sessions"
            await another.call("start", command=["cat"], name="mine")
        assert (await one.call("list")).startswith("[mine: running]")


CLIENT = f"""
import sys
import trio
from mcp import ClientSession, StdioServerParameters, stdio_client

async def main():
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "ptykill", "mcp"], env={{sys.argv[1]: sys.argv[2]}}
    )
    async with stdio_client(server) as streams, ClientSession(*streams) as client:
        await client.initialize()
        await client.call_tool("start", {{"command": {DEAF!r}}})
        await client.call_tool("wait", {{"session": "s1", "text": "daemon"}})
        print("started", flush=True)
        await client.call_tool("run", {{"command": "sleep 1009", "timeout": 1000}})

trio.run(main)
"""


@pytest.mark.parametrize(
    ("victim", "how"),
    [
        ("client", signal.SIGKILL),
        ("client", signal.SIGINT),
        ("server", signal.SIGKILL),
        ("server", signal.SIGTERM),
        ("server", signal.SIGHUP),
    ],
)
def test_nobody_survives(victim: str, how: signal.Signals, mark: str) -> None:
    """Whoever of the two is ended, and however, a deaf session and its daemon are ended too."""
    command = [sys.executable, "-c", CLIENT, processes.MARK, mark]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == b"started\n"
            (server,) = processes.children(client.pid)
            os.kill(server if victim == "server" else client.pid, how)
            client.communicate(timeout=TIMEOUT)
        finally:
            client.kill()
    assert processes.left(mark, TIMEOUT) == []


async def test_what_a_model_is_told(connect: Connect) -> None:
    """Each tool and each argument has a description, and the schemas are plain."""
    async with connect() as agent:
        tools: list[Tool] = (await agent.client.list_tools()).tools
    names = "start run send wait read interrupt signal list kill"
    assert [each.name for each in tools] == names.split()
    for tool in tools:
        assert tool.description
        assert len(tool.description) < 500
        for name, field in tool.input_schema["properties"].items():
            assert field["description"], (tool.name, name)
            assert "null" not in str(field)
    assert sum(len(each.model_dump_json()) for each in tools) < 12_000


@pytest.mark.parametrize(
    ("name", "sent", "application"),
    [
        ("enter", b"\r", b"\r"),
        ("Up", b"\x1b[A", b"\x1bOA"),
        ("end", b"\x1b[F", b"\x1bOF"),
        ("ctrl-c", b"\x03", b"\x03"),
        ("ctrl-[", b"\x1b", b"\x1b"),
        ("alt-x", b"\x1bx", b"\x1bx"),
        ("alt-X", b"\x1bX", b"\x1bX"),
        ("alt-enter", b"\x1b\r", b"\x1b\r"),
        ("f1", b"\x1bOP", b"\x1bOP"),
        ("f4", b"\x1bOS", b"\x1bOS"),
        ("f5", b"\x1b[15~", b"\x1b[15~"),
        ("f12", b"\x1b[24~", b"\x1b[24~"),
    ],
)
def test_keys(name: str, sent: bytes, application: bytes) -> None:
    """They are xterm's, in both modes of the cursor keys."""
    assert key_bytes(name, application=False) == sent
    assert key_bytes(name, application=True) == application


@pytest.mark.parametrize("name", ["", "a", "ctrl-", "ctrl-ä", "alt-", "f0", "f13"])
def test_wrong_keys(name: str) -> None:
    """They are errors of the caller."""
    with pytest.raises(InvalidArgument):
        key_bytes(name, application=False)


def test_the_mode_of_the_cursor_keys() -> None:
    """The last switch counts, alone or among others, and a reset."""
    assert not with_application_keys(b"text")
    assert with_application_keys(b"\x1b[?1hx\x1b[?2004l")
    assert with_application_keys(b"\x1b[?1l\x1b[?25;1h")
    assert not with_application_keys(b"\x1b[?1h\x1b[?1;7l")
    assert not with_application_keys(b"\x1b[?1h\x1bc")


async def test_keys_follow_the_program(connect: Connect) -> None:
    """A program that has switched to application mode gets its keys."""
    async with connect() as agent:
        command = "stty -echo; printf '\\033[?1hready\\n'; cat -v"
        await agent.call("start", command=command)
        await agent.call("wait", session="s1", text="ready")
        await agent.call("send", session="s1", keys=["up", "enter"])
        assert "^[OA" in await agent.call("wait", session="s1", text="A")


def test_a_bounded_text() -> None:
    """Its start and its end stay."""
    assert bounded("x" * 10, 10) == "x" * 10
    assert bounded("abcdefghij", 4) == "ab\n[... 6 characters ...]\nij"
