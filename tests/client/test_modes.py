"""The modes that a session sets on the terminal, and how a client resets them."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ptykill.cli.client.modes import Modes
from tests.client.terminals import Cli, eventually

SWITCHES = {
    b"\x1b[?1049h": b"\x1b[?1049l",
    b"\x1b[?1h": b"\x1b[?1l",
    b"\x1b[?6h": b"\x1b[?6l",
    b"\x1b[?25l": b"\x1b[?25h",
    b"\x1b[?7l": b"\x1b[?7h",
    b"\x1b[?1004h": b"\x1b[?1004l",
    b"\x1b[?2004h": b"\x1b[?2004l",
    b"\x1b[?2026h": b"\x1b[?2026l",
    b"\x1b[4h": b"\x1b[4l",
    b"\x1b=": b"\x1b>",
    b"\x1b[4 q": b"\x1b[0 q",
    b"\x1b[3;10r": b"\x1b7\x1b[r\x1b8",
    b"\x1b(0": b"\x1b(B",
    b"\x0e": b"\x0f",
    b"\x1b[>1u": b"\x1b[<1u",
    b"\x1b[>1u\x1b[>5u": b"\x1b[<2u",
    b"\x1b[=5u": b"\x1b[=0u",
    b"\x1b[=1;2u": b"\x1b[=0u",
    b"\x1b[>4;2m": b"\x1b[>4m",
    b"\x1b[>1;2m": b"\x1b[>1m",
    b"\x1b[>1n": b"\x1b[>1m",
    b"\x1b[22;0t": b"\x1b[23;0t",
    b"\x1b[22;2t\x1b[22;1t": b"\x1b[23;1t\x1b[23;2t",
    b"\x1b]8;;http://a/\x07": b"\x1b]8;;\x1b\\",
    b"\x1b[31m": b"",
    b"\x1b[38;5;0m": b"",
    b"\x1b[48;2;0;0;0m": b"",
    b"\x1b[4:3m": b"",
}
"""A program's output, and the sequence that undoes it; a reset of colours follows each."""

PRIVATE = (
    *(1, 5, 6, 9, 47, 66, 69, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1015, 1016),
    *(1047, 1049, 2004, 2026, 2031, 2048),
)
"""Private modes that a shell expects to be off (xterm's ctlseqs, kitty's and contour's docs)."""

PLAIN = (
    b"",
    b"text\r\n",
    b"\x1b[31mred\x1b[0m\x1b[1;38;5;0mbold\x1b[m\x1b[4m\x1b[0;0m",
    b"\x1b[?1049h\x1b[?25l full screen \x1b[?25h\x1b[?1049l plain \x1b[?",
    b"\x1b=keypad\x1b>",
    b"\x1b[2 q\x1b[ q",
    b"\x1b[2;5r\x1b[r",
    b"\x1b(0qqq\x1b(B\x0eqqq\x0f",
    b"\x1b[4hinsert\x1b[4l",
    b"\x1b[>1u\x1b[<u\x1b[=5u\x1b[=0u\x1b[<9u",
    b"\x1b[>1u\x1b[?1049h\x1b[>5u\x1b[<u\x1b[?1049l\x1b[<1u",
    b"\x1b[>4;1m\x1b[>4;0m",
    b"\x1b[>4;2m\x1b[>4m",
    b"\x1b[>4;2m\x1b[>4n",
    b"\x1b[>4;2m\x1b[>1;2m\x1b[>m",
    b"\x1b[22;0t\x1b]0;title\x07\x1b[23;0t\x1b[23t",
    b"\x1b]8;id=1;http://a/\x1b\\link\x1b]8;;\x1b\\",
    b"\x1b]0;no \x0e switch, nor [4h\x07\x1bPq\x0e[4h\x1b\\",
    b"\x1b[?1000h\x1b[>4;2m\x1b[4h\x1b=\x1b[3;4r\x1b[31m\x1bc",
    b"\x1b[?6h\x1b[?1h\x1b[4h\x1b=\x1b(0\x1b[3;4r\x1b[?25l\x1b[31m\x1b[!p",
    b"\x1b[6n\x1b[c\x1b[?u\x1b[>q\x1b[?4m\x1b[18t\x1b[>4n\x1b[?2026$p\x1b(B\x1b)0",
    "\u00e4\u4e2d\U0001f600".encode(),
)
"""Output after which no mode has to be reset."""


def seen(output: bytes, cuts: Iterator[int] | None = None) -> Modes:
    """Return the reset sequence after output that came in one piece, or in the given pieces."""
    modes, at = Modes(), 0
    for size in cuts or iter(()):
        modes.feed(output[at : at + size])
        at += size
        if at >= len(output):
            return modes
    modes.feed(output[at:])
    return modes


@pytest.mark.parametrize(("switch", "undone"), SWITCHES.items(), ids=repr)
def test_what_is_switched_is_turned_back(switch: bytes, undone: bytes) -> None:
    """Each mode is reset by its own sequence, once, wherever the output was cut."""
    for size in range(1, len(switch) + 5):
        modes = seen(b"x" + switch + b"y", iter([size, 1, 1, 2]))
        assert modes.undo() == undone + b"\x1b[0m"
        assert modes.undo() == b""


@pytest.mark.parametrize("number", PRIVATE)
def test_each_private_mode_is_turned_off(number: int) -> None:
    """Mouse, bracketed paste, the alternate screen and other private modes are turned off."""
    assert seen(b"\x1b[?%dh" % number).undo() == b"\x1b[?%dl\x1b[0m" % number
    assert seen(b"\x1b[?%dh\x1b[?%dl" % (number, number)).undo() == b""


