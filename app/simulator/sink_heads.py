"""Reading heads for a sink that counts by endpoint. HPACK keeps a table, so on HTTP/2 every head has to be read."""

import re

from hpack import Decoder

from app.simulator.arrivals import Head

_END_HEADERS, _PADDED, _PRIORITY = 4, 8, 32
_PRIORITY_BYTES = 5
_REQUEST_LINE = re.compile(rb"^[A-Z]+ ([^ ]+) ")
_FIELD = re.compile(rb"\r\n(host|topic|ttl): *([^\r\n]*)", re.IGNORECASE)


class Http2Heads:
    """The heads of one HTTP/2 connection, from the frames HEADERS and CONTINUATION."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._block = b""

    def begin(self, flags: int, payload: bytes) -> Head | None:
        """Return the head that a HEADERS frame carries; None when CONTINUATION frames have to follow."""
        if flags & _PADDED:
            payload = payload[1 : len(payload) - payload[0]]
        if flags & _PRIORITY:
            payload = payload[_PRIORITY_BYTES:]
        self._block = b""
        return self.go_on(flags, payload)

    def go_on(self, flags: int, payload: bytes) -> Head | None:
        """Return the head when this CONTINUATION frame was its last."""
        self._block += payload
        if not flags & _END_HEADERS:
            return None
        fields = {name: value.decode("latin-1") for name, value in self._decoder.decode(self._block, raw=True)}
        return Head(
            fields.get(b":path", ""), fields.get(b":authority", ""), fields.get(b"topic"), fields.get(b"ttl")
        )


def http1_head(head: bytes) -> Head:
    """Return the head of a request on HTTP/1.1, given with its request line."""
    line = _REQUEST_LINE.match(head)
    fields = {name.lower(): value.decode("latin-1") for name, value in _FIELD.findall(head)}
    path = line[1].decode("latin-1") if line else ""
    return Head(path, fields.get(b"host", ""), fields.get(b"topic"), fields.get(b"ttl"))
