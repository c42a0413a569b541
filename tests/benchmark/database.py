"""What the database work of a delivery costs our process: planning and running, with a sender that costs nothing.

Run: python -m tests.benchmark.database [--count 20000] [--rounds 8]. In this process, on a PostgreSQL that is
thrown away. The least of the rounds is what the work takes; the median has what else the machine did in it.
"""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from uuid import UUID

import psutil
from alembic import command
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.db.embedded import throwaway
from app.db.session import SessionFactory, create_sessions, engine_of, transaction
from app.delivery import plan
from app.delivery.inline import InlineLimits
from app.delivery.run import Pipeline, run_batch
from app.keyring.service import Keyring, active_key
from app.models import DEFAULT_TENANT_ID, DeliveryLog, DeliveryStatus
from app.notifications import service
from app.notifications.schemas import BroadcastRequest
from app.notifications.sent import Sent
from app.push.message import PushMessage
from app.push.outcome import Outcome, Reason, Verdict
from app.push.sender import Outcomes, never
from tests.benchmark import progress, report
from tests.benchmark.measuring import ecdh_us
from tests.benchmark.report import Goal
from tests.benchmark.usage import postgres_cpu_seconds, postmaster_of
from tests.support.databases import alembic_config, dispose

GOAL_US = 20.0
TTL_SECONDS = 3600
NOTHING_INLINE = InlineLimits(max_recipients=0, timeout_seconds=1)
SECRET_KEY = "a-secret-of-the-benchmark-" + "x" * 32
ANSWERS_AT_ONCE = 50  # as they come from a push service: some of a batch
# Endpoints and keys as long as real ones.
_SUBSCRIBE = text(
    """
    INSERT INTO push_subscriptions
        (id, tenant_id, endpoint, endpoint_hash, endpoint_host, p256dh, auth, vapid_key_id, topics)
    SELECT gen_random_uuid(), :tenant_id, 'https://127.0.0.1:8443/fcm/' || repeat('x', 140) || number,
        sha256(number::text::bytea), '127.0.0.1:8443', repeat('p', 87), repeat('a', 22), :vapid_key_id, '{}'
    FROM generate_series(1, :count) number
    """
)


class EffortlessSender:
    """Accepts every message at once."""

    def send(
        self,
        messages: Sequence[PushMessage],
        *,
        stop: Callable[[], bool] = never,
        rate_per_second: float | None = None,
    ) -> Outcomes:
        accepted = Outcome(Verdict.ACCEPTED, Reason.ACCEPTED, 201, message_id="0123456789abcdef", seconds=0.01)
        for first in range(0, len(messages), ANSWERS_AT_ONCE):
            yield [(message, accepted) for message in messages[first : first + ANSWERS_AT_ONCE]]

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Microseconds:
    """CPU for each delivery, of one step."""

    ours: float
    postgres: float


def main() -> None:
    options = report.parser("What the database work of a delivery costs.", count=20_000, rounds=8).parse_args()
    console = report.new_console()
    with _pipeline(options.count) as pipeline:
        postgres = _postmaster(pipeline.sessions)
        planning, running = [], []
        with progress.steps(console, options.rounds + 1) as say:
            for number in range(options.rounds + 1):
                say(progress.round_name(number, options.rounds))
                sent = _begin(pipeline)
                with _measured(postgres, options.count) as step:
                    batch_ids = _plan(pipeline, sent)
                planning += step if number else []
                with _measured(postgres, options.count) as step:
                    for batch_id in batch_ids:
                        run_batch(pipeline, batch_id)
                running += step if number else []
        _check(pipeline.sessions, (options.rounds + 1) * options.count)
    both = [Microseconds(a.ours + b.ours, a.postgres + b.postgres) for a, b in zip(planning, running, strict=True)]
    console.print(
        report.table(
            f"The database work of a delivery; {options.rounds} rounds of {options.count:,}",
            ("step", "CPU µs each, at least", "median", "PostgreSQL meanwhile, median"),
            [_row("planning", planning), _row("running", running), _row("both", both)],
            notes=[*report.versions(["psycopg2-binary", "sqlalchemy"]), f"one ECDH: {ecdh_us():.0f} µs"],
        )
    )
    least = min(each.ours for each in both)
    goal = Goal("database work of a delivery, our CPU", f"≤ {GOAL_US:g} µs", f"{least:.1f} µs", least <= GOAL_US)
    report.conclude(console, [goal], goals_to=options.goals_to)


@contextmanager
def _pipeline(audience: int) -> Iterator[Pipeline]:
    """Yield a pipeline over a database of its own with so many subscribers."""
    with throwaway() as url:
        migrations = alembic_config(url)
        migrations.stdout = io.StringIO()  # what it applies is nobody's concern here
        command.upgrade(migrations, "head")
        sessions, keyring = create_sessions(url), Keyring(SECRET_KEY)
        with transaction(sessions) as session:
            keyring.synchronise(session, None)
            key = active_key(session, DEFAULT_TENANT_ID)
            values = {"tenant_id": DEFAULT_TENANT_ID, "vapid_key_id": key.id, "count": audience}
            session.execute(_SUBSCRIBE, values)
        with engine_of(sessions).connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
        pipeline = Pipeline(sessions, EffortlessSender(), keyring)
        yield pipeline
        pipeline.inline.shutdown()
        dispose(sessions)


def _postmaster(sessions: SessionFactory) -> psutil.Process:
    with transaction(sessions) as session:
        return psutil.Process(postmaster_of(lambda statement: str(session.scalar(text(statement)))))


@contextmanager
def _measured(postgres: psutil.Process, deliveries: int) -> Iterator[list[Microseconds]]:
    took: list[Microseconds] = []
    theirs, ours = postgres_cpu_seconds(postgres), time.process_time()
    yield took
    ours, theirs = time.process_time() - ours, postgres_cpu_seconds(postgres) - theirs
    took.append(Microseconds(ours * 1e6 / deliveries, theirs * 1e6 / deliveries))


def _begin(pipeline: Pipeline) -> Sent:
    sent = service.send(
        pipeline,
        BroadcastRequest(title="New Blog Post", body="Check out the latest article"),
        tenant_id=DEFAULT_TENANT_ID,
        default_ttl_seconds=TTL_SECONDS,
        limits=NOTHING_INLINE,
    )
    assert isinstance(sent, Sent)
    return sent


def _plan(pipeline: Pipeline, sent: Sent) -> list[UUID]:
    batch_ids, is_last = [], False
    while not is_last:
        with transaction(pipeline.sessions) as session:
            page = plan.plan_page(session, sent.notification.id)
        batch_ids += page.batch_ids
        is_last = page.is_last
    return batch_ids


def _check(sessions: SessionFactory, expected: int) -> None:
    def count(session: Session) -> int:
        return session.scalars(select(func.count()).where(DeliveryLog.status == DeliveryStatus.SENT)).one()

    with transaction(sessions) as session:
        assert count(session) == expected


def _row(name: str, rounds: list[Microseconds]) -> tuple[str, ...]:
    least, middle = min(each.ours for each in rounds), median(each.ours for each in rounds)
    return name, f"{least:.1f}", f"{middle:.1f}", f"{median(each.postgres for each in rounds):.1f}"


if __name__ == "__main__":
    main()
