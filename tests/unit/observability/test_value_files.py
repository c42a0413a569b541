import errno
import os
from pathlib import Path

import pytest

from app.observability import metrics, processes
from app.observability.value_files import RESERVED_BYTES, RESERVED_BYTES_OTHERWISE, ReservedFile
from tests.unit.observability.test_processes import run

needs_fallocate = pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")

# As on a full disk: no file gets room from the moment when the process starts.
FULL_DISK = """
import errno, os

def refuse(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

os.posix_fallocate = refuse
"""
COUNT = """
from app.observability import metrics

for status in range(2000):
    metrics.http_request_duration.labels(method="GET", route="/", status=str(status)).observe(0.1)
print("counted")
"""


def allocated_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512


@needs_fallocate
@pytest.mark.parametrize(
    ("name", "wanted"),
    [("histogram_1.db", RESERVED_BYTES["histogram"]), ("counter_1.db", RESERVED_BYTES_OTHERWISE)],
)
def test_a_file_has_its_room_before_anything_is_written(tmp_path: Path, name: str, wanted: int) -> None:
    file = ReservedFile(str(tmp_path / name))

    assert allocated_bytes(tmp_path / name) >= wanted
    file.close()


def test_a_file_that_is_there_keeps_its_values(tmp_path: Path) -> None:
    first = ReservedFile(str(tmp_path / "counter_1.db"))
    first.write_value("answers", 42.0, 0.0)
    first.close()

    again = ReservedFile(str(tmp_path / "counter_1.db"))

    assert again.read_value("answers") == (42.0, 0.0)
    again.close()


@needs_fallocate
def test_on_a_full_disk_counting_goes_on_in_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)

    file = ReservedFile(str(tmp_path / "counter_1.db"))
    for number in range(10_000):
        file.write_value(f"answers to {number}", float(number), 0.0)

    assert file.read_value("answers to 9999") == (9999.0, 0.0)
    assert list(tmp_path.iterdir()) == []
    file.close()


@needs_fallocate
def test_a_process_that_starts_on_a_full_disk_says_so_and_counts_all_the_same(tmp_path: Path) -> None:
    said = run(FULL_DISK + COUNT, tmp_path / "metrics")

    assert "metrics find no room on the disk" in said
    assert said.endswith("counted\n")
    assert list((tmp_path / "metrics").glob("*.db")) == []


@needs_fallocate
def test_prometheus_client_makes_its_files_so() -> None:
    metrics.rate_limiter_failures.inc(0)

    own = list(processes.DIRECTORY.glob(f"counter_{os.getpid()}.db"))

    assert own
    assert all(allocated_bytes(path) >= RESERVED_BYTES_OTHERWISE for path in own)
