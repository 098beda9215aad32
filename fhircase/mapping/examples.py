"""Examples of mapping files, run in every release that the file serves: out, checked, back again, and both lens laws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhircase import hl7v2
from fhircase.fhir import checks, models
from fhircase.fhir.definitions import Release
from fhircase.mapping.mapping import Mapping


def run(mapping: Mapping, example: Any) -> list[str]:
    """What is wrong with one example; nothing when all is well."""
    if mapping.v2 is not None:
        return _message(mapping, example)
    return [one for release in mapping.releases for one in _resource(mapping, example, release)]


def _resource(mapping: Mapping, example: Any, release: Release) -> list[str]:
    made = mapping.out(example.case, release=release)
    homeless = [one.path for one in made.problems if one.code == "not-supported"]
    case = without(example.case, homeless)
    wrong = [f"out: {one.path}: {one.what}" for one in made.problems if one.code != "not-supported"]
    found = checks.check(made.resource) if release == "R4" else models.second_opinion(made.resource, release)
    wrong += [f"check: {one.path}: {one.what}" for one in found if one.severity == "error"]
    if example.fhir is not None and release == "R4" and example.fhir != made.resource:
        wrong.append(f"out: differs from the file: {_differ(example.fhir, made.resource)}")
    back = mapping.into(made.resource, release=release)
    wrong += [f"into: {one.path}: {one.what}" for one in back.problems]
    if back.doc != case:
        wrong.append(f"into: not the same case: {_differ(case, back.doc)}")
    same = mapping.out(back.doc, onto=made.resource, release=release)
    if same.resource != made.resource:
        wrong.append(f"GetPut: writing what was read changed {_differ(made.resource, same.resource)}")
    empty = mapping.out({}, onto=made.resource, release=release).resource
    again = mapping.into(mapping.out(case, onto=empty, release=release).resource, release=release)
    if again.doc != case:
        wrong.append(f"PutGet: reading what was written gave another {_differ(case, again.doc)}")
    return wrong if release == "R4" else [f"{release}: {one}" for one in wrong]


def without(value: Any, fields: Sequence[str]) -> Any:
    """A case document without the fields named (``notes[0].by``), nor what that leaves empty: what a release without a place
    for them carries of it."""
    if not fields:
        return value

    def kept(one: Any, path: str) -> Any:
        if path in fields:
            return None
        if type(one) is dict:
            parts = {key: left for key, held in one.items() if (left := kept(held, f"{path}.{key}".lstrip("."))) is not None}
            return parts or None
        if type(one) is list:
            return [left for at, held in enumerate(one) if (left := kept(held, f"{path}[{at}]")) is not None] or None
        return one

    return kept(value, "") or {}


def _message(mapping: Mapping, example: Any) -> list[str]:
    if example.v2 is None:
        return ["a v2 mapping's example has 'v2', the message"]
    read = mapping.read(hl7v2.parse(example.v2.encode()))
    return [] if read.doc == example.case else [f"read: not the same case: {_differ(example.case, read.doc)}"]


def _differ(wanted: Any, got: Any, path: str = "") -> str:
    """The first place where two values differ."""
    if type(wanted) is dict and type(got) is dict:
        for key in [*wanted, *(key for key in got if key not in wanted)]:
            if key not in got or key not in wanted:
                return f"{path}.{key}".lstrip(".") + (" (missing)" if key not in got else " (not wanted)")
            if wanted[key] != got[key]:
                return _differ(wanted[key], got[key], f"{path}.{key}")
    if type(wanted) is list and type(got) is list:
        for at, (one, other) in enumerate(zip(wanted, got)):
            if one != other:
                return _differ(one, other, f"{path}[{at}]")
        return f"{path} ({len(wanted)} and {len(got)} entries)".lstrip(".")
    return path.lstrip(".")
