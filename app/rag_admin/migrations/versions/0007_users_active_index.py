"""An index for the search among active users."""

from rag_admin.migrations import safe

revision = "0007"
down_revision = "0006"
phase = "expand"


def upgrade() -> None:
    """While the table is in use."""
    safe.create_index("users_active", "users", "(id) WHERE status = 'active'")


def downgrade() -> None:
    """While the table is in use."""
    safe.drop_index("users_active")
