"""Admission messages a second of one core's own time: parsed, and read whole through mappings/adt.yaml; against a bare split of the
same bytes into fields and components."""

from __future__ import annotations

from collections.abc import Callable
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


@pytest.mark.parametrize(
    ("what", "raw", "floor"),
    [
        ("ADT of 12 segments", DISCHARGE, FLOOR),
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
