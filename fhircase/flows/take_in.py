"""Take in one message: raw bytes → finding → Change → one transaction, and only then the answer (DECISIONS 18–20).

The order is the promise. Reading, deciding and checking happen on a snapshot, outside any write transaction; then one write
transaction looks whether what was decided upon still stands, commits the Change with the message, its place in the visit's
history, its reviews and the bytes of the answer, and ends; then the answer is given. If the ground moved meanwhile
everything is decided anew. What cannot be applied is kept with its answer in a transaction of its own (AE, AR); where
nothing could be stored at all, ``Unavailable`` is raised and there is no answer, so that the sender sends again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fhircase import hl7v2
from fhircase.errors import Conflict, NotFound, Problem, Refused, Stale, Unavailable
from fhircase.fhir import jsontext, outcome, refs, times
from fhircase.flows import commit
from fhircase.flows.hub import Hub
from fhircase.intake import adt
from fhircase.intake import message as notification
from fhircase.intake.findings import LOCAL, Fact, Finding
from fhircase.intake.refusal import Unacceptable
from fhircase.plans import handover, identity, merging, opening, overlay, visits
from fhircase.plans.change import Agent, Change, Grant, Origin, Ref, Resource, Review, Source, Write
from fhircase.plans.membership import is_handover
from fhircase.plans.partner import DIRECTORY_TYPES, HUB, Partner
from fhircase.ports import Message, MessageState, Stored, Tx, VisitEvent

Kind = Literal["hl7v2", "message"]

ANSWER_WITHIN_MS = 48 * 3_600_000
"""How long a receiver has to answer a hand-over (Task.restriction.period.end)."""

_TRIES = 6
_HEAD = 1_024
_STATUS: Mapping[str, int] = {"AA": 200, "AE": 422, "AR": 400}
_ACTION_OF: Mapping[str, str] = {
    "planned": "preadmit", "arrived": "register", "triaged": "register", "in-progress": "admit", "onleave": "admit",
    "finished": "discharge", "cancelled": "cancel-admit",
}
_VISITLESS = frozenset({"person", "notice", "merge"})
_TEST = "http://terminology.hl7.org/CodeSystem/v2-0103"


@dataclass(frozen=True, slots=True)
class Taken:
    """``message`` as it was stored, ``message.answer`` the bytes to send back (b'' when the sender wants none);
    ``duplicate``: it had come before, the first answer is given again. ``status`` the HTTP status."""

    message: Message
    duplicate: bool = False

    @property
    def status(self) -> int:
        return _STATUS[self.message.code]


def take_in(
    hub: Hub, partner_name: str, kind: Kind, raw: bytes, content_type: str, *, agent: Agent, correlation: str = "", key: str | None = None,
) -> Taken:
    """Take in what ``partner_name`` sends: an HL7 v2 message (``hl7v2``) or a FHIR message Bundle (``message``).

    ``key`` is the id of the caller's API key, for the audit. Content that cannot be applied is kept and answered, never
    raised. Raises NotFound for an unknown partner and Unavailable when nothing was stored."""
    with hub.store.read() as tx:
        partner = tx.partners.get(partner_name)
    if partner is None:
        raise NotFound("this sender is not known here", hint="add it as a partner first")
    return _Intake(hub, partner, kind, raw, content_type, agent, correlation, key).run()


def replay(hub: Hub, message_id: str, agent: Agent, *, correlation: str = "", key: str | None = None) -> Taken:
    """Apply a kept message again, after a mapping or a setting was mended (DECISIONS 20). What was applied before changes
    nothing. The sender's answer stays what it was; state, problems and what it became are brought up to date.

    Raises NotFound, Conflict when its bytes were too large to keep or it is a document, Unavailable."""
    with hub.store.read() as tx:
        message = tx.inbox.get(message_id)
        partner = tx.partners.get(message.partner) if message is not None else None
    if message is None or partner is None:
        raise NotFound("this message is not known here")
    if message.raw is None or message.kind == "document":
        raise Conflict("this message cannot be replayed", hint="its bytes were not kept: let the sender send it again")
    return _Intake(hub, partner, message.kind, message.raw, message.content_type, agent, correlation, key, again=message).run()


# ------------------------------------------------------------------------------------------------ the use case


class _Intake:
    """One message on its way in."""

    def __init__(
        self, hub: Hub, partner: Partner, kind: Kind, raw: bytes, content_type: str, agent: Agent, correlation: str, key: str | None,
        *, again: Message | None = None,
    ) -> None:
        self.hub, self.partner, self.kind, self.raw = hub, partner, kind, raw
        self.content_type, self.correlation, self.key, self.again = content_type, correlation, key, again
        self.agent = agent if agent.partner == partner.name else Agent(partner.name, None, agent.admin)
        self.received = again.received if again else hub.now()
        self.id = again.id if again else hub.ids.new()
        self.digest = hashlib.sha256(raw).hexdigest()
        self.parsed: hl7v2.Message | None = None

    def run(self) -> Taken:
        try:
            finding = self._read()
        except Unacceptable as refused:
            self.parsed = refused.message
            return self._keep(refused.ack, refused.problems, control_id=refused.control_id, event=refused.event, key=refused.key)
        except Refused as refused:
            return self._keep("AR", refused.problems)
        conflict: Conflict | None = None
        for _ in range(_TRIES):
            with self.hub.store.read() as tx:
                known = self._known(tx, finding.key)
                if known is not None:
                    return known
                draft = _Drafting(self.hub, tx, self.partner, finding, self.kind, self.id).draft()
            change = replace(draft.change, agent=self.agent)
            try:
                change = commit.check(change, lenient=self.kind == "hl7v2" or self.partner.lenient)
                return self._apply(finding, draft, change)
            except (Stale, _Moved):
                conflict = None
                continue
            except Conflict as refused:
                conflict = refused
                continue
            except Refused as refused:
                return self._unapplied(finding, refused.problems)
        if conflict is not None:
            # Not a race: deciding anew each time ends in the same conflict.
            return self._unapplied(finding, conflict.problems)
        raise Unavailable("others keep changing the same client", hint="send it again")

    def _read(self) -> Finding:
        if self.kind == "hl7v2":
            return adt.read(self.raw, self.partner, self.hub.maps)
        bundle = jsontext.loads(self.raw)
        return notification.read(bundle, self.partner, self.hub.maps)

    def _known(self, tx: Tx, key: str) -> Taken | None:
        """The first answer again for the same bytes (DECISIONS 19)."""
        if self.again is not None or not key:
            return None
        for name in (key, _second(key, self.digest)):
            found = tx.inbox.find(self.partner.name, name)
            if found is not None and found.digest == self.digest:
                return Taken(found, duplicate=True)
        return None

    def _apply(self, finding: Finding, draft: _Draft, change: Change) -> Taken:
        hub = self.hub
        with hub.store.write() as tx:
            # The message first, and everybody in the same order: two copies at once become one, and nobody waits in a ring.
            tx.plans.lock(f"message|{self.partner.name}|{finding.key}")
            known = self._known(tx, finding.key)
            if known is not None:
                return known
            if self.again is None and finding.key and tx.inbox.find(self.partner.name, finding.key) is not None:
                wrong = Problem("another message came before under the same id", "MSH-10", "give each message an id of its own", "duplicate")
                return self._store(
                    tx, "AE", (wrong, *finding.problems), key=_second(finding.key, self.digest), control_id=finding.control_id,
                    event=finding.event, silent=not finding.acknowledge,
                )
            for name in draft.locks:
                tx.plans.lock(name)
            if not draft.stands(tx):
                raise _Moved
            done = commit.commit(hub, tx, change, key=self.key, correlation=self.correlation, message=self.id)
            if draft.event is not None:
                tx.inbox.add_event(draft.event)
            became = tuple(str(ref) for ref in draft.became)
            return self._store(
                tx, "AA", finding.problems, key=finding.key, control_id=finding.control_id, event=finding.event, became=became,
                client=draft.client, reviewed=bool(done.reviews), silent=not finding.acknowledge,
            )

    # -------------------------------------------------------------------------------------- the record and the answer

    def _unapplied(self, finding: Finding, problems: Sequence[Problem]) -> Taken:
        return self._keep(
            "AE", (*problems, *finding.problems), control_id=finding.control_id, event=finding.event, key=finding.key, silent=not finding.acknowledge
        )

    def _keep(
        self, code: Literal["AE", "AR"], problems: Sequence[Problem], *, control_id: str = "", event: str = "", key: str = "", silent: bool = False,
    ) -> Taken:
        """Content that is not applied: kept with its answer, in a transaction of its own."""
        key = key or f"unread|{self.digest}"
        with self.hub.store.write() as tx:
            tx.plans.lock(f"message|{self.partner.name}|{key}")
            known = self._known(tx, key)
            if known is not None:
                return known
            if self.again is None and tx.inbox.find(self.partner.name, key) is not None:
                key = _second(key, self.digest)
            return self._store(tx, code, problems, key=key, control_id=control_id, event=event, silent=silent)

    def _store(
        self, tx: Tx, code: Literal["AA", "AE", "AR"], problems: Sequence[Problem], *, key: str, control_id: str, event: str,
        became: tuple[str, ...] = (), client: str | None = None, reviewed: bool = False, silent: bool = False,
    ) -> Taken:
        state: MessageState = {"AA": "review" if reviewed else "applied", "AE": "kept", "AR": "rejected"}[code]
        told = tuple({"path": p.path, "what": p.what, "hint": p.hint, "code": p.code, "severity": p.severity} for p in problems)
        if self.again is not None:
            message = replace(
                self.again, state=state, code=code, became=became or self.again.became, problems=told, client=client or self.again.client,
                replays=self.again.replays + 1,
            )
            tx.inbox.update(message)
            return Taken(message)
        keep = len(self.raw) <= self.hub.policy.bundle_bytes
        message = Message(
            id=self.id, partner=self.partner.name, kind=self.kind, key=key, digest=self.digest, received=self.received,
            raw=self.raw if keep else None, head=self.raw[:_HEAD], content_type=self.content_type, control_id=control_id, event=event,
            state=state, code=code, answer=b"" if silent else self._answer(code, problems), became=became, problems=told, client=client,
        )
        tx.inbox.add(message)
        return Taken(message)

    def _answer(self, code: Literal["AA", "AE", "AR"], problems: Sequence[Problem]) -> bytes:
        if self.kind == "hl7v2":
            parsed = self.parsed
            if parsed is None:
                try:
                    parsed = hl7v2.parse(self.raw)
                except Refused:
                    parsed = hl7v2.header(self.raw)
            return hl7v2.ack(parsed, code, problems, control_id=self.id.replace("-", "")[:20], now=self.hub.clock.now())
        return jsontext.dumps(outcome.of(problems)).encode()


class _Moved(Exception):
    """What was decided upon changed before it could be written: decide anew."""


def _second(key: str, digest: str) -> str:
    """The key under which another body of an id that was used before is kept."""
    return f"{key}|{digest[:32]}"


# ------------------------------------------------------------------------------------------------ deciding


@dataclass(frozen=True, slots=True)
class _Draft:
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
        return self.client is None or _cases_seen(tx.plans.of_client(self.client, ("EpisodeOfCare",))) == self.seen_cases


def _cases_seen(episodes: Iterable[Stored]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((e.id, e.version) for e in episodes))


@dataclass(slots=True)
class _Item:
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
class _Stay:
    """The visit before and after this event."""

    item: _Item
    before: visits.Visit | None
    after: visits.Visit
    late: bool
    event: VisitEvent | None
    seen: int


class _Drafting:
    """From a finding to a Change, on one snapshot. Reads; never writes."""

    def __init__(self, hub: Hub, tx: Tx, partner: Partner, finding: Finding, kind: Kind, message: str) -> None:
        self.hub, self.tx, self.partner, self.finding, self.kind, self.message = hub, tx, partner, finding, kind, message
        self.now = hub.now()
        self.at = finding.happened_ms if finding.happened_ms is not None else self.now
        self.site = partner.site
        self.reviews: list[Review] = []
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

    def draft(self) -> _Draft:
        finding = self.finding
        if finding.action == "merge":
            client = self._merge()
            return self._done(client, None)
        visit_fact = next((f for f in finding.facts if f.type == "Encounter"), None)
        if finding.action in _VISITLESS and self.kind == "hl7v2":
            visit_fact = None
        held_visit = self._visit_by_number(visit_fact)
        patient = self._patient(held_visit)
        if patient is None:
            return self._done(None, None)
        client = patient.ref.id
        if visit_fact is not None and held_visit is None:
            held_visit, skip = self._visit_without_number(client)
            if skip:
                visit_fact = None
        if visit_fact is not None:
            self.locals[visit_fact.local] = held_visit.ref if held_visit is not None else Ref("Encounter", self.hub.ids.new())
        others = self._others(client, visit_fact)
        stay: _Stay | None = None
        if visit_fact is not None:
            stay = self._visit(visit_fact, held_visit, client)
        late = stay is not None and stay.late
        self._draft_patient(patient, late)
        items = [self._draft_other(fact, ref, stored, client, late) for fact, ref, stored in others]
        case = self._consequences(client, stay, items)
        if case is None and stay is not None and stay.item.stored is not None:
            case = stay.item.stored.case
        self._team(client, case)
        self._write(patient)
        if stay is not None:
            if case is not None:
                stay.item.body = opening.link_episode(stay.item.body, case)
            stay.item.case = case
            self._write(stay.item, client)
        for item in items:
            if item.ref.type not in DIRECTORY_TYPES:
                item.case = case
            self._write(item, client)
        self._tell_problems(client, stay)
        return self._done(client, stay)

    def _done(self, client: str | None, stay: _Stay | None) -> _Draft:
        finding = self.finding
        source = Source("hl7v2" if self.kind == "hl7v2" else "message", self.message, finding.control_id or None, finding.happened)
        activity = f"{finding.event}: {finding.action}"
        change = Change(
            tuple(self.writes.values()), Agent(self.partner.name), source, activity, tuple(self.reviews), tuple(self.settles), tuple(self.grants),
            finding.problems, activity,
        )
        cases = _cases_seen(self._of_client(client, "EpisodeOfCare")) if client and not self.new_client else ()
        return _Draft(
            change, tuple(sorted(self.locks)), stay.event if stay else None, tuple(self.became), client,
            stay.item.ref.id if stay else None, stay.seen if stay else 0, cases,
        )

    # -------------------------------------------------------------------------------------- who

    def _patient(self, held_visit: Stored | None) -> _Item | None:
        """The client that the message is about. Raises nothing: a doubt makes a record of its own and a review."""
        fact = self._client_fact()
        if fact is None:
            self._missing("the message names no client", "Patient", None)
            return None
        drafted = self._alone(fact)
        visit_client = Ref("Patient", held_visit.client) if held_visit is not None and held_visit.client else None
        numbers = [(i.system, i.value) for i in fact.identities if i.claims]
        self.locks.update(f"Patient|{system}|{value}" for system, value in numbers)
        decision, bodies = self._decide(numbers, drafted, visit_client)
        ref = decision.ref or Ref("Patient", self.hub.ids.new())
        self.locals[fact.local] = ref
        stored = bodies.get(ref)
        self.new_client = stored is None
        self.linked = decision.linked
        if decision.doubt is not None:
            doubt = decision.doubt
            suffix = "" if numbers else f":{ref.id}"
            self.reviews.append(replace(doubt, key=doubt.key + suffix, subject=ref, client=ref.id))
        before = overlay.bare(stored.body) if stored is not None else None
        return _Item(fact, ref, stored, drafted, before, decision.claims)

    def _client_fact(self) -> Fact | None:
        patients = [f for f in self.finding.facts if f.type == "Patient"]
        if len(patients) < 2:
            return patients[0] if patients else None
        subjects = {
            text.removeprefix(LOCAL)
            for f in self.finding.facts if f.type == "Encounter" and f.resource is not None
            if (text := str((f.resource.get("subject") or {}).get("reference") or "")).startswith(LOCAL)
        }
        return next((p for p in patients if p.local in subjects), patients[0])

    def _decide(
        self, numbers: Sequence[tuple[str, str]], drafted: Resource, visit_client: Ref | None
    ) -> tuple[identity.Decision, dict[Ref, Stored]]:
        plans = self.tx.plans
        claimed: dict[Ref, set[tuple[str, str]]] = {}
        borne: dict[Ref, set[tuple[str, str]]] = {}
        for number in numbers:
            holder = plans.holder("Patient", *number)
            if holder is not None:
                claimed.setdefault(holder, set()).add(number)
                continue
            bearers = [s for s in plans.by_identifier("Patient", *number) if not _retired(s.body)]
            for stored in bearers:
                (claimed if len(bearers) == 1 else borne).setdefault(stored.ref, set()).add(number)
        wanted = {*claimed, *borne, *((visit_client,) if visit_client else ())}
        bodies = dict(plans.get_many(wanted)) if wanted else {}
        self._survivors(claimed, bodies)

        def judged() -> identity.Decision:
            everyone = {*claimed, *borne, *((visit_client,) if visit_client and visit_client in bodies else ())}
            candidates = [
                identity.Candidate(ref, bodies[ref].body, frozenset(claimed.get(ref, ())), frozenset(borne.get(ref, set()) | claimed.get(ref, set())))
                for ref in everyone if ref in bodies
            ]
            return identity.decide(numbers, candidates, drafted, visit_client=visit_client, partner=self.partner.name)

        decision = judged()
        if decision.kind == "review" and decision.ref is None:
            # A doubt seen before may have its own record already: look among those that merely bear the numbers.
            for number in numbers:
                for stored in plans.by_identifier("Patient", *number):
                    if stored.ref not in claimed and not _retired(stored.body):
                        borne.setdefault(stored.ref, set()).add(number)
                        bodies[stored.ref] = stored
            decision = judged()
        return decision, bodies

    def _survivors(self, claimed: dict[Ref, set[tuple[str, str]]], bodies: dict[Ref, Stored]) -> None:
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

    def _draft_patient(self, item: _Item, late: bool) -> None:
        if item.before is None:
            item.body = self._onto(item.fact, None)
            self._tag(item.body)
        else:
            wanted = self._onto(item.fact, item.before)
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
        held_claims = self._held_claims(item)
        item.claims = tuple(dict.fromkeys((*held_claims, *item.claims)))
        item.origins = self._origins(item.fact)

    def _held_claims(self, item: _Item) -> tuple[tuple[str, str], ...]:
        """Claims are replaced with each version: those that the record holds are held on to."""
        if item.before is None or overlay.bare(item.body) == item.before:
            return ()
        numbers = [(i.get("system"), i.get("value")) for i in item.before.get("identifier") or ()]
        return tuple(
            (system, value) for system, value in numbers
            if isinstance(system, str) and isinstance(value, str) and self.tx.plans.holder(item.ref.type, system, value) == item.ref
        )

    def _disagree(self, item: _Item, elements: Sequence[str], wanted: Resource) -> None:
        assert item.before is not None
        before = item.before
        self.reviews.append(
            Review(
                kind="conflict", key=f"conflict:{item.ref}:{self.partner.name}", subject=item.ref, client=item.ref.id, partner=self.partner.name,
                what="another sender describes this client otherwise than the one who made the record", hint="keep ours, or take theirs",
                detail={"elements": {name: {"ours": before[name], "theirs": wanted[name]} for name in elements}},
            )
        )

    # -------------------------------------------------------------------------------------- which visit

    def _visit_by_number(self, fact: Fact | None) -> Stored | None:
        number = self.finding.visit
        numbers = [number] if number is not None else [i for i in fact.identities if i.claims][:1] if fact is not None else []
        for one in numbers:
            self.locks.add(f"Encounter|{one.system}|{one.value}")
            holder = self.tx.plans.holder("Encounter", one.system, one.value)
            if holder is not None:
                return self.tx.plans.get(holder)
            borne = self.tx.plans.by_identifier("Encounter", one.system, one.value)
            if len(borne) == 1:
                return borne[0]
        return None

    def _visit_without_number(self, client: str) -> tuple[Stored | None, bool]:
        """Which stay an event without a visit number means: the sender's only open one; for a discharge also the one it
        ended at the same time. (stay, whether the event's visit must be left out because nobody can say)."""
        if self.finding.visit is not None:
            return None, False
        self.locks.add(f"Patient/{client}")
        action = self.finding.action
        own = [] if self.new_client else [s for s in self._of_client(client, "Encounter") if s.creator == self.partner.name]
        running = [s for s in own if s.body.get("status") in ("in-progress", "planned", "arrived", "onleave", "unknown")]
        if len(running) == 1:
            return running[0], False
        if len(running) > 1:
            self._missing("the visit has no number, and several stays are open", "PV1-19", client)
            return None, True
        if action in ("discharge", "cancel-discharge") and self.finding.happened:
            ended = [s for s in own if s.body.get("status") == "finished"]
            same = [s for s in ended if action == "cancel-discharge" or (s.body.get("period") or {}).get("end") == self.finding.happened]
            if len(same) == 1:
                return same[0], False
        if action in ("admit", "register", "preadmit", "discharge"):
            return None, False
        self._missing("the visit has no number, and no stay is open", "PV1-19", client)
        return None, True

    def _visit(self, fact: Fact, held: Stored | None, client: str) -> _Stay:
        finding = self.finding
        ref = self.locals[fact.local]
        before_body = overlay.bare(held.body) if held is not None else None
        claims = ((finding.visit.system, finding.visit.value),) if finding.visit is not None and finding.visit.claims else ()
        alone = self._alone(fact)
        said = finding.disposition
        facts = visits.facts_of(
            alone, happened=finding.happened, route=said.route if said else None, code=said.code if said else None,
            named=said.destination if said else None,
        )
        if fact.doc is not None and not fact.doc.get("class"):
            facts.pop("class", None)
        facts["action"] = finding.action
        stored_events = self.tx.inbox.events(ref.id) if held is not None else ()
        history = _history(stored_events)
        if not history and before_body is not None:
            history = [_as_found(before_body)]
        earlier = [told for told in history if told.message != self.message]
        order = next((told.order for told in history if told.message == self.message), max((t.order for t in history), default=0) + 1)
        action: str = finding.action
        if action == "notice" and not history:
            action = _ACTION_OF.get(str(alone.get("status")), "update")
        elif action not in visits.ACTIONS:
            action = "update"
        event = visits.Told(action, self.at, order, facts, finding.event)
        replayed = any(told.message == self.message for told in history)
        base = [told.told for told in earlier]
        before = visits.tell(base) if base else None
        if replayed:
            before = visits.tell([told.told for told in history])
        after = visits.tell([*base, event])
        late = after.latest != (event.at, event.order)
        if before_body is None:
            body = self._onto(fact, None)
            self._tag(body)
        else:
            body = self._onto(fact, before_body)
            if late:
                body = overlay.fill(before_body, body)
        as_sent = fact.resource is not None and not late and finding.action in visits.ACTIONS
        body = _in_state({**body, "id": ref.id, "subject": body.get("subject") or {"reference": f"Patient/{client}"}}, after, places=not as_sent)
        item = _Item(fact, ref, held, body, before_body, claims, origins=self._origins(fact))
        record = VisitEvent(ref.id, self.message, finding.event, self.at, order, facts)
        stay = _Stay(item, before, after, late, None if replayed else record, len(stored_events))
        self._contradictions(stay, client)
        return stay

    def _contradictions(self, stay: _Stay, client: str) -> None:
        ref = stay.item.ref
        known = set(stay.before.contradictions) if stay.before is not None else set()
        key = f"order:{ref}"
        if any(c not in known for c in stay.after.contradictions):
            self.reviews.append(
                Review(
                    kind="order", key=key, what=stay.after.contradictions[-1].what, hint="look at the messages of this visit; correct the visit, or let the sender do it",
                    subject=ref, client=client, partner=self.partner.name,
                    detail={"status": stay.after.status, "events": [{"event": c.event, "what": c.what} for c in stay.after.contradictions]},
                )
            )
        elif known and not stay.after.contradictions:
            found, _ = self.tx.reviews.list(kind="order", client=client)
            self.settles += [review.id for review in found if review.review.key == key]

    # -------------------------------------------------------------------------------------- everything else

    def _others(self, client: str, visit_fact: Fact | None) -> list[tuple[Fact, Ref, Stored | None]]:
        """Which resource each other fact is here; names the new ones, so that references can be written."""
        found: list[tuple[Fact, Ref, Stored | None]] = []
        taken: set[Ref] = set()
        for fact in self.finding.facts:
            if fact.type in ("Patient", "CareTeam") and (fact.type == "Patient" or fact.doc is not None):
                continue
            if fact.type == "Encounter" and (fact is visit_fact or self.kind == "hl7v2"):
                continue
            stored = self._known(fact, client, taken)
            ref = stored.ref if stored is not None else Ref(fact.type, self.hub.ids.new())
            taken.add(ref)
            self.locals[fact.local] = ref
            found.append((fact, ref, stored))
        return found

    def _known(self, fact: Fact, client: str, taken: set[Ref]) -> Stored | None:
        plans = self.tx.plans
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
                return min(candidates, key=lambda s: (s.creator != self.partner.name, s.id))
        if fact.resource is not None and fact.resource.get("id"):
            holder = plans.holder(fact.type, *self._own_name(fact))
            held = plans.get(holder) if holder is not None else None
            if held is not None and fits(held):
                return held
        if directory or self.new_client:
            return None
        drafted = self._alone(fact)
        for stored in self._of_client(client, fact.type):
            if fits(stored) and overlay.same_thing(self._comparable(stored.body), self._comparable(drafted)):
                return stored
        return None

    def _comparable(self, body: Resource) -> Resource:
        """Without the reference to the client, whose resources alone are compared."""
        return {name: value for name, value in body.items() if name not in ("subject", "patient")}

    def _own_name(self, fact: Fact) -> tuple[str, str]:
        """What the sender calls a FHIR resource, as a number that only this resource of ours holds."""
        assert fact.resource is not None
        return f"urn:fhircase:source:{self.partner.name}", f"{fact.type}/{fact.resource['id']}"

    def _draft_other(self, fact: Fact, ref: Ref, stored: Stored | None, client: str, late: bool) -> _Item:
        before = overlay.bare(stored.body) if stored is not None else None
        body = self._onto(fact, before)
        if before is not None and stored is not None and (late or (ref.type in DIRECTORY_TYPES and stored.creator != self.partner.name)):
            body = overlay.fill(before, body)
        claims: tuple[tuple[str, str], ...] = ()
        if fact.resource is not None and fact.resource.get("id"):
            name = self._own_name(fact)
            # A sender that uses one id for things of two clients names neither.
            claims = (name,) if self.tx.plans.holder(fact.type, *name) in (None, ref) else ()
        return _Item(fact, ref, stored, {**body, "id": ref.id}, before, claims, origins=self._origins(fact))

    def _team(self, client: str, case: str | None) -> None:
        """People whom a v2 message names for the client take part in the hub's team, where there is one."""
        fact = next((f for f in self.finding.facts if f.type == "CareTeam" and f.doc is not None), None)
        if fact is None or case is None:
            return
        written = next((w for w in self.writes.values() if w.type == "CareTeam" and w.case == case and w.body is not None), None)
        stored = None if written is not None else self._hub_team(case)
        base = written.body if written is not None else overlay.bare(stored.body) if stored is not None else None
        if base is None:
            return
        body = {**self._onto(fact, base), "id": base["id"]}
        if body != base:
            ref = Ref("CareTeam", str(base["id"]))
            origins = self._origins(fact)
            if written is not None:
                self.writes[ref] = replace(written, body=body, origins=(*written.origins, *origins))
            elif stored is not None:
                self.writes[ref] = Write(ref.type, ref.id, body, stored.version, client, case, origins)
                self.became.append(ref)

    # -------------------------------------------------------------------------------------- what follows

    def _consequences(self, client: str, stay: _Stay | None, items: Sequence[_Item]) -> str | None:
        """Cases, plans and hand-overs that follow from the step of the visit. Returns the case of the visit, if it has one."""
        if stay is None:
            return self._case_of_referral(client)
        if self.finding.action == "notice":
            return None
        happened = visits.effects(stay.before, stay.after)
        if not happened:
            return None
        self.locks.add(f"Patient/{client}")
        visit = stay.item.ref.id
        episodes = () if self.new_client else self._of_client(client, "EpisodeOfCare")
        tasks = () if self.new_client else self._of_client(client, "Task")
        if "withdrawn" in happened or "cancelled" in happened:
            reason = "the discharge was cancelled" if "withdrawn" in happened else "the admission was cancelled"
            self._withdraw(tasks, visit, reason, client)
            return None
        if "redirected" in happened:
            self._redirect(tasks, stay, client)
            return None
        mine = stay.item.stored.case if stay.item.stored is not None else None
        standing = self._standing(episodes, mine)
        discharge = self._discharge(client, stay, items)
        if "discharged" in happened:
            if discharge.receiver.kind == "none":
                self._withdraw(tasks, None, "the client died", client)
            elif any(_of_visit(t.body, visit) and t.body.get("status") not in ("cancelled", "entered-in-error", "failed", "rejected") for t in tasks):
                return mine
            opens = self.partner.opens_case in ("discharge", "admission")
            proposal = self._proposal(client) if standing.kind == "new" and opens and discharge.receiver.kind != "none" else opening.Proposal("")
            opened = opening.on_discharge(
                standing, discharge, proposal, self.hub.ids.new, opens=opens, team=self._team_body(standing),
            )
        else:
            opened = opening.on_admission(
                standing, discharge, self.hub.ids.new, opens=self.partner.opens_case == "admission", linked=self.linked, team=self._team_body(standing),
            )
        self._take(opened)
        return opened.case

    def _take(self, opened: opening.Opened) -> None:
        for write in opened.writes:
            held = self._held_version(write)
            self.writes[write.ref] = replace(write, expect=held, creator=write.creator if held == 0 else None)
            self.became.append(write.ref)
        self.reviews += opened.reviews

    def _held_version(self, write: Write) -> int:
        for stored in (s for found in self._held.values() for s in found):
            if stored.ref == write.ref:
                return stored.version
        return 0

    def _standing(self, episodes: Sequence[Stored], mine: str | None) -> opening.Standing:
        cases = []
        for episode in episodes:
            body = episode.body
            status, end = body.get("status"), (body.get("period") or {}).get("end")
            running = status in opening.OPEN
            if status in ("cancelled", "entered-in-error"):
                continue
            closed = None if running else times.ms_of(end) if end else episode.updated
            plan, team, sensitive = (None, None, episode.sensitive)
            for stored in self._of_case(episode.id):
                if stored.type == "CarePlan" and stored.creator == HUB and _bears(stored.body, opening.PLAN):
                    plan, sensitive = stored.id, sensitive or stored.sensitive
                elif stored.type == "CareTeam" and stored.creator == HUB and _bears(stored.body, opening.TEAM):
                    team = stored.id
            case = opening.KnownCase(episode.id, running, sensitive, closed, plan, team)
            if case.id == mine and running:
                return opening.Standing("join", case)
            cases.append(case)
        return opening.standing(cases, self.at)

    def _hub_team(self, case: str) -> Stored | None:
        return next((s for s in self._of_case(case) if s.type == "CareTeam" and s.creator == HUB and _bears(s.body, opening.TEAM)), None)

    def _team_body(self, standing: opening.Standing) -> Resource | None:
        if standing.kind != "join" or standing.case is None:
            return None
        stored = self._hub_team(standing.case.id)
        return overlay.bare(stored.body) if stored is not None else None

    def _discharge(self, client: str, stay: _Stay, items: Sequence[_Item]) -> opening.Discharge:
        after = stay.after
        found = handover.receiver(after.route, after.code, after.named, self.partners, sender=self.partner.name)
        body = stay.item.body
        attending = tuple(
            ref for p in body.get("participant") or ()
            if any(c.get("code") == "ATND" for t in p.get("type") or () for c in t.get("coding") or ())
            if (ref := str((p.get("individual") or {}).get("reference") or "")).startswith(("Practitioner/", "PractitionerRole/"))
        )
        conditions = tuple(str(i.ref) for i in items if i.ref.type == "Condition" and not _in_error(i.body))
        when = (after.end if after.discharged else after.start) or self.finding.happened
        return opening.Discharge(
            client=client, encounter=stay.item.ref.id, at=self.at, when=when, now=times.instant(self.now),
            answer_by=times.instant(self.now + ANSWER_WITHIN_MS), route=after.route, disposition=after.disposition, sender=self.partner,
            hub=next((p for p in self.partners if p.name == HUB), None), receiver=found, conditions=conditions, attending=attending,
        )

    def _proposal(self, client: str) -> opening.Proposal:
        """What the template of this disposition proposes, as the mappings write it."""
        said = self.finding.disposition
        template = self.hub.maps.templates("general", said.route if said else None)
        if template is None:
            return opening.Proposal("")
        made: dict[str, list[Resource]] = {"goal": [], "service": []}
        for name, docs in (("goal", template.goals), ("service", template.services)):
            mapping = self.hub.maps.mapping(name, self.site)
            for doc in docs:
                made[name].append(mapping.out({"id": "proposed", "client": f"Patient/{client}", **doc}).resource)
        return opening.Proposal(template.name, tuple(made["goal"]), tuple(made["service"]))

    def _withdraw(self, tasks: Sequence[Stored], visit: str | None, reason: str, client: str) -> None:
        by_id = {t.id: t for t in tasks}
        found = handover.withdraw(
            [overlay.bare(t.body) for t in tasks], encounter=visit, reason=reason, at=times.instant(self.now), new_id=self.hub.ids.new
        )
        for body in found.cancelled:
            held = by_id[body["id"]]
            self._put(Write("Task", held.id, body, held.version, client, held.case))
        for body in found.asks:
            focus = by_id[str(body["focus"]["reference"]).removeprefix("Task/")]
            self._put(Write("Task", body["id"], body, 0, client, focus.case, creator=HUB))
        for id_ in found.done:
            self.reviews.append(
                Review(
                    kind="withdrawal", key=f"withdrawal:{id_}", what=f"the hand-over was completed, and {reason}", client=client,
                    hint="settle with the receiver who cares for the client", subject=Ref("Task", id_), case=by_id[id_].case, partner=self.partner.name,
                )
            )

    def _redirect(self, tasks: Sequence[Stored], stay: _Stay, client: str) -> None:
        """The discharge stands, its destination changed: a draft may find its owner now; one that was sent is a person's."""
        after = stay.after
        found = handover.receiver(after.route, after.code, after.named, self.partners, sender=self.partner.name)
        hub = next((p for p in self.partners if p.name == HUB), None)
        owner = opening.owner_of(found, hub, None)
        for held in tasks:
            task = overlay.bare(held.body)
            if not _of_visit(task, stay.item.ref.id) or not is_handover(task):
                continue
            if found.kind == "none" and task.get("status") in handover.UNANSWERED:
                self._withdraw([held], stay.item.ref.id, "the client died", client)
            elif task.get("status") == "draft" and "owner" not in task and owner is not None:
                body = handover.addressed(task, owner, after.disposition, times.instant(self.now))
                self._put(Write("Task", held.id, body, held.version, client, held.case))
            elif task.get("status") in handover.UNANSWERED | handover.UNDER_WAY and task.get("owner") != owner:
                self.reviews.append(
                    Review(
                        kind="destination", key=f"destination:{stay.item.ref.id}", what="the sender names another destination after the hand-over was asked for",
                        hint="leave the hand-over, or cancel it and ask another", subject=held.ref, client=client, case=held.case,
                        partner=self.partner.name, detail={"route": after.route, "candidates": list(found.candidates)},
                    )
                )

    def _case_of_referral(self, client: str) -> str | None:
        """A referral stands in the client's one open case, else under the client alone."""
        if self.finding.action != "referral" or self.new_client:
            return None
        standing = self._standing(self._of_client(client, "EpisodeOfCare"), None)
        return standing.case.id if standing.kind == "join" and standing.case is not None else None

    # -------------------------------------------------------------------------------------- merging

    def _merge(self) -> str | None:
        client: str | None = None
        patients = [f for f in self.finding.facts if f.type == "Patient"]
        for fact, gone in zip(patients, self.finding.retired, strict=False):
            client = self._merge_pair(fact, [(i.system, i.value) for i in gone if i.claims]) or client
        return client

    def _merge_pair(self, fact: Fact, gone: Sequence[tuple[str, str]]) -> str | None:
        plans = self.tx.plans
        kept = [(i.system, i.value) for i in fact.identities if i.claims]
        self.locks.update(f"Patient|{system}|{value}" for system, value in (*kept, *gone))
        claimed: dict[Ref, set[tuple[str, str]]] = {}
        for number in (*kept, *gone):
            holder = plans.holder("Patient", *number)
            if holder is None:
                bearers = [s for s in plans.by_identifier("Patient", *number) if not _retired(s.body)]
                holder = bearers[0].ref if len(bearers) == 1 else None
            if holder is not None:
                claimed.setdefault(holder, set()).add(number)
        bodies = dict(plans.get_many(claimed)) if claimed else {}
        self._survivors(claimed, bodies)
        holders = {number: ref for ref, numbers in claimed.items() for number in numbers}
        verdict = merging.judge(kept, gone, holders, {ref: s.body for ref, s in bodies.items()})
        ref = verdict.survivor or Ref("Patient", self.hub.ids.new())
        stored = bodies.get(ref)
        self.new_client = stored is None
        self.locals[fact.local] = ref
        before = overlay.bare(stored.body) if stored is not None else None
        drafted = self._alone(fact)
        if verdict.kind == "inverse":
            self.reviews.append(
                Review(
                    kind="identity", key=f"merge:{ref}:{self.partner.name}", what="a merge that is the opposite of an earlier one", subject=ref,
                    hint="say which number is the client's now", client=ref.id, partner=self.partner.name,
                    detail={"doubt": "inverse", "kept": [f"{s}|{v}" for s, v in kept], "retired": [f"{s}|{v}" for s, v in gone]},
                )
            )
            return ref.id
        if before is not None and identity.clash(before, drafted):
            self.reviews.append(
                Review(
                    kind="identity", key=f"merge-clash:{ref}:{self.partner.name}", what="family name and birth date of the merge's survivor differ",
                    hint="merge by hand if they are one person", subject=ref, client=ref.id, partner=self.partner.name,
                    detail={"doubt": "clash", "kept": [f"{s}|{v}" for s, v in kept], "retired": [f"{s}|{v}" for s, v in gone]},
                )
            )
            return ref.id
        item = _Item(fact, ref, stored, drafted, before, tuple(kept))
        self._draft_patient(item, late=False)
        old = tuple(gone)
        if verdict.kind in ("alias", "unknown") and old:
            item.body = merging.aged(item.body, old) if verdict.kind == "alias" else merging.with_old(item.body, [{"system": s, "value": v} for s, v in old])
        item.claims = tuple(dict.fromkeys((*item.claims, *self._all_claims(item), *(n for n in old if holders.get(n) in (None, ref)))))
        if verdict.kind == "merge" and verdict.retired is not None:
            self._merge_records(item, bodies[verdict.retired])
        self._write(item)
        return ref.id

    def _all_claims(self, item: _Item) -> tuple[tuple[str, str], ...]:
        numbers = [(i.get("system"), i.get("value")) for i in (item.before or {}).get("identifier") or ()]
        return tuple((s, v) for s, v in numbers if isinstance(s, str) and isinstance(v, str) and self.tx.plans.holder("Patient", s, v) == item.ref)

    def _merge_records(self, survivor: _Item, retired: Stored) -> None:
        plans = self.tx.plans
        self.locks.update((f"Patient/{survivor.ref.id}", f"Patient/{retired.id}"))
        gone = overlay.bare(retired.body)
        gone["id"] = retired.id
        theirs = tuple(
            (s, v) for i in gone.get("identifier") or () if isinstance(s := i.get("system"), str) and isinstance(v := i.get("value"), str)
            if plans.holder("Patient", s, v) == retired.ref
        )
        survivor.body = merging.survive(survivor.body, gone)
        survivor.claims = tuple(dict.fromkeys((*survivor.claims, *theirs)))
        self._put(Write("Patient", retired.id, merging.retire(gone, survivor.ref), retired.version, retired.id))
        open_cases: dict[str, list[str]] = {"ours": [], "theirs": []}
        for side, client in (("ours", survivor.ref.id), ("theirs", retired.id)):
            for stored in plans.of_client(client, ("EpisodeOfCare",)):
                if stored.body.get("status") in opening.OPEN:
                    open_cases[side].append(stored.id)
        plan_of: dict[str, Stored] = {}
        for stored in plans.of_client(retired.id):
            if stored.type == "Patient" or stored.type in merging.HISTORY or stored.deleted:
                continue
            body = merging.repoint(overlay.bare(stored.body), retired.ref, survivor.ref)
            if stored.type == "CarePlan" and stored.case in open_cases["theirs"] and _bears(stored.body, opening.PLAN):
                plan_of["theirs"] = stored
                mine = next((s for s in plans.of_client(survivor.ref.id, ("CarePlan",)) if s.case in open_cases["ours"] and _bears(s.body, opening.PLAN)), None)
                if mine is not None:
                    body = merging.link_plans(body, mine.id)
                    self._put(Write("CarePlan", mine.id, merging.link_plans(overlay.bare(mine.body), stored.id), mine.version, survivor.ref.id, mine.case))
            claims = self._claims_of(stored)
            self._put(Write(stored.type, stored.id, body, stored.version, survivor.ref.id, stored.case, claims=claims))
        for grant in plans.grants(client=retired.id):
            if grant.until is None or grant.until > self.now:
                self.grants.append(replace(grant, until=self.now))
                item = survivor.ref if grant.item == retired.ref else grant.item
                self.grants.append(replace(grant, client=survivor.ref.id, since=max(self.now, grant.since), until=grant.until, item=item))
        if open_cases["ours"] and open_cases["theirs"]:
            self.reviews.append(
                Review(
                    kind="which-case", key=f"which-case:{survivor.ref}", what="two records that were merged each have an open case", subject=survivor.ref,
                    hint="go on with one and close the other; the plans are linked", client=survivor.ref.id, partner=self.partner.name,
                    detail={"candidates": sorted((*open_cases["ours"], *open_cases["theirs"])), "proposal": "choose"},
                )
            )

    def _claims_of(self, stored: Stored) -> tuple[tuple[str, str], ...]:
        if stored.type != "Encounter":
            return ()
        numbers = [(i.get("system"), i.get("value")) for i in stored.body.get("identifier") or ()]
        return tuple((s, v) for s, v in numbers if isinstance(s, str) and isinstance(v, str) and self.tx.plans.holder(stored.type, s, v) == stored.ref)

    # -------------------------------------------------------------------------------------- drafting one resource

    def _alone(self, fact: Fact) -> Resource:
        """The resource as this message alone describes it."""
        return self._resource(fact, None)

    def _onto(self, fact: Fact, before: Resource | None) -> Resource:
        """The resource as it shall be: what is told laid over what stands."""
        return self._resource(fact, before)

    def _resource(self, fact: Fact, before: Resource | None) -> Resource:
        if fact.resource is not None:
            sent = refs.rewrite(fact.resource, self._place)
            sent = {name: value for name, value in sent.items() if name != "id"}
            return sent if before is None else overlay.lay(before, sent)
        doc = _placed(fact.doc or {}, self.locals)
        if fact.type == "Encounter" and before is None:
            # The state of a visit is told by its events; this only lets the mapping write the rest.
            doc = {"state": "planned", **doc}
        mapping = self.hub.maps.mapping(fact.mapping, self.site)
        made = mapping.out(doc, onto=before, partial=before is not None)
        return dict(made.resource)

    def _place(self, text: str) -> str:
        if not text.startswith(LOCAL):
            return text
        name = text.removeprefix(LOCAL)
        ref = self.locals.get(name)
        return str(ref) if ref is not None else f"urn:uuid:{name}" if len(name) == 36 else text

    def _origins(self, fact: Fact) -> tuple[Origin, ...]:
        if fact.mapping is None or not fact.origins:
            return fact.origins
        mapping = self.hub.maps.mapping(fact.mapping, self.site)
        return tuple(Origin(_element(mapping, origin.element), origin.place, origin.raw) for origin in fact.origins)

    def _tag(self, body: Resource) -> None:
        """What came in as a test or for training says so."""
        if self.finding.processing_id in ("T", "D"):
            tag = {"system": _TEST, "code": self.finding.processing_id}
            meta = dict(body.get("meta") or {})
            meta["tag"] = [*(meta.get("tag") or ()), tag]
            body["meta"] = meta

    def _write(self, item: _Item, client: str | None = None) -> None:
        self.became.append(item.ref)
        if item.stored is not None and item.before is not None and overlay.bare(item.body) == item.before and (item.case is None or item.case == item.stored.case):
            return
        claims = item.claims
        if item.stored is not None and item.ref.type == "Encounter":
            claims = tuple(dict.fromkeys((*claims, *self._claims_of(item.stored))))
        self.writes[item.ref] = Write(
            item.ref.type, item.ref.id, item.body, item.stored.version if item.stored is not None else 0,
            None if item.ref.type in DIRECTORY_TYPES or item.ref.type == "Patient" else client, item.case, item.origins, claims,
        )

    def _put(self, write: Write) -> None:
        self.writes[write.ref] = write
        self.became.append(write.ref)

    def _of_client(self, client: str, type_: str) -> Sequence[Stored]:
        key = ("client", client, type_)
        if key not in self._held:
            self._held[key] = [s for s in self.tx.plans.of_client(client, (type_,)) if not s.deleted]
        return self._held[key]

    def _of_case(self, case: str) -> Sequence[Stored]:
        key = ("case", case)
        if key not in self._held:
            self._held[key] = [s for s in self.tx.plans.of_case(case, ("CarePlan", "CareTeam")) if not s.deleted]
        return self._held[key]

    # -------------------------------------------------------------------------------------- what is doubtful

    def _missing(self, what: str, path: str, client: str | None) -> None:
        self.reviews.append(
            Review(
                kind="missing", key=f"missing:{self.partner.name}:{path}:{client or self.message}", what=what, client=client, partner=self.partner.name,
                hint="ask the sender for it, and replay the message", detail={"path": path, "message": self.message},
            )
        )

    def _tell_problems(self, client: str, stay: _Stay | None) -> None:
        for problem in self.finding.problems:
            review = _review_of(problem, self.partner.name, client, stay.item.ref if stay else Ref("Patient", client))
            if review is not None:
                self.reviews.append(review)


# ------------------------------------------------------------------------------------------------ small things


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
    stay = {name: value for name, value in (made.get("hospitalization") or {}).items() if name not in ("dischargeDisposition", "destination")}
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


def _review_of(problem: Problem, partner: str, client: str, subject: Ref) -> Review | None:
    """Which problem of reading a person should see. What the answer already told the sender, and nobody here can mend, is
    only kept with the message."""
    detail = {"path": problem.path, "what": problem.what}
    if problem.code == "value" and "zone" in problem.what:
        return Review(
            "no-zone", f"no-zone:{partner}", "times came without offset, and the sender's zone is not known: they were kept to the day",
            "set the partner's zone", partner=partner, detail=detail,
        )
    if problem.code in ("code-invalid", "value"):
        return Review("unmapped", f"unmapped:{partner}:{problem.path}:{problem.what}", problem.what, problem.hint, subject, client, partner=partner, detail=detail)
    if problem.code == "required" and problem.path.startswith("PV1-36"):
        return None
    if problem.code == "required":
        return Review("missing", f"missing:{partner}:{problem.path}:{subject}", problem.what, problem.hint, subject, client, partner=partner, detail=detail)
    return None


def _replaced_by(patient: Resource) -> Ref | None:
    for link in patient.get("link") or ():
        found = refs.literal((link.get("other") or {}).get("reference")) if link.get("type") == "replaced-by" else None
        if found is not None and found.type == "Patient":
            return Ref("Patient", found.id)
    return None


def _retired(patient: Resource) -> bool:
    return _replaced_by(patient) is not None


def _bears(resource: Resource, system: str) -> bool:
    return any(i.get("system") == system for i in resource.get("identifier") or ())


def _of_visit(task: Resource, visit: str) -> bool:
    return is_handover(task) and (task.get("encounter") or {}).get("reference") == f"Encounter/{visit}"


def _in_error(condition: Resource) -> bool:
    return any(c.get("code") == "entered-in-error" for c in (condition.get("verificationStatus") or {}).get("coding") or ())
