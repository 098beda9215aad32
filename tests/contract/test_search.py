"""What each kind of test finds, in which order, page by page (http://hl7.org/fhir/R4/search.html)."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.errors import Invalid, Malformed, TooLarge
from fhircase.fhir.query import Include, IndexValue, Query
from fhircase.fhir.query import Test as Asked
from fhircase.plans.change import Ref
from tests.contract.making import (
    HUB,
    T,
    commit,
    date,
    found,
    member,
    missing,
    quantity,
    record,
    reference,
    string,
    test,
    token,
    uri,
    viewer,
)


def matching(store: Any, *tests: Asked, type: str = "Goal") -> str:
    """The ids, sorted, in one word."""
    return "".join(sorted(found(store, Query(type, tests=tests, count=200))))


def goals(store: Any, **index: Any) -> None:
    """``a=[values]`` is Goal/a."""
    commit(store, *(record(f"Goal/{id}", index=values) for id, values in index.items()))


def test_tokens(sql_store: Any) -> None:
    goals(
        sql_store,
        a=[token("code", "x", "s1")],
        b=[token("code", "x", "s2")],
        c=[token("code", "x")],
        d=[token("code", "y", "s1"), token("code", "x", "s1")],
        e=[],
        f=[token("other", "x", "s1")],
        g=[token("code", "", "", "only a text")],
    )
    assert matching(sql_store, test(token("code", "x"))) == "abcd"
    assert matching(sql_store, test(token("code", "x", "s1"))) == "ad"
    assert matching(sql_store, test(token("code", "x"), "both")) == "c"
    assert matching(sql_store, test(token("code", "", "s1"), "system")) == "ad"
    assert matching(sql_store, Asked("code", "token", "", (("code", token("code", "y")), ("both", token("code", "x", "s2"))))) == "bd"
    assert matching(sql_store, test(token("code", "y")), test(token("code", "x"))) == "d"


def test_not_holds_for_resources_without_the_parameter(sql_store: Any) -> None:
    goals(sql_store, a=[token("code", "x")], b=[token("code", "y")], c=[], d=[token("code", "x"), token("code", "y")])
    assert matching(sql_store, test(token("code", "x"), modifier="not")) == "bc"
    assert matching(sql_store, Asked("code", "token", "not", (("code", token("code", "x")), ("code", token("code", "y"))))) == "c"


def test_text_of_a_token(sql_store: Any) -> None:
    goals(sql_store, a=[token("code", "1", text="walk fifty feet")], b=[token("code", "2", text="wal-k")], c=[token("code", "walk")])
    assert matching(sql_store, test(token("code", text="walk"), modifier="text")) == "a"
    assert matching(sql_store, test(token("code", text="wal"), modifier="text")) == "ab"


def test_strings(sql_store: Any) -> None:
    goals(
        sql_store,
        a=[string("name", "Anna")],
        b=[string("name", "anna")],
        c=[string("name", "Joanna")],
        d=[string("name", "An")],
        e=[string("name", "50%_!x")],
    )
    assert matching(sql_store, test(string("name", "ann"))) == "ab"
    assert matching(sql_store, test(string("name", "Anna"), modifier="exact")) == "a"
    assert matching(sql_store, test(string("name", "nn"), modifier="contains")) == "abc"
    assert matching(sql_store, test(string("name", "%_!"), modifier="contains")) == "e"
    assert matching(sql_store, test(string("name", "A%"), modifier="contains")) == ""
    assert matching(sql_store, test(IndexValue("name", "string", code="Anna"), modifier="exact")) == "a"


def test_strings_compare_by_code_point_in_every_database(sql_store: Any) -> None:
    goals(sql_store, a=[string("name", "zürich")], b=[string("name", "zz")], c=[string("name", "z\U0001f600")], d=[string("name", "z")])
    assert matching(sql_store, test(string("name", "z"))) == "abcd"
    assert found(sql_store, Query("Goal", sort=(("name", False),))) == ["d", "b", "a", "c"]


DAY = 86_400_000


def test_dates_by_every_prefix(sql_store: Any) -> None:
    """The table of search.html#prefix: ranges, not points. The search is for day 10."""
    goals(
        sql_store,
        a=[date("due", 9 * DAY, 10 * DAY)],
        b=[date("due", 10 * DAY, 11 * DAY)],
        c=[date("due", 11 * DAY, 12 * DAY)],
        d=[date("due", 10 * DAY + 5, 10 * DAY + 6)],
        e=[date("due", 0, 20 * DAY)],
        f=[date("due", -(2**62), 10 * DAY + 9)],
        g=[date("due", 10 * DAY + 9, 2**62)],
        h=[],
    )
    expected = {
        "eq": "bd",
        "ne": "acefg",
        "gt": "ceg",
        "lt": "aef",
        "ge": "bcdeg",
        "le": "abdef",
        "sa": "c",
        "eb": "a",
        "ap": "bdefg",
    }
    got = {how: matching(sql_store, test(date("due", 10 * DAY, 11 * DAY), how)) for how in expected}
    assert got == expected


