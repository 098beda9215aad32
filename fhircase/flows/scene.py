"""What a message is decided upon: one snapshot, what was found in it, and the Change that grows from it.

The parts of the decision (``drafting``, ``consequences``, ``merge_clients``) share a Scene; it reads, and never writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fhircase.errors import Problem
from fhircase.fhir import refs
from fhircase.flows.hub import Hub
from fhircase.intake.findings import LOCAL, Fact, Finding
from fhircase.plans import overlay, visits
from fhircase.plans.change import Grant, Origin, Ref, Resource, Review, Write
from fhircase.plans.partner import DIRECTORY_TYPES, HUB, Partner
from fhircase.ports import Stored, Tx, VisitEvent

Kind = Literal["hl7v2", "message"]

_FIRST: Mapping[str, Mapping[str, Any]] = {
    "Encounter": {"state": "planned"},
    "ServiceRequest": {"state": "active", "intent": "order"},
    "Task": {"state": "requested"},
}
"""What a v2 message leaves to be understood when it first names such a thing. A visit's state is told by its events and
set over this; a referral (REF) orders, and asks."""

_TEST = "http://terminology.hl7.org/CodeSystem/v2-0103"


@dataclass(slots=True)
class Item:
    """One fact with the resource that it is here."""

    fact: Fact
    ref: Ref
    stored: Stored | None
    body: Resource
    before: Resource | None = None
    claims: tuple[tuple[str, str], ...] = ()
    case: str | None = None
    origins: tuple[Origin, ...] = ()


@dataclass(slots=True)
class Stay:
    """The visit before and after this event."""

    item: Item
    before: visits.Visit | None
    after: visits.Visit
    late: bool
    event: VisitEvent | None
    seen: int


class Scene:
    """One finding before one snapshot. What is appended to it becomes the Change."""

    def __init__(self, hub: Hub, tx: Tx, partner: Partner, finding: Finding, kind: Kind, message: str) -> None:
        self.hub, self.tx, self.partner, self.finding, self.kind, self.message = hub, tx, partner, finding, kind, message
        self.now = hub.now()
        self.at = finding.happened_ms if finding.happened_ms is not None else self.now
        self.site = partner.site
        self.reviews: list[Review] = []
        self.problems: list[Problem] = list(finding.problems)
        self.writes: dict[Ref, Write] = {}
        self.became: list[Ref] = []
        self.locals: dict[str, Ref] = {}
        self.locks: set[str] = set()
        self.grants: list[Grant] = []
        self.settles: list[str] = []
        self.new_client = True
        self.linked = False
        self._partners: Sequence[Partner] | None = None
        self._held: dict[tuple[str, ...], Sequence[Stored]] = {}

    @property
    def partners(self) -> Sequence[Partner]:
        if self._partners is None:
            self._partners = self.tx.partners.all()
        return self._partners

    def survivors(self, claimed: dict[Ref, set[tuple[str, str]]], bodies: dict[Ref, Stored]) -> None:
        """A number that a merged record still claims speaks for the survivor."""
        for ref in list(claimed):
            seen = {ref}
            target = ref
            while (body := bodies.get(target)) is not None and (follow := _replaced_by(body.body)) is not None and follow not in seen:
                seen.add(follow)
                target = follow
                if target not in bodies and (found := self.tx.plans.get(target)) is not None:
                    bodies[target] = found
            if target != ref and target in bodies:
                claimed.setdefault(target, set()).update(claimed.pop(ref))

    def draft_patient(self, item: Item, late: bool) -> None:
        if item.before is None:
            item.body = self.onto(item.fact, None)
            self.tag(item.body)
        else:
            wanted = self.onto(item.fact, item.before)
            assert item.stored is not None
            foreign = item.stored.creator not in (self.partner.name, HUB)
            if late or foreign:
                filled = overlay.fill(item.before, wanted)
                held = overlay.differing(item.before, wanted)
                if foreign and held and not late:
                    self._disagree(item, held, wanted)
                wanted = filled
            item.body = wanted
        item.body = {**item.body, "id": item.ref.id}
        held_claims = self.held_claims(item)
        item.claims = tuple(dict.fromkeys((*held_claims, *item.claims)))
        item.origins = self.origins(item.fact)

    def held_claims(self, item: Item) -> tuple[tuple[str, str], ...]:
        """Claims are replaced with each version: those that the record holds are held on to."""
        if item.before is None or overlay.bare(item.body) == item.before:
            return ()
        numbers = [(i.get("system"), i.get("value")) for i in item.before.get("identifier") or ()]
        return tuple(
            (system, value)
            for system, value in numbers
            if isinstance(system, str) and isinstance(value, str) and self.tx.plans.holder(item.ref.type, system, value) == item.ref
        )

    def _disagree(self, item: Item, elements: Sequence[str], wanted: Resource) -> None:
        assert item.before is not None
        before = item.before
        self.reviews.append(
            Review(
                kind="conflict",
                key=f"conflict:{item.ref}:{self.partner.name}",
                subject=item.ref,
                client=item.ref.id,
                partner=self.partner.name,
                what="another sender describes this client otherwise than the one who made the record",
                hint="keep ours, or take theirs",
                detail={"elements": {name: {"ours": before[name], "theirs": wanted[name]} for name in elements}},
            )
        )

    def all_claims(self, item: Item) -> tuple[tuple[str, str], ...]:
        numbers = [(i.get("system"), i.get("value")) for i in (item.before or {}).get("identifier") or ()]
        return tuple(
            (s, v) for s, v in numbers if isinstance(s, str) and isinstance(v, str) and self.tx.plans.holder("Patient", s, v) == item.ref
        )

    def claims_of(self, stored: Stored) -> tuple[tuple[str, str], ...]:
        if stored.type != "Encounter":
            return ()
        numbers = [(i.get("system"), i.get("value")) for i in stored.body.get("identifier") or ()]
        return tuple(
            (s, v)
            for s, v in numbers
            if isinstance(s, str) and isinstance(v, str) and self.tx.plans.holder(stored.type, s, v) == stored.ref
        )

    def alone(self, fact: Fact) -> Resource:
        """The resource as this message alone describes it."""
        return self._resource(fact, None)

    def onto(self, fact: Fact, before: Resource | None) -> Resource:
        """The resource as it shall be: what is told laid over what stands. What the mapping could not write is noted."""
        return self._resource(fact, before, noted=True)

    def _resource(self, fact: Fact, before: Resource | None, *, noted: bool = False) -> Resource:
        if fact.resource is not None:
            sent = refs.rewrite(fact.resource, self.place)
            sent = {name: value for name, value in sent.items() if name != "id"}
            return sent if before is None else overlay.lay(before, sent)
        doc = _placed(fact.doc or {}, self.locals)
        if before is None:
            doc = {**_FIRST.get(fact.type, {}), **doc}
        mapping = self.hub.maps.mapping(fact.mapping, self.site)
        made = mapping.out(doc, onto=before, partial=before is not None)
        if noted:
            told = {problem.path for problem in self.finding.problems}
            known = {origin.element for origin in fact.origins if origin.place in told}
            self.problems += [replace(p, path=f"{fact.mapping}.{p.path}") for p in made.problems if p.path not in known]
        return dict(made.resource)

    def place(self, text: str) -> str:
        if not text.startswith(LOCAL):
            return text
        name = text.removeprefix(LOCAL)
        ref = self.locals.get(name)
        return str(ref) if ref is not None else f"urn:uuid:{name}" if len(name) == 36 else text

    def origins(self, fact: Fact) -> tuple[Origin, ...]:
        if fact.mapping is None or not fact.origins:
            return fact.origins
        mapping = self.hub.maps.mapping(fact.mapping, self.site)
        return tuple(Origin(_element(mapping, origin.element), origin.place, origin.raw) for origin in fact.origins)

    def tag(self, body: Resource) -> None:
        """What came in as a test or for training says so."""
        if self.finding.processing_id in ("T", "D"):
            tag = {"system": _TEST, "code": self.finding.processing_id}
            meta = dict(body.get("meta") or {})
            meta["tag"] = [*(meta.get("tag") or ()), tag]
            body["meta"] = meta

    def write(self, item: Item, client: str | None = None) -> None:
        self.became.append(item.ref)
        if (
            item.stored is not None
            and item.before is not None
            and overlay.bare(item.body) == item.before
            and (item.case is None or item.case == item.stored.case)
        ):
            return
        claims = item.claims
        if item.stored is not None and item.ref.type == "Encounter":
            claims = tuple(dict.fromkeys((*claims, *self.claims_of(item.stored))))
        self.writes[item.ref] = Write(
            item.ref.type,
            item.ref.id,
            item.body,
            item.stored.version if item.stored is not None else 0,
            None if item.ref.type in DIRECTORY_TYPES or item.ref.type == "Patient" else client,
            item.case,
            item.origins,
            claims,
        )

    def put(self, write: Write) -> None:
        self.writes[write.ref] = write
        self.became.append(write.ref)

    def of_client(self, client: str, type_: str) -> Sequence[Stored]:
        key = ("client", client, type_)
        if key not in self._held:
            self._held[key] = [s for s in self.tx.plans.of_client(client, (type_,)) if not s.deleted]
        return self._held[key]

    def of_case(self, case: str) -> Sequence[Stored]:
        key = ("case", case)
        if key not in self._held:
            self._held[key] = [s for s in self.tx.plans.of_case(case, ("CarePlan", "CareTeam")) if not s.deleted]
        return self._held[key]

    def missing(self, what: str, path: str, client: str | None) -> None:
        self.reviews.append(
            Review(
                kind="missing",
                key=f"missing:{self.partner.name}:{path}:{client or self.message}",
                what=what,
                client=client,
                partner=self.partner.name,
                hint="ask the sender for it, and replay the message",
                detail={"path": path, "message": self.message},
            )
        )


def _placed(value: Any, names: Mapping[str, Ref]) -> Any:
    """A document in which references within the finding have become references here."""
    if isinstance(value, dict):
        return {name: _placed(item, names) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_placed(item, names) for item in value]
    if isinstance(value, str) and value.startswith(LOCAL):
        ref = names.get(value.removeprefix(LOCAL))
        return str(ref) if ref is not None else None
    return value


def _element(mapping: Any, case_field: str) -> str:
    try:
        return str(mapping.element(case_field))
    except (KeyError, ValueError):
        return case_field


def _replaced_by(patient: Resource) -> Ref | None:
    for link in patient.get("link") or ():
        found = refs.literal((link.get("other") or {}).get("reference")) if link.get("type") == "replaced-by" else None
        if found is not None and found.type == "Patient":
            return Ref("Patient", found.id)
    return None


def retired_one(patient: Resource) -> bool:
    return _replaced_by(patient) is not None


def bears(resource: Resource, system: str) -> bool:
    return any(i.get("system") == system for i in resource.get("identifier") or ())
