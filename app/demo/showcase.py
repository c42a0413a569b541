"""`make demo`: the real service and a push service of our own, a hundred browsers, and what each of them saw.

Touches nothing that is installed: another port, another database, another data directory, thrown away after.
"""

import io
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from jose import jwt
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from app.db.embedded import EmbeddedPostgresUnavailable, throwaway
from app.simulator import Authority, Browser, Simulator

PROJECT_ROOT = Path(__file__).parents[2]
TOPICS = ("news", "sport", "weather")
SERVICES = ("fcm", "mozilla", "apple", "wns")
NEWS, GREETING = "News", "Hello"  # the titles of the two notifications
ACCESS = "access"  # the kind of token, as djangorestframework-simplejwt writes it
LOG_NAME = "service.log"
START_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 30.0

console = Console(highlight=False, soft_wrap=True)


class ServiceFault(Exception):
    """The service did not do what it was asked; the message says what, with the end of its log."""


@dataclass(frozen=True)
class Service:
    """The service under show: where it is, and the credentials made for it."""

    url: str
    api_key: str
    jwt_secret: str
    http: requests.Session

    def post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        response = self.http.post(self.url + path, json=body, headers=headers, timeout=60)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    def send(self, path: str, **body: Any) -> dict[str, Any]:
        return self.post(path, body, {"X-API-Key": self.api_key})

    def token(self, user_id: str) -> str:
        """Return a JWT as the main application would sign it."""
        claims = {"user_id": user_id, "token_type": ACCESS, "exp": int(time.time()) + 600}
        return str(jwt.encode(claims, self.jwt_secret, algorithm="HS256"))


@dataclass(frozen=True)
class Visitor:
    """Somebody with a browser, subscribed to one topic."""

    name: str
    topic: str
    service: str
    browser: Browser


def run(count: int) -> int:
    """Run the show with so many browsers; return the process's exit code, 0 when all saw what they should."""
    started_at = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way, what was started is stopped
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that knows no ✓ shows ? instead
    try:
        with tempfile.TemporaryDirectory(prefix="push-demo-", ignore_cleanup_errors=True) as directory:
            is_right = _show(Path(directory), count)
    except (EmbeddedPostgresUnavailable, ServiceFault) as fault:
        console.print(str(fault), markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    console.print(f"\nDone in {time.monotonic() - started_at:.0f} s. Where to look next:")
    console.print("  make run         then http://localhost:8001/demo shows it in your own browser")
    console.print("  README.md        how your application sends, and how to operate the service")
    console.print("  app/delivery/    the pipeline, from top to bottom: plan, claim, run, record")
    return 0 if is_right else 1


def _show(directory: Path, count: int) -> bool:
    """Play it all in this directory; tell whether the browsers saw what the service recorded."""
    authority = Authority.kept_in(directory)
    with Simulator.running(authority=authority) as simulator, _serving(directory) as service:
        console.print(f"The service runs on         {service.url}")
        console.print(f"a simulated push service on {simulator.url}\n")
        visitors = _subscribe(service, simulator, count)
        leavers = visitors[:2]
        for visitor in leavers:
            visitor.browser.unsubscribe()
        console.print(
            f"{count} browsers have subscribed. {len(leavers)} of them leave without telling the service.\n"
        )
        results = {
            "to the topic news": service.send(
                "/notifications/send/", title=NEWS, body="push works ✓", url="/blog", topics=["news"], type="blog"
            ),
            "to everybody": service.send("/notifications/broadcast/", title=GREETING, body="everybody"),
        }
        _show_what_each_saw(visitors)
        _show_counts(results)
        return _is_right(visitors, leavers, results)


@contextmanager
def _serving(directory: Path) -> Iterator[Service]:
    """Run the real service as its own process, over a PostgreSQL of its own, until the block ends."""
    with ExitStack() as stack:
        with console.status("Starting PostgreSQL and the service ..."):
            database_url = stack.enter_context(throwaway())
            service, process = _start(directory, database_url)
            stack.callback(_stop, process)
            _wait_until_ready(service, process, directory / LOG_NAME)
        try:
            yield service
        except requests.RequestException as error:
            raise ServiceFault(f"{error}\nThe service's log ends with:\n{_end_of(directory / LOG_NAME)}") from error


def _start(directory: Path, database_url: str) -> tuple[Service, "subprocess.Popen[bytes]"]:
    port = _free_port()
    api_key, jwt_secret = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    with (directory / LOG_NAME).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "serve", "--port", str(port)],
            cwd=directory,  # there is no .env here
            env={
                **{name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ},
                "PYTHONPATH": str(PROJECT_ROOT),
                "DATA_DIR": str(directory / "data"),
                "DATABASE_URL": database_url,
                "API_KEY": api_key,
                "JWT_SECRET_KEY": jwt_secret,
                "PUSH_ALLOW_LOOPBACK": "true",
                "PUSH_CA_FILE": str(directory / "ca.pem"),
                "SITE_URL": "https://example.com/",
                "RATE_LIMIT_SUBSCRIPTION": "10000/hour",
            },
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us, and we stop it in order
        )
    service = Service(f"http://127.0.0.1:{port}", api_key, jwt_secret, requests.Session())
    service.http.trust_env = False
    return service, process


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(service: Service, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < give_up_at and process.poll() is None:
        try:
            if service.http.get(f"{service.url}/health/ready", timeout=5).ok:
                return
        except requests.RequestException:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise ServiceFault(f"The service did not start. Its log ends with:\n{_end_of(log)}")


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-4000:]


