"""How Alembic runs here: always from `bot.store.migrate`, on the connection that it hands over."""

from __future__ import annotations

from alembic import context

from bot.store.schema import metadata

connection = context.config.attributes["connection"]
# SQLite alters a table by copying it (render_as_batch), and the caller already holds the one transaction.
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=False)
context.run_migrations()
