"""HL7 v2 read into case documents: every value with its place, deletes told from silence, doubts told and kept."""

from __future__ import annotations

from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhircase import hl7v2
from fhircase.hl7v2 import Authorities
from fhircase.mapping import In, Mappings, Place
from fhircase.mapping.v2side import _plain

HEAD = "MSH|^~\\&|EPIC|MERCY|F|C|20261120143005-0500||ADT^A08^ADT_A01|M1|P|2.5.1\r"


def read(maps: Mappings, *segments: str, **options: Any) -> In:
    return maps.mapping("adt").read(hl7v2.parse((HEAD + "\r".join(segments)).encode()), **options)


def test_every_value_knows_its_place_and_repetition(maps: Mappings) -> None:
    found = read(
        maps, "PID|1||M1^^^X^MR~M2^^^Y^MA", "DG1|1||I50.9^Heart failure^I10", "DG1|2||E11.9^Diabetes^I10", "PV1|1|I" + "|" * 34 + "06"
    )
    assert found.origins["client.identifiers[1].value"] == Place("PID-3[2].1")
    assert found.origins["diagnoses[1].code"] == Place("DG1[2]-3.1")
    assert found.origins["visit.disposition"] == Place("PV1-36.1")
    assert found.origins["visit.class"] == Place("PV1-2")


def test_every_document_field_has_an_origin_and_every_origin_a_field_or_a_problem(maps: Mappings, samples: Path) -> None:
    raw = (samples / "samples/microsoft-fhir-converter/ADT-A03-01.hl7").read_bytes()
    found = maps.mapping("adt").read(hl7v2.parse(raw), zone="America/New_York")
    fields: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for key, one in value.items():
                walk(one, f"{path}.{key}".lstrip("."))
        elif isinstance(value, list):
            for at, one in enumerate(value):
                walk(one, f"{path}[{at}]")
        else:
            fields[path] = value

    walk(found.doc, "")
    constants = {path for path in fields if path.endswith((".preferred", ".kind", ".use")) and path not in found.origins}
    assert set(fields) - constants <= set(found.origins)
    told = {problem.path for problem in found.problems}
    assert all(field in fields or origin.place in told for field, origin in found.origins.items())


def test_origins_compose_to_fhir_elements(maps: Mappings) -> None:
    found = read(maps, "PV1|1|I" + "|" * 42 + "20261110080000-0500|20261120142500-0500")
    assert set(maps.mapping("visit").origins(found.origins, "visit")) == {
        ("class", "PV1-2", None),
        ("period.start", "PV1-44", None),
        ("period.end", "PV1-45", None),
    }


def test_a_delete_is_none_and_silence_is_absent(maps: Mappings) -> None:
    client = read(maps, 'PID|1||M1||DOE^Jane||""|F||||||||""').doc["client"]
    assert client["born"] is None and client["marital"] is None
    assert "addresses" not in client and "died" not in client


def test_a_delete_of_a_list_is_none_but_one_among_others_is_passed_over(maps: Mappings) -> None:
    assert read(maps, 'PID|1||M1||||||||""').doc["client"]["addresses"] is None
    found = read(maps, 'PID|1||M1||||||||""~1 Main St^^Salem').doc["client"]["addresses"]
    assert found == [{"lines": ["1 Main St"], "city": "Salem"}]


def test_escapes_and_other_delimiters_are_read(maps: Mappings) -> None:
    assert read(maps, "PID|1||M1||O\\T\\BRIEN^Jo\\S\\e").doc["client"]["names"] == [
        {"family": "O&BRIEN", "given": ["Jo^e"], "use": "official"}
    ]
    raw = b"MSH#*!@$#A#B#C#D#20261120##ADT*A08#1#P#2.5\rPID#1##M1***X*MR##DOE*Jane"
    found = maps.mapping("adt").read(hl7v2.parse(raw))
    assert found.doc["client"]["names"] == [{"family": "DOE", "given": ["Jane"], "use": "official"}]


