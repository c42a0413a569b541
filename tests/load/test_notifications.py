"""Load: browsers that subscribe and change topics, and a site that sends to them and reads what became of it.

    locust -f tests/load/test_notifications.py --host http://localhost:8001

The service must take subscriptions on loopback and allow one client many requests. Start it with
PUSH_ALLOW_LOOPBACK=true RATE_LIMIT_SUBSCRIPTION=1000000/hour RATE_LIMIT_NOTIFICATION=1000000/hour
RATE_LIMIT_ANALYTICS=1000000/hour. Secrets are taken where the service takes them: from the environment, `.env` or
DATA_DIR.

No real push service is ever reached: the browsers' endpoints are a sink on loopback that this process opens, the
site sends only to topics of this run, and a host that is not loopback is refused. Each browser removes its
subscription when it stops. Without --run-time, a run ends after 10 minutes.

Importing locust patches the runtime, so pytest must not collect this file (norecursedirs in pyproject.toml).
"""

import base64
import logging
import os
import random
import secrets
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from jose import jwt
from locust import HttpUser, between, events, task
from locust.env import Environment
from locust.exception import StopTest, StopUser
from locust.runners import MasterRunner

sys.path.insert(0, str(Path(__file__).parents[2]))  # locust puts only this file's directory there

from app.settings import Settings, load_settings

MAX_RUN_SECONDS = 600
STOP_SECONDS = 10
TOKEN_LIFETIME_SECONDS = 24 * 3600
RUN = secrets.token_hex(4)
TOPICS = [f"load-{RUN}-{name}" for name in ("blog", "news", "releases")]

settings: Settings = load_settings()


class Sink:
    """A push service that accepts everything and keeps nothing but a count."""

    def __init__(self) -> None:
        self.received = 0
        self._server = WSGIServer(("127.0.0.1", 0), self._answer, log=None)

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def new_endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/push/{secrets.token_urlsafe(90)}"

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        environ["wsgi.input"].read()
        self.received += 1
        start_response("201 Created", [("Location", f"/message/{self.received}"), ("Content-Length", "0")])
        return []


sink = Sink()
somebody_is_subscribed = Event()


