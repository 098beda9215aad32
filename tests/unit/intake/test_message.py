"""What a FHIR message says happened, and what is refused whole (STANDARDS §1.4)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhircase.intake import Unacceptable, read_message
from fhircase.intake.findings import Finding, Identity
from tests.unit.intake.support import MERCY, Maps

EVENTS = "http://hl7.org/fhir/us/davinci-alerts/CodeSystem/notification-event"
NUBC = "http://terminology.hl7.org/CodeSystem/nubc-UB92"


def message(event: str = "notification-discharge") -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "id": "b-1",
        "type": "message",
        "timestamp": "2026-11-20T20:00:00Z",
        "entry": [
            {
                "fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000001",
                "resource": {
                    "resourceType": "MessageHeader",
                    "eventCoding": {"system": EVENTS, "code": event},
                    "focus": [{"reference": "urn:uuid:00000000-0000-4000-8000-000000000002"}],
                    "source": {"endpoint": "https://mercy.example.org", "name": "Mercy"},
                },
            },
            {
                "fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000002",
                "resource": {
                    "resourceType": "Encounter",
                    "identifier": [{"system": "urn:oid:1.2.3", "value": "V1"}],
                    "status": "finished",
                    "class": {"code": "IMP"},
                    "subject": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000003", "display": "Jane"},
                    "participant": [{"individual": {"reference": "http://mercy.example.org/fhir/Practitioner/dr-1"}}],
                    "period": {"start": "2026-11-10T08:00:00-05:00", "end": "2026-11-20T14:25:00-05:00"},
                    "hospitalization": {
                        "dischargeDisposition": {"coding": [{"system": NUBC, "code": "62", "display": "Rehab"}]},
                        "destination": {"display": "Sunny", "identifier": {"value": "SNF1"}},
                    },
                },
            },
            {
                "fullUrl": "urn:uuid:00000000-0000-4000-8000-000000000003",
                "resource": {
                    "resourceType": "Patient",
                    "identifier": [
                        {"system": "urn:oid:1.2.3", "value": "MRN1", "type": {"coding": [{"code": "MR"}]}},
                        {"system": "http://hl7.org/fhir/sid/us-ssn", "value": "999887777"},
                        {
                            "system": "urn:state",
                            "value": "M1",
                            "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MA"}]},
                        },
                        {"system": "urn:oid:1.2.3", "value": "MRN0", "use": "old"},
                        {"value": "nothing"},
                    ],
                },
            },
            {"fullUrl": "http://mercy.example.org/fhir/Practitioner/dr-1", "resource": {"resourceType": "Practitioner", "id": "dr-1"}},
            {
                "fullUrl": "http://mercy.example.org/fhir/Condition/c-1",
                "resource": {
                    "resourceType": "Condition",
                    "id": "c-1",
                    "subject": {"reference": "urn:uuid:00000000-0000-4000-8000-000000000003"},
                    "recorder": {"reference": "Practitioner/dr-1"},
                    "asserter": {"reference": "Practitioner/elsewhere"},
                    "evidence": [{"detail": [{"reference": "#inside"}]}],
                },
            },
        ],
    }


def read(bundle: Any, partner: Any = MERCY) -> Finding:
    return read_message(bundle, partner, Maps())


def refused(bundle: Any, partner: Any = MERCY) -> Unacceptable:
    with pytest.raises(Unacceptable) as error:
        read(bundle, partner)
    return error.value


def test_a_discharge_tells_when_whose_visit_and_where_to() -> None:
    found = read(message())
    assert (found.event, found.action) == ("notification-discharge", "discharge")
    assert found.happened == "2026-11-20T14:25:00-05:00"
    assert found.visit == Identity("urn:oid:1.2.3", "V1")
    assert found.disposition is not None
    assert (found.disposition.code, found.disposition.system, found.disposition.route) == ("62", NUBC, "rehab")
    assert (found.disposition.text, found.disposition.destination) == ("Rehab", "SNF1")
    assert found.sender == ("https://mercy.example.org", "Mercy")
    assert found.problems == ()


def test_an_admission_whose_period_has_an_end_is_no_discharge() -> None:
    found = read(message("notification-admit"))
    assert (found.action, found.happened, found.disposition) == ("admit", "2026-11-10T08:00:00-05:00", None)


def test_a_single_digit_is_the_code_with_its_zero() -> None:
    bundle = message()
    bundle["entry"][1]["resource"]["hospitalization"]["dischargeDisposition"]["coding"][0]["code"] = "1"
    found = read(bundle)
    assert found.disposition is not None
    assert (found.disposition.code, found.disposition.route) == ("1", "home")


def test_an_unknown_disposition_has_no_route_and_is_told() -> None:
    bundle = message()
    bundle["entry"][1]["resource"]["hospitalization"]["dischargeDisposition"] = {
        "coding": [{"code": "9", "system": "urn:x"}],
        "text": "SNF",
    }
    found = read(bundle)
    assert found.disposition is not None
    assert (found.disposition.code, found.disposition.text, found.disposition.route) == ("9", "SNF", None)
    assert [(problem.path, problem.code) for problem in found.problems] == [
        ("Bundle.entry[1].resource.hospitalization.dischargeDisposition", "code-invalid")
    ]


def test_the_second_coding_counts_when_the_first_is_unknown() -> None:
    bundle = message()
    bundle["entry"][1]["resource"]["hospitalization"]["dischargeDisposition"] = {
        "coding": [{"code": "01", "system": "urn:x"}, {"code": "06"}]
    }
    found = read(bundle)
    assert found.disposition is not None and found.disposition.route == "home-with-services"


def test_a_code_of_another_system_counts_only_as_that_systems() -> None:
    bundle = message()
    coding = bundle["entry"][1]["resource"]["hospitalization"]["dischargeDisposition"]["coding"][0]
    coding |= {"system": "http://terminology.hl7.org/CodeSystem/discharge-disposition", "code": "snf"}
    found = read(bundle)
    assert found.disposition is not None and found.disposition.route == "snf"
    coding["system"] = "http://sunny.example.org/codes"
    found = read(bundle)
    assert found.disposition is not None and found.disposition.route is None


def test_client_and_visit_come_first_and_the_header_is_no_fact() -> None:
    assert [(fact.type, fact.local) for fact in read(message()).facts] == [
        ("Patient", "patient-1"), ("Encounter", "encounter-1"), ("Practitioner", "practitioner-1"), ("Condition", "condition-1"),
    ]  # fmt: skip


def test_references_within_the_message_become_local_and_others_stay() -> None:
    facts = {fact.local: fact.resource for fact in read(message()).facts}
    encounter, condition = facts["encounter-1"], facts["condition-1"]
    assert encounter is not None and condition is not None
    assert encounter["subject"] == {"reference": "urn:fhircase:local:patient-1", "display": "Jane"}
    assert encounter["participant"][0]["individual"]["reference"] == "urn:fhircase:local:practitioner-1"
    assert condition["recorder"]["reference"] == "urn:fhircase:local:practitioner-1"
    assert condition["asserter"]["reference"] == "Practitioner/elsewhere"
    assert condition["evidence"][0]["detail"][0]["reference"] == "#inside"


def test_what_was_sent_is_not_touched() -> None:
    bundle = message()
    before = copy.deepcopy(bundle)
    read(bundle)
    assert bundle == before


def test_only_numbers_of_an_authority_claim() -> None:
    assert [(one.value, one.claims) for one in read(message()).facts[0].identities] == [
        ("MRN1", True), ("999887777", False), ("M1", False), ("MRN0", False),
    ]  # fmt: skip


def test_providers_are_found_by_number_and_never_claim() -> None:
    bundle = message()
    bundle["entry"][3]["resource"]["identifier"] = [{"system": "http://hl7.org/fhir/sid/us-npi", "value": "1"}]
    assert read(bundle).facts[2].identities == (Identity("http://hl7.org/fhir/sid/us-npi", "1", claims=False),)


def test_without_focus_a_single_encounter_is_meant() -> None:
    bundle = message()
    del bundle["entry"][0]["resource"]["focus"]
    assert read(bundle).visit == Identity("urn:oid:1.2.3", "V1")


def test_without_fullurls_relative_references_find_their_entries() -> None:
    bundle = message()
    for number, entry in enumerate(bundle["entry"]):
        del entry["fullUrl"]
        entry["resource"]["id"] = f"r{number}"
    bundle["entry"][0]["resource"]["focus"] = [{"reference": "Encounter/r1"}]
    bundle["entry"][1]["resource"]["subject"] = {"reference": "Patient/r2/_history/4"}
    encounter = read(bundle).facts[1].resource
    assert encounter is not None and encounter["subject"]["reference"] == "urn:fhircase:local:patient-1"


def test_an_encounter_without_number_is_told() -> None:
    bundle = message()
    del bundle["entry"][1]["resource"]["identifier"]
    found = read(bundle)
    assert found.visit is None
    assert [problem.path for problem in found.problems] == ["Bundle.entry[1].resource.identifier"]


def test_a_forwarded_copy_is_another_message_of_the_same_visit() -> None:
    first, second = message(), message()
    second["id"], second["timestamp"] = "b-2", "2026-11-20T21:00:00Z"
    second["entry"].append(
        {
            "fullUrl": "urn:uuid:9",
            "resource": {"resourceType": "Provenance", "target": [{"reference": "urn:uuid:00000000-0000-4000-8000-000000000001"}]},
        }
    )
    one, two = read(first), read(second)
    assert one.key != two.key
    assert (one.visit, one.happened) == (two.visit, two.happened)
    assert two.facts[-1].type == "Provenance"


def test_the_key_is_the_bundles_name_time_and_event() -> None:
    assert read(message()).key == "b-1|2026-11-20T20:00:00Z|notification-discharge"
    named = message()
    named["identifier"] = {"system": "urn:x", "value": "I-9"}
    assert read(named).control_id == "I-9"


def test_a_message_without_a_name_is_known_by_its_content() -> None:
    one, same, other = message(), message(), message("notification-admit")
    for bundle in (one, same, other):
        del bundle["id"]
    assert read(one).key == read(same).key != read(other).key


def test_trigger_events_of_v2_are_understood() -> None:
    bundle = message()
    bundle["entry"][0]["resource"]["eventCoding"] = {"system": "http://terminology.hl7.org/CodeSystem/v2-0003", "code": "A13"}
    assert read(bundle).action == "cancel-discharge"


# ------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("event", ["notification-referral", "notification-care-team-change", "A03", ""])
def test_an_unknown_event_is_refused(event: str) -> None:
    error = refused(message(event))
    assert (error.ack, error.status) == ("AR", 400)
    assert [(problem.path, problem.code) for problem in error.problems] == [
        ("Bundle.entry[0].resource.event.ofType(Coding)", "not-supported")
    ]
    assert error.event == event and error.control_id == "b-1"


def test_a_message_of_another_guide_is_refused_and_nothing_of_it_taken() -> None:
    bundle = message()
    del bundle["entry"][0]["resource"]["eventCoding"]
    bundle["entry"][0]["resource"]["eventUri"] = "urn:mitre:healthmanager:pdr"
    assert [problem.path for problem in refused(bundle).problems] == ["Bundle.entry[0].resource.event.ofType(uri)"]


def test_an_answer_to_a_message_is_refused() -> None:
    bundle = message()
    bundle["entry"][0]["resource"]["response"] = {"identifier": "x", "code": "ok"}
    assert refused(bundle).problems[0].path == "Bundle.entry[0].resource.response"


def test_a_test_message_is_refused_unless_the_partner_may_send_them() -> None:
    bundle = message()
    bundle["meta"] = {"tag": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0103", "code": "T"}]}
    assert refused(bundle).problems[0].path == "Bundle.meta.tag"
    assert read(bundle, replace(MERCY, processing_ids=("T",))).processing_id == "T"


@pytest.mark.parametrize("missing", ["Patient", "Encounter"])
def test_without_client_or_visit_it_is_kept_and_not_applied(missing: str) -> None:
    bundle = message()
    bundle["entry"] = [entry for entry in bundle["entry"] if entry["resource"]["resourceType"] != missing]
    error = refused(bundle)
    assert (error.ack, error.status) == ("AE", 422)
    assert any(missing in problem.what for problem in error.problems)


@pytest.mark.parametrize(
    ("bundle", "paths"),
    [
        ([], ["Bundle"]),
        ("text", ["Bundle"]),
        ({"resourceType": "Patient"}, ["Bundle"]),
        ({"resourceType": "Bundle", "type": "message"}, ["Bundle.entry"]),
        ({"resourceType": "Bundle", "type": "transaction", "entry": []}, ["Bundle.type", "Bundle.entry"]),
        ({"resourceType": "Bundle", "type": "message", "entry": {}}, ["Bundle.entry"]),
        ({"resourceType": "Bundle", "type": "message", "entry": [None, {}]}, ["Bundle.entry[0].resource", "Bundle.entry[1].resource"]),
        ({"resourceType": "Bundle", "type": "message", "entry": [{"resource": {"resourceType": "Patient"}}]}, ["Bundle.entry[0].resource"]),
        (
            {"resourceType": "Bundle", "type": "message", "entry": [{"fullUrl": "a", "resource": {"resourceType": "MessageHeader"}}] * 2},
            ["Bundle.entry[1].fullUrl"],
        ),
    ],
)
def test_what_is_no_message_is_refused_with_every_place(bundle: Any, paths: list[str]) -> None:
    error = refused(bundle)
    assert error.ack == "AR"
    assert [problem.path for problem in error.problems] == paths


def test_too_many_entries_are_refused() -> None:
    bundle = message()
    bundle["entry"] += [{"resource": {"resourceType": "Basic"}}] * 2_000
    assert refused(bundle).problems[0].path == "Bundle.entry"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["Patient", "Encounter", "urn:uuid:1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["resourceType", "reference", "identifier", "system", "value", "coding", "code", "type"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([0, 1, 2, 4]),
    st.sampled_from(["focus", "subject", "identifier", "period", "hospitalization", "eventCoding", "source", "meta", "id"]),
    _JSON,
)
def test_whatever_stands_in_an_element_nothing_but_unacceptable_is_raised(entry: int, name: str, value: Any) -> None:
    bundle = message()
    bundle["entry"][entry]["resource"][name] = value
    try:
        assert read(bundle).facts
    except Unacceptable as error:
        assert error.problems


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["resourceType", "type", "entry", "id", "identifier", "timestamp", "meta"]), _JSON))
def test_whatever_the_body_nothing_but_unacceptable_is_raised(bundle: Any) -> None:
    with pytest.raises(Unacceptable):
        read(bundle)
