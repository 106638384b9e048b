"""The command line: the daemon, its clients, one command alone, the demonstration, the doctor.

It needs the extra ``server``, the demonstration the extra ``demo``; without them it says so.
"""

from __future__ import annotations

import io
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import ptykill
from ptykill.errors import PtykillError
from ptykill.rules.plan import HANGUP_THEN_KILL, Plan
from ptykill.system.containment import STRONGEST_FIRST

try:
    import click
except ModuleNotFoundError:
    # Only a command imports this module, and a traceback is no answer to it.
    sys.exit("ptykill's command line needs more: pip install 'ptykill[server]'")

from ptykill.cli.client.commands import COMMANDS
from ptykill.cli.client.messages import exit_interrupted
from ptykill.cli.descriptors import open_missing
from ptykill.cli.extras import import_extra
from ptykill.cli.key_file import read_key

__all__ = ["main"]

KEY_VARIABLE = "PTYKILL_API_KEY"


class _Main(click.Group):
    """The commands, whatever the locale, and ended by Ctrl-C as others are."""

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - as click has it
        """Run a command."""
        open_missing()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # What the locale's encoding lacks is escaped: no UnicodeEncodeError.
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        """Run a command; Ctrl-C is one sentence."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            exit_interrupted()


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ptykill.__version__, prog_name="ptykill")
def main() -> None:
    """End terminal sessions, and know that they have ended."""


def _from_file(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Take defaults from a TOML file; what is given on the command line or by variables wins."""
    if path is None:
        return
    try:
        told = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        message = f"{path}: {error}"
        raise click.UsageError(message) from None
    known = {each.name for each in context.command.params} - {"config"}
    given = {name.replace("-", "_"): value for name, value in told.items()}
    if unknown := sorted(given.keys() - known):
        message = f"{path}: there is no setting {unknown[0]!r}"
        raise click.UsageError(message)
    if isinstance(given.get("uds_mode"), int):  # 660 and 0o660 are two numbers.
        message = f"{path}: uds-mode has to be text, such as '660'"
        raise click.UsageError(message)
    context.default_map = given


def _read_mode(_: click.Context, __: click.Parameter, digits: str) -> int:
    """Read permissions in octal."""
    if not re.fullmatch("0?[0-7]{3}", digits):
        message = f"{digits!r} is no mode like 660"
        raise click.BadParameter(message)
    return int(digits, 8)


@main.command(
    context_settings={"auto_envvar_prefix": "PTYKILL"},
    epilog="Each option may come from a variable (PTYKILL_MAX_SESSIONS) or the file as well.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_from_file,
    help="A TOML file with the options below, by their names without dashes before.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to bind.")
@click.option(
    "--port",
    default=8022,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="The port; 0 takes a free one.",
)
@click.option("--uds", help="The path of a UNIX socket to listen at, instead of a port.")
@click.option(
    "--uds-mode",
    default="600",
    show_default=True,
    callback=_read_mode,
    help="Who may connect to it, as chmod(1) has it in octal.",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help=f"A file with the key that clients bear, which no other user can read, instead of"
    f" {KEY_VARIABLE}; without either, one is made and shown.",
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
@click.option(
    "--containment",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", *STRONGEST_FIRST]),
    help="How members are known; see `ptykill doctor`.",
)
@click.option(
    "--allowed-host",
    multiple=True,
    help="A pattern of what clients may have in Host; on loopback, this machine's names there.",
)
@click.option(
    "--allowed-origin",
    multiple=True,
    help="A pattern of what pages may ask (Origin), beside those of loopback and of this host.",
)
@click.option("--user", help="Run sessions as this user, not as the daemon's own; takes root.")
@click.option("--uid", type=click.IntRange(min=0), help="The same, by number.")
@click.option(
    "--token-suffices",
    is_flag=True,
    help="A session's token is enough to attach, as browsers need, which can't send the key.",
)
def serve(
    key_file: Path | None,
    grace: float | None,
    plan: str,
    allowed_host: tuple[str, ...],
    allowed_origin: tuple[str, ...],
    **settings: Any,  # noqa: ANN401 - the fields of Settings that have an option's name
) -> None:
    """Let clients start, use and end sessions over HTTP.

    SIGTERM or Ctrl-C ends every session by the plan, and then the server; a second one kills.
    """
    server = import_extra("ptykill.cli.serve.daemon", "server")
    take_variable = import_extra("ptykill.cli.serve.separation", "server").take_variable
    try:
        chosen = Plan.parse(plan)
        if grace is not None:
            chosen = chosen.with_grace(grace)
        # Taken out of the environment, which sessions inherit, or may look at. Empty, a variable is
        # as good as not set; a file is a mistake, and said to be one.
        from_variable = take_variable(KEY_VARIABLE) or None
        told = server.Settings(
            key=from_variable if key_file is None else read_key(key_file),
            plan=chosen,
            hosts=allowed_host or None,
            origins=allowed_origin,
            **settings,
        )
        server.serve(told, say=click.echo)
    except PtykillError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        place = error.filename or settings["uds"] or f"{settings['host']} port {settings['port']}"
        message = f"{place}: {error.strerror or error}"
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
    sys.exit(import_extra("ptykill.cli.demo", "demo").main(plain=plain, grace=grace))


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
    show = import_extra("ptykill.cli.doctor.screen", "server").show
    enough = STRONGEST_FIRST[: STRONGEST_FIRST.index(require) + 1]
    sys.exit(0 if show(as_json=as_json) in enough else 1)


for _command in COMMANDS:
    main.add_command(_command)
