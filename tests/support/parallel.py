"""Runs tests in several processes, as `make test` does: `pytest -n 2`.

Each process has its own servers, ports, data directory and metrics; a file's tests stay together in one, in their
order, and so do those of files that share something dear: a Firefox, a fresh PostgreSQL.
"""

from collections import Counter
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests/browser/", "tests/integration/test_embedded_postgres")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out files in the order of their names, so that the short ones come last and no process waits long."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, _ = nodeid.partition("::")
        return next((beginning for beginning in TOGETHER if path.startswith(beginning)), path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    config.option.loadscopereorder = False  # by the number of tests, which says little of how long they take
    return ByFile(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse two tests with one id: by their ids they are handed out, and one of the two would not run."""
    alike = [nodeid for nodeid, count in Counter(item.nodeid for item in items).items() if count > 1]
    if alike:
        raise pytest.UsageError(f"Several tests have the same id: {', '.join(alike)}")
