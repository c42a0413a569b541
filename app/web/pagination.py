"""Pages of a list: `page` from 1, `limit` from 1 to 100."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query

MAX_LIMIT = 100
# 10,000 pages bound what OFFSET can cost: whoever reads further back filters, or uses a cursor.
MAX_PAGE = 10_000


@dataclass(frozen=True)
class Page:
    """Which part of a list was asked for."""

    page: int
    limit: int

    @property
    def offset(self) -> int:
        """Return how many items come before this page."""
        return (self.page - 1) * self.limit


def get_page(
    page: Annotated[int, Query(ge=1, le=MAX_PAGE, description="Page number, from 1.")] = 1,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items on a page.")] = 20,
) -> Page:
    return Page(page=page, limit=limit)


PageDep = Annotated[Page, Depends(get_page)]
