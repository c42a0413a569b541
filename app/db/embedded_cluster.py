"""What is on disk of an embedded PostgreSQL: its cluster, and what that says about a running server."""

import contextlib
import os
import secrets
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.db.embedded_binaries import Installation
from app.db.embedded_files import EmbeddedPostgresUnavailable, write_private
from app.db.embedded_home import Home

OUTPUT_LINES_SHOWN = 12


@dataclass(frozen=True)
class Listening:
    """What a server says about itself in its postmaster.pid. A killed server leaves that behind."""

    pid: int
    port: int
    is_ready: bool


def read_listening(home: Home) -> Listening | None:
    """Return what the server wrote when it started, or None before that."""
    try:
        lines = (home.cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return Listening(pid=int(lines[0]), port=int(lines[3]), is_ready=lines[7].strip() == "ready")
    except (FileNotFoundError, IndexError, ValueError):  # none, or being written
        return None


def is_accepting(home: Home) -> bool:
    """Say whether connections can be made now."""
    listening = read_listening(home)
    if listening is None or not listening.is_ready:
        return False
    try:
        socket.create_connection(("127.0.0.1", listening.port), timeout=5).close()
    except OSError:
        return False
    return True


def choose_port(home: Home) -> int:
    """Return last time's port if it is free, else any free one."""
    with contextlib.suppress(FileNotFoundError, ValueError):  # the first start, or a file cut short
        port = int(home.port_file.read_text(encoding="ascii"))
        if is_free(port):
            return port
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port of 127.0.0.1."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def stored_major(home: Home) -> int | None:
    """Return the major version of PostgreSQL that made the cluster, or None if there is no cluster."""
    version_file = home.cluster / "PG_VERSION"
    return int(version_file.read_text(encoding="ascii")) if version_file.exists() else None


def create_cluster(home: Home, installation: Installation, *, durable: bool) -> None:
    """Run initdb. The cluster appears when it is complete, or not at all.

    Text is UTF-8, sorted by code point on every system. Passwords are checked by scram, there is no other way in.
    """
    if not home.password_file.exists():
        write_private(home.password_file, secrets.token_urlsafe(24) + "\n")
    draft = home.directory / "cluster.new"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    password_copy = _copy_of(home.password_file, home.directory)
    try:
        if home.user.uid is not None and home.user.gid is not None:
            os.chown(draft, home.user.uid, home.user.gid)
            os.chown(password_copy, home.user.uid, home.user.gid)
        locale = ["--locale=C"]
        if installation.major >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        status, output = home.user.run(
            [
                installation.initdb,
                *("--pgdata", draft, "--username=postgres", "--auth=scram-sha-256", "--pwfile", password_copy),
                *("--encoding=UTF8", *locale, "--no-instructions"),
                *([] if durable else ["--no-sync"]),
            ]
        )
        if status != 0:
            tail = "\n".join(output.strip().splitlines()[-OUTPUT_LINES_SHOWN:])
            raise EmbeddedPostgresUnavailable(f"initdb failed in {home.directory} (status {status}):\n{tail}")
        draft.rename(home.cluster)
    finally:
        password_copy.unlink(missing_ok=True)
        shutil.rmtree(draft, ignore_errors=True)


def _copy_of(password_file: Path, directory: Path) -> Path:
    descriptor, name = tempfile.mkstemp(dir=directory, prefix=".password-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(password_file.read_bytes())
    return Path(name)
