"""The strict checks refuse every mutant that the R4 definitions yield, and no valid resource that others published."""

from __future__ import annotations

import json
import re
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fhirpathpy
import pytest
from fhirpathpy.models import models

from fhircase.fhir import checks, definitions

from . import mutants, published

PREFIX = "http://hl7.org/fhir/StructureDefinition/"
PATH = re.compile(r"[A-Z][A-Za-z]+(\.[a-z][A-Za-z0-9]*(\[\d+\])?)*")


# ------------------------------------------------------------------------------------------------ mutants


def test_every_host_of_a_mutant_is_valid() -> None:
    refused = [(type_, problem.path, problem.what) for type_, host in mutants.hosts() for problem in checks.check(host)]
    assert refused == []


def test_every_mutant_is_refused_at_its_place() -> None:
    counts, refused, missed = Counter[str](), Counter[str](), []
    for mutant in mutants.mutants():
        counts[mutant.kind] += 1
        problems = checks.check(mutant.resource)
        named = [p for p in problems if p.path.startswith(mutant.path)]
        if mutant.key:
            named = [p for p in named if f"({mutant.key})" in p.what.replace("(txt-1)", "(txt-1)(txt-2)")]
        if not named or not all(PATH.fullmatch(p.path) for p in problems):
            missed.append((mutant.kind, mutant.type, mutant.path, mutant.key, [(p.path, p.what) for p in problems]))
        else:
            refused[mutant.kind] += 1
    print(f"\n{len(mutants.TYPES)} resource types, {len(mutants.DATA_TYPES) + 2} data types, {sum(counts.values())} mutants")
    for kind, count in sorted(counts.items()):
        print(f"{kind:28} {count:6} refused {refused[kind]:6} missed {count - refused[kind]}")
    assert missed == []
    assert set(counts) == {
        "required element removed", "single as list", "list as single", "list emptied", "empty value",
        "required binding", "reference target", "reference target by type", "invariant",
    }  # fmt: skip


@pytest.fixture(scope="module")
def structures(samples: Path) -> dict[str, Any]:
    """The StructureDefinitions of R4's types, by type; SimpleQuantity too."""
    found = {}
    with tarfile.open(samples / "packages" / "hl7.fhir.r4.core-4.0.1.tgz") as archive:
        for member in archive:
            if member.name.startswith("package/StructureDefinition-"):
                stream = archive.extractfile(member)
                assert stream is not None
                definition = json.load(stream)
                if definition.get("derivation") != "constraint" or definition["name"] == "SimpleQuantity":
                    found[definition["name"]] = definition
    return found


