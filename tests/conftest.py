"""Separates the tests from the developer's environment, before anything of ours is imported."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# prometheus_client looks for this directory when it is imported, and never again.
assert "prometheus_client" not in sys.modules, "prometheus_client was imported before its directory was set"
DATA_DIR = Path(tempfile.mkdtemp(prefix="push-tests-"))
DATA_DIR.chmod(0o711)
(DATA_DIR / "prometheus").mkdir()
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(DATA_DIR / "prometheus")

from app.settings import Settings, get_settings  # noqa: E402
from tests.support.fuzzing import load_profile  # noqa: E402

pytest_plugins = (
    "tests.support.parallel",
    "tests.support.missing_parts",
    "tests.support.databases",
    "tests.support.valkey",
    "tests.support.embedded_clients",
    "tests.support.api",
    "tests.support.push_service",
    "tests.support.delivery",
)


load_profile()


def _forget_the_environment() -> None:
    ours = {name.upper() for name in Settings.model_fields}
    for name in list(os.environ):
        if name.upper() in ours or name.startswith("PG"):  # libpq reads PGHOST and the like
            del os.environ[name]
    os.environ["DATA_DIR"] = str(DATA_DIR)
    # Else every one of the many processes that tests start compiles all of the app for itself.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    Settings.model_config["env_file"] = None


_forget_the_environment()


@pytest.fixture(autouse=True)
def settings_are_read_anew() -> Iterator[None]:
    """A test that sets variables sees them, and the next test does not."""
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def pytest_unconfigure() -> None:
    shutil.rmtree(DATA_DIR, ignore_errors=True)
