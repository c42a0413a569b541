"""The ledger's monthly partitions: made before they are needed, and checked again when planning."""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

_PARTITION_LOCK = 0x70757368_70617274  # "pushpart": one creator at a time


def ensure_partitions(session: Session, *moments: datetime) -> None:
    """See that the months of these moments (UTC) have a partition.

    A new one is made apart and then attached, which does not block those who read and write the others.
    """
    for start in sorted({_month_start(moment) for moment in moments}):
        name = partition_of(start)
        if not _exists(session, name):
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PARTITION_LOCK})
            if not _exists(session, name):
                _create(session, name, start)


def partition_of(moment: datetime) -> str:
    """Return the name of the partition that holds this moment."""
    return f"push_delivery_logs_{_month_start(moment):%Y_%m}"


def coming_months(now: datetime, count: int = 2) -> list[datetime]:
    """Return a moment in the present month and in each of the `count` months after it."""
    months = [_month_start(now)]
    for _ in range(count):
        months.append(_next_month(months[-1]))
    return months


def month_of(moment: datetime) -> tuple[datetime, datetime]:
    """Return the start and the end (half-open, UTC) of the partition that holds this moment."""
    start = _month_start(moment)
    return start, _next_month(start)


def _create(session: Session, name: str, start: datetime) -> None:
    # More than half of a page stays free: whole batches are updated at once, and each row's new version finds room
    # beside the old one (HOT), so that no index is written to.
    session.execute(text(f"CREATE TABLE {name} (LIKE push_delivery_logs INCLUDING ALL) WITH (fillfactor = 45)"))
    session.execute(
        text(
            f"ALTER TABLE push_delivery_logs ATTACH PARTITION {name}"
            f" FOR VALUES FROM ('{start.isoformat()}') TO ('{_next_month(start).isoformat()}')"
        )
    )


def _exists(session: Session, name: str) -> bool:
    # Not to_regclass(): within a transaction it remembers that there was none, also after waiting for its creator.
    is_attached = text(
        "SELECT EXISTS (SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
        " WHERE inhparent = 'push_delivery_logs'::regclass AND relname = :name)"
    )
    return session.scalar(is_attached, {"name": name}) is True


def _month_start(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(start: datetime) -> datetime:
    return start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