def _elements(structures: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in (*mutants.TYPES, *mutants.DATA_TYPES, "Extension", "Narrative", "SimpleQuantity"):
        yield from structures[name]["snapshot"]["element"]


def test_the_mutants_cover_what_the_structure_definitions_say(structures: dict[str, Any]) -> None:
    types = (*mutants.TYPES, *mutants.DATA_TYPES, "Extension", "Narrative")
    made = {(place.group, place.row.name): place.row for type_ in types for place in mutants.places(type_)}
    bound = 0
    for element in _elements(structures):
        group, _, name = element["path"].rpartition(".")
        if not group or element in structures["SimpleQuantity"]["snapshot"]["element"]:
            continue
        row = made[group, name]
        assert (row.min, str(row.max or "*")) == (element["min"], element["max"]), element["path"]
        binding = element.get("binding", {})
        if binding.get("strength") == "required":
            bound += 1
            assert row.form or row.codes == binding["valueSet"].partition("|")[0], element["path"]
        types = element.get("type", ())
        targets = {p.removeprefix(PREFIX) for t in types if t["code"] == "Reference" for p in t.get("targetProfile", ())}
        assert set(row.targets) == (targets if "Resource" not in targets else set()), element["path"]
        if any(PREFIX + "SimpleQuantity" in t.get("profile", ()) for t in types):
            assert row.simple, element["path"]
    assert bound > 100


def _constraints(structures: dict[str, Any]) -> dict[str, str]:
    """Every invariant of level error: key -> FHIRPath."""
    return {c["key"]: c["expression"] for e in _elements(structures) for c in e.get("constraint", ()) if c["severity"] == "error"}


def test_every_error_level_invariant_has_a_mutant(structures: dict[str, Any]) -> None:
    broken = {m.key for m in mutants.mutants() if m.key}
    assert set(_constraints(structures)) == broken == set(mutants.BREAKS) | mutants.BY_ELEMENT


# fhirpathpy has no resolve() and no order of quantities; tests/live/test_validator.py asks HL7's engine of these.
NOT_EVALUATED = {"ctm-1", "rng-2"}
# The object that the constraint stands on is another than the one that the mutant changes: its type and place.
STANDS: dict[str, tuple[str, tuple[str | int, ...]]] = {
    "mrp-2": ("MeasureReport", ()),
    "org-2": ("Address", ("address", 0)),
    "org-3": ("ContactPoint", ("telecom", 0)),
    "ras-1": ("Range", ("prediction", 0, "probabilityRange")),
}


@pytest.mark.parametrize("key", sorted(set(mutants.BREAKS) - NOT_EVALUATED))
def test_the_mutant_breaks_the_published_expression_and_its_host_does_not(key: str, structures: dict[str, Any]) -> None:
    # Of a value that is there without extensions, hasValue() says what exists() says.
    expression = _constraints(structures)[key].replace(".hasValue()", ".exists()")
    for row in mutants.BREAKS[key]:
        at = mutants.context(row.context)
        host = at._replace(resource=at.having(row.good))
        mutant = host.having(row.bad)
        base, steps = STANDS.get(key, (row.context, at.parent))
        assert _holds(expression, base, host.resource, steps), row
        if any("_" in name for name in row.bad):
            continue
        assert not _holds(expression, base, mutant, steps), row


def _holds(expression: str, base: str, resource: dict[str, Any], steps: tuple[str | int, ...]) -> bool:
    node: Any = resource
    for step in steps:
        node = node[step]
    variables = {"resource": resource, "rootResource": resource, "ucum": mutants.UCUM}
    path: Any = {"base": base, "expression": expression} if steps else expression
    result = fhirpathpy.evaluate(node, path, variables, models["r4"])
    assert result in ([True], [False], []), result
    return result == [True]  # what comes out empty does not hold


def test_a_host_is_checked_in_a_tenth_of_a_millisecond_at_most() -> None:
    hosts = [host for _, host in mutants.hosts()]
    for host in hosts:
        checks.check(host)
    start = time.process_time()
    for host in hosts:
        checks.check(host)
    each = (time.process_time() - start) / len(hosts) * 1000
    print(f"\n{each:.4f} ms a resource")
    assert each < 0.1, "nine times what it needs"


# ------------------------------------------------------------------------------------------------ valid resources


def test_no_published_resource_is_refused_but_those_known_to_be_wrong(samples: Path) -> None:
    seen, refused = 0, set()
    for name, resource in published.documents(samples):
        if published.REPORTS not in name:
            seen += 1
            if checks.check(resource):
                refused.add(name)
    print(f"\n{seen} distinct resources, {len(refused)} refused")
    assert refused == set(published.REFUSED) | set(published.OURS_ALONE)


def test_the_tables_of_forms_hold_for_what_they_are_for() -> None:
    attachment = {"resourceType": "DocumentReference", "status": "current", "content": [{"attachment": {"contentType": "pdf"}}]}
    assert [p.path for p in checks.check(attachment)] == ["DocumentReference.content[0].attachment.contentType"]
    for good in ("text/plain", "application/fhir+json", "text/plain; charset=utf-8", "text/html;charset=UTF-8", "image/*"):
        attachment["content"][0]["attachment"]["contentType"] = good  # type: ignore[index]
        assert checks.check(attachment) == []
    assert definitions.elements("Money")["currency"].form == "currency"
    assert definitions.elements("CapabilityStatement")["format"].form == "", "json and xml stand there too"
