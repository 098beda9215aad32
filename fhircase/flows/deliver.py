"""Bring one partner up to date over one claimed lane: plan, send, record (RELIABILITY §1 and §2; DECISIONS 10, 21–24).

*Plan* runs in a transaction: which marks still mean a write, in which order, and what is about to be written
(``Link.pend``), saved before any request. *Send* holds no transaction. *Record* is one transaction again: shadows, ledger,
marks, lease. A kill in between leaves pending writes, which the next owner of the lane looks up at the partner before it
writes anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fhircase.flows.absorb import Copy, LaneLost, absorb
from fhircase.flows.hub import Hub
from fhircase.flows.talk import Later, Talk, Unsupported, etag_in, etag_of, is_a, same_version, token, updated_in
from fhircase.flows.terms import Terms
from fhircase.plans.change import WHOLE, Ref, Resource, Review
from fhircase.plans.partner import CREATE_ONLY, Partner
from fhircase.ports import Exchange, Lane, Link, Mark, PartnerDown, Reply, Stored, Tx
from fhircase.sync import judge, schedule, shadow
from fhircase.sync.dialect import LADDER, ONE_IDENTIFIER, Dialect
from fhircase.telemetry import Log, tell

BATCH = 16
"""Marks planned in one transaction. A kill re-examines at most this many writes."""

WAIT_MS = 50
"""How long a client lane lets go when everything in it waits for the directory lane."""

ROUNDS = 12
"""Rounds in which nothing is settled before a lane pauses: somebody writes there faster than we can join."""

_ONWARD: tuple[tuple[str, str], ...] = (("Prefer", "return=representation"),)

Kind = Literal["create", "find", "update", "retract", "examine"]


@dataclass(frozen=True, slots=True)
class Op:
    """One thing to do at the partner. ``form`` is what the copy shall say, in our terms; ``link`` as before, ``planned`` with
    ``pend`` set. ``again``: an earlier attempt of the same has an unknown outcome. ``clear``: the mark to remove when it has
    worked; None when more must follow."""

    kind: Kind
    ref: Ref
    client: str | None
    form: Resource
    body: Resource
    link: Link
    planned: Link
    needs: tuple[Ref, ...]
    elements: frozenset[str]
    again: bool = False
    clear: Mark | None = None
    case: str | None = None


@dataclass(slots=True)
class Plan:
    """What one planning transaction decided."""

    partner: Partner
    dialect: Dialect
    remotes: dict[Ref, str]
    ops: list[Op]
    marks: dict[Ref, Mark]
    waiting: bool


@dataclass(slots=True)
class Results:
    """What the requests brought, for one recording transaction."""

    links: list[Link] = field(default_factory=list)
    cleared: list[Mark] = field(default_factory=list)
    parked: list[tuple[Mark, str]] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    changed: list[tuple[Ref, Copy]] = field(default_factory=list)
    learned: dict[str, str] = field(default_factory=dict)
    pause: Later | None = None
    done: int = 0


def step(hub: Hub, lane: Lane, *, batch: int = BATCH, stop: Callable[[], bool] = lambda: False) -> int:
    """Work on a claimed FHIR lane until it is empty, its partner cannot take more now, half the lease has passed or ``stop()``
    says so; then let the lane go. Returns how many marks were settled. Never raises for what a partner does."""
    settled, idle, began = 0, 0, hub.now()
    correlation = hub.ids.new()
    try:
        while True:
            plan = _plan(hub, lane, batch)
            if plan is None:
                return settled
            talk = Talk(hub, plan.partner, plan.dialect, hub.gateways(plan.partner), correlation)
            talk.correlations = {str(ref): mark.correlation for ref, mark in plan.marks.items()}
            results = _Sender(plan, talk).send() if plan.ops else Results()
            moved = len(results.cleared) + len(results.parked)
            idle = 0 if moved or not plan.ops else idle + 1
            if idle > ROUNDS and results.pause is None:
                results.pause = Later("it changes faster than it can be joined")
            leave = stop() or hub.now() - began > hub.policy.lease_ms // 2
            last = results.pause is not None or (leave and not results.changed)
            _record(hub, lane, plan, results, talk, last)
            settled += moved
            if last:
                return settled
            for ref, copy in results.changed:
                absorb(hub, plan.partner, plan.dialect, ref, copy, correlation=correlation, lane=lane)
    except LaneLost:
        tell(Log.LANE_LOST, lane=lane.key, fence=lane.fence)
        return settled


# ------------------------------------------------------------------------------------------ plan


def _plan(hub: Hub, lane: Lane, batch: int) -> Plan | None:
    """None when the lane was let go: nothing to do, or the partner is paused."""
    with hub.store.write() as tx:
        now = hub.now()
        partner = tx.partners.get(lane.target)
        marks = tx.outbox.marks(lane, batch) if partner is not None else ()
        if partner is None or not marks:
            tx.outbox.release(lane, now=now)
            return None
        if partner.paused or not partner.base_url or partner.fhir_version != "R4":
            tx.outbox.release(lane, now=now, pause=hub.policy.retry_max_ms)
            return None
        dialect = Dialect.of(partner.dialect)
        planner = _Planner(hub, tx, partner, dialect, now, {mark.ref: mark for mark in marks})
        plan = planner.plan()
        if planner.links:
            tx.links.save(planner.links)
        if planner.settled:
            tx.outbox.clear(planner.settled)
        if plan.ops or (len(marks) == batch and planner.settled):
            if not tx.outbox.renew(lane, now, hub.policy.lease_ms):
                raise LaneLost
            return plan
        if not tx.outbox.release(lane, now=now, pause=WAIT_MS if plan.waiting else 0):
            raise LaneLost
        tx.outbox.wake()  # a lane that waited for this one may go on
        return None


class _Planner:
    """Decides, mark by mark, what is to be written; parents first (I7)."""

    def __init__(self, hub: Hub, tx: Tx, partner: Partner, dialect: Dialect, now: int, marks: dict[Ref, Mark]) -> None:
        self.hub, self.tx, self.partner, self.dialect, self.marks = hub, tx, partner, dialect, marks
        self.terms = Terms(tx, partner, dialect, now)
        self.links: list[Link] = []
        self.settled: list[Mark] = []
        self.ops: list[Op] = []
        self._done: dict[Ref, bool] = {}  # True: the partner has it, or will have by then
        self._path: list[Ref] = []
        self._waits: set[Ref] = set()
        self._asked: dict[Ref, None] = {}
        self._again: dict[Ref, str | None] = {}

    def plan(self) -> Plan:
        self.terms.load(self.marks)
        for ref in self.marks:
            self._visit(ref)
        directory = [(ref, None) for ref in self._asked]
        more = [(ref, client) for ref, client in self._again.items() if ref not in self.marks]
        more += [(op.ref, op.client) for op in self.ops if op.ref not in self.marks and op.ref not in self._again]
        if directory or more:
            self.tx.outbox.mark(self.partner, [*directory, *more])
            self.tx.outbox.wake()
        remotes = {ref: link.remote for ref, link in self.terms.links.items() if link.remote is not None and link.state == "live"}
        return Plan(self.partner, self.dialect, remotes, self.ops, self.marks, bool(self._waits))

    def _visit(self, ref: Ref) -> bool:
        """Plan what ``ref`` needs. True when a reference to it may be a literal one by the time the asker is sent."""
        if ref in self._done:
            return self._done[ref]
        self._done[ref] = self.terms.live(ref)
        op = self._decide(ref)
        if op is None:
            return self._done[ref]
        self._path.append(ref)
        needs: list[Ref] = []
        blocked = cyclic = False
        for target in self._parents(op):
            if self.terms.live(target) or not self.terms.sendable(target):
                continue
            if target in self._path:
                cyclic = not op.again  # it will follow; this one is marked again for the reference back
                continue
            theirs = self.terms.stored[target].client
            if theirs is None and op.client is not None:
                self._asked[target] = None
                blocked = True
            elif theirs != op.client:
                continue  # another client's lane: the reference stays logical until that one is there
            elif self._visit(target):
                needs.append(target)
            elif target in self._waits:
                blocked = True
        self._path.pop()
        if blocked:
            self._waits.add(ref)
            return False
        if op.kind in ("create", "find", "update") and not op.again:
            op = self._formed(op, needs, cyclic)
            if op is None:
                return self._done[ref]
        else:
            op = replace(op, needs=tuple(needs))
        if cyclic:
            self._again[ref] = op.client
            op = replace(op, clear=None)
        self.ops.append(op)
        if op.planned is not op.link:
            self.links.append(op.planned)
        self._done[ref] = op.kind != "retract"
        return self._done[ref]

    def _parents(self, op: Op) -> Sequence[Ref]:
        """What must be there before. Of a pending write: what it referred to when it was tried, which may be pending too; a copy
        that refers to what we do not know to be ours would be read as the partner's edit."""
        if op.again:
            tried = list(dict.fromkeys(shadow.targets(op.form)))
            self.terms.load(tried)
            return tried
        if op.kind not in ("create", "find", "update"):
            return ()
        return self.terms.targets(op.ref)

    def _decide(self, ref: Ref) -> Op | None:
        terms, mark = self.terms, self.marks.get(ref)
        stored = terms.stored.get(ref)
        link = terms.links.get(ref) or Link(self.partner.name, ref)
        if stored is None or link.state in ("ended", "ignored"):
            self._settle(mark)
            return None
        if link.pend is not None:
            return self._pending(ref, stored, link, mark)
        if stored.deleted:
            return self._retraction(ref, stored, link, mark)
        if WHOLE in terms.held.get(ref, ()) or not terms.allowed(stored):
            self._settle(mark)
            return None
        if link.remote is not None and ref.type in CREATE_ONLY:
            self._settle(mark)
            return None
        kind: Kind = "update" if link.remote is not None else "find" if ref.type in CREATE_ONLY else "create"
        return Op(kind, ref, stored.client, {}, terms.body(ref), link, link, (), frozenset(), False, mark, stored.case)

    def _formed(self, op: Op, needs: Sequence[Ref], cyclic: bool) -> Op | None:
        known = set(needs)
        form = shadow.outgoing(op.body, lambda ref: ref in known or self.terms.known(ref), self.hub.policy.base_url)
        held = self.terms.held.get(op.ref, frozenset())
        if op.link.remote is not None:
            form = judge.meant(form, op.link.sent, held)
            elements = judge.unsent(form, op.link.sent, held)
            if not elements:
                self._settle(None if cyclic else op.clear)
                return None
        else:
            elements = frozenset(form) - {"resourceType"}
        planned = replace(op.link, pend=form, state="live")
        return replace(op, form=form, planned=planned, needs=tuple(needs), elements=elements)

    def _pending(self, ref: Ref, stored: Stored, link: Link, mark: Mark | None) -> Op:
        """The outcome of an earlier attempt is unknown: look before writing anything else. Creating is looking, when it is
        done with the same content and by an identifier."""
        pend = link.pend or {}
        kind: Kind = "examine" if link.remote is not None else "find" if ref.type in CREATE_ONLY else "create"
        may_repeat = not stored.deleted and WHOLE not in self.terms.held.get(ref, ()) and self.terms.allowed(stored)
        elements = judge.unsent(pend, link.sent) if may_repeat else frozenset[str]()
        return Op(kind, ref, stored.client, pend, self.terms.body(ref), link, link, (), elements, True, None, stored.case)

    def _retraction(self, ref: Ref, stored: Stored, link: Link, mark: Mark | None) -> Op | None:
        form = shadow.retracted(link.sent or {}) if link.remote is not None and ref.type not in CREATE_ONLY else None
        if link.remote is None:
            self._settle(mark)
            return None
        if form is None:
            self.links.append(replace(link, state="ended"))
            self._settle(mark)
            return None
        planned = replace(link, pend=form)
        return Op("retract", ref, stored.client, form, {}, link, planned, (), judge.unsent(form, link.sent), False, mark, stored.case)

    def _settle(self, mark: Mark | None) -> None:
        if mark is not None:
            self.settled.append(mark)


