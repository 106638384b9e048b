"""The command ``ptykill``: ``serve``, ``demo``, ``doctor``, and the commands of the client.

It needs the extra ``server``, and ``demo`` the extra ``demo``; an error names a missing one.
"""

from __future__ import annotations

import io
import logging
import re
import sys
from pathlib import Path
from typing import Any

import ptykill
from ptykill.errors import PtykillError
from ptykill.rules.options import STRONGEST_FIRST
from ptykill.rules.plan import HANGUP_THEN_KILL, Plan
from ptykill.rules.window_size import WindowPolicy

try:
    import click
except ModuleNotFoundError:
    # Only the command imports this module: one sentence instead of a traceback.
    sys.exit("the command ptykill needs an extra: pip install 'ptykill[server]'")

from ptykill.cli.client.commands import COMMANDS
from ptykill.cli.deadline_options import deadline_options
from ptykill.cli.descriptors import open_missing
from ptykill.cli.extras import import_extra
from ptykill.cli.key_file import read_key
from ptykill.cli.limit_options import limit_options

__all__ = ["main"]

KEY_VARIABLE = "PTYKILL_API_KEY"


class _Main(click.Group):
    """The group of all commands: they work in any locale, and die of SIGINT on Ctrl-C."""

    def main(self, *args: Any, **extra: Any) -> Any:  # noqa: ANN401 - click's signature
        """Run a command."""
        open_missing()
        # Of the library's log events, a logger without a handler prints the warnings. `serve` has a
        # log of its own; the other commands say what their users need to know.
        logging.getLogger("ptykill").addHandler(logging.NullHandler())
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # Escape characters that the locale's encoding lacks: no UnicodeEncodeError.
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Run a command; Ctrl-C prints one sentence."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            import_extra("ptykill.cli.client.messages", "server").exit_interrupted()


@click.group(cls=_Main, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ptykill.__version__, prog_name="ptykill")
def main() -> None:
    """End terminal sessions, and know that they have ended."""


