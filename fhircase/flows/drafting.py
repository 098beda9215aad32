"""From a finding to a Change, on one snapshot: who, which visit, what else, and what follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fhircase.errors import Problem
from fhircase.fhir import refs, times
from fhircase.flows.consequences import follow, hub_team
from fhircase.flows.hub import Hub
from fhircase.flows.merge_clients import merge
from fhircase.flows.scene import Item, Kind, Scene, Stay, retired_one
from fhircase.intake.findings import LOCAL, Fact, Finding
from fhircase.plans import identity, opening, overlay, visits
from fhircase.plans.change import Agent, Change, Ref, Resource, Review, Source, Write
from fhircase.plans.partner import DIRECTORY_TYPES, HUB, Partner
from fhircase.ports import Stored, Tx, VisitEvent

_ACTION_OF: Mapping[str, str] = {
    "planned": "preadmit",
    "arrived": "register",
    "triaged": "register",
    "in-progress": "admit",
    "onleave": "admit",
    "finished": "discharge",
    "cancelled": "cancel-admit",
}
_VISITLESS = frozenset({"person", "notice", "merge"})


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision on one snapshot: the Change, and what must still hold when it is written."""

    change: Change
    locks: tuple[str, ...]
    event: VisitEvent | None
    became: tuple[Ref, ...]
    client: str | None
    visit: str | None
    seen_events: int
    seen_cases: tuple[tuple[str, int], ...]

    def stands(self, tx: Tx) -> bool:
        """Resources are compared by version in commit; what no version shows is looked at here."""
        if self.visit is not None and len(tx.inbox.events(self.visit)) != self.seen_events:
            return False
        return self.client is None or cases_seen(tx.plans.of_client(self.client, ("EpisodeOfCare",))) == self.seen_cases


def cases_seen(episodes: Iterable[Stored]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((e.id, e.version) for e in episodes))


def draft(hub: Hub, tx: Tx, partner: Partner, finding: Finding, kind: Kind, message: str) -> Decided:
    """Decide what ``finding`` of ``partner`` shall become here; ``message`` is the id that it is kept under. Reads ``tx``,
    writes nothing, and decides the same on the same snapshot but for new ids."""
    return _decided(Scene(hub, tx, partner, finding, kind, message))


def _decided(scene: Scene) -> Decided:
    finding = scene.finding
    if finding.action == "merge":
        client = merge(scene)
        return _done(scene, client, None)
    visit_fact = next((f for f in finding.facts if f.type == "Encounter"), None)
    if finding.action in _VISITLESS and scene.kind == "hl7v2":
        visit_fact = None
    held_visit = _visit_by_number(scene, visit_fact)
    patient = _patient(scene, held_visit)
    if patient is None:
        return _done(scene, None, None)
    client = patient.ref.id
    if visit_fact is not None and held_visit is None:
        held_visit, skip = _visit_without_number(scene, client)
        if skip:
            visit_fact = None
    if visit_fact is not None:
        scene.locals[visit_fact.local] = held_visit.ref if held_visit is not None else Ref("Encounter", scene.hub.ids.new())
    others = _others(scene, client, visit_fact, held_visit)
    stay: Stay | None = None
    if visit_fact is not None:
        stay = _visit(scene, visit_fact, held_visit, client)
    late = stay is not None and stay.late
    scene.draft_patient(patient, late)
    items = [_draft_other(scene, fact, ref, stored, client, late) for fact, ref, stored in others]
    case = follow(scene, client, stay, items)
    if case is None and stay is not None and stay.item.stored is not None:
        case = stay.item.stored.case
    _team(scene, client, case)
    scene.write(patient)
    if stay is not None:
        if case is not None:
            stay.item.body = opening.link_episode(stay.item.body, case)
        stay.item.case = case
        scene.write(stay.item, client)
    for item in items:
        if item.ref.type not in DIRECTORY_TYPES:
            item.case = case
        scene.write(item, client)
    _tell_problems(scene, client, stay)
    return _done(scene, client, stay)


def _done(scene: Scene, client: str | None, stay: Stay | None) -> Decided:
    finding = scene.finding
    source = Source("hl7v2" if scene.kind == "hl7v2" else "message", scene.message, finding.control_id or None, finding.happened)
    activity = f"{finding.event}: {finding.action}"
    change = Change(
        tuple(scene.writes.values()),
        Agent(scene.partner.name),
        source,
        activity,
        tuple(scene.reviews),
        tuple(scene.settles),
        tuple(scene.grants),
        finding.problems,
        activity,
    )
    cases = cases_seen(scene.of_client(client, "EpisodeOfCare")) if client and not scene.new_client else ()
    return Decided(
        change,
        tuple(sorted(scene.locks)),
        stay.event if stay else None,
        tuple(scene.became),
        client,
        stay.item.ref.id if stay else None,
        stay.seen if stay else 0,
        cases,
    )


