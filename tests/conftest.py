"""What every test has: a watch on what it leaves behind, and a mark on what it starts."""

from __future__ import annotations

import contextlib
import gc
import os
import pwd
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from ptykill.system.containment import why_not
from ptykill.system.kernel import cgroup_place
from ptykill.testing import processes
from tests.real.ordinary import ordinary_user

_CGROUP = "pytest-"
"""How the name of the cgroup that this process makes for itself begins; its pid follows."""

_TIMEOUT = 15.0
"""Time-out for threads and processes that are ending, in seconds."""


def pytest_configure() -> None:
    """Move this process into a cgroup of its own, where one can be made.

    A host recovers the cgroups of dead hosts beside its own. So the tests of one process do not
    meet those of another: of another worker, or of another run.
    """
    with contextlib.suppress(OSError):
        if (parent := cgroup_place.own_cgroup()) is not None:
            _remove_old_cgroups(Path(parent))
            (own := Path(parent, f"{_CGROUP}{os.getpid()}")).mkdir()
            (own / "cgroup.procs").write_text("0")


def pytest_unconfigure() -> None:
    """Move it back, and remove that cgroup."""
    with contextlib.suppress(OSError):
        if (own := Path(cgroup_place.own_cgroup() or "/")).name == f"{_CGROUP}{os.getpid()}":
            (own.parent / "cgroup.procs").write_text("0")
            own.rmdir()


def _remove_old_cgroups(parent: Path) -> None:
    """Remove what runs that were killed have left there."""
    for left in parent.glob(f"{_CGROUP}*"):
        if not Path("/proc", left.name.removeprefix(_CGROUP)).exists():
            for folder, _, _ in os.walk(left, topdown=False):
                with contextlib.suppress(OSError):  # EBUSY: a process is still there.
                    Path(folder).rmdir()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes ``-n auto`` means: more than cores, since most tests wait."""
    return 3 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest tests begin first: others fill the time until they are over."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session", autouse=True)
def _warm() -> None:
    """Create what this process creates once and keeps, before anything is counted."""
    # They may be ignored, as a shell has it for what it starts in the background; tests send them.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
    trio.run(trio.sleep, 0)
    with contextlib.suppress(KeyError):  # A name service may keep a socket open.
        pwd.getpwuid(os.getuid())


@pytest.fixture
def mark() -> str:
    """Return a word by which the processes of this test are known.

    It is in the environment that they inherit; one that wipes its environment has to carry it as
    an argument.
    """
    return secrets.token_hex(16)


@pytest.fixture(params=["session", "keeper", "cgroup"])
def tier(request: pytest.FixtureRequest) -> str:
    """Take each way to contain a session in turn."""
    name: str = request.param
    reason = why_not(name)
    if reason is not None:
        pytest.skip(reason)
    return name


@pytest.fixture
def unprivileged() -> tuple[str, ...]:
    """Return what runs a command as an ordinary user: nothing, if one runs these tests."""
    wrapper = ordinary_user()
    if wrapper is None:
        pytest.skip("no host of an ordinary user can be had here")
    return wrapper


@pytest.fixture
def ordinary(unprivileged: tuple[str, ...]) -> tuple[str, ...]:
    """Return the same prefix for another ordinary user than the one that runs these tests."""
    if not unprivileged:
        pytest.skip("only root can become another user")
    return unprivileged


@pytest.fixture(autouse=True)
def _nothing_leaks(mark: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves descriptors, threads, children or processes behind."""
    monkeypatch.setenv(processes.MARK, mark)
    count: dict[str, Callable[[], dict[object, str]]] = {
        "descriptors": _descriptors,
        "threads": _threads,
        "children": _children,
    }
    before = {what: counted() for what, counted in count.items()}
    yield

    def leaks() -> list[str]:
        found = [
            f"{what}: {name}"
            for what, counted in count.items()
            for key, name in counted().items()
            if key not in before[what]
        ]
        return found + [f"processes: {name}" for name in processes.names(processes.marked(mark))]

    leaked = leaks()
    if leaked:
        gc.collect()
        until = time.monotonic() + _TIMEOUT
        while (leaked := leaks()) and time.monotonic() < until:
            time.sleep(0.05)
    if leaked:
        for survivor in processes.marked(mark):
            processes.end(survivor.pid)
        pytest.fail("the test leaked\n  " + "\n  ".join(leaked), pytrace=False)


def _descriptors() -> dict[object, str]:
    found: dict[object, str] = {}
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # The one by which the listing is made.
            file = str(fd.readlink())
            found[fd.name, file] = f"{fd.name} -> {file}"
    return found


def _threads() -> dict[object, str]:
    # trio keeps its worker threads for a while after their work, under this name.
    return {
        thread: thread.name
        for thread in threading.enumerate()
        if not thread.name.startswith("Trio thread ")
    }


def _children() -> dict[object, str]:
    """Return the children of this process, the zombies among them too."""
    lists = [*Path("/proc/self/task").glob("*/children")]
    if lists:
        pids = {int(pid) for each in lists for pid in _words(each)}
        children = [each for pid in pids if (each := processes.look_up(pid)) is not None]
    else:  # A kernel without CONFIG_PROC_CHILDREN.
        children = [each for each in processes.every_process() if each.parent == os.getpid()]
    return {(each.pid, each.name): f"{each.pid} {each.name} ({each.state})" for each in children}


def _words(file: Path) -> list[str]:
    with contextlib.suppress(OSError):  # The thread has just ended.
        return file.read_text().split()
    return []
