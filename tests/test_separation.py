"""The separation of a daemon from its sessions: its secrets, and sessions of another user."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import httpx
import pytest
from click.testing import CliRunner

from ptykill import InvalidArgument
from ptykill.cli.main import main
from ptykill.cli.serve.separation import owner_of, pop_variable
from tests.waiting import TIMEOUT

KEY = "the-key-that-no-session-sees"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@contextmanager
def serving(*options: str, wrapper: tuple[str, ...] = ()) -> Iterator[tuple[int, str]]:
    """Run ``ptykill serve``, and yield its pid and URL."""
    command = [*wrapper, sys.executable, "-m", "ptykill", "serve", "--port", "0", *options]
    with subprocess.Popen(
        command,
        env={**os.environ, "PTYKILL_API_KEY": KEY, "SECRET": "of-the-daemon"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as daemon:
        try:
            greeting = cast(IO[str], daemon.stdout).readline()
            yield daemon.pid, re.findall(r"serves (\S+)", greeting)[0]
        finally:
            daemon.terminate()
            daemon.communicate(timeout=TIMEOUT)


def output_of(url: str, script: str, folder: Path, **more: object) -> list[str]:
    """Return the lines that a session writes to a file."""
    folder.chmod(0o777)
    written = folder / "written"
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(headers=headers, timeout=TIMEOUT, trust_env=False, verify=False) as client:
        body = {
            "command": "sh",
            "args": ["-c", f"({script}) >{written}.new 2>&1; mv {written}.new {written}"],
        }
        session_id = client.post(url, json={**body, **more}).raise_for_status().json()["session_id"]
        while client.get(f"{url}/{session_id}").json()["is_alive"]:
            pass
    return written.read_text().splitlines()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that all users can enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def test_the_key_is_not_in_the_environment_that_the_kernel_shows(folder: Path) -> None:
    """It is overwritten there, where root could see it; other variables stay."""
    with serving() as (pid, url):
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"SECRET=of-the-daemon" in environment
        assert KEY.encode() not in environment
        assert output_of(url, 'echo "[$PTYKILL_API_KEY]"', folder) == ["[]"]


def test_sessions_of_the_same_user_can_not_read_the_daemon(
    folder: Path, unprivileged: tuple[str, ...]
) -> None:
    """They can read neither its environment nor its memory; root could."""
    with serving(wrapper=unprivileged) as (pid, url):
        names = ("environ", "mem", "maps", "fd/0")
        script = "; ".join(
            f"head -c 1 /proc/{pid}/{name} >/dev/null && echo {name}" for name in names
        )
        lines = output_of(url, f"id -u; {script}", folder)
        assert lines[0] != "0"
        assert not set(lines) & set(names)
        assert len([line for line in lines if "Permission denied" in line]) == len(names)


@ROOT_ONLY
def test_sessions_run_as_another_user(folder: Path) -> None:
    """They have its groups and variables, none of the daemon's, and a folder that it can enter."""
    user = pwd.getpwnam("nobody")
    home = user.pw_dir if Path(user.pw_dir).is_dir() else "/"
    with serving("--user", "nobody") as (pid, url):
        script = (
            "id -u; id -g; id -G; pwd; echo $HOME $USER $LOGNAME $SHELL; echo [$SECRET];"
            f" kill -0 {pid} 2>/dev/null || echo not ours; echo >>$(tty) || echo no tty; echo $A"
        )
        lines = output_of(url, script, folder, env={"A": "given", "uid": "0"}, uid=0, user="root")
    groups = os.getgrouplist("nobody", user.pw_gid)
    assert lines == [
        str(user.pw_uid),
        str(user.pw_gid),
        " ".join(map(str, groups)),
        home,
        f"{user.pw_dir} nobody nobody {user.pw_shell}",
        "[]",
        "not ours",
        "given",
    ]


@ROOT_ONLY
def test_a_user_without_a_name(folder: Path) -> None:
    """A uid is enough; it has only its own group, and starts in the root folder."""
    with serving("--uid", "54321") as (_, url):
        assert output_of(url, "id -u; id -G; pwd; echo $HOME", folder) == [
            "54321",
            "54321",
            "/",
            "/",
        ]


def test_invalid_users_are_refused() -> None:
    """At start: an unknown name, root, this user, or both a name and a number."""
    for options in (
        ["--user", "there-is-no-such-user"],
        ["--user", "root"],
        ["--uid", str(os.geteuid())],
        ["--user", "nobody", "--uid", "1"],
    ):
        done = CliRunner().invoke(main, ["serve", "--port", "0", *options])
        assert done.exit_code == 2, options
        assert "Error" in done.output


def test_a_lack_of_permission_is_reported_at_start(unprivileged: tuple[str, ...]) -> None:
    """Not at the first create: only root may run sessions as another user."""
    done = subprocess.run(
        [*unprivileged, sys.executable, "-m", "ptykill", "serve", "--port", "0", "--uid", "54321"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 2
    assert "may not run sessions as 54321" in " ".join(done.stderr.split())


def test_a_variable_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is removed, whether it was there from the start or set later."""
    monkeypatch.setenv("TAKEN", "value")
    assert pop_variable("TAKEN") == "value"
    assert pop_variable("TAKEN") == ""
    with pytest.raises(InvalidArgument):
        owner_of("nobody", 1)
