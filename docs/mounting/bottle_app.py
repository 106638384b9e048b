import os

import ptykill
from bottle import Bottle

host = ptykill.Host(plan="HUP@session 2s, KILL")
sessions = ptykill.wsgi_app(host, key=os.environ["PTYKILL_API_KEY"], prefix="", spawning=True)
app = Bottle()
app.mount("/api/v1/pty", sessions)


@app.get("/")
def index() -> str:
    return "the site"
