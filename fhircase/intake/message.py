"""FHIR message Bundles → what happened, to whom (STANDARDS §1.4: Da Vinci Unsolicited Notifications 1.1).

A receiver takes messages with missing elements without failing; it refuses what it does not understand, whole. The event
is MessageHeader.event, never guessed from the Encounter: an admission whose period already has an end is no discharge."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fhircase.errors import Malformed, Problem
from fhircase.fhir import jsontext, refs, times
from fhircase.intake import events, identities
from fhircase.intake.findings import LOCAL, Action, Disposition, Fact, Finding, Identity
from fhircase.intake.refusal import Unacceptable
from fhircase.plans.change import Origin, Resource
from fhircase.plans.partner import Partner

MAX_ENTRIES = 2_000

_PROCESSING = ("http://terminology.hl7.org/CodeSystem/v2-0103", "http://hl7.org/fhir/v2/0103")
_HEADER = "Bundle.entry[0].resource"


def read(bundle: Resource, partner: Partner, maps: Any, *, max_entries: int = MAX_ENTRIES) -> Finding:
    """Read a message Bundle that came to ``$process-message``.

    Raises Unacceptable AR (not a message, unknown event, processing id not taken) or AE (no Patient or Encounter to apply it
    to) with every problem and its FHIRPath. Nothing of a refused message is taken."""
    wrong = list(_structure(bundle, max_entries))
    if wrong:
        raise Unacceptable("AR", wrong, control_id=_control_id(bundle))
    return _Reading(bundle, partner, maps).finding()


def _structure(bundle: Any, max_entries: int) -> Iterator[Problem]:
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        yield Problem("the body is not a Bundle", "Bundle", "$process-message takes a Bundle of type message", "structure")
        return
    if bundle.get("type") != "message":
        yield Problem("the Bundle is not a message", "Bundle.type", "set it to message", "value")
    entries = bundle.get("entry")
    if not isinstance(entries, list) or not entries:
        yield Problem("the message has no entries", "Bundle.entry", "the first entry is a MessageHeader", "required")
        return
    if len(entries) > max_entries:
        yield Problem(f"the message has {len(entries)} entries", "Bundle.entry", f"at most {max_entries}", "too-long")
        return
    urls: dict[str, int] = {}
    for number, entry in enumerate(entries):
        path = f"Bundle.entry[{number}]"
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
            yield Problem("the entry has no resource", f"{path}.resource", "each entry of a message carries a resource", "required")
            continue
        if number == 0 and resource["resourceType"] != "MessageHeader":
            yield Problem("the first entry is not a MessageHeader", f"{path}.resource", "begin the message with its header", "structure")
        url = entry.get("fullUrl")
        if url is not None and (not isinstance(url, str) or not url):
            yield Problem("fullUrl is not a text", f"{path}.fullUrl", code="value")
        elif url is not None and urls.setdefault(url, number) != number:
            yield Problem("two entries have the same fullUrl", f"{path}.fullUrl", f"it is that of entry {urls[url]}", "duplicate")


class _Reading:
    """One message of sound structure being read."""

    def __init__(self, bundle: Resource, partner: Partner, maps: Any) -> None:
        self.bundle = bundle
        self.partner = partner
        self.maps = maps
        self.entries: list[tuple[str | None, Resource]] = [(entry.get("fullUrl"), entry["resource"]) for entry in bundle["entry"]]
        self.header = self.entries[0][1]
        self.problems: list[Problem] = []
        self.locals = self._name()

    def finding(self) -> Finding:
        event, action = self._accept()
        focus = self._focus()
        encounter, patient = self._encounter(focus), None
        wrong: list[Problem] = []
        if encounter is None:
            wrong.append(Problem("the message has no Encounter", f"{_HEADER}.focus", "a notification's focus is its Encounter", "required"))
        else:
            patient = self._patient(encounter)
        if patient is None and len(self._of_type("Patient")) != 1:
            wrong.append(
                Problem("which Patient is meant is not told", "Bundle.entry", "send the Patient that Encounter.subject names", "required")
            )
        if wrong:
            raise self._refuse("AE", wrong, event)
        assert encounter is not None
        client = self._of_type("Patient")[0] if patient is None else patient
        visit = self._visit(encounter)
        happened = self._happened(action, encounter)
        processing = self._processing()
        source = _mapping(self.header.get("source"))
        return Finding(
            event=event,
            action=action,
            control_id=_control_id(self.bundle),
            key=self._key(event),
            sender=(_text(source.get("endpoint")), _text(source.get("name"))),
            processing_id=processing,
            happened=happened,
            happened_ms=_ms(happened),
            facts=tuple(self._facts(client, encounter)),
            visit=visit,
            disposition=self._disposition(encounter) if action in ("discharge", "update") else None,
            problems=tuple(dict.fromkeys(self.problems)),
            version=_text(self.bundle.get("fhirVersion")) or "R4",
        )

    # ------------------------------------------------------------------------------------------ may it come in?

    def _accept(self) -> tuple[str, Action]:
        wrong: list[Problem] = []
        coding, uri = self.header.get("eventCoding"), self.header.get("eventUri")
        action: Action | None = None
        event = ""
        if isinstance(coding, dict) and isinstance(coding.get("code"), str):
            event = coding["code"]
            action = events.NOTIFICATIONS.get((_text(coding.get("system")), event))
            if action is None:
                wrong.append(_unknown(f"{_HEADER}.event.ofType(Coding)"))
        elif isinstance(uri, str) and uri:
            event = uri
            wrong.append(_unknown(f"{_HEADER}.event.ofType(uri)"))
        else:
            wrong.append(Problem("the message does not say what happened", f"{_HEADER}.event", "set eventCoding", "required"))
        processing = self._processing()
        if processing not in self.partner.processing_ids:
            hint = f"taken here: {', '.join(self.partner.processing_ids) or 'none'}"
            wrong.append(Problem("this processing id is not taken from this sender", "Bundle.meta.tag", hint, "not-supported"))
        if self.header.get("response") is not None:
            wrong.append(Problem("an answer to a message is not taken", f"{_HEADER}.response", "send notifications only", "not-supported"))
        if wrong:
            raise self._refuse("AR", wrong, event)
        assert action is not None
        return event, action

    def _processing(self) -> str:
        """T or D when the Bundle or its header is tagged so (table 0103), else P."""
        for resource in (self.bundle, self.header):
            for tag in _dicts(_mapping(resource.get("meta")).get("tag")):
                if tag.get("system") in _PROCESSING and tag.get("code"):
                    return _text(tag["code"])
        return "P"

    def _refuse(self, code: Any, wrong: Sequence[Problem], event: str) -> Unacceptable:
        return Unacceptable(code, (*wrong, *self.problems), control_id=_control_id(self.bundle), event=event, key=self._key(event))

    def _key(self, event: str) -> str:
        """The Bundle's own name, timestamp and event; a message without a name is known by its header or its content."""
        name = _control_id(self.bundle) or _text(self.header.get("id"))
        if not name:
            name = hashlib.sha256(jsontext.dumps(self.bundle).encode("utf-8")).hexdigest()
        return "|".join((name, _text(self.bundle.get("timestamp")), event))

    # ------------------------------------------------------------------------------------------ who and what

    def _name(self) -> dict[str, str]:
        """Every spelling by which another entry may refer to one → its local name."""
        names: dict[str, str] = {}
        counts: dict[str, int] = {}
        for url, resource in self.entries[1:]:
            kind = str(resource["resourceType"])
            counts[kind] = counts.get(kind, 0) + 1
            local = f"{kind.lower()}-{counts[kind]}"
            if url is not None:
                names[url] = local
            if isinstance(resource.get("id"), str):
                # A relative reference means the entry of the same server; a message speaks for one.
                names.setdefault(f"{kind}/{resource['id']}", local)
        return names

    def _local(self, reference: Any) -> str | None:
        """The local name of what a reference means, None when it is not in the message."""
        if not isinstance(reference, str):
            return None
        found = self.locals.get(reference)
        if found is None:
            literal = refs.literal(reference)
            if literal is not None:
                found = self.locals.get(f"{literal.base}{literal.type}/{literal.id}")
        return found

    def _of_type(self, kind: str) -> list[int]:
        return [number for number, (_, resource) in enumerate(self.entries) if resource["resourceType"] == kind]

    def _entry(self, reference: Any, kind: str) -> int | None:
        local = self._local(_mapping(reference).get("reference"))
        numbers = self._of_type(kind)
        for position, number in enumerate(numbers, 1):
            if local == f"{kind.lower()}-{position}":
                return number
        return None

    def _focus(self) -> list[Any]:
        focus = self.header.get("focus")
        return focus if isinstance(focus, list) else []

    def _encounter(self, focus: Sequence[Any]) -> int | None:
        named = [number for one in focus if (number := self._entry(one, "Encounter")) is not None]
        if named:
            return named[0]
        alone = self._of_type("Encounter")
        return alone[0] if len(alone) == 1 else None

    def _patient(self, encounter: int) -> int | None:
        return self._entry(self.entries[encounter][1].get("subject"), "Patient")

    def _visit(self, encounter: int) -> Identity | None:
        found = [one for one in identities.of_resource(self.entries[encounter][1]) if one.claims]
        if not found:
            path = f"Bundle.entry[{encounter}].resource.identifier"
            self.problems.append(
                Problem("the visit has no number", path, "send Encounter.identifier with system and value", "required", "warning")
            )
        return found[0] if found else None

    def _happened(self, action: Action, encounter: int) -> str | None:
        """The end of the period for a discharge, its start for an admission, else when the message was made."""
        period = _mapping(self.entries[encounter][1].get("period"))
        stated = {"discharge": period.get("end"), "admit": period.get("start"), "register": period.get("start")}.get(action)
        for text in (stated, self.bundle.get("timestamp")):
            if isinstance(text, str) and _ms(text) is not None:
                return text
        return None

    def _disposition(self, encounter: int) -> Disposition | None:
        stay = _mapping(self.entries[encounter][1].get("hospitalization"))
        concept = _mapping(stay.get("dischargeDisposition"))
        place = _mapping(stay.get("destination"))
        named = _text(_mapping(place.get("identifier")).get("value")) or _text(place.get("display")) or None
        text = _text(concept.get("text")) or None
        path = f"Bundle.entry[{encounter}].resource.hospitalization.dischargeDisposition"
        codings = [coding for coding in _dicts(concept.get("coding")) if _text(coding.get("code"))]
        read: list[Disposition] = []
        for coding in codings:
            made = events.disposition(
                self.maps,
                self.partner.site,
                code=_text(coding["code"]),
                system=_text(coding.get("system")) or None,
                text=text or _text(coding.get("display")) or None,
                destination=named,
            )
            if made is not None:
                read.append(made)
        routed = [one for one in read if one.route is not None]
        if routed or read:
            best = (routed or read)[0]
        else:
            best = Disposition(text=text, destination=named)
        if best.route is None:
            what, code = (
                ("the discharge disposition is in no table", "code-invalid")
                if codings or text
                else ("the discharge has no disposition", "required")
            )
            self.problems.append(Problem(what, path, "send a code of NUBC UB-04 FL17, or add it to codes/v2-disposition", code, "warning"))
        return best

    def _facts(self, client: int, encounter: int) -> Iterator[Fact]:
        """Every resource but the header, references between them in local form; the client and its visit first."""
        counts: dict[str, int] = {}
        made: dict[int, Fact] = {}
        for number, (_, resource) in enumerate(self.entries[1:], 1):
            kind = str(resource["resourceType"])
            counts[kind] = counts.get(kind, 0) + 1
            local = f"{kind.lower()}-{counts[kind]}"
            body = refs.rewrite(resource, self._rewrite)
            place = f"Bundle.entry[{number}]"
            made[number] = Fact(kind, local, resource=body, identities=identities.of_resource(resource), origins=(Origin(kind, place),))
        for number in dict.fromkeys((client, encounter, *made)):
            yield made[number]

    def _rewrite(self, text: str) -> str:
        local = self._local(text)
        return text if local is None else LOCAL + local


def _unknown(path: str) -> Problem:
    hint = (
        "taken are notification-admit, notification-discharge and notification-transfer of the Da Vinci guide and visit events of v2-0003"
    )
    return Problem("this event is not taken", path, hint, "not-supported")


def _control_id(bundle: Any) -> str:
    if not isinstance(bundle, dict):
        return ""
    return _text(_mapping(bundle.get("identifier")).get("value")) or _text(bundle.get("id"))


def _ms(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return times.ms_of(text)
    except Malformed:
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
