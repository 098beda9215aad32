"""HL7's R4 definitions (4.0.1) as tables: what elements a type has, which codes a required binding allows, which search
parameters a resource type has. The tables beside this file are written by ``.ci/generate_definitions.py``; each is read
once, when first asked for, and safely from several threads. Of R5 (5.0.0) there are the elements alone, for the mappings'
R5 paths (``.ci/generate_r5.py``)."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources as _files
from types import MappingProxyType
from typing import Any, Literal

Release = Literal["R4", "R5"]
SearchKind = Literal["token", "string", "date", "reference", "quantity", "number", "uri"]

_lock = threading.RLock()
_loaded: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Element:
    """One row of a type. ``name`` as in the definition (``due[x]``); ``min`` and ``max`` how often (``max`` 0: any number);
    ``types`` the types it may have (``Goal.target`` for a backbone); ``targets`` the resource types that a Reference may
    point at (() any); ``codes`` the value set of a required binding that ``codes()`` knows, or ''; ``summary`` whether
    it is part of a summary; ``listed`` the codes of a required binding where the table (R5's) names no value set;
    ``form`` of a code whose required value set is a whole standard outside of FHIR: ``mimetype``, ``currency`` or '';
    ``simple`` whether a Quantity there is a SimpleQuantity."""

    name: str
    min: int
    max: int
    types: tuple[str, ...]
    targets: tuple[str, ...] = ()
    codes: str = ""
    summary: bool = False
    listed: tuple[str, ...] = ()
    form: str = ""
    simple: bool = False


@dataclass(frozen=True, slots=True)
class SearchParameter:
    """``places`` where its values stand: ``target.dueDate:date`` is the steps in the JSON, then the type found there.
    A step may end in ``[name=value]`` (only where that child is so) or ``[0]`` (the first entry); ``>Patient`` after the
    type keeps only references to a Patient; the type ``exists`` means: true if there is one.
    ``targets`` resource types of a reference (() any)."""

    name: str
    kind: SearchKind
    places: tuple[str, ...]
    targets: tuple[str, ...] = ()


def is_known(type: str, release: Release = "R4") -> bool:
    """Whether a release has a type of that name: resource, data type, primitive, abstract or backbone (``Goal.target``)."""
    return type in _types(release)


def is_resource(type: str, release: Release = "R4") -> bool:
    """Whether a resource can have that resourceType."""
    found = _types(release).get(type)
    return found is not None and found["kind"] == "resource"


def is_primitive(type: str) -> bool:
    found = _types().get(type)
    return found is not None and found["kind"] == "primitive"


def resource_types(release: Release = "R4") -> frozenset[str]:
    """All 146 of R4, or those of R5."""
    return frozenset(name for name, row in _types(release).items() if row["kind"] == "resource")


@cache
def elements(type: str, release: Release = "R4") -> Mapping[str, Element]:
    """The elements of a type, inherited ones included, by name as defined (``due[x]``). Raises KeyError."""
    made = {
        name: Element(
            name,
            row["min"],
            row["max"],
            tuple(row["types"]),
            tuple(row.get("targets", ())),
            row.get("codes", ""),
            row.get("summary", False),
            tuple(row.get("listed", ())),
            form=row.get("form", ""),
            simple=row.get("simple", False),
        )
        for name, row in _types(release)[type].get("elements", {}).items()
    }
    return MappingProxyType(made)


@cache
def codes(value_set: str) -> Mapping[str, frozenset[str]]:
    """A required value set written out: system -> codes. Raises KeyError for one that is not in the table."""
    return MappingProxyType({system: frozenset(found) for system, found in _table("codes")[value_set].items()})


def extension_types(url: str) -> frozenset[str] | None:
    """The types that value[x] of one of HL7's own extensions may have; empty when it has parts instead; None if unknown."""
    found = _table("types")["extensions"].get(url)
    return None if found is None else frozenset(found)


def search_parameters(type: str) -> Mapping[str, SearchParameter]:
    """By name; those of every resource (``_tag`` …) included. Empty for what is no resource type."""
    return {
        name: SearchParameter(name, row[0], tuple(row[1]), tuple(row[2]) if len(row) > 2 else ())
        for name, row in _table("search")["parameters"].get(type, {}).items()
    }


def patient_parameters(type: str) -> tuple[str, ...]:
    """The search parameters that put a resource into a Patient's compartment (CompartmentDefinition patient)."""
    return tuple(_table("search")["patient"].get(type, ()))


def _types(release: Release = "R4") -> dict[str, Any]:
    found: dict[str, Any] = _table("types" if release == "R4" else "types-r5")["types"]
    return found


def _table(name: str) -> Any:
    found = _loaded.get(name)
    if found is None:
        with _lock:
            found = _loaded.get(name)
            if found is None:
                packed = _files.files(__name__).joinpath(f"{name}.json.gz").read_bytes()
                found = _loaded[name] = json.loads(gzip.decompress(packed))
    return found
