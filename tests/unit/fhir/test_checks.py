"""The strict checks: what real good resources pass, what each single defect is told as."""

from __future__ import annotations

import copy
import json
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhircase.fhir import checks, definitions, jsontext, models
from fhircase.fhir.invariants import INVARIANTS

GOAL: dict[str, Any] = {
    "resourceType": "Goal",
    "id": "g1",
    "lifecycleStatus": "active",
    "description": {"text": "Walk 50 feet independently"},
    "subject": {"reference": "Patient/p1"},
    "startDate": "2026-01-02",
    "target": [{"measure": {"text": "distance"}, "detailQuantity": {"value": 50, "unit": "ft"}, "dueDate": "2026-01-16"}],
}


def goal(**changes: Any) -> dict[str, Any]:
    made = copy.deepcopy(GOAL) | changes
    return {name: value for name, value in made.items() if value is not ...}


def found(resource: Any) -> list[tuple[str, str]]:
    return [(p.path, p.code) for p in checks.check(resource)]


def test_a_good_goal_has_no_problems() -> None:
    assert checks.check(GOAL) == []


# ------------------------------------------------------------------------------------------------ the measure


def test_every_good_case_passes_and_every_bad_one_is_refused(samples: Path) -> None:
    good, bad, wrong = 0, 0, []
    for path in sorted((samples / "validator-cases").glob("*.json")):
        problems = checks.check(jsontext.loads(path.read_bytes()))
        if path.name.startswith("ok"):
            good += not problems
        else:
            bad += bool(problems)
            if len(problems) != 1:
                wrong.append(path.name)
    assert (good, bad) == (7, 40)
    assert wrong == [], "a single defect is told once"


@pytest.mark.parametrize("package", ["us_core_610.tgz", "pacio-toc-1.0.0-sushi.tgz"])
def test_published_examples_pass(samples: Path, package: str) -> None:
    # OperationOutcomes without issues, and parameter codes of the IG publisher that R4's required set does not have.
    known = {"validation-oo.json", "ImplementationGuide-hl7.fhir.us.pacio-toc.json"}
    with tarfile.open(samples / "packages" / package) as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if member.name.endswith(".json") and name not in known:
                stream = archive.extractfile(member)
                assert stream is not None
                resource = jsontext.loads(stream.read())
                if "resourceType" in resource:
                    assert checks.check(resource) == [], member.name


def test_the_models_find_nothing_that_the_checks_let_through(samples: Path) -> None:
    for path in sorted((samples / "validator-cases").glob("*.json")):
        resource = jsontext.loads(path.read_bytes())
        if not checks.check(resource):
            assert models.second_opinion(resource) == [], path.name


def test_the_models_are_a_second_opinion_where_r4_and_r4b_agree() -> None:
    assert models.second_opinion(GOAL) == []
    assert [p.path for p in models.second_opinion(goal(startDate=[1]))] == ["Goal.startDate"]
    assert models.second_opinion({"resourceType": "PlanDefinition", "nonsense": 1}) == []


# ------------------------------------------------------------------------------------------------ one defect each


