"""`PtyProcess` and `spawn` of pexpect: the interface of their models, and the ends of ptykill."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import select
import signal
import subprocess
import sys
import termios
import threading
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pexpect
import pytest

import ptykill
from ptykill.blocking import supervisor_of
from ptykill.integrations import ptyprocess
from ptykill.integrations.pexpect import spawn
from ptykill.integrations.ptyprocess import PtyProcess, PtyProcessError, PtyProcessUnicode
from ptykill.testing import processes
from tests.waiting import IDLE_LOOP, TIMEOUT, wait_until

ROOT = Path(__file__).parents[2]
DEAF = "trap '' HUP INT TERM; echo ready; exec sleep 60"
DAEMON = 'setsid sh -c \'trap "" HUP TERM; echo d""eaf; exec sleep 60\' &'
"""A child that leaves the session and is deaf, so that only SIGKILL ends it."""


@pytest.fixture(autouse=True)
def host(_nothing_leaks: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[ptykill.Host]:
    """Give each test the shared host anew, and close it."""
    with ptykill.Host(keep_records=0) as host:
        monkeypatch.setattr(ptyprocess, "_HOST", host)
        yield host


def until(process: PtyProcess, text: bytes) -> bytes:
    """Read until a text has come."""
    found = b""
    while text not in found:
        found += process.read()
    return found


def rest(process: PtyProcess) -> bytes:
    """Read until the end of the output."""
    found = b""
    with suppress(EOFError):
        while True:
            found += process.read(65_536)
    return found


def members(mark: str) -> list[processes.Process]:
    """Return the living processes of the test's sessions."""
    return [each for each in processes.marked(mark) if not processes.our_own(each)]


