"""The real service, told everything secret that it can be told, and people who use and misuse it.

What they do stands in leaky_steps.py.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg2

from app.push.keys import VapidKey
from app.simulator import Browser, Simulator
from tests.drill.leaks import Api, Find, Secrets, SentryCollector, files_below, search
from tests.support.api import bearer, make_token
from tests.support.databases import StoppablePostgres
from tests.support.ports import free_port
from tests.support.valkey import ValkeyServer
from tests.support.waiting import until

PROJECT_ROOT = Path(__file__).parents[2]
LONG_SECONDS = 120.0
UNKNOWN_NAME = "push.nowhere.invalid"
NOBODY_LISTENS = "https://127.0.0.1:1"
CONTENT: dict[str, Any] = {
    "title": "A title nobody else may read",
    "body": "A body nobody else may read",
    "ttl": 60,
}

# Ahead of everything else in each process of the service: a name has no address, and nobody is asked for it.
_NO_SUCH_NAME = f"""
import socket
_look_up = socket.getaddrinfo
def getaddrinfo(host, *arguments, **options):
    if host == "{UNKNOWN_NAME}":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _look_up(host, *arguments, **options)
socket.getaddrinfo = getaddrinfo
"""

# Each command as if typed by itself, and the worst exit code at the end: starting Python is most of what one costs.
_COMMANDS = """
import json, sys
from app.cli import cli
worst = 0
for words in json.loads(sys.argv[1]):
    try:
        cli(words)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        worst = max(worst, end.code if isinstance(end.code, int) else 1)
