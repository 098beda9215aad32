"""Three-way merge by element (DESIGN "Merge")."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhircase.plans.merge import merge, overlay

Resource = dict[str, Any]


def goal(**more: Any) -> Resource:
    return {"resourceType": "Goal", "lifecycleStatus": "active", "description": {"text": "walk"}, **more}


def concept(*codes: str, text: str | None = None) -> Resource:
    made: Resource = {"coding": [{"system": "http://x", "code": code} for code in codes]}
    return made if text is None else {**made, "text": text}


def clashes(result: Any) -> list[str]:
    return [clash.path for clash in result.clashes]


def test_disjoint_edits_join() -> None:
    result = merge(goal(statusReason="a"), goal(startDate="2026-01-01"), goal())
    assert result.resource == goal(statusReason="a", startDate="2026-01-01")
    assert result.taken == {"startDate"} and not result.clashes


def test_the_same_edit_on_both_sides_is_no_conflict() -> None:
    result = merge(goal(statusReason="a"), goal(statusReason="a"), goal())
    assert (result.taken, result.clashes) == (frozenset(), ())


def test_a_true_conflict_keeps_ours_and_tells_both_values() -> None:
    result = merge(goal(statusReason="ours"), goal(statusReason="theirs"), goal(statusReason="old"))
    assert result.resource["statusReason"] == "ours"
    (clash,) = result.clashes
    assert (clash.element, clash.ours, clash.theirs) == ("statusReason", {"statusReason": "ours"}, {"statusReason": "theirs"})


def test_a_removal_is_an_edit_and_meets_an_edit_as_a_conflict() -> None:
    assert "statusReason" not in merge(goal(statusReason="a"), goal(), goal(statusReason="a")).resource
    assert clashes(merge(goal(statusReason="b"), goal(), goal(statusReason="a"))) == ["statusReason"]


def test_a_quantity_is_one_statement_and_never_mixed() -> None:
    def weight(value: int, unit: str) -> Resource:
        return {"resourceType": "Observation", "valueQuantity": {"value": value, "unit": unit}}

    assert clashes(merge(weight(80, "kg"), weight(72, "lb"), weight(72, "kg"))) == ["valueQuantity"]


def test_activities_are_matched_by_what_they_refer_to_and_not_by_place() -> None:
    def plan(*activities: Resource) -> Resource:
        return {"resourceType": "CarePlan", "activity": list(activities)}

    def activity(id_: str, **more: Any) -> Resource:
        return {"reference": {"reference": f"ServiceRequest/{id_}"}, **more}

    base = plan(activity("a"), activity("b"))
    ours = plan(activity("new"), activity("a", progress=[{"text": "ours"}]), activity("b"))
    theirs = plan(activity("b", outcomeReference=[{"reference": "Observation/o"}]), activity("a"))
    assert merge(ours, theirs, base).resource == plan(
        activity("new"),
        activity("a", progress=[{"text": "ours"}]),
        activity("b", outcomeReference=[{"reference": "Observation/o"}]),
    )


def test_children_of_one_target_join_and_its_own_conflict_is_named_by_its_path() -> None:
    def with_target(**more: Any) -> Resource:
        return goal(target=[{"measure": concept("steps"), **more}])

    base = with_target(dueDate="2026-01-01", detailInteger=50)
    joined = merge(with_target(dueDate="2026-02-01", detailInteger=50), with_target(dueDate="2026-01-01", detailInteger=80), base)
    assert joined.resource == with_target(dueDate="2026-02-01", detailInteger=80)
    met = merge(with_target(dueDate="2026-02-01", detailInteger=50), with_target(dueDate="2026-03-01", detailInteger=50), base)
    assert clashes(met) == ["target.dueDate"] and met.clashes[0].element == "target"


def test_notes_of_both_sides_are_kept() -> None:
    def note(text: str) -> Resource:
        return {"authorString": "x", "time": "2026-01-01", "text": text}

    result = merge(goal(note=[note("old"), note("ours")]), goal(note=[note("old"), note("theirs")]), goal(note=[note("old")]))
    assert [entry["text"] for entry in result.resource["note"]] == ["old", "ours", "theirs"]


def test_one_entry_replaced_by_both_sides_is_a_conflict_and_not_two_entries() -> None:
    result = merge(goal(category=[concept("b")]), goal(category=[concept("c")]), goal(category=[concept("a")]))
    assert clashes(result) == ["category"]


def test_an_entry_that_they_removed_and_we_edited_is_a_conflict() -> None:
    def member(**more: Any) -> Resource:
        return {"member": {"reference": "Practitioner/p"}, "role": [concept("nurse")], **more}

    def team(*entries: Resource) -> Resource:
        return {"resourceType": "CareTeam", "participant": list(entries)}

    assert clashes(merge(team(member(period={"start": "2026"})), team(), team(member()))) == ["participant"]


def test_translations_of_one_concept_join_but_another_concept_does_not() -> None:
    base = goal(description=concept("a"))
    assert merge(goal(description=concept("a", "b")), goal(description=concept("a", "c")), base).resource["description"] == concept(
        "a", "b", "c"
    )
    assert clashes(merge(goal(description=concept("b")), goal(description=concept("a", "c")), base)) == ["description"]


def test_identifiers_are_matched_by_system_and_value() -> None:
    def ident(value: str, **more: Any) -> Resource:
        return {"system": "urn:s", "value": value, **more}

    base = goal(identifier=[ident("1")])
    result = merge(goal(identifier=[ident("1", use="official")]), goal(identifier=[ident("2"), ident("1")]), base)
    assert result.resource["identifier"] == [ident("1", use="official"), ident("2")]


def test_a_primitive_and_its_extension_are_one() -> None:
    base, theirs = goal(startDate="2026-01-01"), goal(startDate="2026-01-01", _startDate={"extension": [{"url": "u"}]})
    assert merge(base, theirs, base).resource["_startDate"] == {"extension": [{"url": "u"}]}
    ours = goal(startDate="2026-01-02")
    assert clashes(merge(ours, theirs, base)) == ["startDate"]


def test_what_their_server_never_held_is_not_taken_for_a_removal() -> None:
    extension = [{"url": "http://x", "valueString": "kept"}]
    sent, stored = goal(target=[{"measure": concept("m"), "extension": extension}]), goal(target=[{"measure": concept("m")}])
    theirs = goal(target=[{"measure": concept("m"), "dueDate": "2026-05-01"}])
    result = merge(sent, theirs, stored, meant=sent)
    assert result.resource["target"] == [{"measure": concept("m"), "extension": extension, "dueDate": "2026-05-01"}]


def test_a_held_element_stays_and_their_newest_value_is_told_again() -> None:
    result = merge(goal(statusReason="ours"), goal(statusReason="newer"), goal(statusReason="old"), held=frozenset({"statusReason"}))
    assert result.resource["statusReason"] == "ours" and result.clashes[0].theirs == {"statusReason": "newer"}


def test_who_has_authority_decides_a_conflict() -> None:
    ours, theirs, base = goal(statusReason="ours"), goal(statusReason="theirs"), goal()
    assert merge(ours, theirs, base, authority=lambda element: "theirs").resource["statusReason"] == "theirs"
    assert merge(ours, theirs, base, authority=lambda element: "ours").clashes == ()


def test_id_and_narrative_are_each_sides_own() -> None:
    result = merge({**goal(), "id": "a"}, {**goal(), "id": "b", "text": {"div": "x"}}, goal())
    assert result.resource == {**goal(), "id": "a"}


def test_numbers_are_compared_as_numbers() -> None:
    from fhircase.fhir.jsontext import Number

    ours, theirs = (
        {"resourceType": "Observation", "valueDecimal": Number("1.50")},
        {"resourceType": "Observation", "valueDecimal": Number("1.5")},
    )
    assert merge(ours, theirs, {"resourceType": "Observation"}).taken == frozenset()


def test_writing_over_a_copy_keeps_what_the_server_added() -> None:
    form, there = goal(statusReason="new"), goal(identifier=[{"system": "s", "value": "given there"}])
    assert overlay(form, there, goal()) == goal(statusReason="new", identifier=[{"system": "s", "value": "given there"}])


VALUES = st.sampled_from([None, "a", "b", "c"])
BODIES = st.fixed_dictionaries(dict.fromkeys(("statusReason", "startDate", "language"), VALUES)).map(
    lambda elements: goal(**{name: value for name, value in elements.items() if value is not None})
)


@given(ours=BODIES, theirs=BODIES, base=BODIES)
def test_nothing_is_lost_and_nothing_is_invented(ours: Resource, theirs: Resource, base: Resource) -> None:
    result = merge(ours, theirs, base)
    for element in ("statusReason", "startDate", "language"):
        o, t, b = ours.get(element), theirs.get(element), base.get(element)
        assert result.resource.get(element) in (o, t)
        clashed = element in clashes(result)
        assert clashed == (o != t and o != b and t != b)
        if t != b and not clashed:
            assert result.resource.get(element) == t


@given(ours=BODIES, base=BODIES)
def test_merging_what_did_not_change_changes_nothing(ours: Resource, base: Resource) -> None:
    assert merge(ours, base, base).resource == ours
    assert merge(base, ours, base).resource == ours


@pytest.mark.parametrize("element", ["activity", "participant"])
def test_entries_without_a_key_are_kept_whole(element: str) -> None:
    type_ = {"activity": "CarePlan", "participant": "CareTeam"}[element]
    base = {"resourceType": type_, element: [{"id": "1"}]}
    theirs = {"resourceType": type_, element: [{"id": "1"}, {"id": "2"}]}
    assert merge(base, theirs, base).resource == theirs
