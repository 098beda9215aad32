"""HL7 v2 messages → what happened, to whom (STANDARDS §5). Which segments make which fact is decided here; what stands in
them is read by the mappings ``adt`` and ``ref-i12``.

The trigger event is MSH-9.2, never EVN-1. Nothing is looked up and no identity decided."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fhircase.errors import Problem, Refused
from fhircase.hl7v2 import Authorities, Message, Moment, Place, Repetition, Segment, header, moment, parse, wants_answer
from fhircase.intake import events, identities
from fhircase.intake.findings import LOCAL, Action, Disposition, Fact, Finding, Identity
from fhircase.intake.refusal import Unacceptable
from fhircase.plans.change import Origin
from fhircase.plans.partner import Partner

Doc = dict[str, Any]

_PERSON_ONLY = frozenset({"person", "merge", "notice"})
_MOVE_ONLY = ("numbers", "locations", "client")
_NUMBER = re.compile(r"\d{1,3}|[A-Za-z]{1,3}\d{0,3}")
_KEY = (3, 4, 7, 9, 10)


@dataclass(frozen=True, slots=True)
class _Read:
    """A mapping's document and, by case field, the place in the message that each value came from."""

    doc: Doc
    origins: Mapping[str, Any]
    problems: tuple[Problem, ...]


def read(raw: bytes, partner: Partner, maps: Any, *, max_segments: int = 2_000) -> Finding:
    """Read an ADT or REF message of ``partner``; ``maps`` is the compiled ``mappings/`` (fhircase.mapping.Mappings).

    Raises Unacceptable AR for a sender, type, processing id or structure that is not acceptable, AE when what is needed to
    apply it is missing; every problem at once, each with its place."""
    try:
        message = parse(raw, max_segments=max_segments)
    except Refused as refused:
        first = header(raw)
        raise Unacceptable(
            "AR", refused.problems, message=first, control_id=first.control_id if first else "", event=first.event if first else ""
        ) from None
    return _Reading(message, partner, maps).finding()


