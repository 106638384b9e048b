"""A host that stops before each phase of its life, so that a fault can be set for that phase.

It writes one JSON line for each event, and waits at each ``gate`` for a line of input. Started by
`trial`.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import ptykill
from ptykill.embedding import host as host_module
from ptykill.embedding.trio_thread import TrioThread
from ptykill.testing import processes

PLAN = "HUP@session 150ms, KILL 5s"
STUBBORN = "trap '' HUP; setsid sleep 300 & sleep 300 & echo ready; wait"
"""A leader that ignores SIGHUP, a child that has left the session, and one that has not."""


def tell(what: str, **about: object) -> None:
    """Write one line."""
    os.write(1, json.dumps({"what": what, **about}).encode() + b"\n")


def gate(phase: str, **about: object) -> None:
    """Wait until the fault for this phase is set."""
    tell("gate", phase=phase, **about)
    while os.read(0, 1) not in (b"\n", b""):
        pass


class _Thread(TrioThread):
    """The host's trio thread, which waits for the first gate."""

    def _run(self) -> None:
        # By another thread: this one's own calls are to be ptykill's.
        waiter = threading.Thread(target=gate, args=("open",), kwargs=_about_this_thread())
        waiter.start()
        waiter.join()
        super()._run()


def _about_this_thread() -> dict[str, object]:
    return {"host": threading.get_native_id()}


def helpers(name: str) -> list[int]:
    """Return the pids of this host's wardens or keepers, the oldest first."""
    below = processes.descendants(os.getpid())
    return sorted(each.pid for each in below if each.name == f"ptykill-{name}")


def told_of(verdict: ptykill.Verdict, began: float) -> dict[str, object]:
    """Return the parts of a verdict that the trial judges."""
    return {
        "outcome": verdict.outcome.value,
        "empty": verdict.empty,
        "caveats": sorted(verdict.caveats),
        "survivors": [each.pid for each in verdict.survivors],
        "seconds": time.monotonic() - began,
    }


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Life:
    """The phases of such a host."""

    def __init__(self, tier: str, mark: str) -> None:
        self.host = ptykill.Host(containment=tier, plan=PLAN)
        self.mark = mark
        self.trio = 0

    def run(self) -> None:
        """Go through all phases."""
        fds = _descriptors()
        try:
            other = self.spawn("other")
        except (ptykill.PtykillError, OSError) as error:
            tell("failed", phase="open", error=f"{type(error).__name__}: {error}")
            other = self.spawn("other")
        self.trio = next(
            each.native_id or 0 for each in threading.enumerate() if each.name == "ptykill"
        )
        before = set(helpers("keeper"))
        self.wait_for_another(before)
        self.gate("spawn", set(helpers("keeper")) - before)
        session = self.spawn_at_last()
        self.host.call(session.receive)  # Until it says that it is ready.
        mine = self.keeper_of(session.pid)
        self.gate("live", mine)
        self.use(session)
        self.gate("kill", mine)
        self.kill(session)
        tell("other", state=self.host.get(other.id).state.value, pid=other.pid)
        self.once_more()
        if helpers("warden"):
            self.lose_keeper()
        self.gate("close", self.keeper_of(other.pid))
        began = time.monotonic()
        self.host.close()
        tell("closed", seconds=time.monotonic() - began)
        del session, other
        gc.collect()  # A trio.run that fails leaves its descriptors in reference cycles.
        children = [each for each in processes.every_process() if each.parent == os.getpid()]
        tell(
            "left",
            descriptors=_descriptors() - fds,
            children=[f"{each.name} ({each.state})" for each in children],
        )

    def wait_for_another(self, before: set[int]) -> None:
        """Wait until a keeper is kept ready for the next session, if there are any."""
        until = time.monotonic() + 20
        while before and set(helpers("keeper")) <= before and time.monotonic() < until:
            time.sleep(0.01)

    def keeper_of(self, pid: int) -> set[int]:
        """Return the pid of a session's keeper, if it has one."""
        leader = processes.look_up(pid)
        return {leader.parent} & set(helpers("keeper")) if leader else set()

    def gate(self, phase: str, keepers: set[int]) -> None:
        """Report the processes that the fault may be for, and wait until it is set."""
        wardens = helpers("warden")
        gate(
            phase,
            host=self.trio,
            warden=wardens[0] if wardens else 0,
            keeper=min(keepers, default=0),
        )

    def lose_keeper(self) -> None:
        """End a session whose keeper is killed: only the warden can prove that it is over."""
        session = self.spawn("orphaned")
        self.host.call(session.receive)
        (keeper,) = self.keeper_of(session.pid)
        self.gate("lost", set())
        began = time.monotonic()
        os.kill(keeper, signal.SIGKILL)
        verdict = self.host.terminate(session.id)
        tell("orphaned", **told_of(verdict, began))

    def spawn(self, whose: str) -> ptykill.Session:
        """Start a program that is hard to end."""
        env = os.environ | {processes.MARK: f"{self.mark}-{whose}"}
        return self.host.spawn(["sh", "-c", STUBBORN], env=env)

    def spawn_at_last(self) -> ptykill.Session:
        """Start the session that is tested; try again if the first try fails."""
        began = time.monotonic()
        try:
            session = self.spawn("tested")
        except (ptykill.PtykillError, OSError) as error:
            about = f"{type(error).__name__}: {error}"
            ours = isinstance(error, ptykill.PtykillError)
            tell("refused", error=about, ours=ours, seconds=time.monotonic() - began)
            session = self.spawn("tested")
        tell("spawned", pid=session.pid, seconds=time.monotonic() - began)
        return session

    def use(self, session: ptykill.Session) -> None:
        """Type into the session, resize it, and let some time pass."""
        for act in self.type_in, self.resize:
            try:
                self.host.call(act, session)
            except ptykill.PtykillError as error:
                tell("refused", error=str(error), ours=True, seconds=0)
            except OSError as error:
                tell("refused", error=str(error), ours=False, seconds=0)
        time.sleep(0.1)

    async def type_in(self, session: ptykill.Session) -> None:
        """Type a line, and see its echo."""
        await session.send(b"hello\n")
        await session.receive()

    async def resize(self, session: ptykill.Session) -> None:
        """Resize the session's terminal."""
        session.resize(30, 100)

    def kill(self, session: ptykill.Session) -> None:
        """End the session; try again if it has not ended."""
        for attempt in range(2):
            began = time.monotonic()
            verdict = self.host.terminate(session.id)
            tell("verdict", attempt=attempt, **told_of(verdict, began))
            gate("judged")
            if verdict.empty:
                break

    def once_more(self) -> None:
        """Start and end another session."""
        began = time.monotonic()
        try:
            another = self.spawn("another")
            # Wait until it is ready: before that, the session containment may not know its escapee.
            self.host.call(another.receive)
            verdict = self.host.terminate(another.id, grace=0)
        except (ptykill.PtykillError, OSError) as error:
            tell("again", error=f"{type(error).__name__}: {error}", empty=False)
        else:
            tell("again", **told_of(verdict, began))


if __name__ == "__main__":
    host_module.TrioThread = _Thread  # type: ignore[attr-defined]
    with suppress(BrokenPipeError):
        Life(*sys.argv[1:]).run()
    tell("done", at=str(Path.cwd()))
