"""A line to a server that can be cut: then its port refuses, and what was connected is closed."""

import socket
import threading
from contextlib import suppress
from typing import Self

from tests.support.ports import free_port

CHUNK_BYTES = 64 * 1024


class Line:
    """Passes bytes on between `port` of 127.0.0.1 and the server's, from `with` to its end."""

    def __init__(self, server_port: int) -> None:
        self.port = free_port()
        self._server = ("127.0.0.1", server_port)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._listening: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listening = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._listening.start()

    def cut(self) -> None:
        """Return once the port refuses and nothing is connected any more."""
        if self._listener is None or self._listening is None:
            return
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which wakes the thread that accepts
        self._listener.close()
        self._listening.join()
        self._listener = None
        with self._lock:
            for connection in self._open:
                _end(connection)
            self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._server)
            except OSError:
                near.close()
                continue
            with self._lock:
                self._open |= {near, far}
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(CHUNK_BYTES):
            target.sendall(chunk)
    _end(source)
    _end(target)


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
