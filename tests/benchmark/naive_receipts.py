"""The service with one more route, which stores receipts in the way that suggests itself. For receipts.py only."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.session import SessionFactory, transaction
from app.delivery.token import ReceiptTokens
from app.ids import new_id
from app.main import create_app
from app.models import DEFAULT_TENANT_ID, DeliveryBatch, DeliveryLog, DeliveryStatus, Receipt
from app.receipts.schemas import ReceiptIn, ReceiptsIn
from app.web.deps import SessionsDep

app = create_app()


def _tokens(request: Request) -> ReceiptTokens:
    tokens: ReceiptTokens = request.app.state.pipeline.receipt_tokens
    return tokens


@app.post("/naive-receipts/")
def report(
    body: ReceiptsIn, sessions: SessionsDep, tokens: Annotated[ReceiptTokens, Depends(_tokens)]
) -> dict[str, int]:
    return {"accepted": sum(_commit_one(sessions, tokens, receipt) for receipt in body.receipts)}


def _commit_one(sessions: SessionFactory, tokens: ReceiptTokens, receipt: ReceiptIn) -> bool:
    with transaction(sessions) as session:
        return _store(session, tokens, receipt)


def _store(session: Session, tokens: ReceiptTokens, receipt: ReceiptIn) -> bool:
    now = datetime.now(UTC)
    delivery = tokens.read(receipt.token, now=now)
    key = (delivery.planned_at, delivery.notification_id, delivery.subscription_id)
    row = session.get(DeliveryLog, key, with_for_update=True)
    if row is None:
        return False
    stored = insert(Receipt).values(
        id=new_id(),
        tenant_id=DEFAULT_TENANT_ID,
        planned_at=delivery.planned_at,
        notification_id=delivery.notification_id,
        subscription_id=delivery.subscription_id,
        event=receipt.event.value,
        occurred_at=now,
    )
    is_new = session.execute(stored.on_conflict_do_nothing().returning(Receipt.id)).one_or_none() is not None
    if row.status != DeliveryStatus.DELIVERED:
        row.status, row.delivered_at = DeliveryStatus.DELIVERED, now
        session.flush()
        session.execute(
            update(DeliveryBatch)
            .where(DeliveryBatch.id == row.batch_id)
            .values(sent_count=DeliveryBatch.sent_count - 1, delivered_count=DeliveryBatch.delivered_count + 1)
        )
    return is_new