@events.init.add_listener
def check_options(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    options.run_time = options.run_time or MAX_RUN_SECONDS
    environment.stop_timeout = environment.stop_timeout or STOP_SECONDS  # browsers have to unsubscribe
    if options.host and not is_loopback(options.host):
        sys.exit(refusal_of(options.host))


@events.test_start.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    if not is_loopback(environment.host):  # typed into the web page
        raise StopTest(refusal_of(environment.host))
    if not isinstance(environment.runner, MasterRunner):
        sink.start()


@events.test_stop.add_listener
def finish(environment: Environment, **_: Any) -> None:
    sink.stop()
    logging.info("The push service of this run received %s messages.", sink.received)


def is_loopback(url: str | None) -> bool:
    return urlsplit(url or "").hostname in {"localhost", "127.0.0.1", "::1"}


def refusal_of(host: str | None) -> str:
    return f"--host {host} is not loopback. This load is for a service on this machine."


def new_subscription() -> dict[str, Any]:
    """Return what PushSubscription.toJSON() gives in a browser, with a key pair of its own."""
    public_key = generate_private_key(SECP256R1()).public_key()
    point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    keys = {"p256dh": base64url(point), "auth": base64url(os.urandom(16))}
    return {"endpoint": sink.new_endpoint(), "expirationTime": None, "keys": keys}


def base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def new_token() -> str:
    """Return a JWT of a user of this run, as djangorestframework-simplejwt makes them."""
    claims = {"token_type": "access", "user_id": f"load-{RUN}-{secrets.token_hex(6)}", "jti": secrets.token_hex(16)}
    claims |= {"exp": int(time.time()) + TOKEN_LIFETIME_SECONDS}
    claims |= {"iss": settings.jwt_issuer} if settings.jwt_issuer else {}
    claims |= {"aud": settings.jwt_audience} if settings.jwt_audience else {}
    return jwt.encode(claims, settings.jwt_secret_key.get_secret_value(), algorithm=settings.jwt_algorithms[0])


class Caller(HttpUser):
    abstract = True
    wait_time = between(0.5, 2)

    def call(self, method: str, path: str, *, expect: tuple[int, ...] = (200,), **options: Any) -> dict[str, Any]:
        """Return the answer's JSON, or an empty object when the status is another than expected: a failure."""
        with self.client.request(method, path, catch_response=True, **options) as response:
            if response.status_code in expect:
                response.success()
                return response.json() if response.content else {}
            response.failure(f"{response.status_code}: {response.text[:300]}")
            if "endpoint-not-allowed" in response.text:
                logging.error("The service refuses loopback: start it with PUSH_ALLOW_LOOPBACK=true.")
                self.environment.process_exit_code = 1
                self.environment.stop_timeout = 0.0  # there is nothing to remove
                self.environment.runner.quit()
            return {}


class Browser(Caller):
    """A visitor: subscribes once, then changes topics and looks at the subscription now and then."""

    weight = 9
    subscription_id = ""

    def on_start(self) -> None:
        self.client.headers["Authorization"] = f"Bearer {new_token()}"
        self.subscription = new_subscription() | {"topics": self.some_topics()}
        made = self.call("POST", "/subscriptions/", json=self.subscription, expect=(201,))
        if not made:
            raise StopUser
        self.subscription_id = made["id"]
        somebody_is_subscribed.set()

    def on_stop(self) -> None:
        if self.subscription_id:
            self.call("DELETE", self.path, expect=(200, 204), name="/subscriptions/[id]/")

    @task(5)
    def change_topics(self) -> None:
        self.call("PUT", self.path, json={"topics": self.some_topics()}, name="/subscriptions/[id]/")

    @task(3)
    def look_at_it(self) -> None:
        self.call("GET", self.path, name="/subscriptions/[id]/")

    @task(1)
    def subscribe_again(self) -> None:
        self.call("POST", "/subscriptions/", json=self.subscription, name="/subscriptions/ (again)")

    @property
    def path(self) -> str:
        return f"/subscriptions/{self.subscription_id}/"

    def some_topics(self) -> list[str]:
        return random.sample(TOPICS, k=random.randint(1, len(TOPICS)))


class Site(Caller):
    """The site behind it: sends to a topic of this run, follows what it sent, reads history and analytics."""

    weight = 1
    sent_id = ""

    def on_start(self) -> None:
        self.client.headers["X-API-Key"] = settings.api_key.get_secret_value()
        somebody_is_subscribed.wait(timeout=10)
        self.send(TOPICS)

    @task(3)
    def send_to_a_topic(self) -> None:
        self.send([random.choice(TOPICS)])

    def send(self, topics: list[str]) -> None:
        message = {"title": "Load", "body": "A message of the load test.", "type": "load", "ttl": 60}
        answer = self.call("POST", "/notifications/send/", json=message | {"topics": topics}, expect=(200, 202))
        self.sent_id = answer.get("notification_id", self.sent_id)

    @task(2)
    def follow_what_was_sent(self) -> None:
        if self.sent_id:
            self.call("GET", f"/notifications/{self.sent_id}/", name="/notifications/[id]/")

    @task(2)
    def read_history(self) -> None:
        self.call(
            "GET", "/notifications/history/", params={"limit": 20, "type": "load"}, name="/notifications/history/"
        )

    @task(1)
    def read_subscription_statistics(self) -> None:
        self.call("GET", "/analytics/subscriptions/")

    @task(1)
    def read_delivery_statistics(self) -> None:
        self.call("GET", "/analytics/deliveries/", params={"type": "load"}, name="/analytics/deliveries/")
