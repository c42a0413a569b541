"""A database's disk that can be full: a small one of a test's own, or PostgreSQL refusing what would take room."""

import errno
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import FileIO
from pathlib import Path

import psycopg2

_BALLAST = "ballast"
_PIECE_BYTES = (1_048_576, 4096)  # large ones first, then what is left

_REFUSE = """
    CREATE OR REPLACE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$
"""
_TABLES = (
    "SELECT relname FROM pg_class WHERE relname LIKE 'push\\_%' AND relkind IN ('r', 'p') AND NOT relispartition"
)


class SmallDisk:
    """A mounted file system. What is to run on it goes below `directory`."""

    def __init__(self, mount_point: Path) -> None:
        self.directory = mount_point / "disk"
        self.directory.mkdir(mode=0o711)
        self._ballast = mount_point / _BALLAST

    def fill(self, *, but_for_megabytes: int = 0) -> None:
        """Leave no room, or so much; may be said again, for somebody may have made some."""
        if but_for_megabytes:
            room = shutil.disk_usage(self.directory).free - but_for_megabytes * _PIECE_BYTES[0]
            self._ballast.write_bytes(bytes(max(room, 0)))
            return
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in _PIECE_BYTES:
                _write_until_full(ballast, bytes(size))

    def free(self) -> None:
        self._ballast.unlink()


def _write_until_full(ballast: FileIO, piece: bytes) -> None:
    try:
        while True:
            ballast.write(piece)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


@contextmanager
def small_disk(megabytes: int) -> Iterator[SmallDisk | None]:
    """Mount one for the block. None where that is not allowed: in many a container, and to all but root."""
    mount_point = Path(tempfile.mkdtemp(prefix="small-disk-"))
    options = f"size={megabytes}m,mode=0711"
    is_mounted = shutil.which("mount") is not None and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", options, "small-disk", str(mount_point)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield SmallDisk(mount_point) if is_mounted else None
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(mount_point)], check=True)
        mount_point.rmdir()


class RefusedWrites:
    """A full disk as a service meets it, where none can be mounted: each write to our tables gets its error.

    It goes on reading, as it does with a full disk, and does not crash of it, as it may do then.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url

    def fill(self) -> None:
        self._execute("CREATE OR REPLACE TRIGGER no_room BEFORE INSERT OR UPDATE ON {} EXECUTE FUNCTION no_room()")

    def free(self) -> None:
        self._execute("DROP TRIGGER IF EXISTS no_room ON {}")

    def _execute(self, statement: str) -> None:
        with closing(psycopg2.connect(self._database_url)) as connection:
            connection.autocommit = True  # one table at a time: nobody waits for us in a circle
            cursor = connection.cursor()
            cursor.execute(_REFUSE)
            cursor.execute(_TABLES)
            for (table,) in cursor.fetchall():
                cursor.execute(statement.format(table))
