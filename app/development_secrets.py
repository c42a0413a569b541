"""Secrets for development: generated once into DATA_DIR, so that nothing has to be set to try the service.

Production never comes here: a missing secret stops its start instead.
"""

import os
import secrets
import tempfile
from pathlib import Path


def development_secret(data_dir: Path, name: str) -> str:
    """Return the secret kept in `data_dir/name`, generating it (mode 0600) the first time.

    Two processes that come at the same moment agree: the first complete file wins.
    """
    path = data_dir / name
    if not path.exists():
        _create_if_absent(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="ascii").strip()


def _create_if_absent(path: Path, secret: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret + "\n")
        os.link(draft, path)  # unlike rename, refuses to replace what another process wrote
    except FileExistsError:
        pass
    finally:
        Path(draft).unlink()
