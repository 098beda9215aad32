"""Two records of one client become one."""

from __future__ import annotations

import pytest

from fhircase.plans import merging
from fhircase.plans.change import Ref
from fhircase.plans.merging import judge

NEW, OLD, THIRD = ("urn:mercy", "12345"), ("urn:mercy", "56789"), ("urn:mercy", "999")
A, B = Ref("Patient", "a"), Ref("Patient", "b")

OLD_ON_A = {A: {"identifier": [{"system": "urn:mercy", "value": "56789", "use": "old"}]}}

TABLE = [
    ("two records", (NEW,), (OLD,), {NEW: A, OLD: B}, {}, "merge"),
    ("PID is MRG", (NEW,), (NEW,), {NEW: A}, {}, "ignore"),
    ("nothing retired", (NEW,), (), {NEW: A}, {}, "ignore"),
    ("only the retired is known", (NEW,), (OLD,), {OLD: B}, {}, "alias"),
    ("only the survivor is known", (NEW,), (OLD,), {NEW: A}, {}, "unknown"),
    ("neither is known", (NEW,), (OLD,), {}, {}, "unknown"),
    ("said before", (NEW,), (OLD,), {NEW: A, OLD: A}, OLD_ON_A, "same"),
    ("the opposite of an earlier merge", (OLD,), (NEW,), {NEW: A, OLD: A}, OLD_ON_A, "inverse"),
]  # fmt: skip


@pytest.mark.parametrize(("kept", "gone", "holders", "bodies", "verdict"), [row[1:] for row in TABLE], ids=[str(row[0]) for row in TABLE])
def test_what_a_merge_asks_for(kept, gone, holders, bodies, verdict) -> None:  # type: ignore[no-untyped-def]
    assert judge(kept, gone, holders, bodies).kind == verdict


def test_the_retired_record_stays_readable_and_names_its_survivor() -> None:
    made = merging.retire({"resourceType": "Patient", "id": "b", "active": True}, A)
    assert (made["active"], made["link"]) == (False, [{"other": {"reference": "Patient/a"}, "type": "replaced-by"}])
    assert merging.retire(made, A)["link"] == made["link"]


def test_the_survivor_bears_the_old_numbers_as_old() -> None:
    retired = {"id": "b", "identifier": [{"system": "urn:mercy", "value": "56789"}, {"system": "urn:mercy", "value": "12345"}]}
    made = merging.survive({"id": "a", "identifier": [{"system": "urn:mercy", "value": "12345"}]}, retired)
    assert made["identifier"] == [{"system": "urn:mercy", "value": "12345"}, {"system": "urn:mercy", "value": "56789", "use": "old"}]
    assert made["link"] == [{"other": {"reference": "Patient/b"}, "type": "replaces"}]


def test_every_reference_to_the_retired_names_the_survivor_and_nothing_else_changes() -> None:
    task = {
        "for": {"reference": "Patient/b"},
        "focus": {"reference": "CarePlan/b"},
        "note": [{"text": "Patient/b called"}],
        "input": [{"valueReference": {"reference": "Patient/b"}}],
    }
    made = merging.repoint(task, B, A)
    assert made == {**task, "for": {"reference": "Patient/a"}, "input": [{"valueReference": {"reference": "Patient/a"}}]}


def test_two_open_plans_are_linked_once_and_not_blended() -> None:
    once = merging.link_plans({"goal": [{"reference": "Goal/1"}]}, "p2")
    assert once == {"goal": [{"reference": "Goal/1"}], "supportingInfo": [{"reference": "CarePlan/p2"}]}
    assert merging.link_plans(once, "p2") == once
