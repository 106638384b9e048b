"""The pairs of a framework and a server that are tested, and how each server is started.

The apps are the files that the page about mounting shows; only their grace is made shorter.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

__all__ = ["PAIRS", "Pair"]


class Pair(NamedTuple):
    """A framework on a server, and its abilities there."""

    framework: str
    server: str
    app: str
    """The file in ``docs/mounting``, without its suffix."""
    command: tuple[str, ...]
    """The server's command line, from a module's name on; ``{port}`` is replaced."""
    talks: bool = True
    """Whether it serves WebSockets, and one reaches the worker that has the session."""

    @property
    def worker(self) -> bool:
        """Whether the app runs in another process than the one that was started."""
        return "workers" in self.server or self.server.startswith(("hypercorn", "granian", "gun"))

    @property
    def waits_for_clients(self) -> bool:
        """Whether it can't be stopped while a client is connected.

        hypercorn 0.18 calls `asyncio.Server.wait_closed`, which waits for that since Python 3.12.1.
        """
        return self.server == "hypercorn, asyncio" and sys.version_info >= (3, 12, 1)

    def __str__(self) -> str:
        return f"{self.framework} on {self.server}".replace(" ", "-")

    def argv(self, port: int) -> list[str]:
        """Return the command line for one port."""
        return [sys.executable, "-m", *(each.format(port=port) for each in self.command)]


def _uvicorn(*options: str) -> tuple[str, ...]:
    return ("uvicorn", "--port", "{port}", "--log-level", "warning", *options)


def _hypercorn(worker: str) -> tuple[str, ...]:
    return ("hypercorn", "-k", worker, "-b", "127.0.0.1:{port}")


def _gunicorn(*options: str) -> tuple[str, ...]:
    return ("gunicorn", "-k", "gthread", "--threads", "8", "-b", "127.0.0.1:{port}", *options)


_WAITRESS = ("waitress", "--listen=127.0.0.1:{port}")
_DAPHNE = ("daphne", "-b", "127.0.0.1", "-p", "{port}", "-v", "0")
_GRANIAN = ("granian", "--interface", "asgi", "--port", "{port}", "--log-level", "error")

PAIRS = [
    Pair("FastAPI", "uvicorn", "fastapi_app", (*_uvicorn(), "fastapi_app:app")),
    Pair(
        "FastAPI",
        "uvicorn, 2 workers",
        "fastapi_app",
        (*_uvicorn("--workers", "2"), "fastapi_app:app"),
        talks=False,
    ),
    Pair(
        "Starlette",
        "uvicorn, uvloop",
        "starlette_app",
        (*_uvicorn("--loop", "uvloop"), "starlette_app:app"),
    ),
    Pair(
        "Starlette", "hypercorn, trio", "starlette_app", (*_hypercorn("trio"), "starlette_app:app")
    ),
    Pair("Litestar", "granian", "litestar_app", (*_GRANIAN, "litestar_app:app")),
    Pair("Quart", "hypercorn, asyncio", "quart_app", (*_hypercorn("asyncio"), "quart_app:app")),
    Pair(
        "quart-trio",
        "hypercorn, trio",
        "quart_trio_app",
        (*_hypercorn("trio"), "quart_trio_app:app"),
    ),
    Pair("Django (ASGI)", "daphne", "django_asgi_app", (*_DAPHNE, "django_asgi_app:app")),
    Pair(
        "Django (WSGI)",
        "gunicorn",
        "django_wsgi_app",
        (*_gunicorn(), "django_wsgi_app:app"),
        talks=False,
    ),
    Pair(
        "Flask",
        "gunicorn, --preload",
        "flask_app",
        (*_gunicorn("--preload"), "flask_app:app"),
        talks=False,
    ),
    Pair("Flask", "waitress", "flask_app", (*_WAITRESS, "flask_app:app"), talks=False),
    Pair("Falcon (ASGI)", "uvicorn", "falcon_asgi_app", (*_uvicorn(), "falcon_asgi_app:app")),
    Pair(
        "Falcon (WSGI)",
        "gunicorn, 2 workers",
        "falcon_wsgi_app",
        (*_gunicorn("--workers", "2", "--keep-alive", "6"), "falcon_wsgi_app:app"),
        talks=False,
    ),
    Pair("Sanic", "uvicorn", "sanic_app", (*_uvicorn(), "sanic_app:app")),
    Pair("aiohttp", "its own", "aiohttp_app", ("aiohttp_app",)),
    Pair("Tornado", "its own", "tornado_app", ("tornado_app",)),
    Pair("Bottle", "waitress", "bottle_app", (*_WAITRESS, "bottle_app:app"), talks=False),
]
