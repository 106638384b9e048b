"""The command line: the daemon, its clients, one command alone, the demonstration, the doctor.

It needs the extra ``server``, the demonstration the extra ``demo``; without them it says so.
"""

from __future__ import annotations

import os
import sys

import ptykill
from ptykill.containment import STRONGEST_FIRST
from ptykill.errors import PtykillError
from ptykill.plan import HANGUP_THEN_KILL, Plan

try:
    import click
except ModuleNotFoundError:
    # Only a command imports this module, and a traceback is no answer to it.
    sys.exit("ptykill's command line needs more: pip install 'ptykill[server]'")

from ptykill.client.commands import COMMANDS
from ptykill.extras import needing

__all__ = ["main"]

KEY_VARIABLE = "PTYKILL_API_KEY"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ptykill.__version__, prog_name="ptykill")
def main() -> None:
    """End terminal sessions, and know that they have ended."""


@main.command(epilog=f"Clients bear the key in {KEY_VARIABLE}; without one, one is made and shown.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to bind.")
@click.option(
    "--port",
    default=8022,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="The port; 0 takes a free one.",
)
@click.option("--grace", type=float, help="Seconds until SIGKILL; the plan's own if not given.")
@click.option(
    "--plan",
    default=str(HANGUP_THEN_KILL),
    show_default=True,
    help="How sessions are ended.",
)
@click.option(
    "--max-sessions",
    default=64,
    show_default=True,
    type=click.IntRange(min=1),
    help="How many may live at once.",
)
def serve(host: str, port: int, grace: float | None, plan: str, max_sessions: int) -> None:
    """Let clients start and end sessions over HTTP.

    SIGTERM or Ctrl-C ends every session by the plan, and then the server; a second one kills.
    """
    server = needing("ptykill.server", "server")
    try:
        chosen = Plan.parse(plan)
        if grace is not None:
            chosen = chosen.with_grace(grace)
        server.serve(
            host,
            port,
            key=os.environ.get(KEY_VARIABLE) or None,
            plan=chosen,
            max_sessions=max_sessions,
            say=click.echo,
        )
    except PtykillError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        message = f"{host} port {port}: {error.strerror or error}"
        raise click.ClickException(message) from None


@main.command()
@click.option("--plain", is_flag=True, help="No colours and no live display.")
@click.option(
    "--grace",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.2, 10),
    help="Seconds until SIGKILL.",
)
def demo(*, plain: bool, grace: float) -> None:
    """Show real sessions being ended, and what others leave alive."""
    sys.exit(needing("ptykill.demo", "demo").main(plain=plain, grace=grace))


@main.command()
@click.option(
    "--require",
    default="keeper",
    show_default=True,
    type=click.Choice(STRONGEST_FIRST),
    help="The weakest containment that will do; without it the exit status is 1.",
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(*, require: str, as_json: bool) -> None:
    """Show what this machine offers, and which containment sessions get here.

    Each containment is tried: a session is spawned, a daemon escapes from it, and it is ended.
    """
    show = needing("ptykill.doctor_screen", "server").show
    enough = STRONGEST_FIRST[: STRONGEST_FIRST.index(require) + 1]
    sys.exit(0 if show(as_json=as_json) in enough else 1)


for _command in COMMANDS:
    main.add_command(_command)
