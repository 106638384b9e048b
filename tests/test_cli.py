"""The command line and the daemon, run as a person or an init system would."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import httpx
import pytest
from click.testing import CliRunner

import ptykill
from ptykill.cli.key_file import read_key
from ptykill.cli.main import main
from ptykill.cli.serve import log
from ptykill.testing import processes
from tests.waiting import IDLE_LOOP

_TIMEOUT = 100.0
"""Time-out for events that are due at once, on a busy machine, in seconds."""

DEAF = f"trap '' HUP INT TERM QUIT; : > ready; {IDLE_LOOP}"
QUICK = ("--plan", "HUP@session 300ms, KILL 15s")


class Daemon:
    """A ``ptykill serve`` in a process of its own."""

    def __init__(self, arguments: Sequence[str], prefix: Sequence[str], key: str | None) -> None:
        environment = {**os.environ, "PTYKILL_API_KEY": key or ""}
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "ptykill", "serve", "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        out = cast(IO[str], self.process.stdout)
        self.greeting = ""
        while "DELETE" not in self.greeting and (line := out.readline()):
            self.greeting += line
        (self.url,) = re.findall(r"serves (\S+)", self.greeting)
        made = re.findall(r"PTYKILL_API_KEY=(\S+)", self.greeting)
        self.key = key or made[0]

    def client(self) -> httpx.Client:
        """Return a client that bears the key."""
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(headers=headers, timeout=_TIMEOUT, trust_env=False, verify=False)

    def start(self, program: str, folder: Path) -> tuple[str, int]:
        """Start a shell program that makes a file ``ready``; return its session's id and pid."""
        with self.client() as client:
            body = {"command": "sh", "args": ["-c", program], "working_dir": str(folder)}
            session_id = client.post(self.url, json=body).json()["session_id"]
            until = time.monotonic() + _TIMEOUT
            while not (folder / "ready").exists():
                assert time.monotonic() < until
                time.sleep(0.01)
            return session_id, client.get(f"{self.url}/{session_id}").json()["pid"]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; return the exit status and the log."""
        self.process.send_signal(number)
        _, log = self.process.communicate(timeout=_TIMEOUT)
        return self.process.returncode, log


class Daemons:
    """Starts daemons, and ends those that are left."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def start(self, *arguments: str, prefix: Sequence[str] = (), key: str | None = None) -> Daemon:
        """Start a daemon on a free port, and wait until it has said where."""
        daemon = Daemon(arguments, prefix, key)
        self._stack.enter_context(daemon.process)
        self._stack.callback(daemon.process.kill)
        return daemon

    def close(self) -> None:
        """End the daemons."""
        self._stack.close()


@pytest.fixture
def daemons() -> Iterator[Daemons]:
    """Return what starts daemons."""
    daemons = Daemons()
    yield daemons
    daemons.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_daemon_leaves_nothing(
    daemons: Daemons, tmp_path: Path, number: signal.Signals
) -> None:
    """A signal ends every session by the plan, then the daemon, with status 0 and a log of it."""
    daemon = daemons.start(*QUICK)
    session_id, pid = daemon.start(DEAF, tmp_path)
    status, log = daemon.stop(number)
    assert status == 0
    assert processes.look_up(pid) is None
    events = [json.loads(line) for line in log.splitlines()]  # No terminal: it is JSON.
    ends = [each for each in events if each.get("session_id") == session_id]
    assert ends[-1]["event"] == "session.ended"
    assert ends[-1]["empty"] is True
    assert "Traceback" not in log
    assert daemon.key not in log


def test_a_delete_under_way_is_still_answered(daemons: Daemons, tmp_path: Path) -> None:
    """A client that waits for a kill when the daemon is stopped gets the result."""
    daemon = daemons.start(*QUICK)
    session_id, _ = daemon.start(DEAF, tmp_path)
    answers: list[httpx.Response] = []

    def kill() -> None:
        with daemon.client() as client:
            answers.append(client.delete(f"{daemon.url}/{session_id}?grace=1"))

    thread = threading.Thread(target=kill)
    thread.start()
    while "session.stopping" not in cast(IO[str], daemon.process.stderr).readline():
        pass
    status, _ = daemon.stop()
    thread.join()
    assert status == 0
    assert answers[0].status_code == 204


def test_a_second_signal_hurries(daemons: Daemons, tmp_path: Path) -> None:
    """A second signal ends the grace."""
    daemon = daemons.start("--grace", "600")
    _, pid = daemon.start(DEAF, tmp_path)
    daemon.process.send_signal(signal.SIGTERM)
    while "session.stopping" not in cast(IO[str], daemon.process.stderr).readline():
        pass
    time.sleep(0.5)  # The server is over by then, and only the sessions are left.
    status, _ = daemon.stop()
    assert status == 0
    assert processes.look_up(pid) is None


