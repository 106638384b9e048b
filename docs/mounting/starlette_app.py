import os

import ptykill
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def index(request: Request) -> PlainTextResponse:
    return PlainTextResponse("the site")


host = ptykill.Host(plan="HUP@session 2s, KILL")
key = os.environ["PTYKILL_API_KEY"]
sessions = Middleware(ptykill.asgi_middleware, target=host, key=key, spawning=True)
app = Starlette(routes=[Route("/", index)], middleware=[sessions])