def _patient(scene: Scene, held_visit: Stored | None) -> Item | None:
    """The client that the message is about. Raises nothing: a doubt makes a record of its own and a review."""
    fact = _client_fact(scene)
    if fact is None:
        scene.missing("the message names no client", "Patient", None)
        return None
    drafted = scene.alone(fact)
    visit_client = Ref("Patient", held_visit.client) if held_visit is not None and held_visit.client else None
    numbers = [(i.system, i.value) for i in fact.identities if i.claims]
    scene.locks.update(f"Patient|{system}|{value}" for system, value in numbers)
    decision, bodies = _decide(scene, numbers, drafted, visit_client)
    ref = decision.ref or Ref("Patient", scene.hub.ids.new())
    scene.locals[fact.local] = ref
    stored = bodies.get(ref)
    scene.new_client = stored is None
    scene.linked = decision.linked
    if decision.doubt is not None:
        doubt = decision.doubt
        suffix = "" if numbers else f":{ref.id}"
        scene.reviews.append(replace(doubt, key=doubt.key + suffix, subject=ref, client=ref.id))
    before = overlay.bare(stored.body) if stored is not None else None
    return Item(fact, ref, stored, drafted, before, decision.claims)


def _client_fact(scene: Scene) -> Fact | None:
    patients = [f for f in scene.finding.facts if f.type == "Patient"]
    if len(patients) < 2:
        return patients[0] if patients else None
    subjects = {
        text.removeprefix(LOCAL)
        for f in scene.finding.facts
        if f.type == "Encounter" and f.resource is not None
        if (text := str((f.resource.get("subject") or {}).get("reference") or "")).startswith(LOCAL)
    }
    return next((p for p in patients if p.local in subjects), patients[0])


def _decide(
    scene: Scene, numbers: Sequence[tuple[str, str]], drafted: Resource, visit_client: Ref | None
) -> tuple[identity.Decision, dict[Ref, Stored]]:
    plans = scene.tx.plans
    claimed: dict[Ref, set[tuple[str, str]]] = {}
    borne: dict[Ref, set[tuple[str, str]]] = {}
    for number in numbers:
        holder = plans.holder("Patient", *number)
        if holder is not None:
            claimed.setdefault(holder, set()).add(number)
            continue
        bearers = [s for s in plans.by_identifier("Patient", *number) if not retired_one(s.body)]
        for stored in bearers:
            (claimed if len(bearers) == 1 else borne).setdefault(stored.ref, set()).add(number)
    wanted = {*claimed, *borne, *((visit_client,) if visit_client else ())}
    bodies = dict(plans.get_many(wanted)) if wanted else {}
    scene.survivors(claimed, bodies)

    def judged() -> identity.Decision:
        everyone = {*claimed, *borne, *((visit_client,) if visit_client and visit_client in bodies else ())}
        candidates = [
            identity.Candidate(
                ref, bodies[ref].body, frozenset(claimed.get(ref, ())), frozenset(borne.get(ref, set()) | claimed.get(ref, set()))
            )
            for ref in everyone
            if ref in bodies
        ]
        return identity.decide(numbers, candidates, drafted, visit_client=visit_client, partner=scene.partner.name)

    decision = judged()
    if decision.kind == "review" and decision.ref is None:
        # A doubt seen before may have its own record already: look among those that merely bear the numbers.
        for number in numbers:
            for stored in plans.by_identifier("Patient", *number):
                if stored.ref not in claimed and not retired_one(stored.body):
                    borne.setdefault(stored.ref, set()).add(number)
                    bodies[stored.ref] = stored
        decision = judged()
    return decision, bodies


def _visit_by_number(scene: Scene, fact: Fact | None) -> Stored | None:
    number = scene.finding.visit
    numbers = [number] if number is not None else [i for i in fact.identities if i.claims][:1] if fact is not None else []
    for one in numbers:
        scene.locks.add(f"Encounter|{one.system}|{one.value}")
        holder = scene.tx.plans.holder("Encounter", one.system, one.value)
        if holder is not None:
            return scene.tx.plans.get(holder)
        borne = scene.tx.plans.by_identifier("Encounter", one.system, one.value)
        if len(borne) == 1:
            return borne[0]
    return None