class _Reading:
    """One message being read. ``problems`` grows; refusals are raised with all of them."""

    def __init__(self, message: Message, partner: Partner, maps: Any) -> None:
        self.message = message
        self.partner = partner
        self.maps = maps
        self.authorities = Authorities(partner.name, partner.authorities, message.header.get(4) or "")
        self.problems: list[Problem] = list(message.problems)
        self.zone = partner.zone

    def finding(self) -> Finding:
        action = self._accept()
        happened = self._happened()
        facts: list[Fact] = []
        retired: list[tuple[Identity, ...]] = []
        visit: Identity | None = None
        disposition: Disposition | None = None
        if action == "merge":
            facts, retired = self._merge()
        else:
            mapped = self._map("ref-i12" if action == "referral" else "adt", self.message)
            facts.append(self._client(mapped, self.message, "client"))
            visit = None if action == "person" else self._visit_number()
            if action in events.VISIT:
                disposition = self._disposition(action, visit)
                facts += self._visit(mapped, action, visit)
            if action == "referral":
                facts += self._referral(mapped, visit)
            if action not in ("notice", "depart"):
                facts += self._around(mapped, action, {fact.local for fact in facts})
        return Finding(
            event=self.message.event,
            action=action,
            control_id=self.message.control_id,
            key=self._key(),
            sender=(self.message.header.get(3) or "", self.message.header.get(4) or ""),
            processing_id=self.message.header.get(11) or "",
            happened=happened.text if happened else None,
            happened_ms=happened.ms if happened else None,
            facts=tuple(facts),
            visit=visit,
            disposition=disposition,
            retired=tuple(retired),
            problems=tuple(dict.fromkeys(self.problems)),
            version=self.message.version,
            acknowledge=wants_answer(self.message, "AA"),
        )

    # ------------------------------------------------------------------------------------------ may it come in?

    def _accept(self) -> Action:
        """What its event does. Raises Unacceptable for all that stands against it, the header's first."""
        head, wrong = self.message.header, []
        kind, event = self.message.type, self.message.event
        action = (events.ADT if kind == "ADT" else events.REF if kind == "REF" else {}).get(event)
        if kind not in ("ADT", "REF"):
            wrong.append(Problem("this type of message is not taken", "MSH-9.1", "send ADT or REF", "not-supported"))
        elif not event:
            wrong.append(Problem("the trigger event is missing", "MSH-9.2", "name the event, for example ADT^A03", "required"))
        elif action is None:
            taken = ", ".join(sorted(events.ADT if kind == "ADT" else events.REF))
            wrong.append(Problem("this trigger event is not taken", "MSH-9.2", f"taken are {taken}", "not-supported"))
        if not self.message.control_id.strip():
            wrong.append(Problem("the message control id is missing", "MSH-10", "give each message an id of its own", "required"))
        processing = head.get(11) or ""
        if not processing:
            wrong.append(Problem("the processing id is missing", "MSH-11", "P for production", "required"))
        elif processing not in self.partner.processing_ids:
            allowed = ", ".join(self.partner.processing_ids)
            wrong.append(
                Problem("this processing id is not taken from this sender", "MSH-11", f"taken here: {allowed or 'none'}", "not-supported")
            )
        if self.partner.senders and not self._may_send():
            hint = "ask for the pair MSH-3, MSH-4 to be added to the partner's record"
            wrong.append(Problem("this sending application and facility are not this partner's", "MSH-3", hint, "forbidden"))
        if action is not None and not wrong:
            wrong += self._structure(action)
        if wrong:
            raise self._refuse("AR", wrong)
        assert action is not None
        return action

    def _may_send(self) -> bool:
        head = self.message.header
        applications = {head.get(3) or "", head.field(3)}
        facilities = {head.get(4) or "", head.field(4)}
        return any(application in applications and facility in facilities for application, facility in self.partner.senders)

    def _structure(self, action: Action) -> Iterator[Problem]:
        if self.message.segment("PID") is None:
            yield Problem("the segment PID is missing", "PID", "send PID with at least PID-3 and PID-5", "structure")
        if action in events.VISIT and self.message.segment("PV1") is None:
            yield Problem("the segment PV1 is missing", "PV1", "an event of a visit needs PV1", "structure")
        if action == "merge" and self.message.segment("MRG") is None:
            yield Problem("the segment MRG is missing", "MRG", "a merge names the retired number in MRG-1", "structure")
        if action == "referral" and self.message.segment("RF1") is None:
            yield Problem("the segment RF1 is missing", "RF1", "a referral needs RF1", "structure")

    def _refuse(self, code: Any, wrong: Iterable[Problem]) -> Unacceptable:
        return Unacceptable(
            code,
            (*wrong, *self.problems),
            message=self.message,
            control_id=self.message.control_id,
            event=self.message.event,
            key=self._key(),
        )

    def _key(self) -> str:
        """Sender, MSH-7, MSH-9 and MSH-10 as written (DECISIONS 19)."""
        return "|".join(self.message.header.field(number).replace("|", "\\F\\") for number in _KEY)

    # ------------------------------------------------------------------------------------------ reading

    def _happened(self) -> Moment | None:
        """When it happened, by the sender: EVN-6, else EVN-2, else MSH-7."""
        for place in ("EVN-6", "EVN-2", "MSH-7"):
            text = self.message.get(place)
            if not text:
                continue
            try:
                read = moment(text, zone=self.zone)
            except ValueError:
                self.zone = None
                self.problems.append(_warning("the sender's configured zone is not known", place, "set the partner's zone to an IANA name"))
                read = moment(text)
            if read is None:
                self.problems.append(_warning("a time that cannot be read", place, "YYYYMMDDHHMMSS+ZZZZ"))
                continue
            if read.doubt is not None:
                self.problems.append(_doubt(read, place))
            return read
        return None

    def _map(self, name: str, message: Message) -> _Read:
        known = _systems(message, self.authorities)
        read = self.maps.mapping(name, site=self.partner.site).read(message, zone=self.zone, authorities=known)
        self.problems += read.problems
        return _Read(dict(read.doc), read.origins, tuple(read.problems))

    def _client(self, mapped: _Read, message: Message, local: str) -> Fact:
        found = identities.of_numbers(_client_numbers(message), self.authorities)
        if not found:
            place = message.segments("PID")[0].place(3)
            wrong = Problem("the client has no identifier", str(place), "send the record number in PID-3", "required")
            raise self._refuse("AE", [wrong])
        doc = dict(mapped.doc.get("client") or {})
        if "identifiers" in doc:
            doc["identifiers"] = self._named(doc["identifiers"], "client.identifiers", mapped.origins, message)
        if "doctors" in doc:
            doc["doctors"] = self._linked(doc["doctors"], mapped)
        return Fact("Patient", local, "client", doc, identities=found, origins=_origins(mapped, "client"))

    def _named(self, entries: Any, field: str, origins: Mapping[str, Any], message: Message) -> Any:
        """The identifiers of a document, each with the system that its identity has: one rule for both."""
        if not isinstance(entries, list):
            return entries
        made = []
        for position, entry in enumerate(entries):
            origin = origins.get(f"{field}[{position}].value")
            number = _repetition(message, origin) if origin is not None and isinstance(entry, Mapping) else None
            made.append(entry if number is None else {**entry, "system": self.authorities.of(number)})
        return made

    def _visit_number(self) -> Identity | None:
        """PV1-19, else PV1-50 (STANDARDS §5.2). A visit number of any type claims: it names the visit, not the person."""
        for place in ("PV1-19", "PV1-50"):
            for number in self.message.repetitions(place)[:1]:
                value = number.get()
                if value and value.strip():
                    return Identity(self.authorities.of(number), value.strip(), claims=True)
        return None

    def _visit(self, mapped: _Read, action: Action, visit: Identity | None) -> list[Fact]:
        if visit is None:
            hint = "send the visit number in PV1-19; without it the event can only be matched to a single open stay"
            self.problems.append(_warning("the visit has no number", "PV1-19", hint, "required"))
            if action == "update":
                # Which stay is meant is not known, and an update must not create one.
                return []
        doc = dict(mapped.doc.get("visit") or {})
        if action == "depart":
            doc = {name: value for name, value in doc.items() if name in _MOVE_ONLY}
        if "numbers" in doc:
            doc["numbers"] = self._named(doc["numbers"], "visit.numbers", mapped.origins, self.message)
        if "participants" in doc:
            doc["participants"] = self._linked(doc["participants"], mapped)
        if isinstance(doc.get("diagnoses"), list):
            diagnoses = mapped.doc.get("diagnoses") or []
            doc["diagnoses"] = [
                {**entry, "condition": f"{LOCAL}diagnosis-{number}"}
                for number, entry in enumerate(doc["diagnoses"], 1)
                if number <= len(diagnoses) and _says(diagnoses[number - 1])
            ]
        doc["client"] = LOCAL + "client"
        self._period()
        found = (visit,) if visit is not None else ()
        return [Fact("Encounter", "visit", "visit", doc, identities=found, origins=_origins(mapped, "visit"))]

    def _period(self) -> None:
        """A stay that ends before it begins is told; which of the two is wrong is not ours to say."""
        start, end = (self._moment(place) for place in ("PV1-44", "PV1-45"))
        if start is not None and end is not None and end.ms < start.ms and end.text < start.text[: len(end.text)]:
            hint = "PV1-45 is believed only of a discharge, and only when it follows PV1-44"
            self.problems.append(_warning("the stay ends before it begins", "PV1-45", hint))

    def _moment(self, place: str) -> Moment | None:
        return moment(self.message.get(place), zone=self.zone)

    def _disposition(self, action: Action, visit: Identity | None) -> Disposition | None:
        """PV1-36 and PV1-37, of discharges and of what is told of a stay afterwards."""
        pv1 = self.message.segment("PV1")
        if pv1 is None or action not in ("discharge", "update"):
            return None
        said = pv1.get(36)
        code, text = said or None, (pv1.get(36, 2) or pv1.get(36, 9) or None)
        made = events.disposition(
            self.maps,
            self.partner.site,
            code=code.strip() if code else None,
            text=text,
            destination=(pv1.get(37) or pv1.get(37, 1, 2) or None),
        )
        if action == "discharge" and visit is not None and (made is None or made.route is None):
            what = "the discharge has no disposition" if not code else "the discharge disposition is in no table"
            kind = "required" if not code else "code-invalid"
            self.problems.append(_warning(what, "PV1-36", "send a code of NUBC UB-04 FL17, or add it to codes/v2-disposition", kind))
        return made

    def _around(self, mapped: _Read, action: Action, made: set[str]) -> list[Fact]:
        """Who and what else is spoken of: diagnoses (of visits), contacts, providers, the team."""
        facts: list[Fact] = []
        if action not in _PERSON_ONLY:
            for number, doc in enumerate(_list(mapped.doc.get("diagnoses")), 1):
                if not _says(doc):
                    continue
                links: Doc = {"client": LOCAL + "client"}
                if "visit" in made:
                    links["visit"] = LOCAL + "visit"
                own = self._own(doc.get("number"), "DG1-20", number)
                facts.append(
                    Fact(
                        "Condition",
                        f"diagnosis-{number}",
                        "need",
                        {**doc, **links},
                        identities=own,
                        origins=_origins(mapped, f"diagnoses[{number - 1}]"),
                    )
                )
        for number, doc in enumerate(_list(mapped.doc.get("contacts")), 1):
            if not _says(doc):
                continue
            place = f"contacts[{number - 1}]"
            named = self._named(doc.get("identifiers"), f"{place}.identifiers", mapped.origins, self.message)
            doc = {**doc, "client": LOCAL + "client"} | ({"identifiers": named} if named is not None else {})
            facts.append(Fact("RelatedPerson", f"contact-{number}", "contact", doc, origins=_origins(mapped, place)))
        facts += self._providers(mapped)
        members = _list((mapped.doc.get("team") or {}).get("members"))
        if action not in _PERSON_ONLY and members:
            team: Doc = {"client": LOCAL + "client", "members": self._linked(members, mapped)}
            facts.append(Fact("CareTeam", "team", "team", team, origins=_origins(mapped, "team")))
        return facts

    def _own(self, value: Any, place: str, number: int) -> tuple[Identity, ...]:
        if not isinstance(value, str) or not value:
            return ()
        return (Identity(f"urn:fhircase:authority:{self.partner.name}:{place}", value, claims=False),)

    def _providers(self, mapped: _Read) -> list[Fact]:
        """Providers that have a number, each once; without one a name is no identity and stays a display text."""
        known = _provider_names(mapped.doc)
        facts: dict[str, Fact] = {}
        for position, doc in enumerate(_list(mapped.doc.get("providers"))):
            number = _number(doc)
            if number is not None and known[number] not in facts:
                found = (Identity(*number, claims=False),)
                origins = _origins(mapped, f"providers[{position}]")
                facts[known[number]] = Fact("Practitioner", known[number], "person", doc, identities=found, origins=origins)
        return list(facts.values())

    def _linked(self, entries: Any, mapped: _Read) -> Any:
        """Entries that name a provider by number, with a reference to its fact beside."""
        if not isinstance(entries, list):
            return entries
        known = _provider_names(mapped.doc)
        made = []
        for entry in entries:
            local = known.get((entry.get("number_system"), entry.get("number"))) if isinstance(entry, Mapping) else None
            made.append({**entry, "person": LOCAL + local} if local is not None else entry)
        return made

    def _referral(self, mapped: _Read, visit: Identity | None) -> list[Fact]:
        facts: list[Fact] = []
        for field, type_, mapping in (
            ("visit", "Encounter", "visit"),
            ("service", "ServiceRequest", "service"),
            ("handover", "Task", "handover"),
        ):
            doc = mapped.doc.get(field)
            if not isinstance(doc, Mapping) or not _says(doc):
                continue
            if field == "visit" and visit is None:
                continue
            found: tuple[Identity, ...] = ()
            if field == "visit" and visit is not None:
                found = (visit,)
            elif field == "service":
                found = self._entities("RF1-6", "RF1-11")
            linked: Doc = {**doc, "client": LOCAL + "client"}
            if field == "handover":
                linked["focus"] = LOCAL + "service"
            facts.append(Fact(type_, field, mapping, linked, identities=found, origins=_origins(mapped, field)))
        return facts

    def _entities(self, *places: str) -> tuple[Identity, ...]:
        """Entity identifiers (EI: value ^ namespace ^ universal id ^ type), as numbers that find and do not claim."""
        found = []
        for place in places:
            for number in self.message.repetitions(place):
                value = number.get()
                if value:
                    found.append(Identity(self.authorities.system(number.get(2), number.get(3), number.get(4)), value, claims=False))
        return tuple(dict.fromkeys(found))

    # ------------------------------------------------------------------------------------------ merges

    def _merge(self) -> tuple[list[Fact], list[tuple[Identity, ...]]]:
        """A Patient fact (the survivor) and the retired numbers for every PID/MRG pair."""
        facts, retired = [], []
        pairs = list(_pairs(self.message))
        wrong = [
            Problem("a PID has no MRG behind it", str(segments[0].place()), "each PID is followed by its MRG", "structure")
            for segments in pairs
            if segments[-1].name != "MRG"
        ]
        first = self.message.segments()
        if next((one.name for one in first if one.name in ("PID", "MRG")), "") == "MRG":
            wrong.append(Problem("an MRG has no PID before it", "MRG", "each PID is followed by its MRG", "structure"))
        if wrong:
            raise self._refuse("AR", wrong)
        for position, segments in enumerate(pairs, 1):
            part = self.message.part(segments)
            fact = self._client(self._map("adt", part), part, "client" if position == 1 else f"client-{position}")
            old = identities.of_numbers(part.repetitions("MRG-1") or part.repetitions("MRG-4"), self.authorities)
            if not old:
                wrong = [Problem("the retired number is missing", str(segments[-1].place(1)), "name it in MRG-1", "required")]
                raise self._refuse("AE", wrong)
            survivor = {(one.system, one.value) for one in fact.identities}
            gone = tuple(one for one in old if (one.system, one.value) not in survivor)
            if not gone:
                hint = "PID-3 is the survivor, MRG-1 the retired number"
                self.problems.append(
                    _warning("the retired number is the survivor's own; nothing to merge", str(segments[-1].place(1)), hint, "duplicate")
                )
            facts.append(fact)
            retired.append(gone)
        return facts, retired


