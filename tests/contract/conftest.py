"""Every test of this folder that takes ``store`` runs on each implementation of ports.Store: SQLite, PostgreSQL and the fake
in memory; one that takes ``sql_store`` on the two databases, for the fake neither searches nor runs lanes."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fhircase import storage
from fhircase.storage.schema import metadata
from tests import postgres


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "empty.db"
    storage.migrate(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    """One PostgreSQL server for the whole run."""
    try:
        made = postgres.Cluster()
    except postgres.Absent as absent:
        pytest.skip(str(absent))
    yield made
    made.remove()


@pytest.fixture(scope="session")
def postgres_migrated(cluster: postgres.Cluster) -> str:
    url = cluster.create()
    storage.migrate(url)
    return url


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated file of the test's own."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'fhircase.db')}"


@pytest.fixture
def postgres_url(postgres_migrated: str) -> str:
    """A migrated database, emptied: creating one for each test takes half a second."""
    emptied = [f'DELETE FROM "{table.name}"' for table in metadata.tables.values() if table.name != "counter"]
    with psycopg.connect(postgres_migrated, autocommit=True) as connection:
        connection.execute("; ".join([*emptied, "UPDATE counter SET seq = 0, at = 0"]))
    return postgres_migrated


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{'postgres' if request.param == 'postgresql' else 'sqlite'}_url"))


@pytest.fixture
def sql_store(url: str) -> Iterator[storage.SqlStore]:
    """For what only a database does: searching, histories, lanes, and their faults."""
    made = storage.open(url)
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A fresh, empty store."""
    if request.param == "memory":
        try:
            fakes = importlib.import_module("tests.fakes.store")
        except ModuleNotFoundError:
            pytest.skip("there is no in-memory store (tests/fakes)")
        yield fakes.FakeStore()
        return
    made = storage.open(request.getfixturevalue(f"{'postgres' if request.param == 'postgresql' else 'sqlite'}_url"))
    yield made
    made.close()
