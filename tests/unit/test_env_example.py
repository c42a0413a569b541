"""`.env.example` lists every variable, explains it, and changes nothing as it is."""

import re
from pathlib import Path

from dotenv import dotenv_values

from app.settings import Settings

PROJECT_ROOT = Path(__file__).parents[2]


def test_env_example_lists_every_variable_and_no_other() -> None:
    listed = dotenv_values(PROJECT_ROOT / ".env.example")

    assert set(listed) == {name.upper() for name in Settings.model_fields}


def test_env_example_unedited_equals_the_defaults(tmp_path: Path) -> None:
    plain = Settings(data_dir=tmp_path)
    from_example = Settings(_env_file=PROJECT_ROOT / ".env.example", data_dir=tmp_path)

    assert from_example == plain


def test_env_example_shows_the_default_of_each_variable() -> None:
    listed = dotenv_values(PROJECT_ROOT / ".env.example")

    for name, field in Settings.model_fields.items():
        is_empty = field.default in {None, ()}
        assert bool(listed[name.upper()]) is not is_empty, f"{name.upper()} should{' not' * is_empty} have a value"


def test_env_example_explains_every_group_of_variables() -> None:
    text = (PROJECT_ROOT / ".env.example").read_text()

    unexplained = [
        block for block in re.split(r"\n\s*\n", text) if "=" in block and not block.lstrip().startswith("#")
    ]
    assert unexplained == []
