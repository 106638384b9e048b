"""Programs that use ptykill in processes with special conditions, for the tests beside.

Each function below is one host. `run_host` runs it in a new interpreter and returns its result.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import inspect
import itertools
import json
import os
import random
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import trio
import trio.testing

import ptykill
from ptykill import Supervisor, Verdict
from ptykill.rules.command import Command
from ptykill.system.containment import (
    STRONGEST_FIRST,
    leader,
    session_containment,
    session_folders,
    why_not,
)
from ptykill.system.containment.process_table import PidMark
from ptykill.system.containment.rights import Rights
from ptykill.system.keeper import wire
from ptykill.system.keeper.keeper import NAME, run_keeper
from ptykill.system.kernel import cgroup, cgroup_place, posix_spawn, proc_folder, syscalls
from ptykill.system.kernel import descendants as proc_descendants
from ptykill.system.kernel.cgroup import Cgroup, new_path
from ptykill.system.kernel.pidfd import open_pidfd
from ptykill.system.kernel.proc_view import proc
from ptykill.system.kernel.procfs import session_of, stat
from ptykill.system.pty.order import order
from ptykill.testing import processes

__all__ = ["run_host"]


def run_host(name: str, *arguments: str, wrapper: tuple[str, ...] = (), limit: float = 90) -> Any:  # noqa: ANN401 - whatever JSON can say
    """Run one of the functions below in a new interpreter and return what it returned."""
    command = [*wrapper, sys.executable, __file__, name, *arguments]
    # No pipes: a process that is left behind could keep the other end open.
    with tempfile.TemporaryFile("w+") as answer, tempfile.TemporaryFile("w+") as complaints:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=answer, stderr=complaints
        ) as host:
            try:
                status = host.wait(limit)
            except BaseException:
                host.kill()
                raise
        answer.seek(0)
        complaints.seek(0)
        said = complaints.read()
        assert status == 0, f"{name} ended with {status}:\n{said}"
        assert "Traceback" not in said, said
        return json.loads(answer.read())


def choose_spawn(way: str) -> str:
    """Choose how the session tier spawns: by posix_spawn(3), or by the stub. Return the tier."""
    if way == "stub":
        posix_spawn.available = lambda: False
    return way if way in ("keeper", "cgroup") else "session"


def signals_of(text: str) -> dict[str, str]:
    """Return the ignored and blocked signals in the text of ``/proc/PID/status``."""
    lines = (line.split(":") for line in text.splitlines() if line.startswith("Sig"))
    return {name: value.strip() for name, value in lines}


# --- hosts --------------------------------------------------------------------------------------


async def out_of_bounds(way: str, folder: str) -> list[object]:
    """Spawn into a directory that an ordinary user may not enter."""
    async with ptykill.open_supervisor(containment=choose_spawn(way)) as supervisor:
        try:
            await supervisor.spawn(["/bin/true"], cwd=folder)
        except ptykill.SpawnError as error:
            return [error.errno, error.stage, error.code, error.status]
    return ["spawned"]


async def under_nohup(way: str) -> list[dict[str, Any]]:
    """Spawn with nearly every signal ignored and blocked, and end a session that dies of SIGHUP."""
    for number in signal.SIGHUP, signal.SIGPIPE, signal.SIGTERM, signal.SIGUSR1, signal.SIGTSTP:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGCONT, signal.SIGRTMIN})
    async with ptykill.open_supervisor(containment=choose_spawn(way)) as supervisor:
        reader = await supervisor.spawn(["grep", "^Sig", "/proc/self/status"])
        text = b""
        while more := await reader.receive():
            text += more
        sleeper = await supervisor.spawn(["sleep", "60"])
        verdict = await sleeper.terminate(grace=30.0)
    status = verdict.exit_status
    host = signals_of(Path("/proc/self/status").read_text())  # noqa: ASYNC240 - does not block
    return [
        host,
        {
            **signals_of(text.decode()),
            "outcome": verdict.outcome.value,
            "signal": status and status.signal,
        },
    ]


DEAF = "trap '' HUP INT TERM QUIT; sleep 60 & wait; wait"
LEADERS = (["sleep", "60"], ["sh", "-c", DEAF], ["bash", "--norc", "-ic", f"{DEAF}; exit"])


def summary(verdict: Verdict) -> dict[str, Any]:
    """Return the parts of a verdict that the tests check."""
    status = verdict.exit_status
    return {
        "pid": verdict.pid,
        "outcome": verdict.outcome.value,
        "empty": verdict.empty,
        "status": status and (status.code, status.signal),
        "caveats": sorted(caveat.name for caveat in verdict.caveats),
        "grace": verdict.grace,
        "errors": [each.error for each in verdict.deliveries if each.error],
    }


def open_descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len([*Path("/proc/self/fd").iterdir()])


async def without_descriptors(way: str) -> dict[str, Any]:
    """Spawn and end sessions with few descriptors left, or none."""
    tier = choose_spawn(way)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    refused, ballast = [], []
    before = open_descriptors()
    async with ptykill.open_supervisor(
        plan="HUP@session 300ms, KILL 15s", containment=tier
    ) as supervisor:
        sessions = [await supervisor.spawn(command) for command in LEADERS]
        await trio.sleep(0.3)
        for spare in range(12, -1, -1):
            with contextlib.suppress(OSError):
                while True:
                    ballast.append(os.open(os.devnull, os.O_RDONLY))
            for _ in range(spare):
                os.close(ballast.pop())
            try:
                # A process that exits at once: this measures a spawn, not an end.
                extra = await supervisor.spawn(["true"])
            except ptykill.SpawnError as error:
                refused.append((spare, error.errno, error.stage, error.code))
            else:
                await extra.wait()
                await trio.sleep(0.2)  # It has closed its descriptors by then.
        verdicts = [await session.terminate() for session in sessions]
    while ballast:
        os.close(ballast.pop())
    return {
        "refused": refused,
        "verdicts": [summary(verdict) for verdict in verdicts],
        "leaked": open_descriptors() - before,
    }


async def at_the_limit(way: str) -> int:
    """Spawn and end sessions without a pause, with descriptors for few; return how often."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    async with ptykill.open_supervisor(containment=choose_spawn(way)) as supervisor:
        await (await supervisor.spawn(["sleep", "60"])).terminate()
        await trio.sleep(0.3)
        ballast = []
        with contextlib.suppress(OSError):
            while True:
                ballast.append(os.open(os.devnull, os.O_RDONLY))
        session = None
        while session is None:
            os.close(ballast.pop())
            with contextlib.suppress(ptykill.SpawnError):
                session = await supervisor.spawn(["sleep", "60"])
        for _ in range(12):  # For the reserve, an idle keeper, and a spawn: they come and go.
            os.close(ballast.pop())
        ended = 0
        for _ in range(20):
            ended += (await session.terminate()).empty
            session = await supervisor.spawn(["sleep", "60"])
        while ballast:
            os.close(ballast.pop())
        return ended


