import os

import ptykill
from sanic import HTTPResponse, Request, Sanic, text

site = Sanic("site")


@site.get("/")
async def index(request: Request) -> HTTPResponse:
    return text("the site")


host = ptykill.Host(plan="HUP@session 2s, KILL")
app = ptykill.asgi_middleware(site, host, key=os.environ["PTYKILL_API_KEY"], spawning=True)