def _visit_without_number(scene: Scene, client: str) -> tuple[Stored | None, bool]:
    """Which stay an event without a visit number means: the sender's only open one; for a discharge also the one it
    ended at the same time. (stay, whether the event's visit must be left out because nobody can say)."""
    if scene.finding.visit is not None:
        return None, False
    scene.locks.add(f"Patient/{client}")
    action = scene.finding.action
    own = [] if scene.new_client else [s for s in scene.of_client(client, "Encounter") if s.creator == scene.partner.name]
    running = [s for s in own if s.body.get("status") in ("in-progress", "planned", "arrived", "onleave", "unknown")]
    if len(running) == 1:
        return running[0], False
    if len(running) > 1:
        scene.missing("the visit has no number, and several stays are open", "PV1-19", client)
        return None, True
    if action in ("discharge", "cancel-discharge") and scene.finding.happened:
        ended = [s for s in own if s.body.get("status") == "finished"]
        same = [s for s in ended if action == "cancel-discharge" or (s.body.get("period") or {}).get("end") == scene.finding.happened]
        if len(same) == 1:
            return same[0], False
    if action in ("admit", "register", "preadmit", "discharge"):
        return None, False
    scene.missing("the visit has no number, and no stay is open", "PV1-19", client)
    return None, True


def _visit(scene: Scene, fact: Fact, held: Stored | None, client: str) -> Stay:
    finding = scene.finding
    ref = scene.locals[fact.local]
    before_body = overlay.bare(held.body) if held is not None else None
    claims = ((finding.visit.system, finding.visit.value),) if finding.visit is not None and finding.visit.claims else ()
    alone = scene.alone(fact)
    said = finding.disposition
    facts = visits.facts_of(
        alone,
        happened=finding.happened,
        route=said.route if said else None,
        code=said.code if said else None,
        named=said.destination if said else None,
    )
    if fact.doc is not None and not fact.doc.get("class"):
        facts.pop("class", None)
    facts["action"] = finding.action
    stored_events = scene.tx.inbox.events(ref.id) if held is not None else ()
    history = _history(stored_events)
    if not history and before_body is not None:
        history = [_as_found(before_body)]
    earlier = [told for told in history if told.message != scene.message]
    order = next((told.order for told in history if told.message == scene.message), max((t.order for t in history), default=0) + 1)
    action: str = finding.action
    if action == "notice" and not history:
        action = _ACTION_OF.get(str(alone.get("status")), "update")
    elif action not in visits.ACTIONS:
        action = "update"
    event = visits.Told(action, scene.at, order, facts, finding.event)
    replayed = any(told.message == scene.message for told in history)
    base = [told.told for told in earlier]
    before = visits.tell(base) if base else None
    if replayed:
        before = visits.tell([told.told for told in history])
    after = visits.tell([*base, event])
    late = after.latest != (event.at, event.order)
    # Another sender (a forwarding exchange) may tell what happened, not rewrite how the visit's own sender describes it.
    foreign = held is not None and held.creator not in (scene.partner.name, HUB)
    if before_body is None:
        body = scene.onto(fact, None)
        scene.tag(body)
    else:
        body = scene.onto(fact, before_body)
        if late or foreign:
            body = overlay.fill(before_body, body)
    as_sent = fact.resource is not None and not late and not foreign and finding.action in visits.ACTIONS
    body = _in_state(
        {**body, "id": ref.id, "subject": body.get("subject") or {"reference": f"Patient/{client}"}}, after, places=not as_sent
    )
    item = Item(fact, ref, held, body, before_body, claims, origins=scene.origins(fact))
    record = VisitEvent(ref.id, scene.message, finding.event, scene.at, order, facts)
    stay = Stay(item, before, after, late, None if replayed else record, len(stored_events))
    _contradictions(scene, stay, client)
    return stay


def _contradictions(scene: Scene, stay: Stay, client: str) -> None:
    ref = stay.item.ref
    known = set(stay.before.contradictions) if stay.before is not None else set()
    key = f"order:{ref}"
    if any(c not in known for c in stay.after.contradictions):
        scene.reviews.append(
            Review(
                kind="order",
                key=key,
                what=stay.after.contradictions[-1].what,
                hint="look at the messages of this visit; correct the visit, or let the sender do it",
                subject=ref,
                client=client,
                partner=scene.partner.name,
                detail={"status": stay.after.status, "events": [{"event": c.event, "what": c.what} for c in stay.after.contradictions]},
            )
        )
    elif known and not stay.after.contradictions:
        found, _ = scene.tx.reviews.list(kind="order", client=client)
        scene.settles += [review.id for review in found if review.review.key == key]


