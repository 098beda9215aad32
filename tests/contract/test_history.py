"""Histories: newest first, by the viewer's effective time, page by page."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.errors import Malformed
from tests.contract.making import HUB, T, commit, member, record, viewer


def history(store: Any, type: str | None = None, id: str | None = None, who: Any = HUB, **given: Any) -> list[str]:
    values: dict[str, Any] = {"since": None, "count": 100, "cursor": None, **given}
    with store.read() as tx:
        return [f"{s.id}{s.version}" for s in tx.plans.history(who, type, id, **values).matches]


@pytest.fixture
def told(sql_store: Any) -> Any:
    commit(sql_store, record("Goal/g"), record("Task/t"), now=T)
    commit(sql_store, record("Goal/g", 2), now=T + 10)
    commit(sql_store, record("Goal/h"), now=T + 20)
    commit(sql_store, record("Goal/g", 3, deleted=True, method="DELETE"), now=T + 30)
    return sql_store


def test_instance_type_and_system(told: Any) -> None:
    assert history(told, "Goal", "g") == ["g3", "g2", "g1"]
    assert history(told, "Goal") == ["g3", "h1", "g2", "g1"]
    assert history(told) == ["g3", "h1", "g2", "t1", "g1"]
    assert history(told, "Goal", "absent") == []
    assert history(told, "Task", "g") == []


def test_deletions_are_shown_with_their_method(told: Any) -> None:
    with told.read() as tx:
        newest = tx.plans.history(HUB, "Goal", "g", since=None, count=1, cursor=None).matches[0]
    assert (newest.deleted, newest.method, newest.version) == (True, "DELETE", 3)


def test_since_is_inclusive(told: Any) -> None:
    assert history(told, "Goal", since=T + 20) == ["g3", "h1"]
    assert history(told, since=T + 31) == []
    assert history(told, "Goal", "g", since=T + 10) == ["g3", "g2"]


def test_at_gives_what_was_current_at_some_moment_of_the_time(told: Any) -> None:
    assert history(told, "Goal", "g", at=(T + 12, T + 15)) == ["g2"]
    assert history(told, "Goal", "g", at=(T + 5, T + 15)) == ["g2", "g1"]
    assert history(told, "Goal", "g", at=(T + 10, T + 11)) == ["g2"]
    assert history(told, "Goal", "g", at=(0, T)) == []
    assert history(told, at=(T + 40, T + 50)) == ["g3", "h1", "t1"]


def test_at_counts_from_when_the_viewer_could_see(told: Any) -> None:
    commit(told, record("Goal/k", client="p", case="e"), now=T + 100)
    commit(told, record("Goal/k", 2, client="p", case="e"), now=T + 110)
    commit(told, grants=[member("home", "p", "e")], now=T + 120)
    commit(told, record("Goal/k", 3, client="p", case="e"), now=T + 130)
    home = viewer("home")
    assert history(told, "Goal", "k", home, at=(T + 100, T + 115)) == []
    assert history(told, "Goal", "k", home, at=(T + 100, T + 125)) == ["k2"]
    assert history(told, "Goal", "k", home, at=(T + 100, T + 135)) == ["k3", "k2"]


@pytest.mark.parametrize("who", [HUB, viewer("home")], ids=["hub", "home"])
def test_pages_join_to_the_whole_and_survive_writes(sql_store: Any, who: Any) -> None:
    for n in range(4):
        commit(sql_store, *(record(f"Goal/g{m}", n + 1, client="p", case="e") for m in range(3)), now=T + n)
    commit(sql_store, grants=[member("home", "p", "e")], now=T + 50)
    whole = history(sql_store, "Goal", who=who)
    assert len(whole) == 12
    got: list[str] = []
    cursor = None
    for turn in range(9):
        with sql_store.read() as tx:
            page = tx.plans.history(who, "Goal", None, since=None, count=5, cursor=cursor, total=turn == 0)
        if turn == 0:
            assert page.total == 12
            commit(sql_store, record("Goal/g0", 5, client="p", case="e"), now=T + 60)
        got += [f"{s.id}{s.version}" for s in page.matches]
        cursor = page.next
        if cursor is None:
            break
    assert got == whole


def test_a_cursor_of_another_history_is_malformed(told: Any) -> None:
    with told.read() as tx:
        cursor = tx.plans.history(HUB, "Goal", None, since=None, count=1, cursor=None).next
        for type, id, who in (("Task", None, HUB), ("Goal", "g", HUB), ("Goal", None, viewer("home"))):
            with pytest.raises(Malformed):
                tx.plans.history(who, type, id, since=None, count=1, cursor=cursor)
        with pytest.raises(Malformed):
            tx.plans.history(HUB, "Goal", None, since=None, count=1, cursor=cursor + "x")


def test_the_count_alone(told: Any) -> None:
    with told.read() as tx:
        page = tx.plans.history(HUB, "Goal", None, since=None, count=0, cursor=None)
    assert (page.total, list(page.matches)) == (4, [])
