"""Code tables: complete against the required bindings of R4, true to the packages, unambiguous on the way back."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from fhircase.mapping import Mapping, Mappings
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
                unverified = target.get("comment", "").startswith("unverified")
                assert target["code"] in systems[group["target"]] or unverified, (file.stem, target)


# ------------------------------------------------------------------------------------------------ systems, codes and displays


@dataclass(frozen=True)
class Held:
    """What the packages hold. ``displays``: system → code → every display that a code system or a value set gives it;
    ``whole``: systems that are written out; ``sets``: value set → its (system, codes or None for all); ``bindings``: element →
    the value set that is required of it."""

    displays: dict[str, dict[str, set[str]]]
    whole: set[str]
    sets: dict[str, list[tuple[str, tuple[str, ...] | None]]]
    bindings: dict[str, str]

    def expanded(self, url: str) -> set[tuple[str, str]]:
        return {
            (system, code)
            for system, codes in self.sets.get(url, ())
            for code in (codes if codes is not None else self.displays.get(system, {}))
        }


@lru_cache(maxsize=1)
def held(folder: Path) -> Held:
    made = Held({}, set(), {}, {})

    def note(system: str, concepts: Any) -> None:
        for concept in concepts:
            displays = made.displays.setdefault(system, {}).setdefault(concept["code"], set())
            displays.update(one for one in (concept.get("display"), *(d["value"] for d in concept.get("designation", ()))) if one)
            note(system, concept.get("concept", ()))

    def told(value: Any) -> None:
        """Codings of the systems that no package writes out, wherever HL7 uses one."""
        for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            told(one)
        if isinstance(value, dict) and value.get("system") in OPEN and isinstance(value.get("code"), str):
            note(value["system"], [value])

    for package in sorted((folder / "packages").glob("*.tgz")):
        with tarfile.open(package) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.name.endswith(".json") else None
                text = stream.read() if stream is not None else b"{}"
                kind = member.name.rpartition("/")[2].partition("-")[0]
                if kind not in ("CodeSystem", "ValueSet", "StructureDefinition") and b"http://snomed" not in text:
                    if b"http://loinc" not in text:
                        continue
                one = json.loads(text)
                if not isinstance(one, dict):
                    continue
                told(one)
                if one.get("resourceType") == "CodeSystem":
                    note(one["url"], one.get("concept", ()))
                    if one.get("content") == "complete":
                        made.whole.add(one["url"])
                elif one.get("resourceType") == "ValueSet":
                    parts = [part for part in one.get("compose", {}).get("include", ()) if "system" in part and "filter" not in part]
                    for part in parts:
                        note(part["system"], part.get("concept", ()))
                    codes = [(p["system"], tuple(c["code"] for c in p["concept"]) if "concept" in p else None) for p in parts]
                    made.sets.setdefault(one["url"], codes)
                elif one.get("resourceType") == "StructureDefinition" and "r4.core" in package.name:
                    for element in one.get("snapshot", {}).get("element", ()) if one.get("derivation") == "specialization" else ():
                        if element.get("binding", {}).get("strength") == "required":
                            made.bindings[element["path"]] = element["binding"].get("valueSet", "").partition("|")[0]
    return made


# Systems of others that no package writes out: NUBC is licensed, US Core and SDOH name the temporary ones.
UNSEEN = {"https://www.nubc.org/CodeSystem/PatDischargeStatus"}


def fault(known: Held, system: str, code: str, display: str, comment: str = "") -> str | None:
    """What is wrong with a coding of somebody else's system; None when it is as the packages have it, or says ``unverified``."""
    if system.startswith(OWN) or system == "" or comment.startswith("unverified"):
        return None
    displays = known.displays.get(system, {})
    if code in displays:
        words = displays[code]
        if display and words and display.casefold() not in {one.strip().casefold() for one in words}:
            return f"{system}#{code} is {sorted(words)}, not '{display}'"
        return None
    if system in UNSEEN or (system in OPEN and system.startswith("urn:")):
        return None
    return f"{system}#{code} is in no package: mend it, or begin its comment with 'unverified'"


@pytest.mark.parametrize("file", TABLES, ids=lambda file: file.stem)
def test_every_code_has_the_display_that_its_system_gives_it(file: Path, samples: Path) -> None:
    found = [
        fault(held(samples), group["target"], target["code"], target.get("display", ""), target.get("comment", ""))
        for group in json.loads(file.read_text())["group"]
        if "target" in group
        for element in group["element"]
        for target in element["target"]
        if "code" in target
    ]
    assert [one for one in found if one] == []


def test_a_wrong_code_a_wrong_display_and_an_unchecked_code_are_told(samples: Path) -> None:
    known, system = held(samples), "http://terminology.hl7.org/CodeSystem/goal-achievement"
    assert fault(known, system, "achieved", "Achieved") is None
    assert "is in no package" in str(fault(known, system, "acheived", "Achieved"))
    assert "not 'Reached'" in str(fault(known, system, "achieved", "Reached"))
    assert "is in no package" in str(fault(known, "http://snomed.info/sct", "1", "Something"))
    assert fault(known, "http://snomed.info/sct", "1", "Something", "unverified: no package holds it") is None


