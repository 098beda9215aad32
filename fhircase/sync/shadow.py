"""A resource in our terms and in a partner's terms, and what of it the two share (DECISIONS 11). Pure.

*Ours* has local ids in its references. *Theirs* has the partner's. The **essence** is what both sides share: without id,
meta except profile and security, and narrative. All shadows of a Link are essences in our terms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fhircase.fhir import refs
from fhircase.plans.change import Ref, Resource
from fhircase.sync.dialect import NO_IDENTIFIER, ONE_IDENTIFIER, RETRACTIONS

HUB_SYSTEM = "urn:fhircase:id"
"""Identifier system of our own ids on a partner's copies; the value is ``Type/id``."""

LOGICAL_MEMBERS = frozenset({"identifier", "type", "display", "id", "extension", "_type", "_display"})
"""What a logical Reference may consist of."""

_SHARED_META = ("profile", "security")
_OMITTED = frozenset({"id", "meta", "text", "resourceType"})


def essence(resource: Resource) -> Resource:
    """What a resource shares with its copies, in our terms: equal essences are equal resources (decimals compare as
    numbers). ``resourceType`` stays."""
    made = {name: value for name, value in resource.items() if name not in _OMITTED}
    made["resourceType"] = resource.get("resourceType")
    meta = resource.get("meta")
    if isinstance(meta, dict):
        kept = {name: meta[name] for name in _SHARED_META if meta.get(name)}
        if kept:
            made["meta"] = kept
    return made