sys.exit(worst)
"""


@dataclass
class Run:
    """What a step has at hand. Whatever a process says or the API answers is kept, and searched at the end."""

    directory: Path
    database_url: str
    postgres: StoppablePostgres
    valkey: ValkeyServer
    push_service: Simulator
    sentry: SentryCollector
    secrets: Secrets = field(default_factory=Secrets)
    outputs: dict[str, Path] = field(default_factory=dict)
    command_lines: list[str] = field(default_factory=list)
    metrics: dict[str, str] = field(default_factory=dict)
    notification_ids: list[str] = field(default_factory=list)
    subscription_ids: list[str] = field(default_factory=list)
    metrics_ports: dict[str, int] = field(default_factory=dict)
    api: Api = field(init=False)
    user_id: str = field(init=False)
    variables: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        credentials, personal = self.secrets.credentials, self.secrets.personal
        for name in ("API_KEY", "JWT_SECRET_KEY", "JWT_SECRET_KEY_PREVIOUS", "SECRET_KEY", "REDIS_PASSWORD"):
            credentials[name] = secrets.token_hex(24)
        pair = VapidKey.generate()
        credentials["VAPID_PRIVATE_KEY"] = pair.export_private()
        credentials["the database's password"] = urlsplit(self.database_url).password or ""
        personal["an Idempotency-Key"] = f"order-{secrets.token_hex(12)}"
        personal["a user's id"] = f"jane.{secrets.token_hex(8)}@example.org"
        personal["a notification's title"], personal["a notification's body"] = CONTENT["title"], CONTENT["body"]
        self.user_id = personal["a user's id"]
        (self.directory / "first").mkdir()
        (self.directory / "first" / "sitecustomize.py").write_text(_NO_SUCH_NAME)
        ca_file = self.push_service.write_ca_file(self.directory / "ca.pem")
        self.variables = {
            **{name: credentials[name] for name in ("API_KEY", "JWT_SECRET_KEY", "JWT_SECRET_KEY_PREVIOUS")},
            "SECRET_KEY": credentials["SECRET_KEY"],
            "VAPID_PRIVATE_KEY": credentials["VAPID_PRIVATE_KEY"],
            "VAPID_PUBLIC_KEY": pair.public,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.valkey.url.replace("//", f"//:{credentials['REDIS_PASSWORD']}@"),
            "SENTRY_DSN": self.sentry.dsn,
            "LOG_LEVEL": "DEBUG",
            "PUSH_ALLOW_LOOPBACK": "true",
            "PUSH_EXTRA_HOSTS": UNKNOWN_NAME,
            "PUSH_CA_FILE": str(ca_file),
            "WORKER_MODE": "external",
            "WORKER_METRICS_PORT": str(free_port()),
            "INLINE_TIMEOUT_SECONDS": "2",
            **{
                f"RATE_LIMIT_{kind}": "100000/hour"
                for kind in ("SUBSCRIPTION", "NOTIFICATION", "ANALYTICS", "FAILED_LOGIN")
            },
            "DATA_DIR": str(self.directory / "data"),
            "PYTHONPATH": f"{self.directory / 'first'}:{PROJECT_ROOT}",
        }

    @property
    def as_service(self) -> dict[str, str]:
        return {"X-API-Key": self.secrets.credentials["API_KEY"]}

    def as_user(self, user_id: str | None = None, **claims: Any) -> dict[str, str]:
        secret = self.secrets.credentials["JWT_SECRET_KEY"]
        token = make_token(secret=secret, user_id=user_id or self.user_id, **claims)
        self.secrets.credentials[f"JWT {len(self.secrets.credentials)}"] = token
        return bearer(token)

    def browser(self, service: str = "fcm", *, origin: str | None = None) -> tuple[Browser, dict[str, Any]]:
        """Return a new browser and what it subscribes with, at another origin if one is given."""
        browser = self.push_service.subscribe(service)
        subscription = browser.subscription
        if origin is not None:
            subscription["endpoint"] = origin + browser.path
        number = len(self.secrets.subscriptions) // 3
        self.secrets.subscriptions[f"endpoint {number}"] = browser.path.rpartition("/")[2]
        self.secrets.subscriptions[f"p256dh {number}"] = subscription["keys"]["p256dh"]
        self.secrets.subscriptions[f"auth {number}"] = subscription["keys"]["auth"]
        return browser, subscription

    def subscribe(self, **options: Any) -> Browser:
        browser, subscription = self.browser(**options)
        answer = self.api.call("POST", "/subscriptions/", self.as_user(), {**subscription, "topics": ["all"]})
        assert self.api.last_status == 201, answer
        self.subscription_ids.append(answer["id"])
        return browser

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.database_url)
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def commands(self, *commands: tuple[str, ...], **variables: str) -> int:
        """Run commands to their end, one after the other, and return the worst of their exit codes."""
        with self._output_of(f"{len(commands)} commands") as output:
            finished = subprocess.run(
                [sys.executable, "-c", _COMMANDS, json.dumps(commands)],
                env={**os.environ, **self.variables, **variables},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=LONG_SECONDS,
                check=False,
            )
        said = Path(output.name).read_text()
        assert "Traceback" not in said, said[-3000:]
        return finished.returncode

    @contextmanager
    def api_and_worker(self) -> Iterator[None]:
        """Run both for the block, each with a sender of its own."""
        port = free_port()
        self.metrics_ports = {"the API": port, "the worker": int(self.variables["WORKER_METRICS_PORT"])}
        self.api = Api(f"http://127.0.0.1:{port}")
        with self.process("serve", "--port", str(port), PUSH_SENDER="pywebpush"), closing(self.api):
            until(self._answers, "the API answers")
            with self.process("worker", "--processes", "1"):
                yield

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.api.url}/health/live", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    @contextmanager
    def process(self, *words: str, **variables: str) -> Iterator[None]:
        """Run the service's process for the block."""
        with self._output_of(" ".join(words[:1])) as output:
            running = subprocess.Popen(
                [sys.executable, "-m", "app.cli", *words],
                env={**os.environ, **self.variables, **variables},
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                yield
                family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
                self.command_lines += [f"{each.name()} {each.cmdline()}" for each in family]
            finally:
                running.send_signal(signal.SIGTERM)
                running.wait(LONG_SECONDS)

    @contextmanager
    def _output_of(self, name: str) -> Iterator[Any]:
        path = self.directory / f"output-{len(self.outputs)}"
        self.outputs[f"{name} ({len(self.outputs)})"] = path
        with path.open("wb") as output:
            yield output

    def finds(self) -> list[Find]:
        """Return every secret in everything that got out.

        Who is refused is told nothing, not even what they sent themselves. Who is let in sees what is stored, but
        no credentials; a subscription is shown where it is asked for, and in an export without its auth secret.
        """
        secrets = self.secrets
        places: list[tuple[str, str | bytes]] = [(name, path.read_bytes()) for name, path in self.outputs.items()]
        places += [(path.name, path.read_bytes()) for path in files_below(self.directory / "data")]
        places += [(f"metrics of {name}", text) for name, text in self.metrics.items()]
        places += [("Sentry", envelope) for envelope in self.sentry.envelopes]
        places += [("a command line", line) for line in self.command_lines]
        found = [find for place, content in places for find in search(secrets.all, place, content)]
        for answer in self.api.answers:
            given = secrets.subscriptions
            if " /subscriptions/" in answer.call:
                given = {}
            elif "/export/" in answer.call:
                given = {name: value for name, value in given.items() if name.startswith("auth")}
            kept_back = secrets.all if answer.is_error else {**secrets.credentials, **given}
            found += search(kept_back, f"{answer.status} of {answer.call[:60]}", answer.text)
        return found