def test_an_unknown_code_is_told_by_its_place_and_kept_as_text(maps: Mappings) -> None:
    found = read(maps, "PV1|1|INPATIENT" + "|" * 34 + "Ready to go")
    assert found.doc["visit"]["class"] == "INPATIENT" and found.doc["visit"]["disposition"] == "Ready to go"
    assert "disposition_code" not in found.doc["visit"]
    assert [(one.what, one.path) for one in found.problems] == [
        ("code not in codes/v2-class", "PV1-2"),
        ("code not in codes/v2-disposition", "PV1-36.1"),
    ]
    assert found.origins["visit.class"] == Place("PV1-2", "INPATIENT")
    made = maps.mapping("visit").out({**found.doc["visit"], "state": "finished"}).resource
    assert made["class"] == {"display": "INPATIENT"}
    assert made["hospitalization"]["dischargeDisposition"] == {"text": "Ready to go"}


def test_a_code_for_which_there_is_no_text_is_left_out_and_told(maps: Mappings) -> None:
    found = read(maps, "PID|1||M1|||||Q")
    assert "sex" not in found.doc["client"]
    assert [(one.what, one.path) for one in found.problems] == [("code not in codes/v2-sex", "PID-8")]
    assert found.origins["client.sex"] == Place("PID-8", "Q")


def test_no_value_of_a_client_stands_in_a_problem(maps: Mappings) -> None:
    found = read(maps, "PID|1||M1||SECRET||19991399|SECRET||||||||SECRET|SECRET", "PV1|1|SECRET" + "|" * 42 + "SECRET")
    assert len(found.problems) >= 5
    assert not any("SECRET" in one.what + one.path + one.hint for one in found.problems)


def test_a_source_coding_stands_beside_the_mapped_disposition(maps: Mappings) -> None:
    visit = read(maps, "PV1|1|I" + "|" * 34 + "6").doc["visit"]
    assert (visit["disposition"], visit["disposition_code"]) == ("home", "06")
    made = maps.mapping("visit").out({**visit, "state": "finished"}).resource["hospitalization"]["dischargeDisposition"]
    assert [(one["system"], one["code"]) for one in made["coding"]] == [
        ("http://terminology.hl7.org/CodeSystem/discharge-disposition", "home"),
        ("https://www.nubc.org/CodeSystem/PatDischargeStatus", "06"),
    ]


def test_a_time_without_offset_takes_the_senders_zone(maps: Mappings) -> None:
    line = "PV1|1|I" + "|" * 42 + "20261110080000"
    assert read(maps, line, zone="America/New_York").doc["visit"]["starts"] == "2026-11-10T08:00:00-05:00"
    found = read(maps, line)
    assert found.doc["visit"]["starts"] == "2026-11-10"
    assert found.origins["visit.starts"] == Place("PV1-44", "20261110080000")
    assert [(one.path, one.hint) for one in found.problems] == [("PV1-44", "set the sender's time zone")]


def test_a_time_that_cannot_be_read_is_told_and_left_out(maps: Mappings) -> None:
    found = read(maps, "PID|1||M1||||19990230")
    assert "born" not in found.doc["client"]
    assert [(one.what, one.path) for one in found.problems] == [("is not a date", "PID-7")]
    assert found.origins["client.born"] == Place("PID-7", "19990230")


def test_a_birth_time_is_kept_beside_the_birth_date(maps: Mappings) -> None:
    client = read(maps, "PID|1||M1||||198808181126+0215").doc["client"]
    assert (client["born"], client["born_at"]) == ("1988-08-18", "1988-08-18T11:26:00+02:15")
    made = maps.mapping("client").out({"born": client["born"], "born_at": client["born_at"]}).resource
    assert made["_birthDate"]["extension"] == [
        {"url": "http://hl7.org/fhir/StructureDefinition/patient-birthTime", "valueDateTime": "1988-08-18T11:26:00+02:15"}
    ]


@pytest.mark.parametrize(
    ("xtn", "value"),
    [
        ("5550100", "5550100"), ("^PRN^PH^^^503^5550100", "503 5550100"), ("^PRN^PH^^1^503^5550100^77", "+1 503 5550100 x77"),
        ("^WPN^PH^^^^^^^^^(626)555-1234", "(626)555-1234"), ("^NET^Internet^jane@x.example", "jane@x.example"),
        ("78788788^^CP^5555^^^1111", "78788788"),
    ],
)  # fmt: skip
def test_a_number_is_read_from_where_its_sender_wrote_it(xtn: str, value: str, maps: Mappings) -> None:
    assert read(maps, f"PID|1||M1{'|' * 10}{xtn}").doc["client"]["contact_points"][0]["value"] == value


