"""A second judge: the screen that tmux has after a replay is the one after the live stream."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.replay.conftest import COLS, ROWS
from tests.replay.test_programs import PROGRAMS, folder, run
from tests.waiting import TIMEOUT

__all__ = ["folder"]

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux")


class Tmux:
    """A tmux server of its own, with a pane for each output."""

    def __init__(self, place: Path) -> None:
        self._variables = {**os.environ, "TMUX_TMPDIR": str(place), "LC_ALL": "C.UTF-8"}
        self._variables.pop("TMUX", None)
        self._place = place
        self._settings = place / "tmux.conf"
        self._settings.write_text("set -g status off\n")  # It would take a line of the pane.

    def ask(self, *command: str) -> str:
        """Run a command of tmux, and return what it prints."""
        done = subprocess.run(
            ["tmux", "-f", str(self._settings), *command],
            env=self._variables,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
        )
        return done.stdout

    def screen(self, name: str, pieces: Sequence[bytes]) -> list[str]:
        """Show output in a new pane; return its lines, with colours, and its state.

        A title at the end of the output says that tmux has read all of it. (When a program ends,
        tmux may lose the last of its output.)
        """
        shown = self._place / name
        shown.write_bytes(b"".join(pieces) + b"\x18" + f"\x1b]2;{name} is shown\a".encode())
        size = ("-x", str(COLS), "-y", str(ROWS))
        # Raw: the output is as it came from a terminal.
        program = f"stty raw -echo; cat {shown}; exec sleep 60"
        self.ask("new-session", "-d", "-s", name, *size, program)
        end = time.monotonic() + TIMEOUT
        while self._told(name, "#{pane_title}") != f"{name} is shown":
            assert time.monotonic() < end
            time.sleep(0.02)
        assert self._told(name, "#{pane_width}x#{pane_height}") == f"{COLS}x{ROWS}"
        lines = self.ask("capture-pane", "-p", "-e", "-t", name).split("\n")
        return [
            *lines,
            self._told(name, "#{alternate_on} #{mouse_any_flag} #{cursor_x},#{cursor_y}"),
        ]

    def _told(self, name: str, what: str) -> str:
        return self.ask("display", "-p", "-t", name, what).strip()


@pytest.mark.parametrize("name", PROGRAMS)
async def test_the_screen_in_tmux_is_as_it_was(name: str, folder: Path, tmp_path: Path) -> None:
    """All cells with their colours, the alternate screen, and whether the mouse is reported."""
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    live, replayed = await run(name, folder)
    tmux = Tmux(tmp_path)
    try:
        expected = tmux.screen("live", live)
        assert any(line.strip() for line in expected)
        assert tmux.screen("replay", replayed) == expected
        halves = b"".join(live)
        assert tmux.screen("half", [halves[: len(halves) // 2]]) != expected
    finally:
        tmux.ask("kill-server")
