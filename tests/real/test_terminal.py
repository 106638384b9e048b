"""The terminal of a session is a real one: size, job control, ``/dev/tty``, and all its output."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import pytest

from ptykill import Session, SessionEnded, State, Supervisor
from ptykill.testing import processes
from ptykill.testing.adversaries import BASH, bash_with, find, python
from tests.real.running_program import RunningProgram, start, until

pytestmark = pytest.mark.usefixtures("spawning")


class Shell:
    """An interactive bash that runs command lines for a test."""

    def __init__(self, running: RunningProgram) -> None:
        self.session = running.session
        self.running = running
        self._numbers = itertools.count()

    async def ask(self, line: str) -> str:
        """Type a command line and return its output; its standard input is the terminal."""
        number = next(self._numbers)
        await self.session.send(f"{{ {line}\n}} >answer{number} 2>&1; : >done{number}\n".encode())
        await until(lambda: self.running.has(f"done{number}"), f"an answer to {line!r}")
        return (self.running.folder / f"answer{number}").read_text().strip()

    async def foreground_job(self, line: str, name: str) -> int:
        """Type a command line and wait until that program is in the foreground."""
        await self.session.send(f"{line}\n".encode())
        return await self.in_front(name)

    async def in_front(self, name: str) -> int:
        """Wait until a program of that name leads the foreground process group."""

        def there() -> bool:
            job = processes.look_up(self.running.foreground())
            return job is not None and job.name == name and job.state in "RS"

        await until(there, f"{name} to be in the foreground")
        return self.running.foreground()

    async def back(self) -> None:
        """Wait until the shell is in the foreground again."""
        await until(
            lambda: self.running.foreground() == self.session.pid, "the shell to be in front again"
        )


@pytest.fixture
async def shell(spawning: str, supervisor: Supervisor, tmp_path: Path) -> Shell:
    """Start an interactive bash on a terminal of 24 rows and 80 columns."""
    return Shell(await start(supervisor, bash_with("nothing", ":"), tmp_path))


async def received(session: Session) -> bytes:
    """Return all output until its end."""
    data = b""
    while more := await session.receive():
        data += more
    return data


async def test_controlling_terminal(shell: Shell) -> None:
    """The leader leads its session and process group, which is in the foreground of a pty."""
    leader = shell.running.leader()
    assert leader is not None
    assert leader.pid == leader.group == leader.session == leader.foreground
    assert leader.terminal != 0
    assert re.fullmatch(r"/dev/pts/\d+", await shell.ask("tty"))
    assert await shell.ask("[ -t 0 ] && echo yes") == "yes"


async def test_device_tty(shell: Shell) -> None:
    """/dev/tty is that terminal, for a program whose own descriptors are elsewhere."""
    await shell.ask("printf 'wri%s' tten >/dev/tty")
    output = b""
    while b"written" not in output:
        output += await shell.session.receive()
    assert await shell.ask("stty size </dev/tty") == "24 80"


async def test_size(supervisor: Supervisor, tmp_path: Path) -> None:
    """The terminal has the requested size, and the new one after a resize."""
    shell = Shell(await start(supervisor, bash_with("a size", ":"), tmp_path, rows=11, cols=222))
    assert await shell.ask("stty size") == "11 222"
    shell.session.resize(rows=33, cols=44)
    assert await shell.ask("stty size") == "33 44"
    assert (shell.session.rows, shell.session.cols) == (33, 44)


@pytest.mark.parametrize("echo", [True, False])
async def test_echo(supervisor: Supervisor, echo: bool) -> None:  # noqa: FBT001
    """Input is echoed, unless ``echo`` is false."""
    session = await supervisor.spawn(["sh", "-c", "read line; echo heard $line"], echo=echo)
    await session.send(b"this\n")
    await session.wait()
    shown = b"this\r\n" if echo else b""
    assert await session.receive() == shown + b"heard this\r\n"


async def test_resize_is_told(supervisor: Supervisor, tmp_path: Path) -> None:
    """The program in the foreground gets SIGWINCH when the size changes."""
    program = python(
        "watches its window",
        "writes the size of its window into a file when it is told of a change",
        """
        def changed():
            size = os.get_terminal_size(0)
            with open("size", "w") as file:
                print(size.lines, size.columns, file=file)
            touch("changed")
        on(signal.SIGWINCH, changed)
        touch("ready")
        idle()
        """,
    )
    running = await start(supervisor, program, tmp_path)
    running.session.resize(rows=50, cols=100)
    await until(lambda: running.has("changed"), "a SIGWINCH")
    assert (running.folder / "size").read_text() == "50 100\n"


async def test_ctrl_c(shell: Shell) -> None:
    """Ctrl-C ends the foreground job, and the shell goes on."""
    await shell.foreground_job("sleep 60", "sleep")
    await shell.session.send(b"\x03")
    await shell.back()
    assert await shell.ask("echo $?") == "130"
    assert shell.session.state is State.RUNNING


async def test_job_control(shell: Shell) -> None:
    """Ctrl-Z stops the foreground job, bg and fg continue it."""
    job = await shell.foreground_job("sleep 60", "sleep")

    def state() -> str:
        process = processes.look_up(job)
        return "" if process is None else process.state

    await shell.session.send(b"\x1a")
    await shell.back()
    assert state() == "T"
    await shell.ask("bg")
    await until(lambda: state() == "S", "the job to go on")
    assert shell.running.foreground() == shell.session.pid
    await shell.session.send(b"fg\n")
    assert await shell.in_front("sleep") == job
    await shell.session.send(b"\x03")
    await shell.back()
    assert await shell.ask("jobs") == ""


async def test_no_complaint_about_job_control(supervisor: Supervisor, tmp_path: Path) -> None:
    """An interactive bash prints only its prompt, and no complaint."""
    session = await supervisor.spawn(
        [BASH, "--norc", "--noprofile", "-i"], cwd=tmp_path, env={"PS1": "ready> ", "TERM": "dumb"}
    )
    greeting = b""
    while b"ready> " not in greeting:
        greeting += await session.receive()
    assert greeting.strip() == b"ready>"


async def test_erasing_utf_8(supervisor: Supervisor, tmp_path: Path) -> None:
    """The line editing of the terminal erases a character of several bytes as a whole."""
    session = await supervisor.spawn(["head", "-n1"], cwd=tmp_path)
    await session.send("aé\x7fb\n".encode())
    assert (await received(session)).endswith(b"\r\nab\r\n")


async def test_environment_and_directory(supervisor: Supervisor, tmp_path: Path) -> None:
    """The program has exactly the given environment and working directory."""
    env = {"PATH": os.defpath, "LETTERS": "äöü \udcff", "EMPTY": ""}
    session = await supervisor.spawn(["env", "-0"], env=env, cwd=tmp_path)
    output = (await received(session)).split(b"\0")
    assert sorted(filter(None, output)) == sorted(
        os.fsencode(f"{name}={value}") for name, value in env.items()
    )
    session = await supervisor.spawn(["/bin/pwd"], cwd=tmp_path)
    assert await received(session) == os.fsencode(tmp_path) + b"\r\n"
    session = await supervisor.spawn(["/bin/pwd"])
    assert await received(session) == os.fsencode(Path.cwd()) + b"\r\n"


async def test_the_mark_is_inherited(supervisor: Supervisor, mark: str) -> None:
    """Without an environment of its own a program has the host's."""
    session = await supervisor.spawn(["printenv", processes.MARK])
    assert await received(session) == f"{mark}\r\n".encode()