async def with_few_descriptors() -> dict[str, Any]:
    """End a session with more escaped children than there are descriptors for pidfds."""
    script = "trap '' HUP; for i in $(seq 42); do setsid sleep 60 & done; echo ready; wait"
    async with ptykill.open_supervisor(
        plan="HUP@session 100ms, KILL 10s", containment="session"
    ) as supervisor:
        session = await supervisor.spawn(["sh", "-c", script])
        await session.receive()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 20, limits[1]))
        verdict = await session.terminate()
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        return summary(verdict)


async def without_processes(way: str) -> dict[str, Any]:
    """End sessions while no process of this user can start a process or a thread."""
    refused: object = None
    async with ptykill.open_supervisor(
        plan="HUP@session 300ms, KILL 15s", containment=choose_spawn(way)
    ) as supervisor:
        sessions = [await supervisor.spawn(command) for command in LEADERS]
        await trio.sleep(0.3)
        for pid in os.getpid(), *descendants(os.getpid()):
            resource.prlimit(pid, resource.RLIMIT_NPROC, (0, 0))
        try:
            threading.Thread(target=int).start()
        except RuntimeError:
            limited = True
        else:
            limited = False
        for _ in range(3):  # There may be an idle keeper.
            try:
                sessions.append(await supervisor.spawn(["sleep", "60"]))
            except ptykill.SpawnError as error:
                refused = (error.errno, error.code, error.status)
                break
        verdicts = [summary(await session.terminate()) for session in sessions]
    return {"limited": limited, "refused": refused, "verdicts": verdicts}


def interrupted(way: str) -> dict[str, Any]:
    """Get SIGINT at many moments of a session's life."""
    raised: list[str] = []
    left: list[str] = []

    async def main() -> None:
        async with ptykill.open_supervisor(
            plan="HUP@session 20ms, KILL 15s", containment=choose_spawn(way)
        ) as supervisor:
            while True:
                session = await supervisor.spawn(["sh", "-c", "trap '' HUP; sleep 60 & wait"])
                await trio.sleep(0.005)
                await session.terminate()

    for number in range(20):
        timer = threading.Timer(0.01 + number * 0.0033, os.kill, (os.getpid(), signal.SIGINT))
        try:
            timer.start()  # The timer may fire before this returns.
            trio.run(main)
        except BaseException as error:  # noqa: BLE001 - told below
            raised.append(type(error).__name__)
        timer.join()
        left += Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {"raised": raised, "left": left, "descriptors": open_descriptors()}


async def whose_children_are_lost(way: str, how: str) -> list[dict[str, Any]]:
    """End sessions while the kernel, or a thread, discards the status of every child."""
    over = threading.Event()
    thread = threading.Thread(target=reap_everybody, args=(over,))
    if how == "ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    else:
        thread.start()
    verdicts = []
    async with ptykill.open_supervisor(
        plan="HUP@session 300ms, KILL 1s", containment=choose_spawn(way)
    ) as supervisor:
        for command in (
            ["sleep", "60"],
            ["sh", "-c", "exit 3"],
            ["sh", "-c", DEAF],
            ["sh", "-c", "sleep 60 & exit 4"],
            ["sh", "-c", "(trap '' HUP; exec sleep 60) & sleep 0.1; exit 4"],
            [
                "bash",
                "--norc",
                "-ic",
                "sleep 60 & (trap '' HUP; exec sleep 60) & sleep 0.1; kill -9 $$",
            ],
        ):
            session = await supervisor.spawn(command)
            with trio.move_on_after(0.4):
                await session.wait()
            verdicts.append(summary(await session.terminate()))
    over.set()
    if how != "ignored":
        thread.join()
    return verdicts


def reap_everybody(over: threading.Event) -> None:
    """Reap all children, as some libraries do."""
    while not over.is_set():
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.0005)
        except ChildProcessError:
            time.sleep(0.0005)


async def that_crashes(way: str, folder: str, seed: str) -> None:
    """Spawn sessions and end some of them, until the test kills this process."""
    os.chdir(folder)
    chance = random.Random(seed)
    mark = os.environ["PTYKILL_TEST_MARK"]  # For one that wipes its environment.
    kinds = (
        ["sleep", "60"],
        ["sh", "-c", DEAF],
        ["bash", "--norc", "-ic", f"set -m; sleep 60 & {DEAF}"],
        ["sh", "-c", "setsid sh -c \"trap '' HUP; sleep 60 & sleep 60\" & sleep 60"],
        ["sh", "-c", f"(setsid env -i sh -c 'sleep 60; :' {mark} &); sleep 60 & exit 3"],
    )
    # The program reports that its handler is set: then it must clean up, also if the host dies.
    cleaner = (
        "trap 'sleep 0.1; : > cleaned{0}; exit' HUP; : > ready{0}; sleep 60 &"
        " until [ $((n += 1)) -gt 1000 ]; do wait; done"
    )

    async def one_after_the_other(supervisor: Supervisor) -> None:
        while True:
            session = await supervisor.spawn(chance.choice(kinds))
            await trio.sleep(chance.uniform(0, 0.1))
            await session.terminate(grace=chance.choice([0.0, 0.01, 0.5]))

    async with (
        ptykill.open_supervisor(
            plan="HUP@session 500ms, KILL 5s", containment=choose_spawn(way)
        ) as supervisor,
        trio.open_nursery() as nursery,
    ):
        for number in range(3):
            await supervisor.spawn(["sh", "-c", cleaner.format(number)])
        for command in kinds:
            await supervisor.spawn(command)
        for _ in range(3):
            nursery.start_soon(one_after_the_other, supervisor)


async def that_hurries(way: str, folder: str) -> None:
    """Shorten the grace of a session's end; run until this process is killed."""
    os.chdir(folder)
    async with (
        ptykill.open_supervisor(
            plan="HUP@session 50s, KILL 5s", containment=choose_spawn(way)
        ) as supervisor,
        trio.open_nursery() as nursery,
    ):
        session = await supervisor.spawn(["sh", "-c", f"trap '' HUP; echo ready; {DEAF}"])
        await session.receive()
        nursery.start_soon(session.terminate)
        await trio.sleep(0.05)
        session.request_end(grace=0.5)
        await trio.sleep(0.05)  # So that the keeper gets the message.
        Path("asked").touch()  # noqa: ASYNC240 - this process has nothing else to do
        await trio.sleep(60)


async def with_stopped_output(way: str, folder: str) -> None:
    """Stop the output of a program that writes in its clean-up; run until the test kills this."""
    os.chdir(folder)
    program = """
import os, select, signal, time

def clean_up(*_):
    try:
        os.write(1, b"x" * 9000)
    except OSError:
        pass
    open("cleaned", "w").close()
    os._exit(0)

signal.signal(signal.SIGHUP, clean_up)
while select.select([], [1], [], 0)[1]:
    time.sleep(0.01)
open("stopped", "w").close()
while True:
    time.sleep(0.05)  # No pause(2): a signal just before it would not be handled.
"""
    async with ptykill.open_supervisor(
        plan="HUP@session 50s, KILL 5s", containment=choose_spawn(way)
    ) as supervisor:
        session = await supervisor.spawn(["python3", "-c", program])
        await session.send(b"\x13")
        await trio.sleep(60)


