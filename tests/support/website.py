"""A site for browser tests that is not our service: static files, under as many names as there are tests."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

NAMES = 60
FILES = Path(__file__).parents[1] / "browser" / "site"


class Website:
    """Serves from `with` to its end. Each of its `origins` is a site of its own to a browser.

    Browsers take every name below localhost for this machine, and for secure.
    """

    def __enter__(self) -> Self:
        handler = partial(_Files, directory=str(FILES))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.origins = [f"http://site{number}.localhost:{self._server.server_port}" for number in range(NAMES)]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Files(SimpleHTTPRequestHandler):
    """The files, and the page for every other address, as sites of one page do."""

    def translate_path(self, path: str) -> str:
        found = super().translate_path(path)
        return found if Path(found).is_file() else str(FILES / "index.html")

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass
