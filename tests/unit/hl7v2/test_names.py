"""Names of places: what the standard calls a field and its parts, and a message shown with them."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from fhircase import hl7v2
from fhircase.__main__ import main
from fhircase.hl7v2 import Place, names
from tests.conftest import ROOT

HEAD = "MSH|^~\\&|EPIC|MERCY|F|C|20261120143005-0500||ADT^A08^ADT_A01|M1|P|2.5.1\r"


def shown(*segments: str) -> dict[str, str]:
    message = hl7v2.parse((HEAD + "\r".join(segments)).encode())
    return {str(place): text for place, text in names.filled(message)}


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ("PID-5", "Patient Name"),
        ("PID-5.1", "Patient Name / Family Name"),
        ("PID-5[2].1.1", "Patient Name / Family Name / Surname"),
        ("PID-3.4.2", "Patient Identifier List / Assigning Authority / Universal ID"),
        ("PV1-36", "Discharge Disposition"),
        ("DG1[3]-3.2", "Diagnosis Code - DG1 / Text"),
        ("RF1-1", "Referral Status"),
        ("PRD-1.1", "Provider Role / Identifier"),
        ("ERR-3", "HL7 Error Code"),
    ],
)
def test_a_place_goes_by_the_standards_name(place: str, wanted: str) -> None:
    assert names.name(Place.of(place)) == wanted


@pytest.mark.parametrize("place", ["ZPI-3", "ZPI-3.1", "QQQ-1", "PID-400", "PID"])
def test_what_the_standard_does_not_name_has_no_name(place: str) -> None:
    assert names.name(Place.of(place)) == ""


def test_a_part_that_the_data_type_does_not_have_goes_by_its_field() -> None:
    assert names.name(Place.of("PID-1.3")) == "Set ID - PID"
    assert names.name(Place.of("PID-5.99")) == "Patient Name"


@pytest.mark.parametrize(
    "segment",
    "MSH EVN PID PD1 NK1 PV1 PV2 DG1 AL1 OBX ROL MRG GT1 IN1 IN2 IN3 ACC PR1 DRG UB1 UB2 SFT ERR MSA PRD RF1 CTD AUT OBR NTE ORC".split(),
)
def test_every_segment_of_admissions_and_referrals_is_named(segment: str) -> None:
    assert names.name(Place(segment, field=1))


def test_every_place_that_a_v2_mapping_reads_is_named() -> None:
    text = (ROOT / "mappings/adt.yaml").read_text("utf-8")
    places = set(re.findall(r"\b(?:MSH|EVN|PID|PD1|NK1|PV1|PV2|DG1|ROL|MRG)-\d+(?:\.\d+)*", text))
    assert len(places) > 60
    assert [place for place in sorted(places) if not names.name(Place.of(place))] == []


def test_names_are_those_of_the_guide() -> None:
    folder = Path(os.environ.get("FHIRCASE_SAMPLES", ROOT.parent / "shared" / "data")) / "samples/hl7-v2-to-fhir/mappings/segments"
    if not folder.is_dir():
        pytest.skip("the sample data is not here")

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]+", " ", text.lower().replace("&", "and").replace(" - dg1", "")).strip()

    seen, other = 0, set()
    for file in folder.glob("*.csv"):
        for row in csv.reader(file.read_text("utf-8-sig").splitlines()):
            if len(row) > 2 and re.fullmatch(r"(?!PRT)[A-Z][A-Z0-9]{2}-\d+", row[1]) and (name := names.name(Place.of(row[1]))):
                seen += 1
                if plain(name) != plain(row[2]):
                    other.add((row[1], name, row[2]))
    assert seen > 400
    assert other == set()


def test_every_filled_place_is_shown_down_to_its_parts() -> None:
    assert shown('PID|1||M1^^^X&1.2.3&ISO~M2||O\\T\\BRIEN^Jo||""', "PID|2", "ZZZ|a^b") == shown("") | {
        "PID-1": "1",
        "PID-3.1": "M1",
        "PID-3.4.1": "X",
        "PID-3.4.2": "1.2.3",
        "PID-3.4.3": "ISO",
        "PID-3[2]": "M2",
        "PID-5.1": "O&BRIEN",
        "PID-5.2": "Jo",
        "PID-7": '""',
        "PID[2]-1": "2",
        "ZZZ-1.1": "a",
        "ZZZ-1.2": "b",
    }


def test_the_header_is_shown_with_its_delimiters_undivided() -> None:
    found = shown("")
    assert (found["MSH-1"], found["MSH-2"], found["MSH-9.2"]) == ("|", "^~\\&", "A08")


def test_show_prints_number_name_and_text(tmp_path: Path) -> None:
    file = tmp_path / "msg.hl7"
    file.write_bytes((HEAD + "PID|1||M1||NÚÑEZ^Ana\rZPI|x").encode())
    printed = CliRunner().invoke(main, ["v2", "show", str(file)])
    assert printed.exit_code == 0
    lines = [re.split(r"\s{2,}", line) for line in printed.output.splitlines()]
    assert ["PID-5.1", "Patient Name / Family Name", "NÚÑEZ"] in lines
    assert ["MSH-9.2", "Message Type / Trigger Event", "A08"] in lines
    assert ["ZPI-1", "x"] in lines
