"""Alembic's entry point. fleetsync runs it on its own writer connection (`fleetsync/mirror/schema.py`)."""

from alembic import context

from fleetsync.mirror.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
