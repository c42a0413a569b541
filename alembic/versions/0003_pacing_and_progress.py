"""0003: each push service has a pace of its own, and progress is cheap to look at.

Why: a push service that is slow, or says so, must not hold up the others, and all processes have to know. Counting
a million rows of the ledger to show a progress bar took longer than the bar's next step.
Safe beside the code before it: the columns are nullable or have a default, so no table is rewritten, and that code
reads and writes none of them. A batch that it closes has no counts, and is counted by its rows; so is one that is
open: somebody may have had it and given it back, so all of them count as claimed. The index is over open batches
only.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BATCHES, STATES, DRAIN = "push_delivery_batches", "push_service_states", "push_drain"
COUNTS = ("sent_count", "delivered_count", "failed_count", "expired_count")
LANE_INDEX = "ix_push_delivery_batches_lane"


def upgrade() -> None:
    op.add_column(BATCHES, sa.Column("position", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column(
        BATCHES, sa.Column("claimed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=True)
    )
    op.alter_column(BATCHES, "claimed_at", server_default=None)  # what is planned from now on nobody has had
    for name in COUNTS:
        op.add_column(BATCHES, sa.Column(name, sa.Integer(), nullable=True))
    op.create_index(
        LANE_INDEX,
        BATCHES,
        ["tenant_id", "endpoint_host", "vapid_key_id", "position", "not_before", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('ready', 'leased')"),
    )
    op.add_column(STATES, sa.Column("strikes", sa.SmallInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column(STATES, sa.Column("slowed_to", sa.Double(), nullable=True))
    op.add_column(STATES, sa.Column("slowed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(STATES, sa.Column("next_slot_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        DRAIN,
        sa.Column("id", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.CheckConstraint("id = 1", name=op.f("ck_push_drain_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_drain")),
    )


def downgrade() -> None:
    op.drop_table(DRAIN)
    for name in ("next_slot_at", "slowed_at", "slowed_to", "strikes"):
        op.drop_column(STATES, name)
    op.drop_index(LANE_INDEX, table_name=BATCHES)
    for name in (*reversed(COUNTS), "claimed_at", "position"):
        op.drop_column(BATCHES, name)
