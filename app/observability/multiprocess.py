"""Where the processes of one service keep their metrics, so that a scrape of any of them shows all.

Import this before prometheus_client: that library looks at PROMETHEUS_MULTIPROC_DIR once, when it is imported.
"""

import os
from pathlib import Path

from pydantic_settings import BaseSettings

from app.settings import Settings, SettingsError

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class _DataDir(BaseSettings):
    """DATA_DIR alone: metrics are declared at import, where a fault in another setting is not ours to report."""

    model_config = Settings.model_config

    data_dir: Path = Settings.model_fields["data_dir"].default


def _prepare() -> Path:
    """Return the directory, made if need be. Raises SettingsError."""
    directory = Path(os.environ.get(VARIABLE) or _DataDir().data_dir / "metrics").absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"Metrics cannot be kept in {directory} ({error.strerror}). "
            f"Set DATA_DIR or {VARIABLE} to a directory that this user may write to."
        ) from error
    os.environ[VARIABLE] = str(directory)
    return directory


DIRECTORY = _prepare()
