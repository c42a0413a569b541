"""The push services of a drill: a sink in a process of its own, which counts what comes for each endpoint.

It has three names, and to a sender each is a push service by itself.
"""

import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.simulator import Serving
from tests.support.sinks import HOST, sink_process
from tests.support.waiting import until

SECOND_HOST = "localhost"  # a name that has to be looked up
THIRD_HOST = "127.0.0.2" if sys.platform == "linux" else "::1"  # macOS has no other address of IPv4
TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came for one endpoint of one notification. Times are Unix time, of this machine.

    `untold`: of those accepted, as many as the sender may not have heard of, for its connection was cut.
    """

    accepted: int
    last_accepted_at: float
    posts: int
    shortest_ttl: int | None
    longest_ttl: int | None
    untold: int = 0


class PushService:
    """The sink, seen from a drill: it is asked and told over its control API."""

    def __init__(self, serving: Serving) -> None:
        assert serving.ca_file is not None
        self.url = serving.url
        self.ca_file = serving.ca_file
        self.second_url = serving.url.replace(HOST, SECOND_HOST)
        self.third_url = serving.url.replace(HOST, f"[{THIRD_HOST}]" if ":" in THIRD_HOST else THIRD_HOST)
        # Whatever certificate it was told to show: this is not how senders meet it.
        blind = ssl.create_default_context()
        blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
        # A sink understands its control API over HTTP/1.1 only.
        self._http = httpx.Client(
            base_url=serving.control_url, verify=blind, trust_env=False, timeout=TIMEOUT_SECONDS
        )

    @property
    def hosts(self) -> tuple[str, str, str]:
        """Of the three push services, with their port. Nobody is at the third one unless moved there."""
        return urlsplit(self.url).netloc, urlsplit(self.second_url).netloc, urlsplit(self.third_url).netloc

    @property
    def accepted(self) -> int:
        """How many messages were accepted since the counts were reset."""
        return int(self._ask("/counts")["accepted"])

    @property
    def posts(self) -> int:
        """How many requests came since then, whatever became of them."""
        return int(self._ask("/counts")["posts"])

    @property
    def arrived(self) -> int:
        """How many connections were begun since then, with those that ended in their TLS handshake.

        Some clients finish the handshake and then refuse the certificate, others refuse it in the middle.
        """
        counts = self._ask("/counts")
        return int(counts["connections"]) + int(counts["unfinished_handshakes"])

    def arrivals(self, topic: str) -> dict[str, Arrival]:
        """Return what came of the notification with this topic, by endpoint."""
        return {
            f"https://{each['host']}{each['path']}": Arrival(
                each["accepted"],
                each["last_accepted_at"],
                each["posts"],
                each["shortest_ttl"],
                each["longest_ttl"],
                each["untold"],
            )
            for each in self._ask(f"/arrivals?topic={topic}")["arrivals"]
        }

    @property
    def counts(self) -> dict[str, Any]:
        """All that the sink counts, as its control API says it."""
        return self._ask("/counts")

    def presents_certificate(self, kind: str) -> None:
        """Show another certificate, such as "expired", from now on; every connection there is gets cut."""
        self._http.post("/certificate", json={"kind": kind}).raise_for_status()
        until(lambda: self._certificate() == kind, f"the certificate shown is {kind}")

    def _certificate(self) -> str | None:
        with suppress(httpx.TransportError):  # it is just changing
            return str(self._ask("/certificate")["kind"])
        return None

    def misbehaves(self, **fault: Any) -> None:
        """Add a fault; its members are those of the control API."""
        self._http.post("/faults", json=fault).raise_for_status()

    def behaves(self) -> None:
        """Forget the faults. Who hangs already goes on hanging."""
        self._http.delete("/faults").raise_for_status()

    def reset(self) -> None:
        """Be as at the start, whatever the last drill left behind."""
        self.behaves()
        if self._certificate() != "trusted":
            self.presents_certificate("trusted")
        self._http.delete("/counts").raise_for_status()

    def _ask(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._http.get(path).raise_for_status().json()
        return answer


@contextmanager
def running_push_service(ca_dir: Path) -> Iterator[PushService]:
    """Run a sink for the length of a `with`."""
    with sink_process(ca_dir, checks="endpoints", more_hosts=(SECOND_HOST, THIRD_HOST)) as serving:
        yield PushService(serving)
