"""Says at the end of a run what was not tested because this machine lacks a part, such as Firefox.

A test that lacks something skips with a reason that begins with "needs ": `pytest.skip("needs firefox-esr")`. With
CI=true and PUSH_TESTS_REQUIRE_ALL=1 a skipped test is a failed one.
"""

import os
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

MARK = "needs "


def must_not_skip() -> bool:
    return os.environ.get("CI") == "true" and os.environ.get("PUSH_TESTS_REQUIRE_ALL") == "1"


def skip_reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test or a module was skipped."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return str(report.longrepr)


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if must_not_skip() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"Skipped, but PUSH_TESTS_REQUIRE_ALL=1 wants every test to run: {skip_reason(report)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    skipped = Counter(skip_reason(report) for report in terminalreporter.stats.get("skipped", []))
    missing = {reason.removeprefix(MARK): count for reason, count in skipped.items() if reason.startswith(MARK)}
    if missing:
        terminalreporter.section("not tested here")
        for part, count in sorted(missing.items()):
            terminalreporter.line(f"{count:4d} skipped, because this needs {part}")
