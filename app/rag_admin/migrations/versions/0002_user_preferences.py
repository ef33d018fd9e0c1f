"""Preferences of a user."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
phase = "expand"


def upgrade() -> None:
    """A new table. The reference takes a lock on users that lets reads through, and has no row to check."""
    op.create_table(
        "user_preferences",
        sa.Column("user_id", sa.BigInteger, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("theme", sa.Text, nullable=False, server_default="system"),
        sa.Column("language", sa.Text, nullable=False, server_default="en"),
        sa.Column("notifications", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )


def downgrade() -> None:
    """Takes the preferences with it."""
    op.drop_table("user_preferences")