async def with_a_foreign_member(way: str, program: str) -> dict[str, Any]:
    """End a session with a member of another user, which this host may not signal."""
    command = f"trap '' HUP; {program} --reuid 0 --regid 0 --clear-groups sleep 60 & sleep 60"
    async with ptykill.open_supervisor(containment=choose_spawn(way)) as supervisor:
        session = await supervisor.spawn(["sh", "-c", command])
        with trio.fail_after(30):
            # Before it has the real user id as well, it may be signalled (kill(2)).
            while not any(  # noqa: ASYNC110
                owner(pid) == 0 and name_of(pid) == "sleep" for pid in descendants(session.pid)
            ):
                await trio.sleep(0.01)
        members = descendants(session.pid)
        listed = {each.pid: each.user for each in await session.members()}
        signalled = session.signal("CONT", "all")
        verdict = await session.terminate(plan="HUP@session 100ms, KILL 300ms")
    return {
        **summary(verdict),
        "listed as root's": [pid for pid, user in listed.items() if user == "root"],
        "reached": sorted(signalled.reached),
        "refused a signal": sorted(signalled.refused),
        "foreign": [pid for pid in members if owner(pid) == 0],
        "survivors": [(each.pid, each.user, each.why) for each in verdict.survivors],
        "refused": [pid for each in verdict.deliveries for pid in each.refused],
        "containment": verdict.containment,
        "took": verdict.took,
    }


THIEF = """
import ctypes, os, subprocess, time
libc = ctypes.CDLL(None, use_errno=True)
keeper = os.getppid()
try:
    with open(f"/proc/{keeper}/stat") as stat:
        warden = int(stat.read().rpartition(")")[2].split()[1])
except FileNotFoundError:  # It is hidden.
    warden = keeper
for pid in keeper, warden:
    handle = os.pidfd_open(pid)
    for call in (
        lambda: libc.syscall(438, handle, 3, 0),  # pidfd_getfd(2)
        lambda: libc.ptrace(0x4206, pid, None, None),  # PTRACE_SEIZE
    ):
        assert call() >= 0 or ctypes.get_errno() == 1, ctypes.get_errno()
        print("refused" if call() < 0 else "taken")
subprocess.run(["setsid", "--fork", "sleep", "60"])
print("done", flush=True)
time.sleep(60)
"""


async def with_a_thief(way: str) -> dict[str, Any]:
    """Run a member that tries to get the keeper's and warden's descriptors; then end it."""
    said = b""
    async with ptykill.open_supervisor(
        containment=choose_spawn(way), plan="HUP@all 30s, KILL"
    ) as supervisor:
        session = await supervisor.spawn([sys.executable, "-c", THIEF], cwd="/")
        while b"done" not in said:
            said += await session.receive()
        verdict = await session.terminate()
    return {
        **summary(verdict),
        "said": said.decode().split(),
        "reached": verdict.deliveries[0].reached,
    }


async def that_would_be_root(way: str) -> list[object]:
    """Spawn a leader as another user."""
    async with ptykill.open_supervisor(containment=choose_spawn(way)) as supervisor:
        try:
            await supervisor.spawn(["true"], attributes=ptykill.Attributes(uid=0, gid=0))
        except ptykill.SpawnError as error:
            return [error.stage, error.code, error.status]
    return ["spawned"]


async def that_gives_up_its_rights(way: str) -> str:
    """Become an ordinary user after a session; return the users of the next session."""
    async with ptykill.open_supervisor(containment=choose_spawn(way)) as supervisor:
        await (await supervisor.spawn(["true"], cwd="/")).wait()
        await trio.sleep(0.3)  # The next terminal and keeper are ready by now, and run as root.
        os.setgroups([])
        os.setresgid(65_534, 65_534, 65_534)
        os.setresuid(65_534, 65_534, 65_534)
        try:
            session = await supervisor.spawn(["sh", "-c", "id -u; stat -c %u $(tty)"], cwd="/")
        except ptykill.SpawnError as error:
            return error.stage
        said = b""
        while more := await session.receive():
            said += more
        return " ".join(said.decode().split())


SHOW = "umask; ulimit -Sn; ulimit -Hc; grep NoNewPrivs /proc/self/status; nice"


def with_a_poor_keeper(what: str) -> list[str]:
    """Act as a host whose keeper lacks something; return the keeper's messages."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    this, groups = os.pidfd_open(os.getpid()), None
    if what == "a way out":
        groups = cgroup_place.own_cgroup()
    keeper = os.fork()
    if keeper == 0:
        ours.close()
        lack(what)
        run_keeper(theirs, this, groups)
    theirs.close()
    said, path = [], None
    if what in ("a warm-up", "what is new"):
        said += watched(keeper)
    master, slave = os.openpty()
    here = os.open("/", os.O_RDONLY)
    command = Command(("sleep", "60" if what == "descriptors" else "0.3"), env={"PATH": os.defpath})
    wire.send(
        ours,
        (wire.ORDER, order(command), None, None, None, wire.HANDOVER, "KILL", "kill", 0, 0.0, 0.0),
        [slave, here],
    )
    while "gone" not in said:
        message, fds = wire.receive(ours)
        said.append(message[0])
        if message[0] == wire.STARTED:
            path = message[3]
        if message[0] == wire.EMPTY:  # It would wait for another order.
            ours.shutdown(socket.SHUT_WR)
        for fd in fds:
            os.close(fd)
    os.close(master)
    os.waitpid(keeper, 0)
    if path is not None:
        assert cgroup.Cgroup(path).remove()
    return said


def lack(what: str) -> None:
    """Remove one thing that this process has."""
    match what:
        case "a way out":
            cgroup.Cgroup.remove_process = _refused(errno.EBUSY)  # type: ignore[method-assign]
        case "a warm-up":
            syscalls.pidfd_open = _refused(errno.EMFILE, syscalls.pidfd_open)
        case "descriptors":
            syscalls.pidfd_open = _refused(errno.EMFILE)
        case "what is new":
            be_of_old()


def be_of_old() -> None:
    """Act as a Python that was built with glibc 2.17, as portable builds are."""
    anew = os.posix_spawn

    def posix_spawn(*arguments: Any, setsid: bool = False, **options: Any) -> int:  # noqa: ANN401
        if setsid:
            msg = "posix_spawn: setsid unavailable on this platform"
            raise NotImplementedError(msg)
        return anew(*arguments, **options)

    os.posix_spawn = posix_spawn
    del os.memfd_create, os.pidfd_open, os.P_PIDFD, signal.pidfd_send_signal
    importlib.reload(syscalls)
    assert syscalls.pidfd_open.__module__ == syscalls.__name__


async def of_a_python_of_old(way: str) -> dict[str, Any]:
    """End a session with deaf jobs, and let another end by itself; return both results."""
    be_of_old()
    async with ptykill.open_supervisor(
        plan="HUP@session 300ms, KILL 5s", containment=choose_spawn(way)
    ) as supervisor:
        brief = await supervisor.spawn(["sh", "-c", "exit 7"])
        itself = await brief.wait()
        session = await supervisor.spawn(["sh", "-c", f"({DEAF}) & sleep 60"])
        await trio.sleep(0.2)
        verdict = await session.terminate()
    return {
        "containment": verdict.containment,
        "empty": verdict.empty and itself.empty,
        "outcome": verdict.outcome,
        "code": itself.exit_status and itself.exit_status.code,
    }


def _refused(number: int, then: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a function that raises OSError; with ``then`` on its first call only."""
    asked = itertools.count()

    def refuse(*arguments: object) -> Any:  # noqa: ANN401 - what it would have returned
        if then is None or next(asked) == 0:
            raise OSError(number, os.strerror(number))
        return then(*arguments)

    return refuse


