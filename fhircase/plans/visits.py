"""One visit as the sum of what its sender told of it (STANDARDS §5.1): a pure function of the events, in the order in
which they happened, not in the order in which they came.

Three rules carry the table. Only a discharge discharges: a discharge time on any other event (a stale PV1-45) never does.
An event that fits no longer (an admission or transfer after the discharge) changes nothing and is reported, so that a
late or mistimed message cannot reopen a stay; what cancels (A11, A12, A13) is the sender's explicit word on its own
stay and is believed, and reported when it fits badly. Events of the same moment keep the order of arrival and do not
contradict each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fhircase.errors import Malformed
from fhircase.fhir import times
from fhircase.plans.change import Resource

Effect = Literal["admitted", "discharged", "withdrawn", "cancelled", "redirected"]
"""What an event sets off beyond the visit itself: a stay began; a transition opens; an opened transition is withdrawn
(the discharge did not happen); the stay never was; the discharge stands but goes elsewhere."""

CLASSIFICATION = "http://hl7.org/fhir/StructureDefinition/subject-locationClassification"
UNKNOWN_CLASS: Mapping[str, str] = {"system": "http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "code": "UNK", "display": "unknown"}


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a visit. ``at`` epoch milliseconds when it happened by the sender; ``order`` arrival, growing;
    ``facts`` as made by ``facts_of``. ``event`` is the sender's name for it (A03)."""

    action: str
    at: int
    order: int
    facts: Mapping[str, Any]
    event: str = ""


@dataclass(frozen=True, slots=True)
class Contradiction:
    """An event that does not fit the others, in words for a person. ``order`` tells which one."""

    event: str
    order: int
    what: str


@dataclass(frozen=True, slots=True)
class Visit:
    """A visit after all that was told. ``status`` is Encounter.status; ``class_`` a Coding; ``start``/``end`` FHIR
    dateTime texts; ``locations`` Encounter.location entries with status; ``disposition`` a CodeableConcept,
    ``destination`` a Reference, ``route`` our reading of the disposition, ``named`` the receiver as the sender names
    it. ``latest`` is the (at, order) of the newest event."""

    status: str
    class_: Resource | None = None
    start: str | None = None
    end: str | None = None
    locations: tuple[Resource, ...] = ()
    disposition: Resource | None = None
    destination: Resource | None = None
    route: str | None = None
    code: str | None = None
    named: str | None = None
    discharged: bool = False
    contradictions: tuple[Contradiction, ...] = ()
    latest: tuple[int, int] = (0, 0)


def facts_of(
    encounter: Mapping[str, Any],
    *,
    happened: str | None,
    route: str | None = None,
    code: str | None = None,
    named: str | None = None,
) -> dict[str, Any]:
    """What one event says of its visit, taken from the Encounter drafted from that event alone. Only elements that the
    state of the visit depends on; all else is not history. ``route``, ``code`` and ``named`` are the finding's disposition."""
    stay = encounter.get("hospitalization") or {}
    period = encounter.get("period") or {}
    here, left, aside = [], [], []
    for entry in encounter.get("location") or ():
        bare = {name: value for name, value in entry.items() if name not in ("status", "period")}
        if any(e.get("url") == CLASSIFICATION for e in entry.get("extension") or ()) or entry.get("status") == "reserved":
            aside.append(entry)
        elif entry.get("status") == "completed":
            left.append(bare)
        else:
            here.append(bare)
    found = {
        "happened": happened,
        "class": encounter.get("class"),
        "start": period.get("start"),
        "end": period.get("end"),
        "here": here,
        "left": left,
        "aside": aside,
        "disposition": stay.get("dischargeDisposition"),
        "destination": stay.get("destination"),
        "route": route,
        "code": code,
        "named": named,
    }
    return {name: value for name, value in found.items() if value}


def tell(events: Iterable[Told]) -> Visit:
    """The visit after these events, in whatever order they are handed in; the same event twice changes nothing.
    Raises ValueError when there is none."""
    stay = _Stay()
    for event in sorted(events, key=lambda e: (e.at, e.order)):
        stay.latest = (event.at, event.order)
        _RULES.get(event.action, _nothing)(stay, event)
    if stay.latest is None:
        raise ValueError("a visit has at least one event")
    return Visit(
        status=stay.status or "unknown",
        class_=stay.class_,
        start=stay.start,
        end=stay.end if stay.discharged else None,
        locations=tuple(stay.places()),
        disposition=stay.disposition,
        destination=stay.destination,
        route=stay.route,
        code=stay.code,
        named=stay.named,
        discharged=stay.discharged,
        contradictions=tuple(stay.contradictions),
        latest=stay.latest,
    )


