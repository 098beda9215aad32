"""The databases themselves: migrations, faults, plans of queries."""

from __future__ import annotations

import re
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from fhircase import storage
from fhircase.errors import Unavailable
from fhircase.fhir.query import Query
from fhircase.plans.change import Ref
from fhircase.storage import engine
from fhircase.storage.schema import metadata
from fhircase.storage.search_sql import Search, explain
from tests import postgres
from tests.contract.making import HUB, T, commit, date, member, record, reference, test, token, viewer


def connected(url: str) -> Any:
    made = engine.parse(url)
    if made.get_backend_name() == "sqlite":
        return create_engine(made, module=engine.sqlite_module())
    return create_engine(made)


def test_migrations_build_the_tables_of_the_schema(url: str) -> None:
    target = connected(url)
    with target.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []
    target.dispose()


def test_migrations_build_what_create_all_builds(sqlite_url: str, tmp_path: Path) -> None:
    """Word for word: also what a comparison does not look at (WITHOUT ROWID, conditions of indexes)."""

    def built(target: Any) -> dict[str, str]:
        with target.connect() as connection:
            rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%'"))
            found = {name: " ".join(sql.split()) for name, sql in rows}
        target.dispose()
        return found

    fresh = connected(f"sqlite:///{tmp_path / 'fresh.db'}")
    metadata.create_all(fresh)
    assert built(connected(sqlite_url)) == built(fresh)


def test_migrating_again_changes_nothing(url: str) -> None:
    storage.migrate(url)
    store = storage.open(url)
    commit(store, record("Goal/g"))
    storage.migrate(url)
    with store.read() as tx:
        assert tx.plans.get(Ref("Goal", "g")) is not None
    store.close()


