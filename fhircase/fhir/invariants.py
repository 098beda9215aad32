"""Invariants of level error of R4 (the ``constraint`` rows of the StructureDefinitions), written as Python.

Each takes the object that the invariant stands on and says whether it holds; objects that are no JSON objects never come
here. Those on whole resources with contained ones (dom-2 to dom-5, ref-1, ele-1, ext-1) are with the walk in ``checks``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from fhircase.errors import Malformed
from fhircase.fhir import times

Object = dict[str, Any]

_UCUM = "http://unitsofmeasure.org"
_CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
_VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
_ALLERGY = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"


class Invariant(NamedTuple):
    key: str
    what: str
    holds: Callable[[Object], bool]
    at: str = ""
    """The element to point at, below the object."""


def has(item: Object, *names: str) -> bool:
    """Whether any of these elements exists, a primitive that has extensions only included."""
    return any(name in item or f"_{name}" in item for name in names)


def choice(item: Object, name: str) -> bool:
    """Whether ``name[x]`` exists in any type."""
    width = len(name)
    return any(
        (key.startswith(name) and key[width : width + 1].isupper())
        or (key[:1] == "_" and key.startswith(name, 1) and key[width + 1 : width + 2].isupper())
        for key in item
    )


def objects(value: Any) -> list[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def codings(concept: Any) -> list[Object]:
    return objects(concept.get("coding")) if isinstance(concept, dict) else []


def coded(concept: Any, system: str, *allowed: str) -> bool:
    """Whether a CodeableConcept has one of these codes of the system."""
    return any(coding.get("system") == system and coding.get("code") in allowed for coding in codings(concept))


def _number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def _ordered(start: Any, end: Any) -> bool:
    """False only when the start is surely after the end; precision and values that cannot be read are others' matter."""
    if not isinstance(start, str) or not isinstance(end, str):
        return True
    try:
        return times.bounds(start)[0] < times.bounds(end)[1]
    except Malformed:
        return True


def _range(item: Object) -> bool:
    low, high = item.get("low"), item.get("high")
    if not isinstance(low, dict) or not isinstance(high, dict):
        return True
    if (low.get("system"), low.get("code"), low.get("unit")) != (high.get("system"), high.get("code"), high.get("unit")):
        return True
    first, second = low.get("value"), high.get("value")
    return first is None or second is None or not (_number(first) and _number(second)) or bool(first <= second)


def _not_negative(name: str) -> Callable[[Object], bool]:
    return lambda item: not _number(item.get(name)) or bool(item[name] >= 0)


def _needs(name: str, other: str) -> Callable[[Object], bool]:
    return lambda item: not has(item, name) or has(item, other)


def _ucum(item: Object) -> bool:
    return (has(item, "code") or not has(item, "value")) and ("system" not in item or item["system"] == _UCUM)


def _trigger(item: Object) -> bool:
    kind = item.get("type")
    if kind == "named-event":
        return has(item, "name")
    if kind == "periodic":
        return choice(item, "timing")
    return not (isinstance(kind, str) and kind.startswith("data-")) or has(item, "data")


def _component_is_not_the_code(item: Object) -> bool:
    if not choice(item, "value"):
        return True
    mine = [[c.get("system"), c.get("code"), c.get("version"), c.get("display")] for c in codings(item.get("code"))]
    return not any(
        [c.get("system"), c.get("code"), c.get("version"), c.get("display")] in mine
        for component in objects(item.get("component"))
        for c in codings(component.get("code"))
    )


def _parameter(item: Object) -> bool:
    return (has(item, "part") + choice(item, "value") + has(item, "resource")) == 1


def _not_home(name: str) -> Callable[[Object], bool]:
    return lambda item: not any(entry.get("use") == "home" for entry in objects(item.get(name)))


def _entries(item: Object, name: str, types: tuple[str, ...]) -> bool:
    wanted = item.get("type") in types
    return all(has(entry, name) == wanted for entry in objects(item.get("entry")))


def _first(item: Object, type_: str) -> bool:
    entries = item.get("entry")
    first = entries[0] if isinstance(entries, list) and entries and isinstance(entries[0], dict) else {}
    resource = first.get("resource")
    return isinstance(resource, dict) and resource.get("resourceType") == type_


def _distinct(item: Object) -> bool:
    if item.get("type") == "history":
        return True
    seen = set()
    for entry in objects(item.get("entry")):
        url, resource = entry.get("fullUrl"), entry.get("resource")
        if isinstance(url, str):
            meta = resource.get("meta") if isinstance(resource, dict) else None
            key = (url, str(meta.get("versionId")) if isinstance(meta, dict) else "")
            if key in seen:
                return False
            seen.add(key)
    return True


