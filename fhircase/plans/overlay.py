"""Laying what a sender says over what stands, element by element, and recognising a thing that has no number. Pure.

An element that the sender leaves out stays; identifiers and extensions join by system + value and by url; everything else
that is sent replaces the whole element (DECISIONS 11: whole elements)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fhircase.plans.change import Resource

_OURS = frozenset(("resourceType", "id", "meta"))
_SAME: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "Condition": (("code", "encounter"),),
    "Observation": (("code", "effectiveDateTime", "effectivePeriod"),),
    "Procedure": (("code", "performedDateTime", "performedPeriod"),),
    "AllergyIntolerance": (("code",),),
    "Coverage": (("subscriberId", "type", "payor"), ("identifier",)),
    "RelatedPerson": (("name", "relationship"),),
    "MedicationRequest": (("medicationCodeableConcept", "medicationReference", "authoredOn"),),
    "ServiceRequest": (("code", "encounter", "intent"),),
    "Goal": (("description", "startDate"),),
    "Location": (("name",),),
    "Organization": (("name",),),
    "Practitioner": (("name",),),
}


def lay(stored: Resource, sent: Mapping[str, Any]) -> Resource:
    """``stored`` with what ``sent`` says; the same content when it says nothing new. Labels and tags are only ever added."""
    made = dict(stored)
    for name, value in sent.items():
        if name == "meta":
            meta = _meta(stored.get("meta") or {}, value)
            if meta:
                made["meta"] = meta
        elif name == "identifier" and isinstance(value, list):
            made[name] = _joined(stored.get(name) or [], value, ("system", "value"))
        elif name in ("extension", "modifierExtension") and isinstance(value, list):
            made[name] = _joined(stored.get(name) or [], value, ("url",))
        elif name not in _OURS:
            made[name] = value
    return made


def fill(stored: Resource, sent: Mapping[str, Any]) -> Resource:
    """``stored`` with what it lacked and ``sent`` has: for news that is older than what stands, or not the sender's to change."""
    lacking = {name: value for name, value in sent.items() if name not in stored and name not in _OURS}
    made = {**stored, **lacking}
    if isinstance(sent.get("identifier"), list) and isinstance(stored.get("identifier"), list):
        known = {_key(i, ("system", "value")) for i in stored["identifier"]}
        made["identifier"] = [*stored["identifier"], *(i for i in sent["identifier"] if _key(i, ("system", "value")) not in known)]
    return made


def differing(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """Elements that both have and that differ; identifiers and what is the hub's own left out."""
    return tuple(
        name
        for name, value in wanted.items()
        if name not in _OURS and name not in ("identifier", "text", "extension") and name in stored and stored[name] != value
    )


def bare(resource: Mapping[str, Any]) -> Resource:
    """A stored body without the hub's stamp, to compare with a draft."""
    made = {name: value for name, value in resource.items() if name != "meta"}
    meta = {name: value for name, value in (resource.get("meta") or {}).items() if name not in ("versionId", "lastUpdated")}
    if meta:
        made["meta"] = meta
    return made


def same_thing(held: Mapping[str, Any], drafted: Mapping[str, Any]) -> bool:
    """Whether two resources of one client, without a number that says so, speak of the same thing: by the elements that
    make such a thing what it is, codes compared by system and code, else by equal content."""
    keys = _SAME.get(str(drafted.get("resourceType")))
    if keys is None:
        return _content(held) == _content(drafted)
    for names in keys:
        pairs = [(_essence(held.get(name)), _essence(drafted.get(name))) for name in names]
        if any(a for a, _ in pairs) and all(a == b for a, b in pairs):
            return True
    return False


def _content(resource: Mapping[str, Any]) -> Resource:
    return {name: value for name, value in resource.items() if name not in ("id", "meta", "text", "identifier")}


def _essence(value: Any) -> Any:
    """What decides equality of an element: a concept's codings without display, a name's letters, else itself."""
    if isinstance(value, list):
        return tuple(sorted(map(repr, map(_essence, value))))
    if not isinstance(value, dict):
        return value
    if value.get("coding"):
        return frozenset((c.get("system"), c.get("code")) for c in value["coding"] if c.get("code"))
    if "family" in value or "given" in value:
        return (str(value.get("family") or "").casefold(), tuple(str(g).casefold() for g in value.get("given") or ()))
    if value.get("reference"):
        return value["reference"]
    if "text" in value:
        return str(value["text"]).casefold()
    return repr(sorted((k, repr(v)) for k, v in value.items()))


def _meta(stored: Mapping[str, Any], sent: Any) -> Resource:
    made = dict(stored)
    if isinstance(sent, dict):
        for name in ("profile", "security", "tag"):
            for item in sent.get(name) or ():
                if item not in (made.get(name) or ()):
                    made[name] = [*(made.get(name) or ()), item]
        if "source" in sent and "source" not in made:
            made["source"] = sent["source"]
    return made


def _joined(stored: Iterable[Any], sent: Iterable[Any], key: tuple[str, ...]) -> list[Any]:
    """Stored entries in their order, replaced by the sent one of the same key; new ones behind. A key sent several times
    (a race extension in parts) replaces all of it."""
    sent = list(sent)
    by_key: dict[Any, list[Any]] = {}
    for item in sent:
        by_key.setdefault(_key(item, key), []).append(item)
    made: list[Any] = []
    for item in stored:
        name = _key(item, key)
        if name in by_key:
            made += by_key.pop(name)
        elif not any(_key(other, key) == name for other in sent):
            made.append(item)
    return made + [item for items in by_key.values() for item in items]


def _key(item: Any, key: tuple[str, ...]) -> Any:
    return tuple(item.get(name) for name in key) if isinstance(item, dict) else repr(item)