def test_a_client_that_dawdles_holds_nothing_up(daemons: Daemons, tmp_path: Path) -> None:
    """A request that never comes to its end delays neither the sessions' end nor the daemon's."""
    daemon = daemons.start("--plan", "HUP@session 300ms, KILL 600s")
    _, pid = daemon.start(DEAF, tmp_path)
    port = httpx.URL(daemon.url).port or 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /api/v1/pty HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        status, log = daemon.stop()
    assert status == 0
    assert processes.look_up(pid) is None
    assert "Traceback" not in log


def test_under_nohup_a_hangup_is_ignored(daemons: Daemons, tmp_path: Path) -> None:
    """A daemon that was started to outlive its terminal does, and its sessions are not deaf."""
    daemon = daemons.start(*QUICK, prefix=["sh", "-c", 'trap "" HUP; exec "$@"', "sh"])
    session_id, _ = daemon.start(": > ready; exec sleep 60", tmp_path)
    daemon.process.send_signal(signal.SIGHUP)
    with daemon.client() as client:
        assert client.delete(f"{daemon.url}/{session_id}").status_code == 204
        assert client.get(f"{daemon.url}/{session_id}").json()["exit_code"] == 129
    assert daemon.stop()[0] == 0


def test_the_key_is_the_one_given_or_made(daemons: Daemons) -> None:
    """A key from the environment is used and not shown; without one, a new one is made."""
    ours, made = daemons.start(key="a-key"), daemons.start()
    assert "a-key" not in ours.greeting
    assert len(made.key) >= 32
    for daemon in ours, made:
        with daemon.client() as client:
            assert client.get(daemon.url).json()["sessions"] == []
        assert httpx.get(daemon.url, trust_env=False, verify=False).status_code == 401
        assert daemon.stop()[0] == 0


def test_the_greeting_can_be_pasted(daemons: Daemons) -> None:
    """The lines that are shown are commands that work as they stand."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not there")
    daemon = daemons.start("--max-sessions", "1")
    commands = [line for line in daemon.greeting.splitlines() if line.startswith("  ")]
    script = "\n".join(commands[:3])
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert '"token"' in said
    assert '"is_alive":true' in said
    (session_id,) = re.findall(r'^\{"session_id":"(\w+)"', said)
    script = "\n".join([commands[0], commands[3].replace("SESSION_ID", session_id)])
    said = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.startswith("HTTP/1.1 204")
    assert daemon.stop()[0] == 0


# --- what is refused ------------------------------------------------------------------------------


def run(*arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command that does not start a daemon; return its status and all that it says."""
    result = CliRunner().invoke(main, arguments, env={"PTYKILL_API_KEY": None, **environment})
    return result.exit_code, result.output


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_only_loopback_is_bound_without_a_key(host: str) -> None:
    """An address that other machines can reach needs a given key; an empty one is none."""
    for environment in {}, {"PTYKILL_API_KEY": ""}:
        status, said = run("serve", "--host", host, "--port", "0", **environment)
        assert status == 2
        assert "PTYKILL_API_KEY" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--plan", "HUP@nobody 2s, KILL"], "^"),
        (["--grace", "-1"], "grace"),
        (["--grace", "nan"], "grace"),
        (["--grace", "soon"], "--grace"),
        (["--port", "65536"], "--port"),
        (["--max-sessions", "0"], "--max-sessions"),
        (["--memory-max", "1Z"], "--memory-max"),
        (["--pids-max", "0"], "pids_max"),
        (["--cpu-max", "nan"], "cpu_max"),
        (["--containment", "keeper", "--pids-max", "9"], "the pids controller is missing"),
    ],
)
def test_bad_options_are_refused(arguments: list[str], expected: str) -> None:
    """An invalid option is an error, and no socket is bound."""
    status, said = run("serve", "--port", "0", *arguments)
    assert status == 2
    assert expected in said


def test_a_key_with_a_space_is_refused() -> None:
    """It is refused before the socket is bound."""
    status, said = run("serve", "--port", "0", PTYKILL_API_KEY="a b")
    assert status == 2
    assert "key" in said


def test_an_address_in_use_is_an_error() -> None:
    """A port that is taken, or a host that is not known, is one line and status 1."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        status, said = run("serve", "--port", str(listener.getsockname()[1]))
    assert status == 1
    assert "in use" in said
    assert run("serve", "--host", "host.invalid", "--port", "0")[0] == 1


def test_version() -> None:
    """``--version`` is the package's."""
    assert run("--version") == (0, f"ptykill, version {ptykill.__version__}\n")


