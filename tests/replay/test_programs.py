"""Real programs: their screen after a replay is the one that the live stream has made."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

import ptykill
from ptykill import Attachment
from tests.replay.conftest import COLS, ROWS, Judge, State
from tests.replay.test_modes import PARTS as MODES
from tests.replay.test_modes import cut
from tests.waiting import TIMEOUT

QUIET = 0.5
"""Seconds without output after which a program has drawn its screen."""
MOST_QUIET = 5
"""How many of them a program has time for."""
ENVIRONMENT = {"TERM": "xterm-256color", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/"}
COLOURS = r"PS1='\[\e]0;at work\a\e[1;32m\]me\[\e[0m\]:\[\e[34m\]\w\[\e[0m\]\$ '"

PROGRAMS: dict[str, tuple[Sequence[str], Sequence[bytes]]] = {
    "bash": (
        ("bash", "--norc", "--noprofile", "-i"),
        (
            COLOURS.encode() + b"\r",
            b"ls --color=always -l /usr/share\r",
            b"printf '\\e[41mred\\e[0m'; seq 30\r",
            b"echo unfinished",
        ),
    ),
    "vim": (
        ("vim", "-u", "NONE", "-i", "NONE", "-N", "text.py"),
        (
            b":syntax on\r:set hlsearch mouse=a\r",
            b"/def\r",
            b"\x06\x06\x02",
            b"oinserted text",
            b"\x1b\x0c",
        ),
    ),
    "less": (("less", "-R", "text.py"), (b"  ", b"/def\r", b"b", b"\x0c")),
    "top": (("top", "-d", "30"), (b"z", b"x", b"M", b"\x0c")),
}
"""Each program, and what is typed into it; at the end it draws its whole screen."""


async def settle(attachment: Attachment, into: list[bytes]) -> None:
    """Receive until the program has been quiet for a while."""
    for _ in range(MOST_QUIET * 10):
        with trio.move_on_after(QUIET) as waiting:
            into.append(await attachment.receive())
        if waiting.cancelled_caught:
            return


async def receive_until(attachment: Attachment, end: int) -> list[bytes]:
    """Receive up to an offset."""
    pieces: list[bytes] = []
    while attachment.offset < end:
        pieces.append(await attachment.receive(end - attachment.offset))
    return pieces


async def run(name: str, folder: Path) -> tuple[list[bytes], list[bytes]]:
    """Run a program; return its live output, and a replay of it while it still runs."""
    command, typed = PROGRAMS[name]
    live: list[bytes] = []
    async with ptykill.open_supervisor() as supervisor:
        session = await supervisor.spawn(command, env=ENVIRONMENT, cwd=folder, rows=ROWS, cols=COLS)
        with session.attach() as attachment, trio.fail_after(TIMEOUT):
            await settle(attachment, live)
            for keys in typed:
                await session.send(keys)
                await settle(attachment, live)
            end = attachment.offset
            with session.attach() as another, session.attach(since=0) as third:
                replayed = await receive_until(another, end)
                assert b"".join(replayed) == b"".join(await receive_until(third, end))
                assert another.missing == third.missing == 0
        await session.kill()
    return live, replayed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a text to show."""
    lines = (f"def function_{number}(x):\n    return 'é' * {number}\n" for number in range(200))
    (tmp_path / "text.py").write_text("\n".join(lines))
    return tmp_path


def same(state: State, expected: State) -> None:
    """Compare the whole state: cells with colours, cursor, modes, titles. Nothing is answered."""
    for part in expected.keys() - {"answers"}:
        assert state[part] == expected[part], part
    assert state["answers"] == []


@pytest.mark.parametrize("name", PROGRAMS)
async def test_the_screen_is_as_it_was(name: str, folder: Path, judge: Judge) -> None:
    """A replay from the start makes the same screen, and no query in it is answered."""
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    expected, state = judge(await run(name, folder))
    same(state, expected)


@pytest.mark.parametrize("name", ["vim", "less", "top"])
async def test_the_screen_is_as_it_was_after_a_cut(name: str, folder: Path, judge: Judge) -> None:
    """A replay that begins before the program has drawn its screen makes the same screen.

    That is cut at many places; the modes are the same wherever it is.
    """
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    live, _ = await run(name, folder)
    output = b"".join(live)
    drawn = output.rfind(b"\x1b[H")
    cuts = [*range(1, len(output), max(1, len(output) // 60))]
    expected, *states = judge([[output], *(cut(output, at) for at in cuts)])
    for at, state in zip(cuts, states, strict=True):
        for part in MODES:
            assert state[part] == expected[part], (at, part)
        if at <= drawn:
            assert state["cells"] == expected["cells"], at
            assert state["cursor"] == expected["cursor"], at
