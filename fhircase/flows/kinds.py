"""The parts of a case document: which mapping reads and writes each, in which FHIR type it lives, how it is told from others of
that type, and where the plan refers to it (CONCEPTS.md, one row a part)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fhircase.errors import Conflict, NotFound
from fhircase.flows.hub import Hub
from fhircase.mapping import schema
from fhircase.plans import membership
from fhircase.plans.change import Resource

Doc = dict[str, Any]

SHOWN = ("id", "version", "number", "apart")
"""What an entry shows beside its mapped fields; the hub's, not changed by a patch. ``number`` its business identifier, where
that is not the id; ``apart`` true: it belongs to the client, not to this case."""

PROPOSED = frozenset({"proposal", "option", "plan"})
"""Intents of a request that nobody has ordered yet."""

FIXED = ("id", "client")
"""Fields of every entry that the hub fills."""


def _any(body: Resource) -> bool:
    return True


def _coded(element: str, system: str, *codes: str) -> Callable[[Resource], bool]:
    """A mark: one of the codes in ``element`` (a CodeableConcept or a list of them)."""
    wanted = {(system, code) for code in codes}

    def mark(body: Resource) -> bool:
        held = body.get(element)
        for concept in held if isinstance(held, list) else [held]:
            codings = concept.get("coding") if isinstance(concept, dict) else None
            for coding in codings if isinstance(codings, list) else ():
                if isinstance(coding, dict) and (coding.get("system"), coding.get("code")) in wanted:
                    return True
        return False

    return mark


def _focus(*types: str) -> Callable[[Resource], bool]:
    starts = tuple(type_ + "/" for type_ in types)

    def mark(body: Resource) -> bool:
        focus = body.get("focus")
        text = focus.get("reference") if isinstance(focus, dict) else None
        return isinstance(text, str) and text.startswith(starts)

    return mark


@dataclass(frozen=True, slots=True)
class Kind:
    """A list of the case view, or a single part. ``mapping`` reads and writes it; ``type`` is its FHIR type; ``link`` the element
    of the plan that refers to it (``activity`` for activity.reference; '' for none); ``system`` that of its business identifier;
    ``mark`` whether a resource of the type is one of these: the first part of the table whose mark fits has it. ``fill`` holds
    words that every entry has (merged into lists), which is what its mark looks for. ``entered`` False: intake and the hub make
    them, nobody adds one by hand. ``part_of``: the field in which a new entry names the plan of the case. ``taking_part``: for a
    type without a field for the client, what the client is among its members or participants unless the document says
    otherwise. ``spoken``: a field that is somebody's word, and the field that says whose; the client's unless it is said."""

    mapping: str
    type: str
    link: str = ""
    system: str = ""
    mark: Callable[[Resource], bool] = _any
    fill: Mapping[str, Any] = field(default_factory=dict)
    entered: bool = True
    part_of: str = ""
    taking_part: Mapping[str, Any] | None = None
    spoken: tuple[str, str] | None = None


_ASSESSMENT = "urn:fhircase:codes:assessment-kind"
_TOPIC = "urn:fhircase:codes:observation-topic"
_US_CORE = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category"
_PLAN_KIND = "urn:fhircase:codes:plan-kind"
_SERVICES = ("ServiceRequest", "DeviceRequest", "NutritionOrder", "MedicationRequest", "RequestGroup")

KINDS: Mapping[str, Kind] = {
    "goals": Kind("goal", "Goal", "goal", "urn:fhircase:goal", spoken=("acceptance", "accepted_by")),
    "services": Kind("service", "ServiceRequest", "activity", "urn:fhircase:service"),
    "equipment": Kind("equipment", "DeviceRequest", "activity", "urn:fhircase:equipment"),
    "nutrition": Kind("nutrition", "NutritionOrder", "activity", "urn:fhircase:nutrition"),
    "groups": Kind("request-group", "RequestGroup", "activity", "urn:fhircase:request-group"),
    "handovers": Kind("handover", "Task", mark=membership.is_handover, entered=False),
    "loops": Kind("task", "Task", system="urn:fhircase:task", mark=_focus(*_SERVICES)),
    "tasks": Kind("task", "Task", system="urn:fhircase:task"),
    "needs": Kind("need", "Condition", "addresses", "urn:fhircase:need"),
    "strengths": Kind(
        "strength", "Observation", "supportingInfo", "urn:fhircase:strength", _coded("category", _ASSESSMENT, "strength"),
        {"kinds": ("strength",)},
    ),
    "preferences": Kind(
        "preference", "Observation", "supportingInfo", "urn:fhircase:preference",
        _coded("category", _US_CORE, "care-experience-preference", "treatment-intervention-preference"),
    ),
    "stability": Kind(
        "stability", "Observation", "supportingInfo", "urn:fhircase:stability", _coded("category", _ASSESSMENT, "stability"),
        {"kinds": ("stability",)},
    ),
    "outcomes": Kind(
        "outcome", "Observation", "supportingInfo", "urn:fhircase:outcome", _coded("category", _ASSESSMENT, "outcome"),
        {"kinds": ("outcome",)},
    ),
    "family_links": Kind(
        "family-link", "Observation", "supportingInfo", "urn:fhircase:family-link", _coded("code", _TOPIC, "family-link"),
        {"kinds": ("family-link",)},
    ),
    "assessments": Kind("assessment", "Observation", "supportingInfo", "urn:fhircase:assessment"),
    "questionnaires": Kind("questionnaire", "QuestionnaireResponse", "supportingInfo", "urn:fhircase:questionnaire"),
    "family_history": Kind("family-history", "FamilyMemberHistory", "", "urn:fhircase:family-history"),
    "medications": Kind("medication", "MedicationRequest", "activity", "urn:fhircase:medication"),
    "medication_use": Kind("medication-use", "MedicationStatement", "", "urn:fhircase:medication-use"),
    "allergies": Kind("allergy", "AllergyIntolerance", "", "urn:fhircase:allergy"),
    "crisis_plans": Kind(
        "crisis-plan", "CarePlan", "", "urn:fhircase:crisis-plan", _coded("category", _PLAN_KIND, "crisis"), {"kinds": ("crisis",)},
        part_of="part_of",
    ),
    "other_plans": Kind("plan", "CarePlan", entered=False),
    "contacts": Kind("contact", "RelatedPerson", "", "urn:fhircase:contact"),
    "households": Kind("household", "Group", "", "urn:fhircase:household", taking_part={}),
    "consents": Kind("consent", "Consent", "", "urn:fhircase:consent"),
    "coverages": Kind("coverage", "Coverage", "", "urn:fhircase:coverage"),
    "appointments": Kind("appointment", "Appointment", "", "urn:fhircase:appointment", taking_part={"answer": "needs-action"}),
    "communications": Kind("communication", "Communication", "", "urn:fhircase:communication"),
    "planned_contacts": Kind("planned-contact", "CommunicationRequest", "", "urn:fhircase:planned-contact"),
    "flags": Kind("flag", "Flag", "", "urn:fhircase:flag"),
    "risks": Kind("risk", "RiskAssessment", "supportingInfo", "urn:fhircase:risk"),
    "procedures": Kind("procedure", "Procedure", "", "urn:fhircase:procedure"),
    "issues": Kind("issue", "DetectedIssue", "", "urn:fhircase:issue"),
    "reports": Kind("measure-report", "MeasureReport", "", "urn:fhircase:measure-report"),
    "documents": Kind("document", "DocumentReference", "supportingInfo", "urn:fhircase:document"),
    "visits": Kind("visit", "Encounter", entered=False),
}
"""Lists, in the order in which they are shown. Of several with one type, the marked ones stand first."""

SINGLES: Mapping[str, Kind] = {
    "episode": Kind("episode", "EpisodeOfCare"),
    "plan": Kind("plan", "CarePlan"),
    "team": Kind("team", "CareTeam"),
}

MAPPED: Mapping[str, tuple[str, ...]] = {
    type_: tuple(name for name, kind in KINDS.items() if kind.type == type_) for type_ in dict.fromkeys(k.type for k in KINDS.values())
}
"""FHIR type → the lists that it may stand in."""


def of(body: Resource) -> str | None:
    """The list that a resource stands in; None for one that no list shows."""
    for name in MAPPED.get(str(body.get("resourceType")), ()):
        if KINDS[name].mark(body):
            return name
    return None


def named(what: str) -> Kind:
    """A list or a single part. Raises NotFound."""
    found = SINGLES.get(what) or KINDS.get(what)
    if found is None:
        raise NotFound(f"a case has no {what[:40]}", hint="it has " + ", ".join([*KINDS, *SINGLES]))
    return found


def to_add(what: str) -> Kind:
    """A list that entries are added to. Raises NotFound, Conflict for one that intake or the hub fills."""
    kind = KINDS.get(what)
    if kind is None:
        raise NotFound(f"a case has no {what[:40]}", hint="it has " + ", ".join(KINDS))
    if not kind.entered:
        raise Conflict(f"{what} are not added here", hint="they come from intake and from hand-overs")
    return kind


def filled(kind: Kind, doc: Doc) -> Doc:
    """``doc`` with the words that every entry of its list has."""
    made = dict(doc)
    for name, value in kind.fill.items():
        if isinstance(value, tuple):
            held = made.get(name)
            held = held if isinstance(held, list) else []
            made[name] = [*held, *(one for one in value if one not in held)]
        else:
            made[name] = value
    return made


def with_client(kind: Kind, doc: Doc, client: str) -> Doc:
    """A new entry with the client among those who take part, for a type that has no other field for them."""
    if kind.taking_part is None:
        return doc
    name = "participants" if kind.type == "Appointment" else "members"
    held = doc.get(name, [])
    if not isinstance(held, list) or any(isinstance(one, dict) and one.get("person") == client for one in held):
        return doc
    return {**doc, name: [{"person": client, **kind.taking_part}, *held]}


def shape(hub: Hub, kind: Kind) -> schema.Shape:
    """The JSON Schema of an entry of ``kind``; ``id`` and ``client`` are the hub's to fill."""
    return schema.of(hub.maps.mapping(kind.mapping), FIXED)