def test_demo_is_told_its_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``demo`` hands its options to the demonstration, and returns its exit status."""
    told: list[dict[str, Any]] = []

    def demonstrate(**options: Any) -> int:  # noqa: ANN401 - whatever is given
        told.append(options)
        return 3

    monkeypatch.setitem(
        sys.modules, "ptykill.cli.demo", cast(Any, SimpleNamespace(main=demonstrate))
    )
    assert run("demo", "--plain", "--grace", "2.5")[0] == 3
    assert run("demo")[0] == 3
    assert run("demo", "--json", "--record", str(tmp_path))[0] == 3
    usual = {"plain": False, "grace": 1.0, "as_json": False, "record": None}
    assert told == [
        usual | {"plain": True, "grace": 2.5},
        usual,
        usual | {"as_json": True, "record": str(tmp_path)},
    ]


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("click", [], "ptykill[server]"),
        ("uvicorn", ["serve"], "ptykill[server]"),
        ("msgspec", ["serve"], "ptykill[server]"),
        ("httpx", ["list"], "ptykill[server]"),
        ("trio_websocket", ["attach", "x"], "ptykill[server]"),
    ],
)
def test_missing_extras_are_named(missing: str, command: list[str], extra: str) -> None:
    """Without what a command needs, ``python -m ptykill`` says what to install, in one line."""
    program = (
        f"import sys, runpy; sys.modules[{missing!r}] = None; sys.argv = {['ptykill', *command]!r};"
        " runpy.run_module('ptykill', run_name='__main__', alter_sys=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1
    assert extra in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_library_does_not_need_the_extras() -> None:
    """With the core dependencies alone ptykill is imported; the HTTP face says what it lacks."""
    program = (
        "import sys\n"
        "for name in 'click', 'uvicorn', 'msgspec', 'rich': sys.modules[name] = None\n"
        "import ptykill\n"
        "host = ptykill.Host()\n"
        "for app in ptykill.asgi_app, ptykill.wsgi_app:\n"
        "    try: app(host, key='k')\n"
        "    except ModuleNotFoundError as error: print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout.count("ptykill[http]") == 2


def test_settings_come_from_a_file_and_from_variables(
    daemons: Daemons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One set of names; the command line wins over a variable, and that over the file."""
    file = tmp_path / "daemon.toml"
    file.write_text('max-sessions = 1\nplan = "KILL 9s"\nallowed-host = ["127.0.0.1", "here"]\n')
    monkeypatch.setenv("PTYKILL_GRACE", "0.1")
    daemon = daemons.start("--config", str(file), "--plan", "HUP@session 60s, KILL 15s")
    daemon.start(DEAF, tmp_path)
    with daemon.client() as client:
        assert client.post(daemon.url, json={"command": "sh"}).status_code == 429
        assert client.get(daemon.url, headers={"Host": "localhost"}).status_code == 403
        assert client.get(daemon.url, headers={"Host": "here"}).status_code == 200
    assert daemon.stop()[0] == 0  # In a tenth of a second, not in a minute.


@pytest.mark.parametrize(
    "text", ["max-sessions = 'many'", "max-session = 1", "max-sessions = ", "config = 'another'"]
)
def test_bad_settings_are_refused(tmp_path: Path, text: str) -> None:
    """An invalid file is an error before the socket is bound."""
    file = tmp_path / "daemon.toml"
    file.write_text(text)
    said = CliRunner().invoke(main, ["serve", "--config", str(file)])
    assert said.exit_code == 2
    assert "Error" in said.output


def test_a_key_in_a_file(daemons: Daemons, tmp_path: Path) -> None:
    """The key may be in a file; an empty one is no key."""
    file = tmp_path / "key"
    file.touch(0o600)
    file.write_text("key-of-a-file\n")
    daemon = daemons.start("--key-file", str(file), key="other")
    assert "API_KEY=" not in daemon.greeting
    daemon.key = "key-of-a-file"
    with daemon.client() as client:
        assert client.get(daemon.url).status_code == 200
    file.write_text("\n")
    assert CliRunner().invoke(main, ["serve", "--key-file", str(file)]).exit_code == 2


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o640, 0o606, 0o620, 0o601])
def test_a_key_that_others_know_is_refused(tmp_path: Path, mode: int) -> None:
    """A file that others can read or change is a mistake, said before anything is served."""
    file = tmp_path / "key"
    file.write_text("key-of-a-file\n")
    file.chmod(mode)
    status, said = run("serve", "--port", "0", "--key-file", str(file))
    assert status == 2
    assert f"{mode:o}" in said
    assert "key-of-a-file" not in said


