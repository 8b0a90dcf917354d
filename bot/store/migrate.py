"""Brings a database to this version of the code, or says in one sentence why that is impossible."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

import migrations
from bot.errors import StartupError
from bot.models import utc_now
from bot.store.backend import Backend
from bot.store.schema import expired_tombstones

SCRIPTS = Path(migrations.__file__).parent


async def migrate(backend: Backend, revision: str = "head", scripts: Path = SCRIPTS) -> None:
    """Upgrades to this revision, or downgrades where the database is past it, in one transaction.

    Deletes expired tombstones, too. Raises StartupError where the database belongs to another program or is newer than
    the code.
    """
    async with backend.migration_engine().begin() as connection:
        await connection.run_sync(_move, revision, backend.path, scripts)
        if revision == "head":
            await connection.execute(expired_tombstones(utc_now()))


def _move(connection: Connection, revision: str, path: Path, scripts: Path) -> None:
    config = Config()
    config.set_main_option("path_separator", "os")
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None and set(inspect(connection).get_table_names()) - {"alembic_version"}:
        raise StartupError(f"The database {path} belongs to another program: set DATABASE_URL to another file.")
    if current is not None and current not in known:
        raise StartupError(
            f"The database {path} is from a newer version of Magpie: "
            "install that version, or name another file in DATABASE_URL."
        )
    target = known[0] if revision == "head" else revision
    if target == current:
        return
    below = current is not None and (target == "base" or known.index(target) > known.index(current))
    (command.downgrade if below else command.upgrade)(config, target)
