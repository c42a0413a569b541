"""0002: find a notification by its idempotency key.

Why: a client that never saw its answer asks by the key it sent, also after the stored answer is purged.
Safe: an index, and no code before it writes the column, so it is built empty, in one look at a table of a row per
notification. Writes to that table wait meanwhile. Not CONCURRENTLY: that cannot share the transaction which keeps
two deployments from migrating at once, and would wait for every old transaction of the site.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

INDEX = "ix_push_notifications_tenant_id_idempotency_key"


def upgrade() -> None:
    op.create_index(
        INDEX,
        "push_notifications",
        ["tenant_id", "idempotency_key"],
        unique=False,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index(INDEX, table_name="push_notifications")