def watched(keeper: int) -> list[str]:
    """Report whether an idle keeper takes processor time."""
    while Path(f"/proc/{keeper}/comm").read_bytes().strip() != NAME:
        time.sleep(0.01)
    before = ticks(keeper)
    time.sleep(0.5)
    return ["busy"] if ticks(keeper) > before + 10 else []


def ticks(pid: int) -> int:
    """Return how much processor time a process has used (proc(5), in hundredths of a second)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def that_becomes_less(way: str, jail: str) -> dict[str, Any]:
    """Drop privileges while the supervisor is open; return a session's and the host's."""
    said = []
    async with ptykill.open_supervisor(containment=choose_spawn(way)) as supervisor:
        for change in (
            partial(os.umask, 0o077),
            partial(resource.setrlimit, resource.RLIMIT_NOFILE, (200, 200)),
            partial(resource.setrlimit, resource.RLIMIT_CORE, (0, 0)),
            partial(ctypes.CDLL(None).prctl, _SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            partial(os.nice, 3),
            partial(os.umask, 0o027),
        ):
            change()
            session = await supervisor.spawn(["sh", "-c", SHOW])
            text = b""
            while more := await session.receive():
                text += more
            # In this thread: no_new_privs belongs to a thread.
            ours = subprocess.check_output(["sh", "-c", SHOW])  # noqa: ASYNC221
            said.append([text.decode().split(), ours.decode().split()])
    before = Rights()
    if os.geteuid() == 0:
        os.chroot(jail)  # It has no program that could be spawned.
    return {"said": said, "jailed": not before.unchanged()}


_SET_NO_NEW_PRIVS = 38  # <linux/prctl.h>


def owner(pid: int) -> int:
    """Return the uid that a process runs as; -1 if there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}").stat().st_uid
    return -1


async def with_a_fork(way: str, folder: str) -> None:
    """Fork, so that a child has copies of every socket and terminal."""
    os.chdir(folder)
    async with ptykill.open_supervisor(
        plan="HUP@session 500ms, KILL 5s", containment=choose_spawn(way)
    ) as supervisor:
        cleaner = (
            "trap 'sleep 0.25; : > cleaned0; exit' HUP; : > ready0;"
            " until [ $((n += 1)) -gt 6000 ]; do sleep 0.01; done"
        )
        await supervisor.spawn(["sh", "-c", cleaner])
        await supervisor.spawn(["sh", "-c", DEAF])
        if os.fork() == 0:
            time.sleep(30)  # noqa: ASYNC251 - there is no loop here
            os._exit(0)
        Path("forked").touch()  # noqa: ASYNC240 - does not block
        await trio.sleep_forever()


async def that_forks_and_goes_on(way: str) -> dict[str, Any]:
    """Hang a session up, and close the supervisor, while a child lives that was forked before."""
    async with ptykill.open_supervisor(
        plan="hangup 30s, KILL", containment=choose_spawn(way)
    ) as supervisor:
        session = await supervisor.spawn(["bash", "-c", "sleep 60; sleep 60"])
        child = os.fork()
        if child == 0:
            time.sleep(60)  # noqa: ASYNC251 - there is no loop here
            os._exit(0)
        verdict = await session.terminate()
    with trio.move_on_after(30):
        while keepers_left():  # noqa: ASYNC110 - other processes set no event
            await trio.sleep(0.01)
    left = keepers_left()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)  # noqa: ASYNC222 - it is dead
    return {**summary(verdict), "left": left}


def keepers_left() -> list[str]:
    """Describe the keepers and wardens that carry the test's mark."""
    marked = processes.marked(os.environ[processes.MARK])
    return [name for name in processes.names(marked) if "ptykill-" in name]


def that_is_a_subreaper(way: str) -> list[str]:
    """Open and close supervisors as process 1 of a container; return the zombies that are left."""
    syscalls.become_subreaper()

    async def main() -> None:
        async with ptykill.open_supervisor(containment=choose_spawn(way)) as supervisor:
            session = await supervisor.spawn(["true"])
            await session.wait()

    for _ in range(5):
        trio.run(main)
    table = processes.every_process()
    return processes.names(each for each in table if each.parent == os.getpid())


async def that_closes_everything(way: str, folder: str) -> None:
    """Close every descriptor, as a program that becomes a daemon does."""
    os.chdir(folder)
    async with ptykill.open_supervisor(
        plan="HUP@session 500ms, KILL 5s", containment=choose_spawn(way)
    ) as supervisor:
        await supervisor.spawn(["sh", "-c", DEAF])
        Path("forked").touch()  # noqa: ASYNC240 - does not block
        os.closerange(3, 1000)
        time.sleep(30)  # noqa: ASYNC251 - there is no loop any more


async def whose_cgroups_are_mixed_up(*lost: str) -> dict[str, Any]:
    """End a session that has moved this host and others into its cgroup, and a member out of it.

    ``lost`` names what is killed before that: its keeper, and the warden.
    """
    place = cgroup_place.own_cgroup()
    assert place is not None
    script = f"""
    trap '' HUP TERM
    (echo 0 > {place}/cgroup.procs; exec sleep 60) &
    own={place}/$(sed -n 's:^0\\:\\:.*/::p' /proc/self/cgroup)
    while read pid; do echo $pid > $own/cgroup.procs; done
    echo $! moved; until [ $((n += 1)) -gt 1000 ]; do wait; done
    """
    async with ptykill.open_supervisor(
        containment="cgroup", plan="HUP@session 50ms, KILL 5s"
    ) as supervisor:
        session = await supervisor.spawn(["sh", "-c", script], echo=False)
        # Later than the keeper whose cgroup it will be in.
        beside = await supervisor.spawn(["sleep", "60"])
        keeper = session._driver.containment._keeper  # type: ignore[attr-defined]
        stranger = subprocess.Popen(["sleep", "60"], process_group=0)  # noqa: ASYNC220 - it is quick
        for pid in os.getpid(), stranger.pid, beside.pid, keeper.warden.pid:
            await session.send(b"%d\n" % pid)
        await session.send(b"\x04")
        said = b""
        while b"moved" not in said:
            said += await session.receive()
        member = open_pidfd(int(said.split()[-2]))
        assert member is not None
        with contextlib.closing(member):
            inside = Cgroup(keeper.cgroup).members()
            mixed = member.pid not in inside and {os.getpid(), stranger.pid, beside.pid} < {*inside}
            for pid in [{"keeper": keeper, "warden": keeper.warden}[each].pid for each in lost]:
                os.kill(pid, signal.SIGKILL)
            verdict = await session.terminate()
            answer = {
                **summary(verdict),
                "mixed": mixed,
                "stranger": stranger.poll(),
                "beside": stat(beside.pid)[:1] not in ([], [b"Z"]),
                "member": member.dead(),
            }
            member.send(signal.SIGKILL)
            with trio.fail_after(30):
                while Path(keeper.cgroup).exists():  # noqa: ASYNC110, ASYNC240 - it sets no event
                    await trio.sleep(0.01)
        stranger.kill()
        stranger.wait()
    return answer


