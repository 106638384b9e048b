"""The parts of the client that need neither a daemon nor a terminal."""

from __future__ import annotations

import json
import os
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptykill.cli.client import local_terminal, tokens
from ptykill.cli.client.daemon_client import DaemonClient, DaemonError
from ptykill.http import frames


def test_both_ends_have_the_same_frames() -> None:
    """Each end reads the frames that the other writes."""
    assert frames.read_from_client(frames.input_frame(b"abc")) == frames.Input(b"abc")
    assert frames.read_from_client(frames.resize_frame(40, 120)) == frames.Resized(40, 120)
    assert frames.read_from_client(frames.READY) == frames.Ready()
    (sent,) = frames.output_frames(b"abc")
    assert frames.read_from_server(sent) == frames.Output(b"abc")
    (sent,) = frames.output_frames(b"abc", counted=False)
    assert frames.read_from_server(sent) == frames.Output(b"abc", counted=False)
    assert frames.read_from_server(frames.gap_frame(7 << 32, 6 << 32)) == frames.Gap(
        7 << 32, 6 << 32
    )
    assert frames.read_from_server(frames.exit_frame(137)) == frames.Exit(137)
    assert frames.read_from_server(frames.exit_frame(None)) == frames.Exit(None)
    for unknown in (b"", b"\x09new", "text", b"\x03", b"\x04short"):
        assert frames.read_from_server(unknown) == frames.Output(b"")


def test_tokens_are_pruned(home: Path) -> None:
    """Only the newest tokens are kept."""
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
    """A file that can't be read counts as empty, and is replaced."""
    home.mkdir()
    (home / "tokens").write_text(text)
    assert tokens.find("id") is None
    tokens.remember("id", "token")
    assert tokens.find("id") == "token"


def test_tokens_without_a_runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens are in the user's state folder then."""
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
    """A URL may have the path of the API; the default is added otherwise."""
    async with DaemonClient(url, "key") as daemon:
        assert (daemon.path, daemon.authority) == (path, authority)


async def test_the_error_of_another_server() -> None:
    """An answer of another server is reported as that."""
    async with DaemonClient("http://host", None) as daemon:
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
    """A terminal that can't be opened by its name, such as another user's, is read by threads."""
    master, slave = terminal
    monkeypatch.setattr(local_terminal, "_reopen", lambda fd, flags: None)
    with local_terminal.open_local_terminal(slave, slave) as local:
        assert local.interactive
        os.write(master, b"typed")
        assert await local.receive() == b"typed"
        await local.send(b"shown\n")
        assert os.read(master, 100) == b"shown\n"


async def test_an_error_in_raw_mode(terminal: tuple[int, int]) -> None:
    """Raw mode is left after any exception."""
    _, slave = terminal
    before = termios.tcgetattr(slave)
    inside = []

    def fail() -> None:
        inside.append(termios.tcgetattr(slave))
        raise RuntimeError

    with pytest.raises(RuntimeError), local_terminal.open_local_terminal(slave, slave):
        fail()
    assert inside != [before]
    assert termios.tcgetattr(slave) == before
    assert os.get_blocking(slave)