async def test_arguments(supervisor: Supervisor) -> None:
    """Arguments arrive as they are: empty ones, spaces, quotes, and bytes that are no text."""
    arguments = ["", " ", "a b", '"', "$HOME", "ü", "\udcff"]
    session = await supervisor.spawn(["printf", "<%s>", *arguments])
    assert await received(session) == b"".join(b"<%b>" % os.fsencode(each) for each in arguments)


async def test_no_descriptors_are_inherited(supervisor: Supervisor) -> None:
    """A program has descriptors 0, 1 and 2, its terminal, and no others of the host's."""
    ours = os.pipe()
    high = os.dup2(ours[0], 200)
    for fd in (*ours, high):
        os.set_inheritable(fd, True)  # noqa: FBT003
    try:
        session = await supervisor.spawn(["ls", "-l", "/proc/self/fd"])
        lines = (await received(session)).decode().splitlines()
    finally:
        for fd in (*ours, high):
            os.close(fd)
    held = dict(line.partition(" -> ")[::2] for line in lines if " -> " in line)
    targets = {int(name.split()[-1]): target for name, target in held.items()}
    assert sorted(targets) == [0, 1, 2, 3]
    assert targets[0] == targets[1] == targets[2]
    assert targets[0].startswith("/dev/pts/")
    assert re.fullmatch(r"/proc/\d+/fd", targets[3])  # ls's own


