"""A running simulator: its thread, its addresses, its browsers. This is what tests hold in their hands."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import uvloop

from app.simulator.browsers import Browser, Browsers, WaitedTooLong
from app.simulator.certificates import Authority, CertificateKind
from app.simulator.control import CONTROL_PREFIX, Control
from app.simulator.counts import Counts
from app.simulator.listener import Listener
from app.simulator.push_services import Checks, PushServices
from app.simulator.rules import ServiceName
from app.simulator.scripting import Scriptable

_STOP_SECONDS = 60.0
_ANSWERED_FIRST_SECONDS = 0.05  # so that who asks over HTTP for another certificate is answered


class Simulator(Scriptable):
    """Four push services on one port of one or several loopback addresses.

    `hosts` are the names that endpoints carry; each is a host of its own to a sender. `protocols` are offered
    through ALPN; without TLS only HTTP/1.1 is spoken.
    """

    def __init__(
        self,
        *,
        hosts: tuple[str, ...] = ("127.0.0.1",),
        port: int = 0,
        tls: bool = True,
        authority: Authority | None = None,
        protocols: tuple[str, ...] = ("h2", "http/1.1"),
        max_concurrent_streams: int = 100,
        checks: Checks = "full",
    ) -> None:
        super().__init__()
        self.hosts = hosts
        self.authority = authority or Authority.create()
        self._wanted_port = port
        self._tls = tls
        self._protocols = protocols
        self._browsers = Browsers()
        self._services = PushServices(self._browsers, self.script, checks=checks)
        control = Control(self._services, self._browsers, self.script, self._subscribe, self._certificate_order)
        self._listener = Listener(
            control, hosts, max_concurrent_streams=max_concurrent_streams, is_sink=checks != "full"
        )
        self._certificate = CertificateKind.TRUSTED
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="push-service-simulator", daemon=True)

    @classmethod
    @contextmanager
    def running(cls, **options: Any) -> Iterator[Self]:
        """Run a simulator in a thread for the length of a `with`; the options are those of the class."""
        simulator = cls(**options)
        simulator.start()
        try:
            yield simulator
        finally:
            simulator.stop()

    def start(self) -> None:
        """Return when the port is open; raises OSError when it cannot be opened."""
        self._thread.start()
        try:
            self._on_loop(lambda: self._listener.listen(self._wanted_port, self._context()))
        except OSError:
            self.stop()
            raise

    def stop(self) -> None:
        """Drop all connections and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_SECONDS)

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def url(self) -> str:
        """The origin of the first host."""
        return self.origin_of(self.hosts[0])

    @property
    def control_url(self) -> str:
        return self.url + CONTROL_PREFIX.rstrip("/")

    @property
    def counts(self) -> Counts:
        return self._services.counts()

    @property
    def browsers(self) -> list[Browser]:
        return list(self._browsers)

    def origin_of(self, host: str) -> str:
        scheme, default_port = ("https", 443) if self._tls else ("http", 80)
        name = f"[{host}]" if ":" in host else host
        return f"{scheme}://{name}" if self.port == default_port else f"{scheme}://{name}:{self.port}"

    def write_ca_file(self, path: Path) -> Path:
        """Write the certificate that clients have to trust, and return the path."""
        self.authority.write_certificate(path)
        return path

    def subscribe(
        self,
        service: str = ServiceName.FCM,
        *,
        application_server_key: str | None = None,
        host: str | None = None,
    ) -> Browser:
        """Return a new browser, subscribed with this application server key (base64url).

        Without a key, it takes messages signed with any. `host` is one of ours; the first one by default.
        Raises ValueError for an unknown service or host, and for a key that is no P-256 point.
        """
        return self._subscribe(ServiceName(service), host, application_server_key)

    def subscribe_many(self, count: int, service: str = ServiceName.FCM, **options: Any) -> list[Browser]:
        """Return so many new browsers; the options are those of subscribe()."""
        return [self.subscribe(service, **options) for _ in range(count)]

    def wait_until(self, holds: Callable[[Counts], bool], *, timeout_seconds: float = 60.0) -> Counts:
        """Return the counts once something holds of them; raises WaitedTooLong."""
        with self._browsers.changed:
            if not self._browsers.changed.wait_for(lambda: holds(self.counts), timeout_seconds):
                raise WaitedTooLong(f"still not so after {timeout_seconds} s: {self.counts}")
            return self.counts

    def presents_certificate(self, kind: str) -> None:
        """Show a certificate that clients must refuse: "expired", "untrusted", "wrong_name"; or "trusted".

        All connections are dropped, so that nobody goes on with what the old certificate vouched for.
        """
        assert self._tls, "there are no certificates without TLS"
        self._on_loop(lambda: self._present(CertificateKind(kind)))

    def _certificate_order(self, kind: CertificateKind | None) -> CertificateKind:
        if kind is not None:
            self._loop.call_later(_ANSWERED_FIRST_SECONDS, lambda: self._loop.create_task(self._present(kind)))
        return self._certificate

    async def _present(self, kind: CertificateKind) -> None:
        self._certificate = kind
        await self._listener.present(self._context())

    def drop_connections(self) -> None:
        """Cut every connection now."""
        self._on_loop(self._drop_connections)

    def stop_listening(self) -> None:
        """Refuse connections, as a host that is down does, and cut those there are; reset() ends this."""
        self._on_loop(self._close)

    def reset(self) -> None:
        """Forget faults, browsers and counts, and present the good certificate: as after the start."""
        self.script.clear()
        self._browsers.clear()
        self._services.reset_counts()
        if self._certificate is not CertificateKind.TRUSTED or not self._listener.is_listening:
            self._on_loop(lambda: self._present(CertificateKind.TRUSTED))

    def _subscribe(self, service: ServiceName, host: str | None, application_server_key: str | None) -> Browser:
        host = host or self.hosts[0]
        if host not in self.hosts:
            raise ValueError(f"{host} is not one of this simulator's hosts: {', '.join(self.hosts)}")
        origin = self.origin_of(host)
        return self._browsers.add(service, origin=origin, application_server_key=application_server_key)

    def _context(self) -> ssl.SSLContext | None:
        if not self._tls:
            return None
        return self.authority.server_context(self._certificate, protocols=self._protocols)

    async def _drop_connections(self) -> None:
        self._listener.drop_connections()

    async def _close(self) -> None:
        self._listener.close()

    def _on_loop(self, make: Callable[[], Any]) -> None:
        asyncio.run_coroutine_threadsafe(make(), self._loop).result(_STOP_SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._listener.close()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
