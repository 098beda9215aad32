"""Alembic from within: bring a database to the tables of this version."""

from __future__ import annotations

import functools
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import create_engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from fhircase.errors import Unavailable
from fhircase.storage import engine
from fhircase.storage.engine import Session

MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x66686972_6D696772
"""The advisory lock of migrations on PostgreSQL ('fhirmigr')."""


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    made.set_main_option("path_separator", "os")
    return made


@functools.cache
def head() -> str:
    """The revision of this version's tables."""
    return str(ScriptDirectory.from_config(config()).get_current_head())


def current(session: Session) -> str | None:
    """The revision of the database."""
    row = session.one("SELECT version_num FROM alembic_version")
    return str(row[0]) if row else None


def upgrade(url: str) -> None:
    """One process at a time; raises Unavailable when the database cannot be reached or is of a later version."""
    made = engine.parse(url)
    sqlite = made.get_backend_name() == "sqlite"
    try:
        if sqlite:
            _prepare_file(str(made.database))
            module = engine.sqlite_module()
            target = create_engine(
                "sqlite://",
                module=module,
                poolclass=NullPool,
                creator=lambda: module.connect(str(made.database), isolation_level=None, timeout=engine.BUSY_SECONDS),
            )
        else:
            target = create_engine(made, poolclass=NullPool)
        with target.connect() as connection:
            if sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            _run(connection)
            if sqlite:
                connection.exec_driver_sql("COMMIT")
            connection.commit()
    except DBAPIError as error:
        raise Unavailable("the database cannot be migrated now", hint="see that it runs and that its user may create tables") from error
    except CommandError as error:
        raise Unavailable("the database was written by a later version", hint="install that version, or restore a backup") from error


def _run(connection: Connection) -> None:
    made = config()
    made.attributes["connection"] = connection
    command.upgrade(made, "head")


def _prepare_file(path: str) -> None:
    """WAL cannot be set within a transaction. The file is readable by its owner alone."""
    file = Path(path)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.touch(mode=0o600)
    except OSError as error:
        raise Unavailable("the database file cannot be made", hint="see that its folder may be written") from error
    module = engine.sqlite_module()
    try:
        connection = module.connect(path, isolation_level=None, timeout=engine.BUSY_SECONDS)
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
        finally:
            connection.close()
    except module.Error as error:
        raise Unavailable("the database file cannot be used", hint="see that it is SQLite's, and may be read and written") from error