async def whose_keeper_is_lied_to(way: str, folder: str) -> dict[str, Any]:
    """End a session of root's that fakes /proc, so that a child of the host seems the keeper's."""
    stranger = subprocess.Popen(["sleep", "60"], process_group=0)  # noqa: ASYNC220 - it is quick
    lie = Path(folder) / "children"
    lie.write_text(f"{stranger.pid} ")
    async with ptykill.open_supervisor(
        plan="HUP@session 100ms, KILL 5s", containment=choose_spawn(way)
    ) as supervisor:
        script = f"""
        trap '' HUP
        mount --bind {lie} /proc/$PPID/task/$PPID/children && echo lied
        for _ in 1 2 3; do sleep 60 & wait; done
        """
        session = await supervisor.spawn(["sh", "-c", script])
        said = await session.receive()
        verdict = await session.terminate()
    alive = stranger.poll() is None
    stranger.kill()
    stranger.wait()
    return {**summary(verdict), "said": said.decode().strip(), "alive": alive}


def that_kills_many(parent: str) -> list[int]:
    """Kill more members of a cgroup than this process may have descriptors, in one go."""
    group = Cgroup(new_path(parent))
    Path(group.path).mkdir()
    members = [subprocess.Popen(["sleep", "60"], close_fds=True) for _ in range(70)]
    for member in members:
        group.add_process(member.pid)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_descriptors() + 10,) * 2)
    group.kill_each()
    statuses = [member.wait(30) for member in members]
    assert group.remove()
    return statuses


# --- strangers with reused pids -----------------------------------------------------------------


def arena(way: str, folder: str, how: str, seconds: str, smallest: str) -> dict[str, Any]:
    """Act as process 1 of a pid namespace in which a host ends sessions among strangers.

    Pids are few here, so that a stranger soon has the pid of a dead process. Every stranger
    logs its start, its natural end, and each signal that it gets.
    """
    os.chdir(folder)
    numbering = Path("/proc/sys/kernel/pid_max")
    if smallest != "0":
        numbering.write_text(smallest)
    until = time.monotonic() + float(seconds)
    churners = []
    for number in range(CHURNERS):
        pid = os.fork()
        if pid == 0:
            Churner(number).churn(until)
        churners.append(pid)
    with Path("answer").open("w") as answer, Path("complaints").open("w") as complaints:
        host = subprocess.Popen(
            [sys.executable, __file__, "among_strangers", way, how, seconds],
            stdout=answer,
            stderr=complaints,
        )
    statuses: dict[int, int] = {}
    # All orphans are children of process 1, and end within their time.
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.wait()
            statuses[pid] = status
    host.returncode = 0  # Waited for just now.
    text = Path("answer").read_text()
    return {
        "limit": int(numbering.read_text()),
        "churners": [statuses.get(pid) for pid in churners],
        "host": statuses.get(host.pid),
        "complaints": Path("complaints").read_text(),
        "sessions": json.loads(text) if text else None,
        **read_logs(),
    }


CHURNERS = 3