def _not_modified_before_authored(item: Object) -> bool:
    return _ordered(item.get("authoredOn"), item.get("lastModified"))


def _percent(item: Object) -> bool:
    """Each end of a probability's range that is given is in percent of UCUM."""
    range_ = item.get("probabilityRange")
    ends = [range_[name] for name in ("low", "high") if name in range_] if isinstance(range_, dict) else []
    return all(isinstance(end, dict) and end.get("code") == "%" and end.get("system") == _UCUM for end in ends)


def _at_most_hundred(item: Object) -> bool:
    value: Any = item.get("probabilityDecimal")
    return not _number(value) or bool(value <= 100)


def _for_patient(code: str) -> Callable[[Object], bool]:
    return lambda item: has(item, "patient") or not coded(item.get("scope"), "something", code)


def _identified(item: Object) -> bool:
    identifier = item.get("identifier")
    return isinstance(identifier, dict) and has(identifier, "system") and has(identifier, "value")


_QUANTITY = Invariant("qty-3", "If a code for the unit is present, the system shall be present too", _needs("code", "system"))

INVARIANTS: Mapping[str, tuple[Invariant, ...]] = {
    # -- data types
    "Age": (
        _QUANTITY,
        Invariant(
            "age-1", "An age has a UCUM code and is above 0", lambda o: _ucum(o) and (not _number(o.get("value")) or bool(o["value"] > 0))
        ),
    ),
    "Attachment": (Invariant("att-1", "If the Attachment has data, it shall have a contentType", _needs("data", "contentType")),),
    "ContactPoint": (Invariant("cpt-2", "A system is required if a value is provided", _needs("value", "system")),),
    "Count": (
        _QUANTITY,
        Invariant(
            "cnt-3",
            "A count is a whole number with the UCUM code 1",
            lambda o: _ucum(o) and o.get("code") in (None, "1") and "." not in str(o.get("value")),
        ),
    ),
    "DataRequirement.codeFilter": (
        Invariant(
            "drq-1", "Either a path or a searchParam must be provided, but not both", lambda o: has(o, "path") != has(o, "searchParam")
        ),
    ),
    "DataRequirement.dateFilter": (
        Invariant(
            "drq-2", "Either a path or a searchParam must be provided, but not both", lambda o: has(o, "path") != has(o, "searchParam")
        ),
    ),
    "Distance": (_QUANTITY, Invariant("dis-1", "A distance has a UCUM code", _ucum)),
    "Duration": (
        _QUANTITY,
        Invariant(
            "drt-1",
            "A duration with a code has a value and the system of UCUM",
            lambda o: not has(o, "code") or (o.get("system") == _UCUM and has(o, "value")),
        ),
    ),
    "Expression": (Invariant("exp-1", "An expression or a reference must be provided", lambda o: has(o, "expression", "reference")),),
    "Period": (Invariant("per-1", "The start shall not be after the end", lambda o: _ordered(o.get("start"), o.get("end"))),),
    "Quantity": (_QUANTITY,),
    "Range": (Invariant("rng-2", "low shall not be above high", _range),),
    "Ratio": (
        Invariant(
            "rat-1",
            "Numerator and denominator shall both be present, or both be absent with an extension",
            lambda o: has(o, "numerator") == has(o, "denominator") and has(o, "numerator", "extension"),
        ),
    ),
    "Timing.repeat": (
        Invariant("tim-1", "A duration needs its unit", _needs("duration", "durationUnit")),
        Invariant("tim-2", "A period needs its unit", _needs("period", "periodUnit")),
        Invariant("tim-4", "duration shall not be negative", _not_negative("duration"), "duration"),
        Invariant("tim-5", "period shall not be negative", _not_negative("period"), "period"),
        Invariant("tim-6", "periodMax needs a period", _needs("periodMax", "period")),
        Invariant("tim-7", "durationMax needs a duration", _needs("durationMax", "duration")),
        Invariant("tim-8", "countMax needs a count", _needs("countMax", "count")),
        Invariant(
            "tim-9",
            "An offset needs a when other than C, CM, CD, CV",
            lambda o: (
                not has(o, "offset") or (isinstance(o.get("when"), list) and not any(w in ("C", "CM", "CD", "CV") for w in o["when"]))
            ),
        ),
        Invariant("tim-10", "timeOfDay and when exclude each other", lambda o: not (has(o, "timeOfDay") and has(o, "when"))),
    ),
    "TriggerDefinition": (
        Invariant("trd-1", "Either timing, or a data requirement, but not both", lambda o: not (has(o, "data") and choice(o, "timing"))),
        Invariant("trd-2", "A condition only if there is a data requirement", _needs("condition", "data")),
        Invariant("trd-3", "A named event has a name, a periodic one a timing, a data event its data", _trigger),
    ),
    # -- resources
    "AllergyIntolerance": (
        Invariant(
            "ait-1",
            "clinicalStatus shall be present unless entered in error",
            lambda o: coded(o.get("verificationStatus"), _ALLERGY, "entered-in-error") or has(o, "clinicalStatus"),
            "clinicalStatus",
        ),
        Invariant(
            "ait-2",
            "clinicalStatus shall not be present if entered in error",
            lambda o: not coded(o.get("verificationStatus"), _ALLERGY, "entered-in-error") or not has(o, "clinicalStatus"),
            "clinicalStatus",
        ),
    ),
    "Appointment": (
        Invariant("app-2", "Either start and end are specified, or neither", lambda o: has(o, "start") == has(o, "end")),
        Invariant(
            "app-3",
            "Only proposed, cancelled or waitlist appointments can be without start and end",
            lambda o: (has(o, "start") and has(o, "end")) or o.get("status") in ("proposed", "cancelled", "waitlist"),
        ),
        Invariant(
            "app-4",
            "cancelationReason is for cancelled and no-show",
            lambda o: not has(o, "cancelationReason") or o.get("status") in ("no-show", "cancelled"),
        ),
    ),
    "Appointment.participant": (Invariant("app-1", "Either the type or the actor shall be specified", lambda o: has(o, "type", "actor")),),
    "AuditEvent.entity": (Invariant("sev-1", "Either a name or a query, not both", lambda o: not (has(o, "name") and has(o, "query"))),),
    "Bundle": (
        Invariant(
            "bdl-1",
            "total is only for a searchset or a history",
            lambda o: not has(o, "total") or o.get("type") in ("searchset", "history"),
            "total",
        ),
        Invariant(
            "bdl-2",
            "entry.search is only for a searchset",
            lambda o: o.get("type") == "searchset" or not any(has(e, "search") for e in objects(o.get("entry"))),
            "entry",
        ),
        Invariant(
            "bdl-3",
            "entry.request is mandatory in a batch, transaction or history, else forbidden",
            lambda o: _entries(o, "request", ("batch", "transaction", "history")),
            "entry",
        ),
        Invariant(
            "bdl-4",
            "entry.response is mandatory in a batch-response, transaction-response or history, else forbidden",
            lambda o: _entries(o, "response", ("batch-response", "transaction-response", "history")),
            "entry",
        ),
        Invariant("bdl-7", "fullUrl is unique in a bundle, or its resources have different versions", _distinct, "entry"),
        Invariant(
            "bdl-9",
            "A document has an identifier with system and value",
            lambda o: o.get("type") != "document" or _identified(o),
            "identifier",
        ),
        Invariant("bdl-10", "A document has a timestamp", lambda o: o.get("type") != "document" or "timestamp" in o, "timestamp"),
        Invariant(
            "bdl-11", "A document begins with a Composition", lambda o: o.get("type") != "document" or _first(o, "Composition"), "entry"
        ),
        Invariant(
            "bdl-12", "A message begins with a MessageHeader", lambda o: o.get("type") != "message" or _first(o, "MessageHeader"), "entry"
        ),
    ),
    "Bundle.entry": (
        Invariant("bdl-5", "An entry has a resource, a request or a response", lambda o: has(o, "resource", "request", "response")),
        Invariant(
            "bdl-8",
            "fullUrl shall not name a version",
            lambda o: not isinstance(o.get("fullUrl"), str) or "/_history/" not in o["fullUrl"],
            "fullUrl",
        ),
    ),
    "CarePlan.activity": (
        Invariant("cpl-3", "Provide a reference or detail, not both", lambda o: not (has(o, "detail") and has(o, "reference"))),
    ),
    "Composition.section": (
        Invariant("cmp-1", "A section has text, entries or sections", lambda o: has(o, "text", "entry", "section")),
        Invariant("cmp-2", "A section has an emptyReason only if it is empty", lambda o: not (has(o, "emptyReason") and has(o, "entry"))),
    ),
    "Condition": (
        Invariant(
            "con-4",
            "A condition that abated has the clinicalStatus inactive, resolved or remission",
            lambda o: not choice(o, "abatement") or coded(o.get("clinicalStatus"), _CLINICAL, "resolved", "remission", "inactive"),
            "clinicalStatus",
        ),
        Invariant(
            "con-5",
            "clinicalStatus shall not be present if entered in error",
            lambda o: not coded(o.get("verificationStatus"), _VERIFICATION, "entered-in-error") or not has(o, "clinicalStatus"),
            "clinicalStatus",
        ),
    ),
    "Condition.evidence": (Invariant("con-2", "Evidence has a code or details", lambda o: has(o, "code", "detail")),),
    "Condition.stage": (Invariant("con-1", "A stage has a summary or an assessment", lambda o: has(o, "summary", "assessment")),),
    "Consent": (
        Invariant("ppc-1", "Either a policy or a policyRule", lambda o: has(o, "policy", "policyRule")),
        # R4 published these four with 'something' for the system.
        Invariant("ppc-2", "A privacy consent has a patient", _for_patient("patient-privacy"), "patient"),
        Invariant("ppc-3", "A consent to research has a patient", _for_patient("research"), "patient"),
        Invariant("ppc-4", "An advance directive has a patient", _for_patient("adr"), "patient"),
        Invariant("ppc-5", "A consent to treatment has a patient", _for_patient("treatment"), "patient"),
    ),
    "FamilyMemberHistory": (
        Invariant("fhs-1", "Either an age or a birth, not both", lambda o: not (choice(o, "age") and choice(o, "born"))),
        Invariant("fhs-2", "estimatedAge only with an age", lambda o: choice(o, "age") or not has(o, "estimatedAge"), "estimatedAge"),
    ),
    "Goal.target": (Invariant("gol-1", "measure is required if detail is given", lambda o: has(o, "measure") or not choice(o, "detail")),),
    "Group": (Invariant("grp-1", "Only an actual group has members", lambda o: not has(o, "member") or o.get("actual") is True),),
    "Immunization.education": (
        Invariant("imm-1", "One of documentType or reference shall be present", lambda o: has(o, "documentType", "reference")),
    ),
    "List": (
        Invariant("lst-1", "A list has an emptyReason only if it is empty", lambda o: not (has(o, "emptyReason") and has(o, "entry"))),
        Invariant(
            "lst-2",
            "deleted is only for the mode changes",
            lambda o: o.get("mode") == "changes" or not any(has(e, "deleted") for e in objects(o.get("entry"))),
        ),
        Invariant(
            "lst-3",
            "An entry's date is only for the mode working",
            lambda o: o.get("mode") == "working" or not any(has(e, "date") for e in objects(o.get("entry"))),
        ),
    ),
    "MeasureReport": (
        Invariant(
            "mrp-1",
            "A report of collected data has no groups",
            lambda o: o.get("type") != "data-collection" or not has(o, "group"),
            "group",
        ),
    ),
    "MeasureReport.group.stratifier.stratum": (
        Invariant("mrp-2", "A stratum has a value or components, not both", lambda o: has(o, "value") != has(o, "component")),
    ),
    "Observation": (
        Invariant(
            "obs-6",
            "dataAbsentReason only without a value",
            lambda o: not (has(o, "dataAbsentReason") and choice(o, "value")),
            "dataAbsentReason",
        ),
        Invariant("obs-7", "A component with the Observation's own code excludes a value of the Observation", _component_is_not_the_code),
    ),
    "Observation.referenceRange": (Invariant("obs-3", "Must have a low, a high or text", lambda o: has(o, "low", "high", "text")),),
    "Organization": (
        Invariant("org-1", "An organization has a name or an identifier", lambda o: has(o, "name", "identifier")),
        Invariant("org-2", "An organization's address is never of use home", _not_home("address"), "address"),
        Invariant("org-3", "An organization's telecom is never of use home", _not_home("telecom"), "telecom"),
    ),
    "Parameters.parameter": (Invariant("inv-1", "A parameter has exactly one of value, resource and part", _parameter),),
    "Patient.contact": (
        Invariant(
            "pat-1",
            "A contact has details or a reference to an organization",
            lambda o: has(o, "name", "telecom", "address", "organization"),
        ),
    ),
    "QuestionnaireResponse.item": (
        Invariant(
            "qrs-1", "Items stand beneath the item or beneath its answer, not both", lambda o: not (has(o, "answer") and has(o, "item"))
        ),
    ),
    "RequestGroup.action": (
        Invariant("rqg-1", "An action has a resource or actions, not both", lambda o: has(o, "resource") != has(o, "action")),
    ),
    "RiskAssessment.prediction": (
        Invariant("ras-1", "The ends of a probability are in % of UCUM", _percent, "probability"),
        Invariant("ras-2", "A probability is at most 100", _at_most_hundred, "probability"),
    ),
    "ServiceRequest": (Invariant("prr-1", "orderDetail needs a code", _needs("orderDetail", "code"), "orderDetail"),),
    "Task": (Invariant("inv-1", "lastModified shall not be before authoredOn", _not_modified_before_authored, "lastModified"),),
}
