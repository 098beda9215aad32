"""What the rules of case management (``fhircase.case``) say of a case: what deserves a look, and the case for the client to read.
Here is gathered what they must know beside the case document: decisions, qualifications, names, the own organisation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fhircase.case import attention, models, order, summary
from fhircase.errors import Refused
from fhircase.fhir import times
from fhircase.flows.hub import Hub
from fhircase.plans.change import Ref
from fhircase.plans.partner import HUB
from fhircase.ports import Stored, Tx

Doc = dict[str, Any]

_DECIDED = {"services": "ServiceRequest", "equipment": "DeviceRequest"}


def today(hub: Hub) -> date:
    return date.fromisoformat(times.instant(hub.now())[:10])


def with_decisions(doc: Doc) -> Doc:
    """The document as the rules read it: the decisions that stand on services and equipment, in one list."""
    made = [
        {
            "on": f"{type_}/{one['id']}", "decided": one["decided"], "by": one.get("decided_by", ""), "at": one.get("decided_at", ""),
            "reason": one.get("decided_because", ""),
        }
        for name, type_ in _DECIDED.items()
        for one in doc.get(name, ())
        if "decided" in one
    ]  # fmt: skip
    return {**doc, "decisions": made}


def arranged(hub: Hub, tx: Tx, doc: Doc) -> Doc:
    """The case document in the order of its model, with what its models and kinds ask for (``asked``), the people of its team
    (``people``) and what deserves a look today (``attention``). All three are computed, never stored."""
    staff = people(hub, tx, doc)
    known = {one["person"]: one["qualifications"] for one in staff}
    points = attention.points(with_decisions(doc), today(hub), qualifications=known, own=_own(tx), overrides=hub.maps.models)
    made = order.arranged(doc, hub.maps.models)
    asked = models.effective(doc.get("episode", {}), hub.maps.models)
    made["asked"] = {
        "models": list(asked.models), "kinds": list(asked.kinds), "contact_days": asked.contact_days, "review_days": asked.review_days,
        "performed_by": asked.performed_by, "domains": list(asked.domains), "outcomes": list(asked.outcomes),
    }  # fmt: skip
    made["people"] = staff
    made["attention"] = [
        {"rule": point.rule, "severity": point.severity, "about": point.about, "what": point.what, "hint": point.hint} for point in points
    ]
    return made


def people(hub: Hub, tx: Tx, doc: Doc) -> list[Doc]:
    """The professionals of the team and the manager, by the reference that names them there (Practitioner or PractitionerRole): name,
    qualifications and professions (PractitionerRole), from the directory. The function that each has in this case stands with the
    team's members."""
    held = doc.get("team", {}).get("members", ())
    named = [str(one.get("person", "")) for one in held] + [str(doc.get("episode", {}).get("manager", ""))]
    made = []
    for text in dict.fromkeys(named):
        if not text.startswith(("Practitioner/", "PractitionerRole/")) or text.count("/") != 1:
            continue
        role = tx.plans.get(Ref.of(text)) if text.startswith("PractitionerRole/") else None
        ref = Ref.of(text) if role is None else _practitioner(hub, role)
        found = tx.plans.get(ref) if ref is not None and ref.type == "Practitioner" else None
        if found is None or found.deleted:
            continue
        person = hub.maps.mapping("person").into(found.body).doc
        roles = [role] if role is not None else tx.plans.referring(found.ref, "PractitionerRole", "practitioner")
        made.append({
            "person": text,
            "name": _name(person),
            "qualifications": person.get("qualifications", []),
            "roles": [{**hub.maps.mapping("role").into(one.body).doc, "id": one.id} for one in roles if not one.deleted],
        })  # fmt: skip
    return made


def _practitioner(hub: Hub, role: Stored) -> Ref | None:
    person = "" if role.deleted else str(hub.maps.mapping("role").into(role.body).doc.get("person", ""))
    return Ref.of(person) if person.startswith("Practitioner/") and person.count("/") == 1 else None


def told(hub: Hub, tx: Tx, doc: Doc, *, language: str = "", zone: str = "") -> summary.Summary:
    """The case for the client to read. Raises Refused for a time zone that does not exist."""
    try:
        where = ZoneInfo(zone) if zone else None
    except (ZoneInfoNotFoundError, ValueError):
        raise Refused("there is no such time zone", path="zone", hint="an IANA name, such as America/Chicago") from None
    names = _names(hub, tx, _references(doc))
    return summary.summary(with_decisions(doc), today(hub), language=language, names=names, zone=where)


def _own(tx: Tx) -> tuple[str, ...]:
    record = tx.partners.get(HUB)
    return (f"Organization/{record.organization}",) if record is not None and record.organization else ()


def _references(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        if value.startswith(("Practitioner/", "PractitionerRole/", "Organization/", "RelatedPerson/", "HealthcareService/")):
            yield value
    elif isinstance(value, Mapping | list):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _references(one)


def _names(hub: Hub, tx: Tx, references: Iterable[str]) -> dict[str, str]:
    refs = [Ref.of(text) for text in dict.fromkeys(references) if text.count("/") == 1]
    made = {}
    for ref, stored in tx.plans.get_many(refs).items() if refs else ():
        if stored.deleted:
            continue
        mapping = {"Practitioner": "person", "Organization": "organization", "RelatedPerson": "contact", "HealthcareService": "program"}
        if ref.type in mapping:
            doc = hub.maps.mapping(mapping[ref.type]).into(stored.body).doc
            made[str(ref)] = str(doc["name"]) if isinstance(doc.get("name"), str) else _name(doc)
    return {ref: name for ref, name in made.items() if name}


def _name(person: Doc) -> str:
    for name in person.get("names", ()):
        parts = (*name.get("prefix", ()), *name.get("given", ()), *([name["family"]] if "family" in name else ()))
        text = name.get("text") or " ".join(parts)
        if text:
            return str(text)
    return ""
