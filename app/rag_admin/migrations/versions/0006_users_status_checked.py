"""Every user has a status."""

from alembic import op

from rag_admin.migrations import users_status

revision = "0006"
down_revision = "0005"
phase = "expand"


def upgrade() -> None:
    """Reads the whole table, and meanwhile lets everybody read and write."""
    op.execute("ALTER TABLE users VALIDATE CONSTRAINT users_status_known")


def downgrade() -> None:
    """Back to a constraint that was never checked."""
    op.execute(f"ALTER TABLE users DROP CONSTRAINT users_status_known, {users_status.CHECK}")
