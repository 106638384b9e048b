"""The program that a host starts beside itself: ``python -I -S boot.py warden|embryo``.

The package is entered by its parts: its own ``__init__`` would import trio, which takes longer than
all else that is done here, and more memory.
"""

from __future__ import annotations

import os
import socket
import sys
from types import ModuleType

CHANNEL, HOST = 3, 4
"""The descriptors that we are started with: a socket to the host, and (warden) its pidfd."""


def main(what: str) -> None:
    """Become a warden, or an embryo without a keeper."""
    package = ModuleType("ptykill")
    folder = os.path.abspath(__file__)
    for _ in range(3):  # keeper, system, ptykill
        folder = os.path.dirname(folder)
    package.__path__ = [folder]
    sys.modules["ptykill"] = package  # Whatever is imported from now on is found there.
    os.set_inheritable(CHANNEL, False)  # noqa: FBT003
    channel = socket.socket(fileno=CHANNEL)
    if what == "embryo":
        _be_born(channel)
    from ptykill.system.keeper.warden import Warden  # noqa: PLC0415

    os.set_inheritable(HOST, False)  # noqa: FBT003
    Warden(channel, HOST).run()


def _be_born(channel: socket.socket) -> None:
    from ptykill.system.keeper import wire  # noqa: PLC0415
    from ptykill.system.kernel.leader import be_born  # noqa: PLC0415

    os.setsid()
    (kind, *about), fds = wire.receive(channel)
    if kind == wire.ORDER:
        terminal, directory, *stdin = fds
        be_born(about[0], terminal, directory, channel.fileno(), *stdin)
    sys.exit()


if __name__ == "__main__":
    main(sys.argv[1])