DESCRIBED: Mapping[str, Any] = {
    "id": {"type": "string", "readOnly": True},
    "version": {"type": "integer", "readOnly": True},
    "number": {"type": "string", "readOnly": True, "description": "its business identifier, where that is not the id"},
    "apart": {"type": "boolean", "readOnly": True, "description": "true: it belongs to the client, not to this case"},
}
"""JSON Schema of SHOWN."""


def schemas(hub: Hub) -> dict[str, Any]:
    """Every case document, for ``/openapi.json``: ``Goal``, ``Service`` … and the whole ``Case``; of each what a merge patch may
    hold (``GoalPatch`` … ``CasePatch``). Nothing on a plain server."""
    if hub.maps is None:
        return {}
    kinds = {**SINGLES, **KINDS}
    made: dict[str, Any] = {"Client": schema.of(hub.maps.mapping("client"), ("id",)).schema}
    made |= {title(kind.mapping): shape(hub, kind).schema for kind in kinds.values()}
    made = {name: {**one, "properties": {**one["properties"], **DESCRIBED}} for name, one in made.items()}
    made |= {f"{name}Patch": schema.patch_of(one) for name, one in made.items() if name != "Client"}
    held: dict[str, Any] = {"client": {"$ref": "#/components/schemas/Client"}}
    patched: dict[str, Any] = {}
    for name, kind in kinds.items():
        held[name] = {"type": "array", "items": reference(kind)} if name in KINDS else reference(kind)
        patched[name] = _entries_patch(kind) if name in KINDS else reference(kind, "Patch")
    made["Case"] = {"type": "object", "properties": {"id": {"type": "string"}, **held, **COMPUTED}, "description": "One case, whole"}
    told = "Merge patch (RFC 7396) of parts of a case. A list is patched by the ids of its entries; #name makes a new one"
    made["CasePatch"] = {"type": "object", "properties": patched, "additionalProperties": False, "description": told}
    return made


