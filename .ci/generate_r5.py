"""Write fhircase/fhir/definitions/types-r5.json.gz from the R5 models of fhir.resources.

    python .ci/generate_r5.py

The table says which elements an R5 type has, for the mappings' R5 paths; its rows are like those of types.json.gz. The models
know no value sets: a row's codes are listed in place, and only where the list is whole (the models cut long ones
short with a '+'). The table is committed; same models, same bytes."""

from __future__ import annotations

import gzip
import importlib
import json
import pkgutil
import re
from pathlib import Path
from typing import Any

import fhir.resources
from fhir.resources import get_fhir_model_class

TARGET = Path(__file__).resolve().parent.parent / "fhircase/fhir/definitions/types-r5.json.gz"
Json = dict[str, Any]
ABSTRACT = ("Element", "BackboneElement", "BackboneType", "DataType", "PrimitiveType", "Base", "Resource", "DomainResource")
PLAIN = {"bool": "boolean", "int": "integer", "EncodedBytes": "base64Binary", "UuidVersion": "uuid", "str": "url"}


def models() -> dict[str, Any]:
    """Every R5 model by its name; a backbone's is its type's and its own name (``GoalTarget``)."""
    made = {}
    for module in pkgutil.iter_modules(fhir.resources.__path__):
        if not module.ispkg and not module.name.startswith(("fhir", "core")):
            for value in vars(importlib.import_module(f"fhir.resources.{module.name}")).values():
                if isinstance(value, type) and hasattr(value, "get_resource_type") and value.__module__.endswith("." + module.name):
                    made[value.get_resource_type()] = value
    return made


def type_of(annotation: str) -> str:
    """``typing.Optional[typing.List[abc.GoalTargetType]]`` → ``GoalTarget``; a primitive's marker → its FHIR name."""
    if found := re.search(r"(?:abc\.)?(\w+)Type\b", annotation):
        return found[1]
    found = re.search(r"Annotated\[[^,]+, (?:<fhir_core\.types\.)?(\w+)", annotation) or re.search(r"\b(bool|int)\b", annotation)
    assert found is not None, annotation
    name = found[1]
    return PLAIN.get(name, name[0].lower() + name[1:])


def rows(model: Any) -> dict[str, Json]:
    """The elements of one model; a choice under its name with ``[x]``."""
    made: dict[str, Json] = {}
    for field in model.model_fields.values():
        extra = field.json_schema_extra or {}
        if not extra.get("element_property"):
            continue
        annotation = repr(field.annotation)
        row: Json = {"min": int(field.is_required() or bool(extra.get("element_required"))), "max": 0 if "List[" in annotation else 1}
        row["types"] = [type_of(annotation)]
        if "enum_reference_types" in extra and "Resource" not in extra["enum_reference_types"]:
            row["targets"] = sorted(extra["enum_reference_types"])
        codes = extra.get("enum_values", [])
        if row["types"] == ["code"] and codes and "+" not in codes:
            row["listed"] = sorted(codes)
        name = field.alias
        choice = extra.get("one_of_many")
        if choice is None:
            made[name] = row
            continue
        known = made.setdefault(f"{choice}[x]", {"min": int(bool(extra.get("one_of_many_required"))), "max": 1, "types": []})
        known["types"] += row["types"]
        if "targets" in row:
            known["targets"] = row["targets"]
    order = {name: at for at, name in enumerate(model.elements_sequence())}

    def place(name: str) -> int:
        return min((at for one, at in order.items() if one == name or (name.endswith("[x]") and one.startswith(name[:-3]))), default=999)

    return dict(sorted(made.items(), key=lambda item: (place(item[0]), item[0])))


def backbones(found: dict[str, Any]) -> dict[str, str]:
    """Model name → the path that FHIR calls it by: ``GoalTarget`` → ``Goal.target``."""
    named: dict[str, str] = {}

    def walk(name: str, path: str) -> None:
        for element, row in rows(found[name]).items():
            for type_ in row["types"]:
                if type_ in found and type_ not in named and found[type_].__module__ == found[name].__module__ and type_ != name:
                    named[type_] = f"{path}.{element}"
                    walk(type_, named[type_])

    for name, model in found.items():
        if model.__module__.rpartition(".")[2] == name.lower():
            walk(name, name)
    return named


def main() -> None:
    found = models()
    named = backbones(found)
    resource = get_fhir_model_class("Resource")
    made: Json = {}
    primitives: set[str] = set()
    for name, model in sorted(found.items()):
        elements = rows(model)
        for row in elements.values():
            primitives |= {one for one in row["types"] if one[0].islower()}
            row["types"] = [named.get(one, one) for one in row["types"]]
        kind = "backbone" if name in named else "abstract" if name in ABSTRACT else "resource" if issubclass(model, resource) else "complex"
        made[named.get(name, name)] = {"kind": kind, "elements": elements}
    made |= {name: {"kind": "primitive"} for name in sorted(primitives)}
    text = json.dumps({"types": made}, separators=(",", ":"), sort_keys=False)
    TARGET.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{TARGET.name}: {len(text):,} characters, {TARGET.stat().st_size:,} bytes, {len(made)} types")


if __name__ == "__main__":
    main()