class Churner:
    """Starts strangers as fast as possible: plain ones, and daemons whose leader dies at once.

    A daemon's session, and its process group, have the number of a dead process.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.chance = random.Random(number)
        self.log = os.open(f"log{number}", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self.name = "churner"
        for each in signal.SIGHUP, signal.SIGCONT, signal.SIGTERM, signal.SIGINT:
            signal.signal(each, lambda number, _: self.write(f"signalled {number}"))

    def write(self, what: str) -> None:
        """Append one line to the log file, in one piece."""
        os.write(self.log, f"{self.number}-{self.name} {what}\n".encode())

    def churn(self, until: float) -> NoReturn:
        """Keep a number of strangers alive."""
        children: set[int] = set()
        for number in itertools.count():
            if time.monotonic() > until:
                break
            daemon = self.chance.random() < 0.5
            self.name = f"{'daemon' if daemon else 'plain'}{number}"
            self.write("started")
            try:
                pid = os.fork()
            except OSError:  # EAGAIN: no pid is left.
                self.write("ended")
            else:
                if pid == 0:
                    self.be_a_stranger(daemon=daemon)
                children.add(pid)
            self.name = "churner"
            self.reap(children, most=6)
        self.reap(children, most=0)
        os._exit(0)

    def reap(self, children: set[int], most: int) -> None:
        """Reap dead children; wait until no more than ``most`` are left."""
        while children:
            pid, _ = os.waitpid(-1, 0 if len(children) > most else os.WNOHANG)
            if pid == 0:
                return
            children.discard(pid)

    def be_a_stranger(self, *, daemon: bool) -> NoReturn:
        """Live for a moment, then log the end: that line shows that no signal came."""
        self.chance.seed(self.name)
        if daemon:
            os.setsid()
            try:
                if os.fork():
                    os._exit(0)
            except OSError:
                self.write("ended")
                os._exit(0)
        time.sleep(self.chance.uniform(0, 0.2 if daemon else 0.03))
        self.write("ended")
        os._exit(0)


def read_logs() -> dict[str, Any]:
    """Return the strangers that got a signal, or did not log their end."""
    started: set[str] = set()
    alive: set[str] = set()
    signalled = []
    for number in range(CHURNERS):
        for line in Path(f"log{number}").read_text().splitlines():
            name, what, *_ = line.split()
            if what == "started":
                started.add(name)
                alive.add(name)
            elif what == "ended":
                alive.discard(name)
            else:
                signalled.append(line)
    return {"strangers": len(started), "cut_short": sorted(alive), "signalled": signalled}


def choose_next_number(number: int) -> None:
    """Make the kernel give this pid to the next process of our pid namespace, for any /proc."""
    procfs = syscalls.detached_procfs()
    fd = os.open("sys/kernel/ns_last_pid", os.O_WRONLY, dir_fd=procfs)
    os.write(fd, str(number - 1).encode())
    os.close(fd)
    os.close(procfs)


class Stranger:
    """A process that gets the pid of one that has just died, and logs the signals it gets.

    ``kind`` is ``plain``, ``group`` (it leads a process group), ``session`` (a session too), or
    ``daemon``, whose leader with that number is dead while a child of it lives.
    """

    def __init__(self, number: int, kind: str) -> None:
        self.log = Path(f"stranger{number}")
        self.log.touch()
        choose_next_number(number)
        pid = os.fork()
        if pid == 0:
            self.live(kind)
        assert pid == number, f"{pid} is not {number}"
        while "\n" not in self.log.read_text():
            time.sleep(0.001)
        self.process = os.pidfd_open(int(self.log.read_text().split()[0]))
        if kind == "daemon":
            die(pid)

    def live(self, kind: str) -> NoReturn:
        """Log the pid of the process that lives on, and then every signal."""
        for each in signal.SIGHUP, signal.SIGCONT, signal.SIGUSR1:
            signal.signal(each, lambda number, _: self.write(f"signalled {number}"))
        if kind == "group":
            os.setpgid(0, 0)
        elif kind != "plain":
            os.setsid()
        if kind != "daemon" or os.fork() == 0:
            self.write(str(os.getpid()))
        time.sleep(60)
        os._exit(0)

    def write(self, line: str) -> None:
        """Append one line to the log file, in one piece."""
        with self.log.open("a") as file:
            file.write(f"{line}\n")

    def unharmed(self) -> bool:
        """Return whether it lives and has got no signal; then end it."""
        alive = not select.select([self.process], [], [], 0)[0]
        with contextlib.suppress(ProcessLookupError):  # Dead and reaped.
            signal.pidfd_send_signal(self.process, signal.SIGKILL)
        os.close(self.process)
        return alive and "signalled" not in self.log.read_text()


def die(pid: int) -> None:
    """Kill and reap a process, without letting the event loop run."""
    os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            time.sleep(0.001)
    time.sleep(0.01)  # The kernel frees the pid a moment after the reaping.


EVERYWHERE = ", ".join(
    f"{name}@{reach.value} 20ms" for name in ("HUP", "USR1") for reach in ptykill.Reach
)


KINDS = ("plain", "group", "session", "daemon")


async def stolen_leaders(way: str, folder: str, how: str) -> dict[str, Any]:
    """Give strangers the pids of leaders that other code has reaped, before ptykill looks."""
    os.chdir(folder)
    if how == "ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    elif how == "reaped, on an older kernel":
        leader._knows_groups = _no  # type: ignore[assignment]
    verdicts = {}
    tier = choose_spawn(way)
    async with ptykill.open_supervisor(plan="KILL 100ms", containment=tier) as supervisor:
        sessions = [await supervisor.spawn(["sleep", "60"]) for _ in KINDS]
        # Longer than pids need to go round, which they do not do here.
        await trio.sleep(1.2)
        for session in sessions:
            die(session.pid)
        strangers = [
            Stranger(session.pid, kind) for session, kind in zip(sessions, KINDS, strict=True)
        ]
        async with trio.open_nursery() as nursery:
            for session in sessions:
                nursery.start_soon(partial(session.terminate, plan=f"{EVERYWHERE}, KILL 300ms"))
    for kind, session, stranger in zip(KINDS, sessions, strangers, strict=True):
        assert session.verdict is not None
        verdicts[kind] = {**summary(session.verdict), "unharmed": stranger.unharmed()}
    return verdicts


async def lately_stolen_leaders(folder: str) -> dict[str, bool]:
    """Give strangers the pids of leaders once ptykill has checked the processes started since."""
    os.chdir(folder)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    strangers: dict[str, Stranger] = {}
    async with ptykill.open_supervisor(containment="session") as supervisor:
        for kind in KINDS:
            session = await supervisor.spawn(["sleep", "60"])
            await trio.sleep(0.1)
            containment: Any = session._driver.containment

            def steal(
                mark: PidMark | None,
                kind: str = kind,
                number: int = session.pid,
                emptied: Callable[..., bool] = containment._is_empty,
            ) -> bool:
                if kind not in strangers:
                    time.sleep(1.2)  # As above.
                    strangers[kind] = Stranger(number, kind)
                return emptied(mark)

            containment._is_empty = steal
            await session.terminate(plan="HUP@session 300ms, KILL 300ms")
    return {kind: stranger.unharmed() for kind, stranger in strangers.items()}


async def stolen_members(way: str, folder: str, who: str) -> dict[str, Any]:
    """Give strangers the pids of members between their first signal and SIGKILL."""
    os.chdir(folder)
    away = "setsid " if who == "escapee" else ""
    script = f"trap '' HUP USR1; {away}sleep 60 & wait; exec sleep 60"
    verdicts = {}
    async with ptykill.open_supervisor(containment=choose_spawn(way)) as supervisor:
        sessions = [await supervisor.spawn(["sh", "-c", script]) for _ in KINDS]
        for session in sessions:
            while not any(name_of(each) == "sleep" for each in children_of(session.pid)):  # noqa: ASYNC110
                await trio.sleep(0.01)
        await trio.sleep(0.4)  # Else the next keeper may be started meanwhile, and take a pid.
        async with trio.open_nursery() as nursery:
            for session in sessions:
                plan = "HUP@all 3s, HUP@session 20ms, USR1@all 20ms, KILL 15s"
                nursery.start_soon(partial(session.terminate, plan=plan))
            await trio.sleep(0.1)
            members = [child_of(session.pid) for session in sessions]
            for member in members:
                die(member)
            strangers = [
                Stranger(member, kind) for member, kind in zip(members, KINDS, strict=True)
            ]
    for kind, session, stranger in zip(KINDS, sessions, strangers, strict=True):
        assert session.verdict is not None
        verdicts[kind] = {**summary(session.verdict), "unharmed": stranger.unharmed()}
    return verdicts


async def replaced_members(way: str, folder: str, act: str) -> dict[str, Any]:
    """Let a member die, and a stranger get its pid, just before the member would be opened."""
    os.chdir(folder)
    found = {}
    async with ptykill.open_supervisor(containment=choose_spawn(way)) as supervisor:
        for kind in KINDS:
            session = await supervisor.spawn(["sh", "-c", "sleep 60 & wait; exec sleep 60"])
            while "sleep 60" not in {each.command for each in await session.members()}:  # noqa: ASYNC110
                await trio.sleep(0.01)
            await trio.sleep(
                0.4
            )  # Else the next keeper may be started meanwhile, and take the pid.
            # A later pid is the last one given out, so the member's comes again when the kernel's
            # count has come round.
            subprocess.run(["true"], check=True)  # noqa: ASYNC221 - a host may block its loop
            swap = _Swap(child_of(session.pid), kind)
            with swap:
                if act == "list":
                    seen = {each.pid for each in await session.members()}
                else:
                    seen = session.signal("USR1", "escaped").reached
                    seen |= session.signal("CONT", "all").reached
            assert swap.stranger is not None
            found[kind] = {
                "opened": swap.opened,
                "seen": swap.victim in seen,
                "unharmed": swap.stranger.unharmed(),
            }
            await session.kill()
    return found


class _Swap:
    """Puts a stranger in the place of a process when its pid is about to be opened."""

    def __init__(self, victim: int, kind: str) -> None:
        self.victim = victim
        self.stranger: Stranger | None = None
        self.opened = 0
        self._kind = kind
        self._real = syscalls.pidfd_open, proc_folder.open_folder

    def __enter__(self) -> None:
        pidfd_open, open_folder = self._real
        syscalls.pidfd_open = lambda pid: pidfd_open(self._swapped(pid))
        for module in proc_folder, proc_descendants, session_folders:
            vars(module)["open_folder"] = lambda pid: open_folder(self._swapped(pid))

    def __exit__(self, *_: object) -> None:
        syscalls.pidfd_open = self._real[0]
        for module in proc_folder, proc_descendants, session_folders:
            vars(module)["open_folder"] = self._real[1]

    def _swapped(self, pid: int) -> int:
        if pid == self.victim:
            self.opened += 1
            if self.stranger is None:
                die(pid)
                self.stranger = Stranger(pid, self._kind)
        return pid


def _no() -> bool:
    return False


def child_of(pid: int) -> int:
    """Return the pid of the only child of a process."""
    (child,) = children_of(pid)
    return child


def children_of(pid: int) -> list[int]:
    """Return the pids of the children of a process with one thread."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def name_of(pid: int) -> str:
    """Return the name that a process got from its last exec, or gave itself."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def descendants(pid: int) -> list[int]:
    """Return the pids of the children of a process, their children, and so on."""
    found = children_of(pid)
    return [*found, *(each for child in found for each in descendants(child))]


async def be_busy(until: float) -> None:
    """Block the event loop, so that it sees the next events late."""
    while time.monotonic() < until:
        await trio.sleep(0.1)
        time.sleep(random.uniform(0, 0.4))  # noqa: ASYNC251 - a host may block its loop


async def among_strangers(way: str, how: str, seconds: str) -> list[dict[str, Any]]:
    """Spawn and end sessions of several kinds, some of which may end by themselves any time."""
    over = threading.Event()
    thread = threading.Thread(target=reap_everybody, args=(over,))
    if how == "ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    elif how == "reaped":
        thread.start()
    chance = random.Random(7)
    verdicts: list[dict[str, Any]] = []
    until = time.monotonic() + float(seconds) - 1.0
    kinds = (
        "exec sleep {0:.3f}",
        "sleep {0:.3f}; exit 3",
        "sleep 2 & sleep {0:.3f} & exit 0",
        "(trap '' HUP; exec sleep 2) & sleep {0:.3f}",
        "setsid sleep 2 & sleep {0:.3f}; kill $!",
        "set -m; sleep 2 & (trap '' HUP; exec sleep 2) & sleep {0:.3f}; kill -9 $$",
    )

    async def one_after_the_other(supervisor: Supervisor) -> None:
        while time.monotonic() < until:
            kind = chance.choice(kinds)
            script = kind.format(chance.uniform(0, 0.15))
            try:
                session = await supervisor.spawn(["sh", "-c", script])
            except ptykill.SpawnError as error:
                if error.errno != errno.EAGAIN:
                    raise
                await trio.sleep(0.01)  # EAGAIN: no pid is left.
                continue
            await trio.sleep(chance.uniform(0, 0.15))
            verdict = await session.terminate(grace=chance.choice([0.0, 0.01, 0.05]))
            verdicts.append({**summary(verdict), "kind": kind})

    async with (
        ptykill.open_supervisor(
            plan="HUP@session 100ms, KILL 500ms",
            leftovers="kill",
            containment=choose_spawn(way),
        ) as supervisor,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(be_busy, until)
        for _ in range(4):
            nursery.start_soon(one_after_the_other, supervisor)
    over.set()
    if how == "reaped":
        thread.join()
    return verdicts


# --- hosts with the /proc of another pid namespace ----------------------------------------------


PARENTS, CHILDREN = range(1000, 1016), range(2000, 2016)
"""Numbers that a namespace's processes have, whose /proc is shown to a host in one below it."""


