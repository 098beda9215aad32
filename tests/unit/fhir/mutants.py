"""Resources with one defect each, made from the R4 tables: nothing about an element is listed by hand.

A host is the least valid resource that has one element; a mutant is its host with that element spoilt. What the invariants
ask of a host beside the required elements stands in ``NEEDS``, ``WITH`` and ``AT_THE_ROOT``; how each invariant is broken, in
``BREAKS``."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fhircase.fhir import definitions
from fhircase.fhir.definitions import Element

Object = dict[str, Any]

TYPES = tuple(
    "Patient RelatedPerson Practitioner PractitionerRole Organization Location HealthcareService Encounter EpisodeOfCare Condition "
    "Observation QuestionnaireResponse FamilyMemberHistory AllergyIntolerance RiskAssessment CarePlan CareTeam Goal ServiceRequest "
    "DeviceRequest NutritionOrder RequestGroup Task Procedure Communication CommunicationRequest Consent Coverage Flag DetectedIssue "
    "MedicationRequest MedicationStatement Appointment DocumentReference Composition Bundle MeasureReport Provenance Group "
    "Subscription".split()
)
DATA_TYPES = tuple(sorted(t for t in definitions.elements("Extension")["value[x]"].types if not definitions.is_primitive(t)))

UCUM = "http://unitsofmeasure.org"
URL = "http://example.org/x"
ALLERGY = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"
ALLERGY_VERIFICATION = "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification"
CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"
VERIFICATION = "http://terminology.hl7.org/CodeSystem/condition-ver-status"
DIV = '<div xmlns="http://www.w3.org/1999/xhtml">%s</div>'

PRIMITIVES: Mapping[str, Any] = {
    "base64Binary": "AAAA",
    "boolean": True,
    "canonical": URL,
    "code": "x",
    "date": "2026-01-02",
    "dateTime": "2026-01-02",
    "decimal": 1,
    "id": "x",
    "instant": "2026-01-02T03:04:05Z",
    "integer": 1,
    "markdown": "x",
    "oid": "urn:oid:1.2.3",
    "positiveInt": 1,
    "string": "x",
    "time": "03:04:05",
    "unsignedInt": 1,
    "uri": URL,
    "url": URL,
    "uuid": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a",
    "xhtml": DIV % "x",
}
FORMS = {"mimetype": "text/plain", "currency": "EUR"}


def coded(system: str, code: str) -> Object:
    return {"coding": [{"system": system, "code": code}]}


NEEDS: Mapping[str, Object] = {
    "Age": {"value": 1, "system": UCUM, "code": "a"},
    "AllergyIntolerance": {"clinicalStatus": coded(ALLERGY, "active")},
    "Appointment": {"status": "proposed"},
    "Appointment.participant": {"actor": {"reference": "Patient/x"}},
    "Bundle": {"type": "collection"},
    "Bundle.entry": {"resource": {"resourceType": "Basic", "code": {"text": "x"}}},
    "CarePlan.activity": {"reference": {"reference": "Task/x"}},
    "Composition.section": {"text": {"status": "generated", "div": DIV % "x"}},
    "Condition.evidence": {"code": [{"text": "x"}]},
    "Condition.stage": {"summary": {"text": "x"}},
    "Consent": {"policyRule": {"text": "x"}},
    "Count": {"value": 1, "system": UCUM, "code": "1"},
    "DataRequirement.codeFilter": {"path": "x"},
    "DataRequirement.dateFilter": {"path": "x"},
    "Distance": {"value": 1, "system": UCUM, "code": "m"},
    "Duration": {"value": 1, "system": UCUM, "code": "d"},
    "Expression": {"expression": "x"},
    "Extension": {"valueString": "x"},
    "Goal.target": {"dueDate": "2026"},
    "MeasureReport": {"type": "summary"},
    "MeasureReport.group.stratifier.stratum": {"value": {"text": "x"}},
    "Observation.referenceRange": {"text": "x"},
    "Organization": {"name": "x"},
    "Patient.contact": {"name": {"text": "x"}},
    "Quantity": {"value": 1},
    "Range": {"low": {"value": 1}},
    "Ratio": {"numerator": {"value": 1}, "denominator": {"value": 1}},
    "Reference": {"display": "x"},
    "RequestGroup.action": {"resource": {"reference": "Task/x"}},
    "TriggerDefinition": {"type": "named-event", "name": "x"},
}
"""Per type, what its invariants ask for beside the required elements."""

_DATA: Object = {"type": "data-added", "data": [{"type": "Patient"}]}
WITH: Mapping[tuple[str, str], Object] = {
    ("Appointment", "cancelationReason"): {"status": "cancelled"},
    ("Appointment", "end"): {"start": "2026-01-02T03:04:05Z"},
    ("Appointment", "start"): {"end": "2026-01-02T03:04:05Z"},
    ("Attachment", "data"): {"contentType": "text/plain"},
    ("CarePlan.activity", "detail"): {"reference": ...},
    ("CareTeam.participant", "onBehalfOf"): {"member": {"reference": "Practitioner/x"}},
    ("Condition", "abatement[x]"): {"clinicalStatus": coded(CLINICAL, "resolved")},
    ("ContactPoint", "value"): {"system": "phone"},
    ("DataRequirement.codeFilter", "searchParam"): {"path": ...},
    ("DataRequirement.dateFilter", "searchParam"): {"path": ...},
    ("Extension", "extension"): {"valueString": ...},
    ("FamilyMemberHistory", "estimatedAge"): {"ageString": "x"},
    ("Goal.target", "detail[x]"): {"measure": {"text": "x"}},
    ("MeasureReport.group.stratifier.stratum", "component"): {"value": ...},
    ("Quantity", "code"): {"system": UCUM},
    ("RequestGroup.action", "action"): {"resource": ...},
    ("ServiceRequest", "orderDetail"): {"code": {"text": "x"}},
    ("Timing.repeat", "countMax"): {"count": 1},
    ("Timing.repeat", "duration"): {"durationUnit": "d"},
    ("Timing.repeat", "durationMax"): {"duration": 1, "durationUnit": "d"},
    ("Timing.repeat", "offset"): {"when": ["MORN"]},
    ("Timing.repeat", "period"): {"periodUnit": "d"},
    ("Timing.repeat", "periodMax"): {"period": 1, "periodUnit": "d"},
    ("TriggerDefinition", "condition"): _DATA,
    ("TriggerDefinition", "data"): {"type": "data-added"},
    ("TriggerDefinition", "timing[x]"): {"type": "periodic"},
}
"""Per element, what its invariants ask of its siblings; ``...`` takes one away."""

AT_THE_ROOT: Mapping[str, Object] = {
    "Bundle.entry.request": {"type": "batch"},
    "Bundle.entry.response": {"type": "batch-response"},
    "Bundle.entry.search": {"type": "searchset"},
    "Bundle.total": {"type": "searchset"},
}
"""The same, asked of the whole resource by an element or what is below it."""

VALUES: Mapping[tuple[str, str], Any] = {
    ("Age", "system"): UCUM,
    ("Appointment", "status"): "proposed",
    ("Count", "code"): "1",
    ("Count", "system"): UCUM,
    ("Distance", "system"): UCUM,
    ("Duration", "system"): UCUM,
    ("Reference", "reference"): "Patient/x",
    ("RiskAssessment.prediction", "probabilityRange"): {"low": {"value": 1, "system": UCUM, "code": "%"}},
    ("TriggerDefinition", "type"): "named-event",
}


def _join(item: Object, more: Object) -> Object:
    made = {**item, **copy.deepcopy({name: value for name, value in more.items() if value is not ...})}
    for name, value in more.items():
        if value is ...:
            made.pop(name, None)
    return made


def member(name: str, type_: str) -> str:
    """The JSON member of an element: ``value[x]`` of type Age is ``valueAge``."""
    return name.removesuffix("[x]") + type_[0].upper() + type_[1:] if name.endswith("[x]") else name


def least(type_: str) -> Object:
    """The least valid object of a type; a resource with its resourceType."""
    made: Object = {"resourceType": type_} if definitions.is_resource(type_) else {}
    rows = definitions.elements(type_)
    for row in rows.values():
        if row.min:
            made[member(row.name, row.types[0])] = value(type_, row, row.types[0])
    made = _join(made, NEEDS.get(type_, {}))
    if not made:
        row = next(row for row in rows.values() if row.name not in ("id", "extension", "modifierExtension"))
        made[member(row.name, row.types[0])] = value(type_, row, row.types[0])
    return made


def value(group: str, row: Element, type_: str) -> Any:
    """A valid value of an element: a list where many are allowed."""
    made = VALUES.get((group, member(row.name, type_)))
    if made is None:
        made = _one(row, type_)
    return [made] if row.max != 1 else made


def _one(row: Element, type_: str) -> Any:
    if row.codes:
        system, codes = sorted(definitions.codes(row.codes).items())[0]
        code = sorted(codes)[0]
        return {"code": code, "Coding": {"system": system, "code": code}, "CodeableConcept": coded(system, code)}[type_]
    if row.form:
        return FORMS[row.form]
    if type_ == "Resource":
        return {"resourceType": "Basic", "id": "c", "code": {"text": "x"}}
    if type_ == "Reference":
        return {"reference": f"{row.targets[0] if row.targets else 'Patient'}/x"}
    return PRIMITIVES[type_] if definitions.is_primitive(type_) else least(type_)


class Place(NamedTuple):
    """An element in its host. ``parent`` leads from the resource to the object that has it; ``path`` is its FHIRPath."""

    resource: Object
    parent: tuple[str | int, ...]
    group: str
    row: Element
    type: str
    path: str

    @property
    def member(self) -> str:
        return member(self.row.name, self.type)

    def spoilt(self, value: Any) -> Object:
        """The host with another value there; ``...`` takes the element away."""
        made = copy.deepcopy(self.resource)
        item: Any = made
        for step in self.parent:
            item = item[step]
        if value is ...:
            del item[self.member]
        else:
            item[self.member] = value
        return made

    @property
    def value(self) -> Any:
        item: Any = self.resource
        for step in self.parent:
            item = item[step]
        return item[self.member]


class Context(NamedTuple):
    """Where objects of a type (``Goal.target``, ``Age``) stand in a resource."""

    resource: Object
    parent: tuple[str | int, ...]
    path: str

    def having(self, more: Object) -> Object:
        made = copy.deepcopy(self.resource)
        item: Any = made
        for step in self.parent:
            item = item[step]
        joined = _join(item, more)
        item.clear()
        item.update(joined)
        return made


def context(type_: str) -> Context:
    """The least valid resource with an object of that type: a data type stands in an extension."""
    head, *steps = type_.split(".")
    if head == "Narrative":
        return Context(least("Goal") | {"text": least("Narrative")}, ("text",), "Goal.text")
    if head == "Extension":
        return Context(least("Goal") | {"extension": [least("Extension")]}, ("extension", 0), "Goal.extension[0]")
    if definitions.is_resource(head):
        resource, parent, path = least(head), (), head
        item = resource
    else:
        resource = least("Goal") | {"extension": [{"url": URL, f"value{head}": least(head)}]}
        item, parent, path = resource["extension"][0][f"value{head}"], ("extension", 0, f"value{head}"), "Goal.extension[0].value"
    here, whole = head, type_
    for prefix, more in AT_THE_ROOT.items():
        if f"{whole}.".startswith(f"{prefix}."):
            resource.update(more)
    for step in steps:
        row = definitions.elements(here)[step]
        joined = _join(item, WITH.get((here, step), {}))
        item.clear()
        item.update(joined)
        made = least(f"{here}.{step}")
        item[step] = [made] if row.max != 1 else made
        item = made
        parent = (*parent, step, 0) if row.max != 1 else (*parent, step)
        path += f".{step}[0]" if row.max != 1 else f".{step}"
        here = f"{here}.{step}"
    return Context(resource, parent, path)


def groups(type_: str) -> Iterator[str]:
    """A type and its backbones at any depth."""
    yield type_
    for row in definitions.elements(type_).values():
        if row.types[0] == f"{type_}.{row.name}":
            yield from groups(row.types[0])


def places(type_: str) -> Iterator[Place]:
    """Every element of a type and of its backbones, a choice once a type, each in a host of its own."""
    for group in groups(type_):
        at = context(group)
        for row in definitions.elements(group).values():
            for kind in row.types:
                name = member(row.name, kind)
                more = WITH.get((group, row.name), {}) | {name: value(group, row, kind)}
                if row.name.endswith("[x]"):
                    more = {member(row.name, other): ... for other in row.types if other != kind} | more
                resource = at.having(more)
                if row.name == "contained":
                    resource["extension"] = [{"url": URL, "valueReference": {"reference": "#c"}}]
                resource.update(AT_THE_ROOT.get(f"{group}.{row.name}", {}))
                yield Place(resource, at.parent, group, row, kind, f"{at.path}.{row.name.removesuffix('[x]')}")


class Mutant(NamedTuple):
    kind: str
    type: str
    resource: Object
    path: str
    """The element that is to be named, or the one around it."""
    key: str = ""
    """The invariant, where it is one."""


_NOWHERE: Mapping[str, Any] = {
    "code": "no-such-code",
    "Coding": {"system": URL, "code": "no-such-code"},
    "CodeableConcept": coded(URL, "no-such-code"),
}


def of_element(type_: str, place: Place) -> Iterator[Mutant]:
    row, many = place.row, place.row.max != 1
    good = place.value

    def made(kind: str, value: Any, path: str = place.path, key: str = "") -> Mutant:
        return Mutant(kind, type_, place.spoilt(value), path, key)

    def one(value: Any) -> Any:
        return [value] if many else value

    if row.min:
        yield made("required element removed", ..., place.path.rpartition(".")[0])
    if many:
        yield made("list as single", good[0])
        yield made("list emptied", [])
        if row.max:
            yield made("one too many", good * (row.max + 1))
    else:
        yield made("single as list", [good])
    if row.codes:
        yield made("required binding", one(_NOWHERE[place.type]))
    elif row.form:
        yield made("required binding", one("no-such-code"))
    if place.type == "Reference":
        if row.targets:
            wrong = next(name for name in sorted(definitions.resource_types()) if name not in row.targets)
            yield made("reference target", one({"reference": f"{wrong}/x"}))
            yield made("reference target by type", one({"type": wrong, "identifier": {"value": "x"}}))
        yield made("invariant", one({"reference": "#nowhere"}), key="ref-1")
    if not definitions.is_primitive(place.type) and place.type != "Resource":
        yield made("invariant", one({"id": "x"}), key="ele-1")
    elif place.type != "Resource":
        yield made("empty value", one(""))
    if row.simple and place.type == "Quantity":
        yield made("invariant", one({"value": 1, "comparator": "<"}), key="sqty-1")
    if row.name == "extension" and place.group == type_:
        yield made("invariant", [{"url": URL}], key="ext-1")
        yield made("invariant", [{"url": URL, "valueString": "x", "extension": [least("Extension")]}], key="ext-1")
    if row.name == "contained":
        (inner,) = good
        below = {"resourceType": "Basic", "id": "d", "code": {"text": "x"}}
        yield made("invariant", [inner | {"contained": [below], "subject": {"reference": "#d"}}], key="dom-2")
        yield made("invariant", [inner, below], key="dom-3")
        yield made("invariant", [inner | {"meta": {"versionId": "1"}}], key="dom-4")
        yield made("invariant", [inner | {"meta": {"lastUpdated": "2026-01-02T03:04:05Z"}}], key="dom-4")
        yield made("invariant", [inner | {"meta": {"security": [{"system": URL, "code": "x"}]}}], key="dom-5")
    if row.name == "text" and place.type == "Narrative":
        yield made("invariant", {"status": "generated", "div": DIV % "<script>x</script>"}, key="txt-1")
        yield made("invariant", {"status": "generated", "div": DIV % " "}, key="txt-2")


class Break(NamedTuple):
    context: str
    """The type of the object that the invariant stands on."""
    good: Object
    """What the host has more than the least object; ``...`` takes away."""
    bad: Object
    """What the mutant has more than the host."""


_DOCUMENT: Object = {
    "type": "document",
    "identifier": {"system": URL, "value": "x"},
    "timestamp": "2026-01-02T03:04:05Z",
    "entry": [{"fullUrl": "http://example.org/Composition/x", "resource": least("Composition") | {"id": "x"}}],
}
_BASIC: Object = {"resource": {"resourceType": "Basic", "code": {"text": "x"}}}
_PERCENT = {"value": 1, "system": UCUM, "code": "%"}
_BEHALF: Object = {"member": {"reference": "Practitioner/x"}, "onBehalfOf": {"reference": "Organization/x"}}
_CODED = {"code": coded(URL, "a"), "valueString": "x"}

BREAKS: Mapping[str, tuple[Break, ...]] = {
    "age-1": (
        Break("Age", {}, {"code": ...}),
        Break("Age", {}, {"system": URL}),
        Break("Age", {}, {"value": 0}),
    ),
    "ait-1": (Break("AllergyIntolerance", {}, {"clinicalStatus": ...}),),
    "ait-2": (Break("AllergyIntolerance", {}, {"verificationStatus": coded(ALLERGY_VERIFICATION, "entered-in-error")}),),
    "app-1": (Break("Appointment.participant", {}, {"actor": ...}),),
    "app-2": (
        Break("Appointment", {}, {"start": "2026-01-02T03:04:05Z"}),
        Break("Appointment", {}, {"end": "2026-01-02T03:04:05Z"}),
    ),
    "app-3": (Break("Appointment", {}, {"status": "booked"}),),
    "app-4": (Break("Appointment", {}, {"cancelationReason": {"text": "x"}}),),
    "att-1": (Break("Attachment", {}, {"data": "AAAA", "contentType": ...}),),
    "bdl-1": (Break("Bundle", {}, {"total": 1}),),
    "bdl-2": (Break("Bundle", {"entry": [_BASIC]}, {"entry": [_BASIC | {"search": {"mode": "match"}}]}),),
    "bdl-3": (
        Break("Bundle", {"entry": [_BASIC]}, {"entry": [_BASIC | {"request": {"method": "POST", "url": "Basic"}}]}),
        Break("Bundle", {"entry": [_BASIC]}, {"type": "transaction"}),
    ),
    "bdl-4": (
        Break("Bundle", {"entry": [_BASIC]}, {"entry": [_BASIC | {"response": {"status": "200"}}]}),
        Break("Bundle", {"entry": [_BASIC]}, {"type": "batch-response"}),
    ),
    "bdl-5": (Break("Bundle.entry", {"fullUrl": URL}, {"resource": ...}),),
    "bdl-7": (Break("Bundle", {"entry": [_BASIC | {"fullUrl": URL}]}, {"entry": [_BASIC | {"fullUrl": URL}] * 2}),),
    "bdl-8": (Break("Bundle.entry", {"fullUrl": URL}, {"fullUrl": "http://example.org/Basic/x/_history/1"}),),
    "bdl-9": (
        Break("Bundle", _DOCUMENT, {"identifier": ...}),
        Break("Bundle", _DOCUMENT, {"identifier": {"value": "x"}}),
    ),
    "bdl-10": (
        Break("Bundle", _DOCUMENT, {"timestamp": ...}),
        Break("Bundle", _DOCUMENT, {"timestamp": ..., "_timestamp": {"extension": [{"url": URL, "valueCode": "unknown"}]}}),
    ),
    "bdl-11": (Break("Bundle", _DOCUMENT, {"entry": [_BASIC | {"fullUrl": URL}]}),),
    "bdl-12": (Break("Bundle", {"entry": [_BASIC | {"fullUrl": URL}]}, {"type": "message"}),),
    "cmp-1": (Break("Composition.section", {"title": "x"}, {"text": ...}),),
    "cmp-2": (Break("Composition.section", {"emptyReason": {"text": "x"}}, {"entry": [{"reference": "Basic/x"}]}),),
    "cnt-3": (
        Break("Count", {}, {"code": "2"}),
        Break("Count", {}, {"value": 1.5}),
        Break("Count", {}, {"system": URL}),
        Break("Count", {}, {"code": ...}),
    ),
    "con-1": (Break("Condition.stage", {"type": {"text": "x"}}, {"summary": ...}),),
    "con-2": (Break("Condition.evidence", {"extension": [least("Extension")]}, {"code": ...}),),
    "con-4": (
        Break("Condition", {"clinicalStatus": coded(CLINICAL, "active")}, {"abatementString": "x"}),
        Break("Condition", {}, {"abatementDateTime": "2026"}),
    ),
    "con-5": (
        Break("Condition", {"clinicalStatus": coded(CLINICAL, "active")}, {"verificationStatus": coded(VERIFICATION, "entered-in-error")}),
    ),
    "cpl-3": (Break("CarePlan.activity", {"reference": {"reference": "Task/x"}}, {"detail": least("CarePlan.activity.detail")}),),
    "cpt-2": (Break("ContactPoint", {"system": "phone", "value": "x"}, {"system": ...}),),
    "ctm-1": (Break("CareTeam.participant", _BEHALF, {"member": {"reference": "Patient/x"}}),),
    "dis-1": (Break("Distance", {}, {"code": ...}), Break("Distance", {}, {"system": URL})),
    "drq-1": (
        Break("DataRequirement.codeFilter", {}, {"searchParam": "x"}),
        Break("DataRequirement.codeFilter", {"valueSet": URL}, {"path": ...}),
    ),
    "drq-2": (
        Break("DataRequirement.dateFilter", {}, {"searchParam": "x"}),
        Break("DataRequirement.dateFilter", {"valueDateTime": "2026"}, {"path": ...}),
    ),
    "drt-1": (Break("Duration", {}, {"value": ...}), Break("Duration", {}, {"system": URL})),
    "exp-1": (Break("Expression", {}, {"expression": ...}),),
    "fhs-1": (Break("FamilyMemberHistory", {"ageString": "x"}, {"bornString": "x"}),),
    "fhs-2": (Break("FamilyMemberHistory", {"ageString": "x", "estimatedAge": True}, {"ageString": ...}),),
    "gol-1": (Break("Goal.target", {"dueDate": "2026"}, {"detailString": "x"}),),
    "grp-1": (Break("Group", {"actual": False}, {"member": [{"entity": {"reference": "Patient/x"}}]}),),
    "inv-1": (Break("Task", {"authoredOn": "2026-01-02", "lastModified": "2026-01-03"}, {"authoredOn": "2026-01-04"}),),
    "mrp-1": (Break("MeasureReport", {"group": [{"code": {"text": "x"}}]}, {"type": "data-collection"}),),
    "mrp-2": (
        Break("MeasureReport.group.stratifier.stratum", {}, {"component": [{"code": {"text": "x"}, "value": {"text": "x"}}]}),
        Break("MeasureReport.group.stratifier.stratum", {"measureScore": {"value": 1}}, {"value": ...}),
    ),
    "obs-3": (Break("Observation.referenceRange", {"type": {"text": "x"}}, {"text": ...}),),
    "obs-6": (Break("Observation", {"valueString": "x"}, {"dataAbsentReason": {"text": "x"}}),),
    "obs-7": (Break("Observation", _CODED, {"component": [{"code": coded(URL, "a")}]}),),
    "org-1": (Break("Organization", {"active": True}, {"name": ...}),),
    "org-2": (Break("Organization", {"address": [{"use": "work"}]}, {"address": [{"use": "home"}]}),),
    "org-3": (Break("Organization", {"telecom": [{"use": "work"}]}, {"telecom": [{"use": "home"}]}),),
    "pat-1": (Break("Patient.contact", {"gender": "female"}, {"name": ...}),),
    "per-1": (Break("Period", {"start": "2026-01-02", "end": "2026-01-03"}, {"start": "2026-01-04"}),),
    "ppc-1": (Break("Consent", {}, {"policyRule": ...}),),
    **{
        key: (Break("Consent", {"patient": {"reference": "Patient/x"}, "scope": coded("something", code)}, {"patient": ...}),)
        for key, code in {"ppc-2": "patient-privacy", "ppc-3": "research", "ppc-4": "adr", "ppc-5": "treatment"}.items()
    },
    "prr-1": (Break("ServiceRequest", {"code": {"text": "x"}, "orderDetail": [{"text": "x"}]}, {"code": ...}),),
    "qrs-1": (
        Break("QuestionnaireResponse.item", {"item": [{"linkId": "y"}]}, {"answer": [{"valueString": "x"}]}),
    ),
    "qty-3": (
        Break("Quantity", {"system": UCUM, "code": "d"}, {"system": ...}),
        *(Break(name, {}, {"system": ...}) for name in ("Age", "Count", "Distance", "Duration")),
    ),
    "ras-1": (
        Break("RiskAssessment.prediction", {"probabilityRange": {"low": _PERCENT}}, {"probabilityRange": {"low": {"value": 1}}}),
        Break("RiskAssessment.prediction", {"probabilityRange": {"low": _PERCENT}}, {"probabilityRange": {"high": {"value": 1}}}),
    ),
    "ras-2": (Break("RiskAssessment.prediction", {"probabilityDecimal": 100}, {"probabilityDecimal": 100.5}),),
    "rat-1": (
        Break("Ratio", {}, {"numerator": ...}),
        Break("Ratio", {}, {"denominator": ...}),
    ),
    "rng-2": (Break("Range", {"high": {"value": 2}}, {"low": {"value": 3}}),),
    "rqg-1": (
        Break("RequestGroup.action", {}, {"action": [least("RequestGroup.action")]}),
        Break("RequestGroup.action", {"title": "x"}, {"resource": ...}),
    ),
    "tim-1": (Break("Timing.repeat", {"duration": 1, "durationUnit": "d"}, {"durationUnit": ...}),),
    "tim-2": (Break("Timing.repeat", {"period": 1, "periodUnit": "d"}, {"periodUnit": ...}),),
    "tim-4": (Break("Timing.repeat", {"duration": 1, "durationUnit": "d"}, {"duration": -1}),),
    "tim-5": (Break("Timing.repeat", {"period": 1, "periodUnit": "d"}, {"period": -1}),),
    "tim-6": (Break("Timing.repeat", {"period": 1, "periodUnit": "d", "periodMax": 2}, {"period": ...}),),
    "tim-7": (Break("Timing.repeat", {"duration": 1, "durationUnit": "d", "durationMax": 2}, {"duration": ...}),),
    "tim-8": (Break("Timing.repeat", {"count": 1, "countMax": 2}, {"count": ...}),),
    "tim-9": (
        Break("Timing.repeat", {"offset": 1, "when": ["MORN"]}, {"when": ...}),
        *(Break("Timing.repeat", {"offset": 1, "when": ["MORN"]}, {"when": [code]}) for code in ("C", "CM", "CD", "CV")),
    ),
    "tim-10": (Break("Timing.repeat", {"timeOfDay": ["03:04:05"]}, {"when": ["MORN"]}),),
    "trd-1": (Break("TriggerDefinition", _DATA, {"timingDate": "2026"}),),
    "trd-2": (Break("TriggerDefinition", {}, {"condition": {"language": "text/cql", "expression": "x"}}),),
    "trd-3": (
        Break("TriggerDefinition", {}, {"name": ...}),
        Break("TriggerDefinition", {}, {"type": "periodic"}),
        Break("TriggerDefinition", {}, {"type": "data-added"}),
    ),
}  # fmt: skip
"""Every invariant that stands on one type, broken; those on every element or resource are made for each (``of_element``)."""

BY_ELEMENT = frozenset(("dom-2", "dom-3", "dom-4", "dom-5", "ele-1", "ext-1", "ref-1", "sqty-1", "txt-1", "txt-2"))


def hosts() -> Iterator[tuple[str, Object]]:
    """Type and host: every element of every type, and the hosts of the invariants."""
    for type_ in (*TYPES, *DATA_TYPES, "Extension", "Narrative"):
        for place in places(type_):
            yield type_, place.resource
    for rows in BREAKS.values():
        for row in rows:
            yield row.context, context(row.context).having(row.good)


def mutants() -> Iterator[Mutant]:
    """All of them; the same in every run."""
    for type_ in (*TYPES, *DATA_TYPES, "Extension", "Narrative"):
        for place in places(type_):
            yield from of_element(type_, place)
    for key, rows in BREAKS.items():
        for row in rows:
            at = context(row.context)
            host = at._replace(resource=at.having(row.good))
            yield Mutant("invariant", row.context.partition(".")[0], host.having(row.bad), at.path, key)
