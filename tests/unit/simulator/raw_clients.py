"""Clients that say what a polite HTTP library would not."""

import socket
import ssl
from pathlib import Path

from app.simulator import Simulator

HEADERS, GOAWAY = 1, 7  # types of HTTP/2 frames


def connect(simulator: Simulator, ca_file: Path, protocol: str) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(ca_file))
    context.set_alpn_protocols([protocol])
    connection = socket.create_connection(("127.0.0.1", simulator.port), timeout=60)
    return context.wrap_socket(connection, server_hostname="127.0.0.1")


def request_head(browser_path: str, headers: dict[str, str]) -> bytes:
    lines = [f"POST {browser_path} HTTP/1.1", "host: 127.0.0.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def read_until(connection: ssl.SSLSocket, count: int, mark: bytes) -> bytes:
    """Return what came, once the mark has come so many times; fails when the connection ends before."""
    seen = b""
    while seen.count(mark) < count:
        chunk = connection.recv(65_536)
        assert chunk, f"the connection ended after {seen!r}"
        seen += chunk
    return seen


def frames_in(chunk: bytes) -> list[tuple[int, int, bytes]]:
    """Return type, stream and payload of whole HTTP/2 frames."""
    frames = []
    while chunk:
        length = int.from_bytes(chunk[:3], "big")
        frames.append((chunk[3], int.from_bytes(chunk[5:9], "big"), chunk[9 : 9 + length]))
        chunk = chunk[9 + length :]
    return frames
