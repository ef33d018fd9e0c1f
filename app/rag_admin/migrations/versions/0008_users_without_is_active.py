"""Users without is_active, which no version reads any more."""

from alembic import op

from rag_admin.migrations import safe, users_status

revision = "0008"
down_revision = "0007"
phase = "contract"


def upgrade() -> None:
    """Only when no version that reads is_active is registered any more."""
    users_status.end()
    op.execute("ALTER TABLE users DROP COLUMN is_active, ALTER COLUMN status SET DEFAULT 'active'")


def downgrade() -> None:
    """With a constant, so that no row is rewritten; then what differs from it is put right, in batches."""
    op.execute(
        "ALTER TABLE users ADD COLUMN IF NOT EXISTS is_active boolean NOT NULL DEFAULT true,"
        " ALTER COLUMN status DROP DEFAULT"
    )
    users_status.begin()
    safe.backfill("users", "is_active = false", "status = 'disabled' AND is_active")
