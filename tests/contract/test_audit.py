"""The audit: append-only, chained, and every break of the chain is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fhircase.ports import AuditEntry
from tests.contract.making import T


def entry(n: int = 0, **given: Any) -> AuditEntry:
    values: dict[str, Any] = {
        "at": T + n,
        "action": "R",
        "interaction": "read",
        "partner": "home",
        "user": None,
        "key": "k",
        "refs": (f"Goal/{n}",),
        "clients": ("p",),
        "outcome": "0",
        "correlation": "c",
        "detail": "ä",
    }
    return AuditEntry(**{**values, **given})


def add(store: Any, *batches: list[AuditEntry]) -> None:
    for batch in batches:
        with store.write() as tx:
            tx.audit.add(batch)


def test_entries_come_back_whole_newest_first_filtered_and_paged(sql_store: Any) -> None:
    made = [
        entry(n, partner="home" if n % 2 else "rehab", clients=(f"p{n % 3}", "all", "all"), user="anna" if n else None) for n in range(7)
    ]
    add(sql_store, made[:3], [], made[3:])
    with sql_store.read() as tx:
        assert [e for _, e in tx.audit.list()[0]] == made[::-1]
        assert [n for n, _ in tx.audit.list()[0]] == [7, 6, 5, 4, 3, 2, 1]
        assert [e for _, e in tx.audit.list(client="p1")[0]] == [made[4], made[1]]
        assert len(tx.audit.list(client="all")[0]) == 7
        assert [e for _, e in tx.audit.list(partner="home", since=T + 3)[0]] == [made[5], made[3]]
        page, cursor = tx.audit.list(count=4)
        rest, end = tx.audit.list(count=4, cursor=cursor)
        assert ([n for n, _ in (*page, *rest)], end) == ([7, 6, 5, 4, 3, 2, 1], None)
        assert tx.audit.verify() is None


def test_an_empty_audit_holds(store: Any) -> None:
    with store.read() as tx:
        assert tx.audit.verify() is None
        assert list(tx.audit.list()[0]) == []


def test_a_long_audit_holds(sql_store: Any) -> None:
    with sql_store.write() as tx:
        for n in range(1_100):
            tx.audit.add([entry(n)])
    add(sql_store, [entry(n) for n in range(2_000)])
    with sql_store.read() as tx:
        assert tx.audit.verify() is None


@pytest.fixture
def chained(sql_store: Any) -> Any:
    add(sql_store, [entry(1), entry(2)], [entry(3)], [entry(4), entry(5), entry(6)], [entry(7)])
    return sql_store


@pytest.mark.parametrize(
    ("broken", "row"),
    [
        ("UPDATE audit SET entry = replace(entry, 'Goal/5', 'Goal/6') WHERE n = 5", 4),
        ("DELETE FROM audit WHERE n = 5", 5),
        ("DELETE FROM audit WHERE n = 3", 3),
        ("DELETE FROM audit WHERE n = 7", 7),
        ("DELETE FROM audit_chain WHERE batch = 2", 3),
        ("DELETE FROM audit_chain WHERE batch = 4", 7),
        ("INSERT INTO audit (n, batch, at, partner, entry) SELECT 99, 4, at, partner, entry FROM audit WHERE n = 1", 7),
        ("INSERT INTO audit (n, batch, at, partner, entry) SELECT 99, 9, at, partner, entry FROM audit WHERE n = 1", 99),
        ("UPDATE audit SET batch = 3 WHERE n = 7", 4),
        ("UPDATE audit_chain SET hash = 'x' WHERE batch = 2", 3),
        ("UPDATE audit_chain SET before = 'x' WHERE batch = 3", 4),
    ],
)
def test_every_break_of_the_chain_is_found(chained: Any, broken: str, row: int) -> None:
    with chained._database.write() as session:
        session.run(broken)
    with chained.read() as tx:
        assert tx.audit.verify() == row


def test_dropping_the_oldest_batches_leaves_a_chain_that_holds(chained: Any) -> None:
    with chained._database.write() as session:
        session.run("DELETE FROM audit WHERE batch <= 2")
        session.run("DELETE FROM audit_chain WHERE batch <= 2")
    with chained.read() as tx:
        assert tx.audit.verify() is None
    add(chained, [entry(8)])
    with chained.read() as tx:
        assert tx.audit.verify() is None


def test_a_batch_that_is_rolled_back_leaves_no_gap(chained: Any) -> None:
    with pytest.raises(RuntimeError), chained.write() as tx:
        tx.audit.add([entry(50)])
        raise RuntimeError
    add(chained, [replace(entry(51), refs=("a\x00b",))])
    with chained.read() as tx:
        assert tx.audit.verify() is None
        assert tx.audit.list(count=1)[0][0][0] == 8
