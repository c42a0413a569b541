"""Runs the SDK's own tests, which are JavaScript, on node's runner; and checks the types of its scripts.

`node push-client.test.js` in this directory runs one file of them.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TESTS = sorted(path.name for path in HERE.glob("*.test.js"))
COMPILER = HERE / "node_modules" / ".bin" / "tsc"
INSTALLED = HERE / "node_modules" / ".package-lock.json"  # npm writes it last
NPM_CI = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1")
FIRST_NODE = 20
PATIENCE_SECONDS = 120.0


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=HERE,
        env={**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


@pytest.fixture(scope="module")
def node() -> str:
    path = shutil.which("node")
    version = run(path, "--version").stdout if path else "v0"
    if path is None or int(version.lstrip("v").split(".")[0]) < FIRST_NODE:
        pytest.skip(f"needs node {FIRST_NODE} or later")
    return path


@pytest.fixture(scope="module")
def compiler() -> Path:
    """TypeScript's compiler, of the version in the lock file; installed from npm's registry the first time."""
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < (HERE / "package-lock.json").stat().st_mtime:
        if shutil.which("npm") is None:
            pytest.skip("needs npm")
        try:
            npm = run(*NPM_CI)
        except subprocess.TimeoutExpired:
            pytest.skip("needs npm's registry")
        if npm.returncode != 0:
            pytest.skip("needs npm's registry")
    return COMPILER


@pytest.mark.parametrize("name", TESTS)
def test_the_scripts_do_as_their_own_tests_say(node: str, name: str) -> None:
    result = run(node, "--test-reporter=spec", name)

    assert result.returncode == 0, result.stdout.partition("failing tests:")[2] or result.stdout + result.stderr
    assert re.search(r"^ℹ pass [1-9]", result.stdout, re.MULTILINE), "it has no tests"


def test_the_scripts_have_the_types_that_they_promise(node: str, compiler: Path) -> None:
    of_the_page, of_the_worker = (
        run(str(compiler), "--project", name) for name in ("tsconfig.json", "tsconfig.worker.json")
    )

    assert (of_the_page.stdout, of_the_worker.stdout) == ("", "")
    assert (of_the_page.returncode, of_the_worker.returncode) == (0, 0)
