"""Other makers' messages, read as their index asks: what a good consumer makes of each. Skipped where the samples are absent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fhircase.intake import Unacceptable, read_adt, read_message
from fhircase.intake.findings import Finding
from fhircase.mapping import Mappings
from fhircase.plans.partner import Partner

SENDER = Partner("mercy", zone="America/New_York", processing_ids=("P", "T"))
MS = "microsoft-fhir-converter"
GCP = "gcp-data-harmonization"


@pytest.fixture(scope="module")
def maps() -> Mappings:
    return Mappings.load()


def v2(samples: Path, maps: Mappings, name: str, partner: Partner = SENDER) -> Finding:
    return read_adt((samples / "samples" / name).read_bytes(), partner, maps)


def bundle(samples: Path, name: str) -> Any:
    return json.loads((samples / "samples" / name).read_bytes())


@pytest.mark.parametrize(
    ("event", "action"),
    [
        ("A01", "admit"), ("A02", "transfer"), ("A03", "discharge"), ("A04", "register"), ("A08", "update"), ("A11", "cancel-admit"),
        ("A13", "cancel-discharge"), ("A25", "notice"), ("A28", "person"), ("A31", "person"),
    ],
)  # fmt: skip
def test_one_visit_told_by_ten_messages_with_one_control_id(samples: Path, maps: Mappings, event: str, action: str) -> None:
    found = v2(samples, maps, f"{MS}/ADT-{event}-01.hl7")
    assert (found.event, found.action, found.control_id) == (event, action, "MSG00001")
    assert f"ADT^{event}^ADT_A" in found.key
    assert found.happened == "2021-08-17T15:19:43.4+02:00"
    assert ("urn:fhircase:authority:mercy:test1", "PATID1234", True) in [(i.system, i.value, i.claims) for i in found.facts[0].identities]
    types = {fact.type for fact in found.facts}
    if action in ("person", "notice"):
        assert "Encounter" not in types
    else:
        assert found.visit is not None and found.visit.value == "40007716"
        encounter = next(fact for fact in found.facts if fact.type == "Encounter")
        assert encounter.doc is not None and encounter.doc["class"] == "preadmission" and "state" not in encounter.doc


def test_a_discharge_with_free_text_as_disposition_has_no_route(samples: Path, maps: Mappings) -> None:
    found = v2(samples, maps, f"{MS}/ADT-A03-01.hl7")
    assert found.disposition is not None
    assert (found.disposition.code, found.disposition.route, found.disposition.text) == (None, None, "Admitted as Inpatient")
    assert found.disposition.destination == "22"


def test_systems_of_numbers_are_the_same_in_documents_and_identities(samples: Path, maps: Mappings) -> None:
    for name in (f"{MS}/ADT-A01-01.hl7", f"{GCP}/adt_a01.hl7", f"{MS}/ADT04-23.hl7"):
        client, visit = v2(samples, maps, name).facts[:2]
        assert client.doc is not None and visit.doc is not None
        assert [(i.system, i.value) for i in client.identities] == [(n["system"], n["value"]) for n in client.doc["identifiers"]]
        assert (visit.identities[0].system, visit.identities[0].value) in [(n["system"], n["value"]) for n in visit.doc["numbers"]]


def test_a_departure_is_a_move_only(samples: Path, maps: Mappings) -> None:
    found = v2(samples, maps, f"{MS}/ADT-A09-01.hl7")
    assert found.action == "depart"
    encounter = next(fact for fact in found.facts if fact.type == "Encounter")
    assert encounter.doc is not None and set(encounter.doc) <= {"numbers", "locations", "client"}
    assert {fact.type for fact in found.facts} == {"Patient", "Encounter"}


def test_a_merge_names_survivor_and_retired_and_wants_no_answer(samples: Path, maps: Mappings) -> None:
    found = v2(samples, maps, f"{MS}/ADT-A40-01.hl7")
    assert found.action == "merge"
    assert [fact.identities[0].value for fact in found.facts] == ["12345"]
    assert [[old.value for old in pair] for pair in found.retired] == [["56789"]]
    assert found.acknowledge is False


@pytest.mark.parametrize(
    ("name", "action", "happened"),
    [("ADT01-23", "admit", "2005-01-10T04:55:02+07:00"), ("ADT04-23", "register", "2001-01-01T00:00:00+07:00")],
)
def test_old_messages_with_a_byte_order_mark_and_an_odd_offset(
    samples: Path, maps: Mappings, name: str, action: str, happened: str
) -> None:
    found = v2(samples, maps, f"{MS}/{name}.hl7", replace(SENDER, zone=None))
    assert (found.action, found.happened, found.version) == (action, happened, "2.3")
    assert found.visit is not None


def test_a_referral_is_a_referral(samples: Path, maps: Mappings) -> None:
    found = v2(samples, maps, f"{MS}/REF-I12-01.hl7")
    assert (found.event, found.action) == ("I12", "referral")
    assert found.facts[0].identities[0].value == "PATID1234"
    assert [i.claims for i in found.facts[0].identities] == [True, False]
    assert "Encounter" not in {fact.type for fact in found.facts}


def test_an_admission_with_a_stale_end_is_an_admission_and_flagged(samples: Path, maps: Mappings) -> None:
    found = v2(samples, maps, f"{GCP}/adt_a01.hl7")
    assert (found.action, found.processing_id, found.disposition) == ("admit", "T", None)
    assert "PV1-45" in [problem.path for problem in found.problems]
    assert "PV1-2" in [problem.path for problem in found.problems]
    with pytest.raises(Unacceptable) as refused:
        v2(samples, maps, f"{GCP}/adt_a01.hl7", replace(SENDER, processing_ids=("P",)))
    assert (refused.value.ack, refused.value.problems[0].path) == ("AR", "MSH-11")


def test_a_stay_without_visit_number_has_none_and_is_told(samples: Path, maps: Mappings) -> None:
    for name, action in (("adt_a01_ex1", "admit"), ("adt_a04_ex1", "register")):
        found = v2(samples, maps, f"{GCP}/{name}.hl7")
        assert (found.action, found.visit) == (action, None)
        assert "PV1-19" in [problem.path for problem in found.problems]


def test_a_plain_admission(samples: Path, maps: Mappings) -> None:
    found = v2(samples, maps, f"{GCP}/adt_a01_ex2.hl7")
    assert found.visit is not None and found.visit.value == "6145914547062969032"
    assert [i.value for i in found.facts[0].identities] == ["2590157853", "2478684691"]


def test_an_update_without_a_visit_makes_no_stay(samples: Path, maps: Mappings) -> None:
    found = v2(samples, maps, f"{GCP}/adt_a08_ex1.hl7")
    assert found.action == "update"
    assert "Encounter" not in {fact.type for fact in found.facts}


def test_times_without_offset_of_a_sender_without_zone_are_kept_to_the_day(samples: Path, maps: Mappings) -> None:
    found = v2(samples, maps, f"{GCP}/adt_a01_ex2.hl7", replace(SENDER, zone=None))
    assert found.happened == "2020-05-08"
    assert any("zone" in problem.what for problem in found.problems)


# ------------------------------------------------------------------------------------------------ FHIR messages


def test_a_discharge_notification(samples: Path, maps: Mappings) -> None:
    found = read_message(bundle(samples, "davinci-alerts/discharge-notification-message-bundle-01.json"), SENDER, maps)
    assert (found.action, found.happened) == ("discharge", "2018-10-23T22:22:15-07:00")
    assert found.visit is not None and found.visit.value.startswith("Elden718")
    assert found.disposition is not None and (found.disposition.code, found.disposition.route) == ("1", "home")
    assert len(found.facts) == 8
    mrn = next(i for i in found.facts[0].identities if i.system == "http://example.org/fhir/mrn")
    assert mrn.claims
    assert not any(
        i.claims for i in found.facts[0].identities if i.system in ("http://hl7.org/fhir/sid/us-ssn", "urn:oid:2.16.840.1.113883.4.3.25")
    )


def test_an_admission_and_its_forwarded_copy_tell_the_same_fact(samples: Path, maps: Mappings) -> None:
    first = read_message(bundle(samples, "davinci-alerts/admit-notification-message-bundle-01.json"), SENDER, maps)
    copy = read_message(bundle(samples, "davinci-alerts/admit-notification-intermediate-transmit-bundle.json"), SENDER, maps)
    assert first.action == copy.action == "admit"
    assert (first.visit, first.happened) == (copy.visit, copy.happened)
    assert first.happened == "2018-10-21T21:22:15-07:00"
    assert first.key != copy.key
    assert "Provenance" in {fact.type for fact in copy.facts}
    assert first.disposition is None


@pytest.mark.parametrize(
    "name",
    [
        "pacio-sample-data/2-hospital_PDRMessageBundle.json",
        "pacio-sample-data/4c_MCCCarePlan_PDRMessageBundle.json",
        "bser/Bundle-bundle-bser-referral-message-bundle-eve-everywoman.json",
    ],
)
def test_messages_of_other_guides_are_refused_whole(samples: Path, maps: Mappings, name: str) -> None:
    with pytest.raises(Unacceptable) as refused:
        read_message(bundle(samples, name), SENDER, maps)
    assert refused.value.ack == "AR"
    assert [problem.code for problem in refused.value.problems] == ["not-supported"]