def _entries_patch(kind: Kind) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object", "additionalProperties": reference(kind, "Patch")}
    return {**made, "patternProperties": {"^#": reference(kind)}} if kind.entered else made


def additions() -> dict[str, Any]:
    """JSON Schema of an entry that is added to one of the lists."""
    entered = {name: kind for name, kind in KINDS.items() if kind.entered}
    return _one_of(entered, "")


def patches(kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """JSON Schema of a merge patch of one of ``kinds``."""
    return _one_of(kinds, "Patch")


def _one_of(kinds: Mapping[str, Kind], of: str) -> dict[str, Any]:
    told = ", ".join(f"{name}: {title(kind.mapping)}{of}" for name, kind in kinds.items())
    unique = {title(kind.mapping): reference(kind, of) for kind in kinds.values()}
    return {"anyOf": list(unique.values()), "description": f"By the part that the address names. {told}"}


def reference(kind: Kind, of: str = "") -> dict[str, str]:
    """To the schema of an entry in ``/openapi.json``, or (``Patch``) of a merge patch of one."""
    return {"$ref": f"#/components/schemas/{title(kind.mapping)}{of}"}


def _told(description: str, **properties: Any) -> Doc:
    return {"type": "object", "readOnly": True, "description": description, "properties": properties}


_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}

COMPUTED: Mapping[str, Any] = {
    "asked": _told(
        "what the models and kinds of the case ask for", models=_TEXTS, kinds=_TEXTS, contact_days={"type": "integer"},
        review_days={"type": "integer"}, performed_by=_TEXT, domains=_TEXTS, outcomes=_TEXTS,
    ),
    "people": {
        "type": "array",
        "items": _told(
            "a professional of the team", person=_TEXT, name=_TEXT, qualifications={"type": "array"}, roles={"type": "array"}
        ),
    },
    "attention": {
        "type": "array",
        "items": _told(
            "what deserves a look today; closes by itself", rule=_TEXT, severity={"enum": ["high", "medium", "low"]}, about=_TEXT,
            what=_TEXT, hint=_TEXT,
        ),
    },
}
"""What a case shows beside its parts: computed when it is read, never stored."""


def title(mapping: str) -> str:
    """The schema's name: ``family-history`` → ``FamilyHistory``."""
    return "".join(part.capitalize() for part in mapping.split("-"))