def fixed(mapping: Mapping) -> Iterator[tuple[str, str, str]]:
    """(path, system, code) of every code that a mapping file fixes itself, not by a table; the system is '' where the element is
    a code, whose codes are the element's."""
    given = {path.text: value for path, value in mapping.always}
    for path, value in mapping.always:
        if path.type == "code":
            assert not path.element.codes or value in path.element.codes, (mapping.name, path.text, value)
            yield path.text, str(given.get(path.text.removesuffix("code") + "system", "")), str(value)

    def below(lines: tuple[Line, ...]) -> Iterator[tuple[str, str, str]]:
        for line in lines:
            for path in (*line.paths, *line.alsoread):
                for members in (dict(hop.fixed) for hop in path.hops):
                    if "code" in members:
                        yield path.text, members.get("system", ""), members["code"]
            yield from below(line.fields or ())

    yield from below(mapping.lines)


def test_every_code_that_a_mapping_fixes_is_one_of_its_systems(maps: Mappings, samples: Path) -> None:
    found, seen = [], 0
    for name in maps.names():
        for path, system, code in fixed(maps.mapping(name)) if maps.mapping(name).fhir else ():
            seen += 1
            if wrong := fault(held(samples), system, code, "", UNVERIFIED.get((system, code), "")):
                found.append(f"{name} {path}: {wrong}")
    assert seen and found == []


# Codings that a mapping file fixes and the packages do not hold: (system, code) → unverified, and what it is.
UNVERIFIED: dict[tuple[str, str], str] = {}


def test_every_system_that_a_mapping_names_is_one_that_the_packages_know(maps: Mappings, samples: Path) -> None:
    known = {*held(samples).displays, *held(samples).whole, *OPEN, *UNSEEN, *EXTERNAL}
    strange = set()

    def below(name: str, lines: tuple[Line, ...]) -> None:
        for line in lines:
            for path in (*line.paths, *line.alsoread):
                for hop in path.hops:
                    system = dict(hop.fixed).get("system", "")
                    if system and not system.startswith("urn:fhircase:") and system not in known:
                        strange.add(f"{name} {path.text}")
            below(name, line.fields or ())

    for name in maps.names():
        below(name, maps.mapping(name).lines)
    assert strange == set()


# Code and identifier systems of others that are not FHIR's to write out.
EXTERNAL = {
    "http://hl7.org/fhir/sid/icd-10-cm", "http://hl7.org/fhir/sid/us-npi", "http://hl7.org/fhir/sid/us-ssn", "http://unitsofmeasure.org",
    "http://www.nlm.nih.gov/research/umls/rxnorm", "http://www.ama-assn.org/go/cpt", "urn:ietf:rfc:3986",
}  # fmt: skip


def test_every_default_is_a_word_that_its_line_can_write(maps: Mappings) -> None:
    def below(name: str, lines: tuple[Line, ...]) -> Iterator[tuple[str, Line]]:
        for line in lines:
            if line.default is not None and line.kind == "code":
                yield name, line
            yield from below(name, line.fields or ())

    for name in maps.names():
        for _, line in below(name, maps.mapping(name).lines) if maps.mapping(name).fhir else ():
            assert all(coder.write(line.default)[1] for coder in line.coders[: len(line.paths)]), (name, line.name, line.default)


def test_every_code_of_a_value_set_that_is_required_can_be_read(maps: Mappings, samples: Path) -> None:
    known, seen = held(samples), set()
    for name in maps.names():
        for line in coded(maps.mapping(name).lines if maps.mapping(name).fhir else ()):
            for path, coder in zip(line.paths, line.coders):
                for system, code in known.expanded(known.bindings.get(path.element.path, "")):
                    element = code if path.type == "code" else {"system": system, "code": code}
                    element = {"coding": [element]} if path.type == "CodeableConcept" else element
                    word, read = coder.read(element)
                    assert read and word, (name, line.name, system, code)
                    seen.add(path.element.path)
    assert {"Condition.clinicalStatus", "Condition.verificationStatus", "Goal.lifecycleStatus", "Task.status"} <= seen


@pytest.mark.parametrize(
    ("field", "system"),
    [("lifecycle", "http://hl7.org/fhir/goal-status"), ("achievement", "http://terminology.hl7.org/CodeSystem/goal-achievement")],
)
def test_both_axes_of_a_goals_status_are_whole_and_come_back(field: str, system: str, maps: Mappings, samples: Path) -> None:
    goal = maps.mapping("goal")
    codes = held(samples).displays[system]
    assert len(codes) == 9
    for code in codes:
        path = goal.element(field)
        element: Any = code if field == "lifecycle" else {"coding": [{"system": system, "code": code}]}
        doc = goal.into({"resourceType": "Goal", path: element}).doc
        made = goal.out({"title": "t", "lifecycle": "active", "client": "Patient/c", field: doc[field]}).resource[path]
        assert made == code or made["coding"][0]["code"] == code


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
