import os
from typing import Any

import ptykill
import ptykill.http
from aiohttp import WSMsgType, web

host = ptykill.Host(plan="HUP@session 2s, KILL")
sessions = ptykill.asgi_app(host, key=os.environ["PTYKILL_API_KEY"], spawning=True)


async def index(request: web.Request) -> web.Response:
    return web.Response(text="the site")


def headers_of(request: web.Request) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.lower(), value) for name, value in request.raw_headers)


async def answer(request: web.Request) -> web.StreamResponse:
    response = await sessions.respond(
        ptykill.http.Request(
            method=request.method,
            path=request.path,
            query=request.query_string,
            headers=headers_of(request),
            body=await request.read(),
        )
    )
    headers = [(name.decode(), value.decode()) for name, value in response.headers]
    return web.Response(status=response.status, headers=headers, body=response.body)


async def attach(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    if not socket.can_prepare(request):
        return await answer(request)
    scope = {
        "type": "websocket",
        "path": request.path,
        "query_string": request.query_string.encode(),
        "headers": headers_of(request),
    }

    async def receive() -> dict[str, Any]:
        if not socket.prepared:
            return {"type": "websocket.connect"}
        message = await socket.receive()
        match message.type:
            case WSMsgType.TEXT:
                return {"type": "websocket.receive", "text": message.data}
            case WSMsgType.BINARY:
                return {"type": "websocket.receive", "bytes": message.data}
            case _:
                return {"type": "websocket.disconnect"}

    async def send(message: Any) -> None:
        match message["type"]:
            case "websocket.accept":
                await socket.prepare(request)
            case "websocket.send":
                await socket.send_bytes(message["bytes"])
            case "websocket.close" if socket.prepared:
                await socket.close(code=message["code"], message=message["reason"].encode())

    await sessions(scope, receive, send)
    return socket if socket.prepared else web.Response(status=403)


async def close(app: web.Application) -> None:
    await host.aclose()


app = web.Application()
app.on_shutdown.append(close)
app.router.add_get("/", index)
app.router.add_get("/api/v1/pty/{id}/ws", attach)
app.router.add_route("*", "/api/v1/pty{rest:.*}", answer)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]))
