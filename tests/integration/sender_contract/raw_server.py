"""A server that says exactly the bytes a test wants, for answers that no proper push service gives."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

OK = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


class Exchange:
    """One connection, seen from the server."""

    def __init__(self, connection: socket.socket, requests: list[bytes], over: threading.Event) -> None:
        self.over = over
        self._connection = connection
        self._requests = requests
        self._unread = b""

    def read_request(self) -> bytes:
        """Return the head of the next request, its body read past; raises ConnectionError at the end."""
        while b"\r\n\r\n" not in self._unread:
            self._receive()
        head, _, self._unread = self._unread.partition(b"\r\n\r\n")
        length = next(
            (
                int(line.partition(b":")[2])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ),
            0,
        )
        while len(self._unread) < length:
            self._receive()
        self._unread = self._unread[length:]
        self._requests.append(head)
        return head

    def say(self, answer: bytes) -> None:
        self._connection.sendall(answer)

    def drip(self, piece: bytes, *, every_seconds: float) -> None:
        """Say a piece again and again, until the client or the test has had enough."""
        while not self.over.wait(every_seconds):
            self._connection.sendall(piece)

    def _receive(self) -> None:
        received = self._connection.recv(65_536)
        if not received:
            raise ConnectionError("the client has closed")
        self._unread += received


class RawServer:
    """Listens on loopback; `requests` holds the heads of all requests, `connections` counts."""

    def __init__(self, listener: socket.socket, behave: Callable[[Exchange], None]) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.over = threading.Event()
        self.port: int = listener.getsockname()[1]
        self._listener = listener
        self._behave = behave

    def endpoint(self, path: str = "/push/a-secret-token") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def accept_all(self) -> None:
        while not self.over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._behave(Exchange(connection, self.requests, self.over))
            except OSError:
                return


@contextmanager
def serving(behave: Callable[[Exchange], None], *, host: str = "127.0.0.1", port: int = 0) -> Iterator[RawServer]:
    """Run a server whose every connection is treated by `behave`; when that returns, the connection is closed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        server = RawServer(listener, behave)
        thread = threading.Thread(target=server.accept_all, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def answering(*answers: bytes) -> Callable[[Exchange], None]:
    """Answer a connection's requests with these in turn, then close it."""

    def behave(exchange: Exchange) -> None:
        for answer in answers:
            exchange.read_request()
            exchange.say(answer)

    return behave
