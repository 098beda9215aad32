"""How one FHIR server really behaves, as a value (DESIGN "The house": one server's oddity is a value in its Dialect).

``partners.probe`` finds it by trying, never by the server's name; it is kept in ``Partner.dialect`` as plain JSON, so
that an operator can read and mend it. Every default is the safe reading of an unprobed server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Create = Literal["if-none-exist", "put", "search", "none"]
"""How a resource is created exactly once (DECISIONS 21): conditional create, PUT to an id that follows from ours, list and
compare before a plain create, or not at all."""

LADDER: tuple[Create, ...] = ("if-none-exist", "put", "search")

NO_IDENTIFIER = frozenset({"Provenance", "OperationOutcome", "Parameters", "Binary", "AuditEvent", "Linkage"})
"""R4 types that we could meet and that have no ``identifier``: no conditional create by ours."""

ONE_IDENTIFIER = frozenset({"Bundle", "Composition", "QuestionnaireResponse"})
"""R4 types whose ``identifier`` is 0..1 and not a list."""

RETRACTIONS: Mapping[str, tuple[str, Any]] = {
    "CarePlan": ("status", "entered-in-error"),
    "CareTeam": ("status", "entered-in-error"),
    "Goal": ("lifecycleStatus", "entered-in-error"),
    "ServiceRequest": ("status", "entered-in-error"),
    "DeviceRequest": ("status", "entered-in-error"),
    "NutritionOrder": ("status", "entered-in-error"),
    "MedicationRequest": ("status", "entered-in-error"),
    "MedicationStatement": ("status", "entered-in-error"),
    "Task": ("status", "entered-in-error"),
    "Observation": ("status", "entered-in-error"),
    "DiagnosticReport": ("status", "entered-in-error"),
    "DocumentReference": ("status", "entered-in-error"),
    "Procedure": ("status", "entered-in-error"),
    "Communication": ("status", "entered-in-error"),
    "EpisodeOfCare": ("status", "entered-in-error"),
    "Flag": ("status", "entered-in-error"),
    "Consent": ("status", "entered-in-error"),
    "QuestionnaireResponse": ("status", "entered-in-error"),
    "Appointment": ("status", "entered-in-error"),
    "Condition": (
        "verificationStatus",
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": "entered-in-error"}]},
    ),
    "AllergyIntolerance": (
        "verificationStatus",
        {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification", "code": "entered-in-error"}]},
    ),
}
"""What a tombstone becomes at a partner (DECISIONS 23), where R4 has such a status. con-5 and ait-2 forbid a
clinicalStatus beside it, see ``shadow.retracted``."""

PATIENT_PARAMS: Mapping[str, tuple[str, ...]] = {
    "Task": ("patient",),
    "CareTeam": ("patient", "subject"),
    "QuestionnaireResponse": ("patient", "subject"),
    "Communication": ("patient", "subject"),
}
"""Search parameters that name the client, by type, first choice first; ``patient`` for every other type."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """``create``/``create_by_type``: how to create once. ``ids``: ids that a client may choose (any, uuid, none).
    ``stale``: statuses by which it says "it has changed since"; 409 and 412 always mean that. ``if_match``: False where If-Match
    is ignored, so that a write reads first. ``drops``: top-level elements that it loses, by type (``*`` every type).
    ``drops_unknown``: loses elements that R4 does not know. ``decimals_normalised``: 1.50 comes back as 1.5.
    ``dangling_refused``: a reference must have its
    target first. ``search_cached``: searches are served from a cache unless told otherwise. ``history``: instance history
    (newest, oldest, unstable order, none). ``patient_params``: by type, () when the type cannot be searched by client.
    ``last_updated``: types (``*``) for which ``_lastUpdated`` works in a search. ``absolute_references``: answers with them.
    ``identifier_search``: types (``*``) where a search by ``identifier`` can be believed. ``body``: a write is answered with the
    resource. ``paging``: how a long answer goes on: by next links, by ``_offset`` (nothing says that there is more), or not at
    all, so that a larger page must be asked for."""

    create: Create = "if-none-exist"
    create_by_type: Mapping[str, Create] = field(default_factory=dict)
    ids: Literal["any", "uuid", "none"] = "none"
    stale: frozenset[int] = frozenset({409, 412})
    if_match: bool = True
    drops: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    drops_unknown: bool = False
    decimals_normalised: bool = False
    dangling_refused: bool = False
    search_cached: bool = True
    history: Literal["newest", "oldest", "unstable", "none"] = "unstable"
    patient_params: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    last_updated: Mapping[str, bool] = field(default_factory=dict)
    identifier_search: Mapping[str, bool] = field(default_factory=dict)
    absolute_references: bool = False
    body: bool = True
    paging: Literal["links", "offset", "none"] = "links"

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> Dialect:
        """From ``Partner.dialect``. Unknown keys are left out: a later probe may know more than this code."""
        known = {f.name for f in fields(cls)}
        values = {name: value for name, value in found.items() if name in known}
        if "stale" in values:
            values["stale"] = frozenset(int(status) for status in values["stale"])
        for name in ("drops", "patient_params"):
            if name in values:
                values[name] = {type_: tuple(entries) for type_, entries in values[name].items()}
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON for ``Partner.dialect``; ``of`` reads it back equal."""
        made = {f.name: getattr(self, f.name) for f in fields(self)}
        made["stale"] = sorted(self.stale)
        for name in ("drops", "patient_params"):
            made[name] = {type_: list(entries) for type_, entries in made[name].items()}
        for name in ("create_by_type", "last_updated", "identifier_search"):
            made[name] = dict(made[name])
        return made

    def creates(self, type_: str) -> Create:
        """The first rung of the ladder that this server takes for the type."""
        chosen = self.create_by_type.get(type_, self.create)
        if chosen == "if-none-exist" and type_ in NO_IDENTIFIER:
            return "put" if self.ids != "none" else "search"
        if chosen == "put" and self.ids == "none":
            return "search"
        return chosen

    def says_stale(self, status: int) -> bool:
        """Whether a write was refused because the copy has changed since (DECISIONS 24)."""
        return status in (409, 412) or status in self.stale

    def remote_id(self, local: str) -> str:
        """The id for ``put``: it follows from ours, so that a repeated PUT meets itself. It holds a letter, for HAPI
        refuses numeric ids."""
        return local if self.ids == "uuid" else f"fc-{local}"[:64]

    def dropped(self, type_: str) -> frozenset[str]:
        """Top-level elements that this server loses."""
        return frozenset(self.drops.get("*", ())) | frozenset(self.drops.get(type_, ()))

    def by_client(self, type_: str) -> tuple[str, ...]:
        """Search parameters that name the client, () if there is none: then the whole type is listed and filtered here."""
        if type_ in self.patient_params:
            return self.patient_params[type_]
        return PATIENT_PARAMS.get(type_, self.patient_params.get("*", ("patient",)))

    def since(self, type_: str) -> bool:
        """Whether a search of the type by ``_lastUpdated`` can be believed."""
        return self.last_updated.get(type_, self.last_updated.get("*", True))

    def finds(self, type_: str) -> bool:
        """Whether a search of the type by ``identifier`` can be believed."""
        return self.identifier_search.get(type_, self.identifier_search.get("*", True)) and type_ not in NO_IDENTIFIER