def sh(script: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> PtyProcess:
    """Spawn a shell."""
    return PtyProcess.spawn(["sh", "-c", script], cwd, env)


# --- the interface --------------------------------------------------------------------------------


def test_an_exit_is_seen_as_waitpid_has_it() -> None:
    """The exit code and the status are there once the exit was seen; the output stays readable."""
    process = sh("echo hello; exit 7")
    assert process.wait() == 7
    assert (process.exitstatus, process.signalstatus, process.status) == (7, None, 7 << 8)
    assert process.terminated
    assert not process.isalive()
    assert rest(process) == b"hello\r\n"
    assert process.eof()
    assert process.flag_eof
    process.close()
    assert process.closed
    assert process.fd == -1
    process.close()


def test_a_signal_is_seen_as_waitpid_has_it() -> None:
    """`kill` sends a signal to the child, and nothing once that is dead."""
    with PtyProcess.spawn(["sleep", "1000"]) as process:
        process.kill(0)
        assert process.isalive()
        process.kill(signal.SIGKILL)
        assert process.wait() is None
        assert (process.exitstatus, process.signalstatus, process.status) == (None, 9, 9)
        process.kill(signal.SIGTERM)


def test_the_descriptor_is_the_terminal_s_master() -> None:
    """The user may select on it, read it, and use termios on it; the end is EIO."""
    process = PtyProcess.spawn(["cat"], echo=False, dimensions=(30, 100))
    assert process.isatty()
    assert os.isatty(process.fileno())
    assert os.get_blocking(process.fd)
    assert process.getwinsize() == (30, 100)
    assert not select.select([process.fd], [], [], 0)[0]
    assert process.write(b"typed\n") == 6
    assert select.select([process.fd], [], [], TIMEOUT)[0]
    assert os.read(process.fd, 100) == b"typed\r\n"
    assert not termios.tcgetattr(process.fd)[3] & termios.ECHO
    assert process.sendeof() == (1, b"\x04")
    with pytest.raises(OSError, match="Input/output error") as caught:
        os.read(process.fd, 100)
    assert caught.value.errno == errno.EIO
    assert not process.isalive()
    process.close()


def test_lines_and_pieces_follow_each_other() -> None:
    """`readline` keeps what comes after the line for the next call, of `read` too."""
    with sh("printf 'one\\ntwo\\nthree'") as process:
        process.wait()
        assert process.readline() == b"one\r\n"
        assert process.read(2) == b"tw"
        assert process.readline() == b"o\r\n"
        assert process.readline() == b"three"
        with pytest.raises(EOFError):
            process.readline()


def test_text() -> None:
    """`PtyProcessUnicode` decodes characters that come in two pieces."""
    with PtyProcessUnicode.spawn(["sh", "-c", 'read x; printf "<$x>"'], echo=False) as process:
        assert isinstance(process, PtyProcess)
        process.write("é\n")
        text = ""
        with suppress(EOFError):
            while True:
                text += process.read(1)
        assert text == "<é>"


def test_control_characters() -> None:
    """They are typed; a character that has none types nothing."""
    with sh("stty raw -echo; echo ready; cat") as process:
        until(process, b"ready")
        for char, byte in ("a", 1), ("Z", 26), ("[", 27), ("?", 127), ("@", 0):
            assert process.sendcontrol(char) == (1, bytes([byte]))
        assert process.sendcontrol("1") == (0, b"")
        assert process.sendintr() == (1, b"\x03")
        until(process, bytes([1, 26, 27, 127, 0, 3]))


def test_echo() -> None:
    """The echo can be asked for, set, and waited for."""
    with sh("echo ready; read x; stty -echo; read y") as process:
        until(process, b"ready")
        assert process.getecho()
        assert not process.waitnoecho(timeout=0.02)
        process.write(b"\n")
        assert process.waitnoecho()
        process.setecho(state=True)
        assert process.getecho()


def test_where_and_with_what_it_runs(tmp_path: Path) -> None:
    """``cwd`` and ``env`` are its own; without ``env`` it has all of this process's."""
    with sh("pwd; echo $A; exit", cwd=tmp_path, env={"A": "b"}) as process:
        assert rest(process).split() == [str(tmp_path).encode(), b"b"]
        assert repr(process).startswith("PtyProcess.spawn(['/")
        assert process.launch_dir == str(tmp_path)


def test_a_window_s_size_is_told() -> None:
    """The foreground gets SIGWINCH."""
    with sh(f"trap 'stty size; exit' WINCH; echo ready; {IDLE_LOOP}") as process:
        until(process, b"ready")
        process.setwinsize(11, 22)
        assert b"11 22" in rest(process)


def test_wrong_arguments(tmp_path: Path) -> None:
    """What can't be done is refused, and leaves no process and no descriptor."""
    (program := tmp_path / "program").write_bytes(b"\0\0no program")
    program.chmod(0o755)
    with pytest.raises(FileNotFoundError):
        PtyProcess.spawn(["no-such-program"])
    with pytest.raises(TypeError):
        PtyProcess.spawn("ls")
    with pytest.raises(ptykill.InvalidArgument, match="preexec_fn"):
        PtyProcess.spawn(["ls"], preexec_fn=print)
    with pytest.raises(ptykill.InvalidArgument, match="pass_fds"):
        PtyProcess.spawn(["ls"], pass_fds=[1])
    with pytest.raises(OSError, match="Exec format error") as caught:
        PtyProcess.spawn([str(program)])
    assert caught.value.errno == errno.ENOEXEC
    process = PtyProcess.spawn(["sleep", "1000"])
    with pytest.raises(ptykill.InvalidArgument, match="999"):
        process.kill(999)
    process.close()
    with pytest.raises(ValueError, match="closed"):
        process.read()
    with pytest.raises(ValueError, match="closed"):
        process.write(b"")


# --- the end --------------------------------------------------------------------------------------


def test_close_ends_all_of_the_session(mark: str) -> None:
    """A deaf daemon that has left the session is dead when `close` returns."""
    process = sh(f"{DAEMON} sleep 1000")
    until(process, b"deaf")
    assert len(members(mark)) >= 2
    process.close()
    assert members(mark) == []
    assert process.verdict is not None
    assert process.verdict.empty
    assert process.verdict.outcome is ptykill.Outcome.KILLED


def test_terminate_by_force_ends_all_of_the_session_and_keeps_the_output(mark: str) -> None:
    """The last output is there to be read; the descriptor stays open."""
    process = sh(f"{DAEMON} trap 'echo bye; exit 3' HUP; {IDLE_LOOP}")
    until(process, b"deaf")
    process.delayafterterminate = 1.0
    assert process.terminate(force=True)
    assert members(mark) == []
    assert (process.exitstatus, process.isalive()) == (3, False)
    assert b"bye" in rest(process)
    process.close()


def test_terminate_without_force_kills_nobody() -> None:
    """A program that ignores SIGHUP and SIGINT stays, and `close` says so and closes nothing."""
    process = sh(DEAF)
    until(process, b"ready")
    process.delayafterterminate = 0.05
    assert not process.terminate()
    with pytest.raises(PtyProcessError):
        process.close(force=False)
    assert process.isalive()
    assert not process.closed
    process.close()
    assert not process.isalive()
    with PtyProcess.spawn(["sleep", "1000"]) as other:
        assert other.terminate()
        assert other.signalstatus == signal.SIGHUP


def test_the_grace_is_the_sum_of_the_delays() -> None:
    """A clean-up that takes longer than ptyprocess's 0.4 seconds gets its time, by two numbers."""
    for delay, code in (3.0, 5), (0.0, None):
        process = sh(f"trap 'sleep 0.6; exit 5' HUP; echo ready; {IDLE_LOOP}")
        until(process, b"ready")
        process.delayafterclose = process.delayafterterminate = delay
        process.close()
        assert process.exitstatus == code


def test_a_full_terminal_does_not_keep_a_program_from_cleaning_up(tmp_path: Path) -> None:
    """Nobody reads, and the terminal is full before the end begins, and again in the clean-up."""
    script = (
        "trap 'head -c 300000 /dev/zero; echo bye; touch cleaned; exit' HUP;"
        " touch ready; while echo a line of output; do :; done"
    )
    process = sh(script, cwd=tmp_path)
    wait_until((tmp_path / "ready").exists)
    wait_until(lambda: full(process.fd))
    process.delayafterterminate = 10.0
    assert process.terminate(force=True)
    assert process.exitstatus == 0
    assert (tmp_path / "cleaned").exists()
    assert rest(process).endswith(b"bye\r\n")
    process.close()


def test_leftovers_clean_up_on_a_full_terminal(tmp_path: Path, tier: str) -> None:
    """The leader dies of SIGHUP at once; its child writes much, and has the grace for it."""
    child = (
        "trap 'head -c 300000 /dev/zero; touch cleaned; exit' HUP;"
        " touch ready; while echo a line of output; do :; done"
    )
    (tmp_path / "child").write_text(child)
    with ptykill.Host(containment=tier, keep_records=0) as host:

        class Contained(PtyProcess):
            supervisor = supervisor_of(host)

        process = Contained.spawn(["sh", "-c", "sh child & exec sleep 1000"], tmp_path)
        wait_until((tmp_path / "ready").exists)
        wait_until(lambda: full(process.fd))
        process.delayafterterminate = 10.0
        assert process.terminate(force=True)
        assert process.signalstatus == signal.SIGHUP
        assert process.verdict is not None
        assert process.verdict.outcome is ptykill.Outcome.GRACEFUL
        assert (tmp_path / "cleaned").exists()
        process.close()


def test_output_that_fits_is_not_discarded() -> None:
    """What the terminal holds when the end begins can be read after it."""
    process = sh("echo ready; head -c 9000 /dev/zero | tr '\\0' x; echo; kill -STOP $$")
    found = until(process, b"ready\r\n")
    wait_until(lambda: state(process.pid) == "T")
    assert process.terminate(force=True)
    assert (found + rest(process)).count(b"x") == 9_000
    process.close()


def test_a_reader_in_another_thread_sees_the_end() -> None:
    """`close` does not wait for a read that waits, and the reader gets EOFError."""
    process = PtyProcess.spawn(["sleep", "1000"])
    ended: list[type[BaseException]] = []

    def read() -> None:
        try:
            process.read()
        except EOFError as error:
            ended.append(type(error))

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: state(os.getpid(), reader.native_id) == "S")
    process.close()
    reader.join(TIMEOUT)
    assert ended == [EOFError]


