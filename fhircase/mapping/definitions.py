"""What the tables of a release (``fhircase.fhir.definitions``) say of one element, as mapping lines need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fhircase.fhir import definitions as tables
from fhircase.fhir.definitions import Release

RELEASES: tuple[Release, ...] = ("R4", "R5")

PRIMITIVE = {
    "base64Binary": "text", "boolean": "boolean", "canonical": "text", "code": "text", "date": "date", "dateTime": "dateTime",
    "decimal": "number", "id": "text", "instant": "instant", "integer": "integer", "markdown": "text", "oid": "text",
    "positiveInt": "integer", "string": "text", "time": "text", "unsignedInt": "integer", "uri": "text", "url": "text",
    "uuid": "text", "xhtml": "text",
}  # fmt: skip
"""FHIR primitive → how a case document holds it."""


@dataclass(frozen=True, slots=True)
class Element:
    """``types`` as FHIR names them (a backbone element has its path, ``Goal.target``); ``many``: a list; ``targets`` what a
    Reference may point to (empty: anything); ``binding``: system → codes of a required binding (system ``''``: not known)."""

    path: str
    types: tuple[str, ...]
    needed: bool
    many: bool
    targets: tuple[str, ...]
    binding: Mapping[str, frozenset[str]] | None
    choice: bool = False

    @property
    def codes(self) -> list[str]:
        return sorted(code for codes in (self.binding or {}).values() for code in codes)


def is_resource(name: str, release: Release = "R4") -> bool:
    return tables.is_resource(name, release)


def resources(release: Release = "R4") -> list[str]:
    return sorted(tables.resource_types(release))


@lru_cache(maxsize=2048)
def children(type_: str, release: Release = "R4") -> Mapping[str, Element]:
    """The elements of a type by name; a choice under its name without ``[x]``. Empty for an unknown type."""
    if not tables.is_known(type_, release):
        return {}
    made = {}
    for name, row in tables.elements(type_, release).items():
        plain = name.removesuffix("[x]")
        binding = tables.codes(row.codes) if row.codes else {"": frozenset(row.listed)} if row.listed else None
        made[plain] = Element(f"{type_}.{plain}", row.types, row.min > 0, row.max != 1, row.targets, binding, name.endswith("[x]"))
    return made


def is_choice(type_: str, name: str, release: Release = "R4") -> bool:
    found = children(type_, release).get(name)
    return found is not None and found.choice


def choice_key(name: str, type_: str) -> str:
    """``due`` and ``date``: ``dueDate``."""
    return name + type_[0].upper() + type_[1:]
