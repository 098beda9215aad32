"""What a case manager and a partner rely on when one document goes out, comes back and is edited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fhircase.errors import Malformed
from fhircase.fhir import checks, jsontext
from fhircase.mapping import Mappings

GOAL: dict[str, Any] = {"title": "Walk", "lifecycle": "active", "client": "Patient/p"}


def partner_goal() -> dict[str, Any]:
    """A partner's goal with an acuity extension, its own coding beside ours, a second target and a number with a trailing zero."""
    value = jsontext.loads(
        """{"resourceType":"Goal","id":"g7","meta":{"versionId":"7"},"extension":[{"url":"https://x.example/acuity","valueCode":"high"}],
        "lifecycleStatus":"active","achievementStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/goal-achievement","code":"in-progress"},
        {"system":"https://x.example/codes","code":"on-track"}],"text":"on track"},
        "description":{"text":"Walk","coding":[{"system":"https://x.example/codes","code":"w"}]},
        "subject":{"reference":"Patient/p","display":"Jane"},
        "target":[{"measure":{"text":"distance"},"detailQuantity":{"value":72.50,"unit":"ft"}},{"dueDate":"2028-01-01"}],
        "note":[{"text":"one","extension":[{"url":"https://x.example/seen","valueBoolean":true}]},{"text":"two"}]}"""
    )
    assert isinstance(value, dict)
    return value


def test_an_edit_changes_what_it_names_and_nothing_else(maps: Mappings) -> None:
    goal, original = maps.mapping("goal"), partner_goal()
    doc = goal.into(original).doc
    written = goal.out({**doc, "achievement": "achieved", "due": "2027-02-01"}, onto=original).resource
    expected = partner_goal()
    expected["achievementStatus"] = {
        "coding": [
            {"system": "http://terminology.hl7.org/CodeSystem/goal-achievement", "code": "achieved", "display": "Achieved"},
            {"system": "https://x.example/codes", "code": "on-track"},
        ]
    }
    expected["target"][0]["dueDate"] = "2027-02-01"
    assert written == expected
    assert '"value":72.50' in jsontext.dumps(written)


def test_loss_names_what_the_mapping_did_not_read(maps: Mappings) -> None:
    loss = maps.mapping("goal").into(partner_goal()).loss
    assert set(loss) == {
        "extension[0].url",
        "extension[0].valueCode",
        "achievementStatus.coding[1].system",
        "achievementStatus.coding[1].code",
        "achievementStatus.text",
        "description.coding[0].system",
        "description.coding[0].code",
        "subject.display",
        "target[1].dueDate",
        "note[0].extension[0].url",
        "note[0].extension[0].valueBoolean",
    }


def test_an_unknown_code_coming_in_is_told_and_kept_as_its_text(maps: Mappings) -> None:
    original = partner_goal()
    original["achievementStatus"]["coding"] = [{"system": "https://x.example/codes", "code": "on-track"}]
    goal = maps.mapping("goal")
    read = goal.into(original)
    assert read.doc["achievement"] == "on track"
    assert [(one.what, one.path, one.severity) for one in read.problems] == [
        ("code not in codes/goal-achievement", "achievementStatus", "warning")
    ]
    assert goal.out(read.doc, onto=original).resource == original


def test_an_unknown_word_going_out_is_kept_as_text_where_the_element_has_room(maps: Mappings) -> None:
    made = maps.mapping("service").out({"state": "active", "intent": "order", "kind": "snow shovelling", "client": "Patient/p"})
    assert made.resource["code"] == {"text": "snow shovelling"}
    assert [(one.what, one.path, one.severity) for one in made.problems] == [("code not in codes/service-kind", "kind", "warning")]
    assert "snow" not in made.problems[0].what + made.problems[0].hint


def test_unknown_goal_status_is_an_error_and_never_guessed(maps: Mappings) -> None:
    made = maps.mapping("goal").out({**GOAL, "lifecycle": "won"})
    assert "lifecycleStatus" not in made.resource
    assert [(one.what, one.path, one.severity) for one in made.problems] == [("code not in codes/goal-lifecycle", "lifecycle", "error")]


def test_what_a_new_resource_needs_is_told(maps: Mappings) -> None:
    made = maps.mapping("goal").out({"title": "Walk", "needs": []})
    assert [(one.path, one.what, one.code) for one in made.problems] == [
        ("lifecycle", "is needed", "required"),
        ("client", "is needed", "required"),
    ]