def _pairs(message: Message) -> Iterator[list[Segment]]:
    """Each PID with what stands between it and the next, up to its MRG."""
    group: list[Segment] = []
    for segment in message.segments():
        if segment.name == "PID":
            if group:
                yield group
            group = [segment]
        elif group and group[-1].name != "MRG":
            if segment.name in ("PD1", "MRG"):
                group.append(segment)
    if group:
        yield group


def _client_numbers(message: Message) -> list[Repetition]:
    """PID-3 first; PID-2 and PID-4 held the external and alternate numbers up to v2.3 and are still sent."""
    pid = message.segments("PID")[0]
    return [number for field in (3, 2, 4) for number in pid.repetitions(field)]


_CX = ("PID-2", "PID-3", "PID-4", "PID-18", "MRG-1", "PV1-5", "PV1-19", "PV1-50", "NK1-33")
_XCN = ("PV1-7", "PV1-8", "PV1-9", "PV1-17", "PV1-52", "PD1-4", "ROL-4", "EVN-5")


def _systems(message: Message, authorities: Authorities) -> dict[str, str]:
    """Authority → system for every authority that the message names, so that the mapping says what the identities say."""
    known = dict(authorities.table)
    known.setdefault("", authorities.system(None))
    for places, component in ((_CX, 4), (_XCN, 9)):
        for place in places:
            for number in message.repetitions(place):
                name, universal = number.get(component), number.get(component, 2)
                system = authorities.of(number) if component == 4 else authorities.system(name, universal, number.get(component, 3))
                for key in (name, universal):
                    if key:
                        known.setdefault(key, system)
    return known


