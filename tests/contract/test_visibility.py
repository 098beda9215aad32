"""Who may see what, and since when (DECISIONS 2–5)."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from fhircase.fhir.query import Include, Query
from fhircase.plans.change import Grant, Ref
from fhircase.ports import Viewer
from fhircase.storage.search_sql import Search
from tests.contract.making import HUB, T, commit, date, found, invited, member, record, reference, string, test, token, viewer

HOME = viewer("home")


def sees(store: Any, who: Viewer, ref: str) -> bool:
    """By reading; and every other way must agree."""
    wanted = Ref.of(ref)
    with store.read() as tx:
        read = tx.plans.read(who, wanted)
        version = tx.plans.vread(who, wanted, 1)
        own = tx.plans.history(who, wanted.type, wanted.id, since=None, count=50, cursor=None)
        typed = tx.plans.history(who, wanted.type, None, since=None, count=50, cursor=None)
        system = tx.plans.history(who, None, None, since=None, count=50, cursor=None, total=True)
        searched = [tx.plans.search(who, Query(wanted.type, ids=ids, total=True)) for ids in ((), (wanted.id,))]
    answers = [read is not None, version is not None, bool(own.matches)]
    answers += [any(stored.ref == wanted for stored in page.matches) for page in (typed, system, *searched)]
    assert len(set(answers)) == 1, answers
    assert system.total == len(system.matches)
    assert all(page.total == len(page.matches) for page in searched)
    return answers[0]


def test_foreign_and_absent_are_alike(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", case="e"))
    assert not sees(sql_store, HOME, "Goal/g")
    with sql_store.read() as tx:
        assert tx.plans.read(HOME, Ref("Goal", "g")) is None is tx.plans.read(HOME, Ref("Goal", "absent"))


def test_the_hub_sees_everything_and_its_effective_time_is_the_commit(sql_store: Any) -> None:
    stamp = commit(sql_store, record("Goal/g", client="p", case="e", sensitive=True))
    assert sees(sql_store, HUB, "Goal/g")
    with sql_store.read() as tx:
        assert tx.plans.read(HUB, Ref("Goal", "g")).effective == stamp.at


def test_a_creator_sees_its_own_without_a_grant(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", case="e", creator="home"))
    assert sees(sql_store, HOME, "Goal/g")
    assert not sees(sql_store, viewer("rehab"), "Goal/g")


@pytest.mark.parametrize("type", ["Organization", "Practitioner", "PractitionerRole", "Location", "HealthcareService"])
def test_the_directory_is_for_all(sql_store: Any, type: str) -> None:
    stamp = commit(sql_store, record(f"{type}/d", creator="mercy"))
    assert sees(sql_store, HOME, f"{type}/d")
    with sql_store.read() as tx:
        assert tx.plans.read(HOME, Ref(type, "d")).effective == stamp.at


def test_a_member_sees_its_case_and_its_clients_loose_records_and_no_other(sql_store: Any) -> None:
    commit(
        sql_store,
        record("Goal/in", client="p", case="e"),
        record("Goal/in-labelled", client="p", case="e", sensitive=True),
        record("Goal/other-case", client="p", case="f"),
        record("Goal/loose", client="p"),
        record("Goal/loose-labelled", client="p", sensitive=True),
        record("Goal/other-client", client="q"),
        record("Goal/nobody"),
        record("Patient/p"),
        record("Patient/q"),
        grants=[member("home", "p", "e")],
    )
    ids = (
        "Goal/in",
        "Goal/in-labelled",
        "Goal/other-case",
        "Goal/loose",
        "Goal/loose-labelled",
        "Goal/other-client",
        "Goal/nobody",
        "Patient/p",
        "Patient/q",
    )
    assert {ref for ref in ids if sees(sql_store, HOME, ref)} == {"Goal/in", "Goal/in-labelled", "Goal/loose", "Patient/p"}


def test_an_invited_partner_sees_the_item_alone(sql_store: Any) -> None:
    commit(
        sql_store,
        record("Task/t", client="p", case="e"),
        record("Goal/g", client="p", case="e"),
        record("Patient/p"),
        record("Goal/loose", client="p"),
        grants=[invited("home", "p", "e", "Task/t"), invited("home", "p", "e", "Patient/p")],
    )
    refs = ("Task/t", "Goal/g", "Patient/p", "Goal/loose")
    assert [sees(sql_store, HOME, ref) for ref in refs] == [True, False, True, False]


def test_a_former_member_sees_nothing_but_its_own(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", case="e"), grants=[Grant("home", "p", "e", "former", 0)])
    assert not sees(sql_store, HOME, "Goal/g")


def test_a_grant_holds_from_its_start_to_before_its_end(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", case="e"), grants=[member("home", "p", "e", T + 100, T + 200)])
    assert [sees(sql_store, viewer("home", T + at), "Goal/g") for at in (99, 100, 199, 200)] == [False, True, True, False]


def test_ending_a_grant_ends_the_view_at_once(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", case="e"), grants=[member("home", "p", "e")])
    assert sees(sql_store, viewer("home", T + 50), "Goal/g")
    commit(sql_store, grants=[member("home", "p", "e", 0, T + 60)], now=T + 60)
    assert not sees(sql_store, viewer("home", T + 60), "Goal/g")
    with sql_store.read() as tx:
        assert list(tx.plans.grants(partner="home")) == [member("home", "p", "e", 0, T + 60)]
        assert list(tx.plans.grants(case="e", at=T + 59)) == [member("home", "p", "e", 0, T + 60)]
        assert list(tx.plans.grants(case="e", at=T + 60)) == []


def test_grants_come_back_as_they_went_in(sql_store: Any) -> None:
    given = [member("home", "p", "e", 5, None), invited("rehab", "p", "e", "Task/t", 7, 9), Grant("mercy", "q", None, "member", 0)]
    commit(sql_store, grants=given)
    with sql_store.read() as tx:
        assert list(tx.plans.grants()) == given
        assert list(tx.plans.grants(client="p", partner="rehab")) == [given[1]]
        assert list(tx.plans.grants(client="q")) == [given[2]]
        assert list(tx.plans.grants(at=6)) == [given[0], given[2]]


def test_a_lagging_clock_does_not_hide_a_grant_behind_a_later_commit(sql_store: Any) -> None:
    """Stamps run ahead of the clock when many commits fall into one millisecond. A poller that saw the later commit
    and not the earlier grant would never come back for it."""
    with sql_store.write() as tx:
        stamp = tx.plans.stamp(T + 10_000)
        tx.plans.save(stamp, [record("Goal/g", client="p", case="e")])
        tx.plans.grant(stamp, [member("home", "p", "e", stamp.at)])
    assert sees(sql_store, viewer("home", T), "Goal/g")


# ---------------------------------------------------------------------------------------------- effective time


def effective(store: Any, who: Viewer, ref: str) -> int:
    """As every way of reading tells it."""
    wanted = Ref.of(ref)
    with store.read() as tx:
        times = {
            tx.plans.read(who, wanted).effective,
            tx.plans.history(who, wanted.type, wanted.id, since=None, count=1, cursor=None).matches[0].effective,
        }
        for forced in (True, False):
            page = Search(tx.plans._session, who, Query(wanted.type, ids=(wanted.id,)), from_grants=forced).page()
            times.add(page.matches[0].effective)
            assert page.latest == page.matches[0].effective
    assert len(times) == 1, times
    return int(times.pop())


def test_becoming_visible_counts_as_changing(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", case="e"), now=T)
    stamp = commit(sql_store, grants=[member("home", "p", "e", 0)], now=T + 500)
    assert effective(sql_store, HOME, "Goal/g") == stamp.at == T + 500
    later = commit(sql_store, record("Goal/g", 2, client="p", case="e"), now=T + 900)
    assert effective(sql_store, HOME, "Goal/g") == later.at


def test_a_grant_that_begins_later_counts_from_its_start(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", case="e"), grants=[member("home", "p", "e", T + 7_000)])
    assert effective(sql_store, viewer("home", T + 8_000), "Goal/g") == T + 7_000


def test_the_earliest_path_counts(sql_store: Any) -> None:
    commit(sql_store, record("Patient/p"), now=T)
    commit(sql_store, grants=[invited("home", "p", "e", "Patient/p")], now=T + 100)
    commit(sql_store, grants=[member("home", "p", "e")], now=T + 200)
    assert effective(sql_store, HOME, "Patient/p") == T + 100
    commit(sql_store, record("Goal/g", client="p", case="e", creator="home"), now=T + 50)
    assert effective(sql_store, HOME, "Goal/g") == T + 201


def test_joining_a_case_counts_for_its_members(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", sensitive=True), grants=[member("home", "p", "e")])
    assert not sees(sql_store, HOME, "Goal/g")
    with sql_store.write() as tx:
        stamp = tx.plans.stamp(T + 300)
        tx.plans.assign(stamp, [Ref("Goal", "g")], "p", "e")
    assert sees(sql_store, HOME, "Goal/g")
    assert effective(sql_store, HOME, "Goal/g") == stamp.at
    with sql_store.read() as tx:
        assert tx.plans.read(HUB, Ref("Goal", "g")).effective == T
    with sql_store.write() as tx:
        tx.plans.assign(tx.plans.stamp(T + 400), [Ref("Goal", "g")], "p", "e")
    assert effective(sql_store, HOME, "Goal/g") == stamp.at


def test_a_grant_that_ended_and_begins_again_is_a_new_sight(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", case="e"), grants=[member("home", "p", "e")])
    commit(sql_store, grants=[member("home", "p", "e", 0, T + 10)], now=T + 10)
    commit(sql_store, grants=[member("home", "p", "e", 0, None)], now=T + 20)
    assert effective(sql_store, HOME, "Goal/g") == T + 20


def test_lengthening_a_grant_that_still_runs_is_no_change(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", case="e"), grants=[member("home", "p", "e", 0, T * 3)])
    commit(sql_store, grants=[member("home", "p", "e", 0, None)], now=T + 20)
    assert effective(sql_store, HOME, "Goal/g") == T


def test_each_version_has_its_own_effective_time(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", case="e"), now=T)
    commit(sql_store, record("Goal/g", 2, client="p", case="e"), now=T + 10)
    commit(sql_store, grants=[member("home", "p", "e")], now=T + 20)
    commit(sql_store, record("Goal/g", 3, client="p", case="e"), now=T + 30)
    with sql_store.read() as tx:
        page = tx.plans.history(HOME, "Goal", "g", since=None, count=9, cursor=None)
        assert [(stored.version, stored.updated, stored.effective) for stored in page.matches] == [
            (3, T + 30, T + 30),
            (2, T + 10, T + 20),
            (1, T, T + 20),
        ]
        assert tx.plans.vread(HOME, Ref("Goal", "g"), 1).effective == T + 20
        assert [s.version for s in tx.plans.history(HOME, "Goal", "g", since=T + 20, count=9, cursor=None).matches] == [3, 2, 1]
        assert [s.version for s in tx.plans.history(HUB, "Goal", "g", since=T + 20, count=9, cursor=None).matches] == [3]


def test_a_poller_that_joins_late_gets_the_whole_plan_and_then_rests(sql_store: Any) -> None:
    commit(
        sql_store,
        record("CarePlan/c", client="p", case="e", index=[reference("goal", "Goal/g")]),
        record("Goal/g", client="p", case="e"),
        now=T,
    )
    commit(sql_store, record("CarePlan/x", client="q", case="f"), grants=[member("home", "q", "f")], now=T + 1_000)
    cursor = T + 1_000
    commit(sql_store, grants=[member("home", "p", "e")], now=T + 5_000)

    def poll(since: int) -> Any:
        with sql_store.read() as tx:
            return tx.plans.search(HOME, Query("CarePlan", updated=(("gt", since, since + 1),), includes=(Include("CarePlan", "goal"),)))

    page = poll(cursor)
    assert [stored.id for stored in page.matches] == ["c"]
    assert [stored.id for stored in page.included] == ["g"]
    assert page.latest == T + 5_000
    assert poll(page.latest).matches == []


def test_updated_compares_the_viewers_effective_time(sql_store: Any) -> None:
    commit(sql_store, record("Goal/g", client="p", case="e"), now=T)
    commit(sql_store, grants=[member("home", "p", "e")], now=T + 100)
    tests = {
        "eq": [100],
        "ne": [0, 99, 101],
        "gt": [0, 99],
        "lt": [101],
        "ge": [0, 99, 100],
        "le": [100, 101],
        "sa": [0, 99],
        "eb": [101],
        "ap": [100],
    }
    for prefix, hits in tests.items():
        for at in (0, 99, 100, 101):
            query = Query("Goal", updated=((prefix, T + at, T + at + 1),))
            assert found(sql_store, query, HOME) == (["g"] if at in hits else []), (prefix, at)


def test_sorting_by_time_sorts_by_effective_time(sql_store: Any) -> None:
    commit(sql_store, record("Goal/old", client="p", case="e"), now=T)
    commit(sql_store, record("Goal/new", client="q", case="f"), grants=[member("home", "q", "f")], now=T + 10)
    commit(sql_store, grants=[member("home", "p", "e")], now=T + 20)
    assert found(sql_store, Query("Goal", sort=(("_lastUpdated", False),)), HOME) == ["new", "old"]
    assert found(sql_store, Query("Goal", sort=(("_lastUpdated", True),)), HOME) == ["old", "new"]
    assert found(sql_store, Query("Goal"), HOME) == ["new", "old"]
    assert found(sql_store, Query("Goal"), HUB) == ["old", "new"]


# ---------------------------------------------------------------------------------------------- nothing leaks


def test_includes_totals_and_history_hold_no_foreign_resource(sql_store: Any) -> None:
    commit(
        sql_store,
        record("CarePlan/c", client="p", case="e", index=[reference("goal", "Goal/mine"), reference("goal", "Goal/foreign")]),
        record("Goal/mine", client="p", case="e"),
        record("Goal/foreign", client="q", case="f"),
        record("Provenance/a", client="q", case="f", index=[reference("target", "CarePlan/c")]),
        record("Provenance/b", client="p", case="e", index=[reference("target", "CarePlan/c")]),
        grants=[member("home", "p", "e")],
    )
    query = Query(
        "CarePlan",
        total=True,
        includes=(Include("CarePlan", "goal"), Include("CarePlan", "*"), Include("Provenance", "target", reverse=True)),
    )
    with sql_store.read() as tx:
        page = tx.plans.search(HOME, query)
        assert sorted(str(stored.ref) for stored in page.included) == ["Goal/mine", "Provenance/b"]
        assert tx.plans.search(HOME, Query("Goal", total=True, count=0)).total == 1
        history = tx.plans.history(HOME, None, None, since=None, count=100, cursor=None, total=True)
        assert history.total == len(history.matches) == 3


def test_both_plans_of_a_search_find_the_same(sql_store: Any) -> None:
    """Starting at the viewer's grants or at the index is a matter of speed alone."""
    chance = random.Random(7)
    for n in range(120):
        client = f"p{n % 7}"
        case = chance.choice([None, f"e{n % 5}"])
        grants = (
            [
                chance.choice(
                    [
                        member(
                            chance.choice(["home", "rehab"]),
                            client,
                            f"e{chance.randrange(5)}",
                            T + chance.randrange(-50, 200),
                            chance.choice([None, T + 150]),
                        ),
                        invited(chance.choice(["home", "rehab"]), client, "e1", f"Goal/g{chance.randrange(120)}"),
                    ]
                )
            ]
            if n % 3 == 0
            else []
        )
        commit(
            sql_store,
            record(
                f"Goal/g{n}",
                client=client,
                case=case,
                sensitive=chance.random() < 0.3,
                creator=chance.choice(["hub", "home", "mercy"]),
                index=[
                    reference("patient", f"Patient/{client}"),
                    token("status", chance.choice("ab")),
                    date("due", n, n + 1),
                    string("text", f"t{n % 4}"),
                ],
            ),
            grants=grants,
            now=T + n,
        )
    tests = [(), (test(token("status", "a")),), (test(reference("patient", "Patient/p3")),), (test(token("status", "a"), modifier="not"),)]
    sorts = [(), (("due", True),), (("text", False), ("_lastUpdated", True)), (("_id", True),)]
    seen = 0
    with sql_store.read() as tx:
        for partner, at, wanted, sort in itertools.product(("home", "rehab", "mercy"), (T, T + 100, T + 1000), tests, sorts):
            pages = [
                Search(
                    tx.plans._session,
                    viewer(partner, at),
                    Query("Goal", tests=wanted, sort=sort, count=200, total=True),
                    from_grants=forced,
                ).page()
                for forced in (True, False)
            ]
            assert pages[0] == pages[1]
            one_by_one = {stored.ref for stored in pages[0].matches}
            seen += len(one_by_one)
            if not wanted:
                assert one_by_one == {Ref("Goal", f"g{n}") for n in range(120) if tx.plans.read(viewer(partner, at), Ref("Goal", f"g{n}"))}
    assert seen > 500
