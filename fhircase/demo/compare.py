"""Do two servers hold the same? Equal as DECISIONS 11 defines it: whole elements; ids, meta beside profile and security,
narrative and rewritten references are a server's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fhircase.demo.servers import Api, Resource
from fhircase.fhir import equal, refs

IDENTITY = "urn:fhircase:id"
"""Identifier system that the hub puts on what it creates elsewhere: ``Type/id`` here."""

TYPES = ("EpisodeOfCare", "CarePlan", "CareTeam", "Goal", "ServiceRequest", "DeviceRequest", "Task", "Observation")


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    compared: int
    differences: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return self.compared > 0 and not self.differences


def find(api: Api, type_: str, id_: str) -> Resource | None:
    """The partner's copy of our resource, by the identity that it carries; looked for in all that the server holds, for
    some servers have no search by identifier."""
    for resource in api.search(f"/{type_}?_count=200"):
        if _ours(resource) == f"{type_}/{id_}":
            return resource
    return None


def with_hub(hub: Api, name: str, api: Api, case: str, dropped: Mapping[str, Sequence[str]]) -> Row:
    """Compare every plan resource of the case. ``dropped``: elements by type that this server cannot hold."""
    theirs: dict[str, Resource] = {}
    local: dict[str, str] = {}
    for type_ in (*TYPES, "Patient", "Encounter", "Organization", "Practitioner", "Condition", "RelatedPerson", "Location"):
        for resource in api.search(f"/{type_}?_count=200"):
            ours = _ours(resource)
            if ours:
                theirs[ours] = resource
                local[f"{type_}/{resource['id']}"] = ours
    differences: list[str] = []
    compared = 0
    for type_ in TYPES:
        for resource in hub.search(f"/fhir/{type_}?_count=200"):
            ref = f"{type_}/{resource['id']}"
            copy = theirs.get(ref)
            compared += 1
            if copy is None:
                differences.append(f"{ref} is missing")
                continue
            told = _plain(refs.rewrite(copy, lambda text: local.get(text.removeprefix(f"{api.base}/"), text)), dropped.get(type_, ()))
            meant = _plain(resource, dropped.get(type_, ()))
            differences += [f"{ref}: {path}" for path in equal.differing(meant, told)]
    return Row(name, compared, tuple(differences))


def _ours(resource: Resource) -> str | None:
    for identifier in resource.get("identifier", ()) if isinstance(resource.get("identifier"), list) else ():
        if identifier.get("system") == IDENTITY:
            value: str = identifier["value"]
            return value
    return None


def _plain(resource: Resource, dropped: Sequence[str]) -> Resource:
    made = {name: value for name, value in resource.items() if name not in dropped}
    kept = [i for i in made.get("identifier", ()) if i.get("system") != IDENTITY] if isinstance(made.get("identifier"), list) else []
    made.pop("identifier", None)
    if kept:
        made["identifier"] = kept
    return made