# ------------------------------------------------------------------------------------------ send


class _Parked(Exception):
    """The partner refuses the content, or the right to send it: only an edit or a person helps."""

    def __init__(self, why: str, status: int, detail: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.why, self.status, self.detail = why, status, tuple(detail)


class _Gone(Exception):
    """The copy is not there any more."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Sender:
    """Runs a plan's operations in order and gathers what came of each. No transaction is open."""

    def __init__(self, plan: Plan, talk: Talk) -> None:
        self.plan, self.talk = plan, talk
        self.partner, self.dialect = plan.partner, plan.dialect
        self.base_url = plan.partner.base_url or ""
        self.remotes = dict(plan.remotes)
        self.locals = {(ref.type, remote): ref for ref, remote in plan.remotes.items()}
        self.results = Results()

    def send(self) -> Results:
        results = self.results
        until = self.talk.hub.now() + self.talk.hub.policy.lease_ms // 2
        for position, op in enumerate(self.plan.ops):
            if self.talk.hub.now() > until:  # slow answers: record before the lease ends, then go on
                for later_op in self.plan.ops[position:]:
                    self._restore(later_op)
                break
            if any(need not in self.remotes for need in op.needs):
                self._restore(op)  # its parent was refused: planned anew, with a logical reference
                continue
            try:
                self._one(op)
            except PartnerDown as down:
                results.pause = Later(down.reason)
            except Later as later:
                results.pause = later
                if not op.again and _unsent(later):
                    self._restore(op)
            except _Parked as parked:
                self._refused(op, parked)
            except _Gone as gone:
                self._ended(op, gone)
            else:
                continue
            if results.pause is not None:
                for later_op in self.plan.ops[position + 1 :]:
                    self._restore(later_op)
                break
        return results

    def _restore(self, op: Op) -> None:
        if op.planned is not op.link:
            self.results.links.append(op.link)

    def _one(self, op: Op) -> None:
        if op.kind in ("update", "retract"):
            self._update(op)
        elif op.kind == "examine":
            self._examine(op)
        elif op.kind == "find" and self._found(op):
            return
        else:
            self._create(op)

    # -- one write came through, or an answer shows another state

    def _through(self, op: Op, reply: Reply, remote: str) -> None:
        """The write is confirmed: what the answer holds is the new base."""
        if not is_a(reply, op.ref.type):
            reply = self._reread(op, remote)
        resource = reply.resource or {}
        theirs = shadow.incoming(resource, op.ref, self._local_of, base_url=self.base_url, ours=op.body or op.form)
        link = replace(
            op.planned,
            remote=remote,
            etag=etag_of(reply),
            updated=updated_in(resource),
            stored=shadow.shadow(theirs),
            sent=op.form,
            pend=None,
            state="ended" if op.kind == "retract" else "live",
        )
        self._linked(op, link)
        self.results.done += 1

    def _linked(self, op: Op, link: Link) -> None:
        self.results.links.append(link)
        if link.remote is not None and link.state == "live":
            self.remotes[op.ref] = link.remote
            self.locals[(op.ref.type, link.remote)] = op.ref
        if op.clear is not None:
            self.results.cleared.append(op.clear)

    def _differs(self, op: Op, reply: Reply) -> None:
        """The copy is not what we last saw: to be judged and joined after the batch is recorded."""
        resource = reply.resource or {}
        remote = str(resource.get("id"))
        history = self.talk.history(op.ref.type, remote, str(op.ref)) if op.planned.pend is not None else None
        self.results.changed.append((op.ref, Copy(resource, etag_of(reply), history)))
        if op.link.remote is None:
            self.remotes[op.ref] = remote
            self.locals[(op.ref.type, remote)] = op.ref

    def _reread(self, op: Op, remote: str) -> Reply:
        reply = self.talk.read(op.ref.type, remote, str(op.ref))
        if reply.status in (404, 410):
            raise _Gone(reply.status)
        return reply

    # -- writes

    def _update(self, op: Op) -> None:
        link, type_ = op.link, op.ref.type
        remote = link.remote or ""
        if link.etag is None or not self.dialect.if_match:
            reply = self._reread(op, remote)
            if link.etag is None or not same_version(etag_of(reply), link.etag):
                self._differs(op, reply)
                return
        body = self._wire(op, remote, link.stored)
        headers = dict(_ONWARD)
        if link.etag is not None and self.dialect.if_match:
            headers["If-Match"] = link.etag
        reply = self.talk.request("PUT", f"{type_}/{remote}", ref=str(op.ref), body=body, headers=headers, detail=_detail(op))
        if self.dialect.says_stale(reply.status):
            now = self._reread(op, remote)
            if same_version(etag_of(now), link.etag):
                raise _Parked("it refuses this state of the resource", reply.status, _reasons(reply))
            self._differs(op, now)
            return
        self._accept(reply)
        self._through(op, reply, remote)

    def _examine(self, op: Op) -> None:
        reply = self._reread(op, op.link.remote or "")
        if not same_version(etag_of(reply), op.link.etag):
            self._differs(op, reply)
        elif op.elements and self.dialect.if_match:
            # It has not landed, but may be on its way still. The same again: If-Match lets one of the two through, and
            # whichever it is, no later write meets a state that nobody here knows to be ours.
            self._update(op)
        else:
            self._linked(op, replace(op.link, pend=None))
            self.results.done += 1

    def _create(self, op: Op) -> None:
        type_ = op.ref.type
        first = self.dialect.creates(type_)
        rungs = LADDER[LADDER.index(first) :] if first in LADDER else ()
        ways = {"if-none-exist": self._conditional, "put": self._put, "search": self._listed}
        for rung in rungs:
            if rung == "put" and self.dialect.ids == "none":
                continue
            if ways[rung](op):
                if rung != first:
                    self.results.learned[type_] = rung
                return
        raise _Parked("it offers no way to create this once", 0)

    def _conditional(self, op: Op) -> bool:
        """POST with If-None-Exist. False when the server does not take that for this type."""
        body = self._wire(op, None, None)
        wanted = shadow.criteria(body, op.ref)
        if wanted is None:
            return False
        headers = {**dict(_ONWARD), "If-None-Exist": f"identifier={token(wanted)}"}
        for attempt in (1, 2):
            reply = self.talk.request("POST", op.ref.type, ref=str(op.ref), body=body, headers=headers, detail=_detail(op))
            if reply.status != 409 or attempt == 2:
                break  # HAPI answers 409 to one of several at once; the second try meets the winner
        if reply.status == 412:
            raise _Parked("several resources there carry our identifier", 412)
        if reply.status in (400, 404, 405, 422, 501) and not op.again:
            if _about_content(reply):
                self._accept(reply)
            return False
        if reply.status in (400, 405, 501):
            return False
        if reply.status == 409:
            raise Later("creating at once with another", reply.retry_after)
        if reply.status == 304:
            return False
        self._accept(reply)
        remote = _id_of(reply, op.ref.type)
        if remote is None:
            return False
        if reply.status == 201:
            self._through(op, reply, remote)
        else:
            self._met(op, remote)
        return True

    def _put(self, op: Op) -> bool:
        """PUT to the id that follows from ours. False when the server lets no client choose ids."""
        remote = self.dialect.remote_id(op.ref.id)
        if op.again:
            there = self.talk.read(op.ref.type, remote, str(op.ref))
            if there.status == 200:
                self._differs(op, there)
                return True
        body = self._wire(op, remote, None)
        headers = {**dict(_ONWARD), "If-None-Match": "*"}
        reply = self.talk.request("PUT", f"{op.ref.type}/{remote}", ref=str(op.ref), body=body, headers=headers, detail=_detail(op))
        if self.dialect.says_stale(reply.status):
            self._met(op, remote)
            return True
        if reply.status in (400, 404, 405, 422, 501):
            if _about_content(reply):
                self._accept(reply)
            return False
        self._accept(reply)
        self._through(op, reply, remote)
        return True

    def _listed(self, op: Op) -> bool:
        """List what is there, compare, and only then create."""
        body = self._wire(op, None, None)
        try:
            there = self._candidates(op)
        except Unsupported:
            return False
        mine = [resource for resource in there if shadow.claimed(resource) == op.ref]
        if not mine and (op.again or shadow.criteria(body, op.ref) is None or op.ref.type in ONE_IDENTIFIER):
            mine = [resource for resource in there if not self._unlike(op, resource)]
        if mine:
            self._met(op, str(min(mine, key=lambda resource: (updated_in(resource) or "", str(resource["id"])))["id"]))
            return True
        reply = self.talk.request("POST", op.ref.type, ref=str(op.ref), body=body, headers=dict(_ONWARD), detail=_detail(op))
        self._accept(reply)
        remote = _id_of(reply, op.ref.type)
        if remote is None:
            raise Later("a create was answered without an id")
        self._through(op, reply, remote)
        return True

    def _candidates(self, op: Op) -> list[Resource]:
        client = self.remotes.get(Ref("Patient", op.client)) if op.client else None
        if client is not None and op.ref.type != "Patient":
            return list(self.talk.of_client(op.ref.type, client, str(op.ref)))
        if self.dialect.finds(op.ref.type):
            wanted = shadow.criteria(shadow.identified(op.form, op.ref), op.ref)
            if wanted is not None:
                return list(self.talk.search(op.ref.type, (("identifier", wanted),), str(op.ref)))
        raise Unsupported

    def _unlike(self, op: Op, resource: Resource) -> frozenset[str]:
        theirs = shadow.incoming(resource, op.ref, self._local_of, base_url=self.base_url, ours=op.body or op.form)
        return shadow.differing(shadow.essence(theirs), op.form, self.dialect.dropped(op.ref.type))

    def _met(self, op: Op, remote: str) -> None:
        """Creating found one that is there already."""
        reply = self._reread(op, remote)
        if op.ref.type in CREATE_ONLY:
            self._adopt(op, reply)
        else:
            self._differs(op, reply)

    # -- found by business identifier, never updated (DECISIONS 10)

    def _found(self, op: Op) -> bool:
        """Whether the partner already has it under one of its business identifiers. Raises _Parked when several fit."""
        if not self.dialect.finds(op.ref.type):
            return False
        hits: dict[str, Resource] = {}
        for wanted in _business_identifiers(op.body or op.form):
            try:
                for resource in self.talk.search(op.ref.type, (("identifier", wanted),), str(op.ref)):
                    if _carries(resource, wanted):
                        hits[str(resource["id"])] = resource
            except Unsupported:
                return False
        if not hits:
            return False
        if len(hits) > 1:
            raise _Parked(f"{len(hits)} of its records carry this identifier", 0, ("identity",))
        (resource,) = hits.values()
        if _contradicts(op.body or op.form, resource):
            raise _Parked("its record of this identifier has another birth date", 0, ("identity",))
        self._adopt(op, Reply(200, resource, etag_in(resource)))
        return True

    def _adopt(self, op: Op, reply: Reply) -> None:
        resource = reply.resource or {}
        theirs = shadow.incoming(resource, op.ref, self._local_of, base_url=self.base_url, ours=op.body or op.form)
        held = shadow.shadow(theirs)
        link = replace(
            op.planned,
            remote=str(resource["id"]),
            etag=etag_of(reply),
            updated=updated_in(resource),
            stored=held,
            sent=op.form,
            pend=None,
            state="live",
        )
        self._linked(op, link)
        self.results.done += 1

    # -- answers that are no success

    def _accept(self, reply: Reply) -> None:
        verdict = schedule.verdict(reply.status)
        if verdict == "later":
            raise Later(f"it answered {reply.status}", reply.retry_after)
        if verdict == "gone":
            raise _Gone(reply.status)
        if verdict == "refused":
            raise _Parked(f"it answered {reply.status}", reply.status, _reasons(reply))

    def _refused(self, op: Op, parked: _Parked) -> None:
        results = self.results
        identity = "identity" in parked.detail
        state = op.link.state if op.link.remote is not None else "refused"
        results.links.append(replace(op.link, pend=None, state=state))
        mark = op.clear or self.plan.marks.get(op.ref)
        if mark is not None:
            results.parked.append((mark, parked.why))
        results.reviews.append(
            Review(
                kind="identity" if identity else "undeliverable",
                key=f"deliver:{self.partner.name}:{op.ref}",
                what=f"{self.partner.name} does not take this {op.ref.type}: {parked.why}",
                hint="Join the records there" if identity else "Correct the content here or the rule there, then send it again",
                subject=op.ref,
                client=op.client,
                case=op.case,
                partner=self.partner.name,
                detail={"status": parked.status, "issues": [d for d in parked.detail if d != "identity"], "elements": sorted(op.elements)},
            )
        )

    def _ended(self, op: Op, gone: _Gone) -> None:
        """Never silently created again (DECISIONS 23). Nothing was there to lose when it was a create: the type is unknown."""
        if op.link.remote is None:
            self._refused(op, _Parked(f"it answered {gone.status}", gone.status))
            return
        results = self.results
        results.links.append(replace(op.link, pend=None, state="ended"))
        mark = op.clear or self.plan.marks.get(op.ref)
        if mark is not None:
            results.cleared.append(mark)
        if op.kind == "retract":
            return
        results.reviews.append(gone_review(self.partner, op.ref, op.client, op.case))

    def _wire(self, op: Op, remote: str | None, stored: Resource | None) -> Resource:
        form = judge.written(op.form, stored, op.link.sent)
        return shadow.wire(
            form,
            op.ref,
            remote,
            self.remotes.get,
            base_url=self.base_url,
            narrative=(stored or {}).get("_text") if stored is not None else op.body.get("text"),
            tags=(stored or {}).get("_tags"),
        )

    def _local_of(self, type_: str, remote: str) -> Ref | None:
        return self.locals.get((type_, remote))


def gone_review(partner: Partner, ref: Ref, client: str | None, case: str | None) -> Review:
    """A partner's copy is gone; ours stays (DECISIONS 23)."""
    return Review(
        kind="partner-deleted",
        key=f"gone:{partner.name}:{ref}",
        what=f"{partner.name} deleted its copy of this {ref.type}",
        hint="Retract it here too, or send it anew; nothing is sent to them until then",
        subject=ref,
        client=client,
        case=case,
        partner=partner.name,
    )


# ------------------------------------------------------------------------------------------ record


def _record(hub: Hub, lane: Lane, plan: Plan, results: Results, talk: Talk, last: bool) -> None:
    """One transaction for everything that a batch brought. Raises LaneLost, and then nothing of it is kept: the facts
    are at the partner and in the pending writes, and the lane's new owner reads them there."""
    exchanges: list[Exchange] = list(talk.exchanges)
    talk.exchanges.clear()
    with hub.store.write() as tx:
        now = hub.now()
        if results.links:
            tx.links.save(_last_of(results.links))
        if exchanges:
            tx.ledger.add(exchanges)
        if results.cleared:
            tx.outbox.clear(results.cleared)
        for mark, why in results.parked:
            tx.outbox.park(mark, why)
        for review in results.reviews:
            tx.reviews.open(review, id=hub.ids.new(), at=now)
        if results.learned:
            _learn(tx, plan.partner, results.learned)
        if not last:
            owned = tx.outbox.renew(lane, now, hub.policy.lease_ms)
        elif results.pause is not None:
            fails = 0 if results.done else lane.fails
            policy = hub.policy
            pause = schedule.pause(
                fails, first_ms=policy.retry_first_ms, max_ms=policy.retry_max_ms, spread=policy.jitter, jitter=hub.random(),
                retry_after=results.pause.retry_after,
            )  # fmt: skip
            owned = tx.outbox.release(lane, now=now, pause=pause, failed=True)
        else:
            owned = tx.outbox.release(lane, now=now)
            tx.outbox.wake()
        if not owned:
            raise LaneLost
    hub.tally("delivery", "fhir", "settled", len(results.cleared))
    hub.tally("delivery", "fhir", "parked", len(results.parked))
    if results.pause is not None:
        hub.tally("delivery", "fhir", "failed", 1)
        tell(Log.LANE_PAUSED, lane=lane.key, partner=plan.partner.name, reason=results.pause.reason, fails=lane.fails + 1)
    for mark, _ in results.parked:
        tell(Log.PARKED, lane=lane.key, partner=plan.partner.name, type=mark.ref.type)


def _learn(tx: Tx, partner: Partner, learned: dict[str, str]) -> None:
    """Keep in the partner's Dialect by which rung a type is created, so that the next one does not try in vain."""
    standing = tx.partners.get(partner.name)
    if standing is None:
        return
    by_type = {**standing.dialect.get("create_by_type", {}), **learned}
    if by_type != standing.dialect.get("create_by_type", {}):
        tx.partners.save(replace(standing, dialect={**standing.dialect, "create_by_type": by_type}))


def _last_of(links: Sequence[Link]) -> list[Link]:
    return list({link.ref: link for link in links}.values())


# ------------------------------------------------------------------------------------------ small readings


def _detail(op: Op) -> dict[str, Any]:
    return {"elements": sorted(op.elements)} if op.kind != "create" else {}


def _unsent(later: Later) -> bool:
    """Whether an answer says that nothing was written: any status but a server error that may have come after the write."""
    return later.reason.startswith("it answered 4")


def _id_of(reply: Reply, type_: str) -> str | None:
    """The id of what was created or found: in the body, else in Location."""
    if is_a(reply, type_):
        return str((reply.resource or {})["id"])
    parts = (reply.location or "").split("?")[0].rstrip("/").split("/")
    for i, part in enumerate(parts[:-1]):
        if part == type_:
            return parts[i + 1]
    return None


_CONTENT_CODES = frozenset({"structure", "required", "value", "invariant", "business-rule", "code-invalid", "extension"})


def _about_content(reply: Reply) -> bool:
    """Whether an OperationOutcome blames the resource rather than the manner of asking: it names a place in it."""
    issues = (reply.resource or {}).get("issue")
    for issue in issues if isinstance(issues, list) else ():
        if not isinstance(issue, dict) or issue.get("severity") not in ("error", "fatal"):
            continue
        places = issue.get("expression") or issue.get("location")
        if issue.get("code") in _CONTENT_CODES and places:
            return True
    return False


def _reasons(reply: Reply) -> tuple[str, ...]:
    """Issue codes and places of an OperationOutcome, never its texts (they may hold a client's data)."""
    issues = (reply.resource or {}).get("issue")
    found: list[str] = []
    for issue in issues[:20] if isinstance(issues, list) else ():
        if isinstance(issue, dict):
            places = issue.get("expression")
            place = places[0] if isinstance(places, list) and places and isinstance(places[0], str) else ""
            found.append(f"{issue.get('code', '')} {place}".strip()[:120])
    return tuple(found)


def _business_identifiers(body: Resource) -> list[str]:
    """``system|value`` of identifiers by which another organisation may know it: with a system, in use, and not a social
    security number, which several records may claim (DECISIONS 5)."""
    found: list[str] = []
    identifiers = body.get("identifier")
    for identifier in identifiers if isinstance(identifiers, list) else [identifiers]:
        if not isinstance(identifier, dict) or not identifier.get("system") or not identifier.get("value"):
            continue
        codes = {coding.get("code") for coding in (identifier.get("type") or {}).get("coding", ()) if isinstance(coding, dict)}
        social = identifier["system"] in ("http://hl7.org/fhir/sid/us-ssn", "urn:oid:2.16.840.1.113883.4.1")
        if identifier.get("use") == "old" or codes & {"SS", "SB"} or social or identifier["system"] == shadow.HUB_SYSTEM:
            continue
        found.append(f"{identifier['system']}|{identifier['value']}")
    return found


def _carries(resource: Resource, wanted: str) -> bool:
    """Whether it has that identifier: a server that ignores the parameter answers with everything."""
    identifiers = resource.get("identifier")
    for identifier in identifiers if isinstance(identifiers, list) else [identifiers]:
        if isinstance(identifier, dict) and f"{identifier.get('system', '')}|{identifier.get('value', '')}" == wanted:
            return True
    return False


def _contradicts(ours: Resource, theirs: Resource) -> bool:
    a, b = ours.get("birthDate"), theirs.get("birthDate")
    return isinstance(a, str) and isinstance(b, str) and not (a.startswith(b) or b.startswith(a))