def test_home_and_work_are_told_by_field_when_the_number_does_not_say(maps: Mappings) -> None:
    points = read(maps, f"PID|1||M1{'|' * 10}1~^^CP^^^^2|3").doc["client"]["contact_points"]
    assert [(one["use"], one["value"]) for one in points] == [("home", "1"), ("mobile", "2"), ("work", "3")]


def test_side_by_side_lists_stay_aligned_when_an_entry_says_nothing(maps: Mappings) -> None:
    found = read(maps, "DG1|1", "DG1|2||I50.9^Heart failure^I10|||A")
    assert found.doc["diagnoses"] == [
        {},
        {"code": "I50.9", "system": "http://hl7.org/fhir/sid/icd-10", "text": "Heart failure", "kind": "encounter-diagnosis"},
    ]
    assert found.doc["visit"]["diagnoses"] == [{}, {"use": "admission"}]


def test_an_employer_is_a_contact_of_the_client_and_no_relative(maps: Mappings) -> None:
    found = read(maps, "PID|1||M1", "NK1|1|ORTIZ^Ana|DAU", "NK1|2|ACME|EMR||||||||||ACME INC")
    assert [one["relationship"] for one in found.doc["contacts"]] == ["daughter"]
    assert found.doc["client"]["contacts"] == [{"relationship": "employer", "organization_name": "ACME INC", "family": "ACME"}]


def test_a_role_of_a_procedure_is_not_of_the_team(maps: Mappings) -> None:
    found = read(maps, "ROL|1|AD|PP|7^Smith", "ROL|2|DE|AT|8^Jones", "PR1|1||x", "ROL|1|AD|AT|9^Other")
    assert found.doc["team"]["members"] == [{"role": "primary-care", "number": "7", "name": "Smith"}]
    assert [one["number"] for one in found.doc["left"]] == ["8"]


def test_authorities_of_the_sender_name_the_systems(maps: Mappings) -> None:
    authorities = Authorities("mercy", {"MERCY": "https://mercy.example/mrn"})
    found = read(maps, "PID|1||M1^^^MERCY^MR~M2^^^LAB&2.16.840.1.5&ISO^PI~M3^^^OLD", authorities=authorities).doc["client"]["identifiers"]
    assert [one["system"] for one in found] == ["https://mercy.example/mrn", "urn:oid:2.16.840.1.5", "urn:fhircase:authority:mercy:OLD"]


def test_every_sample_is_read_and_goes_out_without_error(maps: Mappings, samples: Path) -> None:
    files = [*(samples / "samples/microsoft-fhir-converter").glob("ADT*.hl7"), *(samples / "samples/gcp-data-harmonization").glob("*.hl7")]
    assert len(files) >= 15
    for file in files:
        found = maps.mapping("adt").read(hl7v2.parse(file.read_bytes()), zone="America/New_York").doc
        for name, docs in (("client", [found["client"]]), ("contact", found.get("contacts", [])), ("person", found.get("providers", []))):
            for doc in docs:
                made = maps.mapping(name).out({**doc, **({"client": "Patient/p"} if name == "contact" else {})})
                assert not [one for one in made.problems if one.severity == "error"], file.name


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.datetimes(timezones=st.sampled_from([timezone(timedelta(minutes=m)) for m in (-720, -210, 0, 75, 765)])).map(
            lambda at: at.strftime("%Y").zfill(4) + at.strftime("%m%d%H%M%S%z")
        ),
        st.dates().map(lambda day: day.strftime("%Y").zfill(4) + day.strftime("%m%d")),
        st.from_regex(r"[0-2]\d{7}(\d{6}([+-]\d{4})?)?", fullmatch=True),
    )
)
def test_the_short_way_for_times_says_what_the_parser_says(text: str) -> None:
    quick = _plain(text)
    if quick is not None:
        moment = hl7v2.moment(text, zone="America/New_York")
        assert moment is not None and (quick, None) == (moment.text, moment.doubt)
