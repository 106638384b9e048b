r"""ptykill for threads: the same names as in `ptykill`, which is for trio; the methods block.

::

    with ptykill.blocking.open_supervisor() as supervisor:
        session = supervisor.spawn(["bash", "-i"])
        session.send("sleep 1000 &\n")
        verdict = session.terminate(grace=1.0)
        assert verdict.empty

The supervisor runs in a thread of its own. All its objects may be used from any thread. An
exception that is raised in a wait, such as KeyboardInterrupt, cancels the wait, and no teardown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Unpack

from ptykill.blocking.faces import Attachment, Session, Supervisor
from ptykill.embedding.host import Host
from ptykill.embedding.run_through import default_host, run_through
from ptykill.engine.run import RunOptions
from ptykill.rules.options import SupervisorOptions
from ptykill.rules.run_result import RunResult

__all__ = ["Attachment", "Session", "Supervisor", "open_supervisor", "run", "supervisor_of"]


def open_supervisor(**options: Unpack[SupervisorOptions]) -> AbstractContextManager[Supervisor]:
    """Open a supervisor, as `ptykill.open_supervisor` does, with the same options.

    The end of the block ends every session, also after an error; that is bounded by the longest of
    their plans and a second.

    Raises `PlanError` and `InvalidArgument` at once, and `ContainmentUnavailable` when the block is
    entered.
    """
    return _open(Host(**options))


@contextmanager
def _open(host: Host) -> Iterator[Supervisor]:
    with host:
        yield Supervisor(host, host.supervisor)


def supervisor_of(host: Host) -> Supervisor:
    """Return the supervisor of a `Host`, which mounts of the HTTP API use, with this face.

    Waits until the host's thread has started.
    """
    return Supervisor(host, host.supervisor)


def run(command: Sequence[str], **options: Unpack[RunOptions]) -> RunResult:
    """Run a command in a session of its own, and return when nothing of it is left.

    As `Supervisor.run`, by a supervisor that all such calls share; it has the default options, and
    its first call starts it. An exception in the wait, such as KeyboardInterrupt, ends the command
    by its plan, and is raised after that. Up to 10,000 commands may run at once.
    """
    return run_through(default_host(), command, options)
