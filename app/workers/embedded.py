"""Embedded workers: one set for each machine and database, kept by whichever of its API processes came first."""

import socket
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from app.db.session import SessionFactory
from app.settings import Settings
from app.workers.cores import default_worker_count
from app.workers.leader import Leader
from app.workers.supervisor import STOP_PATIENCE_SECONDS, Supervisor

# Within this a process takes over from one that died.
LOOK_EVERY_SECONDS = 5.0
# For the thread, once the workers are gone: it may be asking a database that does not answer.
THREAD_PATIENCE_SECONDS = 2.0

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

log = structlog.get_logger(__name__)


def machine_lock_key() -> int:
    """Return the key of the advisory lock that an API process of this machine, or container, holds.

    The name alone would not do: two machines may have the same. The system's start makes them differ, and a
    container has the name for itself.
    """
    try:
        booted = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:  # not Linux
        booted = ""
    name = f"push-workers {socket.gethostname()} {booted}"
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big", signed=True)


class EmbeddedWorkers:
    """Every API process has one; it keeps workers for as long as it leads. The others stand by to take over."""

    def __init__(
        self,
        settings: Settings,
        sessions: SessionFactory,
        *,
        create_supervisor: Callable[[Settings, int], Supervisor] = Supervisor,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._create_supervisor = create_supervisor
        self._leader = Leader(machine_lock_key())
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._supervisor: Supervisor | None = None
        self._thread = threading.Thread(target=self._lead_if_possible, name="embedded-workers", daemon=True)

    def start(self) -> None:
        """Begin to try, and wait for nothing: neither for the database nor for a worker."""
        self._thread.start()

    def stop(self) -> None:
        """Let the workers finish what is in flight, and only then another process take over."""
        self._stopping.set()
        self._stop_workers()
        self._thread.join(THREAD_PATIENCE_SECONDS)

    def _lead_if_possible(self) -> None:
        while not self._stopping.is_set():
            try:
                self._start_or_stop_workers()
            except SQLAlchemyError:
                # Nobody can lead now. The workers there are wait for the database themselves.
                pass
            except Exception:
                log.exception("workers not looked after")
            self._stopping.wait(LOOK_EVERY_SECONDS)
        self._stop_workers()
        self._leader.resign()

    def _start_or_stop_workers(self) -> None:
        if self._leader.leads(self._sessions):
            self._start_workers()
        else:
            self._stop_workers()

    def _start_workers(self) -> None:
        with self._lock:
            if self._supervisor is not None or self._stopping.is_set():
                return
            count = default_worker_count()
            log.info("starting workers", processes=count)
            self._supervisor = self._create_supervisor(self._settings, count)
            self._supervisor.start()

    def _stop_workers(self) -> None:
        with self._lock:
            if self._supervisor is not None:
                self._supervisor.stop(STOP_PATIENCE_SECONDS)
                self._supervisor = None
