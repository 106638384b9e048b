import asyncio
import os
import signal
from typing import Any

import ptykill
import ptykill.http
from tornado import httputil, web, websocket

host = ptykill.Host(plan="HUP@session 2s, KILL")
sessions = ptykill.asgi_app(host, key=os.environ["PTYKILL_API_KEY"], spawning=True)


class Index(web.RequestHandler):
    def get(self) -> None:
        self.write("the site")


def headers_of(request: httputil.HTTPServerRequest) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in request.headers.get_all()
    )


class Sessions(web.RequestHandler):
    async def prepare(self) -> None:
        request = self.request
        response = await sessions.respond(
            ptykill.http.Request(
                method=request.method or "",
                path=request.path,
                query=request.query,
                headers=headers_of(request),
                body=request.body,
            )
        )
        self.set_status(response.status)
        self.clear_header("Content-Type")
        for name, value in response.headers:
            self.set_header(name.decode(), value.decode())
        self.finish(response.body or None)


class Attach(websocket.WebSocketHandler):
    def open(self, *args: str, **kwargs: str) -> None:
        scope = {
            "type": "websocket",
            "path": self.request.path,
            "query_string": self.request.query.encode(),
            "headers": headers_of(self.request),
        }
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
        self.messages.put_nowait({"type": "websocket.connect"})
        self.talk = asyncio.create_task(sessions(scope, self.messages.get, self.say))

    async def say(self, message: Any) -> None:
        try:
            match message["type"]:
                case "websocket.send":
                    await self.write_message(message["bytes"], binary=True)
                case "websocket.close":
                    self.close(message["code"], message["reason"])
        except websocket.WebSocketClosedError as error:
            raise OSError from error

    async def on_message(self, message: str | bytes) -> None:
        kind = "text" if isinstance(message, str) else "bytes"
        await self.messages.put({"type": "websocket.receive", kind: message})

    def on_close(self) -> None:
        self.talk.cancel()


async def main() -> None:
    app = web.Application(
        [("/", Index), (r"/api/v1/pty/[^/]+/ws", Attach), (r"/api/v1/pty.*", Sessions)]
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with host:
        app.listen(int(os.environ["PORT"]), "127.0.0.1")
        await stop.wait()


asyncio.run(main())
