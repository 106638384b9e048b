"""Gives each visitor a shell, from threads: waitress-serve flask_server:app.

POST /shells starts one, POST /shells/{id} types into it and returns what it wrote, and
DELETE /shells/{id} ends it with whatever was started in it.
"""

import signal
import sys

import ptykill
import trio
from flask import Flask, Response, jsonify, request

host = ptykill.Host(plan="HUP@session 2s, KILL", max_sessions=16)
app = Flask(__name__)
signal.signal(
    signal.SIGTERM, lambda *_: sys.exit()
)  # The host is closed at the interpreter's exit.


@app.errorhandler(ptykill.PtykillError)
def tell(error: ptykill.PtykillError) -> tuple[Response, int]:
    return jsonify(error=str(error), code=error.code), error.status


@app.post("/shells")
def start() -> tuple[Response, int]:
    return jsonify(id=host.spawn(["bash", "--norc", "-i"]).id), 201


@app.post("/shells/<shell>")
def type_in(shell: str) -> bytes:
    typed = request.get_data()

    async def talk() -> bytes:
        session = host.supervisor.get(shell)
        written = b""
        with session.attach() as attachment, trio.move_on_after(1):
            await session.send(typed)
            while True:
                written += await attachment.receive()
        return written

    return host.call(talk)


@app.delete("/shells/<shell>")
def stop(shell: str) -> Response:
    verdict = host.terminate(shell)
    return jsonify(over=verdict.empty, outcome=verdict.outcome.value)
