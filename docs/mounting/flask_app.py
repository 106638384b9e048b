import os

import ptykill
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

host = ptykill.Host(plan="HUP@session 2s, KILL")
sessions = ptykill.wsgi_app(host, key=os.environ["PTYKILL_API_KEY"], prefix="", spawning=True)
app = Flask(__name__)
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/api/v1/pty": sessions})


@app.get("/")
def index() -> str:
    return "the site"
