"""HL7 v2 messages → what happened, to whom (STANDARDS §5). Which segments make which fact is decided here; what stands in
them is read by the mappings ``adt`` and ``ref-i12``.

The trigger event is MSH-9.2, never EVN-1. Nothing is looked up and no identity decided."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhircase.errors import Problem, Refused
from fhircase.hl7v2 import Authorities, Message, Moment, Repetition, Segment, header, moment, parse, wants_answer
from fhircase.intake import events, identities
from fhircase.intake.findings import LOCAL, Action, Disposition, Fact, Finding, Identity
from fhircase.intake.refusal import Unacceptable
from fhircase.plans.change import Origin
from fhircase.plans.partner import Partner

Doc = dict[str, Any]

_PERSON_ONLY = frozenset({"person", "merge", "notice"})
_DISCHARGED = ("discharge", "update")
_MOVE_ONLY = ("numbers", "locations", "client")
_PROVIDERS = {"ADT": "providers", "REF": "people"}
_IDENTIFIER = re.compile(r"identifiers\[(\d+)\]")
_LEAVING = ("disposition", "disposition_code", "destination", "destination_number", "destination_name")
_SPOKEN_OF: Mapping[Action, frozenset[str]] = {
    "person": frozenset({"EVN", "PID", "PD1", "NK1"}),
    "notice": frozenset({"EVN", "PID", "PD1"}),
}
_KEY = (3, 4, 7, 9, 10)


@dataclass(frozen=True, slots=True)
class _Read:
    """A mapping's document and, by the part of it (``visit``, ``diagnoses[0]``), the case field below that part and the place
    in the message that each value came from. Whoever writes the FHIR resource names the elements by the mapping."""

    doc: Doc
    origins: Mapping[str, Sequence[Origin]]
    problems: tuple[Problem, ...]

    def of(self, part: str) -> tuple[Origin, ...]:
        return tuple(self.origins.get(part, ()))


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
            mapped = self._map("ref-i12" if action == "referral" else "adt", self._told(action))
            self.problems += [problem for problem in mapped.problems if _matters(problem, action)]
            facts.append(self._client(mapped, self.message, "client"))
            visit = None if action == "person" else self._visit_number()
            if action in events.VISIT:
                disposition = self._disposition(action, visit)
                facts += self._visit(mapped, action, visit)
            if action == "referral":
                facts += self._referral(mapped)
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

    def _told(self, action: Action) -> Message:
        """The message without what its event does not speak of, so that a stale PV1 of an A31 is neither read nor complained of."""
        wanted = _SPOKEN_OF.get(action)
        return self.message if wanted is None else self.message.part([one for one in self.message.segments() if one.name in wanted])

    def _map(self, name: str, message: Message) -> _Read:
        read = self.maps.mapping(name, site=self.partner.site).read(message, zone=self.zone, authorities=self.authorities)
        parts: dict[str, list[Origin]] = {}
        for field, origin in read.origins.items():
            part, _, below = field.partition(".")
            parts.setdefault(part, []).append(Origin(below, origin.place, origin.raw))
        return _Read(dict(read.doc), parts, tuple(read.problems))

    def _client(self, mapped: _Read, message: Message, local: str) -> Fact:
        found = identities.of_numbers(_client_numbers(message), self.authorities)
        if not found:
            place = message.segments("PID")[0].place(3)
            wrong = Problem("the client has no identifier", str(place), "send the record number in PID-3", "required")
            raise self._refuse("AE", [wrong])
        doc = dict(mapped.doc.get("client") or {})
        if "doctors" in doc:
            doc["doctors"] = self._linked(doc["doctors"], mapped)
        origins = mapped.of("client")
        if "identifiers" in doc:
            doc["identifiers"], origins = _once(doc["identifiers"], origins)
        return Fact("Patient", local, "client", doc, identities=found, origins=origins)

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
        if action not in _DISCHARGED:
            doc = {name: value for name, value in doc.items() if name not in _LEAVING}
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
        return [Fact("Encounter", "visit", "visit", doc, identities=found, origins=mapped.of("visit"))]

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
        if pv1 is None or action not in _DISCHARGED:
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
        if action == "discharge" and not code:
            hint = "send a code of NUBC UB-04 FL17"
            self.problems.append(_warning("the discharge has no disposition", "PV1-36", hint, "required"))
        return made

    def _around(self, mapped: _Read, action: Action, made: set[str]) -> list[Fact]:
        """Who and what else is spoken of: diagnoses (of visits), contacts, providers, the team."""
        facts: list[Fact] = []
        if action not in _PERSON_ONLY:
            field = "needs" if action == "referral" else "diagnoses"
            for number, doc in enumerate(_list(mapped.doc.get(field)), 1):
                if not _says(doc):
                    continue
                links: Doc = {"client": LOCAL + "client"}
                if "visit" in made:
                    links["visit"] = LOCAL + "visit"
                own = self._own(doc.get("number"), "DG1-20")
                facts.append(
                    Fact(
                        "Condition",
                        f"diagnosis-{number}",
                        "need",
                        {**doc, **links},
                        identities=own,
                        origins=mapped.of(f"{field}[{number - 1}]"),
                    )
                )
        for number, doc in enumerate(_list(mapped.doc.get("contacts")), 1):
            if not _says(doc):
                continue
            doc = {**doc, "client": LOCAL + "client"}
            facts.append(Fact("RelatedPerson", f"contact-{number}", "contact", doc, origins=mapped.of(f"contacts[{number - 1}]")))
        facts += self._providers(mapped)
        members = _list((mapped.doc.get("team") or {}).get("members"))
        if action not in _PERSON_ONLY and members:
            team: Doc = {"client": LOCAL + "client", "members": self._linked(members, mapped)}
            facts.append(Fact("CareTeam", "team", "team", team, origins=mapped.of("team")))
        return facts

    def _own(self, value: Any, place: str) -> tuple[Identity, ...]:
        if not isinstance(value, str) or not value:
            return ()
        return (Identity(f"urn:fhircase:authority:{self.partner.name}:{place}", value, claims=False),)

    def _providers(self, mapped: _Read) -> list[Fact]:
        """Providers that have a number, each once; without one a name is no identity and stays a display text."""
        known = _provider_names(mapped.doc)
        facts: dict[str, Fact] = {}
        field = _PROVIDERS[self.message.type]
        for position, doc in enumerate(_list(mapped.doc.get(field))):
            number = _number(doc)
            if number is not None and known[number] not in facts:
                found = (Identity(*number, claims=False),)
                origins = mapped.of(f"{field}[{position}]")
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

    def _referral(self, mapped: _Read) -> list[Fact]:
        """The service that is asked for and the request to take it. A referral makes no visit, though it may name one in PV1."""
        facts: list[Fact] = []
        for field, type_ in (("service", "ServiceRequest"), ("handover", "Task")):
            doc = mapped.doc.get(field)
            if not isinstance(doc, Mapping) or not _says(doc):
                continue
            linked: Doc = {**doc, "client": LOCAL + "client"}
            found: tuple[Identity, ...] = ()
            if field == "service":
                found = self._entities("RF1-6", "RF1-11")
            elif facts:
                linked["focus"] = LOCAL + "service"
            facts.append(Fact(type_, field, field, linked, identities=found, origins=mapped.of(field)))
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
            mapped = self._map("adt", part)
            self.problems += mapped.problems
            fact = self._client(mapped, part, "client" if position == 1 else f"client-{position}")
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


def _once(entries: Any, origins: tuple[Origin, ...]) -> tuple[Any, tuple[Origin, ...]]:
    """Identifiers without those that PID-2 and PID-4 merely repeat, and the origins with their new positions."""
    places: dict[Any, int] = {}
    moved: dict[int, int] = {}
    made: list[Doc] = []
    for position, entry in enumerate(_list(entries)):
        number = (entry.get("system"), entry.get("value"))
        if number not in places:
            places[number] = moved[position] = len(made)
            made.append(entry)
    if len(made) == len(_list(entries)):
        return entries, origins
    kept = []
    for origin in origins:
        match = _IDENTIFIER.match(origin.element)
        if match is None:
            kept.append(origin)
        elif int(match[1]) in moved:
            kept.append(replace(origin, element=f"identifiers[{moved[int(match[1])]}]{origin.element[match.end() :]}"))
    return made, tuple(kept)


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
    numbers = dict.fromkeys(
        number for field in _PROVIDERS.values() for one in _list(doc.get(field)) if (number := _number(one)) is not None
    )
    return {number: f"provider-{position}" for position, number in enumerate(numbers, 1)}


def _matters(problem: Problem, action: Action) -> bool:
    """False for a doubt about something that the event does not tell."""
    if not problem.path.startswith("PV1-"):
        return True
    field = problem.path[4:].partition(".")[0].partition("[")[0]
    if action == "depart":
        return field in ("3", "6", "11", "19", "42", "50")
    return field not in ("36", "37") or action in _DISCHARGED


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