def test_references(sql_store: Any) -> None:
    goals(
        sql_store,
        a=[reference("subject", "Patient/1")],
        b=[reference("subject", "Group/1")],
        c=[reference("subject", "Patient/2")],
        d=[reference("subject", "https://other.example/Patient/1")],
        e=[reference("subject", identifier="mrn|1")],
        f=[reference("subject", identifier="npi|1")],
        g=[reference("owner", "Patient/1")],
    )
    assert matching(sql_store, test(reference("subject", "Patient/1"))) == "a"
    assert matching(sql_store, test(IndexValue("subject", "reference", code="1"))) == "ab"
    assert matching(sql_store, test(reference("subject", "https://other.example/Patient/1"))) == "d"
    assert matching(sql_store, test(IndexValue("subject", "reference", text="mrn|1"), "both", "identifier")) == "e"
    assert matching(sql_store, test(IndexValue("subject", "reference", text="|1"), "code", "identifier")) == "ef"
    assert matching(sql_store, test(IndexValue("subject", "reference", text="npi|"), "system", "identifier")) == "f"


def test_quantities_by_every_prefix(sql_store: Any) -> None:
    goals(
        sql_store,
        a=[quantity("value", 5.4, "ucum", "mg")],
        b=[quantity("value", 5.3, "ucum", "mg")],
        c=[quantity("value", 5.44, "", "", "mg")],
        d=[],
    )
    low, high = 5_350_000, 5_450_000

    def ask(how: str, *unit: str) -> str:
        bounds = (low, high) if how in ("eq", "ne", "ap") else (5_400_000, 5_400_000)
        system, code, text = (*unit, "", "", "")[:3]
        return matching(sql_store, test(IndexValue("value", "quantity", system, code, text, *bounds), how))

    assert {how: ask(how) for how in ("eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap")} == {
        "eq": "ac",
        "ne": "b",
        "gt": "c",
        "lt": "b",
        "ge": "ac",
        "le": "ab",
        "sa": "c",
        "eb": "b",
        "ap": "ac",
    }
    assert ask("eq", "ucum", "mg") == "a"
    assert ask("eq", "ucum", "kg") == ""
    assert ask("eq", "", "mg", "mg") == "ac"


def test_uris(sql_store: Any) -> None:
    goals(
        sql_store,
        a=[uri("url", "http://x.org/a")],
        b=[uri("url", "http://x.org/a/b")],
        c=[uri("url", "http://x.org/ab")],
        d=[uri("url", "http://x.org")],
    )
    assert matching(sql_store, test(uri("url", "http://x.org/a"))) == "a"
    assert matching(sql_store, test(uri("url", "http://x.org/a"), modifier="below")) == "ab"
    assert matching(sql_store, test(uri("url", "http://x.org/a/b"), modifier="above")) == "abd"