def test_the_end_of_the_output_comes_with_the_leader_s_exit() -> None:
    """A child that has given up the terminal does not delay it, though its grace is not over."""
    script = "trap '' HUP; sh -c 'trap \"\" TERM; sleep 30' </dev/null >/dev/null 2>&1 & exit 4"
    with ptykill.Host(plan="HUP@session 20s, KILL", keep_records=0) as host:

        class Patient(PtyProcess):
            supervisor = supervisor_of(host)

        process = Patient.spawn(["sh", "-c", script])
        assert rest(process) == b""
        assert not process.isalive()
        assert process.exitstatus == 4
        assert process.verdict is None
        process.session.kill()
        process.close()
        assert process.verdict is not None
        assert process.verdict.empty


def test_a_process_that_nobody_holds_is_ended(mark: str) -> None:
    """The garbage collector closes the descriptor, and does not wait for the end."""
    process = PtyProcess.spawn(["sleep", "1000"])
    # The host's thread, which ends the session then, may open a file: it gets the lowest number.
    fd = fcntl.fcntl(process.fd, fcntl.F_DUPFD_CLOEXEC, 500)
    os.close(process.fd)
    process.fd = fd
    del process
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    wait_until(lambda: not members(mark))


def test_a_forked_child_ends_nothing() -> None:
    """`close` in it closes its copy of the descriptor alone."""
    process = PtyProcess.spawn(["sleep", "1000"])
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            process.close()
            os._exit(0 if process.closed else 1)
        os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
    assert process.isalive()
    process.close()


