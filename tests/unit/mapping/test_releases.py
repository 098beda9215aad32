"""One file serves R4 and R5: what differs is said on the line, what is wrong in either is told with its place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhircase.fhir import definitions
from fhircase.mapping import MappingErrors, Mappings, check
from fhircase.mapping.examples import without

from .conftest import GOAL, concept_map

SERVICE: dict[str, Any] = {
    "state": "active",
    "intent": "order",
    "kind": "meals",
    "client": "Patient/p",
    "needs": ["Condition/n-1", "Condition/n-2"],
}


def test_one_document_becomes_a_resource_of_either_release(maps: Mappings) -> None:
    service = maps.mapping("service")
    r4, r5 = service.out(SERVICE).resource, service.out(SERVICE, release="R5").resource
    assert r4["code"] == r5["code"]["concept"]
    assert r4["reasonReference"] == [{"reference": "Condition/n-1"}, {"reference": "Condition/n-2"}] and "reasonReference" not in r5
    assert r5["reason"] == [{"reference": {"reference": "Condition/n-1"}}, {"reference": {"reference": "Condition/n-2"}}]
    assert service.into(r5, release="R5").doc == service.into(r4).doc == SERVICE


def test_an_entry_that_another_line_shares_the_list_with_stays(maps: Mappings) -> None:
    service = maps.mapping("service")
    original = service.out(SERVICE, release="R5").resource
    original["reason"].insert(1, {"concept": {"text": "hunger"}, "id": "x"})
    doc = service.into(original, release="R5").doc
    assert doc == SERVICE
    assert service.out(doc, onto=original, release="R5").resource == original
    less = service.out({**doc, "needs": ["Condition/n-2"]}, onto=original, release="R5").resource
    assert less["reason"] == [{"concept": {"text": "hunger"}, "id": "x"}, {"reference": {"reference": "Condition/n-2"}}]
    assert service.out({**doc, "needs": None}, onto=original, partial=True, release="R5").resource["reason"] == [original["reason"][1]]


def test_groups_of_a_shared_list_are_matched_and_keep_what_is_unknown(maps: Mappings) -> None:
    risk = maps.mapping("risk")
    doc = {**risk.examples[0].case, "reasons": [{"text": "fell"}, {"text": "alone"}], "reason_for": ["Condition/n-1"]}
    made = risk.out(doc, release="R5").resource
    assert made["reason"] == [{"concept": {"text": "fell"}}, {"concept": {"text": "alone"}}, {"reference": {"reference": "Condition/n-1"}}]
    made["reason"][1]["id"] = "kept"
    read = risk.into(made, release="R5")
    assert read.doc["reasons"] == doc["reasons"]
    assert "reason[1].id" in read.loss and "reason[0].concept.text" not in read.loss
    fewer = risk.out({**read.doc, "reasons": [{"text": "alone"}]}, onto=made, release="R5").resource
    assert fewer["reason"] == [{"concept": {"text": "alone"}, "id": "kept"}, {"reference": {"reference": "Condition/n-1"}}]


def test_an_entry_keeps_the_part_that_another_line_reads(maps: Mappings) -> None:
    risk = maps.mapping("risk")
    both = {"concept": {"text": "fell"}, "reference": {"reference": "Condition/n-1"}}
    original = {**risk.out(risk.examples[0].case, release="R5").resource, "reason": [both]}
    doc = risk.into(original, release="R5").doc
    assert (doc["reasons"], doc["reason_for"]) == ([{"text": "fell"}], ["Condition/n-1"])

    def left(**changed: Any) -> Any:
        return risk.out({**doc, **changed}, onto=original, release="R5").resource.get("reason")

    assert left(reasons=None) == left(reasons=[]) == [{"reference": {"reference": "Condition/n-1"}}]
    assert left(reason_for=None) == [{"concept": {"text": "fell"}}]
    assert left(reason_for=["Condition/n-2"]) == [{"reference": {"reference": "Condition/n-2"}}, {"concept": {"text": "fell"}}]
    assert left(reasons=None, reason_for=None) is None


def test_a_list_of_one_release_that_is_single_in_the_other_holds_the_same_value(maps: Mappings) -> None:
    team = maps.mapping("team")
    doc = {"client": "Patient/p", "members": [{"role": "nurse", "person": "Practitioner/a", "since": "2026-11-01"}]}
    r4, r5 = team.out(doc).resource["participant"][0], team.out(doc, release="R5").resource["participant"][0]
    assert r4["role"] == [r5["role"]] and (r4["period"], r5["coveragePeriod"]) == ({"start": "2026-11-01"}, {"start": "2026-11-01"})
    assert team.into({"participant": [r5]}, release="R5").doc == {"members": doc["members"]}


def test_what_a_release_has_no_place_for_is_told_and_not_called_unknown(maps: Mappings) -> None:
    made = maps.mapping("team").out({"client": "Patient/p", "visit": "Encounter/v", "viist": "x"}, release="R5")
    assert [(one.path, one.code, one.severity) for one in made.problems] == [
        ("visit", "not-supported", "warning"),
        ("viist", "structure", "error"),
    ]
    assert "encounter" not in made.resource


def test_a_code_that_a_release_does_not_have_is_an_error_and_never_guessed(maps: Mappings) -> None:
    visit = maps.mapping("visit")
    assert visit.out({"state": "finished"}, release="R5").resource["status"] == "completed"
    made = visit.out({"state": "triaged", "class": "unknown"}, release="R5")
    assert "status" not in made.resource and [one.path for one in made.problems] == ["state"]


def test_a_resource_type_may_have_another_name(maps: Mappings) -> None:
    group = maps.mapping("request-group")
    assert group.fhir == "RequestGroup"
    assert group.out(group.examples[0].case, release="R5").resource["resourceType"] == "RequestOrchestration"


def test_a_release_that_is_not_served_is_refused(maps: Mappings) -> None:
    consent = maps.mapping("consent")
    assert consent.releases == ("R4",)
    with pytest.raises(ValueError, match="'consent' does not serve R5; it serves R4"):
        consent.into({"resourceType": "Consent"}, release="R5")
    with pytest.raises(ValueError, match="does not serve R6"):
        maps.mapping("goal").out({}, release="R6")  # type: ignore[arg-type]


def test_every_mapping_that_leaves_a_release_out_says_why() -> None:
    folder = Path(__file__).resolve().parents[3] / "mappings"
    for file in sorted(folder.glob("*.yaml")):
        text = file.read_text(encoding="utf-8")
        assert ("\nreleases:" in text) == ("\nwhy: " in text), file.name


def test_the_mappings_hold_no_mistake_in_any_release(maps: Mappings) -> None:
    assert maps.mistakes() == ()


R5 = GOAL + "  set_by:    {fhir: {R4: expressedBy, R5: source}, ref: Patient}\n"
MISTAKES = {
    "misspelt element": (
        "R5: source",
        "R5: sourse",
        "mappings/goal.yaml:9:43: fields.set_by.fhir.R5: 'sourse': Goal has no element 'sourse' (did you mean 'source'?)",
    ),
    "an element of R4": (
        "{R4: expressedBy, R5: source}",
        "expressedBy",
        "mappings/goal.yaml:9:21: fields.set_by.fhir: 'expressedBy': Goal has no element 'expressedBy'",
    ),
    "another type": (
        "R5: source",
        "R5: outcome",
        "mappings/goal.yaml:9:53: fields.set_by.ref: Goal.outcome is CodeableReference, not a Reference",
    ),
    "nothing that the reference may point to": (
        "source}, ref: Patient",
        "source}, ref: Organization",
        "mappings/goal.yaml:8:53: fields.set_by.ref: Goal.source of R5 can point to none of them; allowed: CareTeam, Patient, ",
    ),
    "nothing that a reference within may point to": (
        "{R4: expressedBy, R5: source}, ref: Patient",
        "{R4: expressedBy, R5: outcome.reference}, ref: Patient",
        "mappings/goal.yaml:9:68: fields.set_by.ref: CodeableReference.reference of R5 can point to none of them; allowed: Observation",
    ),
    "required there": (
        "{fhir: subject, ref: Patient, need: yes}",
        "{fhir: subject, ref: Patient, need: {R4: yes}}",
        "mappings/goal.yaml:4:3: fields: Goal.subject is required by FHIR R5 but no field with 'need: yes' or 'else'",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_of_an_r5_path_is_told_by_check_with_place_and_cure(name: str, folder: Callable[..., Path]) -> None:
    old, new, wanted = MISTAKES[name]
    assert old in R5
    text = R5.replace(old, new, 1)
    if name == "nothing that the reference may point to":
        text = text.replace("expressedBy", "subject").replace("  client:    {fhir: subject, ref: Patient, need: yes}\n", "")
        text = text.replace("ref: Organization", "ref: Organization, need: yes")
    path = folder(text)
    found = check(path)
    assert any(one.startswith(wanted) for one in found), found
    assert found[-1].endswith("mistakes")
    mapping = Mappings.load(path).mapping("goal")
    assert not mapping.out({"title": "x", "lifecycle": "new"}).resource.get("source"), "R4 is served all the same"
    with pytest.raises(MappingErrors):
        mapping.into({}, release="R5")


def test_a_code_outside_of_the_binding_of_r5_is_told(folder: Callable[..., Path]) -> None:
    visit = "mapping: visit\nfhir: Encounter\nfields:\n  state: {fhir: status, codes: state, need: yes}\n"
    visit += "  class: {fhir: {R4: class.code}, need: yes}\n"
    table = concept_map({"over": "finished"}, "http://hl7.org/fhir/encounter-status")
    found = check(folder(files={"visit.yaml": visit}, codes={"state": table}))
    assert found[0].startswith("mappings/visit.yaml:4:32: fields.state.codes: codes/state.json: 'over' -> 'finished' is not a code of ")
    split = visit.replace("codes: state", "codes: {R4: state, R5: state-r5}")
    r5 = concept_map({"over": "completed"}, "http://hl7.org/fhir/encounter-status")
    maps = Mappings.load(folder(files={"visit.yaml": split}, codes={"state": table, "state-r5": r5}))
    assert maps.mapping("visit").out({"state": "over"}, release="R5").resource["status"] == "completed"


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("releases: [R5]\nwhy: x\n", "R4 is always served"),
        ("releases: [R4]\n", "a file that leaves a release out says 'why'"),
        ("releases: [R4, R6]\n", "'R6' is not a release (R4, R5)"),
    ],
)
def test_releases_that_cannot_be_are_told(said: str, wanted: str, folder: Callable[..., Path]) -> None:
    with pytest.raises(MappingErrors, match=wanted.replace("(", r"\(").replace(")", r"\)")):
        Mappings.load(folder(GOAL.replace("fields:", f"{said}fields:")))


def test_fixed_values_are_those_of_the_release(maps: Mappings) -> None:
    household = maps.mapping("household")
    case = household.examples[0].case
    assert household.out(case).resource["actual"] is True
    made = household.out(case, release="R5").resource
    assert made["membership"] == "enumerated" and "actual" not in made


def test_r5_is_read_only_when_it_is_asked_for() -> None:
    script = (
        "from fhircase.fhir import definitions as d\nfrom fhircase.mapping import Mappings\nmaps = Mappings.load()\n"
        "maps.mapping('goal').out({})\nassert list(d._loaded) and 'types-r5' not in d._loaded\n"
        "maps.mapping('goal').out({}, release='R5')\nassert 'types-r5' in d._loaded\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_the_table_of_r5_is_that_of_the_models() -> None:
    assert definitions.elements("CareTeam.participant", "R5")["role"].max == 1
    assert definitions.elements("CareTeam.participant")["role"].max == 0
    assert definitions.elements("Goal", "R5")["lifecycleStatus"].listed[0] == "accepted"
    assert definitions.elements("Task", "R5")["status"].listed == (), "a list that the models cut short is left open"
    assert definitions.elements("Attachment", "R5")["url"].types == ("url",)
    assert definitions.elements("Questionnaire.item", "R5")["item"].types == ("Questionnaire.item",)
    assert not definitions.is_resource("Media", "R5") and definitions.is_resource("RequestOrchestration", "R5")


def test_what_an_example_keeps_in_a_release_is_without_the_rest() -> None:
    doc = {"a": 1, "b": [{"c": 1}, {"c": 2, "d": 3}], "e": {"f": 1}}
    assert without(doc, ["b[0].c", "e.f"]) == {"a": 1, "b": [{"c": 2, "d": 3}]}
    assert without(doc, []) == doc
