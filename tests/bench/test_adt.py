"""Admission messages a second of one core's own time: parsed, and read whole through mappings/adt.yaml; against a bare split of the
same bytes into fields and components."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from time import process_time

import pytest

from fhircase import hl7v2
from fhircase.hl7v2 import Authorities
from fhircase.mapping import Mappings
from tests.bench import table
from tests.conftest import ROOT

FLOOR = 14_000
SECONDS = 0.3
ROUNDS = 5

#: A discharge with next of kin, diagnoses, allergy, doctors and cover.
DISCHARGE = "\r".join(
    [
        "MSH|^~\\&|EPIC|MERCY|FHIRCASE|COUNTY|20261120143005-0500||ADT^A03^ADT_A03|MSG42|P|2.5.1",
        "EVN|A03|20261120143000-0500|||OP1^Lee^Kim|20261120142500-0500",
        (
            "PID|1||MRN12345^^^MERCY^MR~MCD778^^^ORMED^MA||NÚÑEZ-O\\T\\BRIEN^José^Q||19560304|F||2106-3^White^HL70005"
            "|12 Main St^Apt 3^Salem^OR^97301^USA^H||^PRN^PH^^^503^5550100~^NET^Internet^jose@example.org||es^Spanish^ISO639|W"
        ),
        "PD1||||1245319599^Adams^Ruth^^^Dr^^^NPI",
        "NK1|1|ORTIZ^Ana|DAU^Daughter^HL70063|14 Main St^^Salem^OR^97301|^PRN^PH^^^503^5550111||C",
        (
            "PV1|1|I|4E^401^B^MERCY||||1234567893^Welby^Marcus^^^Dr^^^NPI|||MED|||||||||V777^^^MERCY^VN"
            "|||||||||||||||||06|SNF1&SUNNY||MERCY|||||20261110080000-0500|20261120142500-0500"
        ),
        "PV2|||I50.9^Heart failure^I10|||||20261110|20261120",
        "DG1|1||I50.9^Heart failure^I10||20261110|F|||||||||1",
        "DG1|2||E11.9^Type 2 diabetes^I10||20261110|F|||||||||2",
        "AL1|1|DA|7980^Penicillin^RXNORM|MO|Hives",
        "ROL|1|AD|PP^Primary care provider^HL70443|1245319599^Adams^Ruth^^^Dr^^^NPI|20200101",
        "IN1|1|MCD^Medicaid|ORMED|Oregon Health Plan|||||||||||||NUÑEZ^José|SEL",
    ]
).encode()


#: What a site's own mapping of a discharge needs: twenty-two lines, against the hundreds of mappings/adt.yaml, which reads it whole.
LINES = """
mapping: discharge
case: transition
v2: ADT^A03
fields:
  event_id:      {v2: MSH-10,                         need: yes}
  number:        {v2: PID-3.1, pick: {PID-3.5: MR},   need: yes}
  medicaid:      {v2: PID-3.1, pick: {PID-3.5: MA}}
  family:        {v2: PID-5.1}
  given:         {v2: PID-5.2}
  born:          {v2: PID-7,                          as: date}
  sex:           {v2: PID-8,                          codes: v2-sex}
  phone:         {v2: [PID-13.12, PID-13.7], pick: {PID-13.3: PH}}
  facility:      {v2: [PV1-39, MSH-4.1]}
  unit:          {v2: PV1-3.1}
  visit:         {v2: PV1-19.1}
  admitted:      {v2: PV1-44,                         as: dateTime}
  discharged:    {v2: [PV1-45, EVN-6, EVN-2],         as: dateTime, need: yes}
  to:            {v2: PV1-36.1,                       codes: v2-disposition}
  to_place:      {v2: PV1-37.1.2}
  attending:     {v2: PV1-7.1}
  diagnoses:
    v2: DG1
    many: yes
    fields:
      code:      {v2: DG1-3.1,                        need: yes}
      text:      {v2: DG1-3.2}
      kind:      {v2: DG1-6}
  case_manager:  {v2: ZCM-2.1}
