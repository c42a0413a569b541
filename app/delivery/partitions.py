"""The ledger's monthly partitions: made before they are needed, checked when planning, dropped by retention."""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

# To drop a month takes locks that stop everybody: who waits for them for longer than this gives up. Less than
# PostgreSQL's deadlock_timeout, so that it never ends one of the others.
DROPPED_WITHIN_MS = 500

_PREFIX = "push_delivery_logs_"
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
    return f"{_PREFIX}{_month_start(moment):%Y_%m}"


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


def stored_months(session: Session) -> list[datetime]:
    """Return the starts of the months that have a partition, the oldest first."""
    names = session.scalars(
        text(
            "SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = 'push_delivery_logs'::regclass ORDER BY relname"
        )
    )
    return [datetime.strptime(name, f"{_PREFIX}%Y_%m").replace(tzinfo=UTC) for name in names]


def drop_month(session: Session, start: datetime) -> None:
    """Drop a month's partition with all its rows, if it is there.

    Raises OperationalError when others are not done with the ledger within DROPPED_WITHIN_MS.
    """
    name = partition_of(start)
    session.execute(text(f"SET LOCAL lock_timeout = {DROPPED_WITHIN_MS}"))
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PARTITION_LOCK})
    # All at once, and these two first, as its foreign key hangs on the other.
    session.execute(text("LOCK TABLE push_notifications, push_delivery_logs IN ACCESS EXCLUSIVE MODE"))
    session.execute(text(f"DROP TABLE IF EXISTS {name}"))


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
