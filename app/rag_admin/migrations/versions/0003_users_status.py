"""A status of users, beside is_active until 0008."""

from alembic import op

from rag_admin.migrations import users_status

revision = "0003"
down_revision = "0002"
phase = "expand"


def upgrade() -> None:
    """A column without a default changes no row; column and trigger need one lock on one table."""
    op.execute("ALTER TABLE users ADD COLUMN status text")
    users_status.begin()


def downgrade() -> None:
    """Nothing is lost: is_active holds the same."""
    users_status.end()
    op.execute("ALTER TABLE users DROP COLUMN status")