@pytest.mark.parametrize(
    "made",
    [
        token("p", "x"),
        string("p", "x"),
        date("p", 1, 2),
        reference("p", "Patient/1"),
        quantity("p", 1),
        uri("p", "x"),
    ],
    ids=lambda value: str(value.kind),
)
def test_missing_for_every_kind(sql_store: Any, made: IndexValue) -> None:
    goals(sql_store, a=[made], b=[])
    assert matching(sql_store, missing("p", made.kind, "true")) == "b"
    assert matching(sql_store, missing("p", made.kind, "false")) == "a"


@pytest.mark.parametrize(
    "odd",
    [
        test(string("p", "x"), modifier="not-in"),
        test(token("p", "x"), modifier="in"),
        test(reference("p", "Patient/1"), modifier="below"),
        test(uri("p", "x"), modifier="contains"),
        test(date("p", 1, 2), "zz"),
        test(quantity("p", 1), "eq", "text"),
    ],
    ids=lambda odd: f"{odd.kind}:{odd.modifier}{odd.values[0][0]}",
)
def test_what_the_store_does_not_know_is_refused(sql_store: Any, odd: Asked) -> None:
    with pytest.raises(Invalid):
        matching(sql_store, odd)


def test_a_thousand_values_in_one_test(sql_store: Any) -> None:
    goals(sql_store, a=[token("code", "c999"), string("name", "n999")], b=[token("code", "no")])
    assert matching(sql_store, Asked("code", "token", "", tuple(("code", token("code", f"c{n}")) for n in range(1_000)))) == "a"
    assert matching(sql_store, Asked("name", "string", "", tuple(("", string("name", f"n{n}")) for n in range(1_000)))) == "a"
    assert matching(sql_store, Asked("code", "token", "not", tuple(("both", token("code", f"c{n}")) for n in range(1_000)))) == "b"


def test_ids(sql_store: Any) -> None:
    goals(sql_store, a=[token("code", "x")], b=[], c=[token("code", "x")])
    assert found(sql_store, Query("Goal", ids=("b", "c", "zz"))) == ["b", "c"]
    assert found(sql_store, Query("Goal", ids=("b", "c"), tests=(test(token("code", "x")),))) == ["c"]
    assert found(sql_store, Query("Goal", ids=("",))) == []
    assert found(sql_store, Query("Task", ids=("a",))) == []


def test_a_changed_index_is_searched_and_the_old_is_not(sql_store: Any) -> None:
    goals(sql_store, a=[token("code", "x"), string("name", "old"), date("due", 1, 2), reference("subject", "Patient/1"), quantity("n", 1)])
    commit(
        sql_store,
        record("Goal/a", 2, index=[token("code", "y"), string("name", "new"), date("due", 5, 6), reference("subject", "Patient/2")]),
    )
    assert matching(sql_store, test(token("code", "x"))) == matching(sql_store, test(string("name", "old"))) == ""
    assert matching(sql_store, test(date("due", 1, 2), "eq")) == matching(sql_store, test(reference("subject", "Patient/1"))) == ""
    assert matching(sql_store, missing("n", "quantity", "true")) == "a"
    assert matching(sql_store, test(token("code", "y")), test(string("name", "new")), test(date("due", 5, 6), "eq")) == "a"


def test_an_unchanged_index_stays(sql_store: Any) -> None:
    index = [token("code", "x"), date("due", 1, 2)]
    goals(sql_store, a=index)
    commit(sql_store, record("Goal/a", 2, index=index))
    assert matching(sql_store, test(token("code", "x")), test(date("due", 1, 2), "eq")) == "a"


def test_deleted_resources_are_not_found_and_come_back(sql_store: Any) -> None:
    goals(sql_store, a=[token("code", "x")])
    commit(sql_store, record("Goal/a", 2, deleted=True))
    assert matching(sql_store) == matching(sql_store, missing("code", "token", "true")) == ""
    commit(sql_store, record("Goal/a", 3, index=[token("code", "x")]))
    assert matching(sql_store, test(token("code", "x"))) == "a"


# ---------------------------------------------------------------------------------------------- order and pages


