"""The simulator as a process of its own, until it is told to stop."""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from app.simulator.certificates import Authority
from app.simulator.push_services import Checks
from app.simulator.simulator import Simulator


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a simulator is reached. `ca_file` is None without TLS."""

    url: str
    control_url: str
    ca_file: Path | None


def serve(
    host: str,
    port: int,
    *,
    tls: bool,
    ca_dir: Path,
    checks: Checks = "full",
    ready: Callable[[Serving], None] | None = None,
    more_hosts: tuple[str, ...] = (),
) -> None:
    """Run a simulator until SIGINT or SIGTERM; `ready` is called once it can be reached.

    The certificate authority is kept in `ca_dir`, so clients that trust it go on doing so after a restart.
    Must be called on the main thread. Raises OSError when the port is taken.
    """
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    authority = Authority.kept_in(ca_dir) if tls else None
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with Simulator.running(
            hosts=(host, *more_hosts), port=port, tls=tls, authority=authority, checks=checks
        ) as simulator:
            if ready is not None:
                ca_file = ca_dir / "ca.pem" if tls else None
                ready(Serving(simulator.url, simulator.control_url, ca_file))
            stopped.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
