"""Runs of several transactions that end in the middle, as by kill -9."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType

import pytest
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction

MOST_COMMITS = 200


class Killed(Exception):
    """The process ends here."""


def broken_off(run: Callable[[], object], module: ModuleType) -> Iterator[None]:
    """Run it until it ends by itself: first killed before its first transaction, then before its second, and so on.

    `module` is the one that opens its transactions. Comes back after each run, also after the whole one.
    """
    for commits in range(MOST_COMMITS):
        has_ended = False
        with pytest.MonkeyPatch.context() as patch, suppress(Killed):
            patch.setattr(module, "transaction", _mortal(commits))
            run()
            has_ended = True
        yield
        if has_ended:
            return
    pytest.fail(f"It takes more than {MOST_COMMITS} transactions", pytrace=False)


def _mortal(commits: int) -> Callable[[SessionFactory], object]:
    left = iter(range(commits))

    @contextmanager
    def mortal(sessions: SessionFactory) -> Iterator[Session]:
        if next(left, None) is None:
            raise Killed
        with transaction(sessions) as session:
            yield session

    return mortal
