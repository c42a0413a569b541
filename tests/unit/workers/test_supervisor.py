"""The supervisor, over small programs that stand in for a worker."""

import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.types import EventDict

from app.settings import Settings
from app.workers import supervisor as supervisor_module
from app.workers.supervisor import WORKER, Supervisor
from tests.support.api import SettingsFactory
from tests.support.waiting import until

# Each says that it is there by a file named after its pid.
UNTIL_ITS_INPUT_ENDS = 'touch "$0/$$"; exec cat > /dev/null'
DEAF = 'trap "" TERM; touch "$0/$$"; while :; do sleep 0.05; done'
GENTLE = 'trap "touch $0/gentle; exit 0" TERM; touch "$0/$$"; while :; do sleep 0.02; done'
SHORT_LIVED = 'touch "$0/$$"; exit 3'

Supervise = Callable[..., Supervisor]


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Where the programs say that they are there."""
    directory = tmp_path / "there"
    directory.mkdir()
    return directory


@pytest.fixture
def supervise(make_settings: SettingsFactory, there: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervise]:
    """`supervise(script, count=2)` starts that many shells; they are ended after the test."""
    monkeypatch.setattr(supervisor_module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(supervisor_module, "LONGEST_PAUSE_SECONDS", 0.08)
    supervisors: list[Supervisor] = []

    def start(script: str, count: int = 1) -> Supervisor:
        supervisor = Supervisor(make_settings(), count, command=["sh", "-c", script, str(there)])
        supervisors.append(supervisor)
        supervisor.start()
        return supervisor

    yield start
    for supervisor in supervisors:
        supervisor.kill()


def pids(there: Path) -> set[int]:
    return {int(path.name) for path in there.iterdir() if path.name.isdigit()}


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def deaths(logs: list[EventDict]) -> list[EventDict]:
    return [line for line in logs if line["event"] == "worker ended; another follows"]


def test_as_many_as_asked_for_are_started(supervise: Supervise, there: Path) -> None:
    supervise(UNTIL_ITS_INPUT_ENDS, count=3)

    until(lambda: len(pids(there)) == 3)


def test_one_that_was_killed_is_replaced_and_the_log_says_so(supervise: Supervise, there: Path) -> None:
    with capture_logs() as logs:
        supervise(UNTIL_ITS_INPUT_ENDS, count=2)
        until(lambda: len(pids(there)) == 2)
        victim = min(pids(there))

        os.kill(victim, signal.SIGKILL)
        until(lambda: len(pids(there)) == 3)

    assert not is_running(victim)
    assert all(is_running(pid) for pid in pids(there) - {victim})
    assert [line["how"] for line in deaths(logs)] == ["SIGKILL"]


def test_one_that_dies_again_and_again_is_started_more_and_more_rarely(supervise: Supervise) -> None:
    with capture_logs() as logs:
        supervise(SHORT_LIVED)
        until(lambda: len(deaths(logs)) >= 6)

    assert [line["pause_seconds"] for line in deaths(logs)][:6] == [0.01, 0.02, 0.04, 0.08, 0.08, 0.08]
    assert {line["how"] for line in deaths(logs)} == {"exit code 3"}


def test_after_a_long_life_the_next_one_follows_soon(supervise: Supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "LONG_LIFE_SECONDS", 0.0)

    with capture_logs() as logs:
        supervise(SHORT_LIVED)
        until(lambda: len(deaths(logs)) >= 3)

    assert {line["pause_seconds"] for line in deaths(logs)} == {0.01}


def test_a_program_that_cannot_be_started_is_tried_again(make_settings: SettingsFactory) -> None:
    supervisor = Supervisor(make_settings(), 1, command=["/nowhere/at/all"])

    with capture_logs() as logs:
        supervisor.start()
        until(lambda: bool(deaths(logs)))
        supervisor.stop()

    assert deaths(logs)[0]["how"] == "not started: No such file or directory"


def test_stopped_they_may_finish(supervise: Supervise, there: Path) -> None:
    supervisor = supervise(GENTLE)
    until(lambda: len(pids(there)) == 1)

    with capture_logs() as logs:
        supervisor.stop()

    assert (there / "gentle").exists()
    assert not is_running(*pids(there))
    assert logs == []


def test_stopped_those_that_do_not_end_are_killed(supervise: Supervise, there: Path) -> None:
    supervisor = supervise(DEAF, count=2)
    until(lambda: len(pids(there)) == 2)

    with capture_logs() as logs:
        supervisor.stop(patience_seconds=0.1)

    assert not any(is_running(pid) for pid in pids(there))
    assert [line["event"] for line in logs] == ["workers do not end, and are killed"]


def test_stopped_while_it_waits_it_ends_at_once(supervise: Supervise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "FIRST_PAUSE_SECONDS", 60.0)
    with capture_logs() as logs:
        supervisor = supervise(SHORT_LIVED)
        until(lambda: bool(deaths(logs)))

    started = time.monotonic()
    supervisor.stop()

    assert time.monotonic() - started < 30


def test_settings_reach_a_worker_by_its_input_alone_with_their_secrets(
    make_settings: SettingsFactory, tmp_path: Path
) -> None:
    settings = make_settings(database_url="postgresql://push:a-password@db/push", push_extra_hosts="push.example")
    said = tmp_path / "said"
    look = (
        "import os, pickle, pathlib, sys; settings = pickle.load(sys.stdin.buffer);"
        "seen = repr(dict(os.environ)) + repr(sys.argv);"
        f"written = pathlib.Path({str(tmp_path)!r}, str(os.getpid()));"
        "written.write_bytes(pickle.dumps((settings, seen)));"
        f"written.rename({str(said)!r})"
    )
    supervisor = Supervisor(settings, 1, command=[sys.executable, "-P", "-c", look])

    supervisor.start()
    until(said.exists)
    supervisor.stop()

    received, seen = pickle.loads(said.read_bytes())
    assert isinstance(received, Settings)
    assert received == settings
    assert received.secret_key == settings.secret_key is not None
    secrets = [settings.secret_key, settings.api_key, settings.jwt_secret_key]
    assert not any(secret.get_secret_value() in seen for secret in secrets if secret)
    assert "a-password" not in seen


def test_a_worker_is_started_without_the_directory_it_happens_to_be_in() -> None:
    assert "-P" in WORKER
