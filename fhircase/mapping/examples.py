"""Examples of mapping files, run: out, checked, back again, and both lens laws."""

from __future__ import annotations

from typing import Any

from fhircase import hl7v2
from fhircase.fhir import checks
from fhircase.mapping.mapping import Mapping


def run(mapping: Mapping, example: Any) -> list[str]:
    """What is wrong with one example; nothing when all is well."""
    if mapping.v2 is not None:
        return _message(mapping, example)
    wrong = []
    case = example.case
    made = mapping.out(case)
    wrong += [f"out: {one.path}: {one.what}" for one in made.problems]
    wrong += [f"check: {one.path}: {one.what}" for one in checks.check(made.resource) if one.severity == "error"]
    if example.fhir is not None and example.fhir != made.resource:
        wrong.append(f"out: differs from the file: {_differ(example.fhir, made.resource)}")
    back = mapping.into(made.resource)
    wrong += [f"into: {one.path}: {one.what}" for one in back.problems]
    if back.doc != case:
        wrong.append(f"into: not the same case: {_differ(case, back.doc)}")
    same = mapping.out(back.doc, onto=made.resource)
    if same.resource != made.resource:
        wrong.append(f"GetPut: writing what was read changed {_differ(made.resource, same.resource)}")
    empty = mapping.out({}, onto=made.resource).resource
    again = mapping.into(mapping.out(case, onto=empty).resource)
    if again.doc != case:
        wrong.append(f"PutGet: reading what was written gave another {_differ(case, again.doc)}")
    return wrong


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
