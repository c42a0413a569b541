"""Ports for servers that want to be told theirs.

One that the kernel chose may be taken before its server starts: every connection of this machine gets one of those.
Ours lie below, each process of the tests begins elsewhere, and none is given out twice.
"""

import os
import socket
from collections.abc import Iterator
from itertools import chain

FIRST, LAST = 20_000, 32_000  # what Linux and macOS hand out by themselves lies above
STEP = 613  # processes that start one after the other have neighbouring ids


def _candidates() -> Iterator[int]:
    begin = FIRST + os.getpid() * STEP % (LAST - FIRST)
    return iter(chain(range(begin, LAST), range(FIRST, begin)))


_remaining = _candidates()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nobody listens."""
    for port in _remaining:
        with socket.socket() as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"every port from {FIRST} to {LAST} is taken")
