"""One PostgreSQL server process on an embedded home: started or found running, watched, stopped."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from app.db.embedded_binaries import Installation, find_installation
from app.db.embedded_cluster import (
    OUTPUT_LINES_SHOWN,
    choose_port,
    create_cluster,
    is_accepting,
    is_free,
    read_listening,
    stored_major,
)
from app.db.embedded_files import (
    POLL_SECONDS,
    EmbeddedPostgresUnavailable,
    is_locked,
    open_private,
    try_lock,
    write_private,
)
from app.db.embedded_home import Home

READY_TIMEOUT_SECONDS = 120  # recovery after a crash reads all that was written since the last checkpoint
LINGER_TIMEOUT_SECONDS = 30
STOP_TIMEOUT_SECONDS = 30
PORT_ATTEMPTS = 5
LOG_SIZE_LIMIT = 5_000_000  # bytes, then a new log begins; one old one is kept

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a path there may be too long, and TCP is enough
    "max_connections": "100",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Errors quote rows, and ours hold endpoints and keys: the log is for starts, stops and crashes.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}
NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class Server:
    """The server of a home. One process at a time may use it."""

    def __init__(self, home: Home, *, durable: bool = True) -> None:
        self._home = home
        self._durable = durable
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Return when the server accepts connections: a new one, or an orphan whose keeper was killed.

        Raises EmbeddedPostgresUnavailable; then nothing runs.
        """
        deadline = time.monotonic() + LINGER_TIMEOUT_SECONDS
        while (lock := try_lock(self._home.server_lock)) is None:
            if is_accepting(self._home):
                return
            if time.monotonic() > deadline:
                raise EmbeddedPostgresUnavailable(
                    f"processes of a server that was killed are still at work in {self._home.cluster}."
                )
            time.sleep(POLL_SECONDS)
        try:
            self._start_new(lock)
        finally:
            os.close(lock)  # its processes hold their own copies

    def is_alive(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            return False
        return is_locked(self._home.server_lock)

    def stop(self, *, gently: bool = True) -> None:
        """Stop the server and wait for the last of its processes. Not gently: without a checkpoint."""
        for request in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)[0 if gently else 1 :]:
            self._send(request)
            deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
            while is_locked(self._home.server_lock) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if not is_locked(self._home.server_lock):
                break
        self._reap()

    def abandon(self) -> None:
        """Stop a server whose home was deleted under it: there are no locks to ask any more.

        An orphan found running ends by itself, within a minute, when it misses its files.
        """
        if self._process is not None:
            self._send(signal.SIGQUIT)
            self._reap()

    def _send(self, request: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(request)  # does nothing if it has ended
        elif is_locked(self._home.server_lock) and (listening := read_listening(self._home)):
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(listening.pid, request)

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _start_new(self, lock: int) -> None:
        """Start a server, on a new cluster if there is none. The lock says that no other one runs."""
        home = self._home
        major = stored_major(home)
        installation = find_installation(home.user, major=major)
        if major is None:
            create_cluster(home, installation, durable=self._durable)
        (home.cluster / "postmaster.pid").unlink(missing_ok=True)  # its pid may be anybody's by now

        for _ in range(PORT_ATTEMPTS):
            port = choose_port(home)
            log_size = self._launch(installation, port, lock)
            if self._became_ready():
                write_private(home.port_file, f"{port}\n")
                return
            if is_free(port):
                break
        raise EmbeddedPostgresUnavailable(
            f"the server ended at its start. The last lines of {home.server_log}:\n"
            + _last_lines(home.server_log, since=log_size)
        )

    def _launch(self, installation: Installation, port: int, lock: int) -> int:
        """Start the program and return how long its log was before."""
        home = self._home
        if home.server_log.exists() and home.server_log.stat().st_size > LOG_SIZE_LIMIT:
            home.server_log.replace(home.server_log.with_suffix(".log.old"))
        log = open_private(home.server_log, os.O_WRONLY | os.O_APPEND)
        try:
            log_size = os.fstat(log).st_size
            settings = SETTINGS if self._durable else SETTINGS | NOT_DURABLE
            options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            self._process = home.user.popen(
                [installation.postgres, "-D", home.cluster, "-p", str(port), *options],
                output=log,
                inherited=[lock],
            )
            return log_size
        finally:
            os.close(log)

    def _became_ready(self) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + READY_TIMEOUT_SECONDS
        while self._process.poll() is None:
            listening = read_listening(self._home)
            if listening is not None and listening.is_ready and listening.pid == self._process.pid:
                return True
            if time.monotonic() > deadline:
                self._process.kill()
            time.sleep(POLL_SECONDS)
        return False


def _last_lines(log: Path, *, since: int) -> str:
    text = log.read_bytes()[since:].decode(errors="replace")
    return "\n".join(text.strip().splitlines()[-OUTPUT_LINES_SHOWN:])