def effects(before: Visit | None, after: Visit) -> tuple[Effect, ...]:
    """What follows from the step between two tellings of the same visit. Equal tellings set off nothing, so that a
    message that comes twice opens one transition."""
    found: list[Effect] = []
    was_open = before is not None and before.discharged
    if after.status == "cancelled":
        if before is None or before.status != "cancelled":
            found.append("cancelled")
        return tuple(found)
    if after.status == "in-progress" and (before is None or before.status in ("planned", "unknown", "cancelled")):
        found.append("admitted")
    if after.discharged and not was_open:
        found.append("discharged")
    elif was_open and not after.discharged:
        found.append("withdrawn")
    elif was_open and before is not None and (before.route, before.code, before.named) != (after.route, after.code, after.named):
        found.append("redirected")
    return tuple(found)


# ------------------------------------------------------------------------------------------------ the telling


@dataclass(slots=True)
class _Stay:
    status: str | None = None
    class_: Resource | None = None
    start: str | None = None
    end: str | None = None
    here: list[Resource] = field(default_factory=list)
    left: list[Resource] = field(default_factory=list)
    aside: list[Resource] = field(default_factory=list)
    trail: list[list[Resource]] = field(default_factory=list)
    since: str | None = None
    disposition: Resource | None = None
    destination: Resource | None = None
    route: str | None = None
    code: str | None = None
    named: str | None = None
    discharged: bool = False
    ended_at: int | None = None
    begun: bool = False
    told_end: bool = False
    undone_at: int | None = None
    contradictions: list[Contradiction] = field(default_factory=list)
    latest: tuple[int, int] | None = None

    def contradict(self, event: Told, what: str) -> None:
        self.contradictions.append(Contradiction(event.event or event.action, event.order, what))

    def learn(self, event: Told) -> None:
        """What any event may tell at any time: absent keeps."""
        self.class_ = event.facts.get("class") or self.class_
        self.start = event.facts.get("start") or self.start

    def settle(self, event: Told) -> None:
        """Where the client is, without a move: a statement of the present place corrects it."""
        self.here = list(event.facts.get("here") or self.here)
        if event.facts.get("aside"):
            self.aside = list(event.facts["aside"])

    def move(self, event: Told) -> None:
        stated = event.facts.get("here")
        if not stated or _same(stated, self.here):
            self.settle(event)
            return
        gone = self.here or list(event.facts.get("left") or ())
        self.trail.append(gone)
        self.left = [*self.left, *(place for place in gone if place not in self.left)]
        self.here = list(stated)
        self.left = [place for place in self.left if place not in self.here]
        self.settle(event)

    def places(self) -> Iterable[Resource]:
        over = self.status in ("finished", "cancelled")
        for place in self.left:
            if place not in self.here:
                yield {**place, "status": "completed"}
        for place in self.here:
            yield {**place, "status": "completed" if over else "planned" if self.status == "planned" else "active"}
        if not over:
            yield from self.aside

    def stay_on(self) -> None:
        """Undo a discharge: the end and all that belongs to it go (STANDARDS §5.1, A13)."""
        self.end = self.disposition = self.destination = self.route = self.code = self.named = None
        self.discharged = False
        self.ended_at = None

    def depart(self, event: Told) -> None:
        facts = event.facts
        self.disposition = facts.get("disposition") or self.disposition
        self.destination = facts.get("destination") or self.destination
        if "code" in facts or "disposition" in facts:
            self.route, self.code = facts.get("route"), facts.get("code")
        else:
            self.route = facts.get("route") or self.route
        self.named = facts.get("named") or self.named


def _nothing(_stay: _Stay, _event: Told) -> None:
    """An event that is understood and moves no visit."""


def _arrive(stay: _Stay, event: Told) -> None:
    if stay.status == "finished":
        if event.at != stay.ended_at:
            stay.contradict(event, "the client arrives after the discharge of the same visit")
        stay.start = stay.start or event.facts.get("start") or event.facts.get("happened")
        stay.class_ = stay.class_ or event.facts.get("class")
        return
    again = stay.status == "cancelled"
    stay.status = "in-progress"
    stay.learn(event)
    if again or stay.start is None:
        stay.start = event.facts.get("start") or event.facts.get("happened") or stay.start
    stay.settle(event)
    stay.begun = True


