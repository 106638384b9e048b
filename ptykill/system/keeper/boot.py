"""The program that becomes a warden or a stub: ``python -I -S boot.py warden|stub``.

It imports modules of the package without ``ptykill/__init__.py``, which would import trio: that
takes longer than everything else here, and more memory.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from types import ModuleType

CHANNEL, HOST = 3, 4
"""The descriptors that we are started with: a socket to the host, and (warden) its pidfd."""


def main(what: str) -> None:
    """Become a warden, or the stub of a session without a keeper."""
    gc.disable()  # All that is imported stays. A collection would only cost time.
    package = ModuleType("ptykill")
    folder = os.path.abspath(__file__)
    for _ in range(3):  # keeper, system, ptykill
        folder = os.path.dirname(folder)
    package.__path__ = [folder]
    sys.modules["ptykill"] = package  # Later imports are found there.
    os.set_inheritable(CHANNEL, False)  # noqa: FBT003
    channel = socket.socket(fileno=CHANNEL)
    if what == "stub":
        _run_stub(channel)
    from ptykill.system.keeper.warden import Warden  # noqa: PLC0415

    os.set_inheritable(HOST, False)  # noqa: FBT003
    Warden(channel, HOST).run()
    os._exit(0)  # The interpreter's own end takes as long as a third of the imports.


def _run_stub(channel: socket.socket) -> None:
    from ptykill.system.keeper import wire  # noqa: PLC0415
    from ptykill.system.kernel.session_leader import exec_leader  # noqa: PLC0415

    os.setsid()
    (kind, *about), fds = wire.receive(channel)
    if kind == wire.ORDER:
        terminal, directory, *stdin = fds
        exec_leader(about[0], terminal, directory, channel.fileno(), *stdin)
    sys.exit()


if __name__ == "__main__":
    main(sys.argv[1])
