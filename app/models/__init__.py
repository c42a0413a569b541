"""The shelf of tables, one family per file. Importing this module registers them all."""

from app.models.delivery import BatchState, DeliveryBatch, DeliveryLog, DeliveryStatus, Skip
from app.models.drain import Drain
from app.models.idempotency_key import IdempotencyKey
from app.models.notification import Notification, NotificationState
from app.models.quarantine import Quarantine
from app.models.receipt import Receipt, Rollup
from app.models.service_state import ServiceState
from app.models.subscription import Subscription
from app.models.tenant import DEFAULT_TENANT_ID, ApiKey, Tenant
from app.models.vapid_key import VapidKey

__all__ = [
    "DEFAULT_TENANT_ID",
    "ApiKey",
    "BatchState",
    "DeliveryBatch",
    "DeliveryLog",
    "DeliveryStatus",
    "Drain",
    "IdempotencyKey",
    "Notification",
    "NotificationState",
    "Quarantine",
    "Receipt",
    "Rollup",
    "ServiceState",
    "Skip",
    "Subscription",
    "Tenant",
    "VapidKey",
]
