"""The control API: what a test does with method calls, over HTTP, for a simulator in its own process.

POST   /_control/subscribe     {"service", "count", "application_server_key", "host"} -> {"subscriptions": [...]}
POST   /_control/unsubscribe   {"endpoint", "status"}
POST   /_control/faults        {"action", "status", "retry_after", "service", "endpoint", "times", ...}
DELETE /_control/faults
POST   /_control/certificate   {"kind"}: shown once this is answered, and every connection is cut then
GET    /_control/certificate   -> {"kind"}
GET    /_control/messages      ?endpoint=...; without it, those of all browsers
GET    /_control/counts
GET    /_control/arrivals      ?topic=...; by endpoint, of a simulator that counts those
DELETE /_control/counts
"""

import json
from base64 import b64encode
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.simulator.arrivals import Head
from app.simulator.browsers import Browser, Browsers, ReceivedMessage
from app.simulator.certificates import CertificateKind
from app.simulator.exchange import Answer, HttpVersion, Reaction, Request
from app.simulator.faults import Action, Fault, FaultScript
from app.simulator.push_services import PushServices
from app.simulator.rules import ServiceName
from app.simulator.scripting import retry_after_value

CONTROL_PREFIX = "/_control/"

Subscribe = Callable[[ServiceName, str | None, str | None], Browser]
Certificate = Callable[[CertificateKind | None], CertificateKind]  # with a kind, that one is shown from soon on


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _SubscribeOrder(_Order):
    service: ServiceName = ServiceName.FCM
    count: Annotated[int, Field(ge=1, le=100_000)] = 1
    application_server_key: str | None = None
    host: str | None = None


class _UnsubscribeOrder(_Order):
    endpoint: str
    status: Literal[404, 410] = 410


class _FaultOrder(_Order):
    action: Action | Literal["go_away"]
    status: Annotated[int, Field(ge=200, le=599)] = 503
    retry_after: int | str | None = None
    headers: dict[str, str] = {}
    body: str = ""
    delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.0
    before_body: bool = False
    delivers: bool = False
    service: ServiceName | None = None
    host: str | None = None
    endpoint: str | None = None
    times: Annotated[int, Field(ge=1)] | None = None
    every: Annotated[int, Field(ge=1)] = 1


class _CertificateOrder(_Order):
    kind: CertificateKind