def test_an_empty_list_is_not_what_a_new_resource_needs(maps: Mappings) -> None:
    made = maps.mapping("coverage").out({"state": "active", "client": "Patient/p", "payers": []})
    assert [(one.path, one.code) for one in made.problems] == [("payers", "required")] and "payor" not in made.resource


def test_need_and_else_do_not_act_on_what_came_from_elsewhere(maps: Mappings) -> None:
    plan = {"resourceType": "CarePlan", "status": "active", "intent": "order", "subject": {"reference": "Patient/p"}}
    read = maps.mapping("plan").into(plan).doc
    written = maps.mapping("plan").out({**read, "title": "New"}, onto=plan)
    assert written.resource == {**plan, "title": "New"} and not written.problems


def test_partial_keeps_what_is_absent_and_deletes_what_is_none(maps: Mappings) -> None:
    goal, original = maps.mapping("goal"), partner_goal()
    written = goal.out({"title": "Run", "achievement": None}, onto=original, partial=True).resource
    assert written["description"]["text"] == "Run" and "achievementStatus" not in written
    assert written["target"] == original["target"] and written["note"] == original["note"]


def test_a_whole_document_deletes_what_it_leaves_out(maps: Mappings) -> None:
    goal, original = maps.mapping("goal"), partner_goal()
    written = goal.out(GOAL, onto=original).resource
    assert "achievementStatus" not in written and "note" not in written
    # The second target is not the mapping's to remove.
    assert written["target"] == [{"dueDate": "2028-01-01"}]


def test_entries_of_a_list_are_matched_by_key_and_keep_what_is_unknown_in_them(maps: Mappings) -> None:
    team = maps.mapping("team")
    original = {
        "resourceType": "CareTeam",
        "subject": {"reference": "Patient/p"},
        "participant": [
            {"member": {"reference": "Practitioner/a"}, "extension": [{"url": "https://x.example/shift", "valueCode": "night"}]},
            {"member": {"identifier": {"system": "urn:x", "value": "7"}}},
            {"member": {"reference": "Practitioner/b"}},
        ],
    }
    doc = team.into(original).doc
    moved = [{**doc["members"][2], "since": "2026-11-01"}, *doc["members"][:2]]
    written = team.out({**doc, "members": moved}, onto=original).resource["participant"]
    assert [one["member"] for one in written] == [original["participant"][at]["member"] for at in (2, 0, 1)]  # type: ignore[index]
    assert written[1]["extension"] == [{"url": "https://x.example/shift", "valueCode": "night"}]
    assert written[0]["period"] == {"start": "2026-11-01"}


def test_a_partial_list_speaks_only_for_the_keys_it_names(maps: Mappings) -> None:
    client = maps.mapping("client")
    original = {
        "resourceType": "Patient",
        "identifier": [{"system": "urn:home-care", "value": "H1"}, {"system": "urn:mercy", "value": "M1", "use": "usual"}],
        "telecom": [{"system": "phone", "use": "home", "value": "1"}, {"system": "email", "value": "a@b.example"}],
        "address": [{"use": "home", "line": ["1 Old St"], "district": "Old Town", "city": "Salem"}],
    }
    doc = {
        "identifiers": [{"system": "urn:mercy", "value": "M1", "type": "record-number"}],
        "contact_points": [{"kind": "phone", "use": "home", "value": "2"}],
        "addresses": [{"use": "home", "lines": ["2 New St"], "city": "Salem"}],
    }
    written = client.out(doc, onto=original, partial=True).resource
    assert written["identifier"][0] == {"system": "urn:home-care", "value": "H1"}
    assert written["identifier"][1]["use"] == "usual" and written["identifier"][1]["type"]["coding"][0]["code"] == "MR"
    assert written["telecom"] == [{"system": "phone", "use": "home", "value": "2"}, {"system": "email", "value": "a@b.example"}]
    assert written["address"] == [{"use": "home", "line": ["2 New St"], "city": "Salem"}], "a new address keeps nothing of the old one"