def _subscribe(service: Service, simulator: Simulator, count: int) -> list[Visitor]:
    public_key = service.http.get(f"{service.url}/vapid/public-key", timeout=10).json()["public_key"]
    visitors = []
    for number in track(
        range(count), "Subscribing ...", console=console, disable=not console.is_terminal, transient=True
    ):
        kind = SERVICES[number % len(SERVICES)]
        browser = simulator.subscribe(kind, application_server_key=public_key)
        visitor = Visitor(f"visitor-{number + 1}", TOPICS[number % len(TOPICS)], kind, browser)
        service.post(
            "/subscriptions/",
            {**browser.subscription, "topics": [visitor.topic]},
            {"Authorization": f"Bearer {service.token(visitor.name)}"},
        )
        visitors.append(visitor)
    return visitors


def _show_what_each_saw(visitors: list[Visitor]) -> None:
    console.print("What each browser saw, decrypted by itself:")
    table = Table("browser", "push service", "topic", "saw", box=box.SIMPLE_HEAD, pad_edge=False)
    for visitor in visitors:
        saw = "; ".join(
            f"{_text(message, 'title')}: {_text(message, 'body')}" for message in visitor.browser.received
        )
        table.add_row(visitor.name, visitor.service, visitor.topic, saw or "[dim]nothing: it is gone[/]")
    console.print(table)


def _text(message: Any, field: str) -> str:
    return str(message.fields()[field])


def _show_counts(results: dict[str, dict[str, Any]]) -> None:
    names = ("targeted", "sent", "expired", "failed", "pending")
    console.print("What the service recorded:")
    table = Table("notification", *names, box=box.SIMPLE_HEAD, pad_edge=False)
    for label, result in results.items():
        table.add_row(label, *(str(result[name]) for name in names))
    console.print(table)
    console.print("sent: a push service accepted it.\nexpired: the browser is gone, and is not tried again.")


def _is_right(visitors: list[Visitor], leavers: list[Visitor], results: dict[str, dict[str, Any]]) -> bool:
    """Compare what the browsers saw with what the service recorded, and say so."""
    seen = Counter(_text(message, "title") for visitor in visitors for message in visitor.browser.received)
    recorded = {NEWS: results["to the topic news"]["sent"], GREETING: results["to everybody"]["sent"]}
    is_right = seen == recorded and recorded[GREETING] == len(visitors) - len(leavers)
    if is_right:
        console.print("[green]What the browsers saw and what the service recorded agree.[/]")
    else:
        console.print("[red]What the browsers saw and what the service recorded differ: please report this.[/]")
    return is_right


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
