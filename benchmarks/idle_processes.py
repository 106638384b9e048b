"""Run idle processes beside a benchmark: ``python -m benchmarks.idle_processes``.

Each line on stdin is their number; the answer is the same number. The end of stdin ends them.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

__all__: list[str] = []


def main() -> None:
    """Fork or kill children until there are as many as the line says."""
    children: list[int] = []
    try:
        print("ready", flush=True)
        for line in sys.stdin:
            asked = int(line)
            while len(children) < asked:
                pid = os.fork()
                if pid == 0:
                    signal.pause()
                    os._exit(0)
                children.append(pid)
            end(children, len(children) - asked)
            print(asked, flush=True)
    finally:
        end(children, len(children))


def end(children: list[int], number: int) -> None:
    """Kill so many children."""
    last = [children.pop() for _ in range(number)]
    for pid in last:
        os.kill(pid, signal.SIGKILL)
    for pid in last:
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
