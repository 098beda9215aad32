"""Versions, claims, cases: what is written is read, and nothing half."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.errors import Conflict, Stale
from fhircase.fhir import jsontext
from fhircase.plans.change import Ref
from tests.contract.making import HUB, T, commit, date, record, reference, token, viewer


def test_what_is_saved_is_read_token_for_token(store: Any) -> None:
    text = '{"resourceType":"Observation","id":"o1","valueQuantity":{"value":72.50},"note":[{"text":"übel \\u0007 \U0001f600"}]}'
    stamp = commit(
        store, record("Observation/o1", text=text, mark=7, client="p1", case="e1", creator="mercy", sensitive=True, method="POST")
    )
    with store.read() as tx:
        stored = tx.plans.get(Ref("Observation", "o1"))
        assert stored == tx.plans.read(HUB, Ref("Observation", "o1"))
    assert stored.text == text
    assert jsontext.dumps(stored.body["valueQuantity"]) == '{"value":72.50}'
    assert (stored.version, stored.updated, stored.seq, stored.effective) == (1, stamp.at, stamp.seq, stamp.at)
    assert (stored.client, stored.case, stored.creator, stored.method, stored.mark) == ("p1", "e1", "mercy", "POST", 7)
    assert (stored.deleted, stored.sensitive) == (False, True)


def test_absent_is_none_everywhere(store: Any) -> None:
    nobody = Ref("Patient", "nobody")
    with store.read() as tx:
        assert tx.plans.get(nobody) is None
        assert tx.plans.read(HUB, nobody) is None
        assert tx.plans.vread(HUB, nobody, 1) is None
        assert tx.plans.get_version(nobody, 1) is None
        assert tx.plans.get_version(nobody, 10**30) is None
        assert tx.plans.get_many([nobody]) == {}
        assert tx.plans.get_many([]) == {}
        assert tx.plans.holder("Patient", "s", "1") is None


def test_the_same_id_of_two_types_is_two_resources(store: Any) -> None:
    commit(store, record("Patient/x"), record("Goal/x"))
    with store.read() as tx:
        assert tx.plans.get(Ref("Goal", "x")).type == "Goal"
        assert set(tx.plans.get_many([Ref("Patient", "x"), Ref("Goal", "x"), Ref("Task", "x")])) == {Ref("Patient", "x"), Ref("Goal", "x")}


def test_each_version_keeps_its_own_text_and_time(store: Any) -> None:
    first = commit(store, record("Goal/g", 1, text='{"v":1}'))
    second = commit(store, record("Goal/g", 2, text='{"v":2}'))
    with store.read() as tx:
        one, two = (tx.plans.get_version(Ref("Goal", "g"), version) for version in (1, 2))
        assert (one.text, one.updated, one.seq) == ('{"v":1}', first.at, first.seq)
        assert (two.text, two.updated, two.seq) == ('{"v":2}', second.at, second.seq)
        assert tx.plans.vread(HUB, Ref("Goal", "g"), 1) == one
        assert tx.plans.get(Ref("Goal", "g")) == two


def test_a_deletion_is_a_version_that_is_read_as_a_tombstone(store: Any) -> None:
    commit(store, record("Goal/g", client="p"))
    commit(store, record("Goal/g", 2, deleted=True, client="p", method="DELETE", text="{}"))
    with store.read() as tx:
        assert tx.plans.get(Ref("Goal", "g")).deleted
        assert tx.plans.read(HUB, Ref("Goal", "g")).deleted
        assert not tx.plans.get_version(Ref("Goal", "g"), 1).deleted
        assert tx.plans.of_client("p") == []


def test_stamps_grow_strictly_even_when_the_clock_stands_still_or_runs_back(store: Any) -> None:
    stamps = []
    for now in (T, T, T - 50_000, T + 5, T):
        with store.write() as tx:
            stamps.append(tx.plans.stamp(now))
    assert [stamp.seq for stamp in stamps] == [stamps[0].seq + n for n in range(5)]
    assert [stamp.at for stamp in stamps] == [T, T + 1, T + 2, T + 5, T + 6]


def test_a_block_that_raises_leaves_nothing(store: Any) -> None:
    with pytest.raises(RuntimeError, match="stop"), store.write() as tx:
        stamp = tx.plans.stamp(T)
        tx.plans.save(stamp, [record("Goal/g", claims=[("s", "1")])])
        raise RuntimeError("stop")
    with store.write() as tx:
        assert tx.plans.get(Ref("Goal", "g")) is None
        assert tx.plans.holder("Goal", "s", "1") is None
        assert tx.plans.stamp(T).seq == stamp.seq


def test_a_version_that_is_not_the_next_is_stale(store: Any) -> None:
    commit(store, record("Goal/g"))
    commit(store, record("Goal/g", 2))
    with pytest.raises(Stale):
        commit(store, record("Goal/g", 2))
    with pytest.raises((Stale, Conflict)):
        commit(store, record("Goal/g", 1))
    with pytest.raises(Stale):
        commit(store, record("Goal/other", 2))


def test_a_claim_is_held_by_one_resource_of_its_type(store: Any) -> None:
    commit(store, record("Patient/a", claims=[("mrn", "1"), ("mrn", "1")]))
    with pytest.raises(Conflict):
        commit(store, record("Patient/b", claims=[("mrn", "1")]))
    with pytest.raises(Conflict):
        commit(store, record("Patient/c", claims=[("mrn", "7")]), record("Patient/d", claims=[("mrn", "7")]))
    commit(store, record("Encounter/b", claims=[("mrn", "1")]))
    with store.read() as tx:
        assert tx.plans.holder("Patient", "mrn", "1") == Ref("Patient", "a")
        assert tx.plans.holder("Encounter", "mrn", "1") == Ref("Encounter", "b")
        assert tx.plans.get(Ref("Patient", "b")) is None
        assert tx.plans.holder("Patient", "mrn", "7") is None


def test_a_claim_can_move_within_one_commit(store: Any) -> None:
    commit(store, record("Patient/a", claims=[("mrn", "1"), ("mrn", "2")]), record("Patient/b"))
    commit(store, record("Patient/b", 2, claims=[("mrn", "1")]), record("Patient/a", 2, claims=[("mrn", "2")]))
    with store.read() as tx:
        assert tx.plans.holder("Patient", "mrn", "1") == Ref("Patient", "b")
        assert tx.plans.holder("Patient", "mrn", "2") == Ref("Patient", "a")


def test_very_long_values_are_told_apart(sql_store: Any) -> None:
    long = "x" * 20_000
    commit(sql_store, record("Patient/a", claims=[("s", long + "1")], index=[token("identifier", long + "1", "s")]))
    commit(sql_store, record("Patient/b", claims=[("s", long + "2")], index=[token("identifier", long + "2", "s")]))
    with sql_store.read() as tx:
        assert tx.plans.holder("Patient", "s", long + "2") == Ref("Patient", "b")
        assert [stored.id for stored in tx.plans.by_identifier("Patient", "s", long + "1")] == ["a"]


def test_by_identifier_finds_current_ones_only(sql_store: Any) -> None:
    commit(
        sql_store, record("Patient/a", index=[token("identifier", "1", "s")]), record("Patient/b", index=[token("identifier", "1", "s")])
    )
    commit(
        sql_store, record("Patient/c", index=[token("identifier", "1", "other")]), record("Group/d", index=[token("identifier", "1", "s")])
    )
    commit(sql_store, record("Patient/a", 2, index=[token("identifier", "2", "s")]))
    with sql_store.read() as tx:
        assert [stored.id for stored in tx.plans.by_identifier("Patient", "s", "1")] == ["b"]
    commit(sql_store, record("Patient/b", 2, deleted=True, index=[]))
    with sql_store.read() as tx:
        assert tx.plans.by_identifier("Patient", "s", "1") == []


def test_of_case_and_of_client_give_what_belongs_there(store: Any) -> None:
    commit(
        store,
        record("Goal/g", client="p", case="e"),
        record("Task/t", client="p", case="e"),
        record("Condition/c", client="p"),
        record("Goal/x", client="q", case="f"),
    )
    with store.read() as tx:
        assert [stored.id for stored in tx.plans.of_case("e")] == ["g", "t"]
        assert [stored.id for stored in tx.plans.of_case("e", ["Task", "Goal"])] == ["g", "t"]
        assert [stored.id for stored in tx.plans.of_case("e", ["Task"])] == ["t"]
        assert [stored.id for stored in tx.plans.of_client("p")] == ["g", "t", "c"]
        assert [stored.id for stored in tx.plans.of_client("p", ["Condition"])] == ["c"]


def test_a_patient_belongs_to_itself(sql_store: Any) -> None:
    commit(sql_store, record("Patient/p"))
    with sql_store.read() as tx:
        assert tx.plans.get(Ref("Patient", "p")).client == "p"
        assert [stored.id for stored in tx.plans.of_client("p")] == ["p"]


def test_referring_follows_the_index(store: Any) -> None:
    commit(store, record("CarePlan/a", index=[reference("goal", "Goal/1"), reference("goal", "Goal/2")]))
    commit(store, record("CarePlan/b", index=[reference("goal", "Goal/2"), reference("subject", "Goal/1")]))
    with store.read() as tx:
        assert [stored.id for stored in tx.plans.referring(Ref("Goal", "2"), "CarePlan", "goal")] == ["a", "b"]
        assert [stored.id for stored in tx.plans.referring(Ref("Goal", "1"), "CarePlan", "goal")] == ["a"]
        assert tx.plans.referring(Ref("Patient", "1"), "CarePlan", "goal") == []
    commit(store, record("CarePlan/a", 2, index=[reference("goal", "Goal/1")]))
    with store.read() as tx:
        assert [stored.id for stored in tx.plans.referring(Ref("Goal", "2"), "CarePlan", "goal")] == ["b"]


def test_numbers_beyond_64_bits_are_kept_within(store: Any) -> None:
    commit(store, record("Goal/g", index=[date("due", -(2**70), 2**70)]))
    with store.read() as tx:
        assert tx.plans.get(Ref("Goal", "g")) is not None


def test_assign_puts_into_a_case_without_a_new_version(store: Any) -> None:
    commit(store, record("Condition/c", client="p"))
    with store.write() as tx:
        stamp = tx.plans.stamp(T + 100)
        tx.plans.assign(stamp, [Ref("Condition", "c")], "p", "e")
    with store.read() as tx:
        stored = tx.plans.get(Ref("Condition", "c"))
        assert (stored.case, stored.version, stored.updated) == ("e", 1, T)
        assert [stored.id for stored in tx.plans.of_case("e")] == ["c"]


def test_many_resources_fit_in_one_commit(store: Any) -> None:
    commit(store, *(record(f"Observation/o{n}", client="p", index=[token("code", str(n % 7))]) for n in range(4_000)))
    with store.read() as tx:
        assert len(tx.plans.of_client("p")) == 4_000
        assert len(tx.plans.get_many([Ref("Observation", f"o{n}") for n in range(3_000)])) == 3_000


def test_writing_in_a_read_transaction_is_an_error(sql_store: Any) -> None:
    with pytest.raises(Exception, match="read-?only|read only"), sql_store.read() as tx:
        tx.plans.stamp(T)
    with sql_store.read() as tx:
        assert tx.plans.read(viewer("x"), Ref("Goal", "g")) is None