async def test_fast_output_is_all_there(supervisor: Supervisor) -> None:
    """All output of a command is received, in order."""
    session = await supervisor.spawn(["seq", "50000"])
    lines = (await received(session)).split(b"\r\n")
    assert lines == [b"%d" % number for number in range(1, 50001)] + [b""]
    assert session.bytes_dropped == 0


async def test_short_output_is_never_lost(supervisor: Supervisor) -> None:
    """The short output of a program that exits at once is received."""
    missing = 0
    for _ in range(40):
        session = await supervisor.spawn(["echo", "words"])
        missing += await received(session) != b"words\r\n"
    assert missing == 0


async def test_one_large_write(supervisor: Supervisor) -> None:
    """A write of 300 kB arrives whole, although the program exits right after it."""
    session = await supervisor.spawn(["bash", "-c", "printf '%0300000d' 7; printf end"])
    output = await received(session)
    assert len(output) == 300_003
    assert output.endswith(b"7end")


async def test_output_that_nobody_receives(supervisor: Supervisor) -> None:
    """A program does not wait for a slow receiver; the newest output is kept."""
    session = await supervisor.spawn(["seq", "300000"])
    assert await session.wait_exited() is not None
    output = await received(session)
    assert session.bytes_dropped > 0
    # What is still on its way when the leader's end is seen may come on top.
    assert len(output) <= (1 << 20) + (1 << 16)
    assert output.endswith(b"\r\n299999\r\n300000\r\n")


async def test_receiving_a_little_at_a_time(supervisor: Supervisor) -> None:
    """No more is received at a time than was asked for."""
    session = await supervisor.spawn(["printf", "abcdefg"])
    pieces = []
    while piece := await session.receive(3):
        pieces.append(piece)
    assert all(len(piece) <= 3 for piece in pieces)
    assert b"".join(pieces) == b"abcdefg"
    assert await session.receive() == b""


async def test_output_ends_with_the_leader(supervisor: Supervisor, tmp_path: Path) -> None:
    """The output ends when the leader is dead, though a leftover holds the terminal."""
    running = await start(
        supervisor,
        find("leaves a deaf child"),
        tmp_path,
        plan="HUP@session 60s, KILL 15s",
    )
    running.tell("go")
    assert await received(running.session) == b""
    assert running.session.exited
    assert running.session.state is not State.ENDED
    assert (await running.session.kill()).empty


async def test_sending_to_the_dead(supervisor: Supervisor) -> None:
    """`send` after the end raises `SessionEnded`."""
    session = await supervisor.spawn(["true"])
    await session.wait()
    with pytest.raises(SessionEnded) as caught:
        await session.send(b"hello?\n")
    assert (caught.value.code, caught.value.status) == ("SESSION_ENDED", 409)
    with pytest.raises(SessionEnded):
        session.resize(rows=10, cols=10)
    assert (session.rows, session.cols) == (24, 80)
    assert await session.receive() == b""


async def test_input_after_the_hangup(supervisor: Supervisor) -> None:
    """The terminal is gone while the program still has its grace: the sender is told."""
    session = await supervisor.spawn(["sh", "-c", "trap '' HUP; echo set; sleep 60"])
    await session.expect("set")
    session.request_end(plan="hangup 60s, KILL")
    with pytest.raises(SessionEnded):
        await session.send("x")
    with pytest.raises(SessionEnded):
        session.resize(10, 10)
    assert (await session.kill()).empty
