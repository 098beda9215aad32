"""Code tables: complete against the required bindings of R4, true to the packages, unambiguous on the way back."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from fhircase.mapping import Mappings
from fhircase.mapping.lines import Line

ROOT = Path(__file__).resolve().parents[3]
TABLES = sorted((ROOT / "mappings" / "codes").glob("*.json"))
OWN = "urn:fhircase:codes:"
# Systems that no package writes out whole, with what vouches for their codes instead.
OPEN = ("http://snomed.info/sct", "http://loinc.org", "urn:ietf:bcp:47")


def coded(lines: tuple[Line, ...]) -> Iterator[Line]:
    for line in lines:
        if line.codes is not None:
            yield line
        yield from coded(line.fields or ())


def test_every_code_of_a_required_binding_has_a_word_and_back(maps: Mappings) -> None:
    seen = set()
    for name in maps.names():
        for line in coded(maps.mapping(name).lines if maps.mapping(name).fhir else ()):
            for path, coder in zip(line.paths, line.coders):
                for code in path.element.codes if path.type == "code" else ():
                    word, known = coder.read(code)
                    assert known and word is not None, (name, line.name, code)
                    assert coder.write(word) == (code, True), (name, line.name, code)
                    seen.add(path.element.path)
    assert {
        "Goal.lifecycleStatus",
        "ServiceRequest.status",
        "CarePlan.intent",
        "CareTeam.status",
        "Task.status",
        "Encounter.status",
    } <= seen
    assert {"EpisodeOfCare.status", "Patient.gender", "DeviceRequest.intent", "Observation.status", "Identifier.use"} <= seen


@lru_cache(maxsize=1)
def packages(folder: Path) -> dict[str, set[str]]:
    """Code system → the codes that the packages hold."""
    found: dict[str, set[str]] = {}

    def walk(concepts: list[Any], into: set[str]) -> None:
        for concept in concepts:
            into.add(concept["code"])
            walk(concept.get("concept", []), into)

    for package in sorted((folder / "packages").glob("*.tgz")):
        with tarfile.open(package) as archive:
            for member in archive:
                if "CodeSystem-" not in member.name or not member.name.endswith(".json"):
                    continue
                stream = archive.extractfile(member)
                assert stream is not None
                resource = json.load(stream)
                if isinstance(resource, dict) and resource.get("resourceType") == "CodeSystem":
                    walk(resource.get("concept", []), found.setdefault(resource["url"], set()))
    return found


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_every_standard_code_stands_in_the_packages_or_says_that_it_could_not_be_checked(file: Path, samples: Path) -> None:
    systems = packages(samples)
    for group in json.loads(file.read_text())["group"]:
        for element in group["element"]:
            for target in element["target"]:
                if "code" not in target or group["target"].startswith(OWN) or group["target"] == "" or group["target"] in OPEN:
                    continue
                if not systems.get(group["target"]):
                    assert group["target"] == "https://www.nubc.org/CodeSystem/PatDischargeStatus", group["target"]
                    continue
                assert target["code"] in systems[group["target"]], (file.stem, target)


def test_snomed_codes_that_could_not_be_checked_say_so(samples: Path) -> None:
    held: set[str] = set()
    for package in sorted((samples / "packages").glob("*.tgz")):
        with tarfile.open(package) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.name.endswith(".json") else None
                if stream is not None:
                    text = stream.read().decode("utf-8", "replace")
                    if "http://snomed.info/sct" in text:
                        held.update(part.split('"')[0] for part in text.replace('": "', '":"').split('"code":"')[1:])
    for file in TABLES:
        for group in json.loads(file.read_text())["group"]:
            for element in group["element"] if group["target"] == "http://snomed.info/sct" else ():
                for target in element["target"]:
                    assert target["code"] in held or target.get("comment", "").startswith("unverified"), (file.stem, target)


def test_v2_sex_follows_the_guide(maps: Mappings) -> None:
    sex = maps.codes("v2-sex")
    assert {code: sex.forward(code) for code in "MFOANU"} == {
        "M": "male",
        "F": "female",
        "O": "other",
        "A": "other",
        "N": "other",
        "U": "unknown",
    }
    assert sex.forward("Q") is None


def test_v2_class_follows_the_guide_and_keeps_the_rest_in_its_own_system(maps: Mappings) -> None:
    visit = maps.mapping("visit")
    act, v2 = "http://terminology.hl7.org/CodeSystem/v3-ActCode", "http://terminology.hl7.org/CodeSystem/v2-0004"
    wanted = {"E": (act, "EMER"), "I": (act, "IMP"), "O": (act, "AMB"), "P": (act, "PRENC"), **{code: (v2, code) for code in "RBCNU"}}
    for code, coding in wanted.items():
        word = maps.codes("v2-class").forward(code)
        made = visit.out({"state": "finished", "class": word}).resource["class"]
        assert (made["system"], made["code"]) == coding


@pytest.mark.parametrize(
    ("nubc", "disposition", "route"),
    [
        ("01", "home", "home"), ("1", "home", "home"), ("02", "other-facility", "other-facility"), ("03", "snf", "snf"),
        ("3", "snf", "snf"),
        ("05", "other-facility", "other-facility"), ("06", "home", "home-with-services"), ("07", "against-advice", "against-advice"),
        ("20", "died", "died"), ("40", "died", "died"), ("41", "died", "died"), ("42", "died", "died"),
        ("43", "other-facility", "other-facility"),
        ("50", "hospice", "hospice"), ("51", "hospice", "hospice"), ("61", "snf", "snf"), ("62", "rehab", "rehab"),
        ("63", "long-term-care", "long-term-care"), ("65", "psychiatric", "psychiatric"), ("66", "other-facility", "other-facility"),
        ("70", "other-facility", "other-facility"), ("21", "other", "other-facility"), ("30", None, "not-discharged"),
        ("81", "home", "home"), ("83", "snf", "snf"), ("86", "home", "home-with-services"), ("90", "rehab", "rehab"),
        ("93", "psychiatric", "psychiatric"),
        ("95", "other-facility", "other-facility"), ("Ready to go", None, None), ("99", None, None),
    ],
)  # fmt: skip
def test_a_disposition_is_read_as_its_table_says(nubc: str, disposition: str | None, route: str | None, maps: Mappings) -> None:
    assert maps.codes("v2-disposition").forward(nubc) == disposition
    assert maps.codes("discharge-route").forward(nubc) == route


def test_every_planned_readmission_reads_as_its_plain_code(maps: Mappings) -> None:
    plain = dict(zip(range(81, 96), ("01", "02", "03", "04", "05", "06", "21", "43", "61", "62", "63", "64", "65", "66", "70")))
    for table in ("v2-disposition", "discharge-route"):
        codes = maps.codes(table)
        assert {str(code): codes.forward(str(code)) for code in plain} == {str(code): codes.forward(base) for code, base in plain.items()}


def test_no_template_is_for_those_who_died_or_were_not_discharged(maps: Mappings) -> None:
    for route in ("died", "not-discharged"):
        found = maps.templates("medical", route)
        assert found.goals == () and found.services == ()


def test_every_other_route_has_a_template_that_only_proposes(maps: Mappings) -> None:
    routes = {target.code for group in maps.codes("discharge-route").groups for target, _ in group.rows.values()} - {
        "died",
        "not-discharged",
    }
    for route in (*sorted(routes), None):
        found = maps.templates("medical", route)
        assert found.name.startswith("medical/") and found.goals and found.services
        assert {doc["lifecycle"] for doc in found.goals} == {"proposed"}
        assert {doc["intent"] for doc in found.services} == {"proposal"}
        assert maps.templates("no such kind", route) == found