def _expect(stay: _Stay, event: Told) -> None:
    if stay.status in (None, "unknown", "planned"):
        stay.status = "planned"
        stay.learn(event)
        stay.settle(event)


def _transfer(stay: _Stay, event: Told) -> None:
    if _over(stay, event, "a transfer"):
        return
    stay.status = "in-progress"
    stay.learn(event)
    stay.move(event)


def _depart(stay: _Stay, event: Told) -> None:
    if stay.status in ("finished", "cancelled"):
        return
    stay.status = stay.status or "in-progress"
    stay.learn(event)
    stay.move(event)


def _discharge(stay: _Stay, event: Told) -> None:
    if stay.status == "cancelled":
        stay.contradict(event, "a discharge of a stay whose admission was cancelled")
        return
    stay.learn(event)
    if event.facts.get("route") == "not-discharged":
        stay.contradict(event, "a discharge whose disposition says that the client is still a patient")
        stay.status = stay.status if stay.status == "finished" else "in-progress"
        return
    stay.settle(event)
    stay.told_end = True
    stay.status, stay.discharged, stay.ended_at = "finished", True, event.at
    stay.depart(event)
    happened, stated = event.facts.get("happened"), event.facts.get("end")
    stay.end = stated or happened
    if _before(stay.end, stay.start):
        stay.contradict(event, "the discharge lies before the admission")
        stay.end = happened if not _before(happened, stay.start) else None


def _update(stay: _Stay, event: Told) -> None:
    stay.status = stay.status or "unknown"
    if stay.status == "cancelled":
        return
    stay.learn(event)
    if stay.discharged:
        stay.depart(event)
        stated = event.facts.get("end")
        if stated and not _before(stated, stay.start):
            stay.end = stated
    else:
        stay.settle(event)


def _cancel_admit(stay: _Stay, event: Told) -> None:
    if stay.status == "finished":
        stay.contradict(event, "the admission is cancelled after the discharge, which was not cancelled")
    stay.learn(event)
    stay.stay_on()
    stay.status = "cancelled"


def _cancel_discharge(stay: _Stay, event: Told) -> None:
    if stay.status == "cancelled":
        stay.contradict(event, "the discharge is cancelled of a stay whose admission was cancelled")
    elif stay.status == "in-progress" and stay.begun and not stay.told_end:
        stay.contradict(event, "a discharge is cancelled that was never told")
    stay.learn(event)
    stay.stay_on()
    stay.status = "in-progress"
    stay.settle(event)


def _cancel_transfer(stay: _Stay, event: Told) -> None:
    if _over(stay, event, "the cancelling of a transfer"):
        return
    if event.at == stay.undone_at:
        return
    stay.undone_at = event.at
    stay.status = "in-progress"
    stay.learn(event)
    if stay.trail:
        stay.here = stay.trail.pop()
        known = [place for step in stay.trail for place in step]
        stay.left = [place for place in stay.left if place in known]
    elif event.facts.get("here"):
        stay.here = list(event.facts["here"])
        stay.left = [place for place in stay.left if place not in stay.here]
    elif stay.begun:
        stay.contradict(event, "a transfer is cancelled that was never told")


def _over(stay: _Stay, event: Told, what: str) -> bool:
    if stay.status == "finished":
        if event.at != stay.ended_at:
            stay.contradict(event, f"{what} after the discharge")
        return True
    if stay.status == "cancelled":
        stay.contradict(event, f"{what} of a stay whose admission was cancelled")
        return True
    return False


_RULES: Mapping[str, Callable[[_Stay, Told], None]] = {
    "admit": _arrive,
    "register": _arrive,
    "preadmit": _expect,
    "transfer": _transfer,
    "depart": _depart,
    "discharge": _discharge,
    "update": _update,
    "cancel-admit": _cancel_admit,
    "cancel-discharge": _cancel_discharge,
    "cancel-transfer": _cancel_transfer,
}
ACTIONS = frozenset(_RULES)
"""The actions that are events of a visit; the others (person, merge, referral, notice) are not told of one."""


def _same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return list(a) == list(b)


def _before(a: str | None, b: str | None) -> bool:
    """Whether ``a`` is certainly earlier than ``b``, by what their precision allows; texts that are no times are not."""
    if a is None or b is None:
        return False
    try:
        return times.bounds(a)[1] <= times.bounds(b)[0]
    except Malformed:
        return False