def _others(scene: Scene, client: str, visit_fact: Fact | None, visit: Stored | None) -> list[tuple[Fact, Ref, Stored | None]]:
    """Which resource each other fact is here; names the new ones, so that references can be written."""
    found: list[tuple[Fact, Ref, Stored | None]] = []
    taken: set[Ref] = set()
    # The directory first: what is compared by what it refers to needs those references.
    for fact in sorted(scene.finding.facts, key=lambda fact: fact.type not in DIRECTORY_TYPES):
        if fact.type in ("Patient", "CareTeam") and (fact.type == "Patient" or fact.doc is not None):
            continue
        if fact.type == "Encounter" and (fact is visit_fact or scene.kind == "hl7v2"):
            continue
        stored = _known(scene, fact, client, visit, taken)
        ref = stored.ref if stored is not None else Ref(fact.type, scene.hub.ids.new())
        taken.add(ref)
        scene.locals[fact.local] = ref
        found.append((fact, ref, stored))
    return found


def _known(scene: Scene, fact: Fact, client: str, visit: Stored | None, taken: set[Ref]) -> Stored | None:
    plans = scene.tx.plans
    directory = fact.type in DIRECTORY_TYPES

    def fits(stored: Stored) -> bool:
        return stored.ref not in taken and not stored.deleted and (directory or stored.client in (client, None))

    for one in fact.identities:
        holder = plans.holder(fact.type, one.system, one.value) if one.claims else None
        if holder is not None:
            held = plans.get(holder)
            if held is not None and fits(held):
                return held
        candidates = [s for s in plans.by_identifier(fact.type, one.system, one.value) if fits(s)]
        if candidates:
            return min(candidates, key=lambda s: (s.creator != scene.partner.name, s.id))
    if fact.resource is not None and fact.resource.get("id"):
        holder = plans.holder(fact.type, *_own_name(scene, fact))
        held = plans.get(holder) if holder is not None else None
        if held is not None and fits(held):
            return held
    if scene.new_client or (directory and fact.identities):
        return None
    drafted = scene.alone(fact)
    for stored in _beside(scene, visit, fact.type) if directory else scene.of_client(client, fact.type):
        if fits(stored) and overlay.same_thing(_comparable(scene, stored.body), _comparable(scene, drafted)):
            return stored
    return None


def _beside(scene: Scene, visit: Stored | None, type_: str) -> Sequence[Stored]:
    """Directory resources of a type that the stored visit refers to: a place or a person without a number is the same one
    only there."""
    if visit is None:
        return ()
    named = (refs.literal(reference.get("reference")) for _, reference in refs.references(visit.body))
    wanted = {Ref(found.type, found.id) for found in named if found is not None and found.type == type_ and not found.base}
    return tuple(scene.tx.plans.get_many(wanted).values()) if wanted else ()


def _comparable(scene: Scene, body: Resource) -> Resource:
    """Without the reference to the client, whose resources alone are compared."""
    return {name: value for name, value in body.items() if name not in ("subject", "patient")}


def _own_name(scene: Scene, fact: Fact) -> tuple[str, str]:
    """What the sender calls a FHIR resource, as a number that only this resource of ours holds."""
    assert fact.resource is not None
    return f"urn:fhircase:source:{scene.partner.name}", f"{fact.type}/{fact.resource['id']}"


def _draft_other(scene: Scene, fact: Fact, ref: Ref, stored: Stored | None, client: str, late: bool) -> Item:
    before = overlay.bare(stored.body) if stored is not None else None
    body = scene.onto(fact, before)
    if before is not None and stored is not None and (late or stored.creator != scene.partner.name):
        body = overlay.fill(before, body)
    claims: tuple[tuple[str, str], ...] = ()
    if fact.resource is not None and fact.resource.get("id"):
        name = _own_name(scene, fact)
        # A sender that uses one id for things of two clients names neither.
        claims = (name,) if scene.tx.plans.holder(fact.type, *name) in (None, ref) else ()
    return Item(fact, ref, stored, {**body, "id": ref.id}, before, claims, origins=scene.origins(fact))


