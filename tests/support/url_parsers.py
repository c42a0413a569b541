"""What the senders' own URL parsers make of a URL: whom they would connect to, and what they would ask for."""

from typing import NamedTuple

import requests
from urllib3.util import parse_url

from app.push.curl_library import pycurl

# As libcurl itself parses the URL of a transfer with PATH_AS_IS.
_LIKE_A_TRANSFER = pycurl.U_GUESS_SCHEME | pycurl.U_NON_SUPPORT_SCHEME | pycurl.U_PATH_AS_IS
_PORTS = {"https": 443, "http": 80}


class Seen(NamedTuple):
    """Where a URL leads: a bare host, a port, and the path and query of the request line."""

    host: str
    port: int
    target: str


class NotAUrl(ValueError):
    """This parser does not take it."""


def seen_by_curl(url: str) -> Seen:
    """Return what libcurl sees. Raises NotAUrl."""
    try:
        parsed = pycurl.CurlUrl(url, _LIKE_A_TRANSFER)
    except pycurl.error:
        raise NotAUrl(url) from None
    port = int(parsed.getpart(pycurl.UPART_PORT, pycurl.U_DEFAULT_PORT))
    return Seen(parsed.host.strip("[]"), port, parsed.path + (f"?{parsed.query}" if parsed.query else ""))


def seen_by_requests(url: str) -> Seen:
    """Return what requests and urllib3 see: of the URL of the request that they would make. Raises NotAUrl."""
    try:
        prepared = requests.Request("POST", url).prepare()
    except requests.RequestException:
        raise NotAUrl(url) from None
    parsed = parse_url(prepared.url or "")
    return Seen((parsed.host or "").strip("[]"), parsed.port or _PORTS[parsed.scheme or ""], prepared.path_url)
