r"""End terminal sessions, and know that they have ended.

::

    async with ptykill.open_supervisor() as supervisor:
        session = await supervisor.spawn(["bash", "-i"])
        await session.send(b"sleep 1000 &\n")
        verdict = await session.terminate(grace=1.0)
        assert verdict.empty
"""

from ptykill.embedding.host import Host
from ptykill.engine.opening import open_supervisor
from ptykill.engine.output import Attachment
from ptykill.engine.session import Session
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
from ptykill.http import asgi_app, asgi_middleware, wsgi_app
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
