"""What the R4 tables (``fhircase.fhir.definitions``) say of one element, as mapping lines need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fhircase.fhir import definitions as r4

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
    Reference may point to (empty: anything); ``binding``: system → codes of a required binding."""

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


def is_resource(name: str) -> bool:
    return r4.is_resource(name)


def resources() -> list[str]:
    return sorted(r4.resource_types())


@lru_cache(maxsize=1024)
def children(type_: str) -> Mapping[str, Element]:
    """The elements of a type by name; a choice under its name without ``[x]``. Empty for an unknown type."""
    if not r4.is_known(type_):
        return {}
    made = {}
    for name, row in r4.elements(type_).items():
        plain = name.removesuffix("[x]")
        binding = r4.codes(row.codes) if row.codes else None
        made[plain] = Element(f"{type_}.{plain}", row.types, row.min > 0, row.max != 1, row.targets, binding, name.endswith("[x]"))
    return made


@lru_cache(maxsize=1024)
def _choices(type_: str) -> frozenset[str]:
    return frozenset(name[:-3] for name in r4.elements(type_) if name.endswith("[x]")) if r4.is_known(type_) else frozenset()


def is_choice(type_: str, name: str) -> bool:
    return name in _choices(type_)


def choice_key(name: str, type_: str) -> str:
    """``due`` and ``date``: ``dueDate``."""
    return name + type_[0].upper() + type_[1:]
