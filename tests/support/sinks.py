"""A push service that takes whatever comes, in a process of its own: it is not to share a core with the sender."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from app.simulator import Serving, serve

HOST = "127.0.0.1"


@contextmanager
def sink_process(ca_dir: Path, *, by: Callable[..., None] = serve, **options: Any) -> Iterator[Serving]:
    """Serve over TLS on loopback for the block; the options are those of `simulator.serve`, or of what serves."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(by, ca_dir, options, there), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def _serve(by: Callable[..., None], ca_dir: Path, options: dict[str, Any], parent: Connection) -> None:
    by(HOST, 0, tls=True, ca_dir=ca_dir, ready=parent.send, **options)
