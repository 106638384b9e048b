"""Lines that are told while something is done, which never waits for whoever reads them."""

from __future__ import annotations

import math
import sys

import trio

from ptykill.cli.client.fd_io import write_all
from ptykill.cli.client.messages import ERR, OUT, encode_for

__all__ = ["LineWriter"]


class LineWriter:
    """Writes lines, in their order, for as long as they can be written.

    A full pipe holds up the lines, and a reader that has gone ends them; neither is felt by whoever
    tells. ``error`` is why standard output took no more, None if it took all.
    """

    def __init__(self) -> None:
        self.error: OSError | None = None
        self._lines, self._told = trio.open_memory_channel[tuple[int, bytes]](math.inf)

    def write_out(self, line: str) -> None:
        """Have a line written to standard output."""
        self._lines.send_nowait((OUT, encode_for(f"{line}\n", sys.stdout)))

    def write_err(self, line: str) -> None:
        """Have a line written to standard error."""
        self._lines.send_nowait((ERR, encode_for(f"{line}\n", sys.stderr)))

    def close(self) -> None:
        """Have `run` return when all that was told is written."""
        self._lines.close()

    async def run(self) -> None:
        """Write what is told until it is closed."""
        failed: dict[int, OSError] = {}
        async for fd, line in self._told:
            if fd in failed:
                continue
            try:
                # A write to a full pipe can't be cancelled; the thread is left behind then.
                await trio.to_thread.run_sync(write_all, fd, line, abandon_on_cancel=True)
            except OSError as error:
                failed[fd] = error
        self.error = failed.get(OUT)
