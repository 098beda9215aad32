"""The CapabilityStatement, written from what the web layer says it offers (http://hl7.org/fhir/R4/capabilitystatement.html)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhircase.fhir import searchparams
from fhircase.fhir.times import instant

INTERACTIONS = ("read", "vread", "update", "patch", "delete", "history-instance", "history-type", "create", "search-type")

_SECURITY_SERVICE = "http://terminology.hl7.org/CodeSystem/restful-security-service"
_OAUTH_URIS = "http://fhir-registry.smarthealthit.org/StructureDefinition/oauth-uris"


@dataclass(frozen=True, slots=True)
class Operation:
    """``name`` without the dollar sign; ``definition`` the canonical of its OperationDefinition; ``type`` '' for the system."""

    name: str
    definition: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What is offered for one resource type. ``conditional`` create, update and delete by criteria."""

    type: str
    interactions: tuple[str, ...] = INTERACTIONS
    conditional: bool = True
    profiles: tuple[str, ...] = ()


def statement(
    rows: Sequence[Row],
    *,
    base_url: str,
    version: str,
    at_ms: int,
    operations: Iterable[Operation] = (),
    system: Sequence[str] = ("transaction", "batch", "history-system"),
    security: Sequence[str] = (),
    oauth: Mapping[str, str] | None = None,
    formats: Sequence[str] = ("application/fhir+json", "json"),
    patch_formats: Sequence[str] = ("application/json-patch+json",),
    name: str = "fhircase",
) -> dict[str, Any]:
    """A complete statement of kind instance. ``at_ms``: when what is offered last changed. ``security``: codes of
    restful-security-service (``SMART-on-FHIR``); ``oauth``: {"token": url, …} for SMART's older discovery."""
    known = list(operations)
    types = {row.type for row in rows}
    rest: dict[str, Any] = {"mode": "server"}
    described: dict[str, Any] = {
        "cors": False,
        "description": "Every request carries Authorization: Bearer with an API key or an access token.",
    }
    if security:
        described["service"] = [{"coding": [{"system": _SECURITY_SERVICE, "code": code}], "text": code} for code in security]
    if oauth:
        described["extension"] = [{"url": _OAUTH_URIS, "extension": [{"url": key, "valueUri": url} for key, url in oauth.items()]}]
    rest["security"] = described
    rest["resource"] = [_resource(row, [o for o in known if o.type == row.type], types) for row in sorted(rows, key=lambda r: r.type)]
    rest["interaction"] = [{"code": code} for code in system]
    common = [
        {"name": n, "type": searchparams.parameters("Patient")[n].kind}
        for n in ("_id", "_lastUpdated", "_profile", "_security", "_source", "_tag")
    ]
    rest["searchParam"] = common
    whole = [_operation(o) for o in known if not o.type]
    if whole:
        rest["operation"] = whole
    return {
        "resourceType": "CapabilityStatement",
        "id": name,
        "url": f"{base_url.rstrip('/')}/metadata",
        "version": version,
        "name": name,
        "title": f"{name}: one shared care plan per client",
        "status": "active",
        "experimental": False,
        "date": instant(at_ms),
        "publisher": name,
        "kind": "instance",
        "software": {"name": name, "version": version},
        "implementation": {"description": f"{name}, a hub for shared care plans", "url": base_url.rstrip("/")},
        "fhirVersion": "4.0.1",
        "format": list(formats),
        "patchFormat": list(patch_formats),
        "rest": [rest],
    }


def _resource(row: Row, operations: Sequence[Operation], types: Iterable[str]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": row.type}
    if row.profiles:
        made["supportedProfile"] = list(row.profiles)
    made |= {
        "interaction": [{"code": code} for code in row.interactions],
        "versioning": "versioned-update" if "update" in row.interactions else "versioned",
        "readHistory": "vread" in row.interactions,
        "updateCreate": False,
        "conditionalCreate": row.conditional and "create" in row.interactions,
        "conditionalRead": "full-support" if "read" in row.interactions else "not-supported",
        "conditionalUpdate": row.conditional and "update" in row.interactions,
        "conditionalDelete": "single" if row.conditional and "delete" in row.interactions else "not-supported",
        "referencePolicy": ["literal", "logical", "local"],
    }
    if "search-type" in row.interactions:
        table = searchparams.parameters(row.type)
        made["searchInclude"] = ["*", *(f"{row.type}:{p.name}" for p in table.values() if p.kind == "reference")]
        reverse = [
            f"{other}:{p.name}"
            for other in sorted(types)
            for p in searchparams.parameters(other).values()
            if p.kind == "reference" and (not p.targets or row.type in p.targets) and searchparams.only_type(p) in ("", row.type)
        ]
        if reverse:
            made["searchRevInclude"] = reverse
        made["searchParam"] = [
            {"name": p.name, "definition": _definition(row.type, p.name), "type": p.kind}
            if p.name not in _own(row.type)
            else {"name": p.name, "type": p.kind}
            for p in table.values()
        ]
    if operations:
        made["operation"] = [_operation(o) for o in operations]
    return made


def _own(type_: str) -> frozenset[str]:
    return frozenset(p.name for p in searchparams.EXTRA.get(type_, ()))


def _definition(type_: str, name: str) -> str:
    base = "Resource" if name.startswith("_") else type_
    return f"http://hl7.org/fhir/SearchParameter/{base}-{name.lstrip('_')}"


def _operation(operation: Operation) -> dict[str, str]:
    return {"name": operation.name, "definition": operation.definition}
