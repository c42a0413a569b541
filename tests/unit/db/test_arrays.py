import pytest
from sqlalchemy import text

from app.db.arrays import plain_array, text_array
from app.db.session import transaction
from app.ids import new_id

ODD_TEXTS = [
    "plain",
    "",
    "NULL",
    "null",
    "a,b",
    "{}",
    '"quoted"',
    "back\\slash",
    "two\nlines",
    " spaces ",
    "naïve ✓",
    None,
]


def read_back(sessions, literal, type_):
    with transaction(sessions) as session:
        return session.scalar(text(f"SELECT CAST(:literal AS {type_}[])"), {"literal": literal})


def test_any_text_comes_back_as_it_was(sessions):
    assert read_back(sessions, text_array(ODD_TEXTS), "text") == ODD_TEXTS


@pytest.mark.parametrize(
    ("values", "type_"), [([1, None, -3], "smallint"), (["sent", None], "text"), ([], "int")], ids=str
)
def test_plain_values_and_nulls_come_back(sessions, values, type_):
    assert read_back(sessions, plain_array(values), type_) == values


def test_ids_come_back(sessions):
    ids = [new_id(), new_id()]

    assert read_back(sessions, plain_array(ids), "uuid") == ids
