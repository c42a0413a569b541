"""How a connection is ended otherwise than by an answer, on every wire."""

import asyncio
import socket
import struct

from app.simulator.exchange import Ending

GARBAGE = b"\x00\xff\xfe 418 what is this\r\n\x80\x81\x82\r\n\r\n"
_NO_LINGERING = struct.pack("ii", 1, 0)  # then closing sends RST instead of FIN, and drops what is unsent


def end_badly(transport: asyncio.Transport, ending: Ending) -> None:
    """End a connection with garbage, by a reset, or without a word."""
    if ending is Ending.GARBAGE:
        transport.write(GARBAGE)
        transport.close()
        return
    if ending is Ending.RESET:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
    transport.abort()
