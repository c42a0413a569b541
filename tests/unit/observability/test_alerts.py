"""The alert rules in docker/prometheus: promtool runs their cases, and what they ask about exists."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from prometheus_client.metrics import MetricWrapperBase

from app import cli
from app.observability import metrics

RULES = Path(__file__).parents[3] / "docker" / "prometheus"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A copy of the rules and their cases."""
    for path in RULES.glob("*.yml"):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("needs promtool (of Debian's package prometheus)")
    return found


def run(promtool: str, rules: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [promtool, "test", "rules", str(rules / "alerts.test.yml")], capture_output=True, text=True, check=False
    )


def test_the_alerts_call_when_they_should_and_only_then(promtool: str, rules: Path) -> None:
    result = run(promtool, rules)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [(") > 0", ") > 1"), ("push_open_quarantines", "push_quarantined_subscriptions"), ("for: 2m", "for: 0m")],
)
def test_the_cases_notice_another_rule(promtool: str, rules: Path, right: str, wrong: str) -> None:
    path = rules / "alerts.yml"
    path.write_text(path.read_text().replace(right, wrong))

    assert run(promtool, rules).returncode == 1


def test_every_metric_they_ask_about_is_declared() -> None:
    declared = {next(iter(each.describe())).name for each in vars(metrics).values() if is_metric(each)}

    asked = set(re.findall(r"\bpush_\w+", (RULES / "alerts.yml").read_text()))

    assert asked
    assert asked <= declared


def test_every_command_they_name_is_one() -> None:
    named = set(re.findall(r"python -m app\.cli (\w+) (\w+)", (RULES / "alerts.yml").read_text()))
    groups = {group.name: group.typer_instance for group in cli.cli.registered_groups}

    assert ("quarantine", "list") in named
    assert all(command in names(groups[group]) for group, command in named)


def names(group: typer.Typer | None) -> set[str | None]:
    return {
        each.name or (each.callback and each.callback.__name__)
        for each in (group.registered_commands if group else ())
    }


def is_metric(value: object) -> bool:
    return isinstance(value, MetricWrapperBase)