def test_a_number_of_another_line_is_not_an_entry_of_the_list(maps: Mappings) -> None:
    client = maps.mapping("client")
    made = client.out({"id": "c-1", "identifiers": [{"system": "urn:mercy", "value": "M1"}]}).resource
    assert len(made["identifier"]) == 2
    assert client.into(made).doc == {"id": "c-1", "identifiers": [{"system": "urn:mercy", "value": "M1"}]}
    assert client.out({"id": "c-1"}, onto=made).resource["identifier"] == [{"system": "urn:fhircase:client", "value": "c-1"}]


@pytest.mark.parametrize("reference", ["Patient/p", "urn:fhircase:local:client", "urn:uuid:0c3201bd-1cbf-4d64-b04d-cd9187a4c6e0", "#p1"])
def test_references_pass_as_they_are(reference: str, maps: Mappings) -> None:
    goal = maps.mapping("goal")
    made = goal.out({**GOAL, "client": reference})
    assert not made.problems and goal.into(made.resource).doc["client"] == reference


@pytest.mark.parametrize("reference", ["p", "Practitioner/p", "Patient/", 5, "Patient/a b"])
def test_a_reference_that_cannot_be_is_told_and_not_written(reference: Any, maps: Mappings) -> None:
    made = maps.mapping("goal").out({**GOAL, "client": reference})
    assert [one.path for one in made.problems] == ["client"] and "subject" not in made.resource


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", 5),
        ("title", ""),
        ("title", " "),
        ("started", "2026-13-01"),
        ("target_value", "fifty"),
        ("needs", "Condition/n"),
        ("notes", [5]),
        ("notes", {"text": "x"}),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_with_its_field(field: str, value: Any, maps: Mappings) -> None:
    made = maps.mapping("goal").out({**GOAL, field: value})
    assert len(made.problems) == 1 and made.problems[0].path.startswith(field) and made.problems[0].severity == "error"


def test_a_misspelt_field_of_a_document_is_told(maps: Mappings) -> None:
    made = maps.mapping("goal").out({**GOAL, "prioritty": "high", "notes": [{"text": "x", "bye": "y"}]})
    assert [(one.path, one.what) for one in made.problems] == [
        ("prioritty", "no such field (did you mean 'priority'?)"),
        ("notes[0].bye", "no such field (did you mean 'by'?)"),
    ]


def test_two_types_of_one_choice_are_told(maps: Mappings) -> None:
    made = maps.mapping("goal").out({**GOAL, "measure": "m", "target_value": 5, "target_text": "five"})
    assert [one.path for one in made.problems] == ["target_text"]
    assert made.resource["target"][0]["detailQuantity"] == {"value": 5} and "detailString" not in made.resource["target"][0]


def test_a_choice_of_another_type_takes_the_place_of_the_old(maps: Mappings) -> None:
    goal = maps.mapping("goal")
    before = goal.out({**GOAL, "measure": "m", "target_value": 5}).resource
    after = goal.out({**GOAL, "measure": "m", "target_text": "five"}, onto=before).resource
    assert after["target"] == [{"measure": {"text": "m"}, "detailString": "five"}]


def test_another_person_does_not_keep_the_name_of_the_first(maps: Mappings) -> None:
    goal, original = maps.mapping("goal"), partner_goal()
    doc = goal.into(original).doc
    written = goal.out({**doc, "client": "Patient/q"}, onto=original).resource
    assert written["subject"] == {"reference": "Patient/q"}


def test_elements_tell_where_each_field_went(maps: Mappings) -> None:
    team = maps.mapping("team")
    made = team.out(
        {
            "client": "Patient/p",
            "members": [{"role": "nurse", "person": "Practitioner/a"}, {"person": "Practitioner/b", "until": "2026-12-01"}],
        }
    )
    assert made.elements == {
        "client": "subject",
        "members[0].role": "participant[0].role",
        "members[0].person": "participant[0].member",
        "members[1].person": "participant[1].member",
        "members[1].until": "participant[1].period.end",
    }
    assert team.element("members[1].until") == "participant[1].period.end"
    with pytest.raises(KeyError):
        team.element("members[1].nothing")


def test_the_original_is_never_touched(maps: Mappings) -> None:
    original = partner_goal()
    maps.mapping("goal").out({**GOAL, "notes": [{"text": "three"}]}, onto=original)
    assert original == partner_goal()


