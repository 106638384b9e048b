"""No server cancels a handler whose client has disconnected, as the page says."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.mount.pairs import PAIRS, Pair
from tests.mount.running import serving
from tests.waiting import wait_until

PROBE = """
import asyncio
from pathlib import Path

import trio


def tell(name):
    Path(name).touch()


async def wait():
    tell("began")
    try:
        await (trio.sleep(0.5) if trio.lowlevel.in_trio_task() else asyncio.sleep(0.5))
        tell("went-on")
    finally:
        tell("over")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for kind in "startup", "shutdown":
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    await receive()
    await wait()
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})
"""
AIOHTTP = """
import os
from aiohttp import web
from probe import wait


async def handle(request):
    await wait()
    return web.Response()


app = web.Application()
app.router.add_get("/", handle)
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]))
"""
TORNADO = """
import asyncio
import os
from probe import wait
from tornado import web


class Handler(web.RequestHandler):
    async def get(self):
        await wait()


async def main():
    web.Application([("/", Handler)]).listen(int(os.environ["PORT"]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
"""
_SERVERS = {pair.server: pair for pair in PAIRS if pair.talks and pair.server != "its own"}
_OTHERS = {"aiohttp": AIOHTTP, "Tornado": TORNADO}
_PAIRS = [
    *_SERVERS.values(),
    *(pair for pair in PAIRS if pair.framework in _OTHERS),
]


@pytest.mark.parametrize("pair", _PAIRS, ids=str)
def test_a_handler_goes_on_when_its_client_has_gone(pair: Pair, tmp_path: Path, mark: str) -> None:
    """A handler runs to its end, although its client has disconnected."""
    (tmp_path / "probe.py").write_text(PROBE)
    text = _OTHERS.get(pair.framework, "from probe import app\n")
    with serving(pair, tmp_path, mark, text) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            wait_until((tmp_path / "began").exists)
        wait_until((tmp_path / "over").exists)
    assert (tmp_path / "went-on").exists()
