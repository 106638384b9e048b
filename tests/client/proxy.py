"""A small TCP proxy on loopback whose connections can be stalled, cut and refused."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset (socket(7)).


class Proxy:
    """Forwards bytes to a port of loopback; while ``open`` is cleared, it holds them back."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.open = threading.Event()
        self.open.set()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._start(self._accept)

    def cut(self) -> None:
        """Reset every connection."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def refuse(self) -> None:
        """Reset every connection, and refuse new ones."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # Which wakes `accept`.
        self._listener.close()
        self.cut()

    def accept_again(self) -> None:
        """Accept connections again, at the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept)

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self.open.set()
        self.refuse()
        for thread in self._threads:
            thread.join()
        self.cut()

    def _start(self, function: object, *arguments: object) -> None:
        assert callable(function)
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        listener = self._listener
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self._sockets += [near, far]
                self._start(self._pass_on, near, far)
                self._start(self._pass_on, far, near)

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self.open.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