def _team(scene: Scene, client: str, case: str | None) -> None:
    """People whom a v2 message names for the client take part in the hub's team, where there is one."""
    fact = next((f for f in scene.finding.facts if f.type == "CareTeam" and f.doc is not None), None)
    if fact is None or case is None:
        return
    written = next((w for w in scene.writes.values() if w.type == "CareTeam" and w.case == case and w.body is not None), None)
    stored = None if written is not None else hub_team(scene, case)
    base = written.body if written is not None else overlay.bare(stored.body) if stored is not None else None
    if base is None:
        return
    body = {**scene.onto(fact, base), "id": base["id"]}
    if body != base:
        ref = Ref("CareTeam", str(base["id"]))
        origins = scene.origins(fact)
        if written is not None:
            scene.writes[ref] = replace(written, body=body, origins=(*written.origins, *origins))
        elif stored is not None:
            scene.writes[ref] = Write(ref.type, ref.id, body, stored.version, client, case, origins)
            scene.became.append(ref)


def _tell_problems(scene: Scene, client: str, stay: Stay | None) -> None:
    for problem in dict.fromkeys(scene.problems):
        review = _review_of(problem, scene.partner.name, client, stay.item.ref if stay else Ref("Patient", client))
        if review is not None:
            scene.reviews.append(review)


@dataclass(frozen=True, slots=True)
class _Told:
    told: visits.Told
    message: str
    order: int = field(default=0)


def _history(events: Sequence[VisitEvent]) -> list[_Told]:
    """The visit's events; a message that was told twice (a replay) counts once."""
    seen: dict[str, _Told] = {}
    for event in sorted(events, key=lambda e: e.order):
        if event.message in seen:
            continue
        told = visits.Told(str(event.facts.get("action", "update")), event.at, event.order, event.facts, event.event)
        seen[event.message] = _Told(told, event.message, event.order)
    return list(seen.values())


def _as_found(encounter: Resource) -> _Told:
    """A visit that came by another way than messages, as its first event."""
    action = _ACTION_OF.get(str(encounter.get("status")), "update")
    period = encounter.get("period") or {}
    text = period.get("end") if action == "discharge" else period.get("start")
    facts = {**visits.facts_of(encounter, happened=text), "action": action}
    return _Told(visits.Told(action, times.ms_of(text) if text else 0, 0, facts, "stored"), "", 0)


def _in_state(encounter: Resource, visit: visits.Visit, *, places: bool) -> Resource:
    """The Encounter with what its history says of status, class, period, places and discharge."""
    made = {**encounter, "status": visit.status}
    if visit.class_ is not None:
        made["class"] = visit.class_
    made.setdefault("class", dict(visits.UNKNOWN_CLASS))
    period = {name: value for name, value in (made.get("period") or {}).items() if name not in ("start", "end", "_start", "_end")}
    period |= {name: value for name, value in (("start", visit.start), ("end", visit.end)) if value}
    _set(made, "period", period)
    stay = {
        name: value for name, value in (made.get("hospitalization") or {}).items() if name not in ("dischargeDisposition", "destination")
    }
    if visit.discharged:
        stay |= {name: value for name, value in (("destination", visit.destination), ("dischargeDisposition", visit.disposition)) if value}
    _set(made, "hospitalization", stay)
    if places:
        _set(made, "location", list(visit.locations))
    return made


def _set(made: Resource, name: str, value: Any) -> None:
    if value:
        made[name] = value
    else:
        made.pop(name, None)


def _review_of(problem: Problem, partner: str, client: str, subject: Ref) -> Review | None:
    """Which problem of reading a person should see. What the answer already told the sender, and nobody here can mend, is
    only kept with the message."""
    detail = {"path": problem.path, "what": problem.what}
    if problem.code == "value" and "zone" in problem.what:
        return Review(
            "no-zone",
            f"no-zone:{partner}",
            "times came without offset, and the sender's zone is not known: they were kept to the day",
            "set the partner's zone",
            partner=partner,
            detail=detail,
        )
    if problem.code in ("code-invalid", "value"):
        return Review(
            "unmapped",
            f"unmapped:{partner}:{problem.path}:{problem.what}",
            problem.what,
            problem.hint,
            subject,
            client,
            partner=partner,
            detail=detail,
        )
    if problem.code == "required" and problem.path.startswith("PV1-36"):
        return None
    if problem.code == "required":
        return Review(
            "missing",
            f"missing:{partner}:{problem.path}:{subject}",
            problem.what,
            problem.hint,
            subject,
            client,
            partner=partner,
            detail=detail,
        )
    return None
