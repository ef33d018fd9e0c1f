"""The status of users that were there before it."""

from rag_admin.migrations import safe

revision = "0004"
down_revision = "0003"
phase = "expand"


def upgrade() -> None:
    """In batches, each a transaction."""
    safe.backfill("users", "status = CASE WHEN is_active THEN 'active' ELSE 'disabled' END", "status IS NULL")


def downgrade() -> None:
    """Nothing to do: 0003 takes the column away."""