def test_sorting_by_parameters_puts_what_has_none_last(sql_store: Any) -> None:
    goals(
        sql_store,
        a=[date("due", 3, 4), string("name", "m"), token("code", "2")],
        b=[date("due", 1, 2), date("due", 9, 10), token("code", "1")],
        c=[string("name", "k"), token("code", "2")],
        d=[date("due", 2, 3), string("name", "z")],
    )
    assert found(sql_store, Query("Goal", sort=(("due", False),))) == ["b", "d", "a", "c"]
    assert found(sql_store, Query("Goal", sort=(("due", True),))) == ["b", "a", "d", "c"]
    assert found(sql_store, Query("Goal", sort=(("name", False),))) == ["c", "a", "d", "b"]
    assert found(sql_store, Query("Goal", sort=(("code", False), ("name", True)))) == ["b", "a", "c", "d"]
    assert found(sql_store, Query("Goal", sort=(("_id", True),))) == ["d", "c", "b", "a"]


def pages(store: Any, query: Query, who: Any = HUB) -> list[list[str]]:
    got: list[list[str]] = []
    cursor = None
    while True:
        with store.read() as tx:
            page = tx.plans.search(who, Query(**{**{f: getattr(query, f) for f in Query.__slots__}, "cursor": cursor}))
        got.append([stored.id for stored in page.matches])
        cursor = page.next
        if cursor is None:
            return got


@pytest.mark.parametrize("sort", [(), (("due", False),), (("due", True), ("name", False)), (("_lastUpdated", True),), (("_id", False),)])
@pytest.mark.parametrize("partner", ["hub", "home"])
def test_pages_join_to_the_whole(sql_store: Any, sort: tuple[tuple[str, bool], ...], partner: str) -> None:
    who = HUB if partner == "hub" else viewer("home")
    commit(
        sql_store,
        *(
            record(f"Goal/g{n:02}", client="p", case="e", index=[date("due", n % 4, n % 4 + 1)] if n % 5 else [string("name", f"x{n % 3}")])
            for n in range(23)
        ),
        grants=[member("home", "p", "e")],
    )
    whole = found(sql_store, Query("Goal", sort=sort, count=200), who)
    assert len(whole) == 23
    split = pages(sql_store, Query("Goal", sort=sort, count=5), who)
    assert [len(page) for page in split] == [5, 5, 5, 5, 3]
    assert sum(split, []) == whole


def test_a_page_that_ends_the_list_has_no_next(sql_store: Any) -> None:
    goals(sql_store, **{c: [] for c in "abcdef"})
    assert pages(sql_store, Query("Goal", count=3)) == [["a", "b", "c"], ["d", "e", "f"]]
    assert pages(sql_store, Query("Goal", count=6)) == [list("abcdef")]


def test_writes_between_pages_make_a_poller_miss_nothing(sql_store: Any) -> None:
    """What changes while it pages moves behind; so the greatest time it saw is a safe place to go on from."""
    goals(sql_store, a=[], b=[], c=[], d=[])
    with sql_store.read() as tx:
        first = tx.plans.search(HUB, Query("Goal", count=2))
    commit(sql_store, record("Goal/a", 2), now=T + 10)
    commit(sql_store, record("Goal/d", 2), now=T + 20)
    commit(sql_store, record("Goal/b", 2, deleted=True), now=T + 30)
    with sql_store.read() as tx:
        second = tx.plans.search(HUB, Query("Goal", count=2, cursor=first.next))
        third = tx.plans.search(HUB, Query("Goal", count=2, cursor=second.next))
    assert [[s.id for s in page.matches] for page in (first, second, third)] == [["a", "b"], ["c", "a"], ["d"]]
    assert (first.latest, second.latest, third.latest) == (T, T + 10, T + 20)