def _repetition(message: Message, origin: Any) -> Repetition | None:
    place = Place.of(origin.place)
    for found in message.repetitions(Place(place.segment, place.occurrence or message.segments(place.segment)[0].occurrence, place.field)):
        if (found.place.repetition or 1) == (place.repetition or 1):
            return found
    return None


def _origins(mapped: _Read, prefix: str) -> tuple[Origin, ...]:
    """Case field below ``prefix`` ← place. Whoever writes the FHIR resource names the elements by the mapping."""
    start = prefix + "."
    return tuple(
        Origin(field[len(start) :], origin.place, origin.raw) for field, origin in mapped.origins.items() if field.startswith(start)
    )


def _list(value: Any) -> Sequence[Doc]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _says(doc: Mapping[str, Any]) -> bool:
    """Whether a document holds more than what the mapping always sets."""
    return any(value not in (None, [], {}) for name, value in doc.items() if name not in ("kind", "client", "visit", "state"))


def _number(doc: Mapping[str, Any]) -> tuple[str, str] | None:
    for one in _list(doc.get("identifiers")):
        system, value = one.get("system"), one.get("value")
        if isinstance(system, str) and isinstance(value, str) and system and value:
            return system, value
    return None


def _provider_names(doc: Doc) -> dict[tuple[Any, Any], str]:
    """Number → local name of every provider of the document."""
    numbers = dict.fromkeys(number for one in _list(doc.get("providers")) if (number := _number(one)) is not None)
    return {number: f"provider-{position}" for position, number in enumerate(numbers, 1)}


def _warning(what: str, path: str, hint: str, code: str = "value") -> Problem:
    return Problem(what, path, hint, code, "warning")


def _doubt(read: Moment, place: str) -> Problem:
    told = {
        "no-zone": ("a time without offset, and the sender has no zone; kept to the day", "set the partner's zone, or send the offset"),
        "offset": ("a time with an impossible offset; kept to the day", "offsets go from -1400 to +1400"),
        "repeated-hour": ("a local time that the clock shows twice; the first was taken", "send the offset"),
        "skipped-hour": ("a local time that the clock skips", "send the offset"),
    }
    what, hint = told[read.doubt or "no-zone"]
    return _warning(what, place, hint)
