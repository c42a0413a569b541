"""Which endpoints we post to, decided from the URL alone; the addresses behind a name are address.py's.

An endpoint is hostile input: whoever subscribes chooses it, and we then post to it from inside our network.
"""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

MAX_ENDPOINT_CHARACTERS = 2048

_HTTPS_PORT = 443
_DEFAULT_PORTS = {"https": _HTTPS_PORT, "http": 80}
# RFC 3986's characters: unreserved, reserved and the percent sign. Anything else (a backslash, a tab, a
# caret) is where two URL parsers disagree about the host.
_URL_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;=%")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_HEXADECIMAL = frozenset("0123456789ABCDEFabcdef")
# In a path: unreserved without the dot, which can mean a step up, and the colon of FCM's tokens.
_PLAIN = "".join((_UNRESERVED - {"."}) | {":", "/"}).encode("ascii")
_MAX_REMEMBERED = 256
_LABEL_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class PushServiceKind(StrEnum):
    """Whose rules a push service follows; OTHER is one of the operator's, or a simulator on loopback."""

    FCM = "fcm"
    MOZILLA = "mozilla"
    APPLE = "apple"
    WNS = "wns"
    OTHER = "other"


_KNOWN_HOSTS = {
    "fcm.googleapis.com": PushServiceKind.FCM,
    "jmt17.google.com": PushServiceKind.FCM,
    "updates.push.services.mozilla.com": PushServiceKind.MOZILLA,
}
_KNOWN_PARENTS = {
    ".push.apple.com": PushServiceKind.APPLE,
    ".notify.windows.com": PushServiceKind.WNS,
}


class EndpointNotAllowed(ValueError):
    """The endpoint is not an https URL of a push service we know.

    The message may be shown: it names the host only.
    """


class CheckedEndpoint(NamedTuple):
    """An endpoint that the policy allows.

    `endpoint` is canonical (scheme and host in lower case, no default port); `identity` is the same text for all
    spellings of one resource, and only to be compared. `origin` is the VAPID audience, and `host` is bare: an
    IPv6 address stands without its brackets.
    """

    endpoint: str
    identity: str
    origin: str
    host: str
    port: int
    service: PushServiceKind


@dataclass(frozen=True, slots=True)
class EndpointPolicy:
    """The push services we post to: the four known ones, the operator's own, and loopback in development."""

    extra_hosts: frozenset[str] = frozenset()
    allow_loopback: bool = False

    def check(self, endpoint: str) -> CheckedEndpoint:
        """Return the endpoint taken apart. Raises EndpointNotAllowed with what the caller can do about it."""
        url = _split(endpoint)
        host, port = _host_and_port(url)
        if self.allow_loopback and is_loopback_host(host):
            return _checked(endpoint, url, host, port, _played_on_loopback(url.path))
        if url.scheme != "https":
            raise EndpointNotAllowed(
                f"The endpoint on {_shown(host)} is not https. Push services are reached over https only."
            )
        if port != _HTTPS_PORT:
            raise EndpointNotAllowed(
                f"The endpoint on {_shown(host)} names port {port}. Push services are reached on 443 only."
            )
        service = self._service_of(host)
        if service is None:
            raise EndpointNotAllowed(f"{_shown(host)} is not a known push service. Ask the operator to add it.")
        return _checked(endpoint, url, host, port, service)

    def _service_of(self, host: str) -> PushServiceKind | None:
        known = _KNOWN_HOSTS.get(host)
        if known is not None:
            return known
        for parent, service in _KNOWN_PARENTS.items():
            if host.endswith(parent) and is_host_name(host):
                return service
        return PushServiceKind.OTHER if host in self.extra_hosts else None


class RepeatedCheck:
    """A policy's check, quicker for endpoints that begin like one before: those of a batch mostly do.

    What is remembered is the answer for a scheme, host, port and first part of the path. It holds for another
    endpoint whose rest is made of characters that mean nothing in a URL. Safe to use from several threads.
    """

    def __init__(self, policy: EndpointPolicy) -> None:
        self._policy = policy
        self._remembered: dict[str, CheckedEndpoint] = {}

    def check(self, endpoint: str) -> CheckedEndpoint:
        """Return exactly what the policy's check does. Raises EndpointNotAllowed."""
        # What lies before the slash after "https://fcm.googleapis.com/fcm" decides; with one part only, as Apple's
        # endpoints have, what lies before that.
        first_slash = endpoint.find("/", len("https://"))
        second_slash = endpoint.find("/", first_slash + 1)
        end = second_slash if second_slash > 0 else first_slash
        beginning = endpoint[:end]
        known = self._remembered.get(beginning)
        not_plain = endpoint[end:].encode("ascii", "replace").translate(None, _PLAIN)
        if known is not None and not not_plain and len(endpoint) <= MAX_ENDPOINT_CHARACTERS:
            return CheckedEndpoint(endpoint, endpoint, known.origin, known.host, known.port, known.service)
        checked = self._policy.check(endpoint)
        # On loopback the first part says whose rules are played.
        is_whole = beginning != checked.origin or not is_loopback_host(checked.host)
        if checked.endpoint == checked.identity == endpoint and is_whole:
            self._remember(beginning, checked)
        return checked

    def _remember(self, beginning: str, checked: CheckedEndpoint) -> None:
        if len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[beginning] = checked


