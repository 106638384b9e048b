"""The managers for terminado, without a server: signals, ends, limits."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from terminado.management import MaxTerminalsReached, PtyWithClients

import ptykill
from ptykill.integrations.terminado import (
    NamedTermManager,
    SingleTermManager,
    UniqueTermManager,
)
from tests.waiting import IDLE_LOOP, TIMEOUT

DEAF = ["sh", "-c", "trap '' HUP TERM; echo ready; exec sleep 60"]


class Client:
    """What a manager sees of a websocket; ``broken`` ones fail whatever they are told."""

    size = (None, None)

    def __init__(self, terminal: PtyWithClients, *, broken: bool = False) -> None:
        self.terminal = terminal
        self.text = ""
        self.died = False
        self._broken = broken
        terminal.clients.append(self)

    def on_pty_read(self, text: str) -> None:
        """Note what was read."""
        if self._broken:
            raise BrokenPipeError
        self.text += text

    def on_pty_died(self) -> None:
        """Note the end."""
        if self._broken:
            raise BrokenPipeError
        self.died = True

    async def seen(self, text: str) -> None:
        """Wait for output."""
        await until(lambda: text in self.text)


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110 - a condition of any kind
            await asyncio.sleep(0.01)


def run(test: Callable[[NamedTermManager], Awaitable[None]], *command: str) -> None:
    """Run a test in asyncio, with a manager whose terminals run a command."""

    async def main() -> None:
        manager = NamedTermManager(shell_command=list(command or DEAF))
        await test(manager)
        await manager.shutdown()
        with pytest.raises(ptykill.SupervisorClosed):
            manager.new_terminal()

    asyncio.run(main())


def test_a_signal_goes_to_the_shell_or_to_its_group() -> None:
    """`kill` and `killpg` send one signal, and end nothing that can handle it."""
    script = f"trap 'echo outer' USR1; (trap 'echo inner' USR1; echo ready; {IDLE_LOOP})"

    async def test(manager: NamedTermManager) -> None:
        name, terminal = manager.new_named_terminal()
        client = Client(terminal)
        await client.seen("ready")
        terminal.killpg(signal.SIGUSR1)
        await client.seen("inner")
        assert terminal.ptyproc.isalive()
        manager.kill(name, signal.SIGKILL)
        await until(lambda: client.died)
        assert name not in manager.terminals
        with pytest.raises(ptykill.SessionEnded):
            terminal.kill(signal.SIGTERM)
        terminal.ptyproc.setwinsize(30, 100)  # Does nothing, as with typing.
        assert terminal.ptyproc.write("x") == 1

    run(test, "sh", "-c", script)


def test_without_force_no_sigkill_is_sent() -> None:
    """A deaf program survives `terminate` without ``force``, and not with it."""

    async def test(manager: NamedTermManager) -> None:
        manager.host = host = ptykill.Host(plan="HUP@session 100ms, KILL")
        name, terminal = manager.new_named_terminal()
        await Client(terminal).seen("ready")
        assert not await terminal.terminate()
        assert terminal.ptyproc.isalive()
        assert manager.terminals == {name: terminal}
        assert await terminal.terminate(force=True)
        assert (terminal.ptyproc.isalive(), terminal.ptyproc.closed) == (False, True)
        assert manager.terminals == {}
        assert await terminal.terminate()
        await host.aclose()
        assert await terminal.terminate(force=True)

    run(test)


def test_a_polite_end_is_enough_for_a_shell() -> None:
    """`terminate` without ``force`` ends a shell and its jobs."""

    async def test(manager: NamedTermManager) -> None:
        _, terminal = manager.new_named_terminal()
        terminal.ptyproc.write("sleep 1000 & echo rea''dy\n")
        await Client(terminal).seen("ready\r\n")
        assert await terminal.terminate()

    run(test, "bash", "--norc")


def test_a_client_that_fails_keeps_no_other_from_the_output() -> None:
    """A websocket that has gone is passed over."""

    async def test(manager: NamedTermManager) -> None:
        _, terminal = manager.new_named_terminal()
        Client(terminal, broken=True)
        client = Client(terminal)
        await client.seen("ready")
        await manager.kill_all()
        assert client.died

    run(test)


def test_output_that_is_no_text_is_replaced() -> None:
    """Bytes that are no UTF-8 are shown as such; a character in two reads is one."""

    async def test(manager: NamedTermManager) -> None:
        _, terminal = manager.new_named_terminal()
        client = Client(terminal)
        await until(lambda: client.died)
        assert client.text == "a\ufffdb\u20ac"
        assert "".join(terminal.read_buffer) == client.text

    run(test, "bash", "-c", r"printf 'a\xffb\xe2'; sleep 0.2; printf '\x82\xac'")


def test_the_buffer_of_a_terminal_is_bounded() -> None:
    """It has the newest 1,000 pieces of the output, as terminado's, and none is large."""

    async def test(manager: NamedTermManager) -> None:
        _, terminal = manager.new_named_terminal()
        client = Client(terminal)
        await until(lambda: client.died)
        assert len(client.text) == 8_000_000
        assert client.text.endswith("".join(terminal.read_buffer))
        assert 0 < sum(map(len, terminal.read_buffer)) <= 1000 * 4096

    run(test, "sh", "-c", "head -c 8000000 /dev/zero | tr '\\0' x")


def test_a_terminal_that_nobody_reads_can_be_ended() -> None:
    """`new_terminal` alone starts a session; the end of the loop ends those that are read."""
    started: list[Any] = []

    async def test(manager: NamedTermManager) -> None:
        terminal = manager.new_terminal()
        assert await terminal.terminate(force=True)

    run(test)

    with ptykill.Host(plan="KILL") as host:

        async def leave() -> None:
            manager = NamedTermManager(shell_command=DEAF, host=host)
            started.append(manager.get_terminal("x"))
            await Client(started[0]).seen("ready")

        asyncio.run(leave())
        assert host.call(started[0].ptyproc.session.wait).empty


def test_a_command_that_is_not_there_is_an_error() -> None:
    """No terminal is made then."""

    async def test(manager: NamedTermManager) -> None:
        with pytest.raises(ptykill.SpawnError):
            manager.new_named_terminal()
        assert manager.terminals == {}

    run(test, "/nowhere/shell")


def test_the_terminal_of_a_websocket_ends_with_it() -> None:
    """The unique manager ends a terminal by its plan, and counts it no more for its limit."""

    async def main() -> None:
        manager = UniqueTermManager(shell_command=DEAF, max_terminals=1)
        client: Any = Client(manager.get_terminal())
        await client.seen("ready")
        with pytest.raises(MaxTerminalsReached):
            manager.get_terminal()
        manager.client_disconnected(client)
        another = manager.get_terminal()
        assert another is not client.terminal
        await until(lambda: client.died)
        await manager.shutdown()
        assert not another.ptyproc.isalive()

    asyncio.run(main())


def test_all_share_the_single_terminal() -> None:
    """The single manager has one terminal, until it is ended."""

    async def main() -> None:
        manager = SingleTermManager(shell_command=DEAF)
        terminal = manager.get_terminal()
        assert manager.get_terminal() is terminal
        await manager.kill_all()
        assert not terminal.ptyproc.isalive()
        assert manager.get_terminal() is not terminal
        await manager.shutdown()

    asyncio.run(main())
