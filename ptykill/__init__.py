r"""End terminal sessions, and know that they have ended.

::

    async with ptykill.open_supervisor() as supervisor:
        session = await supervisor.spawn(["bash", "-i"])
        await session.send(b"sleep 1000 &\n")
        verdict = await session.terminate(grace=1.0)
        assert verdict.empty
"""

# `typing.TYPE_CHECKING` to type checkers; without the import, which takes some milliseconds.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from ptykill import aio, blocking
    from ptykill.embedding.host import Host
    from ptykill.embedding.host_events import HostEvents
    from ptykill.embedding.run_through import run
    from ptykill.engine.attachment import Attachment
    from ptykill.engine.opening import open_supervisor
    from ptykill.engine.run import RunOptions
    from ptykill.engine.session import Session
    from ptykill.engine.settings import SpawnOptions
    from ptykill.engine.signallers import (
        HangUpSignaller,
        KernelSignaller,
        StandardSignaller,
        TypingSignaller,
    )
    from ptykill.engine.supervisor import Supervisor
    from ptykill.errors import (
        AttachmentDropped,
        ContainmentUnavailable,
        DeliveryRefused,
        ExpectTimeout,
        InputFull,
        InterpreterPatched,
        InvalidArgument,
        InvalidDeadline,
        InvalidGrace,
        InvalidOffset,
        InvalidToken,
        KeyReused,
        LifecycleError,
        LimitAboveCap,
        LimitsUnavailable,
        NameTaken,
        OutputEnded,
        PlanError,
        PtykillError,
        SessionEnded,
        SessionNotFound,
        SpawnError,
        SupervisorClosed,
        TokenNotFound,
        TooManySessions,
        TooManyTokens,
    )
    from ptykill.http import asgi_app, asgi_middleware, wsgi_app
    from ptykill.rules.command import Attributes, Command
    from ptykill.rules.deadlines import Deadlines, Elapsed
    from ptykill.rules.lifecycle import State
    from ptykill.rules.member import Member
    from ptykill.rules.options import SupervisorOptions
    from ptykill.rules.plan import ASK_FIRST, HANGUP_THEN_KILL, KILL_NOW, Leftovers, Plan
    from ptykill.rules.processor_time import ProcessorTime
    from ptykill.rules.protocols import (
        Containment,
        Ending,
        Handover,
        Signalled,
        Signaller,
        Spawned,
        Target,
        Terminal,
        Tier,
    )
    from ptykill.rules.run_result import RunFailed, RunResult
    from ptykill.rules.search import Match
    from ptykill.rules.session_event import EventKind, SessionEvent
    from ptykill.rules.steps import HangUp, Reach, Signal, Step, Typed
    from ptykill.rules.usage import Usage
    from ptykill.rules.verdict import (
        Caveat,
        Delivery,
        EndReason,
        ExitStatus,
        Outcome,
        Survivor,
        Verdict,
    )
    from ptykill.rules.window_size import WindowPolicy
else:
    del TYPE_CHECKING  # It is no public name.
    # Each module is imported when one of its names is first used: they take 50 ms together, and
    # trio, asyncio and the HTTP API, which some of them import, ten times as long.
    _NAMES = {
        "embedding.host": "Host",
        "embedding.host_events": "HostEvents",
        "embedding.run_through": "run",
        "engine.attachment": "Attachment",
        "engine.opening": "open_supervisor",
        "engine.run": "RunOptions",
        "engine.session": "Session",
        "engine.settings": "SpawnOptions",
        "engine.signallers": "HangUpSignaller KernelSignaller StandardSignaller TypingSignaller",
        "engine.supervisor": "Supervisor",
        "errors": (
            "AttachmentDropped ContainmentUnavailable DeliveryRefused ExpectTimeout InputFull"
            " InterpreterPatched InvalidArgument InvalidDeadline InvalidGrace InvalidOffset"
            " InvalidToken KeyReused LifecycleError LimitAboveCap LimitsUnavailable NameTaken"
            " OutputEnded PlanError PtykillError SessionEnded SessionNotFound"
            " SpawnError SupervisorClosed TokenNotFound TooManySessions TooManyTokens"
        ),
        "http": "asgi_app asgi_middleware wsgi_app",
        "rules.command": "Attributes Command",
        "rules.deadlines": "Deadlines Elapsed",
        "rules.lifecycle": "State",
        "rules.member": "Member",
        "rules.options": "SupervisorOptions",
        "rules.plan": "ASK_FIRST HANGUP_THEN_KILL KILL_NOW Leftovers Plan",
        "rules.protocols": (
            "Containment Ending Handover Signalled Signaller Spawned Target Terminal Tier"
        ),
        "rules.processor_time": "ProcessorTime",
        "rules.run_result": "RunFailed RunResult",
        "rules.search": "Match",
        "rules.session_event": "EventKind SessionEvent",
        "rules.steps": "HangUp Reach Signal Step Typed",
        "rules.usage": "Usage",
        "rules.verdict": "Caveat Delivery EndReason ExitStatus Outcome Survivor Verdict",
        "rules.window_size": "WindowPolicy",
    }
    _MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        """Import a name of `_MODULES`, or a module of the package."""
        from importlib import import_module  # noqa: PLC0415

        if name in ("errors", "aio", "blocking"):
            return import_module(f"ptykill.{name}")
        if name not in _MODULES:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg, name=name)
        module = import_module(f"ptykill.{_MODULES[name]}")
        value = globals()[name] = getattr(module, name)
        return value

    def __dir__() -> list[str]:
        """List all public names."""
        return sorted({*globals(), *__all__})


__all__ = [
    "ASK_FIRST",
    "HANGUP_THEN_KILL",
    "KILL_NOW",
    "Attachment",
    "AttachmentDropped",
    "Attributes",
    "Caveat",
    "Command",
    "Containment",
    "ContainmentUnavailable",
    "Deadlines",
    "Delivery",
    "DeliveryRefused",
    "Elapsed",
    "EndReason",
    "Ending",
    "EventKind",
    "ExitStatus",
    "ExpectTimeout",
    "Handover",
    "HangUp",
    "HangUpSignaller",
    "Host",
    "HostEvents",
    "InputFull",
    "InterpreterPatched",
    "InvalidArgument",
    "InvalidDeadline",
    "InvalidGrace",
    "InvalidOffset",
    "InvalidToken",
    "KernelSignaller",
    "KeyReused",
    "Leftovers",
    "LifecycleError",
    "LimitAboveCap",
    "LimitsUnavailable",
    "Match",
    "Member",
    "NameTaken",
    "Outcome",
    "OutputEnded",
    "Plan",
    "PlanError",
    "ProcessorTime",
    "PtykillError",
    "Reach",
    "RunFailed",
    "RunOptions",
    "RunResult",
    "Session",
    "SessionEnded",
    "SessionEvent",
    "SessionNotFound",
    "Signal",
    "Signalled",
    "Signaller",
    "SpawnError",
    "SpawnOptions",
    "Spawned",
    "StandardSignaller",
    "State",
    "Step",
    "Supervisor",
    "SupervisorClosed",
    "SupervisorOptions",
    "Survivor",
    "Target",
    "Terminal",
    "Tier",
    "TokenNotFound",
    "TooManySessions",
    "TooManyTokens",
    "Typed",
    "TypingSignaller",
    "Usage",
    "Verdict",
    "WindowPolicy",
    "aio",
    "asgi_app",
    "asgi_middleware",
    "blocking",
    "open_supervisor",
    "run",
    "wsgi_app",
]

__version__ = "0.1.0"