def test_a_page_sorted_down_to_the_id_repeats_nothing_that_is_written_between_pages(sql_store: Any) -> None:
    goals(sql_store, **{c: [string("name", "same" if c in "bc" else c)] for c in "abcd"})
    asked = Query("Goal", sort=(("name", False), ("_id", False)), count=3)
    with sql_store.read() as tx:
        first = tx.plans.search(HUB, asked)
    commit(sql_store, *(record(f"Goal/{c}", 2, index=[string("name", "same" if c in "bc" else c)]) for c in "abcd"), now=T + 10)
    with sql_store.read() as tx:
        second = tx.plans.search(HUB, Query("Goal", sort=asked.sort, count=3, cursor=first.next))
    assert [[s.id for s in page.matches] for page in (first, second)] == [["a", "d", "b"], ["c"]]


def test_a_tampered_or_foreign_cursor_is_malformed(sql_store: Any) -> None:
    goals(sql_store, a=[], b=[], c=[])
    with sql_store.read() as tx:
        cursor = tx.plans.search(HUB, Query("Goal", count=1)).next
        assert cursor is not None
        wrong = ["", "x", "é", cursor[:-2], cursor + "AAAA", cursor[:4] + ("A" if cursor[4] != "A" else "B") + cursor[5:], "A" * 5_000]
        for bad in wrong:
            with pytest.raises(Malformed):
                tx.plans.search(HUB, Query("Goal", count=1, cursor=bad))
        for other in (
            Query("Task", cursor=cursor),
            Query("Goal", sort=(("_id", False),), cursor=cursor),
            Query("Goal", ids=("a",), cursor=cursor),
        ):
            with pytest.raises(Malformed):
                tx.plans.search(HUB, other)
        with pytest.raises(Malformed):
            tx.plans.search(viewer("home"), Query("Goal", cursor=cursor))


def test_the_total_is_counted_only_when_asked(sql_store: Any) -> None:
    goals(sql_store, a=[token("code", "x")], b=[token("code", "x")], c=[])
    query = (test(token("code", "x")),)
    with sql_store.read() as tx:
        assert tx.plans.search(HUB, Query("Goal", tests=query, count=1)).total is None
        page = tx.plans.search(HUB, Query("Goal", tests=query, count=1, total=True))
        assert (page.total, len(page.matches)) == (2, 1)
        only = tx.plans.search(HUB, Query("Goal", tests=query, count=0))
        assert (only.total, list(only.matches), only.next) == (2, [], None)
        assert tx.plans.search(HUB, Query("Goal", total=True, updated=(("ge", T * 2, T * 2 + 1),))).total == 0


# ---------------------------------------------------------------------------------------------- includes and chains


def plan(store: Any) -> None:
    commit(
        store,
        record("Patient/p"),
        record(
            "CarePlan/c",
            index=[
                reference("goal", "Goal/g1"),
                reference("goal", "Goal/g2"),
                reference("subject", "Patient/p"),
                reference("goal", "Goal/none"),
            ],
        ),
        record("CarePlan/d", index=[reference("goal", "Goal/g2"), reference("subject", "Patient/p")]),
        record("Goal/g1", index=[reference("subject", "Patient/p"), reference("addresses", "Condition/k")]),
        record("Goal/g2"),
        record("Condition/k", index=[reference("evidence", "Observation/o")]),
        record("Observation/o", index=[reference("derived", "Observation/o2")]),
        record("Observation/o2", index=[reference("derived", "Observation/o")]),
        record("Provenance/v", index=[reference("target", "CarePlan/c"), reference("target", "Goal/g1")]),
        record("Provenance/w", index=[reference("target", "Goal/g1")]),
        record("Provenance/gone", index=[reference("target", "CarePlan/c")]),
    )
    commit(store, record("Provenance/gone", 2, deleted=True))


def included(store: Any, *includes: Include, type: str = "CarePlan", ids: tuple[str, ...] = ("c",)) -> list[str]:
    with store.read() as tx:
        return sorted(str(s.ref) for s in tx.plans.search(HUB, Query(type, ids=ids, includes=includes)).included)


