import pytest

from app.health.checks import is_ready, overall
from app.health.schemas import Dependency, Overall, Status

FINE = {"database": "ok", "migrations": "ok", "workers": "ok", "audience": "ok", "redis": "ok"}


def parts(**statuses: str) -> dict[str, Dependency]:
    return {name: Dependency(status=Status(status)) for name, status in (FINE | statuses).items()}


@pytest.mark.parametrize(
    ("statuses", "whole"),
    [
        ({}, Overall.OK),
        ({"redis": "not configured"}, Overall.OK),
        ({"redis": "down"}, Overall.DEGRADED),
        ({"workers": "degraded"}, Overall.DEGRADED),
        ({"workers": "unknown"}, Overall.DEGRADED),
        ({"audience": "degraded"}, Overall.DEGRADED),
        ({"database": "down", "migrations": "unknown"}, Overall.UNHEALTHY),
        ({"migrations": "down"}, Overall.UNHEALTHY),
        ({"migrations": "down", "redis": "down"}, Overall.UNHEALTHY),
    ],
)
def test_the_whole_is_as_well_as_its_vital_parts(statuses: dict[str, str], whole: Overall) -> None:
    assert overall(parts(**statuses)) is whole


@pytest.mark.parametrize(
    ("statuses", "ready"),
    [
        ({}, True),
        ({"redis": "down", "workers": "degraded"}, True),
        ({"database": "down"}, False),
        ({"migrations": "unknown"}, False),
    ],
)
def test_ready_needs_the_vital_parts_only(statuses: dict[str, str], ready: bool) -> None:
    assert is_ready(parts(**statuses)) is ready


def test_the_cause_is_for_the_log_and_never_in_an_answer() -> None:
    dependency = Dependency(status=Status.DOWN, cause="connection to 10.0.0.7 failed")

    assert "10.0.0.7" not in dependency.model_dump_json()
    assert "cause" not in Dependency.model_json_schema(mode="serialization")["properties"]
