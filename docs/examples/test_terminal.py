"""Tests with a real terminal, which fail when they leave something running in it."""

from collections.abc import Callable, Iterator

import ptykill
import pytest
import trio


class Terminal:
    """What a test types into, and reads from."""

    def __init__(self, host: ptykill.Host, command: list[str]) -> None:
        self.host = host
        self.command = command
        self.session = host.spawn(command)

    def type(self, text: str) -> None:
        self.host.call(self.session.send, text.encode())

    def expect(self, wanted: str, seconds: float = 10.0) -> str:
        async def read() -> str:
            seen = ""
            with trio.fail_after(seconds):
                while wanted not in seen:
                    data = await self.session.receive()
                    assert data, f"it ended with {seen!r}"
                    seen += data.decode(errors="replace")
            return seen

        return self.host.call(read)


@pytest.fixture
def terminal() -> Iterator[Callable[[list[str]], Terminal]]:
    """Start programs on terminals; what is not over a second after the test makes it fail."""
    terminals: list[Terminal] = []
    with ptykill.Host(plan="HUP@session 500ms, KILL", leftovers="kill") as host:

        def start(command: list[str]) -> Terminal:
            terminals.append(Terminal(host, command))
            return terminals[-1]

        yield start

        async def ends_by_itself(session: ptykill.Session) -> bool:
            with trio.move_on_after(1):
                # Who had to be signalled was left running: the leader, or what it had started.
                return not (await session.wait()).deliveries
            return False

        leaked = [each for each in terminals if not host.call(ends_by_itself, each.session)]
    if leaked:
        commands = ", ".join(repr(each.command) for each in leaked)
        pytest.fail(f"left running: {commands}", pytrace=False)


def test_a_prompt(terminal: Callable[[list[str]], Terminal]) -> None:
    greeter = terminal(["sh", "-c", 'printf "name? "; read name; test -t 0 && echo "hello $name"'])
    greeter.expect("name? ")
    greeter.type("world\n")
    greeter.expect("hello world")