class Control:
    """Serves the control API to loopback, and passes everything else on to the push services."""

    def __init__(
        self,
        services: PushServices,
        browsers: Browsers,
        script: FaultScript,
        subscribe: Subscribe,
        certificate: Certificate,
    ) -> None:
        self._services = services
        self._browsers = browsers
        self._script = script
        self._subscribe = subscribe
        self._certificate = certificate
        self._routes: dict[tuple[str, str], Callable[[Request], Any]] = {
            ("POST", "subscribe"): self._add_subscriptions,
            ("POST", "unsubscribe"): self._unsubscribe,
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): self._clear_faults,
            ("POST", "certificate"): self._present_certificate,
            ("GET", "certificate"): lambda _request: {"kind": certificate(None)},
            ("GET", "messages"): self._messages,
            ("GET", "counts"): self._counts,
            ("GET", "arrivals"): self._arrivals,
            ("DELETE", "counts"): self._reset_counts,
        }

    def arrived(self) -> None:
        self._services.arrived()

    def connected(self, http_version: HttpVersion) -> None:
        self._services.connected(http_version)

    def requests_per_connection(self) -> int | None:
        return self._services.requests_per_connection()

    def foresee(self, request: Request) -> Reaction | None:
        return None if request.path.startswith(CONTROL_PREFIX) else self._services.foresee(request)

    @property
    def counts_endpoints(self) -> bool:
        return self._services.counts_endpoints

    def swallow(self, http_version: HttpVersion, body_bytes: int, head: Head | None) -> Reaction:
        return self._services.swallow(http_version, body_bytes, head)

    def cut_off(self, heads: Iterable[Head]) -> None:
        self._services.cut_off(heads)

    def handle(self, request: Request) -> Reaction:
        if request.path.startswith(CONTROL_PREFIX):
            return Reaction(self._obey(request))
        return self._services.handle(request)

    def _obey(self, request: Request) -> Answer:
        if not ip_address(request.peer).is_loopback:
            return _json(403, {"error": "the control API is for loopback only"})
        name = urlsplit(request.path).path.removeprefix(CONTROL_PREFIX).rstrip("/")
        order = self._routes.get((request.method, name))
        if order is None:
            known = [f"{method} {CONTROL_PREFIX}{path}" for method, path in self._routes]
            return _json(404, {"error": "no such order", "known": known})
        try:
            return _json(200, order(request))
        except ValidationError as error:
            # Without the input: of what is not JSON, that is bytes.
            told = error.errors(include_url=False, include_context=False, include_input=False)
            return _json(422, {"error": told})
        except (ValueError, LookupError) as error:
            return _json(422, {"error": str(error)})

    def _add_subscriptions(self, request: Request) -> dict[str, Any]:
        order = _SubscribeOrder.model_validate_json(request.body)
        browsers = [
            self._subscribe(order.service, order.host, order.application_server_key) for _ in range(order.count)
        ]
        return {"subscriptions": [browser.subscription for browser in browsers]}

    def _unsubscribe(self, request: Request) -> dict[str, Any]:
        order = _UnsubscribeOrder.model_validate_json(request.body)
        self._browser_of(order.endpoint).unsubscribe(status=order.status)
        return {}

    def _add_fault(self, request: Request) -> dict[str, Any]:
        order = _FaultOrder.model_validate_json(request.body)
        if order.action == "go_away":
            self._script.requests_per_connection = order.every
            return {}
        headers = {name.lower(): value for name, value in order.headers.items()}
        if order.retry_after is not None:
            headers["retry-after"] = retry_after_value(order.retry_after)
        self._script.add(
            Fault(
                action=order.action,
                status=order.status,
                headers=headers,
                body=order.body.encode(),
                delay_seconds=order.delay_seconds,
                before_body=order.before_body,
                delivers=order.delivers,
                service=order.service,
                host=order.host,
                endpoint_path=None if order.endpoint is None else self._browser_of(order.endpoint).path,
                times=order.times,
                every=order.every,
            )
        )
        return {}

    def _clear_faults(self, _request: Request) -> dict[str, Any]:
        self._script.clear()
        return {}

    def _present_certificate(self, request: Request) -> dict[str, Any]:
        order = _CertificateOrder.model_validate_json(request.body)
        self._certificate(order.kind)
        return {}

    def _messages(self, request: Request) -> dict[str, Any]:
        endpoints = parse_qs(urlsplit(request.path).query).get("endpoint")
        browsers = [self._browser_of(endpoints[0])] if endpoints else list(self._browsers)
        return {"messages": [_message(browser, message) for browser in browsers for message in browser.received]}

    def _counts(self, _request: Request) -> dict[str, Any]:
        return self._services.counts().as_json()

    def _arrivals(self, request: Request) -> dict[str, Any]:
        topics = parse_qs(urlsplit(request.path).query).get("topic")
        return {"arrivals": self._services.arrivals(topics[0] if topics else None)}

    def _reset_counts(self, _request: Request) -> dict[str, Any]:
        self._services.reset_counts()
        return {}

    def _browser_of(self, endpoint: str) -> Browser:
        browser = self._browsers.find(urlsplit(endpoint).path)
        if browser is None:
            raise LookupError("no such subscription")
        return browser


def _message(browser: Browser, message: ReceivedMessage) -> dict[str, Any]:
    described: dict[str, Any] = {
        "endpoint": browser.endpoint,
        "received_at": message.post.at,
        "ttl": message.ttl,
        "urgency": message.urgency,
        "topic": message.topic,
        "headers": dict(message.headers),
    }
    try:
        described["text"] = message.plaintext.decode()
    except UnicodeDecodeError:
        described["base64"] = b64encode(message.plaintext).decode()
    return described


def _json(status: int, answer: Any) -> Answer:
    return Answer(status, (("content-type", "application/json"),), json.dumps(answer).encode())
