r"""End terminal sessions, and know that they have ended.

::

    async with ptykill.open_supervisor() as supervisor:
        session = await supervisor.spawn(["bash", "-i"])
        await session.send(b"sleep 1000 &\n")
        verdict = await session.terminate(grace=1.0)
        assert verdict.empty
"""

import typing

from ptykill.errors import (
    AttachmentDropped,
    ContainmentUnavailable,
    DeliveryRefused,
    InterpreterPatched,
    InvalidArgument,
    InvalidGrace,
    InvalidToken,
    LifecycleError,
    PlanError,
    PtykillError,
    SessionEnded,
    SessionNotFound,
    SpawnError,
    SupervisorClosed,
    TooManySessions,
)
from ptykill.rules.command import Attributes, Command
from ptykill.rules.lifecycle import State
from ptykill.rules.options import SupervisorOptions
from ptykill.rules.plan import ASK_FIRST, HANGUP_THEN_KILL, KILL_NOW, Leftovers, Plan
from ptykill.rules.protocols import (
    Containment,
    Handover,
    Signalled,
    Signaller,
    Spawned,
    Target,
    Terminal,
    Tier,
)
from ptykill.rules.steps import HangUp, Reach, Signal, Step, Typed
from ptykill.rules.verdict import Caveat, Delivery, ExitStatus, Outcome, Survivor, Verdict

if typing.TYPE_CHECKING:
    from ptykill.embedding.host import Host
    from ptykill.engine.attachment import Attachment
    from ptykill.engine.opening import open_supervisor
    from ptykill.engine.session import Session
    from ptykill.engine.signallers import (
        HangUpSignaller,
        KernelSignaller,
        StandardSignaller,
        TypingSignaller,
    )
    from ptykill.engine.supervisor import SpawnOptions, Supervisor
    from ptykill.http import asgi_app, asgi_middleware, wsgi_app
else:
    # These modules import trio, asyncio and the HTTP API, which take some ten times as long as
    # all others. Each is imported when one of its names is first used.
    _MODULES = {
        "Host": "ptykill.embedding.host",
        "Attachment": "ptykill.engine.attachment",
        "open_supervisor": "ptykill.engine.opening",
        "Session": "ptykill.engine.session",
        "HangUpSignaller": "ptykill.engine.signallers",
        "KernelSignaller": "ptykill.engine.signallers",
        "StandardSignaller": "ptykill.engine.signallers",
        "TypingSignaller": "ptykill.engine.signallers",
        "SpawnOptions": "ptykill.engine.supervisor",
        "Supervisor": "ptykill.engine.supervisor",
        "asgi_app": "ptykill.http",
        "asgi_middleware": "ptykill.http",
        "wsgi_app": "ptykill.http",
    }

    def __getattr__(name: str) -> object:
        """Import a name of `_MODULES`."""
        if name not in _MODULES:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg, name=name)
        from importlib import import_module  # noqa: PLC0415

        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
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
    "Delivery",
    "DeliveryRefused",
    "ExitStatus",
    "Handover",
    "HangUp",
    "HangUpSignaller",
    "Host",
    "InterpreterPatched",
    "InvalidArgument",
    "InvalidGrace",
    "InvalidToken",
    "KernelSignaller",
    "Leftovers",
    "LifecycleError",
    "Outcome",
    "Plan",
    "PlanError",
    "PtykillError",
    "Reach",
    "Session",
    "SessionEnded",
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
    "TooManySessions",
    "Typed",
    "TypingSignaller",
    "Verdict",
    "asgi_app",
    "asgi_middleware",
    "open_supervisor",
    "wsgi_app",
]

__version__ = "0.1.0"