"""
LEAST = "\r".join(
    [
        "MSH|^~\\&|EPIC|MERCY|FHIRCASE|COUNTY|20261120143005-0500||ADT^A03^ADT_A03|MSG42|P|2.5.1",
        "EVN|A03|20261120143000-0500",
        "PID|1||MRN12345^^^MERCY^MR~MCD778^^^ORMED^MA||NÚÑEZ-O\\T\\BRIEN^José^Q||19560304|F|||||^PRN^PH^^^^5550100",
        (
            "PV1|1|I|4E^401^B||||1234567893^Welby||||||||||||V777^^^MERCY^VN"
            "|||||||||||||||||06|SNF1&SUNNY||MERCY|||||20261110080000-0500|20261120142500-0500"
        ),
        "DG1|1||I50.9^Heart failure^I10|||W",
    ]
).encode()


def story(name: str) -> bytes:
    return (ROOT / "fixtures" / name).read_bytes()


def rate(work: Callable[[], object]) -> float:
    """How often a second of this process's own time."""
    done, start = 0, process_time()
    while (spent := process_time() - start) < SECONDS:
        for _ in range(50):
            work()
        done += 50
    return done / spent


def bare(raw: bytes) -> list[list[list[str]]]:
    return [[field.split("^") for field in line.split("|")] for line in raw.decode().split("\r")]


@pytest.fixture(scope="module")
def maps() -> Mappings:
    return Mappings.load()


def test_a_discharge_by_a_sites_own_lines(tmp_path: Path) -> None:
    (tmp_path / "codes").mkdir()
    (tmp_path / "discharge.yaml").write_text(LINES, "utf-8")
    for name in ("v2-sex", "v2-disposition"):
        shutil.copy(ROOT / "mappings" / "codes" / f"{name}.json", tmp_path / "codes")
    discharge = Mappings.load(tmp_path).mapping("discharge")
    found = discharge.read(hl7v2.parse(LEAST))
    assert (found.doc["family"], found.doc["phone"], found.doc["to"]) == ("NÚÑEZ-O&BRIEN", "5550100", "home") and not found.problems
    pairs = []
    for _ in range(ROUNDS):
        split = rate(lambda: bare(LEAST))
        pairs.append((rate(lambda: discharge.read(hl7v2.parse(LEAST))), split))
    row = table.of_pairs("ADT, a site's 22 lines", "none", pairs, floor=FLOOR, absolute=True)
    assert row.kept, row


@pytest.mark.parametrize(
    ("what", "raw", "floor"),
    [
        ("ADT of 12 segments", DISCHARGE, None),
        ("ADT, discharge home", story("stories/discharge-to-home-with-services/01-mercy.hl7"), None),
        ("ADT, admission", story("stories/admission-discharge-to-rehab/01-mercy.hl7"), None),
        ("ADT, merge", story("stories/merge-a40/03-mercy.hl7"), None),
        ("ADT, quickstart", story("quickstart/discharge.hl7"), None),
    ],
)
def test_admissions_read(maps: Mappings, what: str, raw: bytes, floor: float | None) -> None:
    adt = maps.mapping("adt")
    authorities = Authorities("mercy", {"MERCY": "urn:oid:2.16.840.1.113883.19.5"}, "MERCY")

    def read() -> object:
        return adt.read(hl7v2.parse(raw), zone="America/New_York", authorities=authorities)

    found = adt.read(hl7v2.parse(raw), zone="America/New_York", authorities=authorities)
    assert found.doc["client"]["identifiers"] and not found.problems, "it is read whole"
    pairs = []
    for _ in range(ROUNDS):
        split = rate(lambda: bare(raw))
        pairs.append((rate(read), split))
    row = table.of_pairs(what, "none", pairs, floor=floor, absolute=True)
    assert row.kept, row
