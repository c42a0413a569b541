"""What must not get out of the service, and what does get out of it, to be searched for that."""

import gzip
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import brotli  # type: ignore[import-untyped]
import httpx

PIECE = 20  # characters of a long secret that would give it away
SHORTEST = 12


@dataclass(frozen=True)
class Find:
    """A secret that was seen, and what stood around it."""

    secret: str
    place: str
    around: str

    def __str__(self) -> str:
        return f"{self.secret} in {self.place}: ...{self.around}..."


@dataclass
class Secrets:
    """Values by what they are: what opens doors, what browsers gave, and what says who got what."""

    credentials: dict[str, str] = field(default_factory=dict)
    subscriptions: dict[str, str] = field(default_factory=dict)
    personal: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, str]:
        return {**self.credentials, **self.subscriptions, **self.personal}


def search(secrets: Mapping[str, str], place: str, content: str | bytes) -> Iterator[Find]:
    """Yield the secrets in it, whole or in recognisable part, plain or percent-encoded."""
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
    for name, value in secrets.items():
        at = next((at for form in _forms(value) if (at := text.find(form)) >= 0), None)
        if at is not None:
            yield Find(name, place, re.sub(r"\s+", " ", text[max(0, at - 100) : at + 100]))


def _forms(value: str) -> Iterable[str]:
    """Return what to look for. A beginning alone is no secret: all tokens of a kind may share it."""
    assert len(value) >= SHORTEST, "too short to be told from anything else"
    if len(value) < 2 * PIECE:
        return {value, quote(value, safe="")}
    middle = len(value) // 2
    return {value[middle : middle + PIECE], value[-PIECE:], quote(value[-PIECE:], safe="")}


@dataclass(frozen=True)
class Answer:
    """One answer of the service, and who asked what."""

    call: str
    status: int
    text: str

    @property
    def is_error(self) -> bool:
        return self.status >= 400


class Api:
    """The service's API, with every answer kept. `who` is named in the headers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[Answer] = []
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=60)

    def call(
        self, method: str, path: str, who: Mapping[str, str], body: Any = None, *, headers: Mapping[str, str] = {}
    ) -> Any:
        """Return the JSON of the answer, None if it has none. A body that is bytes goes out as it is."""
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **who, **headers}
        answer = self._http.request(method, path, content=content, headers=sent)
        told = f"{answer.headers}\n{answer.text}"
        self.answers.append(Answer(f"{method} {path}", answer.status_code, told))
        is_json = "json" in answer.headers.get("content-type", "")
        return answer.json() if is_json and answer.content else None

    @property
    def last_status(self) -> int:
        return self.answers[-1].status

    def close(self) -> None:
        self._http.close()


class SentryCollector:
    """Takes what would go to Sentry."""

    def __init__(self) -> None:
        self.envelopes: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                open_up = {"gzip": gzip.decompress, "br": brotli.decompress}.get(
                    self.headers.get("Content-Encoding", "")
                )
                collector.envelopes.append(open_up(sent) if open_up else sent)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def dsn(self) -> str:
        return f"http://public@127.0.0.1:{self._server.server_port}/1"

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        collector = cls()
        collector._thread.start()
        try:
            yield collector
        finally:
            collector._server.shutdown()
            collector._thread.join()
            collector._server.server_close()


def files_below(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())
