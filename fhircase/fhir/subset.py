"""``_summary`` and ``_elements``: a part of a resource, marked SUBSETTED (http://hl7.org/fhir/R4/search.html#summary)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhircase.fhir import definitions

Resource = dict[str, Any]

_SUBSETTED = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "SUBSETTED",
    "display": "Resource encoded in summary mode",
}
_ALWAYS = frozenset(("resourceType", "id", "meta", "implicitRules"))


def subset(resource: Resource, *, summary: str = "", elements: Sequence[str] = ()) -> Resource:
    """A shallow copy with what was asked for. ``summary`` true: the summary elements of the type; text: narrative and what
    the type requires; data: all but narrative. ``elements``: names at the top (of a path, its first step), and what the
    type requires. id, meta, implicitRules and modifiers stay. Without either the resource itself."""
    type_ = str(resource.get("resourceType"))
    if summary not in ("true", "text", "data") and not elements or not definitions.is_resource(type_):
        return resource
    table = definitions.elements(type_)
    required = {name for name, row in table.items() if row.min}
    if elements:
        wanted = required | {element.partition(".")[0] for element in elements}
    elif summary == "text":
        wanted = required | {"text"}
    elif summary == "true":
        wanted = {name for name, row in table.items() if row.summary}
    else:
        wanted = set(table) - {"text"}
    wanted |= {"modifierExtension"}
    members = {m for name in wanted for m in _members(name, table)}
    made = {name: value for name, value in resource.items() if name in _ALWAYS or name.lstrip("_") in members}
    meta = made.get("meta")
    meta = dict(meta) if isinstance(meta, dict) else {}
    meta["tag"] = [*(meta["tag"] if isinstance(meta.get("tag"), list) else ()), _SUBSETTED]
    made["meta"] = meta
    return made


def _members(name: str, table: Any) -> Sequence[str]:
    row = table.get(name) or table.get(f"{name}[x]")
    if row is None or not row.name.endswith("[x]"):
        return (name,)
    base = row.name.removesuffix("[x]")
    return [base + type_[0].upper() + type_[1:] for type_ in row.types]