def test_several_processes_may_migrate_at_once(cluster: postgres.Cluster, tmp_path: Path) -> None:
    fresh = cluster.create()
    for url in (f"sqlite:///{tmp_path / 'new.db'}", fresh):
        threads = [threading.Thread(target=storage.migrate, args=(url,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        store = storage.open(url)
        assert store.ready()
        store.close()
    cluster.drop(fresh)


def test_a_store_is_ready_when_its_tables_are_those_of_this_version(cluster: postgres.Cluster, tmp_path: Path) -> None:
    fresh = cluster.create()
    for url in (f"sqlite:///{tmp_path / 'new.db'}", fresh):
        store = storage.open(url)
        assert not store.ready()
        storage.migrate(url)
        assert store.ready()
        target = connected(url)
        with target.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        target.dispose()
        assert not store.ready()
        with pytest.raises(Unavailable):
            storage.migrate(url)
        store.close()
    cluster.drop(fresh)


def test_each_table_has_a_primary_key(url: str) -> None:
    target = connected(url)
    inspector = inspect(target)
    assert all(inspector.get_pk_constraint(name)["constrained_columns"] for name in inspector.get_table_names())
    target.dispose()


@pytest.mark.parametrize("wrong", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "postgresql+asyncpg"])
def test_another_database_is_refused_with_a_reason(wrong: str) -> None:
    with pytest.raises(ValueError):
        storage.open(wrong)


def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    store = storage.open("postgresql://postgres@127.0.0.1:1/none")
    assert not store.ready()
    with pytest.raises(Unavailable), store.write():
        pass
    store.close()
    with pytest.raises(Unavailable):
        storage.migrate("postgresql://postgres@127.0.0.1:1/none")
    (tmp_path / "folder").mkdir()
    store = storage.open(f"sqlite:///{tmp_path / 'folder'}")
    with pytest.raises(Unavailable), store.read():
        pass
    store.close()


def test_the_store_outlives_a_restart_of_the_server(cluster: postgres.Cluster) -> None:
    url = cluster.create()
    storage.migrate(url)
    store = storage.open(url)
    commit(store, record("Goal/g"))
    cluster.stop("fast")
    with pytest.raises(Unavailable), store.read() as tx:
        tx.plans.get(Ref("Goal", "g"))
    cluster.start()
    with store.read() as tx:
        assert tx.plans.get(Ref("Goal", "g")) is not None
    commit(store, record("Goal/h"))
    store.close()
    cluster.drop(url)


def test_a_connection_that_dies_within_a_transaction_stores_nothing(postgres_url: str) -> None:
    store = storage.open(postgres_url)
    with pytest.raises(Unavailable), store.write() as tx:
        tx.plans.save(tx.plans.stamp(T), [record("Goal/g")])
        own = tx.plans._session.one("SELECT pg_backend_pid()")[0]
        with store._database.write() as other:
            other.all("SELECT pg_terminate_backend(?)", (own,))
    with store.read() as tx:
        assert tx.plans.get(Ref("Goal", "g")) is None
    store.close()


def test_a_deadlock_is_unavailable_for_one_and_the_other_goes_on(postgres_url: str) -> None:
    store = storage.open(postgres_url)
    gate = threading.Barrier(2)
    ends: list[str] = []

    def lock(first: str, second: str) -> None:
        try:
            with store.write() as tx:
                tx.plans.lock(first)
                gate.wait(20)
                tx.plans.lock(second)
            ends.append("done")
        except Unavailable:
            ends.append("unavailable")

    threads = [threading.Thread(target=lock, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(ends) == ["done", "unavailable"]
    store.close()


def test_a_search_that_takes_too_long_is_stopped(sql_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "QUERY_SECONDS", 0.0)
    monkeypatch.setattr(engine.Postgres, "READ", "BEGIN READ ONLY; SET LOCAL statement_timeout = 1")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000000) SELECT max(i) FROM n"
    with pytest.raises(Unavailable, match="too long"), sql_store._database.read() as session:
        session.all(endless)
    monkeypatch.undo()
    with sql_store.read() as tx:
        assert tx.plans.get(Ref("Goal", "g")) is None


def test_a_write_within_a_write_is_a_defect_not_a_deadlock(sqlite_url: str) -> None:
    store = storage.open(sqlite_url)
    with store.write():
        with pytest.raises(RuntimeError, match="open in this thread"), store.write():
            pass
    with store.write() as tx:
        tx.plans.stamp(T)
    store.close()


def test_sqlite_syncs_every_commit_and_reads_cannot_write(sqlite_url: str) -> None:
    store = storage.open(sqlite_url)
    with store._database.write() as session:
        assert session.one("PRAGMA synchronous") == (2,)
        assert session.one("PRAGMA journal_mode") == ("wal",)
    with store._database.read() as session:
        assert session.one("PRAGMA query_only") == (1,)
    store.close()


def test_the_sqlite_of_the_wheel_has_no_wal_reset_bug(sqlite_url: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = storage.open(sqlite_url)
    store.close()
    assert engine.sqlite_module().sqlite_version_info >= engine.SAFE_SQLITE


def test_an_old_sqlite_is_warned_of(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = engine.sqlite_module()
    old = SimpleNamespace(**{name: getattr(real, name) for name in dir(real)})
    old.sqlite_version_info, old.sqlite_version = (3, 40, 1), "3.40.1"
    monkeypatch.setattr(engine, "sqlite_module", lambda: old)
    with pytest.warns(engine.SqliteTooOld, match="one process"):
        engine.connect(sqlite_url).close()


def test_a_new_database_file_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "fhircase.db"
    storage.migrate(f"sqlite:///{file}")
    assert file.stat().st_mode & 0o077 == 0


# ---------------------------------------------------------------------------------------------- plans of queries


def filled(store: Any) -> None:
    for turn in range(4):
        commit(
            store,
            *(
                record(
                    f"Goal/g{turn}-{n}",
                    client=f"p{n}",
                    case=f"e{n}",
                    index=[
                        reference("patient", f"Patient/p{n}"),
                        token("identifier", f"{turn}-{n}", "s"),
                        token("status", "active"),
                        date("due", n, n + 1),
                    ],
                )
                for n in range(100)
            ),
            grants=[member("home", f"p{n}", f"e{n}") for n in range(3)] if turn == 0 else (),
        )


def plan_of(store: Any, who: Any, query: Query) -> str:
    caught: list[tuple[str, Any]] = []
    with store.read() as tx:
        session = tx.plans._session
        spy = SimpleNamespace(
            all=lambda sql, args=(): caught.append((sql, args)) or session.all(sql, args), one=session.one, dialect=session.dialect
        )
        Search(spy, who, query).page()
        return explain(session, *caught[0])


@pytest.mark.parametrize("who", [HUB, viewer("home")], ids=["hub", "home"])
def test_sqlite_finds_a_clients_resources_by_index(sqlite_url: str, who: Any) -> None:
    store = storage.open(sqlite_url)
    filled(store)
    for narrow in (reference("patient", "Patient/p1"), token("identifier", "1-1", "s")):
        query = Query("Goal", tests=(test(narrow), test(token("status", "active"))), updated=(("ge", T, T + 1),))
        plan = plan_of(store, who, query)
        assert "SCAN r" not in plan and "SCAN t" not in plan and "resource_type" not in plan, plan
        assert re.search(r"SEARCH t USING COVERING INDEX \w+ \((name=\?|code=\?| AND |system=\?){5}\)", plan), plan
    store.close()


def test_sqlite_polls_a_type_in_order_without_sorting(sqlite_url: str) -> None:
    store = storage.open(sqlite_url)
    filled(store)
    plan = plan_of(store, HUB, Query("Goal", updated=(("ge", T, T + 1),)))
    assert "ix_resource_type_updated_rid (type=? AND updated>?)" in plan, plan
    store.close()


def test_sqlite_starts_an_open_search_at_the_grants(sqlite_url: str) -> None:
    store = storage.open(sqlite_url)
    filled(store)
    plan = plan_of(store, viewer("home"), Query("Goal", updated=(("ge", T, T + 1),)))
    assert "SCAN r" not in plan and "resource_type" not in plan, plan
    assert "ix_resource_case_id_type" in plan, plan


def test_sqlite_begins_with_a_rare_code_and_not_with_a_common_one(sqlite_url: str) -> None:
    store = storage.open(sqlite_url)
    filled(store)
    commit(
        store,
        *(record(f"Goal/x{n}", index=[token("status", "active")]) for n in range(1_000)),
        record("Goal/rare", index=[token("status", "rare")]),
    )
    rare, common = (plan_of(store, HUB, Query("Goal", tests=(test(token("status", code)),))) for code in ("rare", "active"))
    assert "resource_type" not in rare, rare
    assert "ix_resource_type_updated_rid (type=?)" in common and "TEMP B-TREE" not in common, common
    store.close()
    store.close()


def test_a_read_is_one_statement(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g"))
    asked: list[str] = []
    with sql_store.read() as tx:
        session = tx.plans._session
        tx.plans._session = SimpleNamespace(one=lambda sql, args=(): asked.append(sql) or session.one(sql, args))
        tx.plans.read(HUB, Ref("Goal", "g"))
        tx.plans.read(viewer("home"), Ref("Goal", "g"))
    assert len(asked) == 2
