import os

import ptykill
from fastapi import FastAPI

host = ptykill.Host(plan="HUP@session 2s, KILL")
app = FastAPI()
app.add_middleware(
    ptykill.asgi_middleware, target=host, key=os.environ["PTYKILL_API_KEY"], spawning=True
)


@app.get("/")
async def index() -> str:
    return "the site"
