"""Reading heads for a sink that counts by endpoint. HPACK keeps a table, so on HTTP/2 every head has to be read."""

import re
from collections.abc import Iterator
from functools import lru_cache

from hpack.hpack import decode_integer
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from app.simulator.arrivals import Head

_END_HEADERS, _PADDED, _PRIORITY = 4, 8, 32
_PRIORITY_BYTES = 5
_INDEXED, _LITERAL_INDEXED, _TABLE_SIZE, _HUFFMAN = 0x80, 0x40, 0x20, 0x80
_REQUEST_LINE = re.compile(rb"^[A-Z]+ ([^ ]+) ")
_FIELD = re.compile(rb"\r\n(host|topic|ttl): *([^\r\n]*)", re.IGNORECASE)


class Http2Heads:
    """The heads of one HTTP/2 connection, from the frames HEADERS and CONTINUATION."""

    def __init__(self) -> None:
        self._table = HeaderTable()
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
        fields = {name: value.decode("latin-1") for name, value in self._fields(self._block)}
        return Head(
            fields.get(b":path", ""), fields.get(b":authority", ""), fields.get(b"topic"), fields.get(b"ttl")
        )

    def _fields(self, block: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the header fields (RFC 7541 section 6). hpack's own decoder takes a quarter of a millisecond."""
        at = 0
        while at < len(block):
            first = block[at]
            if first & _INDEXED:
                index, used = decode_integer(block[at:], 7)
                at += used
                yield self._table.get_by_index(index)
            elif first & _TABLE_SIZE and not first & _LITERAL_INDEXED:
                self._table.maxsize, used = decode_integer(block[at:], 5)
                at += used
            else:
                is_kept = bool(first & _LITERAL_INDEXED)
                index, used = decode_integer(block[at:], 6 if is_kept else 4)
                at += used
                name, at = (self._table.get_by_index(index)[0], at) if index else _string(block, at)
                value, at = _string(block, at)
                if is_kept:
                    self._table.add(name, value)
                yield name, value


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """Return a string of a header block, and where what follows begins."""
    length, used = decode_integer(block[at:], 7)
    end = at + used + length
    raw = block[at + used : end]
    return _plain(raw) if block[at] & _HUFFMAN else raw, end


@lru_cache(maxsize=1024)
def _plain(raw: bytes) -> bytes:
    """Undo Huffman's code. Remembered, as curl spells out the long VAPID header with every post."""
    return bytes(decode_huffman(raw))


def http1_head(head: bytes) -> Head:
    """Return the head of a request on HTTP/1.1, given with its request line."""
    line = _REQUEST_LINE.match(head)
    fields = {name.lower(): value.decode("latin-1") for name, value in _FIELD.findall(head)}
    path = line[1].decode("latin-1") if line else ""
    return Head(path, fields.get(b"host", ""), fields.get(b"topic"), fields.get(b"ttl"))
