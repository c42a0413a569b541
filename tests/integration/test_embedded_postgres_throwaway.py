"""Servers for tests leave nothing behind."""

from pathlib import Path

from app.db.embedded import throwaway
from tests.support.embedded_clients import Runner, answers, first_line, query
from tests.support.waiting import until

THROWAWAY = """
import sys
from app.db.embedded import throwaway
with throwaway() as url:
    print(url, flush=True)
    sys.stdin.read()
"""


def test_a_throwaway_server_leaves_nothing(tmp_path: Path) -> None:
    with throwaway() as url:
        data_dir = Path(query(url, "SHOW data_directory")).parents[1]
        assert query(url, "SHOW fsync") == "off"
        assert data_dir.exists()

    assert not data_dir.exists()
    assert not answers(url)


def test_a_throwaway_server_leaves_nothing_when_its_process_is_killed() -> None:
    with Runner().popen(THROWAWAY) as process:
        url = first_line(process)
        data_dir = Path(query(url, "SHOW data_directory")).parents[1]

        process.kill()

    until(lambda: not data_dir.exists(), "the keeper deletes it")
    assert not answers(url)
