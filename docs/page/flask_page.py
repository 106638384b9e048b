"""The same with Flask, and a ptykill serve beside it: flask --app flask_page run."""

import os
from typing import Any

import httpx
from flask import Flask, Response, send_from_directory
from ptykill.page import FILES

DAEMON = os.environ.get("PTYKILL_URL", "http://127.0.0.1:8022") + "/api/v1/pty"
PAGE = """<!doctype html>
<title>A terminal</title>
<link rel="stylesheet" href="/terminal/vendor/xterm.css">
<div id="terminal" style="height: 24em"></div>
<script type="module">
import { openTerminal } from "/terminal/terminal.js";
const post = async (path) => (await fetch(path, { method: "POST" })).json();
const { id } = await post("/terminals");
openTerminal(document.querySelector("#terminal"), async () => (await post(`/tickets/${id}`)).url);
</script>
"""

app = Flask(__name__)


def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {os.environ['PTYKILL_API_KEY']}"}
    answer: dict[str, Any] = httpx.post(DAEMON + path, json=body, headers=headers).json()
    return answer


@app.get("/")
def index() -> str:
    return PAGE


@app.get("/terminal/<path:name>")
def files(name: str) -> Response:
    return send_from_directory(FILES, name)


@app.post("/terminals")
def start() -> dict[str, Any]:  # Let those in whom your site knows, here and below.
    made = ask("", {"command": "bash", "deadlines": {"detached": 60}})
    return {"id": made["session_id"]}


@app.post("/tickets/<session_id>")
def ticket(session_id: str) -> dict[str, str]:
    issued = ask(f"/{session_id}/tickets", {"access": "write"})["ticket"]
    return {"url": f"{DAEMON}/{session_id}/ws?ticket={issued}"}