@pytest.mark.parametrize("number", [2, 4, 20])
def test_each_mode_without_a_question_mark_is_turned_off(number: int) -> None:
    """A locked keyboard, insert mode, and line feed/new line mode (LNM) are turned off."""
    assert seen(b"\x1b[%dh" % number).undo() == b"\x1b[%dl\x1b[0m" % number


def test_stacks_are_popped_as_deep_as_terminals_have_them() -> None:
    """The reset has a bounded length, however often a program pushes."""
    assert seen(b"\x1b[>1u" * 1000).undo() == b"\x1b[<64u\x1b[0m"
    assert seen(b"\x1b[22;0t" * 1000).undo() == b"\x1b[23;0t" * 64 + b"\x1b[0m"


@pytest.mark.parametrize("output", PLAIN, ids=repr)
def test_nothing_is_undone_where_nothing_was_done(output: bytes) -> None:
    """Nothing is written to a terminal whose modes are not set."""
    for size in range(1, max(len(output), 2)):
        modes = Modes()
        for start in range(0, len(output), size):
            modes.feed(output[start : start + size])
        assert modes.undo() == b"", size


def test_each_screen_has_key_flags_of_its_own() -> None:
    """Those of the alternate screen are popped before it is left, the others afterwards."""
    modes = seen(b"\x1b[>1u\x1b[?1049h\x1b[>5u\x1b[>7u")
    assert modes.undo() == b"\x1b[<2u\x1b[?1049l\x1b[<1u\x1b[0m"


def test_a_string_that_is_not_finished_swallows_nothing() -> None:
    """After a detach in the middle of a title, the reset does not become part of the title."""
    for string in (b"\x1b]0;half a tit", b"\x1bPq#0", b"\x1b_Gi=1;AAAA"):
        assert seen(b"\x1b[?25l" + string).undo() == b"\x18\x1b\\\x1b[?25h\x1b[0m"


def test_long_strings_are_not_kept() -> None:
    """A control string may be an image of many megabytes."""
    modes, image = Modes(), b"A" * 65_536
    modes.feed(b"\x1b_G")
    tracemalloc.start()
    for _ in range(100):
        modes.feed(image)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < len(image)
    modes.feed(b"\x1b\\\x1b[?25l")
    assert modes.undo() == b"\x1b[?25h\x1b[0m"


def test_a_long_sequence_is_not_kept() -> None:
    """No known sequence is that long; each piece would be searched from its start."""
    assert seen(b"\x1b[" + b"4;" * 100 + b"4h", iter([202])).undo() == b"\x1b[4l\x1b[0m"
    assert seen(b"\x1b[" + b"4;" * 150 + b"4h", iter([302])).undo() == b""


def test_any_output_in_any_pieces() -> None:
    """The cuts make no difference, and the reset leaves no mode to reset."""
    chance = random.Random(15)
    parts = [*SWITCHES, *SWITCHES.values(), *PLAIN, b"\x1b", b"\x1b[", b"\x18", b"\x1b]0;x", b";5m"]
    for _ in range(300):
        output = b"".join(chance.choices(parts, k=chance.randrange(1, 12)))
        undone = seen(output).undo()
        pieces = seen(output, iter(lambda: chance.randrange(1, 9), None))
        assert pieces.undo() == undone
        assert seen(output + undone).undo() == b"", output


# --- a real terminal ------------------------------------------------------------------------------

FLAGS = (
    "alternate_on",
    "cursor_flag",
    "insert_flag",
    "keypad_cursor_flag",
    "keypad_flag",
    "mouse_any_flag",
    "mouse_sgr_flag",
    "origin_flag",
    "wrap_flag",
    "scroll_region_upper",
    "scroll_region_lower",
)


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Return a function that sends commands to a tmux server of the test's own."""
    if shutil.which("tmux") is None:
        pytest.skip("there is no tmux")

    def ask(*arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-f", "/dev/null", "-S", str(tmp_path / "tmux"), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        return done.stdout.rstrip("\n")

    ask("new-session", "-d", "-x", "80", "-y", "24", "cat")
    yield ask
    ask("kill-server")


def test_a_real_terminal_is_as_it_was(cli: Cli, tmux: Callable[..., str], tmp_path: Path) -> None:
    """The terminal of tmux reports its modes: after detaching all are as before."""
    switches = b"".join(each for each in SWITCHES if b"\x1b(0" not in each and each != b"\x0e")
    switches += b"\x1b[?1000;1006h\x1b[?66hswitched"
    (tmp_path / "switches").write_bytes(switches)
    client = f"{sys.executable} -m ptykill new -- sh -c 'cat {tmp_path}/switches; sleep 1000'"
    (tmp_path / "script").write_text(f"{client}\necho $? >{tmp_path}/status\nexec sleep 1000\n")
    env = [part for name, value in cli.env.items() for part in ("-e", f"{name}={value}")]

    def modes() -> str:
        return tmux("display-message", "-p", " ".join(f"#{{{flag}}}" for flag in FLAGS))

    before = modes()
    tmux("respawn-pane", "-k", *env, f"sh {tmp_path}/script")
    eventually(lambda: "switched" in tmux("capture-pane", "-p"))
    assert modes() != before
    tmux("send-keys", "-l", "\x1d")
    eventually((tmp_path / "status").exists)
    assert modes() == before
