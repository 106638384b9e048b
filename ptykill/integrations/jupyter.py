"""A terminal manager for Jupyter: closing a terminal ends every process that it has started.

One line of ``jupyter_server_config.py`` switches it on::

    c.TerminalsExtensionApp.terminal_manager_class = "ptykill.integrations.jupyter.TerminalManager"
"""

from __future__ import annotations

import asyncio
from typing import Any

import jupyter_server_terminals.terminalmanager as jupyter
from tornado import web
from traitlets import Unicode

from ptykill import HANGUP_THEN_KILL, Host
from ptykill.integrations.terminado import NO_LIMIT, NamedTermManager

__all__ = ["TerminalManager"]


class TerminalManager(jupyter.TerminalManager, NamedTermManager):
    """Jupyter's manager of named terminals, with culling, whose terminals are sessions.

    It is configured as ``c.TerminalManager``, with Jupyter's own options and those below. A wrong
    one raises `PlanError` or `InvalidArgument` when the server starts.
    """

    plan: Unicode[str, str | bytes] = Unicode(
        str(HANGUP_THEN_KILL),
        config=True,
        help="How a terminal is ended: signals, waits and SIGKILL, as ptykill's plans have them.",
    )
    containment: Unicode[str, str | bytes] = Unicode(
        "auto",
        config=True,
        help="How ptykill finds all processes of a terminal: auto, cgroup, keeper or session.",
    )

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - Jupyter's
        super().__init__(**options)
        # At the end of the interpreter the host ends all terminals that there are then.
        self.host: Host = Host(plan=self.plan, containment=self.containment, max_sessions=NO_LIMIT)

    def create(self, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - Jupyter's
        """Start a terminal, and return its record.

        Raises HTTPError: 409 if there is a terminal of that name. Jupyter would take it out of the
        list, and no client could end it any more.
        """
        if options.get("name") in self.terminals:
            raise web.HTTPError(409, f"There is a terminal {options['name']}")
        return super().create(**options)

    async def terminate(self, name: str, force: bool = False) -> None:  # noqa: FBT001, FBT002 - Jupyter's
        """End a terminal, and return when all its processes have ended.

        Raises HTTPError: 404 if there is no such terminal, and 500 if ``force`` could not end all
        its processes. It stays in the list then, until they have ended.
        """
        terminal = self.terminals.get(name)
        await super().terminate(name, force=force)
        if force and terminal is not None and self.terminals.get(name) is terminal:
            raise web.HTTPError(500, f"Terminal {name} has processes that could not be ended")

    async def terminate_all(self) -> None:
        """End all terminals at the same time: it takes as long as one plan."""
        ends = [self.terminate(name, force=True) for name in list(self.terminals)]
        for failure in await asyncio.gather(*ends, return_exceptions=True):
            if failure is not None:
                self.log.warning("%s", failure)