def audience_of(endpoint: str) -> str:
    """Return the VAPID audience of a push endpoint: scheme and host, no path.

    A non-default port is kept.
    Raises EndpointNotAllowed unless the URL is https, or http on loopback.
    Source: RFC 8292 section 2, "aud".
    """
    url = _split(endpoint)
    host, port = _host_and_port(url)
    if url.scheme != "https" and not is_loopback_host(host):
        raise EndpointNotAllowed(f"The endpoint on {_shown(host)} is not https.")
    return _origin(url.scheme, host, port)


def service_at(endpoint_host: str) -> PushServiceKind:
    """Return whose rules the push service at an endpoint's host follows: OTHER when it is none that we know."""
    try:
        return EndpointPolicy().check(f"https://{endpoint_host}/").service
    except EndpointNotAllowed:
        return PushServiceKind.OTHER


def is_loopback_host(host: str) -> bool:
    """Tell whether a bare host is localhost, in 127.0.0.0/8 or ::1, each in its usual spelling only."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address == IPv6Address("::1") if address.version == 6 else address.is_loopback


def is_host_name(host: str) -> bool:
    """Tell whether a bare host in lower case has the form of a name: labels of letters, digits and hyphens."""
    return len(host) <= 253 and all(
        0 < len(label) <= 63 and _LABEL_CHARACTERS.issuperset(label) for label in host.split(".")
    )


def _split(endpoint: str) -> SplitResult:
    if len(endpoint) > MAX_ENDPOINT_CHARACTERS:
        raise EndpointNotAllowed(
            f"The endpoint is longer than {MAX_ENDPOINT_CHARACTERS:,} characters. "
            "Send it exactly as the browser gave it."
        )
    # Before splitting: urlsplit drops tabs, newlines and leading control characters without a word.
    if not _URL_CHARACTERS.issuperset(endpoint):
        raise EndpointNotAllowed(
            "The endpoint has a character that no URL has. Send it exactly as the browser gave it."
        )
    try:
        url = urlsplit(endpoint)
    except ValueError:
        raise EndpointNotAllowed("The endpoint is not a URL. Send it exactly as the browser gave it.") from None
    if url.scheme not in _DEFAULT_PORTS or not url.netloc:
        raise EndpointNotAllowed("The endpoint is not an https URL. Send it exactly as the browser gave it.")
    if "@" in url.netloc:
        raise EndpointNotAllowed("The endpoint carries a user name or password. Send it without.")
    if "#" in endpoint:
        raise EndpointNotAllowed("The endpoint has a fragment (#). Send it without.")
    return url


def _host_and_port(url: SplitResult) -> tuple[str, int]:
    try:
        host, port = url.hostname or "", url.port
    except ValueError:
        raise EndpointNotAllowed("The endpoint's port is not a number from 1 to 65535.") from None
    bracketed = url.netloc.startswith("[")
    if bracketed != (":" in host) or url.netloc.endswith(":") or port == 0:
        raise EndpointNotAllowed("The endpoint's host or port is malformed. Send it as the browser gave it.")
    return host, port if port is not None else _DEFAULT_PORTS[url.scheme]


def _checked(endpoint: str, url: SplitResult, host: str, port: int, service: PushServiceKind) -> CheckedEndpoint:
    origin = _origin(url.scheme, host, port)
    target = endpoint[len(url.scheme) + len("://") + len(url.netloc) :]
    slash = "" if target.startswith("/") else "/"
    path, query = _unescaped(url.path), _unescaped(url.query)
    # Those who send tidy such a path up, each in their way: what is stored would not be what is posted to.
    if path.startswith("//") or not {".", ".."}.isdisjoint(path.split("/")) or not {"[", "]"}.isdisjoint(target):
        raise EndpointNotAllowed(
            f"The endpoint on {_shown(host)} has dots, brackets or two slashes where a path has none. "
            "Send it as the browser gave it."
        )
    identity = f"{origin}{path or '/'}{'?' if query else ''}{query}"
    return CheckedEndpoint(f"{origin}{slash}{target}", identity, origin, host, port, service)


def _unescaped(text: str) -> str:
    """Return the text with one spelling for each character. Raises EndpointNotAllowed on a stray percent sign.

    Source: RFC 3986 section 6.2.2, case and percent-encoding normalization.
    """
    head, *escaped = text.split("%")
    parts = [head]
    for part in escaped:
        code, rest = part[:2], part[2:]
        if len(code) != 2 or not _HEXADECIMAL.issuperset(code):
            raise EndpointNotAllowed(
                "The endpoint has a percent sign that encodes nothing. Send it exactly as the browser gave it."
            )
        character = chr(int(code, 16))
        parts.append(f"{character if character in _UNRESERVED else '%' + code.upper()}{rest}")
    return "".join(parts)


def _played_on_loopback(path: str) -> PushServiceKind:
    # A simulator plays all of them on one host, and says which by the first part of the path.
    try:
        return PushServiceKind(path.split("/")[1])
    except (ValueError, IndexError):
        return PushServiceKind.OTHER


def _origin(scheme: str, host: str, port: int) -> str:
    shown_host = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown_host}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{shown_host}:{port}"


def _shown(host: str) -> str:
    return host if len(host) <= 100 else f"{host[:100]}…"
