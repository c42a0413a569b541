"""Batches sent by processes of their own, and the state of the push services that refuse them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text

from app.db.session import transaction
from app.delivery import plan
from app.delivery.run import Pipeline, run_batch
from app.delivery.traffic import Traffic
from app.models import DeliveryLog, ServiceState
from app.push.outcome import Outcome, Reason, Verdict
from app.push.sender import Sender
from tests.support.delivery import NOTHING_INLINE, send
from tests.support.senders import ScriptedSender

REFUSED = Outcome(Verdict.KEY_MISMATCH, Reason.KEY_MISMATCH, 403, "BadJwtToken")
ESTABLISHED: Mapping[str, Any] = {"first_accepted_at": datetime(2026, 1, 1, tzinfo=UTC)}


def planned(pipeline: Pipeline, **fields: Any) -> Sequence[UUID]:
    """Plan a notification, by default a broadcast, and return its batches."""
    sent = send(pipeline, limits=NOTHING_INLINE, **fields)
    with transaction(pipeline.sessions) as session:
        return plan.plan_page(session, sent.notification.id).batch_ids


def a_process(pipeline: Pipeline, sender: Sender) -> Pipeline:
    """One that knows only what the database says."""
    return replace(pipeline, sender=sender, traffic=Traffic())


def run(pipeline: Pipeline, batch_ids: Sequence[UUID], outcomes: Sequence[Outcome]) -> list[int]:
    """Run each batch in a process of its own; return how many messages each posted."""
    posted = []
    for batch_id in batch_ids:
        sender = ScriptedSender(outcomes)
        run_batch(a_process(pipeline, sender), batch_id)
        posted.append(len(sender.posted))
    return posted


def states(pipeline: Pipeline) -> list[tuple[str | None, int, int]]:
    """Return the reason, and how many were tried and refused, of each push service that has had trouble."""
    with transaction(pipeline.sessions) as session:
        rows = session.scalars(select(ServiceState).order_by(ServiceState.endpoint_host))
        return [(row.reason, row.window_tried, row.window_refused) for row in rows]


def is_paused(pipeline: Pipeline) -> bool:
    with transaction(pipeline.sessions) as session:
        return bool(session.scalar(select(func.count()).where(ServiceState.paused_until > func.now())))


def ledger(pipeline: Pipeline) -> list[tuple[Any, ...]]:
    """Return how many deliveries there are of each status and reason."""
    with transaction(pipeline.sessions) as session:
        rows = session.execute(
            select(DeliveryLog.status, DeliveryLog.reason, func.count())
            .group_by(DeliveryLog.status, DeliveryLog.reason)
            .order_by(DeliveryLog.status, DeliveryLog.reason)
        )
        return [tuple(row) for row in rows]


def let_it_be_later(pipeline: Pipeline) -> None:
    """As if the pause were over, and all retries due."""
    with transaction(pipeline.sessions) as session:
        session.execute(text("UPDATE push_service_states SET paused_until = now()"))
        session.execute(text("UPDATE push_delivery_batches SET not_before = now() WHERE state = 'ready'"))
