"""Serves one client: on standard input and output, until it is gone or a signal comes."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator
from typing import Any

import trio
from mcp.server import Server, ServerRequestContext
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    ToolAnnotations,
)
from mcp_types import Tool as ToolDescription
from pydantic import ValidationError

import ptykill
from ptykill import Deadlines, PtykillError, Supervisor
from ptykill.integrations.mcp.sessions import Sessions
from ptykill.integrations.mcp.stdio import open_stdio
from ptykill.integrations.mcp.tools import TOOLS

__all__ = ["serve"]

_GRACE = 1.0
"""The longest grace (seconds) once the client is gone: clients send SIGTERM after two seconds."""

_INSTRUCTIONS = (
    "Terminals for programs. `run` runs one command to its end. For a program that goes on, `start`"
    " it, then `send`, `wait` and `read`, and `kill` it in the end. Every session ends with this"
    " connection, with all its processes."
)

_logger = logging.getLogger(__name__)


def serve(*, deadlines: Deadlines, max_sessions: int, containment: str) -> None:
    """Serve one client until it closes standard input, or SIGTERM, SIGHUP or SIGINT comes.

    All sessions have ended then. ``deadlines`` are the sessions' if the client asks for none, and
    the longest that it may ask for. Raises `ContainmentUnavailable`.
    """
    trio.run(_serve, deadlines, max_sessions, containment)


async def _serve(deadlines: Deadlines, max_sessions: int, containment: str) -> None:
    ends = signal.SIGTERM, signal.SIGHUP, signal.SIGINT
    with trio.open_signal_receiver(*ends) as received:
        async with ptykill.open_supervisor(
            max_sessions=max_sessions, containment=containment, deadlines=deadlines
        ) as supervisor:
            serving = trio.CancelScope()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_act_on_signals, received, serving, supervisor)
                server = _server(Sessions(supervisor, deadlines))
                with serving:
                    async with open_stdio() as (incoming, outgoing):
                        options = server.create_initialization_options()
                        await server.run(incoming, outgoing, options)
                await supervisor.close(plan=supervisor.plan.with_grace(_GRACE))
                nursery.cancel_scope.cancel()


async def _act_on_signals(
    received: AsyncIterator[int], serving: trio.CancelScope, supervisor: Supervisor
) -> None:
    """End the service at the first signal; kill at once at the second."""
    async for _ in received:
        if serving.cancel_called:
            supervisor.hurry()
        serving.cancel()


def _server(sessions: Sessions) -> Server[dict[str, Any]]:
    async def list_tools(
        _: ServerRequestContext[Any], __: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(
            tools=[
                ToolDescription(
                    name=name,
                    description=tool.__doc__ and " ".join(tool.__doc__.split()),
                    input_schema=tool.schema_of(),
                    annotations=ToolAnnotations(read_only_hint=tool.reads_only),
                )
                for name, tool in TOOLS.items()
            ]
        )

    async def call_tool(
        _: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        failed, text = await _call(sessions, params.name, params.arguments or {})
        return CallToolResult(content=[TextContent(text=text)], is_error=failed)

    return Server(
        "ptykill",
        version=ptykill.__version__,
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def _call(sessions: Sessions, name: str, arguments: dict[str, Any]) -> tuple[bool, str]:
    """Call a tool; return whether it has failed, and the answer, or the error and its code."""
    tool = TOOLS.get(name)
    if tool is None:
        return True, f"INVALID_REQUEST: there is no tool {name!r:.100}"
    try:
        return False, await tool.model_validate(arguments).call(sessions)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        return True, f"INVALID_REQUEST: {'; '.join(wrong)}"
    except PtykillError as error:
        return True, f"{error.code}: {error}"
    except Exception as error:
        _logger.exception("the tool %s has failed", name)
        return True, f"INTERNAL_ERROR: {type(error).__name__}: {error}"