def with_families(folder: str, *view: str) -> Any:  # noqa: ANN401 - as `run_host`
    """Run `among_families` with our /proc, in which parents with those pids have children.

    We are process 1 of a pid namespace.
    """
    os.chdir(folder)
    families = []
    for number in PARENTS:
        choose_next_number(number)
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            theirs.recv(1)
            with contextlib.suppress(OSError):
                os.fork()
            theirs.send(b"!")
            time.sleep(60)
            os._exit(0)
        families.append(ours)
    for number, family in zip(CHILDREN, families, strict=True):
        choose_next_number(number)
        family.send(b"!")
        family.recv(1)
    for each in "outer", "dead":
        Path(each).mkdir()
    subprocess.run(["mount", "--bind", "/proc", "outer"], check=True)
    subprocess.run(["unshare", "-pf", "mount", "-t", "proc", "proc", "dead"], check=True)
    host = [*view, sys.executable, __file__, "among_families", folder]
    done = subprocess.run(host, stdout=subprocess.PIPE, check=True, timeout=60)
    return json.loads(done.stdout)


async def among_families(folder: str) -> dict[str, Any]:
    """End sessions whose keepers and leaders have the numbers of parents in the /proc shown to us.

    The children have the numbers of strangers in our own namespace.
    """
    os.chdir(folder)
    strangers = [Stranger(number, "plain") for number in CHILDREN]
    verdicts = []
    for tier in STRONGEST_FIRST:
        if why_not(tier) is not None and tier == "cgroup":
            continue
        choose_next_number(PARENTS[0])
        async with ptykill.open_supervisor(
            plan="HUP@session 20ms, USR1@all 20ms, KILL 5s", containment=tier
        ) as supervisor:
            for script in (
                "trap '' HUP USR1; sleep 31415 & echo up; wait; sleep 31415",
                "trap '' HUP USR1; setsid sleep 31415 & echo up; sleep 31415",
                "sleep 31415 & echo up; exec sleep 31415",
            ):
                session = await supervisor.spawn(["sh", "-c", script])
                await session.receive()
                verdict = summary(await session.terminate())
                numbered = session.pid in PARENTS
                left = running("31415")
                verdicts.append({**verdict, "tier": tier, "numbered": numbered, "left": left})
    unharmed = [stranger.unharmed() for stranger in strangers]
    return {"verdicts": verdicts, "unharmed": unharmed}


def running(argument: str) -> list[int]:
    """Return the living processes of our small pid namespace that have this argument."""
    procfs = syscalls.detached_procfs()
    found = []
    for pid in range(1, CHILDREN.stop):
        with contextlib.suppress(OSError):
            file = os.open(f"{pid}/cmdline", os.O_RDONLY, dir_fd=procfs)
            if argument.encode() in os.read(file, 4096).split(b"\0"):
                found.append(pid)
            os.close(file)
    os.close(procfs)
    return found


UNREADABLE = """
import ctypes, os, signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
if "escaped" in sys.argv:
    os.setsid()
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
print("up", flush=True)
time.sleep(60)
"""
"""A member that is hidden from its own user (PR_SET_DUMPABLE) where /proc hides processes."""


