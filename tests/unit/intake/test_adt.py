"""What an ADT message says happened, to whom, and why it may not come in (STANDARDS §5, DECISIONS 5, 16–19)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhircase.errors import Problem
from fhircase.hl7v2 import Authorities, Message, ack
from fhircase.intake import Unacceptable, read_adt
from fhircase.intake.findings import Finding, Identity
from fhircase.plans.change import Origin
from tests.conftest import START
from tests.unit.intake.support import EVN, MERCY, PID, PV1, At, Maps, Read, adt, plain


def read(raw: bytes, partner: object = MERCY) -> Finding:
    return read_adt(raw, partner, Maps())  # type: ignore[arg-type]


def refused(raw: bytes, partner: object = MERCY) -> Unacceptable:
    with pytest.raises(Unacceptable) as error:
        read(raw, partner)
    return error.value


def pv1(**fields: str) -> str:
    parts = PV1.split("|") + [""] * 60
    for name, text in fields.items():
        parts[int(name[1:])] = text
    return "|".join(parts)


# ------------------------------------------------------------------------------------------------ the event


@pytest.mark.parametrize(
    ("event", "action"),
    [
        ("A01", "admit"), ("A02", "transfer"), ("A03", "discharge"), ("A04", "register"), ("A05", "preadmit"), ("A08", "update"),
        ("A09", "depart"), ("A11", "cancel-admit"), ("A12", "cancel-transfer"), ("A13", "cancel-discharge"),
    ],
)  # fmt: skip
def test_events_of_a_visit_tell_of_the_client_and_the_visit(event: str, action: str) -> None:
    found = read(adt(event))
    assert (found.event, found.action) == (event, action)
    assert found.visit == Identity("urn:oid:1.2.3", "V1", claims=True)
    assert [fact.type for fact in found.facts][:2] == ["Patient", "Encounter"]
    assert found.facts[1].identities == (found.visit,)
    assert found.facts[1].doc is not None and found.facts[1].doc["client"] == "urn:fhircase:local:client"


@pytest.mark.parametrize(("event", "action"), [("A28", "person"), ("A31", "person"), ("A25", "notice"), ("A16", "notice")])
def test_events_of_a_person_and_notices_make_no_visit_though_pv1_is_there(event: str, action: str) -> None:
    found = read(adt(event, EVN, PID, PV1, "DG1|1||I50.9"))
    assert found.action == action
    assert {fact.type for fact in found.facts} == {"Patient"}


def test_the_trigger_is_msh_9_2_never_evn_1() -> None:
    assert read(adt("A03", "EVN|A01|20261120", PID, PV1)).action == "discharge"


def test_a_departure_moves_and_tells_nothing_else() -> None:
    doc = read(adt("A09")).facts[1].doc
    assert doc is not None and set(doc) == {"locations", "client"}


def test_msh_9_3_may_be_missing_or_wrong() -> None:
    assert read(adt("A01^NONSENSE")).action == "admit"


# ------------------------------------------------------------------------------------------------ when


def test_it_happened_when_evn_6_says_else_evn_2_else_msh_7() -> None:
    assert read(adt("A01")).happened == "2026-11-20T14:25:00-05:00"
    assert read(adt("A01", "EVN||20261120143000-0500", PID, PV1)).happened == "2026-11-20T14:30:00-05:00"
    assert read(adt("A01", PID, PV1)).happened == "2026-11-20T14:30:05-05:00"


def test_an_unreadable_time_is_told_and_the_next_is_taken() -> None:
    found = read(adt("A01", "EVN||20261120143000-0500||||yesterday", PID, PV1))
    assert found.happened == "2026-11-20T14:30:00-05:00"
    assert [problem.path for problem in found.problems] == ["EVN-6"]


def test_a_time_without_offset_takes_the_senders_zone() -> None:
    assert read(adt("A01", "EVN||20260720143000", PID, PV1)).happened == "2026-07-20T14:30:00-04:00"


def test_without_a_zone_it_is_kept_to_the_day_and_told_but_still_ordered() -> None:
    stranger = replace(MERCY, zone=None)
    first, second = (read(adt("A01", f"EVN||20261120{hour}0000", PID, PV1), stranger) for hour in ("09", "10"))
    assert (first.happened, second.happened) == ("2026-11-20", "2026-11-20")
    assert first.happened_ms is not None and second.happened_ms is not None and first.happened_ms < second.happened_ms
    assert [(problem.path, "zone" in problem.what) for problem in first.problems] == [("EVN-2", True)]


def test_a_zone_that_does_not_exist_is_told_and_not_used() -> None:
    found = read(adt("A01", "EVN||20261120143000", PID, PV1), replace(MERCY, zone="Mars/Olympus"))
    assert found.happened == "2026-11-20"
    assert any("zone is not known" in problem.what for problem in found.problems)


# ------------------------------------------------------------------------------------------------ who


def test_record_numbers_claim_and_social_security_numbers_never() -> None:
    assert read(adt("A01")).facts[0].identities == (
        Identity("urn:oid:1.2.3", "MRN1", claims=True),
        Identity("http://hl7.org/fhir/sid/us-ssn", "999887777", claims=False),
    )


@pytest.mark.parametrize(
    ("number", "system", "claims"),
    [
        ("1^^^MERCY^MR", "urn:oid:1.2.3", True),
        ("1^^^OTHER^MR", "urn:fhircase:authority:mercy:OTHER", True),
        ("1^^^OTHER&1.9.8&ISO^PI", "urn:oid:1.9.8", True),
        ("1^^^&1.9.8&ISO", "urn:oid:1.9.8", True),
        ("1^^^X&6ba7b810-9dad-11d1-80b4-00c04fd430c8&UUID^MR", "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8", True),
        ("1^^^X&https://mrn.example.org&URI^MR", "https://mrn.example.org", True),
        ("1^^^OTHER&2.16.1&HCD^MR", "urn:fhircase:authority:mercy:OTHER", True),
        ("1^^^A B^MR", "urn:fhircase:authority:mercy:A-B", True),
        ("1^^^STATE^MA", "urn:fhircase:authority:mercy:STATE", False),
        ("1^^^STATE^DL", "urn:fhircase:authority:mercy:STATE", False),
        ("1^^^CMS^MC", "urn:fhircase:authority:mercy:CMS", False),
        ("1^^^^SS", "http://hl7.org/fhir/sid/us-ssn", False),
        ("1^^^^^USSSA", "http://hl7.org/fhir/sid/us-ssn", False),
        ("1", "urn:oid:1.2.3", True),
    ],
)
def test_authorities_become_systems_and_types_decide_who_claims(number: str, system: str, claims: bool) -> None:
    found = read(adt("A01", f"PID|1||{number}||DOE", PV1))
    assert found.facts[0].identities == (Identity(system, "1", claims),)


def test_a_further_number_without_type_or_authority_finds_and_does_not_claim() -> None:
    found = read(adt("A01", "PID|1||1^^^MERCY^MR~2||DOE", PV1))
    assert [identity.claims for identity in found.facts[0].identities] == [True, False]


def test_the_old_fields_for_numbers_count_too() -> None:
    found = read(adt("A01", "PID|1|7^^^MERCY^MR|||DOE", PV1))
    assert [identity.value for identity in found.facts[0].identities] == ["7"]


def test_the_mapping_names_systems_by_the_same_rule_as_the_identities() -> None:
    maps = Maps()
    found = read_adt(adt("A01", "PID|1||1^^^OTHER&1.9.8&ISO^PI~2||DOE", PV1), MERCY, maps)
    assert maps.asked[0] == ("America/New_York", Authorities("mercy", MERCY.authorities, "MERCY"))
    doc = found.facts[0].doc
    assert doc is not None
    assert [one["system"] for one in doc["identifiers"]] == [identity.system for identity in found.facts[0].identities]


def test_a_client_without_any_number_is_kept_not_applied() -> None:
    error = refused(adt("A01", EVN, "PID|1||||DOE", PV1))
    assert (error.ack, error.status) == ("AE", 422)
    assert [(problem.path, problem.code) for problem in error.problems] == [("PID-3", "required")]


# ------------------------------------------------------------------------------------------------ which visit


def test_a_visit_number_without_authority_is_the_sending_facilitys() -> None:
    assert read(adt("A01", PID, pv1(f19="V9"))).visit == Identity("urn:oid:1.2.3", "V9")
    other = replace(MERCY, authorities={})
    assert read(adt("A01", PID, pv1(f19="V9")), other).visit == Identity("urn:fhircase:authority:mercy:MERCY", "V9")


def test_the_alternate_visit_number_stands_in() -> None:
    assert read(adt("A01", PID, pv1(f19="", f50="W1^^^MERCY"))).visit == Identity("urn:oid:1.2.3", "W1")


def test_an_admission_without_visit_number_is_taken_and_told() -> None:
    found = read(adt("A01", EVN, PID, pv1(f19="")))
    assert found.visit is None
    assert [(problem.path, problem.severity) for problem in found.problems] == [("PV1-19", "warning")]
    assert found.facts[1].identities == ()


def test_an_update_without_visit_number_makes_no_stay() -> None:
    found = read(adt("A08", EVN, PID, pv1(f19="")))
    assert "Encounter" not in {fact.type for fact in found.facts}
    assert [problem.path for problem in found.problems] == ["PV1-19"]


def test_a_stay_that_ends_before_it_begins_is_flagged() -> None:
    found = read(adt("A01", EVN, PID, pv1(f44="20190309130156", f45="20110309130156")))
    assert [problem.path for problem in found.problems] == ["PV1-45"]
    assert found.action == "admit"


# ------------------------------------------------------------------------------------------------ discharge


@pytest.mark.parametrize(
    ("sent", "code", "text", "route"),
    [
        ("01", "01", None, "home"),
        ("1", "1", None, "home"),
        ("6^Home health", "6", "Home health", "home-with-services"),
        ("62", "62", None, "rehab"),
        ("30", "30", None, "not-discharged"),
        ("20", "20", None, "died"),
        ("Ready to go", None, "Ready to go", None),
        ("Admitted as Inpatient^Sample^ACR", None, "Admitted as Inpatient", None),
        ("ZZ", "ZZ", None, None),
        ("ZR", "ZR", None, "rehab"),
        ("snf", "snf", None, None),
    ],
)
def test_a_disposition_is_kept_as_sent_and_read_by_the_table(sent: str, code: str | None, text: str | None, route: str | None) -> None:
    found = read(adt("A03", EVN, PID, pv1(f36=sent, f37="SNF1&SUNNY")))
    assert found.disposition is not None
    assert (found.disposition.code, found.disposition.text, found.disposition.route) == (code, text, route)
    assert found.disposition.destination == "SNF1"


def test_a_discharge_without_disposition_is_told() -> None:
    found = read(adt("A03"))
    assert found.disposition is None
    assert [(problem.path, problem.code) for problem in found.problems] == [("PV1-36", "required")]


def test_doubts_about_what_an_event_does_not_tell_are_not_told() -> None:
    doubtful = Problem("code not in codes/v2-disposition", "PV1-36.1", code="code-invalid", severity="warning")
    ward = Problem("code not in codes/v2-class", "PV1-2", code="code-invalid", severity="warning")
    maps = Maps(lambda message, authorities: replace(plain(message, authorities), problems=(doubtful, ward)))
    told = {event: list(read_adt(adt(event, EVN, PID, pv1(f36="x")), MERCY, maps).problems) for event in ("A01", "A03", "A09")}
    assert told == {"A01": [ward], "A03": [doubtful, ward], "A09": []}


def test_a_person_event_is_read_without_the_visit_that_it_carries() -> None:
    seen: list[set[str]] = []

    def watched(message: Message, authorities: Authorities) -> Read:
        seen.append({segment.name for segment in message.segments()})
        return plain(message, authorities)

    read_adt(adt("A31", EVN, PID, "NK1|1|POE", PV1, "DG1|1||I50.9"), MERCY, Maps(watched))
    assert seen == [{"MSH", "EVN", "PID", "NK1"}]


def test_an_admission_with_a_stale_disposition_has_none() -> None:
    assert read(adt("A01", EVN, PID, pv1(f36="62", f45="20261120"))).disposition is None


# ------------------------------------------------------------------------------------------------ who and what else


def test_diagnoses_contacts_and_providers_are_facts_with_links() -> None:
    found = read(adt("A01", EVN, PID, "NK1|1|POE^ANN", PV1, "DG1|1||I50.9", "DG1|2||E11.9"))
    by_local = {fact.local: fact for fact in found.facts}
    assert set(by_local) == {"client", "visit", "diagnosis-1", "diagnosis-2", "contact-1", "provider-1"}
    second = by_local["diagnosis-2"].doc
    assert second is not None
    assert (second["code"], second["client"], second["visit"]) == ("E11.9", "urn:fhircase:local:client", "urn:fhircase:local:visit")
    visit = by_local["visit"].doc
    assert visit is not None
    assert [one["condition"] for one in visit["diagnoses"]] == ["urn:fhircase:local:diagnosis-1", "urn:fhircase:local:diagnosis-2"]
    assert visit["participants"][0]["person"] == "urn:fhircase:local:provider-1"
    assert by_local["provider-1"].identities == (Identity("urn:oid:2.16.840.1.113883.4.6", "1234", claims=False),)


def test_a_provider_without_a_numbering_authority_is_a_name_and_no_fact() -> None:
    found = read(adt("A01", EVN, PID, pv1(f7="C006^Wolf^Kathy")))
    assert {fact.type for fact in found.facts} == {"Patient", "Encounter"}


def test_each_value_is_traced_to_its_place() -> None:
    found = read(adt("A01"))
    assert Origin("identifiers[1].value", "PID-3[2].1") in found.facts[0].origins
    assert Origin("starts", "PV1-44", "20261110") in found.facts[1].origins


# ------------------------------------------------------------------------------------------------ merges


def test_every_pair_of_a_merge_is_a_survivor_with_its_retired_numbers() -> None:
    found = read(
        adt("A40", EVN, "PID|1||A^^^MERCY^MR||X", "PD1|", "MRG|B^^^MERCY^MR~C^^^MERCY^MR", "PID|2||D^^^MERCY^MR||Y", "MRG|E^^^MERCY^MR")
    )
    assert found.action == "merge"
    assert [(fact.type, fact.local, fact.identities[0].value) for fact in found.facts] == [
        ("Patient", "client", "A"),
        ("Patient", "client-2", "D"),
    ]
    assert [[one.value for one in old] for old in found.retired] == [["B", "C"], ["E"]]
    assert found.visit is None and found.problems == ()


def test_a_merge_into_itself_retires_nothing_and_is_told() -> None:
    found = read(adt("A40", EVN, "PID|1||A^^^MERCY^MR||X", "MRG|A^^^MERCY^MR"))
    assert found.retired == ((),)
    assert [(problem.path, problem.severity) for problem in found.problems] == [("MRG-1", "warning")]


@pytest.mark.parametrize(
    ("segments", "place"),
    [
        (("PID|1||A^^^MERCY^MR",), "MRG"),
        (("MRG|B^^^MERCY^MR",), "PID"),
        (("PID|1||A^^^MERCY^MR", "PID|2||C^^^MERCY^MR", "MRG|D^^^MERCY^MR"), "PID"),
        (("MRG|B^^^MERCY^MR", "PID|1||A^^^MERCY^MR"), "PID"),
    ],
)
def test_a_merge_whose_pairs_are_not_whole_is_refused(segments: tuple[str, ...], place: str) -> None:
    error = refused(adt("A40", *segments))
    assert error.ack == "AR"
    assert (error.problems[0].path, error.problems[0].code) == (place, "structure")


def test_a_merge_without_retired_number_is_kept() -> None:
    error = refused(adt("A40", EVN, "PID|1||A^^^MERCY^MR", "MRG|"))
    assert (error.ack, error.problems[0].path) == ("AE", "MRG-1")


# ------------------------------------------------------------------------------------------------ what may not come in


@pytest.mark.parametrize(
    ("raw", "path", "condition"),
    [
        (adt("A99"), "MSH-9.2", "201"),
        (adt("A24"), "MSH-9.2", "201"),
        (adt("", head="MSH|^~\\&|ADT|MERCY|||2026||ADT|M1|P|2.5"), "MSH-9.2", "101"),
        (adt("", head="MSH|^~\\&|ADT|MERCY|||2026||ORU^R01|M1|P|2.5"), "MSH-9.1", "200"),
        (adt("A01", control=""), "MSH-10", "101"),
        (adt("A01", processing="T"), "MSH-11", "202"),
        (adt("A01", processing="D"), "MSH-11", "202"),
        (adt("A01", processing=""), "MSH-11", "101"),
        (adt("", head="MSH|^~\\&|ADT|OTHER|||2026||ADT^A01|M1|P|2.5"), "MSH-3", "103"),
        (adt("", head="MSH|^~\\&|LAB|MERCY|||2026||ADT^A01|M1|P|2.5"), "MSH-3", "103"),
        (adt("A01", EVN), "PID", "100"),
        (adt("A01", EVN, PID), "PV1", "100"),
        (adt("", head="MSH|^~\\&|ADT|MERCY|||2026||REF^I12|M1|P|2.5"), "RF1", "100"),
        (b"MSH|^~\\&|ADT|MERCY", "MSH-9", "101"),
        (b"not hl7 at all", "MSH", "100"),
        (b"", "MSH", "100"),
    ],
)
def test_what_is_unacceptable_is_refused_with_its_place_and_code(raw: bytes, path: str, condition: str) -> None:
    error = refused(raw)
    assert (error.ack, error.status) == ("AR", 400)
    assert error.problems[0].path == path
    answer = ack(error.message, error.ack, error.problems, control_id="A1", now=START).decode()
    assert f"|{condition}^" in answer


def test_test_messages_are_taken_where_the_partner_may_send_them() -> None:
    found = read(adt("A01", processing="T"), replace(MERCY, processing_ids=("P", "T")))
    assert found.processing_id == "T"


def test_without_a_list_any_sender_is_the_partners() -> None:
    assert read(adt("", head="MSH|^~\\&|ANY|WHERE|||20261120||ADT^A01|M1|P|2.5"), replace(MERCY, senders=())).sender == ("ANY", "WHERE")


def test_all_that_is_wrong_with_a_header_is_told_at_once() -> None:
    error = refused(adt("", head="MSH|^~\\&|LAB|MERCY|||2026||ADT^A99||X|2.5"))
    assert [problem.path for problem in error.problems] == ["MSH-9.2", "MSH-10", "MSH-11", "MSH-3"]


def test_a_refusal_still_knows_the_header() -> None:
    error = refused(adt("A99", control="M77"))
    assert (error.control_id, error.event, error.key) == ("M77", "A99", "ADT|MERCY|20261120143005-0500|ADT^A99|M77")
    broken = refused(adt("A01", "PID|\x00"))
    assert (broken.control_id, broken.event) == ("M1", "A01")


def test_too_many_segments_are_refused_and_the_limit_is_a_setting() -> None:
    raw = adt("A01", EVN, PID, PV1, *("OBX|1" for _ in range(2_500)))
    assert refused(raw).ack == "AR"
    assert read_adt(raw, MERCY, Maps(), max_segments=5_000).action == "admit"


# ------------------------------------------------------------------------------------------------ the key


def test_the_key_is_sender_time_type_and_control_id() -> None:
    assert read(adt("A01")).key == "ADT|MERCY|20261120143005-0500|ADT^A01|M1"
    assert read(adt("A01")).key != read(adt("A03")).key


def test_no_answer_is_wanted_when_the_header_says_so() -> None:
    assert read(adt("A01", tail="|||NE|NE")).acknowledge is False
    assert read(adt("A01")).acknowledge is True


# ------------------------------------------------------------------------------------------------ whatever comes


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["A01", "A03", "A08", "A31", "A40", "A09"]),
    st.lists(
        st.sampled_from(["PID", "PV1", "MRG", "EVN", "DG1", "NK1", "ROL", "PD1"]).flatmap(
            lambda n: st.text('|^~&\\"1AVé ', max_size=60).map(lambda t: f"{n}|{t}")
        ),
        max_size=6,
    ),
)
def test_no_message_raises_anything_but_unacceptable(event: str, segments: list[str]) -> None:
    try:
        found = read(adt(event, *segments, "ZZZ"))
    except Unacceptable as error:
        assert error.problems and all(problem.path for problem in error.problems)
        return
    assert found.facts


def test_a_number_that_an_old_field_repeats_is_one_number_and_places_follow() -> None:
    def thrice(message: Message, authorities: Authorities) -> Read:
        numbers = [{"system": "s", "value": value} for value in ("A", "B", "A", "C")]
        origins = {f"client.identifiers[{at}].value": At(place) for at, place in enumerate(("PID-3.1", "PID-3[2].1", "PID-2.1", "PID-4.1"))}
        return Read({"client": {"identifiers": numbers}}, origins={**origins, "client.born": At("PID-7")})

    client = read_adt(adt("A01"), MERCY, Maps(thrice)).facts[0]
    assert client.doc is not None
    assert [number["value"] for number in client.doc["identifiers"]] == ["A", "B", "C"]
    assert [(origin.element, origin.place) for origin in client.origins] == [
        ("identifiers[0].value", "PID-3.1"), ("identifiers[1].value", "PID-3[2].1"), ("identifiers[2].value", "PID-4.1"), ("born", "PID-7"),
    ]  # fmt: skip
