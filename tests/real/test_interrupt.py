"""Interrupting the program in a terminal, in each mode that a terminal can have."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import trio

import ptykill
from ptykill import InputFull, Session, SessionEnded, Supervisor
from ptykill.system.kernel.procfs import read_proc
from tests.real.running_program import TIMEOUT

pytestmark = pytest.mark.parametrize("tier", ["session", "keeper"], indirect=True)

ENVIRONMENT = {**os.environ, "PS1": "ready$ ", "HISTFILE": "", "TMOUT": "60", "TERM": "xterm"}
SHELL = ("bash", "--norc", "--noprofile", "-i")


class Screen:
    """What a session has written."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._seen = b""

    async def shows(self, *wanted: bytes) -> bytes:
        """Wait until these are written, one after the other; return what was, and forget it."""
        try:
            with trio.fail_after(TIMEOUT):
                start = 0
                for each in wanted:
                    while (found := self._seen.find(each, start)) < 0:
                        piece = await self._session.receive()
                        assert piece, (each, self._seen)
                        self._seen += piece
                    start = found + len(each)
        except trio.TooSlowError:
            raise AssertionError((wanted, self._seen)) from None
        seen, self._seen = self._seen[:start], self._seen[start:]
        return seen


async def start(supervisor: Supervisor, *command: str) -> tuple[Session, Screen]:
    """Start a program on a terminal."""
    session = await supervisor.spawn(command, env=ENVIRONMENT)
    return session, Screen(session)


async def until_listed(session: Session, command: str, *, there: bool) -> None:
    """Wait until a command is among the members, or is not."""
    with trio.fail_after(TIMEOUT):
        while (command in {each.command for each in await session.members()}) is not there:  # noqa: ASYNC110 - no event
            await trio.sleep(0.01)


async def interrupt_again_and_again(session: Session) -> None:
    """Interrupt until that raises, or the leader has exited."""
    with trio.move_on_after(TIMEOUT):
        while not session.exited:
            await trio.sleep(0.01)
            session.interrupt()


def reader(change: str) -> tuple[str, ...]:
    """Return a program that changes its terminal's modes, and writes each byte that it reads."""
    code = (
        "import os, signal, sys, termios, tty\n"
        "def caught(*_):\n"
        "    os.write(1, b'caught;')\n"
        "signal.signal(signal.SIGINT, caught)\n"
        "modes = termios.tcgetattr(0)\n"
        "modes[3] &= ~(termios.ECHO | termios.ICANON)\n"
        f"{change}\n"
        "termios.tcsetattr(0, termios.TCSANOW, modes)\n"
        "os.write(1, b'ready;')\n"
        "while True:\n"
        "    for each in os.read(0, 100):\n"
        "        os.write(1, b'read %d;' % each)\n"
    )
    return sys.executable, "-S", "-c", code


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ("", b"caught;"),
        ("modes[3] &= ~termios.ISIG", b"read 3;"),
        ("tty.setraw(0); modes = termios.tcgetattr(0)", b"read 3;"),
        ("modes[6][termios.VINTR] = b'x'", b"caught;"),
        ("modes[6][termios.VINTR] = b'\\0'", b"read 3;"),
        ("modes[3] &= ~termios.ISIG; modes[6][termios.VINTR] = b'x'", b"read 3;"),
        ("modes[3] |= termios.NOFLSH", b"caught;"),
    ],
    ids=["isig", "no isig", "raw", "another key", "no key", "raw with another key", "noflsh"],
)
async def test_each_mode(supervisor: Supervisor, change: str, seen: bytes) -> None:
    """The program is interrupted where a key does so, and reads Ctrl-C where none does."""
    session, screen = await start(supervisor, *reader(change))
    await screen.shows(b"ready;")
    before = session.last_input_at
    for _ in range(2):
        session.interrupt()
        assert await screen.shows(b";") == seen
    assert session.last_input_at != before
    await session.send(b"a")
    assert await screen.shows(b";") == b"read 97;"
    assert session.state is ptykill.State.RUNNING


async def test_a_shell_and_its_job(supervisor: Supervisor) -> None:
    """A job in the foreground ends, the shell and its job in the background go on."""
    session, screen = await start(supervisor, *SHELL)
    await session.send(b"sleep 61 & echo $(( 20 + 3 ))\n")
    await screen.shows(b"23\r\n", b"ready$ ")
    await session.send(b"echo $(( 40 + 1 )); sleep 62\n")
    await screen.shows(b"41\r\n")
    await until_listed(session, "sleep 61", there=True)
    await until_listed(session, "sleep 62", there=True)
    session.interrupt()
    await screen.shows(b"^C", b"ready$ ")
    await session.send(b"echo status $?\n")
    await screen.shows(b"status 130\r\n", b"ready$ ")
    # At the prompt it drops the line that was begun.
    await session.send(b"echo never seen")
    await screen.shows(b"never seen")
    # bash 5.2 shows no prompt after a SIGINT that comes while it still draws the line.
    await until_status(session.pid, rb"^State:\s*S")
    session.interrupt()
    await screen.shows(b"ready$ ")
    await session.send(b"echo $(( 50 + 1 ))\n")
    seen = await screen.shows(b"51\r\n", b"ready$ ")
    assert b"never" not in seen
    members = await session.members()
    assert {each.command for each in members} == {" ".join(SHELL), "sleep 61"}, (members, seen)


