"""Write lines without ever waiting for the reader."""

from __future__ import annotations

import math
import sys

import trio

from ptykill.cli.client.fd_io import write_all
from ptykill.cli.client.messages import ERR, OUT, encode_for

__all__ = ["LineWriter"]


class LineWriter:
    """Writes lines in their order, in a task of its own (`run`).

    A full pipe delays the lines, and a reader that has gone loses them; neither delays the callers
    of `write_out` and `write_err`. ``error`` is the error of standard output, None if it took all.
    """

    def __init__(self) -> None:
        self.error: OSError | None = None
        self._lines, self._queued = trio.open_memory_channel[tuple[int, bytes]](math.inf)

    def write_out(self, line: str) -> None:
        """Queue a line for standard output."""
        self._lines.send_nowait((OUT, encode_for(f"{line}\n", sys.stdout)))

    def write_err(self, line: str) -> None:
        """Queue a line for standard error."""
        self._lines.send_nowait((ERR, encode_for(f"{line}\n", sys.stderr)))

    def close(self) -> None:
        """Have `run` return when all lines are written."""
        self._lines.close()

    async def run(self) -> None:
        """Write the queued lines until `close` was called."""
        failed: dict[int, OSError] = {}
        async for fd, line in self._queued:
            if fd in failed:
                continue
            try:
                # A write to a full pipe can't be cancelled: then the thread is abandoned.
                await trio.to_thread.run_sync(write_all, fd, line, abandon_on_cancel=True)
            except OSError as error:
                failed[fd] = error
        self.error = failed.get(OUT)
