import os

import ptykill
from quart_trio import QuartTrio

host = ptykill.Host(plan="HUP@session 2s, KILL")
app = QuartTrio(__name__)
app.asgi_app = ptykill.asgi_middleware(
    app.asgi_app, host, key=os.environ["PTYKILL_API_KEY"], spawning=True
)


@app.get("/")
async def index() -> str:
    return "the site"
