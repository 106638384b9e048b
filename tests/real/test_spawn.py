"""A spawn returns a session with clean state, or raises an error and leaves no process."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from ptykill import Attributes, InvalidArgument, SpawnError, Supervisor
from ptykill.testing import processes
from tests.real.hosts import run_host


@pytest.fixture
def tier(spawning: str) -> str:
    """Return the tier that each way to spawn belongs to."""
    return spawning if spawning in ("keeper", "cgroup") else "session"


class Failure(NamedTuple):
    """The expected error of a spawn."""

    errno: int
    stage: str
    code: str
    status: int = 400


NOT_FOUND = Failure(errno.ENOENT, "exec", "COMMAND_NOT_FOUND")
NOT_A_DIRECTORY = Failure(errno.ENOTDIR, "exec", "COMMAND_NOT_FOUND")
NOT_EXECUTABLE = Failure(errno.EACCES, "exec", "COMMAND_NOT_EXECUTABLE")
NO_FORMAT = Failure(errno.ENOEXEC, "exec", "COMMAND_NOT_EXECUTABLE")
TOO_LONG = Failure(errno.E2BIG, "exec", "COMMAND_TOO_LONG")
NO_FOLDER = Failure(errno.ENOENT, "chdir", "WORKING_DIR_NOT_FOUND")
FILE_FOR_FOLDER = Failure(errno.ENOTDIR, "chdir", "WORKING_DIR_NOT_FOUND")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with files that can't be run."""
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    (tmp_path / "nothing").touch(0o755)
    (tmp_path / "nothing").write_bytes(b"\x7fELF\0 of no machine there is\n")
    (tmp_path / "orphan").touch(0o755)
    (tmp_path / "orphan").write_text("#!/no/such/interpreter\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


async def refused(supervisor: Supervisor, command: list[str], cwd: Path | None = None) -> Failure:
    """Spawn a command that can't be run, and check that no process is left."""
    env = os.environ | {"PATH": f"{cwd}:{os.defpath}"}
    children = {each.pid for each in processes.spawned(os.getpid())}
    with pytest.raises(SpawnError) as caught:
        await supervisor.spawn(command, cwd=cwd, env=env)
    assert {each.pid for each in processes.spawned(os.getpid())} == children
    assert supervisor.sessions == ()
    error = caught.value
    assert isinstance(error.errno, int)
    assert os.strerror(error.errno) in str(error)
    return Failure(error.errno, error.stage, error.code, error.status)


@pytest.mark.parametrize(
    ("command", "failure"),
    [
        ("no-such-program-anywhere", NOT_FOUND),
        ("/no/such/program", NOT_FOUND),
        ("./missing", NOT_FOUND),
        ("./orphan", NOT_FOUND),
        ("./plain/program", NOT_A_DIRECTORY),
        ("./plain", NOT_EXECUTABLE),
        ("plain", NOT_EXECUTABLE),
        ("./folder", NOT_EXECUTABLE),
        ("folder", NOT_FOUND),
        ("./nothing", NO_FORMAT),
        ("nothing", NO_FORMAT),
    ],
)
async def test_what_can_not_be_run(
    supervisor: Supervisor, folder: Path, command: str, failure: Failure
) -> None:
    """A command that can't be run is an error with the kernel's errno."""
    assert await refused(supervisor, [command], folder) == failure


@pytest.fixture(params=["plain", "stub"])
def attributes(request: pytest.FixtureRequest) -> Attributes:
    """Attributes that posix_spawn(3) can set, and one that needs the stub."""
    return Attributes() if request.param == "plain" else Attributes(umask=0o22)


@pytest.mark.parametrize("command", ["script", "./script", "-x", "-d/script"])
async def test_a_script_that_names_no_interpreter(
    supervisor: Supervisor, folder: Path, attributes: Attributes, command: str
) -> None:
    """It is run by sh(1), as execvp(3) has it, on its terminal and with its arguments."""
    (folder / "-d").mkdir()
    for name in "script", "-x", "-d/script":
        (folder / name).touch(0o755)
        (folder / name).write_text(': < /dev/tty && echo "$#" "$1" "$2"; exit 3\n')
    session = await supervisor.spawn(
        [command, "-c", "a b"], cwd=folder, env=os.environ | {"PATH": ""}, attributes=attributes
    )
    verdict = await session.wait()
    assert await session.receive() == b"2 -c a b\r\n"
    assert verdict.exit_status is not None
    assert verdict.exit_status.code == 3


async def test_a_script_of_nothing(
    supervisor: Supervisor, folder: Path, attributes: Attributes
) -> None:
    """An empty file with execute permission is a script without commands."""
    (folder / "empty").touch(0o755)
    session = await supervisor.spawn([str(folder / "empty")], attributes=attributes)
    verdict = await session.wait()
    assert verdict.exit_status is not None
    assert verdict.exit_status.code == 0


async def test_a_binary_that_can_not_be_run(
    supervisor: Supervisor, folder: Path, attributes: Attributes
) -> None:
    """A program for another machine is refused, and no shell tries to read it."""
    with pytest.raises(SpawnError) as caught:
        await supervisor.spawn([str(folder / "nothing")], attributes=attributes)
    assert (caught.value.errno, caught.value.stage) == (errno.ENOEXEC, "exec")


async def test_too_long(supervisor: Supervisor, folder: Path) -> None:
    """More arguments than the kernel accepts are the caller's error (E2BIG)."""
    assert await refused(supervisor, ["true", *["x" * 100_000] * 100], folder) == TOO_LONG


async def test_working_directory(supervisor: Supervisor, folder: Path) -> None:
    """A working directory that is missing, or is a file, is an error of its own."""
    assert await refused(supervisor, ["/bin/true"], folder / "missing") == NO_FOLDER
    assert await refused(supervisor, ["/bin/true"], folder / "plain") == FILE_FOR_FOLDER
    assert await refused(supervisor, ["/bin/true"], folder / ("x" * 300)) == Failure(
        errno.ENAMETOOLONG, "chdir", "WORKING_DIR_NOT_FOUND"
    )


@pytest.mark.parametrize(
    "command",
    [[], [""], ["a\0b"], ["true", "\0"], "true", [b"true"], ["\ud800"], ["true", "a\udfff"]],
    ids=ascii,
)
async def test_what_is_no_command(supervisor: Supervisor, command: list[str]) -> None:
    """An empty command, or one with a NUL byte, is refused before anything is started."""
    with pytest.raises(InvalidArgument) as caught:
        await supervisor.spawn(command)
    assert (caught.value.code, caught.value.status) == ("INVALID_REQUEST", 400)
    assert supervisor.sessions == ()


@pytest.mark.parametrize(
    "options",
    [
        {"env": {"A": "\0"}},
        {"env": {"A\0": ""}},
        {"env": {"A=B": ""}},
        {"env": {"": ""}},
        {"cwd": "/tmp\0"},
        {"stdin": -1},
        {"stdin": 1 << 30},
        {"stdin": "/dev/null"},
        {"env": {"A": "\ud800"}},
        {"env": {"\ud800": "A"}},
        {"cwd": "/tmp/\ud800"},
        {"rows": 0},
        {"rows": 65_536},
        {"cols": -1},
        {"cols": 1.5},
        {"cols": True},
    ],
    ids=ascii,
)
async def test_what_is_no_option(supervisor: Supervisor, options: dict[str, object]) -> None:
    """An invalid name, value or size is refused before anything is started."""
    with pytest.raises(InvalidArgument):
        await supervisor.spawn(["true"], **options)  # type: ignore[arg-type]
    assert supervisor.sessions == ()


@pytest.mark.parametrize("attributes", [None, Attributes(umask=0o22)])
@pytest.mark.parametrize("size", [0, 100_000])
async def test_standard_input_of_its_own(
    supervisor: Supervisor, attributes: Attributes | None, size: int
) -> None:
    """A program may have a pipe as descriptor 0; 1, 2 and /dev/tty are its terminal."""
    source, sink = os.pipe()
    os.write(sink, b"a\3b\4c\n" + b"x" * 5000)
    os.close(sink)
    script = "cat; cat; tty <&1; tty <&2; tty; stty size </dev/tty; ls /dev/fd/ | tr '\n' ' '"
    session = await supervisor.spawn(
        ["sh", "-c", script],
        stdin=source,
        attributes=attributes,
        env=os.environ | {"A": "a" * size, "B": "b" * size},
    )
    os.close(source)
    shown = b""
    while data := await session.receive():
        shown += data
    got, one, *rest = shown.decode().split("\r\n")
    assert got == "a\3b\4c"
    assert one.startswith("x" * 5000 + "/dev/pts/")
    assert rest == [one.lstrip("x"), "not a tty", "24 80", "0 1 2 3 "]


async def test_bytes_that_are_no_text(supervisor: Supervisor) -> None:
    """A byte that is no text is given as a lone surrogate, and the program gets the byte."""
    script = "import os, sys; sys.exit(os.fsencode(sys.argv[1]) != b'\\xff\\xc3\\xa9')"
    session = await supervisor.spawn([sys.executable, "-c", script, "\udcff\xe9"])
    status = await session.wait_exited()
    assert status is not None
    assert status.code == 0


async def test_looked_up_in_its_own_path(supervisor: Supervisor, folder: Path) -> None:
    """The command is found by the PATH of its own environment, in that order."""
    for name in "first", "second":
        (folder / name).mkdir()
        (folder / name / "speak").touch(0o755)
        (folder / name / "speak").write_text(f"#!/bin/sh\necho {name}\n")
    (folder / "first" / "speak").chmod(0o644)  # Skipped: it has no execute permission.
    session = await supervisor.spawn(
        ["speak"], env={"PATH": f"{folder}/none:{folder}/first:{folder}/second"}
    )
    assert await session.receive() == b"second\r\n"
    relative = await supervisor.spawn(["speak"], env={"PATH": "second"}, cwd=folder)
    assert await relative.receive() == b"second\r\n"
    own = await supervisor.spawn(["./speak"], cwd=folder / "second")
    assert await own.receive() == b"second\r\n"


def test_a_directory_that_is_out_of_bounds(
    spawning: str, tmp_path: Path, unprivileged: tuple[str, ...]
) -> None:
    """A session can't start in a directory that its user may not enter."""
    if spawning == "cgroup":
        pytest.skip("an ordinary user has no cgroup")
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        answer = run_host("out_of_bounds", spawning, str(closed), wrapper=unprivileged)
    finally:
        closed.chmod(0o700)
    assert answer == [errno.EACCES, "chdir", "WORKING_DIR_NOT_ACCESSIBLE", 400]


def test_a_host_under_nohup(spawning: str) -> None:
    """A session starts without ignored or blocked signals, whatever its host ignores or blocks."""
    host, session = run_host("under_nohup", spawning)
    # The two signals below SIGRTMIN are the C library's own.
    ours = ~(1 << 31 | 1 << 32)
    assert int(host["SigIgn"], 16) & 1  # SIGHUP
    assert int(host["SigBlk"], 16)
    assert int(session["SigIgn"], 16) & ours == 0
    assert int(session["SigBlk"], 16) & ours == 0
    assert session["outcome"] == "graceful"
    assert session["signal"] == 1
