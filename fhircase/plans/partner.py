"""A partner's record: who it is, what its messages may do, what travels to it and back (DECISIONS 8, 10, 13, 17)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

HUB = "hub"

PLAN_TYPES = (
    "CarePlan", "CareTeam", "Goal", "ServiceRequest", "Task", "Condition", "Observation", "EpisodeOfCare",
    "DeviceRequest", "NutritionOrder", "RequestGroup", "Consent", "Flag", "RelatedPerson", "QuestionnaireResponse", "RiskAssessment",
    "FamilyMemberHistory", "AllergyIntolerance", "MedicationRequest", "MedicationStatement", "Procedure", "Coverage", "Appointment",
    "Communication", "CommunicationRequest", "DetectedIssue", "DocumentReference", "Group", "MeasureReport",
)  # fmt: skip
CREATE_ONLY = ("Patient", "Encounter", "Organization", "Practitioner", "PractitionerRole", "Location", "HealthcareService")
DIRECTORY_TYPES = ("Organization", "Practitioner", "PractitionerRole", "Location", "HealthcareService")


@dataclass(frozen=True, slots=True)
class Partner:
    """One organisation that exchanges with the hub.

    ``organization`` is the id of its Organization here; ``identifiers`` (system, value) other people's names for it
    (NPI, facility codes such as PV1-37 values); ``senders`` the (MSH-3, MSH-4) pairs it may use; ``authorities``
    assigning authority (CX.4.1) → identifier system; ``zone`` its IANA time zone, None if unknown;
    ``processing_ids`` accepted MSH-11 values; ``opens_case`` when its ADT opens a case; ``dispositions`` the
    discharge dispositions it is the one receiver for. ``base_url`` None: it is not pushed to or polled.
    ``auth`` {"kind": "bearer", "secret": name} | {"kind": "none"}; ``dialect`` what the probe found.
    ``send``/``take`` resource types pushed to and pulled from it; ``width`` lanes by client (DECISIONS 22)."""

    name: str
    title: str = ""
    organization: str | None = None
    identifiers: tuple[tuple[str, str], ...] = ()
    role: Literal["hospital", "rehab", "home-care", "snf", "other"] = "other"
    senders: tuple[tuple[str, str], ...] = ()
    authorities: Mapping[str, str] = field(default_factory=dict)
    zone: str | None = None
    processing_ids: tuple[str, ...] = ("P",)
    opens_case: Literal["discharge", "admission", "roster", "never"] = "discharge"
    dispositions: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    lenient: bool = False
    base_url: str | None = None
    fhir_version: Literal["R4", "R5"] = "R4"
    auth: Mapping[str, Any] = field(default_factory=dict)
    send: tuple[str, ...] = PLAN_TYPES + CREATE_ONLY
    take: tuple[str, ...] = PLAN_TYPES
    width: int = 8
    poll_seconds: float = 60.0
    paused: bool = False
    dialect: Mapping[str, Any] = field(default_factory=dict)
    site: str | None = None
