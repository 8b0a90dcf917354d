"""Alembic's revisions. A package, so that they are found from any working directory and in any kind of install."""
