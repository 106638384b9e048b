"""A session's default environment: the host's, without variables that would be wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

import ptykill
from ptykill import Supervisor
from ptykill.http.operations import Create
from ptykill.http.perform import perform
from ptykill.http.tokens import Tokens
from ptykill.testing.processes import MARK

OF_A_TERMINAL = {
    "COLUMNS": "7",
    "LINES": "7",
    "TMUX": "/tmp/tmux-0/default,1,0",
    "TMUX_PANE": "%0",
    "STY": "1.pts-0.host",
    "WINDOW": "0",
    "SSH_TTY": "/dev/pts/0",
    "OLDPWD": "/usr",
}


@pytest.fixture(autouse=True)
def _in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a host in a terminal, in a multiplexer, in this directory."""
    for name, value in OF_A_TERMINAL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OURS", "ours")
    monkeypatch.setenv("PWD", str(Path.cwd()))
    monkeypatch.setenv("TERM", "dumb")


async def told(session: ptykill.Session) -> dict[str, str]:
    """Return the environment that env(1) prints."""
    text = b""
    while more := await session.receive():
        text += more
    return dict(line.split("=", 1) for line in text.decode().splitlines())


async def spawned(
    supervisor: Supervisor, cwd: str | None = None, env: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a session that was spawned by the library."""
    return await told(await supervisor.spawn(["/usr/bin/env"], cwd=cwd, env=env))


async def created(supervisor: Supervisor, **asked: object) -> dict[str, str]:
    """Return the environment of a session that was created over HTTP."""
    create = Create(("/usr/bin/env",), **asked)  # type: ignore[arg-type]
    session = (await perform(supervisor, create, Tokens())).created
    assert session is not None
    return await told(session)


async def test_what_is_untrue_is_not_handed_on(supervisor: Supervisor) -> None:
    """All variables are inherited but those that describe the host's own terminal."""
    for environment in await spawned(supervisor), await created(supervisor):
        assert not environment.keys() & OF_A_TERMINAL.keys()
        assert environment["OURS"] == "ours"
        assert environment["PWD"] == str(Path.cwd())


async def test_what_is_given_is_taken_as_it_is(supervisor: Supervisor) -> None:
    """A mapping replaces the environment; over HTTP it is added to the daemon's."""
    given = {**OF_A_TERMINAL, "PWD": "/nowhere", MARK: os.environ[MARK]}
    assert await spawned(supervisor, env=given) == given
    over = await created(supervisor, env=given)
    assert given.items() <= over.items()
    assert over["OURS"] == "ours"


async def test_the_directory_is_told_as_it_is(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PWD is the session's directory as it was given, or is not set."""
    link = tmp_path / "link"
    link.symlink_to("/usr")
    for name, pwd in {str(link): str(link), "/usr/../usr": None, ".": None}.items():
        assert (await spawned(supervisor, cwd=name)).get("PWD") == pwd
        assert (await created(supervisor, working_dir=name)).get("PWD") == pwd
    monkeypatch.setenv("PWD", str(link))
    assert "PWD" not in await spawned(supervisor)
    monkeypatch.setenv("PWD", "/none/of/ours")
    assert "PWD" not in await created(supervisor)
    here = tmp_path / "here"
    here.symlink_to(Path.cwd())
    monkeypatch.setenv("PWD", str(here))
    assert (await spawned(supervisor))["PWD"] == str(here)


async def test_the_type_of_the_terminal(supervisor: Supervisor) -> None:
    """TERM is the host's; over HTTP it is xterm-256color, unless the create has another."""
    assert (await spawned(supervisor))["TERM"] == "dumb"
    assert (await created(supervisor))["TERM"] == "xterm-256color"
    assert (await created(supervisor, env={"TERM": "vt100"}))["TERM"] == "vt100"


async def test_a_directory_that_can_not_be(supervisor: Supervisor) -> None:
    """A directory that can't be entered is refused, as with a given environment."""
    for name in "/a\0b", "a\0b", "/no/such/folder", "":
        with pytest.raises((ptykill.SpawnError, ptykill.InvalidArgument)):
            await perform(supervisor, Create(("true",), working_dir=name), Tokens())