def test_the_end_of_the_program_ends_all(mark: str) -> None:
    """A program that never closes its processes leaves none behind."""
    code = (
        "from ptykill.integrations.ptyprocess import PtyProcess\n"
        f"process = PtyProcess.spawn(['sh', '-c', {DAEMON + 'sleep 1000'!r}])\n"
        "print(process.readline())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert "deaf" in done.stdout
    wait_until(lambda: not members(mark))


def test_a_host_that_was_closed_has_ended_it(host: ptykill.Host) -> None:
    """All that can be asked afterwards is answered."""
    process = sh("echo ready; sleep 1000")
    until(process, b"ready")
    host.close()
    assert not process.isalive()
    assert process.signalstatus == signal.SIGHUP
    assert process.terminate(force=True)
    process.close()


def test_a_hang_up_is_a_signal_while_the_user_has_the_master() -> None:
    """A plan that hangs up ends the session though the user's descriptor stays open."""
    with ptykill.Host(plan="HANGUP 20s, KILL", keep_records=0) as host:

        class HungUp(PtyProcess):
            supervisor = supervisor_of(host)

        process = HungUp.spawn(["sleep", "1000"])
        verdict = process.session.terminate()
        assert verdict.outcome is ptykill.Outcome.GRACEFUL
        assert verdict.exit_status == ptykill.ExitStatus(signal=signal.SIGHUP)
        process.close()


def test_ptykill_types_nothing_into_a_terminal_of_the_caller_s() -> None:
    """A write could block its thread. An interrupt is sent as a signal, where a key would be."""
    with sh(f"trap 'echo got it' INT; echo ready; {IDLE_LOOP}") as process:
        until(process, b"ready")
        with pytest.raises(ptykill.InvalidArgument, match="caller"):
            process.session.send("x")
        with pytest.raises(ptykill.InvalidArgument, match="caller"):
            process.session.keep_at_end()
        process.session.interrupt()
        until(process, b"got it")


# --- pexpect --------------------------------------------------------------------------------------


def test_pexpect_s_spawn_ends_all_of_the_session(mark: str) -> None:
    """All of pexpect's interface is there; the end is ptykill's."""
    with spawn("sh -i", encoding="utf-8", env=os.environ | {"PS1": "> "}) as child:
        child.expect("> ")
        child.sendline(DAEMON)
        child.expect("deaf")
        child.sendline("echo $((6 * 7)) done")
        child.expect(r"(\d+) done")
        assert child.match.group(1) == "42"
        wait_until(lambda: len(members(mark)) == 2)
    assert members(mark) == []
    assert child.verdict.empty
    assert not child.isalive()


def test_pexpect_s_other_ends() -> None:
    """`terminate`, `kill` and the end of the output, as pexpect has them."""
    child = spawn("sleep 1000", ignore_sighup=True)
    wait_until(lambda: b"sleep" in Path(f"/proc/{child.pid}/cmdline").read_bytes().split(b"\0")[0])
    child.kill(signal.SIGHUP)
    child.delayafterterminate = 0.2
    assert child.isalive()
    assert child.terminate()
    assert child.signalstatus == signal.SIGINT
    child.close()
    child = spawn("sh", ["-c", DEAF])
    child.expect("ready")
    child.delayafterterminate = 0.05
    with pytest.raises(pexpect.ExceptionPexpect):
        child.close(force=False)
    assert child.terminate(force=True)
    assert child.signalstatus == signal.SIGKILL
    child.expect(pexpect.EOF)
    child.close()
    with pytest.raises(ptykill.InvalidArgument, match="preexec_fn"):
        spawn("ls", preexec_fn=print)


def state(pid: int, thread: int | None = None) -> str:
    """Return the state of a process, or of a thread of it (proc_pid_stat(5))."""
    place = Path("/proc", str(pid), *(() if thread is None else ("task", str(thread))))
    return (place / "stat").read_text().rpartition(")")[2].split()[0]


def full(master: int) -> bool:
    """Return whether the line discipline holds as much as it can (Linux N_TTY_BUF_SIZE)."""
    count = array("i", [0])
    fcntl.ioctl(master, termios.FIONREAD, count)
    return count[0] >= 4_095
