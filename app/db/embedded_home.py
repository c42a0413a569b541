"""Where an embedded PostgreSQL is kept, and as whom its programs run.

Normally everything is in DATA_DIR/postgres. PostgreSQL refuses to run as root, so root runs it as `nobody`; where
`nobody` cannot get in (a checkout below /root), the cluster goes below /var/lib and DATA_DIR notes where.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app.db.embedded_files import EmbeddedPostgresUnavailable, write_private

if sys.platform != "win32":
    import pwd

SHARED_ROOT = Path("/var/lib/push-notification-service")
COMMAND_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class SystemUser:
    """The user that PostgreSQL's programs run as; None for both means: as whoever we are."""

    uid: int | None = None
    gid: int | None = None

    def popen(
        self, command: Sequence[str | Path], *, output: int = subprocess.PIPE, inherited: Sequence[int] = ()
    ) -> subprocess.Popen[str]:
        """Start a program as this user, in `/`, in a session of its own, with next to nothing of our environment.

        Our environment holds secrets, and PG* variables would change what PostgreSQL does.
        """
        environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment | {"LC_ALL": "C", "TZ": "UTC"},
            user=self.uid,
            group=self.gid,
            extra_groups=None if self.gid is None else [self.gid],
            pass_fds=inherited,
            start_new_session=True,
            text=True,
            errors="replace",
        )

    def run(self, command: Sequence[str | Path]) -> tuple[int, str]:
        """Run a program to its end and return its status and all that it printed."""
        try:
            with self.popen(command) as process:
                try:
                    output, _ = process.communicate(timeout=COMMAND_TIMEOUT_SECONDS)
                except BaseException:
                    process.kill()
                    raise
                return process.returncode, output
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            return -1, f"{command[0]}: {error}"

    def can_enter(self, directory: Path) -> bool:
        """Say whether this user reaches a directory. It tries, because modes do not tell all (ACLs, namespaces)."""
        status, _ = self.run(["/bin/sh", "-c", 'cd -- "$1"', "sh", directory])
        return status == 0


@dataclass(frozen=True)
class Home:
    """The files of one embedded PostgreSQL."""

    noted_in: Path  # DATA_DIR/postgres
    directory: Path  # the same, or a directory below SHARED_ROOT
    user: SystemUser

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory."""
        return self.directory / "cluster"

    @property
    def password_file(self) -> Path:
        return self.noted_in / "password"

    @property
    def port_file(self) -> Path:
        """The port of last time, to be used again if it is free."""
        return self.directory / "port"

    @property
    def server_log(self) -> Path:
        return self.directory / "postgres.log"

    @property
    def keeper_log(self) -> Path:
        return self.directory / "keeper.log"

    @property
    def clients_lock(self) -> Path:
        """Held, shared, by every client; alone, by a keeper that stops the server."""
        return self.directory / "clients.lock"

    @property
    def keeper_lock(self) -> Path:
        return self.directory / "keeper.lock"

    @property
    def server_lock(self) -> Path:
        """Held by PostgreSQL's own processes, all of them."""
        return self.directory / "server.lock"


def prepare_directory(data_dir: Path) -> Path:
    """Create DATA_DIR/postgres if it is not there and return its absolute path."""
    directory = data_dir.resolve() / "postgres"
    directory.parent.mkdir(parents=True, exist_ok=True)
    _make_ours(directory)
    return directory


def locate(directory: Path) -> Home:
    """Return the home that belongs to DATA_DIR/postgres, deciding where it is the first time.

    To be called by one process at a time, because the decision is written down.
    """
    note = directory / "location"
    if note.exists():
        elsewhere = Path(note.read_text(encoding="utf-8").strip())
        SHARED_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
        _make_ours(elsewhere)
        return Home(directory, elsewhere, _user_for(elsewhere))

    user = _user_for(directory)
    if (directory / "cluster").exists() or user.uid is None or user.can_enter(directory):
        return Home(directory, directory, user)

    elsewhere = SHARED_ROOT / secrets.token_hex(8)
    SHARED_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    _make_ours(elsewhere)
    if not user.can_enter(elsewhere):
        elsewhere.rmdir()
        raise EmbeddedPostgresUnavailable(
            "PostgreSQL must not run as root, and the user nobody, whom it would run as, can enter neither"
            f" {directory} nor {SHARED_ROOT}."
        )
    write_private(note, f"{elsewhere}\n")
    return Home(directory, elsewhere, user)


def _user_for(directory: Path) -> SystemUser:
    """Return whom to run as. Root becomes the owner of the cluster that is there, else nobody."""
    if os.geteuid() != 0:
        return SystemUser()
    cluster = directory / "cluster"
    owner = cluster.stat() if cluster.exists() else None
    if owner is not None and owner.st_uid != 0:
        return SystemUser(owner.st_uid, owner.st_gid)
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedPostgresUnavailable(
            "PostgreSQL must not run as root, and this system has no user called nobody."
        ) from None
    user = SystemUser(nobody.pw_uid, nobody.pw_gid)
    status, output = user.run(["/bin/sh", "-c", ":"])
    if status != 0:
        raise EmbeddedPostgresUnavailable(
            f"PostgreSQL must not run as root, and root may not become nobody here ({output.strip()})."
            " Run as an ordinary user."
        )
    return user


def _make_ours(directory: Path) -> None:
    try:
        directory.mkdir()
    except FileExistsError:
        return
    directory.chmod(0o711 if os.geteuid() == 0 else 0o700)  # whatever the umask: nobody has to pass
