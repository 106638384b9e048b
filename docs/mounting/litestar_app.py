import os

import ptykill
from litestar import Litestar, get


@get("/")
async def index() -> str:
    return "the site"


host = ptykill.Host(plan="HUP@session 2s, KILL")
app = ptykill.asgi_middleware(
    Litestar([index]), host, key=os.environ["PTYKILL_API_KEY"], spawning=True
)