def _from_file(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Take defaults from a TOML file; the command line and variables override them."""
    if path is None:
        return
    import tomllib  # noqa: PLC0415 - few commands need it

    try:
        content = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        message = f"{path}: {error}"
        raise click.UsageError(message) from None
    known = {each.name for each in context.command.params} - {"config"}
    given = {name.replace("-", "_"): value for name, value in content.items()}
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
        message = f"{digits!r} is not a mode such as 660"
        raise click.BadParameter(message)
    return int(digits, 8)


@main.command(
    context_settings={"auto_envvar_prefix": "PTYKILL"},
    epilog="Each option can also be set by a variable (PTYKILL_MAX_SESSIONS) or in the file.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_from_file,
    help="A TOML file with the options below, without the leading dashes.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to bind.")
@click.option(
    "--port",
    default=8022,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="The port; 0 takes a free one.",
)
@click.option("--uds", help="The path of a UNIX socket to listen on, instead of a port.")
@click.option(
    "--uds-mode",
    default="600",
    show_default=True,
    callback=_read_mode,
    help="The permissions of the socket, in octal, as for chmod(1).",
)
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help=f"A file with the key of the clients, which no other user may read, instead of"
    f" {KEY_VARIABLE}; without either, a key is generated and printed.",
)
@click.option("--grace", type=float, help="Seconds until SIGKILL; by default the plan's.")
@click.option(
    "--plan",
    default=str(HANGUP_THEN_KILL),
    show_default=True,
    help="The steps by which sessions are ended.",
)
@deadline_options(
    "lifetime", "idle", "detached", note=" Creates may ask for an earlier end, not for a later one."
)
@click.option(
    "--max-sessions",
    default=64,
    show_default=True,
    type=click.IntRange(min=1),
    help="The most sessions that may live at once.",
)
@click.option(
    "--containment",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", *STRONGEST_FIRST]),
    help="How the processes of a session are contained; see `ptykill doctor`.",
)
@click.option(
    "--window-size",
    default=WindowPolicy.LATEST.value,
    show_default=True,
    type=click.Choice([each.value for each in WindowPolicy]),
    help="Whose size a window gets that several clients see: of the last to type, or the least.",
)
@click.option(
    "--allowed-host",
    multiple=True,
    help="A pattern of allowed Host headers; by default those of loopback if it listens there.",
)
@click.option(
    "--allowed-origin",
    multiple=True,
    help="A pattern of allowed Origin headers, besides loopback and this host.",
)
@limit_options
@click.option("--user", help="Run sessions as this user; the daemon must be root.")
@click.option("--uid", type=click.IntRange(min=0), help="The same, by number.")
@click.option("--page/--no-page", default=True, help="Serve a page for browsers at /, or none.")
@click.option(
    "--token-suffices",
    is_flag=True,
    help="Let clients attach with a session's token, without the key: browsers can't send that.",
)
def serve(
    key_file: Path | None,
    grace: float | None,
    plan: str,
    allowed_host: tuple[str, ...],
    allowed_origin: tuple[str, ...],
    **settings: Any,  # noqa: ANN401 - the fields of Settings that have an option's name
) -> None:
    """Serve sessions over HTTP: clients start, use and end them.

    SIGTERM or Ctrl-C ends every session by the plan, and then the server; a second one kills all.
    """
    server = import_extra("ptykill.cli.serve.daemon", "server")
    pop_variable = import_extra("ptykill.cli.serve.separation", "server").pop_variable
    try:
        chosen = Plan.parse(plan)
        if grace is not None:
            chosen = chosen.with_grace(grace)
        # Remove the key from the environment: sessions inherit it, or may read it in /proc. An
        # empty variable counts as not set; an empty file is an error.
        from_variable = pop_variable(KEY_VARIABLE) or None
        settings_of_server = server.Settings(
            key=from_variable if key_file is None else read_key(key_file),
            plan=chosen,
            hosts=allowed_host or None,
            origins=allowed_origin,
            **settings,
        )
        server.serve(settings_of_server, say=click.echo)
    except PtykillError as error:
        raise click.UsageError(str(error)) from None
    except OSError as error:
        place = error.filename or settings["uds"] or f"{settings['host']} port {settings['port']}"
        message = f"{place}: {error.strerror or error}"
        raise click.ClickException(message) from None


@main.command(name="mcp")
@deadline_options("lifetime", "idle", note=" The client may ask for an earlier end.")
@click.option(
    "--max-sessions",
    default=16,
    show_default=True,
    type=click.IntRange(min=1),
    help="The most sessions that may live at once.",
)
@click.option(
    "--containment",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", *STRONGEST_FIRST]),
    help="How the processes of a session are contained; see `ptykill doctor`.",
)
def mcp_server(**settings: Any) -> None:  # noqa: ANN401 - the arguments of serve
    """Serve terminals to an agent, by the Model Context Protocol, on standard input and output.

    All sessions end when the client closes standard input, and at SIGTERM, SIGHUP or SIGINT.
    """
    try:
        import_extra("ptykill.integrations.mcp.server", "mcp").serve(**settings)
    except PtykillError as error:
        raise click.UsageError(str(error)) from None


@main.command()
@click.option("--plain", is_flag=True, help="Print plain text: no colours, no live display.")
@click.option(
    "--grace",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0.2, 10),
    help="Seconds until SIGKILL.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")
@click.option(
    "--record",
    type=click.Path(file_okay=False, exists=True, writable=True),
    help="Write pictures of it into this folder: demo-light.svg and demo-dark.svg.",
)
def demo(*, plain: bool, grace: float, as_json: bool, record: str | None) -> None:
    """End real sessions, and show which processes die, when, and which ptyprocess leaves alive."""
    show = import_extra("ptykill.cli.demo", "demo").main
    sys.exit(show(plain=plain, grace=grace, as_json=as_json, record=record))


@main.command()
@click.option(
    "--require",
    default="keeper",
    show_default=True,
    type=click.Choice(STRONGEST_FIRST),
    help="The weakest containment that is enough; with a weaker one the exit status is 1.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(*, require: str, as_json: bool) -> None:
    """Show what this machine offers, and which containment sessions get here.

    Each containment is tried: it spawns a session, a daemon escapes from it, and it is ended.
    """
    show = import_extra("ptykill.cli.doctor.screen", "server").show
    enough = STRONGEST_FIRST[: STRONGEST_FIRST.index(require) + 1]
    sys.exit(0 if show(as_json=as_json) in enough else 1)


for _command in COMMANDS:
    main.add_command(_command)
