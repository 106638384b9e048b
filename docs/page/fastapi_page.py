"""A page of your own with a terminal in it: uvicorn fastapi_page:app."""

import os
from functools import partial

import ptykill
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from ptykill.page import FILES

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

host = ptykill.Host()
site = FastAPI()
site.mount("/terminal", StaticFiles(directory=FILES))
app = ptykill.asgi_middleware(site, host, key=os.environ["PTYKILL_API_KEY"])


@site.get("/")
async def index() -> HTMLResponse:
    return HTMLResponse(PAGE)


@site.post("/terminals")
async def start() -> dict[str, str]:  # Let those in whom your site knows, here and below.
    spawn = partial(host.supervisor.spawn, ["bash"], deadlines=ptykill.Deadlines(detached=60))
    session = await host.acall(spawn)
    return {"id": session.id}


@site.post("/tickets/{session_id}")
async def ticket(session_id: str) -> dict[str, str]:
    issued = await app.issue_ticket(session_id)
    return {"url": f"/api/v1/pty/{session_id}/ws?ticket={issued}"}
