import os

import ptykill
from quart import Quart

host = ptykill.Host(plan="HUP@session 2s, KILL")
app = Quart(__name__)
app.asgi_app = ptykill.asgi_middleware(
    app.asgi_app, host, key=os.environ["PTYKILL_API_KEY"], spawning=True
)


@app.get("/")
async def index() -> str:
    return "the site"