def test_broken_elements_of_a_lenient_resource_are_told_and_survive(maps: Mappings) -> None:
    goal = maps.mapping("goal")
    broken = {
        "resourceType": "Goal",
        "lifecycleStatus": 5,
        "description": "Walk",
        "subject": ["Patient/p"],
        "note": {"text": "x"},
        "target": [None, 5],
        "startDate": {"a": 1},
    }
    read = goal.into(broken)
    assert read.doc == {}
    assert "lifecycleStatus" in {one.path for one in read.problems}
    assert goal.out(read.doc, onto=broken, partial=True).resource == broken


def test_a_mapping_does_only_what_it_is_for(maps: Mappings) -> None:
    with pytest.raises(ValueError, match="adt"):
        maps.mapping("adt").out({})
    with pytest.raises(ValueError, match="goal"):
        maps.mapping("goal").read(None)  # type: ignore[arg-type]


def test_every_concept_of_a_handover_is_carried(maps: Mappings) -> None:
    made = maps.mapping("handover").out(maps.mapping("handover").examples[0].case).resource
    assert (made["status"], made["intent"], made["code"]["coding"][0]["code"]) == ("requested", "order", "fulfill")
    assert made["restriction"]["period"]["end"] == "2026-11-22T14:30:00-05:00"
    assert not [one for one in checks.check(made) if one.severity == "error"]


def test_writing_what_was_read_leaves_every_sample_resource_as_it_was_sent(maps: Mappings, samples: Path) -> None:
    by_type: dict[str, list[str]] = {}
    for name in maps.names():
        if fhir := maps.mapping(name).fhir:
            by_type.setdefault(fhir, []).append(name)
    seen = 0
    for file in sorted((samples / "samples").rglob("*.json")):
        if file.stat().st_size > 400_000:
            continue
        try:
            value = jsontext.loads(file.read_bytes())
        except Malformed:
            continue
        bundle = value.get("entry", ()) if isinstance(value, dict) else ()
        for resource in [value, *(one.get("resource") for one in bundle if isinstance(one, dict))]:
            for name in by_type.get(resource.get("resourceType", ""), ()) if isinstance(resource, dict) else ():
                mapping = maps.mapping(name)
                read = mapping.into(resource)
                assert mapping.out(read.doc, onto=resource).resource == resource, (file.name, name, resource.get("id"))
                assert isinstance(read.loss, tuple)
                seen += 1
    assert seen > 200


def test_a_target_that_a_line_would_not_write_stays_when_another_entry_changes(maps: Mappings) -> None:
    service = maps.mapping("service")
    sent = {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": {"reference": "Patient/c-1"},
        "supportingInfo": [{"reference": "Contract/1", "display": "the lease"}, {"display": "her diary"}, {"reference": "Consent/2"}],
    }  # fmt: skip
    doc = service.into(sent).doc
    made = service.out({**doc, "supporting": ["Contract/1", "Consent/3"]}, onto=sent)
    assert made.problems == ()
    assert made.resource["supportingInfo"] == [*sent["supportingInfo"][:2], {"reference": "Consent/3"}]
    assert service.out({**doc, "supporting": ["Contract/1", "Contract/9"]}, onto=sent).problems[0].path == "supporting[1]"


def test_a_changed_entry_stands_where_it_stood_and_entries_of_others_do_not_move(maps: Mappings) -> None:
    plan = maps.mapping("plan")
    sent = {
        "resourceType": "CarePlan", "status": "active", "intent": "plan", "subject": {"reference": "Patient/c-1"},
        "activity": [
            {"reference": {"reference": "ServiceRequest/1"}},
            {"outcomeReference": [{"display": "theirs"}]},
            {"reference": {"reference": "ServiceRequest/2"}},
        ],
    }  # fmt: skip
    doc = plan.into(sent).doc
    entry = {**doc["activities"][-1], "service": "ServiceRequest/3"}
    after = plan.out({**doc, "activities": [*doc["activities"][:-1], entry]}, onto=sent).resource["activity"]
    assert after == [*sent["activity"][:2], {"reference": {"reference": "ServiceRequest/3"}}]
    first = {**doc["activities"][0], "service": "ServiceRequest/3"}
    after = plan.out({**doc, "activities": [first, *doc["activities"][1:]]}, onto=sent).resource["activity"]
    assert after == [{"reference": {"reference": "ServiceRequest/3"}}, *sent["activity"][1:]]
