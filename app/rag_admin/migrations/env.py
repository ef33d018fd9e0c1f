"""Alembic's entry: run by rag_admin.migrate, which brings the connection."""

from alembic import context

config = context.config
applied = config.attributes["applied"]


def record(step, **kwargs) -> None:
    """Note each revision once its transaction is about to commit."""
    applied.append(step.up_revision_id)


context.configure(
    connection=config.attributes["connection"],
    # One that fails does not take back those before it.
    transaction_per_migration=True,
    on_version_apply=record,
)
with context.begin_transaction():
    context.run_migrations()
