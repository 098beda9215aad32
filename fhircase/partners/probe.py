"""Find out how a partner's FHIR server behaves, by trying (PARTNERS.md has what servers were seen to do).

Throw-away resources of a made-up person are created, looked at from all sides and deleted; they carry the tag
``urn:fhircase|probe``. What is found is a ``sync.dialect.Dialect``; the server's name is never asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from fhircase.fhir import jsontext
from fhircase.plans.change import Resource
from fhircase.ports import Gateway, PartnerDown, Reply
from fhircase.sync.dialect import NO_IDENTIFIER, ONE_IDENTIFIER, PATIENT_PARAMS, Create, Dialect

SYSTEM = "urn:fhircase:probe"
TAG = {"system": "urn:fhircase", "code": "probe", "display": "Throw-away resource of a connection test"}
PREFER = {"Prefer": "return=representation"}


@dataclass(slots=True)
class Found:
    """``dialect`` what was found; ``notes`` what a person should know; ``left`` copies that could not be deleted."""

    dialect: Dialect
    notes: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    software: str = ""
    fhir_version: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "dialect": self.dialect.as_json(),
            "notes": self.notes,
            "left": self.left,
            "software": self.software,
            "fhir_version": self.fhir_version,
        }


def probe(gateway: Gateway, new_id: Callable[[], str], types: Sequence[str] = ()) -> Found:
    """Try the server. ``types`` are the resource types that will be exchanged (those without a sample here are taken to be
    like the others). Raises PartnerDown when it does not answer at all; whatever else it does is a finding."""
    return _Probe(gateway, new_id).run([type_ for type_ in types if type_ in _SAMPLES] or list(_SAMPLES))


class _Probe:
    def __init__(self, gateway: Gateway, new_id: Callable[[], str]) -> None:
        self.gateway, self.new_id = gateway, new_id
        self.made: list[str] = []
        self.notes: list[str] = []

    def run(self, types: Sequence[str]) -> Found:
        found = Found(Dialect(), self.notes)
        metadata = self.gateway.request("GET", "metadata").resource or {}
        found.fhir_version = str(metadata.get("fhirVersion", ""))
        software = metadata.get("software")
        found.software = str(software.get("name", "")) if isinstance(software, dict) else ""
        values: dict[str, Any] = {}
        try:
            self._all(types, values)
        finally:
            found.left = self._clean()
        found.dialect = Dialect.of(values)
        return found

    def _all(self, types: Sequence[str], values: dict[str, Any]) -> None:
        mark = self.new_id()
        person = self._person(mark)
        values["search_cached"] = self._cached(person, mark)
        patient = self._patient(person, mark, values)
        if patient is None:
            self.notes.append("no Patient can be created there: nothing else was tried")
            return
        values["ids"] = self._ids()
        values["paging"] = self._paging()
        values["drops_unknown"] = self._drops_unknown()
        values["dangling_refused"] = self._dangling()
        values["decimals_normalised"] = self._decimals(patient)
        self._versions(patient, person, values)
        by_type: dict[str, Create] = {}
        drops: dict[str, list[str]] = {}
        params: dict[str, list[str]] = {}
        since: dict[str, bool] = {"Patient": self._ignores_nothing("Patient", "_lastUpdated", "ge2999-01-01")}
        finds: dict[str, bool] = {"Patient": self._ignores_nothing("Patient", "identifier", f"{SYSTEM}|{self.new_id()}")}
        for type_ in types:
            create = self._type(type_, patient, values, drops, params)
            if create is None:
                continue
            if create != values["create"]:
                by_type[type_] = create
            since[type_] = self._ignores_nothing(type_, "_lastUpdated", "ge2999-01-01")
            finds[type_] = type_ not in NO_IDENTIFIER and self._ignores_nothing(type_, "identifier", f"{SYSTEM}|{self.new_id()}")
        values.update(create_by_type=by_type, drops=drops, patient_params=params)
        values.update(last_updated=_common(since), identifier_search=_common(finds))

    # -- the parts

    def _person(self, mark: str) -> Resource:
        return {
            "resourceType": "Patient",
            "meta": {"tag": [TAG]},
            "identifier": [{"system": SYSTEM, "value": mark}],
            "active": False,
            "name": [{"family": "Fhircase-Probe", "given": ["Delete", "Me"]}],
            "birthDate": "1900-01-01",
        }

    def _cached(self, person: Resource, mark: str) -> bool:
        """Whether the same search, asked again after a create and without no-cache, still shows the old result."""
        asked = (("identifier", f"{SYSTEM}|{mark}"),)
        before = self._count("Patient", asked)
        reply = self._post(person)
        after = self._count("Patient", asked)
        self._forget(reply)
        return before == 0 and after == 0

    def _patient(self, person: Resource, mark: str, values: dict[str, Any]) -> str | None:
        person = {**person, "identifier": [{"system": SYSTEM, "value": mark + ".1"}]}
        create, reply = self._conditional(person, f"{SYSTEM}|{mark}.1")
        values["create"] = create
        values["body"] = reply is not None and _is(reply, "Patient")
        return None if reply is None else self._id(reply, "Patient")

    def _conditional(self, resource: Resource, criteria: str) -> tuple[Create, Reply | None]:
        """How this type is created once, and one such resource."""
        headers = {**PREFER, "If-None-Exist": f"identifier={quote(criteria, safe=':/|.-_~')}"}
        type_ = str(resource["resourceType"])
        first = self._post(resource, headers)
        if first.status == 201:
            again = self._post(resource, headers)
            if again.status in (200, 204, 304) or (again.status == 201 and self._id(again, type_) == self._id(first, type_)):
                return "if-none-exist", first
            return "put", first
        plain = self._post(resource, PREFER)
        return "put", plain if plain.status == 201 else None

    def _ids(self) -> str:
        for kind, id_ in (("any", f"fc-{self.new_id()}"), ("uuid", self.new_id())):
            person = {**self._person(self.new_id()), "id": id_}
            if self._send("PUT", f"Patient/{id_}", person, PREFER).status in (200, 201):
                return kind
        return "none"

    def _paging(self) -> str:
        """How an answer longer than one page goes on. At least two Patients are there: the one that was made first, and one
        more that is made here."""
        self._post(self._person(self.new_id()), PREFER)
        first = self.gateway.request("GET", "Patient", params=(("_count", "1"),), headers={"Cache-Control": "no-cache"})
        shown = [str(resource.get("id")) for resource in _matches(first, "Patient")]
        links = (first.resource or {}).get("link")
        if any(isinstance(link, dict) and link.get("relation") == "next" for link in (links if isinstance(links, list) else ())):
            return "links"
        if first.status != 200 or len(shown) != 1:
            return "links"  # it gives everything at once
        second = self._ids_of("Patient", (("_count", "1"), ("_offset", "1")))
        if second is not None and len(second) == 1 and second != set(shown):
            return "offset"
        self.notes.append("its searches end at a full page without leading on: large pages are asked for")
        return "none"

    def _drops_unknown(self) -> bool:
        reply = self._post({**self._person(self.new_id()), "fhircaseProbe": "unknown"}, PREFER)
        if reply.status != 201:
            return False
        held = self._read(reply, "Patient")
        return held is not None and "fhircaseProbe" not in held

    def _dangling(self) -> bool:
        goal = {**_SAMPLES["Goal"](f"Patient/{self.new_id()}"), "meta": {"tag": [TAG]}}
        return self._post(goal, PREFER).status not in (200, 201)

    def _decimals(self, patient: str) -> bool:
        observation = {**_SAMPLES["Observation"](f"Patient/{patient}"), "meta": {"tag": [TAG]}}
        observation["valueQuantity"] = {"value": jsontext.Number("1.50"), "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}
        reply = self._post(observation, PREFER)
        held = self._read(reply, "Observation") if reply.status == 201 else None
        value = (held or {}).get("valueQuantity", {}).get("value")
        return held is not None and str(value) != "1.50"

    def _versions(self, patient: str, person: Resource, values: dict[str, Any]) -> None:
        path = f"Patient/{patient}"
        first = self._send("GET", path, None, {"Cache-Control": "no-cache"})
        etag = first.etag or _etag(first)
        values["stale"], values["if_match"] = [409, 412], False
        body = {**(first.resource or person), "id": patient, "active": True}
        if etag is None:
            self.notes.append("it keeps no versions: every write reads first")
        else:
            self._send("PUT", path, body, {**PREFER, "If-Match": etag})
            stale = self._send("PUT", path, {**body, "active": False}, {**PREFER, "If-Match": etag})
            values["if_match"] = stale.status >= 400
            if stale.status >= 400:
                values["stale"] = [stale.status] if stale.status not in (400, 404, 422) else [409, 412]
            else:
                self.notes.append("it ignores If-Match: every write reads first, and a race can be lost")
        orders = [self._order(path) for _ in range(3)]
        if None in orders:
            values["history"] = "none"
        elif len({tuple(order or ()) for order in orders}) > 1:
            values["history"] = "unstable"
        else:
            now = etag if etag is None else _version(_etag(self._send("GET", path, None, {"Cache-Control": "no-cache"})))
            order = orders[0] or []
            values["history"] = "newest" if order and order[0] == now else "oldest" if order and order[-1] == now else "unstable"

    def _order(self, path: str) -> list[str] | None:
        reply = self._send("GET", f"{path}/_history", None, {"Cache-Control": "no-cache"})
        if reply.status != 200 or reply.resource is None:
            return None
        return [str(entry.get("resource", {}).get("meta", {}).get("versionId", "")) for entry in _entries(reply)]

    def _type(
        self, type_: str, patient: str, values: dict[str, Any], drops: dict[str, list[str]], params: dict[str, list[str]]
    ) -> Create | None:
        mark = self.new_id()
        least = {**_SAMPLES[type_](f"Patient/{patient}"), "meta": {"tag": [TAG]}}
        identifier: Any = {"system": SYSTEM, "value": mark}
        least["identifier"] = identifier if type_ in ONE_IDENTIFIER else [identifier]
        sample = {**least, **_MORE, **_MORE_OF.get(type_, {})}
        create, reply = self._conditional(sample, f"{SYSTEM}|{mark}")
        if reply is None:
            sample = least
            create, reply = self._conditional(sample, f"{SYSTEM}|{mark}")
            if reply is not None:
                self.notes.append(f"{type_} is refused there with an extension, a note or a logical reference")
        if reply is None:
            self.notes.append(f"{type_} cannot be created there")
            return "none"
        held = self._read(reply, type_)
        id_ = self._id(reply, type_)
        if held is None or id_ is None:
            return create
        lost = [name for name, value in sample.items() if name != "meta" and not _kept(value, held.get(name))]
        if lost:
            drops[type_] = lost
        subject: Resource = next((held[name] for name in ("subject", "patient", "for") if isinstance(held.get(name), dict)), {})
        if "://" in str(subject.get("reference", "")):
            values["absolute_references"] = True
        usual = PATIENT_PARAMS.get(type_, ("patient",))
        works = [name for name in dict.fromkeys((*usual, "patient", "subject")) if self._by_client(type_, name, patient, id_)]
        if not works or works[0] != usual[0]:
            params[type_] = works
        if not works:
            self.notes.append(f"{type_} cannot be searched by client there: the whole type is listed")
        return create

    def _by_client(self, type_: str, name: str, patient: str, id_: str) -> bool:
        """Whether the parameter finds it by its client and finds nothing by another."""
        mine = self._ids_of(type_, ((name, f"Patient/{patient}"),))
        other = self._ids_of(type_, ((name, f"Patient/{self.new_id()}"),))
        return mine is not None and id_ in mine and other is not None and id_ not in other

    def _ignores_nothing(self, type_: str, name: str, nonsense: str) -> bool:
        """Whether a search by the parameter is taken and, for a value that nothing has, finds nothing."""
        found = self._ids_of(type_, ((name, nonsense),))
        return found is not None and not found

    # -- requests

    def _send(self, method: str, path: str, body: Resource | None, headers: Mapping[str, str] | None = None) -> Reply:
        reply = self.gateway.request(method, path, body=body, headers=headers)
        if method == "PUT" and reply.status in (200, 201):
            self._remember(path)
        return reply

    def _post(self, resource: Resource, headers: Mapping[str, str] | None = None) -> Reply:
        type_ = str(resource["resourceType"])
        reply = self.gateway.request("POST", type_, body=resource, headers=headers or PREFER)
        id_ = self._id(reply, type_) if reply.status in (200, 201) else None
        if id_ is not None:
            self._remember(f"{type_}/{id_}")
        return reply

    def _remember(self, path: str) -> None:
        if path not in self.made:
            self.made.append(path)

    def _forget(self, reply: Reply) -> None:
        id_ = self._id(reply, "Patient")
        if id_ is not None:
            self.gateway.request("DELETE", f"Patient/{id_}")

    def _read(self, reply: Reply, type_: str) -> Resource | None:
        id_ = self._id(reply, type_)
        if id_ is None:
            return None
        held = self.gateway.request("GET", f"{type_}/{id_}", headers={"Cache-Control": "no-cache"})
        return held.resource if _is(held, type_) else None

    def _count(self, type_: str, params: Sequence[tuple[str, str]]) -> int | None:
        reply = self.gateway.request("GET", type_, params=params)
        return sum(1 for _ in _matches(reply, type_)) if reply.status == 200 else None

    def _ids_of(self, type_: str, params: Sequence[tuple[str, str]]) -> set[str] | None:
        reply = self.gateway.request("GET", type_, params=params, headers={"Cache-Control": "no-cache"})
        if reply.status != 200 or reply.resource is None:
            return None
        return {str(resource.get("id")) for resource in _matches(reply, type_)}

    def _id(self, reply: Reply, type_: str) -> str | None:
        if _is(reply, type_):
            return str((reply.resource or {}).get("id"))
        parts = (reply.location or "").split("?")[0].split("/")
        for i, part in enumerate(parts[:-1]):
            if part == type_:
                return parts[i + 1]
        return None

    def _clean(self) -> list[str]:
        """Children first; what cannot be deleted is told."""
        left: list[str] = []
        for path in reversed(self.made):
            status = 0
            with contextlib.suppress(PartnerDown):
                status = self.gateway.request("DELETE", path).status
            if not (200 <= status < 300 or status in (404, 410)):
                left.append(path)
        return left


def _kept(sent: Any, held: Any) -> bool:
    """Whether all that was sent is there; more may be. What a reference says is the server's own."""
    if isinstance(sent, dict):
        return isinstance(held, dict) and all(name == "reference" or _kept(value, held.get(name)) for name, value in sent.items())
    if isinstance(sent, list):
        return isinstance(held, list) and len(sent) == len(held) and all(_kept(a, b) for a, b in zip(sent, held, strict=True))
    return bool(sent == held)


