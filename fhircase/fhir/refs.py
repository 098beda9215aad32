"""References between resources (http://hl7.org/fhir/R4/references.html)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Resource = dict[str, Any]

_LITERAL = re.compile(
    r"(?P<base>https?://.+/)?(?P<type>[A-Z][A-Za-z]{1,63})/(?P<id>[A-Za-z0-9\-.]{1,64})(?:/_history/(?P<version>[A-Za-z0-9\-.]{1,64}))?"
)
_LOGICAL = frozenset(("identifier", "type", "display", "id", "extension", "_type", "_display"))
_CLIENT = ("subject", "patient", "for", "beneficiary", "individual")


class Literal(NamedTuple):
    """A literal reference taken apart. ``base`` '' when relative (or when it was our own base)."""

    type: str
    id: str
    version: str | None = None
    base: str = ""


def literal(text: Any, base_url: str = "") -> Literal | None:
    """``Type/id``, ``Type/id/_history/v`` or an absolute url of that form; one below ``base_url`` counts as relative.
    None for urn:, ``#contained``, canonical urls and anything else."""
    if not isinstance(text, str):
        return None
    found = _LITERAL.fullmatch(text)
    if found is None:
        return None
    base = found["base"] or ""
    if base and base_url and base.rstrip("/") == base_url.rstrip("/"):
        base = ""
    return Literal(found["type"], found["id"], found["version"], base)


def references(resource: Any, path: str | None = None) -> Iterator[tuple[str, Resource]]:
    """Every Reference in a resource, contained ones and extensions included, as (FHIRPath, the dict itself), in the
    order of the text. A Reference is an object whose ``reference`` is a string, or one that has only an ``identifier``
    and what may stand beside it (a logical reference)."""
    if path is None:
        path = str(resource.get("resourceType", "")) if isinstance(resource, dict) else ""
    stack: list[tuple[str, Any]] = [(path, resource)]
    while stack:
        here, item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get("reference"), str) or (isinstance(item.get("identifier"), dict) and item.keys() <= _LOGICAL):
                yield here, item
            stack.extend((f"{here}.{name}", value) for name, value in reversed(item.items()) if isinstance(value, dict | list))
        elif isinstance(item, list):
            stack.extend((f"{here}[{i}]", item[i]) for i in range(len(item) - 1, -1, -1) if isinstance(item[i], dict | list))


def rewrite(resource: Resource, function: Callable[[str], str]) -> Resource:
    """A copy in which each literal ``Reference.reference`` is what ``function`` makes of its text. Fragments (``#id``) are
    not offered: contained resources keep their names. The original is not touched; what need not change is shared."""
    made = _rewritten(resource, function)
    return dict(made) if made is resource else made


def _rewritten(item: Any, function: Callable[[str], str]) -> Any:
    if isinstance(item, dict):
        changed: Resource | None = None
        for name, value in item.items():
            if isinstance(value, dict | list):
                new = _rewritten(value, function)
            elif name == "reference" and isinstance(value, str) and not value.startswith("#"):
                new = function(value)
            else:
                continue
            if new is not value:
                if changed is None:
                    changed = dict(item)
                changed[name] = new
        return item if changed is None else changed
    made = [_rewritten(value, function) if isinstance(value, dict | list) else value for value in item]
    return made if any(a is not b for a, b in zip(made, item, strict=True)) else item


def client_of(resource: Resource) -> str | None:
    """The id of the Patient here that a resource is about: itself, or the literal relative reference in subject,
    patient, for, beneficiary or individual, or an Appointment's participant. None when it names none (a Group, another
    server's Patient, a logical reference, a directory resource)."""
    if resource.get("resourceType") == "Patient":
        id_ = resource.get("id")
        return id_ if isinstance(id_, str) else None
    for name in _CLIENT:
        value = resource.get(name)
        for item in value if isinstance(value, list) else (value,):
            id_ = _patient(item)
            if id_ is not None:
                return id_
    participants = resource.get("participant")
    if resource.get("resourceType") in ("Appointment", "AppointmentResponse"):
        for item in participants if isinstance(participants, list) else (resource,):
            id_ = _patient(item.get("actor")) if isinstance(item, dict) else None
            if id_ is not None:
                return id_
    return None


def _patient(reference: Any) -> str | None:
    found = literal(reference.get("reference")) if isinstance(reference, dict) else None
    return found.id if found is not None and found.type == "Patient" and not found.base else None
