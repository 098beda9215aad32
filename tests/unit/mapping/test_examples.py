"""The examples in the mapping files are tests: out, checked against R4, back again, and both laws."""

from __future__ import annotations

from pathlib import Path

import pytest

from fhircase.mapping import Mappings, check, examples, show, try_

MAPS = Mappings.load()
EXAMPLES = [(name, at) for name in MAPS.names() for at in range(len(MAPS.mapping(name).examples))]


@pytest.mark.parametrize(("name", "at"), EXAMPLES)
def test_an_example_holds(name: str, at: int) -> None:
    mapping = MAPS.mapping(name)
    assert examples.run(mapping, mapping.examples[at]) == []


def test_every_mapping_has_an_example() -> None:
    assert {name for name, _ in EXAMPLES} == set(MAPS.names())


def test_check_runs_every_example() -> None:
    lines = check()
    assert lines[-1] == f"{len(EXAMPLES)} examples, 0 with problems"


def test_the_mappings_cover_the_types_of_a_case() -> None:
    assert {MAPS.mapping(name).fhir for name in MAPS.names()} >= {
        "Patient", "Encounter", "EpisodeOfCare", "CarePlan", "CareTeam", "Goal", "ServiceRequest", "DeviceRequest", "Task", "Condition",
        "RelatedPerson", "Observation", "Practitioner", "Organization", "QuestionnaireResponse", "FamilyMemberHistory", "MedicationRequest",
        "MedicationStatement", "AllergyIntolerance", "NutritionOrder", "RequestGroup", "DocumentReference", "Group",
    }  # fmt: skip


def test_show_names_the_file_and_line_of_each_field() -> None:
    lines = show("goal")
    assert any(line.split()[:2] == ["due", "target.due.ofType(date)"] and "mappings/goal.yaml:" in line for line in lines)


def test_try_runs_a_resource_a_document_and_a_message(tmp_path: Path) -> None:
    resource = tmp_path / "goal.json"
    resource.write_text(
        '{"resourceType":"Goal","lifecycleStatus":"active","description":{"text":"Walk"},"subject":{"reference":"Patient/p"},"language":"en"}'
    )
    read = '{"title":"Walk","lifecycle":"active","client":"Patient/p"}'
    assert try_("goal", resource) == [read, "not read: language", "written back onto it: the same"]
    document = tmp_path / "doc.json"
    document.write_text('{"title":"Walk","lifecycle":"won","client":"Patient/p"}')
    assert try_("goal", document)[1:] == [
        "error: lifecycle: code not in codes/goal-lifecycle",
        'read back: {"title":"Walk","client":"Patient/p"}',
    ]
    document.write_text('{"client":"Patient/p","notes":[{"by":"Patient/p","text":"x"}],"title":"Walk","lifecycle":"active"}')
    assert try_("goal", document)[1:] == ["read back: the same"]
    message = tmp_path / "adt.hl7"
    message.write_text("MSH|^~\\&|A|B|C|D|20261120||ADT^A08|1|P|2.5\rPID|1||M1^^^X^MR||DOE^Jane||1956|Q\r")
    lines = try_("adt", message)
    assert "client.identifiers[0].value <- PID-3.1" in lines and "warning: PID-8: code not in codes/v2-sex" in lines


def test_try_and_show_speak_of_either_release(tmp_path: Path) -> None:
    document = tmp_path / "doc.json"
    document.write_text('{"state":"active","intent":"order","kind":"meals","client":"Patient/p","needs":["Condition/n"]}')
    r5 = try_("service", document, release="R5")
    assert '"reason":[{"reference":{"reference":"Condition/n"}}]' in r5[0] and r5[1:] == ["read back: the same"]
    resource = tmp_path / "service.json"
    resource.write_text(r5[0])
    assert try_("service", resource, release="R5")[1:] == ["written back onto it: the same"]
    assert any(
        "reasonCode.text" in line or "reason.concept" in line or "reason.reference" in line for line in show("service", release="R5")
    )
    assert not any("reasonReference" in line for line in show("service", release="R5"))
