"""Every user has a status, from now on."""

from alembic import op

from rag_admin.migrations import users_status

revision = "0005"
down_revision = "0004"
phase = "expand"


def upgrade() -> None:
    """Without a look at the rows that are there: 0006 does that, under a lock that lets everybody work."""
    op.execute(f"ALTER TABLE users {users_status.CHECK}")


def downgrade() -> None:
    """Nothing is lost."""
    op.execute("ALTER TABLE users DROP CONSTRAINT users_status_known")
