"""How many processes there is room for: what the container may use counts, not what the machine has."""

import os
from pathlib import Path

import pytest

from app.workers import cores


@pytest.fixture
def quota(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file with the container's quota, not there yet, on a machine of eight cores."""
    path = tmp_path / "cpu.max"
    monkeypatch.setattr(cores, "_CGROUP_QUOTA", path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    return path


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("nonsense", 8)],
)
def test_a_quota_limits_the_cores(quota: Path, limit: str, expected: int) -> None:
    quota.write_text(limit)

    assert cores.available_cores() == expected


def test_without_a_quota_all_cores_count(quota: Path) -> None:
    assert cores.available_cores() == 8


@pytest.mark.parametrize(("limit", "expected"), [("max 100000", 7), ("200000 100000", 1), ("100000 100000", 1)])
def test_one_core_is_left_to_others_where_there_are_several(quota: Path, limit: str, expected: int) -> None:
    quota.write_text(limit)

    assert cores.default_worker_count() == expected
