"""0004: a mass loss is held in quarantine, keys and tenants know more about themselves.

Why: a careless answer of a push service must not cost an audience; API keys are to be tied to networks; a rotated
VAPID key must stay rotated although the variables still hold the first one.
Safe beside the code before it: new columns are nullable or have a constant default, so no table is rewritten, and
that code reads and writes none of them. The index is partial, and empty when it is built; whoever reads or writes
the audience waits for one look at the table, as the new columns lock it until the migration is through.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEYS, SUBSCRIPTIONS, API_KEYS = "push_vapid_keys", "push_subscriptions", "push_api_keys"
QUARANTINES = "push_quarantines"
QUARANTINED_INDEX = "ix_push_subscriptions_quarantine_id"


def upgrade() -> None:
    op.add_column(KEYS, sa.Column("is_configured", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column(
        SUBSCRIPTIONS, sa.Column("key_is_assumed", sa.Boolean(), server_default=sa.text("true"), nullable=False)
    )
    op.add_column(SUBSCRIPTIONS, sa.Column("quarantine_id", sa.Uuid(), nullable=True))
    op.create_index(
        QUARANTINED_INDEX,
        SUBSCRIPTIONS,
        ["quarantine_id"],
        unique=False,
        postgresql_where=sa.text("quarantine_id IS NOT NULL"),
    )
    op.add_column(
        API_KEYS,
        sa.Column("allowed_networks", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.create_table(
        QUARANTINES,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_host", sa.Text(), nullable=False),
        sa.Column("vapid_key_id", sa.Uuid(), nullable=False),
        sa.Column("tripped_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("gone_count", sa.Integer(), nullable=False),
        sa.Column("tried_count", sa.Integer(), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_as", sa.Text(), nullable=True),
        sa.Column("ended_count", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "ended_as IN ('released', 'pruned', 'restored')", name=op.f("ck_push_quarantines_ended_as")
        ),
        sa.CheckConstraint("(ended_at IS NULL) = (ended_as IS NULL)", name=op.f("ck_push_quarantines_ended")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["push_tenants.id"], name=op.f("fk_push_quarantines_tenant_id_push_tenants")
        ),
        sa.ForeignKeyConstraint(
            ["vapid_key_id"], ["push_vapid_keys.id"], name=op.f("fk_push_quarantines_vapid_key_id_push_vapid_keys")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_quarantines")),
    )
    op.create_index(
        "uq_push_quarantines_open",
        QUARANTINES,
        ["tenant_id", "endpoint_host", "vapid_key_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_push_quarantines_lane",
        QUARANTINES,
        ["tenant_id", "endpoint_host", "vapid_key_id", "ended_at"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_table(QUARANTINES)
    op.drop_column(API_KEYS, "allowed_networks")
    op.drop_index(QUARANTINED_INDEX, table_name=SUBSCRIPTIONS)
    op.drop_column(SUBSCRIPTIONS, "quarantine_id")
    op.drop_column(SUBSCRIPTIONS, "key_is_assumed")
    op.drop_column(KEYS, "is_configured")