async def with_unreadable_members(way: str) -> list[dict[str, Any]]:
    """End sessions with a member that /proc hides."""
    verdicts = []
    async with ptykill.open_supervisor(
        plan="HUP@session 50ms, KILL 60s", containment=choose_spawn(way)
    ) as supervisor:
        for how in "inside", "escaped":
            script = f"{sys.executable} -c '{UNREADABLE}' {how} & exec sleep 60"
            session = await supervisor.spawn(["sh", "-c", script])
            await session.receive()
            hidden = [each for each in await session.members() if each.command is None]
            reached = session.signal("CONT", "escaped" if how == "escaped" else "all").reached
            verdicts.append(
                {
                    "listed": [(each.escaped, each.state, each.memory) for each in hidden],
                    "reached": reached.issuperset(each.pid for each in hidden),
                    **summary(await session.terminate()),
                }
            )
    return verdicts


HIDDEN_ORPHAN = f"""
for _ in $(seq 99); do (:); done
({sys.executable} -c '{UNREADABLE}' &)
for _ in $(seq 300); do (:); done
echo on
exec sleep 60
"""
"""Has a hidden member that no list shows: its parent is dead, and so many pids have been given
out since that they are not looked at one by one (`LinuxTable`)."""


async def hidden_orphan(supervisor: Supervisor) -> ptykill.Session:
    """Spawn a session with such a member, and wait until its parent is dead."""
    session = await supervisor.spawn(["sh", "-c", HIDDEN_ORPHAN])
    said = b""
    with trio.fail_after(30):
        while {*said.split()} != {b"up", b"on"}:
            said += await session.receive()
    return session


async def with_a_hidden_orphan() -> dict[str, Any]:
    """End a session whose only member besides the leader is hidden, in the session tier."""
    async with ptykill.open_supervisor(
        plan="HUP@session 50ms, KILL 60s", containment="session"
    ) as supervisor:
        session = await hidden_orphan(supervisor)
        return {**summary(await session.terminate()), "hides": proc.hides}


async def allowed_no_descriptor(way: str) -> list[Any]:
    """End a session that ignores signals, while this process's limit of descriptors is 0."""
    script = "trap '' HUP; setsid -f sleep 60; sleep 60 & echo up; wait; sleep 60"
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with ptykill.open_supervisor(
        plan="HUP@session 50ms, KILL 10s", containment=choose_spawn(way)
    ) as supervisor:
        session = await supervisor.spawn(["sh", "-c", script])
        await session.receive()
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (0, limits[1])
        )  # A session of the same user may do the same.
        try:
            verdict = await session.terminate()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    return [verdict.empty, verdict.outcome.value, "INTERNAL_ERROR" in summary(verdict)["caveats"]]


async def with_a_clock_beside(asked_at_once: str) -> dict[str, Any]:
    """End sessions under hidepid; measure how long the event loop is blocked."""
    session_containment._PROBED_AT_ONCE = int(asked_at_once or session_containment._PROBED_AT_ONCE)
    longest = 0.0
    verdicts = []

    async def beat() -> None:
        nonlocal longest
        last = time.monotonic()
        while True:
            try:
                await trio.sleep(0.001)
            finally:  # It may be cancelled right after the longest.
                last, before = time.monotonic(), last
                longest = max(longest, last - before)

    async with ptykill.open_supervisor(
        plan="HUP@session 50ms, KILL 20s", containment="session"
    ) as supervisor:
        session = await supervisor.spawn(["sh", "-c", "sleep 60 & sleep 60 & echo up; wait"])
        await session.receive()
        # Its pid is not among the first that are checked, if those are few.
        for each in session, await hidden_orphan(supervisor):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(beat)
                verdicts.append(summary(await each.terminate()))
                nursery.cancel_scope.cancel()
    # Checked here: when this program exits, its whole pid namespace dies.
    with trio.move_on_after(10):
        while left := [pid for pid in range(1, 5000) if session_of(pid) == each.pid]:  # noqa: ASYNC110
            await trio.sleep(0.01)  # A zombie, until process 1 reaps it.
    return {"verdicts": verdicts, "longest": longest, "left": left}


async def asked_for_its_tier() -> dict[str, Any]:
    """Return the tier that auto takes, the one that the doctor reports, and the reasons."""
    try:
        async with ptykill.open_supervisor() as supervisor:
            taken, reason = supervisor.containment, ""
    except ptykill.ContainmentUnavailable as error:
        taken, reason = "", str(error)
    command = [sys.executable, "-m", "ptykill", "doctor", "--json"]
    done = await trio.run_process(command, capture_stdout=True, check=False)
    told = json.loads(done.stdout)
    return {
        "auto": taken,
        "reason": reason,
        "doctor": told["auto"],
        "status": done.returncode,
        "lacking": {each["tier"]: each["lacking"] for each in told["containments"]},
        "ended": [each["tier"] for each in told["containments"] if each["ended"]],
    }


async def whose_children_are_elsewhere(way: str) -> list[Any]:
    """Start children in another pid namespace than our own (pid_namespaces(7), unshare(2))."""
    answers: list[Any] = []
    if ctypes.CDLL(None).unshare(0x20000000):  # CLONE_NEWPID
        return ["no namespace"]
    try:
        async with ptykill.open_supervisor(
            plan="HUP@session 50ms, KILL 5s", containment=choose_spawn(way)
        ) as supervisor:
            session = await supervisor.spawn(["sh", "-c", "trap '' HUP; echo up; sleep 60 & wait"])
            await session.receive()
            answers.append(summary(await session.terminate())["empty"])
    except ptykill.ContainmentUnavailable as error:
        answers.append(str(error))
    return answers


async def whose_proc_is_covered(way: str) -> dict[str, Any]:
    """Mount over /proc while a session runs, and spawn and end sessions."""
    async with ptykill.open_supervisor(
        plan="HUP@session 50ms, KILL 5s", containment=choose_spawn(way)
    ) as supervisor:
        script = "trap '' HUP; setsid sleep 60 & sleep 60 & echo up; wait"
        sessions = [await supervisor.spawn(["sh", "-c", script])]
        await sessions[0].receive()
        await trio.run_process(["mount", "-t", "tmpfs", "none", "/proc"])
        sessions.append(await supervisor.spawn(["sh", "-c", script]))
        await sessions[1].receive()
        verdicts = [summary(await session.terminate()) for session in sessions]
        await trio.run_process(["umount", "/proc"])
    return {"empty": [each["empty"] for each in verdicts]}


async def with_a_bare_dev(way: str) -> list[Any]:
    """Spawn where /dev lacks files; return the terminal's name, and the errors."""
    answers: list[Any] = []
    async with ptykill.open_supervisor(containment=choose_spawn(way)) as supervisor:
        for command in (
            ["sh", "-c", "(: > /dev/tty) && [ -t 0 ] && [ -t 1 ] && echo a terminal; sleep 60"],
            ["no such command"],
        ):
            try:
                session = await supervisor.spawn(command)
                answers.append((await session.receive()).decode().strip())
                answers.append((await session.terminate()).empty)
            except ptykill.SpawnError as error:
                terminal = [str(error)] if error.stage == "terminal" else []
                answers.append([error.stage, error.code, *terminal])
    return answers


if __name__ == "__main__":
    _, _name, *_arguments = sys.argv
    _host = globals()[_name]
    _is_async = inspect.iscoroutinefunction(_host)
    print(json.dumps(trio.run(_host, *_arguments) if _is_async else _host(*_arguments)))  # noqa: T201
