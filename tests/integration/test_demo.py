"""`make demo`, with few browsers: what it prints, and that it leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

PROJECT_ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 300


def start(directory: Path, **variables: str) -> "subprocess.Popen[str]":
    """Start a demo of four browsers in a directory and a TMPDIR of its own."""
    temporary = directory / "tmp"
    temporary.mkdir()
    temporary.chmod(0o711)  # root's PostgreSQL, which runs as nobody, passes through
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", "demo", "--browsers", "4"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT), "TMPDIR": str(temporary), "COLUMNS": "80", **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a demo prints, beside a configuration that is none of its business."""
    directory = tmp_path_factory.mktemp("demo")
    (directory / ".env").write_text("DATABASE_URL=mysql://nobody@nowhere/none\n")
    with start(directory, DATABASE_URL="mysql://nobody@nowhere/none", ENVIRONMENT="production") as demo:
        output, _ = demo.communicate(timeout=TIMEOUT_SECONDS)
    assert demo.returncode == 0, output
    assert list((directory / "tmp").iterdir()) == []
    return output


def row(output: str, start: str) -> list[str]:
    """Return the cells of the table row that starts so."""
    [line] = [line.strip() for line in output.splitlines() if line.strip().startswith(start)]
    return re.split(r"\s{2,}", line)


def test_each_browser_shows_what_it_decrypted(shown: str) -> None:
    assert row(shown, "visitor-3") == ["visitor-3", "apple", "weather", "Hello: everybody"]
    assert row(shown, "visitor-4") == ["visitor-4", "wns", "news", "News: push works ✓; Hello: everybody"]


def test_who_left_saw_nothing(shown: str) -> None:
    assert row(shown, "visitor-1")[-1] == row(shown, "visitor-2")[-1] == "nothing: it is gone"


def test_what_the_service_recorded_is_shown(shown: str) -> None:
    names = ["notification", "targeted", "sent", "expired", "failed", "pending"]

    assert row(shown, "notification") == names
    # One of the two who left had the topic news: its first message ended its subscription.
    assert row(shown, "to the topic news") == ["to the topic news", "2", "1", "1", "0", "0"]
    assert row(shown, "to everybody") == ["to everybody", "3", "2", "1", "0", "0"]
    assert "What the browsers saw and what the service recorded agree." in shown


def test_it_says_where_to_look_next(shown: str) -> None:
    next_steps = shown.partition("Where to look next:")[2]

    assert all(named in next_steps for named in ("make run", "README.md", "app/delivery/"))


def test_it_fits_a_terminal_of_80_columns_and_is_plain_text_in_a_file(shown: str) -> None:
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "\x1b" not in shown


def test_an_interrupted_demo_stops_what_it_started(tmp_path: Path) -> None:
    with start(tmp_path) as demo:
        assert demo.stdout is not None
        demo.stdout.readline()  # the service runs
        children = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(signal.SIGTERM)
        output, _ = demo.communicate(timeout=TIMEOUT_SECONDS)

    assert output.endswith("Stopped.\n")
    assert demo.returncode == 130
    assert children
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert list((tmp_path / "tmp").iterdir()) == []
