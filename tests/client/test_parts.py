"""The parts of the client that need neither a daemon nor a terminal."""

from __future__ import annotations

import json
import os
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptykill.client import keys, tokens, tty
from ptykill.client.daemon import Daemon, DaemonError
from ptykill.client.modes import Modes
from ptykill.http import frames


def test_both_ends_have_the_same_frames() -> None:
    """What one end writes the other reads."""
    assert frames.read(frames.typed(b"abc")) == frames.Input(b"abc")
    assert frames.read(frames.resized(40, 120)) == frames.Resized(40, 120)
    assert frames.read(frames.READY) == frames.Ready()
    assert [frames.read_told(each) for each in frames.output(b"abc")] == [b"abc"]
    assert frames.read_told(frames.exit_frame(137)) == frames.Exit(137)
    assert frames.read_told(frames.exit_frame(None)) == frames.Exit(None)
    for unknown in (b"", b"\x09new", "text", b"\x03"):
        assert frames.read_told(unknown) == b""


@pytest.mark.parametrize(
    ("text", "byte"),
    [
        ("ctrl-]", b"\x1d"),
        ("Ctrl-A", b"\x01"),
        ("^\\", b"\x1c"),
        ("ctrl-@", b"\x00"),
        ("c-_", b"\x1f"),
        ("none", None),
    ],
)
def test_keys_have_names(text: str, byte: bytes | None) -> None:
    """A key is named as people name it."""
    assert keys.parse(text) == byte


@pytest.mark.parametrize("text", ["", "a", "ctrl-", "ctrl-1", "f1", "^^^"])
def test_what_is_no_key_is_refused(text: str) -> None:
    """A key that no terminal sends as one byte is none."""
    with pytest.raises(ValueError, match="detach key"):
        keys.parse(text)


def test_what_is_typed_before_the_key_is_typed() -> None:
    """And what comes after it is not."""
    assert keys.upto(b"ab\x1dcd", b"\x1d") == (b"ab", True)
    assert keys.upto(b"abcd", b"\x1d") == (b"abcd", False)
    assert keys.upto(b"ab\x1dcd", None) == (b"ab\x1dcd", False)


def test_modes_are_followed_in_pieces_of_any_size() -> None:
    """What is set and not turned back is undone, wherever the output was cut."""
    output = b"x\x1b[?1049h\x1b[?25l\x1b[?1000;1006h\x1b[31mtext\x1b[?1000l\x1b[?7777h"
    for size in range(1, len(output) + 1):
        modes = Modes()
        for start in range(0, len(output), size):
            modes.see(output[start : start + size])
        assert modes.undo() == b"\x1b[?1049l\x1b[?1006l\x1b[?25h\x1b[0m"
        assert modes.undo() == b""


def test_nothing_is_undone_where_nothing_was_done() -> None:
    """A terminal that is as it should be is not written to."""
    modes = Modes()
    modes.see(b"\x1b[?1049h\x1b[?25l full screen \x1b[?25h\x1b[?1049l plain \x1b[?")
    assert modes.undo() == b""


def test_tokens_are_pruned(home: Path) -> None:
    """The newest are kept."""
    for number in range(300):
        tokens.remember(f"id-{number}", f"token-{number}")
    assert len(json.loads((home / "tokens").read_text())) == 256
    assert tokens.find("id-299") == "token-299"
    assert tokens.find("id-0") is None
    tokens.forget("id-299")
    tokens.forget("id-299")
    assert tokens.find("id-299") is None


@pytest.mark.parametrize("text", ["", "not json", "[1]", "null", '"text"', "\x00"])
def test_a_broken_file_of_tokens_is_none(home: Path, text: str) -> None:
    """It holds nothing up, and is made anew."""
    home.mkdir()
    (home / "tokens").write_text(text)
    assert tokens.find("id") is None
    tokens.remember("id", "token")
    assert tokens.find("id") == "token"


def test_tokens_without_a_runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in the user's state, then."""
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tokens.folder() == tmp_path / ".local" / "state" / "ptykill"


@pytest.mark.parametrize(
    ("url", "path", "authority"),
    [
        ("http://127.0.0.1:8022", "/api/v1/pty", "127.0.0.1:8022"),
        ("http://127.0.0.1:8022/", "/api/v1/pty", "127.0.0.1:8022"),
        ("http://[::1]:8022/api/v1/pty", "/api/v1/pty", "[::1]:8022"),
        ("https://host/sessions/", "/sessions", "host"),
        ("unix:/run/ptykill", "/api/v1/pty", "localhost"),
    ],
)
async def test_where_the_daemon_is(url: str, path: str, authority: str) -> None:
    """A URL has the path of the API, or none."""
    async with Daemon(url, "key") as daemon:
        assert (daemon.path, daemon.authority) == (path, authority)


async def test_the_error_of_another_server() -> None:
    """What is no answer of ours is told as such."""
    async with Daemon("http://host", None) as daemon:
        for body in (b"<html>", b"[]", b"null", b'{"error": 1}'):
            assert "no ptykill" in str(daemon.refusal(502, body))
        ours = daemon.refusal(404, b'{"error": "gone", "code": "GONE"}')
        assert (str(ours), ours.code, ours.status) == ("gone", "GONE", 404)
        assert isinstance(ours, DaemonError)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Return the two ends of a terminal."""
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


async def test_what_can_not_be_opened_anew_is_read_by_threads(
    terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal of another user's, or one without a name, does as well."""
    master, slave = terminal
    monkeypatch.setattr(tty, "_opened_anew", lambda fd, flags: None)
    with tty.near(slave, slave) as near:
        assert near.interactive
        os.write(master, b"typed")
        assert await near.receive() == b"typed"
        await near.send(b"shown\n")
        assert os.read(master, 100) == b"shown\n"


async def test_an_error_in_raw_mode(terminal: tuple[int, int]) -> None:
    """Whatever is raised there, the terminal is as it was."""
    _, slave = terminal
    before = termios.tcgetattr(slave)
    inside = []

    def fail() -> None:
        inside.append(termios.tcgetattr(slave))
        raise RuntimeError

    with pytest.raises(RuntimeError), tty.near(slave, slave):
        fail()
    assert inside != [before]
    assert termios.tcgetattr(slave) == before
    assert os.get_blocking(slave)
