"""Runs commands for its clients, each on a terminal of its own: PORT=8000 python fastapi_daemon.py.

POST /runs {"command": ["make", "test"]}    start one
GET /runs/{id}                              what it has written since the last time
DELETE /runs/{id}                           end it, and say how that went
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ptykill
import trio
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

host = ptykill.Host(plan="HUP@session 2s, KILL", max_sessions=16)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with host:  # Whatever is still running ends with the daemon.
        yield


app = FastAPI(lifespan=lifespan)


class Run(BaseModel):
    command: list[str]


@app.exception_handler(ptykill.PtykillError)
async def tell(request: Request, error: ptykill.PtykillError) -> JSONResponse:
    return JSONResponse({"error": str(error), "code": error.code}, error.status)


@app.post("/runs", status_code=201)
async def start(run: Run) -> dict[str, str]:
    session = await host.acall(host.supervisor.spawn, run.command)
    return {"id": session.id}


@app.get("/runs/{run_id}")
async def show(run_id: str) -> dict[str, str]:
    async def look() -> dict[str, str]:
        session = host.supervisor.get(run_id)
        output = b""
        with trio.move_on_after(1):  # It may have nothing to say.
            output = await session.receive()
        return {"state": session.state.value, "output": output.decode(errors="replace")}

    return await host.acall(look)


@app.delete("/runs/{run_id}")
async def stop(run_id: str) -> dict[str, Any]:
    verdict = await host.acall(host.supervisor.terminate, run_id)
    return {
        "over": verdict.empty,
        "outcome": verdict.outcome.value,
        "survivors": [each.pid for each in verdict.survivors],
    }


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
