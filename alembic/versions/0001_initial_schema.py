"""0001: the initial schema.

Why: every table carries its tenant from the start, and the ledger its partitions; both are hard to add
later. Safe: creates only tables named push_*; nothing else in a shared database is touched. The downgrade
drops them, and with them the audience.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "push_tenants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("jwt_issuer", sa.Text(), nullable=True),
        sa.Column("jwt_public_key", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_tenants")),
        sa.UniqueConstraint("jwt_issuer", name=op.f("uq_push_tenants_jwt_issuer")),
        sa.UniqueConstraint("slug", name=op.f("uq_push_tenants_slug")),
    )
    op.create_table(
        "push_api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["push_tenants.id"], name=op.f("fk_push_api_keys_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_push_api_keys_key_hash")),
    )
    op.create_index("ix_push_api_keys_tenant_id", "push_api_keys", ["tenant_id"], unique=False)
    op.create_table(
        "push_idempotency_keys",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column("notification_id", sa.Uuid(), nullable=True),
        sa.Column("response_status", sa.SmallInteger(), nullable=True),
        sa.Column("response_body", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["push_tenants.id"], name=op.f("fk_push_idempotency_keys_tenant_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "key", name=op.f("pk_push_idempotency_keys")),
    )
    op.create_index("ix_push_idempotency_keys_created_at", "push_idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "push_notifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("icon", sa.Text(), nullable=True),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("badge", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("tag", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("actions", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("scheduled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_broadcast", sa.Boolean(), nullable=False),
        sa.Column("target_topics", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("target_user_ids", sa.ARRAY(sa.Text()), nullable=True),
        sa.Column("target_subscription_ids", sa.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("ttl_seconds", sa.Integer(), nullable=False),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("collapse_key", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("accepted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("plan_after", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("planning_cursor", sa.Uuid(), nullable=True),
        sa.Column("planned_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("targeted", sa.Integer(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("frozen_counts", sa.JSON(none_as_null=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('scheduled', 'planning', 'sending', 'sent', 'cancelled')",
            name=op.f("ck_push_notifications_state"),
        ),
        sa.CheckConstraint(
            "urgency IN ('very-low', 'low', 'normal', 'high')", name=op.f("ck_push_notifications_urgency")
        ),
        sa.CheckConstraint("ttl_seconds >= 0", name=op.f("ck_push_notifications_ttl_seconds")),
        sa.ForeignKeyConstraint(["tenant_id"], ["push_tenants.id"], name=op.f("fk_push_notifications_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_notifications")),
    )
    op.create_index(
        "ix_push_notifications_tenant_id_created_at",
        "push_notifications",
        ["tenant_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_push_notifications_tenant_id_type",
        "push_notifications",
        ["tenant_id", "type", "created_at"],
        unique=False,
    )
    op.create_index(
        "ix_push_notifications_unfinished",
        "push_notifications",
        ["state", "scheduled_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('scheduled', 'planning', 'sending')"),
    )
    op.create_table(
        "push_rollups",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("notification_type", sa.Text(), nullable=False),
        sa.Column("endpoint_host", sa.Text(), nullable=False),
        sa.Column("pending", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("sent", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("delivered", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("expired", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("clicked", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("closed", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("rebuilt_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["push_tenants.id"], name=op.f("fk_push_rollups_tenant_id")),
        sa.PrimaryKeyConstraint(
            "tenant_id", "day", "notification_type", "endpoint_host", name=op.f("pk_push_rollups")
        ),
    )
    op.create_table(
        "push_vapid_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("private_key_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["push_tenants.id"], name=op.f("fk_push_vapid_keys_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_vapid_keys")),
        sa.UniqueConstraint("tenant_id", "public_key", name=op.f("uq_push_vapid_keys_tenant_id_public_key")),
    )
    op.create_index(
        "uq_push_vapid_keys_active",
        "push_vapid_keys",
        ["tenant_id"],
        unique=True,
        postgresql_where=sa.text("is_active"),
    )
    op.create_table(
        "push_delivery_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("endpoint_host", sa.Text(), nullable=False),
        sa.Column("vapid_key_id", sa.Uuid(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'leased') = (lease_token IS NOT NULL)",
            name=op.f("ck_push_delivery_batches_leased_has_token"),
        ),
        sa.CheckConstraint("state IN ('ready', 'leased', 'closed')", name=op.f("ck_push_delivery_batches_state")),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["push_notifications.id"],
            name=op.f("fk_push_delivery_batches_notification_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["push_tenants.id"], name=op.f("fk_push_delivery_batches_tenant_id")
        ),
        sa.ForeignKeyConstraint(
            ["vapid_key_id"], ["push_vapid_keys.id"], name=op.f("fk_push_delivery_batches_vapid_key_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_delivery_batches")),
    )
    op.create_index(
        "ix_push_delivery_batches_due",
        "push_delivery_batches",
        ["not_before", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('ready', 'leased')"),
    )
    op.create_index(
        "ix_push_delivery_batches_notification_id", "push_delivery_batches", ["notification_id"], unique=False
    )
    op.create_table(
        "push_delivery_logs",
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("response_code", sa.SmallInteger(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("deadline", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("push_message_id", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'sent', 'delivered', 'failed', 'expired')",
            name=op.f("ck_push_delivery_logs_status"),
        ),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["push_notifications.id"],
            name=op.f("fk_push_delivery_logs_notification_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "planned_at", "notification_id", "subscription_id", name=op.f("pk_push_delivery_logs")
        ),
        postgresql_partition_by="RANGE (planned_at)",
    )
    op.create_index("ix_push_delivery_logs_batch_id", "push_delivery_logs", ["batch_id"], unique=False)
    op.create_index(
        "ix_push_delivery_logs_subscription_id", "push_delivery_logs", ["subscription_id"], unique=False
    )
    op.create_table(
        "push_receipts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("event IN ('displayed', 'clicked', 'closed')", name=op.f("ck_push_receipts_event")),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["push_notifications.id"],
            name=op.f("fk_push_receipts_notification_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["push_tenants.id"], name=op.f("fk_push_receipts_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_receipts")),
        sa.UniqueConstraint(
            "notification_id",
            "subscription_id",
            "event",
            name=op.f("uq_push_receipts_notification_id_subscription_id_event"),
        ),
    )
    op.create_index("ix_push_receipts_subscription_id", "push_receipts", ["subscription_id"], unique=False)
    op.create_index(
        "ix_push_receipts_tenant_id_received_at", "push_receipts", ["tenant_id", "received_at"], unique=False
    )
    op.create_table(
        "push_service_states",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("endpoint_host", sa.Text(), nullable=False),
        sa.Column("vapid_key_id", sa.Uuid(), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("window_started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("window_tried", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("window_accepted", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("window_gone", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("window_refused", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["push_tenants.id"], name=op.f("fk_push_service_states_tenant_id")),
        sa.ForeignKeyConstraint(
            ["vapid_key_id"], ["push_vapid_keys.id"], name=op.f("fk_push_service_states_vapid_key_id")
        ),
        sa.PrimaryKeyConstraint("tenant_id", "endpoint_host", "vapid_key_id", name=op.f("pk_push_service_states")),
    )
    op.create_table(
        "push_skips",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("notification_id", sa.Uuid(), nullable=False),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["notification_id"],
            ["push_notifications.id"],
            name=op.f("fk_push_skips_notification_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["push_tenants.id"], name=op.f("fk_push_skips_tenant_id")),
        sa.PrimaryKeyConstraint("notification_id", "subscription_id", name=op.f("pk_push_skips")),
    )
    op.create_index("ix_push_skips_tenant_id_created_at", "push_skips", ["tenant_id", "created_at"], unique=False)
    op.create_table(
        "push_subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("endpoint_hash", sa.LargeBinary(), nullable=False),
        sa.Column("endpoint_host", sa.Text(), nullable=False),
        sa.Column("p256dh", sa.Text(), nullable=False),
        sa.Column("auth", sa.Text(), nullable=False),
        sa.Column("vapid_key_id", sa.Uuid(), nullable=False),
        sa.Column("topics", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_used", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_accepted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("key_mismatch_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("quarantined_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_failure_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_failure_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "octet_length(endpoint_hash) = 32", name=op.f("ck_push_subscriptions_endpoint_hash_is_sha256")
        ),
        sa.ForeignKeyConstraint(["tenant_id"], ["push_tenants.id"], name=op.f("fk_push_subscriptions_tenant_id")),
        sa.ForeignKeyConstraint(
            ["vapid_key_id"], ["push_vapid_keys.id"], name=op.f("fk_push_subscriptions_vapid_key_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_push_subscriptions")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index(
        "ix_push_subscriptions_active",
        "push_subscriptions",
        ["tenant_id", "id"],
        unique=False,
        postgresql_where=sa.text("enabled AND deleted_at IS NULL AND gone_at IS NULL"),
    )
    op.create_index(
        "ix_push_subscriptions_active_topics",
        "push_subscriptions",
        ["topics"],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("enabled AND deleted_at IS NULL AND gone_at IS NULL"),
    )
    op.create_index(
        "ix_push_subscriptions_deleted_at",
        "push_subscriptions",
        ["deleted_at"],
        unique=False,
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index(
        "ix_push_subscriptions_gone_at",
        "push_subscriptions",
        ["gone_at"],
        unique=False,
        postgresql_where=sa.text("gone_at IS NOT NULL"),
    )
    op.create_index(
        "ix_push_subscriptions_tenant_id_created_at",
        "push_subscriptions",
        ["tenant_id", "created_at"],
        unique=False,
    )
    op.create_index(
        "ix_push_subscriptions_tenant_id_user_id",
        "push_subscriptions",
        ["tenant_id", "user_id"],
        unique=False,
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_index("ix_push_subscriptions_vapid_key_id", "push_subscriptions", ["vapid_key_id"], unique=False)
    op.create_index(
        "uq_push_subscriptions_tenant_id_endpoint_hash",
        "push_subscriptions",
        ["tenant_id", "endpoint_hash"],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.execute(
        "INSERT INTO push_tenants (id, slug, name)"
        " VALUES ('00000000-0000-7000-8000-000000000001', 'default', 'Default')"
    )


def downgrade() -> None:
    for table in (
        "push_subscriptions",
        "push_skips",
        "push_service_states",
        "push_receipts",
        "push_delivery_logs",
        "push_delivery_batches",
        "push_vapid_keys",
        "push_rollups",
        "push_notifications",
        "push_idempotency_keys",
        "push_api_keys",
        "push_tenants",
    ):
        op.drop_table(table)