def test_who_may_read_a_key(tmp_path: Path) -> None:
    """Only its own user, or, if another user owns the file, a group as well; a pipe works too."""
    file = tmp_path / "key"
    file.write_text("k\n")
    file.chmod(0o400)
    assert read_key(file) == "k"
    for mode in 0o644, 0o602, 0o601, 0o640, 0o620, 0o610:
        file.chmod(mode)
        with pytest.raises(ptykill.InvalidArgument):
            read_key(file)
    file.chmod(0o400)
    read, write = os.pipe()
    os.write(write, b"piped\n")
    os.close(write)
    assert read_key(Path(f"/proc/self/fd/{read}")) == "piped"
    os.close(read)
    if os.geteuid() == 0:
        os.chown(file, 12_345, 0)
        file.chmod(0o440)
        assert read_key(file) == "k"
        for mode in (
            0o444,
            0o442,
            0o441,
            0o460,
            0o420,
        ):  # Others may do nothing, the group only read.
            file.chmod(mode)
            with pytest.raises(ptykill.InvalidArgument):
                read_key(file)


def test_a_unix_socket(daemons: Daemons, tmp_path: Path) -> None:
    """Only its user may use it; one without a listener is replaced, and no other file."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    daemon = daemons.start("--uds", str(path), key="k")
    assert path.stat().st_mode & 0o777 == 0o600
    transport = httpx.HTTPTransport(uds=str(path))
    headers = {"Authorization": "Bearer k"}
    with httpx.Client(transport=transport, headers=headers, base_url="http://any") as client:
        assert client.get("/api/v1/pty").json()["sessions"] == []
        assert client.get("/healthz").json() == {"status": "ok"}
    for taken in path, Path(__file__):
        said = CliRunner().invoke(main, ["serve", "--uds", str(taken)])
        assert said.exit_code == 1
        assert "in use" in said.output
    assert daemon.stop()[0] == 0
    assert not path.exists()


def test_a_unix_socket_for_a_group(daemons: Daemons, tmp_path: Path) -> None:
    """It has the mode that was asked for, from the moment that it is there."""
    path, file = tmp_path / "socket", tmp_path / "daemon.toml"
    file.write_text("uds-mode = '660'\n")
    daemon = daemons.start("--uds", str(path), "--config", str(file), key="k")
    assert path.stat().st_mode & 0o777 == 0o660
    assert daemon.stop()[0] == 0


@pytest.mark.parametrize("mode", ["u+rw", "6600", "8", "-600"])
def test_bad_modes_are_refused(mode: str) -> None:
    """An invalid mode is an error before the socket is bound."""
    said = CliRunner().invoke(main, ["serve", "--uds", "/nowhere/socket", f"--uds-mode={mode}"])
    assert said.exit_code == 2
    assert "not a mode" in said.output


def test_a_mode_that_is_a_number_is_refused(tmp_path: Path) -> None:
    """In TOML, 660 is not 0o660."""
    file = tmp_path / "daemon.toml"
    file.write_text("uds-mode = 660\n")
    said = CliRunner().invoke(main, ["serve", "--config", str(file)])
    assert said.exit_code == 2
    assert "uds-mode has to be text" in said.output


def test_sessions_do_not_inherit_the_key(daemons: Daemons, tmp_path: Path) -> None:
    """A session's environment does not have the daemon's key."""
    daemon = daemons.start(key="the-key")
    daemon.start("env > environment; : > ready; exec sleep 60", tmp_path)
    told = (tmp_path / "environment").read_text()
    assert "PATH=" in told
    assert "the-key" not in told
    assert daemon.stop()[0] == 0


def test_health_and_readiness(daemons: Daemons, tmp_path: Path) -> None:
    """Both need no key; a daemon that is stopping is healthy, but takes no sessions."""
    daemon = daemons.start("--plan", "HUP@session 1s, KILL 15s")
    base = daemon.url.removesuffix("/api/v1/pty")
    daemon.start(DEAF, tmp_path)
    with httpx.Client(trust_env=False, verify=False) as client:
        assert client.get(f"{base}/readyz").status_code == 200
        assert client.head(f"{base}/healthz").content == b""
        assert client.post(f"{base}/healthz").json()["code"] == "METHOD_NOT_ALLOWED"
        daemon.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + _TIMEOUT
        while client.get(f"{base}/readyz").status_code != 503:
            assert time.monotonic() < until
        assert client.get(f"{base}/healthz").status_code == 200
    assert daemon.process.wait(_TIMEOUT) == 0


def test_a_log_without_a_reader_blocks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that can't be written are dropped, and counted, rather than waited for."""
    monkeypatch.setattr(log, "_MOST_LINES", 10)
    release, written = threading.Event(), []

    class Pipe:
        def write(self, text: str) -> None:
            """Block, as a full pipe does."""
            release.wait(_TIMEOUT)
            written.append(text)

        def flush(self) -> None:
            """Nothing is kept back."""

    lines = log._Lines(cast(Any, Pipe()))
    for number in range(100):
        lines.write(f"{number}\n")
    release.set()
    lines.close()
    assert "0\n" in written
    assert len(written) <= 13
    (dropped,) = re.findall(r"lines=(\d+)", "".join(written))
    assert int(dropped) + len(written) - 1 == 100
