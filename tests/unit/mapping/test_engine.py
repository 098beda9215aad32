"""What the keys of a line promise, each shown on a small mapping: when, always, need, else, key, unmapped, contained."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhircase.mapping import MappingErrors, Mappings

from .conftest import GOAL, LIFE, concept_map

STATUS = "http://hl7.org/fhir/goal-status"
WHEN = (
    GOAL
    + """\
  on_hold_since: {fhir: statusDate, when: {lifecycleStatus: proposed}, as: date}
  done_on:   {fhir: statusDate, when: {lifecycleStatus: [completed, cancelled]}}
  targets:
    fhir: target
    many: yes
    key: what
    fields:
      what:  {fhir: measure.text}
      yes:   {fhir: detail.ofType(boolean)}
      note:  {fhir: "extension('urn:x:note').value.ofType(string)", when: {detail.ofType(boolean): yes}}
"""
)
DOC: dict[str, Any] = {"title": "Walk", "lifecycle": "done", "client": "Patient/p"}


@pytest.fixture
def goal(folder: Callable[..., Path]) -> Any:
    return Mappings.load(folder(WHEN)).mapping("goal")


def test_a_line_under_a_condition_writes_and_reads_only_there(goal: Any) -> None:
    made = goal.out({**DOC, "done_on": "2026-11-01"})
    assert made.resource["statusDate"] == "2026-11-01" and not made.problems
    assert goal.into(made.resource).doc == {**DOC, "done_on": "2026-11-01"}
    assert goal.into({**made.resource, "lifecycleStatus": "proposed"}).doc["on_hold_since"] == "2026-11-01"
    assert "done_on" not in goal.into({**made.resource, "lifecycleStatus": "active"}).doc


def test_what_is_said_where_the_condition_is_not_so_is_told_and_not_written(goal: Any) -> None:
    made = goal.out({**DOC, "lifecycle": "running", "done_on": "2026-11-01"})
    assert "statusDate" not in made.resource
    assert [(one.path, one.what, one.severity) for one in made.problems] == [
        ("done_on", "is kept only where lifecycleStatus is cancelled or completed", "error")
    ]
    onto = goal.out({**DOC, "lifecycle": "running", "done_on": "2026-11-01"}, onto={"resourceType": "Goal", "lifecycleStatus": "active"})
    assert [one.path for one in onto.problems] == ["done_on"] and "statusDate" not in onto.resource


def test_the_element_of_a_condition_that_is_not_so_is_left_alone(goal: Any) -> None:
    original = {**goal.out({**DOC, "lifecycle": "running"}).resource, "statusDate": "2025-01-01"}
    assert goal.out(goal.into(original).doc, onto=original).resource == original
    assert goal.out({**DOC, "lifecycle": "running", "title": "Run"}, onto=original).resource["statusDate"] == "2025-01-01"


def test_a_condition_is_judged_by_what_the_edit_makes_of_the_resource(goal: Any) -> None:
    original = goal.out({**DOC, "lifecycle": "new", "on_hold_since": "2026-10-01"}).resource
    done = goal.out({**DOC, "done_on": "2026-11-01"}, onto=original)
    assert not done.problems and goal.into(done.resource).doc == {**DOC, "done_on": "2026-11-01"}
    gone = goal.out(DOC, onto=done.resource)
    assert "statusDate" not in gone.resource and not gone.problems
    part = goal.out({"lifecycle": "running"}, onto=done.resource, partial=True)
    assert part.resource["statusDate"] == "2026-11-01" and not part.problems, "an absent key keeps"


def test_a_condition_holds_in_each_entry_of_a_list(goal: Any) -> None:
    doc = {**DOC, "targets": [{"what": "a", "yes": True, "note": "n"}, {"what": "b", "yes": False}]}
    made = goal.out(doc)
    assert not made.problems and goal.into(made.resource).doc == doc
    wrong = goal.out({**DOC, "targets": [{"what": "b", "yes": False, "note": "n"}]})
    assert [one.path for one in wrong.problems] == ["targets[0].note"]


def test_the_loss_list_and_the_elements_know_a_condition(goal: Any) -> None:
    original = {**goal.out({**DOC, "lifecycle": "running"}).resource, "statusDate": "2025-01-01"}
    assert goal.into(original).loss == ("statusDate",)
    assert goal.out({**DOC, "done_on": "2026-11-01"}).elements["done_on"] == "statusDate"


@pytest.mark.parametrize(
    ("when", "wanted"),
    [
        ("{lifecycleStatus: finished}", "'finished' is not a code of Goal.lifecycleStatus"),
        ("{lifecycelStatus: active}", "Goal has no element 'lifecycelStatus' (did you mean 'lifecycleStatus'?)"),
        ("{description: x}", "Goal.description is CodeableConcept: go on to one value that can be compared"),
        ("{start.ofType(date): soon}", "'soon' is not a date"),
        ("active", "a FHIR path and the value it must have: {status: active}"),
        ("{lifecycleStatus: {a: b}}", "a value or a list of values is wanted here"),
    ],
)
def test_a_condition_that_cannot_be_is_told_with_its_place(when: str, wanted: str, folder: Callable[..., Path]) -> None:
    with pytest.raises(MappingErrors) as caught:
        Mappings.load(folder(GOAL + f"  done_on:   {{fhir: statusDate, when: {when}}}\n"))
    (one,) = [mistake for mistake in caught.value.mistakes if wanted in mistake.what]
    assert (one.file, one.line) == ("mappings/goal.yaml", 9) and one.path.startswith("fields.done_on.when")


def test_two_fields_for_one_place_need_conditions_that_never_meet(folder: Callable[..., Path]) -> None:
    meeting = WHEN.replace("[completed, cancelled]", "[completed, proposed]")
    with pytest.raises(MappingErrors, match="'statusDate' is already written by 'on_hold_since'"):
        Mappings.load(folder(meeting))


def test_fixed_values_act_on_creation_only(folder: Callable[..., Path]) -> None:
    text = GOAL.replace("fields:", "always:\n  language: en\n  meta.profile: [urn:x:profile]\nfields:")
    goal = Mappings.load(folder(text)).mapping("goal")
    doc = {"title": "Walk", "lifecycle": "new", "client": "Patient/p"}
    made = goal.out(doc).resource
    assert (made["language"], made["meta"]) == ("en", {"profile": ["urn:x:profile"]})
    made["meta"]["profile"].append("urn:spoilt")
    assert goal.out(doc).resource["meta"] == {"profile": ["urn:x:profile"]}, "no two resources share a fixed value"
    theirs = {"resourceType": "Goal", "language": "es", "lifecycleStatus": "active"}
    assert goal.out({**goal.into(theirs).doc, "title": "Walk"}, onto=theirs).resource == {**theirs, "description": {"text": "Walk"}}


def _life(unmapped: dict[str, str], rows: dict[str, str] | None = None, url: str = "urn:x:life") -> str:
    table = json.loads(concept_map(rows or {"new": "proposed", "done": "completed"}, STATUS))
    table["url"] = url
    table["group"][0]["unmapped"] = unmapped
    return json.dumps(table)


def test_unmapped_provided_lets_codes_pass_and_fixed_stands_in_for_them(folder: Callable[..., Path]) -> None:
    doc = {"title": "Walk", "lifecycle": "accepted", "client": "Patient/p"}
    provided = Mappings.load(folder(codes={"life": _life({"mode": "provided"})})).mapping("goal")
    made = provided.out(doc)
    assert made.resource["lifecycleStatus"] == "accepted" and not made.problems and provided.into(made.resource).doc == doc
    fixed = Mappings.load(folder(codes={"life": _life({"mode": "fixed", "code": "active"})})).mapping("goal")
    assert fixed.out({**doc, "lifecycle": "whatever"}).resource["lifecycleStatus"] == "active"
    assert fixed.into({"lifecycleStatus": "active"}).problems[0].what == "code not in codes/life", "nobody can tell which it was"


def test_unmapped_other_map_asks_another_table_of_the_same_target(folder: Callable[..., Path]) -> None:
    other = _life({"mode": "provided"}, {"new": "planned", "running": "active", "over": "completed", "refused": "rejected"}, "urn:x:other")
    own = _life({"mode": "other-map", "url": "urn:x:other"})
    goal = Mappings.load(folder(codes={"life": own, "other": other})).mapping("goal")

    def there(word: str) -> Any:
        return goal.out({"title": "Walk", "lifecycle": word, "client": "Patient/p"}).resource.get("lifecycleStatus")

    def back(code: str) -> Any:
        return goal.into({"lifecycleStatus": code}).doc["lifecycle"]

    assert [there(word) for word in ("new", "running", "refused", "over", "accepted")] == [
        "proposed",
        "active",
        "rejected",
        "completed",
        "accepted",
    ]
    assert [back(code) for code in ("proposed", "active", "rejected", "completed", "accepted")] == [
        "new",
        "running",
        "refused",
        "done",
        "accepted",
    ]


@pytest.mark.parametrize(("url", "wanted"), [("urn:x:lief", "no table has that url"), ("urn:x:life", "leads back to itself")])
def test_another_map_that_is_not_there_is_told(url: str, wanted: str, folder: Callable[..., Path]) -> None:
    with pytest.raises(MappingErrors, match=wanted):
        Mappings.load(folder(codes={"life": _life({"mode": "other-map", "url": url})}))


def test_two_maps_that_send_each_other_their_codes_are_told(folder: Callable[..., Path]) -> None:
    codes = {
        "life": _life({"mode": "other-map", "url": "urn:x:o"}),
        "o": _life({"mode": "other-map", "url": "urn:x:life"}, LIFE, "urn:x:o"),
    }
    with pytest.raises(MappingErrors, match="leads back to itself"):
        Mappings.load(folder(codes=codes))


def test_contained_resources_are_read_by_their_own_mapping_and_kept(maps: Mappings) -> None:
    contained = [
        {"resourceType": "Patient", "id": "p1", "birthDate": "1956-03-04", "extension": [{"url": "urn:x", "valueCode": "y"}]},
        {"resourceType": "Organization", "name": "no id"},
    ]
    original = {
        "resourceType": "Goal",
        "contained": contained,
        "lifecycleStatus": "active",
        "description": {"text": "Walk"},
        "subject": {"reference": "#p1"},
    }
    read = maps.mapping("goal").into(original)
    assert read.doc["client"] == "#p1" and set(read.contained) == {"#p1"}
    assert maps.mapping("client").into(read.contained[read.doc["client"]]).doc == {"born": "1956-03-04"}
    written = maps.mapping("goal").out({**read.doc, "title": "Run"}, onto=original).resource
    assert written == {**original, "description": {"text": "Run"}}
    assert "contained[0].birthDate" in read.loss


def test_codings_of_foreign_systems_stay_beside_ours_however_many(maps: Mappings) -> None:
    goal = maps.mapping("goal")
    theirs = [{"system": "urn:x:a", "code": "1"}, {"system": "urn:x:b", "code": "2", "userSelected": True}]
    ours = goal.out({"title": "W", "lifecycle": "active", "client": "Patient/p", "priority": "high"}).resource
    ours["priority"]["coding"] = [theirs[0], *ours["priority"]["coding"], theirs[1]]
    ours["priority"]["extension"] = [{"url": "urn:x", "valueCode": "y"}]
    doc = goal.into(ours).doc
    assert doc["priority"] == "high" and goal.out(doc, onto=ours).resource == ours
    low = goal.out({**doc, "priority": "low"}, onto=ours).resource["priority"]
    assert low["coding"][0]["code"] == "low-priority" and low["coding"][1:] == theirs
    assert low["extension"] == ours["priority"]["extension"]