@pytest.mark.parametrize(
    ("resource", "path", "code"),
    [
        (goal(lifecycleStatus=...), "Goal.lifecycleStatus", "required"),
        (goal(subject=...), "Goal.subject", "required"),
        (goal(lifecycleStatus="achieved"), "Goal.lifecycleStatus", "code-invalid"),
        (goal(foo=1), "Goal.foo", "structure"),
        (goal(statusReason=5), "Goal.statusReason", "value"),
        (goal(statusReason=""), "Goal.statusReason", "value"),
        (goal(statusReason="a\x01b"), "Goal.statusReason", "value"),
        (goal(statusReason=None), "Goal.statusReason", "structure"),
        (goal(statusReason=["x"]), "Goal.statusReason", "structure"),
        (goal(note=[]), "Goal.note", "structure"),
        (goal(note={}), "Goal.note", "structure"),
        (goal(note=[None]), "Goal.note[0]", "structure"),
        (goal(note=[{}]), "Goal.note[0]", "structure"),
        (goal(description={}), "Goal.description", "structure"),
        (goal(description=[{"text": "x"}]), "Goal.description", "structure"),
        (goal(description="x"), "Goal.description", "structure"),
        (goal(description={"id": "x"}), "Goal.description", "invariant"),
        (goal(subject={"reference": "Practitioner/p"}), "Goal.subject", "value"),
        (goal(subject={"reference": "Patients/p"}), "Goal.subject.reference", "value"),
        (goal(subject={"reference": "p"}), "Goal.subject.reference", "value"),
        (goal(subject={"reference": "#p"}), "Goal.subject.reference", "invariant"),
        (goal(subject={"type": "Device", "identifier": {"value": "1"}}), "Goal.subject.type", "value"),
        (goal(subject={"reference": "Patient/p", "type": "Group"}), "Goal.subject.type", "value"),
        (goal(subject={"reference": "Patient?identifier=1"}), "Goal.subject.reference", "value"),
        (goal(subject={"type": "Patient"}), "Goal.subject", "structure"),
        (goal(startCodeableConcept={"text": "admission"}), "Goal.start", "structure"),
        (goal(startDate="2026-02-30"), "Goal.start", "value"),
        (goal(startDate="2026-02-01T10:00:00Z"), "Goal.start", "value"),
        (goal(target=[{"detailInteger": 1}]), "Goal.target[0]", "invariant"),
        (goal(target=[{"measure": {"text": "x"}, "detailInteger": 1.5}]), "Goal.target[0].detail", "value"),
        (goal(target=[{"measure": {"text": "x"}, "detailInteger": 2**31}]), "Goal.target[0].detail", "value"),
        (goal(target=[{"measure": {"text": "x"}, "detailBoolean": "true"}]), "Goal.target[0].detail", "value"),
        (
            goal(target=[{"measure": {"text": "x"}, "detailRange": {"low": {"value": 3}, "high": {"value": 2}}}]),
            "Goal.target[0].detail",
            "invariant",
        ),
        (goal(target=[{"measure": {"text": "x"}, "detailQuantity": {"value": True}}]), "Goal.target[0].detail.value", "value"),
        (goal(target=[{"measure": {"text": "x"}, "detailQuantity": {"value": 1, "code": "ft"}}]), "Goal.target[0].detail", "invariant"),
        (goal(identifier=[{"system": "not a uri", "value": "1"}]), "Goal.identifier[0].system", "value"),
        (goal(identifier=[{"value": "1", "period": {"start": "2026-02", "end": "2026-01-31"}}]), "Goal.identifier[0].period", "invariant"),
        (goal(extension=[{"valueString": "x"}]), "Goal.extension[0].url", "required"),
        (goal(extension=[{"url": "http://x"}]), "Goal.extension[0]", "invariant"),
        (goal(extension=[{"url": "http://x", "valueFoo": 1}]), "Goal.extension[0].valueFoo", "structure"),
        (
            goal(extension=[{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueString": "x"}]),
            "Goal.extension[0].value",
            "structure",
        ),
        (goal(_startDate=5), "Goal.start", "structure"),
        (goal(_startDate={}), "Goal.start", "structure"),
        (goal(_description={"id": "x"}), "Goal._description", "structure"),
        (goal(language="en us  "), "Goal.language", "value"),
        (goal(id="not_an_id!"), "Goal.id", "value"),
        (goal(id="x" * 65), "Goal.id", "value"),
        (goal(meta={"lastUpdated": "2026-01-02T03:04:05"}), "Goal.meta.lastUpdated", "value"),
        (goal(meta={"lastUpdated": "2026-01-02"}), "Goal.meta.lastUpdated", "value"),
        (goal(text={"status": "generated", "div": "<p xmlns='http://www.w3.org/1999/xhtml'>x</p>"}), "Goal.text.div", "invariant"),
        (goal(resourceType="Gaol"), "", "structure"),
        (goal(resourceType=...), "", "structure"),
        ([], "", "structure"),
    ],
)
def test_one_defect_is_told_once_with_its_place(resource: Any, path: str, code: str) -> None:
    assert found(resource) == [(path, code)]


@pytest.mark.parametrize(
    "resource",
    [
        goal(subject={"identifier": {"value": "1"}}),
        goal(subject={"display": "a group of clients"}),
        goal(subject={"reference": "http://other.example/base/Patient/7"}),
        goal(subject={"reference": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"}),
        goal(lifecycleStatus=..., _lifecycleStatus={"extension": [{"url": "http://x", "valueCode": "unknown"}]}),
        goal(startDate="2026"),
        goal(_startDate={"id": "only-beside-a-value"}),
        goal(target=[{"measure": {"text": "x"}, "detailInteger": jsontext.loads("-0")}]),
        goal(target=[{"dueDate": "2026-01"}, {"dueDuration": {"value": 2, "system": "http://unitsofmeasure.org", "code": "wk"}}]),
        goal(identifier=[{"value": "1", "period": {"start": "2026-01-31", "end": "2026-01"}}]),
        goal(extension=[{"url": "http://unknown.example/x", "extension": [{"url": "part", "valueDecimal": jsontext.loads("72.50")}]}]),
        goal(contained=[{"resourceType": "Condition", "id": "c", "subject": {"reference": "#"}}]),
        goal(addresses=[{"reference": "#c"}], contained=[{"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}}]),
    ],
)
def test_what_fhir_allows_passes(resource: Any) -> None:
    assert checks.check(resource) == []


def test_every_problem_is_told_at_once() -> None:
    broken = goal(lifecycleStatus="x", description=..., startDate="soon", foo=1, note=[{"text": ""}])
    assert found(broken) == [
        ("Goal.lifecycleStatus", "code-invalid"),
        ("Goal.start", "value"),
        ("Goal.foo", "structure"),
        ("Goal.note[0].text", "value"),
        ("Goal.description", "required"),
    ]


def test_a_body_full_of_defects_is_told_its_first_two_hundred() -> None:
    assert len(checks.check(goal(note=[{"text": ""}] * 5_000))) == checks.MAX_PROBLEMS


def test_no_problem_shows_a_value_of_the_resource() -> None:
    broken = goal(statusReason=["Mustermann"], lifecycleStatus="Mustermann", startDate="Mustermann", subject={"reference": "Mustermann"})
    assert checks.check(broken) and "Mustermann" not in str(checks.check(broken))


def test_a_list_of_primitives_may_have_gaps_only_beside_extensions() -> None:
    patient = {
        "resourceType": "Patient",
        "name": [{"given": ["Ann", None], "_given": [None, {"id": "x", "extension": [{"url": "u", "valueCode": "m"}]}]}],
    }
    assert checks.check(patient) == []
    assert found({"resourceType": "Patient", "name": [{"given": ["Ann", None]}]}) == [("Patient.name[0].given[1]", "structure")]


# ------------------------------------------------------------------------------------------------ whole resources


def contained(**changes: Any) -> dict[str, Any]:
    return goal(
        addresses=[{"reference": "#c"}],
        contained=[{"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}} | changes],
    )


def test_contained_resources_keep_their_rules() -> None:
    assert found(contained(contained=[{"resourceType": "Condition", "id": "d", "subject": {"reference": "#"}}])) == [
        ("Goal.contained[0].contained", "invariant")
    ]
    assert found(goal(contained=[{"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"}}])) == [
        ("Goal.contained[0]", "invariant")
    ]
    assert found(contained(meta={"versionId": "1"})) == [("Goal.contained[0].meta.versionId", "invariant")]
    assert found(contained(meta={"security": [{"code": "R"}]})) == [("Goal.contained[0].meta.security", "invariant")]
    assert found(contained(subject={"reference": "Practitioner/p"})) == [("Goal.contained[0].subject", "value")]
    assert found(contained(foo=1)) == [("Goal.contained[0].foo", "structure")]


def test_a_contained_resource_of_the_wrong_type_is_a_wrong_target() -> None:
    resource = goal(subject={"reference": "#c"}, contained=[{"resourceType": "Device", "id": "c"}])
    assert found(resource) == [("Goal.subject", "value")]


def care_team(member: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"resourceType": "CareTeam", "participant": [{"member": member, "onBehalfOf": {"reference": "Organization/o"}}]} | more


def test_only_a_practitioner_acts_on_behalf_of_an_organization() -> None:
    assert checks.check(care_team({"reference": "Practitioner/x"})) == []
    assert checks.check(care_team({"display": "whoever"})) == []
    assert found(care_team({"reference": "Patient/x"})) == [("CareTeam.participant[0]", "invariant")]
    assert found(care_team({"type": "Organization", "identifier": {"value": "1"}})) == [("CareTeam.participant[0]", "invariant")]
    organization = {"resourceType": "Organization", "id": "o", "name": "x"}
    assert found(care_team({"reference": "#o"}, contained=[organization])) == [("CareTeam.participant[0]", "invariant")]


def entry(**more: Any) -> dict[str, Any]:
    return {"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}} | more


def bundle(*entries: dict[str, Any], type: str = "transaction", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": type} | ({"entry": list(entries)} if entries else {}) | more


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        (bundle({"resource": {"resourceType": "Patient"}}), "Bundle.entry"),
        (bundle(entry(), total=1), "Bundle.total"),
        (bundle(entry(search={"mode": "match"})), "Bundle.entry"),
        (bundle(entry(response={"status": "200"})), "Bundle.entry"),
        (bundle(entry(fullUrl="urn:uuid:1"), entry(fullUrl="urn:uuid:1")), "Bundle.entry"),
        (bundle(entry(fullUrl="http://x/Patient/1/_history/2")), "Bundle.entry[0].fullUrl"),
        (bundle({"fullUrl": "urn:uuid:1"}, type="collection"), "Bundle.entry[0]"),
        (bundle(entry(), type="collection"), "Bundle.entry"),
    ],
)
def test_a_bundle_keeps_its_rules(resource: dict[str, Any], path: str) -> None:
    assert found(resource) == [(path, "invariant")]


def test_a_document_and_a_message_begin_as_they_must() -> None:
    assert {p.path for p in checks.check(bundle({"resource": {"resourceType": "Patient"}}, type="document"))} == {
        "Bundle.identifier",
        "Bundle.timestamp",
        "Bundle.entry",
    }
    assert found(bundle({"resource": {"resourceType": "Patient"}}, type="message")) == [("Bundle.entry", "invariant")]


def test_references_within_a_bundle_are_resolved_for_their_type() -> None:
    device = entry(fullUrl="urn:uuid:1", resource={"resourceType": "Device"}, request={"method": "POST", "url": "Device"})
    wanted = entry(resource=goal(subject={"reference": "urn:uuid:1"}), request={"method": "POST", "url": "Goal"})
    assert found(bundle(device, wanted)) == [("Bundle.entry[1].resource.subject", "value")]
    by_criteria = entry(resource=goal(subject={"reference": "Patient?identifier=x|1"}), request={"method": "POST", "url": "Goal"})
    assert checks.check(bundle(by_criteria)) == []


# ------------------------------------------------------------------------------------------------ narrative


def div(inner: str) -> dict[str, Any]:
    return goal(text={"status": "additional", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{inner}</div>'})


@pytest.mark.parametrize(
    "inner",
    [
        "<script>alert(1)</script>",
        '<p onclick="x()">a</p>',
        '<a href="javascript:x()">a</a>',
        '<a href=" JavaScript :x()">a</a>',
        '<img src="data:text/html;base64,x"/>',
        "<iframe src='http://x'>a</iframe>",
        "<form>a</form>",
        "<p>",
        "&nbsp;",
        "",
        "  ",
        '<p style="width: expression(alert(1))">a</p>',
        "<svg xmlns='http://www.w3.org/2000/svg'>a</svg>",
        "<!ENTITY x 'y'>a",
        "<?php echo ?>a",
        "<object>a</object>",
        "<link href='x'/>a",
        "<p><![CDATA[",
    ],
)
def test_narrative_that_is_not_harmless_is_refused(inner: str) -> None:
    assert found(div(inner)) == [("Goal.text.div", "invariant")]


@pytest.mark.parametrize(
    "inner",
    [
        "<p>a &lt; b &#160; c</p>",
        '<table><tr><td colspan="2">a</td></tr></table>',
        '<a href="https://x">a</a>',
        '<img src="#i" alt="x"/>',
        '<p style="color: red">a</p>',
    ],
)
def test_plain_narrative_passes(inner: str) -> None:
    assert checks.check(div(inner)) == []


def test_a_document_type_with_entities_is_not_expanded() -> None:
    bomb = '<!DOCTYPE div [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><div xmlns="http://www.w3.org/1999/xhtml">&b;</div>'
    assert found(goal(text={"status": "additional", "div": bomb})) == [("Goal.text.div", "invariant")]


# ------------------------------------------------------------------------------------------------ the other questions


def test_missing_narrative_is_a_warning_and_no_error() -> None:
    assert [p.severity for p in checks.warnings(GOAL)] == ["warning"] and checks.warnings(div("<p>a</p>")) == []
    assert checks.warnings({"resourceType": "Bundle"}) == []


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        ("x", ""),
        ({}, ""),
        ({"resourceType": "Gaol"}, ""),
        ({"resourceType": ["Goal"]}, ""),
        ({"resourceType": "Element"}, ""),
        ({"resourceType": "Goal"}, "Goal.subject"),
        ({"resourceType": "EpisodeOfCare"}, "EpisodeOfCare.patient"),
        ({"resourceType": "RelatedPerson", "patient": {}}, "RelatedPerson.patient"),
        ({"resourceType": "Patient", "id": "a b"}, "Patient.id"),
        ({"resourceType": "Patient", "id": 5}, "Patient.id"),
        ({"resourceType": "Patient", "meta": "x"}, "Patient.meta"),
    ],
)
def test_what_cannot_be_represented_is_refused_even_when_lenient(resource: Any, path: str) -> None:
    assert [p.path for p in checks.unrepresentable(resource)] == [path]


def test_a_broken_resource_that_can_be_represented_may_be_stored_leniently() -> None:
    assert checks.unrepresentable({"resourceType": "Goal", "subject": {"display": "x"}, "lifecycleStatus": "odd", "foo": []}) == []
    assert checks.unrepresentable({"resourceType": "Encounter", "id": "e"}) == []


# ------------------------------------------------------------------------------------------------ the tables


OURS = (
    "CarePlan CareTeam Goal ServiceRequest Task Encounter EpisodeOfCare Condition Patient Observation Provenance "
    "RelatedPerson Organization Practitioner PractitionerRole Location DeviceRequest Consent Communication Composition "
    "DocumentReference Bundle MessageHeader Flag DetectedIssue NutritionOrder QuestionnaireResponse HealthcareService "
    "Subscription AuditEvent OperationOutcome List Procedure MedicationRequest MedicationStatement AllergyIntolerance "
    "Immunization DiagnosticReport Device Coverage Appointment Parameters"
).split()

ELSEWHERE = {
    "dom-2",
    "dom-3",
    "dom-4",
    "dom-5",
    "ref-1",
    "ele-1",
    "ext-1",
    "ctm-1",
    "txt-1",
    "txt-2",  # in the walk
}


def test_every_error_level_invariant_of_our_resources_is_checked(samples: Path) -> None:
    ours = {i.key for rows in INVARIANTS.values() for i in rows} | ELSEWHERE
    missing = set()
    wanted = {f"package/StructureDefinition-{type_}.json" for type_ in OURS}
    with tarfile.open(samples / "packages" / "hl7.fhir.r4.core-4.0.1.tgz") as archive:
        for member in archive:
            if member.name in wanted:
                stream = archive.extractfile(member)
                assert stream is not None
                wanted.remove(member.name)
                for element in json.load(stream)["snapshot"]["element"]:
                    missing |= {c["key"] for c in element.get("constraint", ()) if c["severity"] == "error"} - ours
    assert wanted == set()
    assert missing == set()


def test_every_invariant_stands_on_a_type_that_there_is() -> None:
    for type_ in INVARIANTS:
        assert definitions.is_known(type_), type_


def test_the_definitions_know_types_from_resources() -> None:
    assert len(definitions.resource_types()) == 146
    assert definitions.is_resource("Goal") and not definitions.is_resource("HumanName") and not definitions.is_resource("DomainResource")
    assert definitions.is_known("HumanName") and definitions.is_known("Goal.target") and not definitions.is_known("Goal.foo")
    assert definitions.is_primitive("date") and not definitions.is_primitive("Period")
    assert definitions.elements("Goal.target")["due[x]"].types == ("date", "Duration")
    assert definitions.codes("http://hl7.org/fhir/ValueSet/goal-status")["http://hl7.org/fhir/goal-status"] >= {
        "proposed",
        "active",
        "completed",
    }
    assert definitions.patient_parameters("CarePlan") == ("patient", "performer")


def test_the_tables_are_read_safely_from_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definitions, "_loaded", {})
    monkeypatch.setattr(checks, "_types", {})
    barrier, results = threading.Barrier(8), []

    def work() -> None:
        barrier.wait()
        results.append(checks.check(GOAL))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[]] * 8


# ------------------------------------------------------------------------------------------------ robustness


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", "#a", "Patient/1", "2026-01-01", "active"]) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "resourceType",
                    "id",
                    "meta",
                    "text",
                    "div",
                    "contained",
                    "extension",
                    "url",
                    "valueString",
                    "subject",
                    "reference",
                    "coding",
                    "code",
                    "system",
                    "period",
                    "start",
                    "end",
                    "target",
                    "detailRange",
                    "low",
                    "high",
                    "value",
                    "entry",
                    "resource",
                    "type",
                    "participant",
                    "member",
                    "onBehalfOf",
                    "when",
                    "repeat",
                    "_start",
                    "component",
                    "clinicalStatus",
                    "status",
                    "identifier",
                    "fullUrl",
                    "request",
                    "telecom",
                    "name",
                    "given",
                    "_given",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(deadline=None)
@given(
    st.sampled_from(
        ["Goal", "CarePlan", "CareTeam", "Bundle", "Observation", "Condition", "Patient", "Organization", "ServiceRequest", "List"]
    ),
    anything,
)
def test_no_nonsense_makes_the_checks_fail(type_: str, nonsense: Any) -> None:
    resource = nonsense | {"resourceType": type_} if isinstance(nonsense, dict) else nonsense
    assert isinstance(checks.check(resource), list)
    assert isinstance(checks.unrepresentable(resource), list) and isinstance(checks.warnings(resource), list)