def differing(a: Resource | None, b: Resource | None, without: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names of the elements in which two essences differ (``_x`` counts as ``x``), those in ``without`` left out."""
    a, b = a or {}, b or {}
    if a is b:
        return frozenset()
    found = {name.lstrip("_") for name in a.keys() | b.keys() if a.get(name) != b.get(name)}
    return frozenset(found - without)


def part(resource: Resource | None, element: str) -> Resource:
    """One element as it stands in a resource: its value and its ``_`` companion. An absent one is {}."""
    return {name: resource[name] for name in (element, "_" + element) if resource and name in resource}


def with_part(resource: Resource, element: str, taken: Resource | None) -> Resource:
    """A copy in which one element is as it stands in ``taken`` (also: absent), in its place among the others."""
    new = part(taken, element)
    made: Resource = {}
    for name, value in resource.items():
        if name.lstrip("_") != element:
            made[name] = value
        elif name in new:
            made[name] = new[name]
    for name, value in new.items():
        made.setdefault(name, value)
    return made


def targets(resource: Resource, base_url: str = "") -> Iterator[Ref]:
    """The local resources that a resource of ours refers to."""
    for reference in _references(resource, []):
        found = refs.literal(reference.get("reference"), base_url)
        if found is not None and not found.base:
            yield Ref(found.type, found.id)


def outgoing(resource: Resource, known: Callable[[Ref], bool], base_url: str = "") -> Resource:
    """The essence as this partner can hold it, still in our terms: a reference to what it does not have (``known``
    False) becomes a logical one, by the business identifier that the reference carries, else by our own. So nothing
    dangles, the element keeps its place, and nothing says more than the reference did."""

    def change(reference: Resource) -> Resource:
        found = refs.literal(reference.get("reference"), base_url)
        if found is None or found.base:
            return reference
        ref = Ref(found.type, found.id)
        if known(ref):
            plain = str(ref)
            return reference if reference["reference"] == plain else {**reference, "reference": plain}
        return _as_logical(reference, ref)

    return _map_references(essence(resource), change)


def wire(
    form: Resource,
    ref: Ref,
    remote: str | None,
    remote_of: Callable[[Ref], str | None],
    *,
    base_url: str = "",
    narrative: Any = None,
    tags: Any = None,
) -> Resource:
    """What goes over the wire for ``form`` (from ``outgoing``): references in the partner's terms (what it does not have
    stays logical, what lies on its own server below ``base_url`` becomes relative again), our identifier on it, ``remote``
    as its id. ``narrative`` and ``tags``: theirs, when there is a copy, so that they go back untouched; ours for a new one."""

    def change(reference: Resource) -> Resource:
        text = reference.get("reference")
        found = refs.literal(text) if isinstance(text, str) else None
        if found is None:
            return reference
        if found.base:
            own = refs.literal(text, base_url)
            return reference if own is None or own.base else {**reference, "reference": f"{own.type}/{own.id}"}
        target = Ref(found.type, found.id)
        theirs = remote_of(target)
        if theirs is None:
            return _as_logical(reference, target)
        return reference if theirs == found.id else {**reference, "reference": f"{found.type}/{theirs}"}

    body = _map_references(form, change)
    made: Resource = {"resourceType": ref.type}
    if remote is not None:
        made["id"] = remote
    meta = {**body.get("meta", {}), **({"tag": tags} if tags else {})}
    if meta:
        made["meta"] = meta
    if narrative:
        made["text"] = narrative
    made.update((name, value) for name, value in body.items() if name not in ("resourceType", "meta"))
    return identified(made, ref)


def identified(resource: Resource, ref: Ref) -> Resource:
    """With the hub's identifier, ``urn:fhircase:id|Type/id``, where the type has identifiers and ours is not among them.

    It is put on the outgoing copy and never on our own resource: it says nothing that the id does not say, it would be a
    version of every resource for nothing, and only a copy elsewhere needs to be told apart from another's. It is what
    If-None-Exist asks for, what finds a create whose answer was lost, and what tells a copy that comes back by another
    way that it is one (I5). Where the type takes one identifier only and has it, that one must do."""
    if ref.type in NO_IDENTIFIER:
        return resource
    ours = {"system": HUB_SYSTEM, "value": str(ref)}
    present = resource.get("identifier")
    if ref.type in ONE_IDENTIFIER:
        return resource if present else {**resource, "identifier": ours}
    entries = present if isinstance(present, list) else []
    if any(_is_hub(entry, str(ref)) for entry in entries):
        return resource
    return {**resource, "identifier": [*entries, ours]}


def criteria(resource: Resource, ref: Ref) -> str | None:
    """``system|value`` of the identifier by which a copy of ``resource`` can be found, None if there is none."""
    present = resource.get("identifier")
    if ref.type in ONE_IDENTIFIER and isinstance(present, dict) and present.get("value"):
        return f"{present.get('system', '')}|{present['value']}"
    return None if ref.type in NO_IDENTIFIER else f"{HUB_SYSTEM}|{ref}"


def claimed(resource: Resource) -> Ref | None:
    """Whose copy a partner's resource says it is, by the hub's identifier."""
    present = resource.get("identifier")
    for entry in present if isinstance(present, list) else [present]:
        if isinstance(entry, dict) and entry.get("system") == HUB_SYSTEM and isinstance(entry.get("value"), str):
            try:
                ref = Ref.of(entry["value"])
            except ValueError:
                continue
            if ref.type == resource.get("resourceType"):
                return ref
    return None


def incoming(
    resource: Resource, ref: Ref, local_of: Callable[[str, str], Ref | None], *, base_url: str, ours: Resource | None = None
) -> Resource:
    """A partner's resource in our terms, whole: references to what we know become local ones, to what we do not know
    become absolute urls of theirs (they can be followed, and never point at a resource of ours by chance); our
    identifier on it goes; logical references that stand for one of ``ours`` become that again."""
    logical = _logical(ours) if ours is not None else {}

    def change(reference: Resource) -> Resource:
        text = reference.get("reference")
        if not isinstance(text, str):
            return _restored(reference, logical)
        found = refs.literal(text, base_url)
        if found is None or found.base:
            return reference
        local = local_of(found.type, found.id)
        if local is not None:
            return {**reference, "reference": str(local)}
        return {**reference, "reference": f"{base_url.rstrip('/')}/{found.type}/{found.id}"}

    made = _map_references(resource, change)
    identifier = made.get("identifier")
    if isinstance(identifier, list):
        kept = [entry for entry in identifier if not _is_hub(entry, str(ref))]
        if len(kept) != len(identifier):
            made = {**made, "identifier": kept} if kept else {name: value for name, value in made.items() if name != "identifier"}
    elif _is_hub(identifier, str(ref)):
        made = {name: value for name, value in made.items() if name != "identifier"}
    return made


def shadow(resource: Resource) -> Resource:
    """The essence of their copy (already in our terms) and, beside it, what is theirs alone and goes back to them
    untouched: narrative and tags, under names that no FHIR element has."""
    made = essence(resource)
    if resource.get("text"):
        made["_text"] = resource["text"]
    meta = resource.get("meta")
    if isinstance(meta, dict) and meta.get("tag"):
        made["_tags"] = meta["tag"]
    return made


def bare(shadow_: Resource | None) -> Resource:
    """A shadow without what is theirs alone: an essence."""
    if not shadow_:
        return {}
    return {name: value for name, value in shadow_.items() if name not in ("_text", "_tags")}


def onto(full: Resource, merged: Resource, elements: frozenset[str]) -> Resource:
    """Our full resource in which ``elements`` are as the essence ``merged`` has them; of meta only profile and security."""
    made = dict(full)
    for element in elements:
        if element != "meta":
            made = with_part(made, element, merged)
            continue
        kept = {name: value for name, value in full.get("meta", {}).items() if name not in _SHARED_META}
        meta = {**kept, **merged.get("meta", {})}
        made = {**made, "meta": meta} if meta else {name: value for name, value in made.items() if name != "meta"}
    return made


def literal(form: Resource | None, ours: Resource) -> Resource:
    """``form`` with the logical references that stand for references of ``ours`` made literal again, for comparing."""
    if not form:
        return {}
    logical = _logical(ours)
    return _map_references(form, lambda reference: reference if "reference" in reference else _restored(reference, logical))


def logical(resource: Resource, *forms: Resource | None) -> Resource:
    """The reverse of ``literal``: literal references to what one of ``forms`` names by a logical one made logical as there, for
    comparing with them. Without ``forms``: every literal one."""
    named = {
        (reference["identifier"].get("system"), reference["identifier"].get("value"))
        for form in forms if form for reference in _logical_references(form)
    }  # fmt: skip

    def change(reference: Resource) -> Resource:
        found = refs.literal(reference.get("reference"))
        if found is None or found.base:
            return reference
        made = _as_logical(reference, Ref(found.type, found.id))
        identifier = made["identifier"]
        return made if not forms or (identifier.get("system"), identifier.get("value")) in named else reference

    return _map_references(resource, change)


def retracted(held: Resource) -> Resource | None:
    """Their copy as entered in error, None where the type has no such status (DECISIONS 23)."""
    place = RETRACTIONS.get(str(held.get("resourceType")))
    if place is None:
        return None
    made = {**held, place[0]: place[1]}
    if place[0] == "verificationStatus":
        made.pop("clinicalStatus", None)
    return made


def _as_logical(reference: Resource, ref: Ref) -> Resource:
    made = {name: value for name, value in reference.items() if name not in ("reference", "_reference")}
    made.setdefault("type", ref.type)  # some servers drop or refuse logical references without it
    made.setdefault("identifier", {"system": HUB_SYSTEM, "value": str(ref)})
    return made


def _is_hub(identifier: Any, value: str) -> bool:
    return isinstance(identifier, dict) and identifier.get("system") == HUB_SYSTEM and identifier.get("value") == value


def _restored(reference: Resource, logical: Mapping[tuple[Any, Any], Resource]) -> Resource:
    identifier = reference.get("identifier")
    if not isinstance(identifier, dict):
        return reference
    mine = logical.get((identifier.get("system"), identifier.get("value")))
    return reference if mine is None else mine


def _logical(ours: Resource) -> dict[tuple[Any, Any], Resource]:
    found: dict[tuple[Any, Any], Resource] = {}
    for reference in _references(ours, []):
        target = refs.literal(reference.get("reference"))
        if target is None or target.base:
            continue
        found[(HUB_SYSTEM, f"{target.type}/{target.id}")] = reference
        identifier = reference.get("identifier")
        if isinstance(identifier, dict) and identifier.get("value"):
            found[(identifier.get("system"), identifier.get("value"))] = reference
    return found


def _logical_references(form: Resource) -> list[Resource]:
    found: list[Resource] = []

    def note(reference: Resource) -> Resource:
        if not isinstance(reference.get("reference"), str) and isinstance(reference.get("identifier"), dict):
            found.append(reference)
        return reference

    _map_references(form, note)
    return found


def _references(item: Any, found: list[Resource]) -> list[Resource]:
    """As ``fhir.refs.references`` finds the literal ones, without their paths: this runs for every resource that is sent."""
    if isinstance(item, dict):
        if isinstance(item.get("reference"), str):
            found.append(item)
        for value in item.values():
            if isinstance(value, dict | list):
                _references(value, found)
    else:
        for value in item:
            if isinstance(value, dict | list):
                _references(value, found)
    return found


def _map_references(resource: Resource, function: Callable[[Resource], Resource]) -> Resource:
    made = _mapped(resource, function)
    assert isinstance(made, dict)
    return made


def _mapped(item: Any, function: Callable[[Resource], Resource]) -> Any:
    """Copies only along the way to what changes. A Reference is an object with a string ``reference`` that is no
    fragment, or one that has an ``identifier`` object and nothing but what may stand beside it."""
    if isinstance(item, dict):
        text = item.get("reference")
        if isinstance(text, str):
            return item if text.startswith("#") else function(item)
        if isinstance(item.get("identifier"), dict) and item.keys() <= LOGICAL_MEMBERS:
            return function(item)
        changed: Resource | None = None
        for name, value in item.items():
            if isinstance(value, dict | list):
                new = _mapped(value, function)
                if new is not value:
                    if changed is None:
                        changed = dict(item)
                    changed[name] = new
        return item if changed is None else changed
    made = [_mapped(value, function) if isinstance(value, dict | list) else value for value in item]
    return made if any(a is not b for a, b in zip(made, item, strict=True)) else item