def test_include_brings_what_matches_refer_to_once(sql_store: Any) -> None:
    plan(sql_store)
    goal = Include("CarePlan", "goal")
    assert included(sql_store, goal) == ["Goal/g1", "Goal/g2"]
    assert included(sql_store, goal, ids=("c", "d")) == ["Goal/g1", "Goal/g2"]
    assert included(sql_store, Include("CarePlan", "goal", "Group")) == []
    assert included(sql_store, Include("CarePlan", "*")) == ["Goal/g1", "Goal/g2", "Patient/p"]
    assert included(sql_store, Include("Goal", "subject")) == []


def test_what_matches_is_not_included_again(sql_store: Any) -> None:
    plan(sql_store)
    assert included(sql_store, Include("Observation", "derived"), type="Observation", ids=("o", "o2")) == []


def test_revinclude_brings_what_refers_to_matches(sql_store: Any) -> None:
    plan(sql_store)
    assert included(sql_store, Include("Provenance", "target", reverse=True)) == ["Provenance/v"]
    assert included(sql_store, Include("CarePlan", "subject", reverse=True), type="Patient", ids=("p",)) == ["CarePlan/c", "CarePlan/d"]
    assert included(sql_store, Include("Provenance", "target", "Goal", reverse=True)) == []


def test_iterate_follows_what_was_included_three_times(sql_store: Any) -> None:
    plan(sql_store)
    chain = (
        Include("CarePlan", "goal"),
        Include("Goal", "addresses", iterate=True),
        Include("Condition", "evidence", iterate=True),
        Include("Observation", "derived", iterate=True),
    )
    assert included(sql_store, *chain) == ["Condition/k", "Goal/g1", "Goal/g2", "Observation/o", "Observation/o2"]
    assert included(sql_store, Include("CarePlan", "goal"), Include("Goal", "addresses")) == ["Goal/g1", "Goal/g2"]
    assert included(sql_store, Include("CarePlan", "goal"), Include("Provenance", "target", reverse=True, iterate=True)) == [
        "Goal/g1",
        "Goal/g2",
        "Provenance/v",
        "Provenance/w",
    ]
    assert included(sql_store, Include("Observation", "derived", iterate=True), type="Observation", ids=("o",)) == ["Observation/o2"]
    commit(sql_store, *(record(f"List/{n}", index=[reference("item", f"List/{n + 1}")]) for n in range(9)))
    assert included(sql_store, Include("List", "item", iterate=True), type="List", ids=("0",)) == [f"List/{n}" for n in (1, 2, 3, 4)]


def test_too_many_included_are_refused_not_dropped(sql_store: Any) -> None:
    commit(sql_store, record("Patient/p"), *(record(f"Observation/o{n}", index=[reference("subject", "Patient/p")]) for n in range(1_001)))
    with pytest.raises(TooLarge), sql_store.read() as tx:
        tx.plans.search(HUB, Query("Patient", includes=(Include("Observation", "subject", reverse=True),)))


def test_a_chain_asks_the_target_that_the_viewer_may_see(sql_store: Any) -> None:
    commit(
        sql_store,
        record("Patient/p", index=[string("name", "Anna")]),
        record("Patient/q", index=[string("name", "Anna")]),
        record("Goal/a", client="p", case="e", index=[reference("subject", "Patient/p")]),
        record("Goal/b", client="p", case="e", index=[reference("subject", "Patient/q")]),
        record("Goal/c", client="p", case="e", index=[reference("subject", "Group/p")]),
        grants=[member("home", "p", "e")],
    )
    chained = Asked("subject", "reference", chain_type="Patient", chain=(test(string("name", "ann")),))
    assert matching(sql_store, chained) == "ab"
    assert found(sql_store, Query("Goal", tests=(chained,)), viewer("home")) == ["a"]


def test_what_search_answers_is_what_read_answers(sql_store: Any) -> None:
    plan(sql_store)
    with sql_store.read() as tx:
        page = tx.plans.search(HUB, Query("CarePlan", includes=(Include("CarePlan", "goal"),)))
        for stored in (*page.matches, *page.included):
            assert stored == tx.plans.read(HUB, Ref(stored.type, stored.id))