async def test_python(supervisor: Supervisor) -> None:
    """Its prompt and its loops raise KeyboardInterrupt."""
    session, screen = await start(supervisor, sys.executable, "-q")
    await screen.shows(b">>> ")
    # Python may miss one that comes just before it waits for a key, and act on it with the next.
    with trio.move_on_after(5) as waiting:
        session.interrupt()
        await screen.shows(b"KeyboardInterrupt", b">>> ")
    if waiting.cancelled_caught:
        session.interrupt()
        await screen.shows(b"KeyboardInterrupt", b">>> ")
    await session.send(b'exec("print(20 + 3, flush=True)\\nwhile True: pass")\n')
    await screen.shows(b"23\r\n")
    session.interrupt()
    await screen.shows(b"KeyboardInterrupt", b">>> ")


@pytest.mark.parametrize("lines", [300, 20_000])
async def test_a_paste_that_is_not_read(supervisor: Supervisor, lines: int) -> None:
    """It does not keep the interrupt from the program, whether the kernel takes all of it or not.

    The terminal's queue has 4 KiB. The kernel takes some more, and the key, which wait behind it.
    """
    session, screen = await start(supervisor, "sh", "-c", "echo ready; exec sleep 60")
    await screen.shows(b"ready")
    async with trio.open_nursery() as nursery:

        async def paste() -> None:
            with contextlib.suppress(SessionEnded):
                await session.send(b"a line that is not read\n" * lines)

        nursery.start_soon(paste)
        await trio.sleep(0.1)
        session.interrupt()
        with trio.fail_after(TIMEOUT):
            assert await session.wait_exited() == ptykill.ExitStatus(signal=2)
        await session.wait()
        with pytest.raises(SessionEnded):
            session.interrupt()


async def until_status(pid: int, pattern: bytes) -> None:
    """Wait until a process's status in /proc matches."""
    with trio.fail_after(TIMEOUT):
        while not re.search(pattern, read_proc(f"{pid}/status"), re.MULTILINE):  # noqa: ASYNC110 - no event
            await trio.sleep(0.001)


@pytest.mark.parametrize("mode", ["-noflsh", "noflsh"])
async def test_an_input_that_is_kept(supervisor: Supervisor, mode: str) -> None:
    """With NOFLSH nothing is discarded, and the interrupt arrives all the same."""
    noflsh = mode == "noflsh"
    script = f"stty {mode} -echo; trap 'echo caught' INT; echo ready; kill -STOP $$; cat | wc -l"
    session, screen = await start(supervisor, "sh", "-c", script)
    await screen.shows(b"ready")
    await until_status(session.pid, rb"^State:\s*T")
    await session.send(b"x\n" * 1000)
    session.interrupt()
    # The kernel looks at a typed key a little later. SIGINT is bit 1 of the pending signals.
    await until_status(session.pid, rb"^ShdPnd:\s*\w*[2367abef]$")
    session.signal("CONT")
    await screen.shows(b"caught")
    await session.send(b"\x04")
    lines = await screen.shows(b"1000" if noflsh else b"0")
    assert noflsh or b"1000" not in lines


async def test_an_input_that_is_full_in_raw_mode(supervisor: Supervisor) -> None:
    """The program can't be told, and the caller is."""
    code = "import os, time, tty; tty.setraw(0); os.write(1, b'ready;'); time.sleep(60)"
    session, screen = await start(supervisor, sys.executable, "-S", "-c", code)
    await screen.shows(b"ready;")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.send, b"x" * 1_000_000)
        with pytest.raises(InputFull):
            await interrupt_again_and_again(session)
        nursery.cancel_scope.cancel()
    assert not session.exited


@pytest.mark.skipif(shutil.which("vim") is None, reason="vim is not installed")
async def test_vim(supervisor: Supervisor, tmp_path: Path) -> None:
    """It is in raw mode: it leaves insert mode, keeps the text, and goes on."""
    file = tmp_path / "text"
    session, screen = await start(supervisor, "vim", "-u", "NONE", "-n", str(file))
    await screen.shows(b"23;1H~")
    await session.send(b"ione line")
    await screen.shows(b"one line")
    session.interrupt()
    await trio.sleep(0.2)
    await session.send(b":wq\r")
    with trio.fail_after(TIMEOUT):
        assert await session.wait_exited() == ptykill.ExitStatus(code=0)
    assert file.read_text() == "one line\n"


@pytest.mark.skipif(shutil.which("less") is None, reason="less is not installed")
async def test_less(supervisor: Supervisor, tmp_path: Path) -> None:
    """It goes on: an interrupt only stops what it waits for."""
    file = tmp_path / "text"
    file.write_text("".join(f"line {each}\n" for each in range(100)))
    session, screen = await start(supervisor, "less", str(file))
    await screen.shows(b"line 22")
    await session.send(b"F")
    await screen.shows(b"line 99", b"Waiting for data")
    session.interrupt()
    await trio.sleep(0.2)
    await session.send(b"q")
    with trio.fail_after(TIMEOUT):
        assert await session.wait_exited() == ptykill.ExitStatus(code=0)


async def test_a_terminal_inside_a_terminal(supervisor: Supervisor) -> None:
    """A program that passes keys on is in raw mode, and the inner terminal interrupts."""
    code = "import pty, sys; pty.spawn(sys.argv[1:])"
    command = (sys.executable, "-S", "-c", code, "sh", "-c", "echo inner; sleep 62; echo never")
    session, screen = await start(supervisor, *command)
    await screen.shows(b"inner")
    session.interrupt()
    await until_listed(session, "sleep 62", there=False)
    with trio.fail_after(TIMEOUT):
        assert await session.wait_exited() == ptykill.ExitStatus(code=0)
