"""The files that metrics are kept in, with their room on the disk taken in advance.

prometheus_client maps them into memory without it. On a full disk the first new page would then end the process
with SIGBUS, and each that replaces it: a service that needs no disk would be down for want of counting.
"""

import errno
import os
from pathlib import Path

import structlog
from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

# A histogram's label set takes 4 KB. Attacked on every route with every method, a process fills 0.6 MiB.
RESERVED_BYTES = {"histogram": 2 * 1024 * 1024}
RESERVED_BYTES_OTHERWISE = 256 * 1024

_FULL = (errno.ENOSPC, errno.EDQUOT)

_log = structlog.stdlib.get_logger(__name__)


class ReservedFile(MmapedDict):
    """A file of values. Without room on the disk it is in memory: counting goes on, though nobody sees it."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        super().__init__(filename if read_mode else _with_room(Path(filename)), read_mode)  # type: ignore[no-untyped-call]


def use_reserved_files() -> None:
    """Have prometheus_client make its files so. Its metrics must be declared later."""
    values.MmapedDict = ReservedFile  # type: ignore[attr-defined]


def _with_room(path: Path) -> str:
    if not hasattr(os, "posix_fallocate"):  # macOS
        return str(path)
    kind = path.name.partition("_")[0]
    wanted = RESERVED_BYTES.get(kind, RESERVED_BYTES_OTHERWISE)
    try:
        with path.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, max(wanted, path.stat().st_size))
    except OSError as error:
        if error.errno not in _FULL:
            return str(path)
        _log.warning("metrics find no room on the disk; this process counts where nobody sees it", kind=kind)
        path.unlink(missing_ok=True)
        return f"/proc/self/fd/{os.memfd_create(path.name)}"
    return str(path)