def _version(etag: str | None) -> str | None:
    """The versionId in an ETag."""
    return None if etag is None else etag.removeprefix("W/").strip('"')


def _is(reply: Reply, type_: str) -> bool:
    return reply.resource is not None and reply.resource.get("resourceType") == type_ and "id" in reply.resource


def _etag(reply: Reply) -> str | None:
    version = (reply.resource or {}).get("meta", {}).get("versionId")
    return reply.etag or (f'W/"{version}"' if version else None)


def _entries(reply: Reply) -> Iterator[Resource]:
    entries = (reply.resource or {}).get("entry")
    for entry in entries if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            yield entry


def _matches(reply: Reply, type_: str) -> Iterator[Resource]:
    for entry in _entries(reply):
        resource = entry.get("resource")
        if isinstance(resource, dict) and resource.get("resourceType") == type_:
            yield resource


def _common(found: Mapping[str, bool]) -> dict[str, bool]:
    """By type, with what most types do under ``*``."""
    usual = sum(found.values()) * 2 >= len(found)
    return {"*": usual, **{type_: value for type_, value in found.items() if value != usual}}


def _concept(text: str) -> dict[str, Any]:
    return {"text": text}


_SAMPLES: Mapping[str, Callable[[str], Resource]] = {
    "Condition": lambda patient: {
        "resourceType": "Condition",
        "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]},
        "code": _concept("Connection test"),
        "subject": {"reference": patient},
    },
    "RelatedPerson": lambda patient: {"resourceType": "RelatedPerson", "active": False, "patient": {"reference": patient}},
    "EpisodeOfCare": lambda patient: {"resourceType": "EpisodeOfCare", "status": "planned", "patient": {"reference": patient}},
    "Observation": lambda patient: {
        "resourceType": "Observation",
        "status": "preliminary",
        "code": _concept("Connection test"),
        "subject": {"reference": patient},
    },
    "CareTeam": lambda patient: {"resourceType": "CareTeam", "status": "proposed", "subject": {"reference": patient}},
    "Goal": lambda patient: {
        "resourceType": "Goal",
        "lifecycleStatus": "proposed",
        "description": _concept("Connection test"),
        "subject": {"reference": patient},
    },
    "ServiceRequest": lambda patient: {
        "resourceType": "ServiceRequest",
        "status": "draft",
        "intent": "proposal",
        "code": _concept("Connection test"),
        "subject": {"reference": patient},
    },
    "DeviceRequest": lambda patient: {
        "resourceType": "DeviceRequest",
        "status": "draft",
        "intent": "proposal",
        "codeCodeableConcept": _concept("Connection test"),
        "subject": {"reference": patient},
    },
    "CarePlan": lambda patient: {
        "resourceType": "CarePlan",
        "status": "draft",
        "intent": "proposal",
        "subject": {"reference": patient},
    },
    "Task": lambda patient: {"resourceType": "Task", "status": "draft", "intent": "proposal", "for": {"reference": patient}},
    "Encounter": lambda patient: {
        "resourceType": "Encounter",
        "status": "planned",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "subject": {"reference": patient},
    },
    "NutritionOrder": lambda patient: {
        "resourceType": "NutritionOrder",
        "status": "draft",
        "intent": "proposal",
        "patient": {"reference": patient},
        "dateTime": "1900-01-01",
        "oralDiet": {"instruction": "Connection test"},
    },
    "Flag": lambda patient: {
        "resourceType": "Flag",
        "status": "inactive",
        "code": _concept("Connection test"),
        "subject": {"reference": patient},
    },
    "Consent": lambda patient: {
        "resourceType": "Consent",
        "status": "draft",
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "patient": {"reference": patient},
        "policyRule": _concept("Connection test"),
    },
    "QuestionnaireResponse": lambda patient: {
        "resourceType": "QuestionnaireResponse",
        "status": "in-progress",
        "subject": {"reference": patient},
    },
    "RiskAssessment": lambda patient: {"resourceType": "RiskAssessment", "status": "preliminary", "subject": {"reference": patient}},
    "FamilyMemberHistory": lambda patient: {
        "resourceType": "FamilyMemberHistory",
        "status": "partial",
        "patient": {"reference": patient},
        "relationship": _concept("Connection test"),
    },
    "AllergyIntolerance": lambda patient: {
        "resourceType": "AllergyIntolerance",
        "clinicalStatus": {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "inactive"}]
        },
        "code": _concept("Connection test"),
        "patient": {"reference": patient},
    },
    "MedicationRequest": lambda patient: {
        "resourceType": "MedicationRequest",
        "status": "draft",
        "intent": "proposal",
        "medicationCodeableConcept": _concept("Connection test"),
        "subject": {"reference": patient},
    },
    "MedicationStatement": lambda patient: {
        "resourceType": "MedicationStatement",
        "status": "unknown",
        "medicationCodeableConcept": _concept("Connection test"),
        "subject": {"reference": patient},
    },
    "Procedure": lambda patient: {"resourceType": "Procedure", "status": "unknown", "subject": {"reference": patient}},
    "Coverage": lambda patient: {
        "resourceType": "Coverage",
        "status": "draft",
        "beneficiary": {"reference": patient},
        "payor": [{"reference": patient}],
    },
    "Appointment": lambda patient: {
        "resourceType": "Appointment",
        "status": "proposed",
        "participant": [{"actor": {"reference": patient}, "status": "needs-action"}],
    },
    "Communication": lambda patient: {"resourceType": "Communication", "status": "unknown", "subject": {"reference": patient}},
    "CommunicationRequest": lambda patient: {"resourceType": "CommunicationRequest", "status": "draft", "subject": {"reference": patient}},
    "DetectedIssue": lambda patient: {"resourceType": "DetectedIssue", "status": "preliminary", "patient": {"reference": patient}},
    "DocumentReference": lambda patient: {
        "resourceType": "DocumentReference",
        "status": "superseded",
        "subject": {"reference": patient},
        "content": [{"attachment": {"title": "Connection test"}}],
    },
    "RequestGroup": lambda patient: {
        "resourceType": "RequestGroup",
        "status": "draft",
        "intent": "proposal",
        "subject": {"reference": patient},
    },
}
"""The least that each type asks for, so that a strict server takes it."""

_MORE: Resource = {"extension": [{"url": "urn:fhircase:probe", "valueString": "Connection test"}]}
_LOGICAL = {"type": "Condition", "identifier": {"system": SYSTEM, "value": "nowhere"}}
_NOTED: Resource = {"note": [{"text": "Connection test"}]}
_MORE_OF: Mapping[str, Resource] = {
    "Condition": _NOTED,
    "Observation": _NOTED,
    "CareTeam": {**_NOTED, "reasonReference": [_LOGICAL]},
    "Goal": {**_NOTED, "addresses": [_LOGICAL]},
    "ServiceRequest": {**_NOTED, "reasonReference": [_LOGICAL]},
    "DeviceRequest": {**_NOTED, "reasonReference": [_LOGICAL]},
    "CarePlan": {**_NOTED, "addresses": [_LOGICAL]},
    "Task": _NOTED,
}
"""What we send besides and what some servers lose or refuse: extensions that they do not know, notes, references by
identifier alone."""
