"""What README.md names exists: variables with their defaults, files, routes, make's targets, metrics, statuses."""

import re
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from app.main import create_app
from app.observability import metrics
from app.settings import Settings

PROJECT_ROOT = Path(__file__).parents[2]
README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
UNSET = "–"

# Sections in the order of our style.
SECTIONS = [
    *("Run it", "Use it", "The picture", "Where things live", "Configuration", "Testing", "Operating"),
    *("Attacks, and what holds", "Decisions", "Words we use"),
]
PATHS = re.compile(r"(?:app|alembic|docker|tests)/[\w/.{},-]*")
PARAMETER = re.compile(r"{\w+}")
NAMED_TEST = re.compile(r"`([\w/.-]+\.(?:py|test\.js))::([^`]+)` \|$", re.MULTILINE)
METHODS = re.compile(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`]*)`")


def section(title: str) -> str:
    _, _, rest = README.partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0]


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@lru_cache(maxsize=1)
def variables() -> dict[str, str]:
    """Return the default that the configuration table gives each variable."""
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", section("Configuration"), re.MULTILINE)
    return {name: default.strip() for name, default in rows}


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return create_app(Settings(_env_file=None, data_dir=tmp_path))


def shown(default: Any) -> str:
    """Return a setting's default as the table shows it; what stands behind a dash is for people."""
    if default is None or default == ():
        return UNSET
    if isinstance(default, Enum):
        default = default.value
    if isinstance(default, tuple):
        default = ",".join(default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def test_the_sections_stand_in_their_order() -> None:
    assert re.findall(r"^## (.*)$", README, re.MULTILINE) == SECTIONS


def test_the_configuration_table_lists_every_variable_and_no_other() -> None:
    assert set(variables()) == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_the_configuration_table_gives_the_default(name: str) -> None:
    told = variables()[name.upper()]

    expected = shown(Settings.model_fields[name].default)
    assert told.partition(" (")[0] == expected


def test_no_other_variable_is_named_as_if_it_were_a_setting() -> None:
    settings = {name.upper() for name in Settings.model_fields}
    others = {"TEST_DATABASE_URL", "WEB_CONCURRENCY", "PORT"}  # pytest's, gunicorn's and make's

    assigned = set(re.findall(r"\b([A-Z][A-Z_]{2,})=", README))

    assert assigned <= settings | others


def test_every_file_it_names_is_there() -> None:
    named = {match.rstrip(".,") for match in PATHS.findall(README)}

    assert len(named) > 20
    assert [path for path in sorted(named) if not (PROJECT_ROOT / path).exists()] == []


def test_every_room_has_its_place_in_the_list() -> None:
    rooms = {path.name for path in (PROJECT_ROOT / "app").iterdir() if (path / "__init__.py").exists()}

    listed = set(re.findall(r"app/(\w+)/", section("Where things live")))

    assert rooms <= listed


def test_every_call_of_the_openapi_document_is_in_the_table_and_no_other(app: FastAPI) -> None:
    documented = {
        f"{method.upper()} {PARAMETER.sub('{id}', path)}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }

    told = {PARAMETER.sub("{id}", call) for call in METHODS.findall(section("Use it"))}
    assert told == documented


def test_every_status_of_the_openapi_document_that_refuses_is_explained(app: FastAPI) -> None:
    documented = {
        status
        for methods in app.openapi()["paths"].values()
        for operation in methods.values()
        for status in operation["responses"]
        if status.startswith("4")
    }

    told = set(re.findall(r"^\| (4\d\d) \|", section("Use it"), re.MULTILINE))

    assert documented <= told


def test_every_metric_it_names_is_declared() -> None:
    named = set(re.findall(r"\bpush_[a-z_]+", section("Operating"))) - {"push_alembic_version", "push_"}

    declared = {
        f"{metric._name}{suffix}"
        for metric in vars(metrics).values()
        if hasattr(metric, "_name")
        for suffix in ("", "_total", "_bucket")
    }

    assert named
    assert named <= declared


def test_make_has_the_targets_that_people_are_told_to_use() -> None:
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())

    assert {"run", "test", "lint", "bench", "demo", "help"} <= targets
    assert set(re.findall(r"\bmake ([a-z]+)\b", " ".join(code_blocks("bash")))) <= targets
    assert targets == phony


def test_make_help_lists_every_target() -> None:
    makefile = (PROJECT_ROOT / "Makefile").read_text(encoding="utf-8")

    unexplained = [line for line in makefile.splitlines() if re.match(r"^[a-z]+:(?!.*## )", line)]

    assert unexplained == []


def test_the_specifications_commands_stand_there_word_for_word() -> None:
    commands = "\n".join(code_blocks("bash"))

    for command in (
        "python -m venv venv",
        "source venv/bin/activate",
        "pip install -r requirements.txt",
        "cp .env.example .env",
        "alembic upgrade head",
        "uvicorn app.main:app --reload --port 8001",
        "pytest tests/unit/",
        "pytest tests/integration/",
        "locust -f tests/load/test_notifications.py --host http://localhost:8001",
    ):
        assert command in commands


@pytest.mark.parametrize("block", code_blocks("python"))
def test_the_python_example_is_python(block: str) -> None:
    compile(block, "README.md", "exec")


def test_every_attack_has_a_test_that_is_there() -> None:
    attacks = section("Attacks, and what holds")
    rows = [line for line in attacks.splitlines() if re.match(r"\| (?!.* what happens \|)[^-]", line)]

    named = NAMED_TEST.findall(attacks)
    missing = [f"{file}::{name}" for file, name in named if not _is_defined(PROJECT_ROOT / "tests" / file, name)]

    assert len(named) == len(rows) > 50
    assert missing == []


def _is_defined(file: Path, name: str) -> bool:
    definitions = [f"\ndef {name}("] if file.suffix == ".py" else [f'test("{name}", ', f"test(`{name}`, "]
    return file.exists() and any(each in file.read_text(encoding="utf-8") for each in definitions)
