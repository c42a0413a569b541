"""0005: a notification can say what number the app's icon shows; skips are found by their subscription.

Why: an app's badge is part of a push message (Declarative Web Push, Badging API); and erasing a person looks skips
up by subscription.
Safe beside the code before it: the new column is nullable, so no table is rewritten, and that code neither reads
nor writes it. Nothing writes skips yet, so the index is built over nothing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NOTIFICATIONS, SKIPS = "push_notifications", "push_skips"
SKIPS_INDEX = "ix_push_skips_subscription_id"


def upgrade() -> None:
    op.add_column(NOTIFICATIONS, sa.Column("app_badge", sa.Integer(), nullable=True))
    op.create_index(SKIPS_INDEX, SKIPS, ["subscription_id"])


def downgrade() -> None:
    op.drop_index(SKIPS_INDEX, table_name=SKIPS)
    op.drop_column(NOTIFICATIONS, "app_badge")
