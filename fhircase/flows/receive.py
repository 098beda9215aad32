"""Collect what changed at one partner (RELIABILITY §2, "Facts to design for"; DECISIONS 10, 13, 23, 24).

The cursor is the server's own greatest ``lastUpdated`` per type; each poll looks back behind it, takes ``ge``, follows next
links and drops what the links already know by version. A server that cannot search a type by ``_lastUpdated`` is asked
client by client. A notification needs no reader of its own: it only says "look now", which is ``collect``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from fhircase.errors import Invalid, Malformed, Refused
from fhircase.fhir import refs, times
from fhircase.flows import commit as commits
from fhircase.flows.absorb import Copy, absorb
from fhircase.flows.deliver import gone_review
from fhircase.flows.hub import Hub
from fhircase.flows.talk import Later, Talk, Unsupported, etag_in, etag_of, same_version, updated_in
from fhircase.flows.terms import Terms
from fhircase.plans.change import WHOLE, Agent, Change, Ref, Resource, Review, Source, Write
from fhircase.plans.partner import CREATE_ONLY, Partner
from fhircase.ports import Exchange, Link, PartnerDown, Tx
from fhircase.sync import judge, schedule, shadow
from fhircase.sync.dialect import Dialect

FIRST = "1970-01-01T00:00:00Z"
ORDER = (
    "Condition", "RelatedPerson", "EpisodeOfCare", "Coverage", "Consent", "Observation", "CareTeam", "Goal", "ServiceRequest",
    "DeviceRequest", "MedicationRequest", "NutritionOrder", "RequestGroup", "CarePlan", "Task",
)  # fmt: skip
"""Types in the order in which they are taken, so that most references find their target already here."""

SWEEP_MS = 86_400_000
"""Once a day every linked copy is compared by id and version."""

_POLLED = "@polled"
_SWEPT = "@swept"
_CLIENT = "@client/"


@dataclass(slots=True)
class Collected:
    """What one poll brought. ``paused``: why polling stopped early, '' if it did not."""

    seen: int = 0
    taken: int = 0
    new: int = 0
    clashes: int = 0
    deleted: int = 0
    refused: int = 0
    paused: str = ""
    pause_ms: int = 0
    notes: list[str] = field(default_factory=list)


def due(hub: Hub, name: str) -> Literal["no", "poll", "sweep"]:
    """Whether the partner is due for a poll or the nightly sweep; if so it is the caller's now: several processes share one
    clock, kept in the store."""
    with hub.store.read() as tx:
        partner = tx.partners.get(name)
        if partner is None or not _polled(partner) or not _elapsed(tx, partner, hub.now()):
            return "no"
    with hub.store.write() as tx:
        now = hub.now()
        if not _elapsed(tx, partner, now):
            return "no"
        tx.links.set_cursor(name, _POLLED, str(now))
        swept = tx.links.cursor(name, _SWEPT)
        if swept is None:
            tx.links.set_cursor(name, _SWEPT, str(now))
        return "sweep" if swept is not None and now - int(swept) >= SWEEP_MS else "poll"


def collect(hub: Hub, name: str, *, sweep: bool = False) -> Collected:
    """Poll one partner once. ``sweep`` also compares every linked copy by id, which finds deletions. Never raises for what
    the partner does: ``paused`` says why it stopped. Cursors move only past what was recorded."""
    found = Collected()
    with hub.store.read() as tx:
        partner = tx.partners.get(name)
        if partner is None or not _polled(partner):
            found.paused = "it is not polled"
            return found
        patients = [link for link in tx.links.all(name) if link.ref.type == "Patient" and link.state == "live"]
        clients = {link.ref.id: link.remote for link in patients if link.remote}
        fresh = {local for local in clients if tx.links.cursor(name, _CLIENT + local) is None}
        cursors = {type_: tx.links.cursor(name, type_) for type_ in partner.take}
    dialect = Dialect.of(partner.dialect)
    talk = Talk(hub, partner, dialect, hub.gateways(partner), hub.ids.new())
    poll = _Poll(hub, partner, dialect, talk, clients, found)
    try:
        if clients:
            poll.run(fresh, cursors)
        if sweep:
            poll.sweep()
    except PartnerDown as down:
        found.paused, found.pause_ms = down.reason, _pause(hub, None)
    except Later as later:
        found.paused, found.pause_ms = later.reason, _pause(hub, later.retry_after)
    except _Behind as behind:
        found.paused = "its copies are older than what it held"
        _stop(hub, partner, behind.review)
    except _MassDeletion as mass:
        found.paused = "too many of its copies are gone"
        _stop(hub, partner, mass.review)
    if talk.exchanges:
        with hub.store.write() as tx:
            tx.ledger.add(talk.exchanges)
    return found


class _Behind(Exception):
    def __init__(self, review: Review) -> None:
        super().__init__()
        self.review = review


class _MassDeletion(Exception):
    def __init__(self, review: Review) -> None:
        super().__init__()
        self.review = review


class _Poll:
    """One poll of one partner."""

    def __init__(self, hub: Hub, partner: Partner, dialect: Dialect, talk: Talk, clients: dict[str, str], found: Collected) -> None:
        self.hub, self.partner, self.dialect, self.talk, self.found = hub, partner, dialect, talk, found
        self.clients = {remote: local for local, remote in clients.items()}
        self.base_url = partner.base_url or ""
        self.types = sorted(set(partner.take), key=lambda t: (ORDER.index(t) if t in ORDER else len(ORDER), t))

    def run(self, fresh: Collection[str], cursors: dict[str, str | None]) -> None:
        batch: list[Resource] = []
        moved: dict[str, str] = {}
        whole: list[str] = []
        for type_ in self.types:
            if not self.dialect.since(type_):
                whole.append(type_)
                continue
            cursor = cursors.get(type_)
            try:
                if cursor is None:
                    moved[type_] = self._start(type_)
                    continue
                resources = list(self.talk.search(type_, (("_lastUpdated", f"ge{self._behind(cursor)}"), ("_count", "100"))))
            except Unsupported:
                whole.append(type_)
                continue
            latest = max([cursor, *(updated_in(resource) or FIRST for resource in resources)], key=_ms)
            if latest != cursor:
                moved[type_] = latest
            batch += resources
        for remote, local in self.clients.items():
            types = self.types if local in fresh else whole
            for type_ in types:
                try:
                    batch += self.talk.of_client(type_, remote)
                except Unsupported:
                    note = f"{type_} cannot be searched there"
                    if note not in self.found.notes:
                        self.found.notes.append(note)
        self._take(batch)
        if moved or fresh:
            with self.hub.store.write() as tx:
                for type_, cursor in moved.items():
                    tx.links.set_cursor(self.partner.name, type_, cursor)
                for local in fresh:
                    tx.links.set_cursor(self.partner.name, _CLIENT + local, str(self.hub.now()))

    def _start(self, type_: str) -> str:
        """The first cursor of a type: the newest time that the server itself shows. What was there before is read client by
        client, after this, so that nothing falls in between."""
        for resource in self.talk.search(type_, (("_sort", "-_lastUpdated"), ("_count", "1"))):
            return updated_in(resource) or FIRST
        return FIRST

    def _behind(self, cursor: str) -> str:
        """Late commits show behind newer ones; clocks in a cluster drift: look back."""
        return times.instant(max(_ms(cursor) - self.hub.policy.poll_overlap_s * 1000, 0))

    # -- what came

    def _take(self, batch: Sequence[Resource]) -> None:
        seen: dict[tuple[str, str], Resource] = {}
        for resource in batch:
            seen[(str(resource["resourceType"]), str(resource["id"]))] = resource
        self.found.seen = len(seen)
        with self.hub.store.read() as tx:
            links = {key: tx.links.by_remote(self.partner.name, *key) for key in seen}
        unknown: set[tuple[str, str]] = set()
        # Tasks that we know go first: who accepted a hand-over may have changed the plan before this poll.
        for key, resource in sorted(seen.items(), key=lambda item: item[0][0] != "Task"):
            link = links[key]
            if link is None:
                if shadow.claimed(resource) is not None and self._ours(resource):
                    continue
                unknown.add(key)
            elif link.state == "live":
                self._compare(link, resource)
            elif link.state == "ignored" and not same_version(link.etag, etag_in(resource)):
                unknown.add(key)
        self._new([resource for key, resource in seen.items() if key in unknown])

    def _compare(self, link: Link, resource: Resource) -> None:
        """A copy that we know. Only one that differs by version from the link is read again, past every index and cache."""
        if link.ref.type in CREATE_ONLY:
            return
        if same_version(link.etag, etag_in(resource)):
            self._same_body(link, resource)
            return
        if link.pend is not None:
            return  # its lane looks itself, before it writes again
        reply = self.talk.read(link.ref.type, str(link.remote), str(link.ref))
        if reply.status in (404, 410):
            self._ended([link])
            return
        raw = reply.resource or {}
        if same_version(etag_of(reply), link.etag):
            return
        was, now = _ms_or_none(link.updated), _ms_or_none(updated_in(raw))
        slack = self.hub.policy.poll_overlap_s * 1000
        if judge.behind(judge.version_of(link.etag), link.updated, judge.version_of(etag_of(reply)), now, was, slack):
            with self.hub.store.read() as tx:
                standing = tx.links.get(self.partner.name, link.ref)
            if standing is not None and same_version(standing.etag, link.etag) and standing.pend is None:
                raise _Behind(self._behind_review(link, "an older version"))
            return
        copy = Copy(raw, etag_of(reply))
        outcome = absorb(self.hub, self.partner, self.dialect, link.ref, copy, exchanges=self._flush(), correlation=self.talk.correlation)
        self.found.taken += outcome == "taken"
        self.found.clashes += outcome == "clash"

    def _same_body(self, link: Link, resource: Resource) -> None:
        """The same version must say the same; references aside, for what they point at may have become known since."""
        if link.stored is None or link.pend is not None:
            return
        plain = shadow.essence(shadow.incoming(resource, link.ref, lambda type_, remote: None, base_url=self.base_url))
        if _without_references(plain) == _without_references(shadow.bare(link.stored)):
            return
        with self.hub.store.read() as tx:
            standing = tx.links.get(self.partner.name, link.ref)
        if standing is not None and standing.stored is not None and same_version(standing.etag, link.etag) and standing.pend is None:
            reply = self.talk.read(link.ref.type, str(link.remote), str(link.ref))
            raw = reply.resource or {}
            if reply.status != 200 or not same_version(etag_of(reply), standing.etag):
                return
            again = shadow.essence(shadow.incoming(raw, link.ref, lambda type_, remote: None, base_url=self.base_url))
            if _without_references(again) != _without_references(shadow.bare(standing.stored)):
                raise _Behind(self._behind_review(link, "the same version with another content"))

    def _behind_review(self, link: Link, what: str) -> Review:
        return Review(
            kind="partner-behind",
            key=f"behind:{self.partner.name}",
            what=f"{self.partner.name} shows {what} of {link.ref.type}: was it restored from a backup?",
            hint="Ask them; then resume the partner: what it held before is sent again, only values never seen count as edits",
            subject=link.ref,
            partner=self.partner.name,
        )

    def _ours(self, resource: Resource) -> bool:
        """Whether an unlinked resource there is a copy of ours whose create was not answered (its lane will find it) or that
        came there by another way (then it is linked and compared now)."""
        ref = shadow.claimed(resource)
        assert ref is not None
        with self.hub.store.read() as tx:
            if tx.plans.get(ref) is None:
                return False
            link = tx.links.get(self.partner.name, ref)
        if link is not None and (link.pend is not None or link.state != "live" or link.remote is not None):
            return True
        copy = Copy(resource, etag_in(resource))
        absorb(self.hub, self.partner, self.dialect, ref, copy, exchanges=self._flush(), correlation=self.talk.correlation)
        return True

    # -- new ones

    def _new(self, resources: Sequence[Resource]) -> None:
        wanted = [resource for resource in resources if self._client(resource) is not None]
        for client, group in _grouped(wanted, self._client):
            if not self._adopt(client, group):
                for resource in group:
                    self._adopt(client, [resource], alone=True)

    def _client(self, resource: Resource) -> str | None:
        """The linked client that it is about, None if there is none: other people's data is not taken."""
        named = [resource.get(name) for name in ("subject", "patient", "for", "beneficiary")]
        if resource.get("resourceType") == "Appointment":
            taking_part = resource.get("participant")
            named += [one.get("actor") for one in taking_part if isinstance(one, dict)] if isinstance(taking_part, list) else []
        for value in named:
            found = refs.literal(value.get("reference") if isinstance(value, dict) else None, self.base_url)
            if found is not None and not found.base and found.type == "Patient" and found.id in self.clients:
                return self.clients[found.id]
        return None

    def _adopt(self, client: str, group: Sequence[Resource], *, alone: bool = False) -> bool:
        """Take new resources of one client as the partner's own contribution: own ids, references in our terms, stored even
        when they break the checks (then with a review). False when the group was refused and each must go alone."""
        hub, partner = self.hub, self.partner
        with hub.store.read() as tx:
            terms = Terms(tx, partner, self.dialect, hub.now())
            ids: dict[int, Ref] = {}
            for i, resource in enumerate(group):
                held = tx.links.by_remote(partner.name, str(resource["resourceType"]), str(resource["id"]))
                ref = held.ref if held is not None else Ref(str(resource["resourceType"]), hub.ids.new())
                ids[i] = ref
                terms.assume(ref.type, str(resource["id"]), ref)
            if self._attempted(tx, group):
                return True
            bodies = [shadow.incoming(resource, ids[i], terms.local_of, base_url=self.base_url) for i, resource in enumerate(group)]
            patient = Ref("Patient", client)
            forms = [shadow.outgoing(body, lambda ref: ref in ids.values() or ref == patient or terms.known(ref)) for body in bodies]
        writes = tuple(Write(ids[i].type, ids[i].id, body, expect=0, client=client) for i, body in enumerate(bodies))
        first = group[0]
        told_by = f"{self.base_url}/{first['resourceType']}/{first['id']}/_history/{judge.version_of(etag_in(first)) or '1'}"
        change = Change(
            writes=writes,
            agent=Agent(partner.name),
            source=Source("partner", identifier=told_by, at=updated_in(first)),
            reason=f"{partner.title or partner.name} added {', '.join(sorted({w.type for w in writes}))}",
            activity="collect",
        )
        try:
            checked = commits.check(change, lenient=True)
            broken = tuple(replace(review, holds=WHOLE) if review.kind == "invalid" else review for review in checked.reviews)
            checked = replace(checked, reviews=broken)
        except (Invalid, Malformed):
            if alone:
                self._ignore(client, group[0], ids[0], "invalid", "it cannot be represented here")
            return False
        links = [
            Link(
                partner.name, ids[i], remote=str(resource["id"]), etag=etag_in(resource), updated=updated_in(resource),
                stored=shadow.shadow(bodies[i]), sent=forms[i],
            )
            for i, resource in enumerate(group)
        ]  # fmt: skip
        try:
            with hub.store.write() as tx:
                for resource in group:
                    tx.plans.lock(f"receive/{partner.name}/{resource['resourceType']}/{resource['id']}")
                standing = [tx.links.by_remote(partner.name, str(r["resourceType"]), str(r["id"])) for r in group]
                if any(link is not None and link.state != "ignored" for link in standing):
                    return alone  # somebody was faster; those that are still new go alone
                commits.commit(hub, tx, checked, correlation=self.talk.correlation)
                tx.links.save(links)
                tx.ledger.add(self._flush())
        except Refused:
            if alone:
                self._ignore(client, group[0], ids[0], "widening", "the partner may not add it here")
            return False
        self.found.new += len(group)
        return True

    def _attempted(self, tx: Tx, group: Sequence[Resource]) -> bool:
        """Whether one of these may be our own create whose answer was lost, on a server that keeps no identifier of ours:
        then it is left for the lane, and met again by the overlap."""
        for resource in group:
            if shadow.claimed(resource) is None and self.dialect.creates(str(resource["resourceType"])) == "search":
                for link in tx.links.all(self.partner.name):
                    if link.pend is not None and link.remote is None and link.ref.type == resource["resourceType"]:
                        return True
        return False

    def _ignore(self, client: str, resource: Resource, ref: Ref, kind: str, why: str) -> None:
        """Not taken; a person is asked once per version of it."""
        remote, type_ = str(resource["id"]), str(resource["resourceType"])
        with self.hub.store.write() as tx:
            tx.links.save([
                Link(self.partner.name, ref, remote=remote, etag=etag_in(resource), updated=updated_in(resource), state="ignored")
            ])
            tx.reviews.open(
                Review(
                    kind=kind,
                    key=f"receive:{self.partner.name}:{type_}/{remote}",
                    what=f"A {type_} of {self.partner.name} was not taken: {why}",
                    hint="Look at it there; it is read again when it changes",
                    client=client,
                    partner=self.partner.name,
                    detail={"remote": f"{self.base_url}/{type_}/{remote}", "version": judge.version_of(etag_in(resource)) or ""},
                ),
                id=self.hub.ids.new(),
                at=self.hub.now(),
            )
            tx.ledger.add(self._flush())
        self.found.refused += 1

    # -- deletions and the sweep

    def sweep(self) -> None:
        """Compare every linked copy with what the server lists: a search does not show deletions, and no cursor is perfect."""
        with self.hub.store.read() as tx:
            links = [link for link in tx.links.all(self.partner.name) if link.state == "live" and link.remote and link.pend is None]
        mine = [link for link in links if link.ref.type in self.types and link.ref.type not in CREATE_ONLY]
        listed: dict[tuple[str, str], Resource] = {}
        unlisted: set[str] = set()
        for remote in self.clients:
            for type_ in sorted({link.ref.type for link in mine}):
                try:
                    for resource in self.talk.of_client(type_, remote):
                        listed[(type_, str(resource["id"]))] = resource
                except Unsupported:
                    unlisted.add(type_)
        gone: list[Link] = []
        for link in mine:
            if (link.ref.type, str(link.remote)) in listed:
                continue
            reply = self.talk.read(link.ref.type, str(link.remote), str(link.ref))
            if reply.status in (404, 410):
                gone.append(link)
            elif reply.resource is not None:
                listed[(link.ref.type, str(link.remote))] = reply.resource
        self._ended(gone, of=len(mine))
        self._take(list(listed.values()))
        with self.hub.store.write() as tx:
            tx.links.set_cursor(self.partner.name, _SWEPT, str(self.hub.now()))

    def _ended(self, gone: Sequence[Link], of: int | None = None) -> None:
        """Their deletion ends the link and asks a person; ours stays. Many at once stop everything first."""
        if not gone:
            return
        if of is None:
            with self.hub.store.read() as tx:
                of = sum(1 for link in tx.links.all(self.partner.name) if link.state == "live")
        self.found.deleted += len(gone)
        if judge.mass(self.found.deleted, of):
            raise _MassDeletion(
                Review(
                    kind="partner-deleted",
                    key=f"mass:{self.partner.name}",
                    what=f"{self.found.deleted} of {of} linked resources are gone at {self.partner.name}",
                    hint="Ask them what happened; then resume the partner",
                    partner=self.partner.name,
                )
            )
        with self.hub.store.write() as tx:
            for link in gone:
                standing = tx.links.get(self.partner.name, link.ref)
                if standing is None or standing.pend is not None or standing.state != "live":
                    continue
                tx.links.save([replace(standing, state="ended")])
                stored = tx.plans.get(link.ref)
                if stored is not None and not stored.deleted:
                    review = gone_review(self.partner, link.ref, stored.client, stored.case)
                    tx.reviews.open(review, id=self.hub.ids.new(), at=self.hub.now())
            tx.ledger.add(self._flush())

    def _flush(self) -> list[Exchange]:
        flushed = list(self.talk.exchanges)
        self.talk.exchanges.clear()
        return flushed


def _stop(hub: Hub, partner: Partner, review: Review) -> None:
    """Nothing more is sent to or taken from the partner until a person says so."""
    with hub.store.write() as tx:
        standing = tx.partners.get(partner.name)
        if standing is not None and not standing.paused:
            tx.partners.save(replace(standing, paused=True))
        tx.reviews.open(review, id=hub.ids.new(), at=hub.now())


def _polled(partner: Partner) -> bool:
    return bool(partner.base_url) and not partner.paused and bool(partner.take) and partner.fhir_version == "R4"


def _elapsed(tx: Tx, partner: Partner, now: int) -> bool:
    last = tx.links.cursor(partner.name, _POLLED)
    return last is None or now - int(last) >= int(partner.poll_seconds * 1000) or now < int(last)


def _pause(hub: Hub, retry_after: float | None) -> int:
    policy = hub.policy
    return schedule.pause(
        2, first_ms=policy.retry_first_ms, max_ms=policy.retry_max_ms, spread=policy.jitter, jitter=hub.random(), retry_after=retry_after
    )


def _grouped(resources: Iterable[Resource], key: Callable[[Resource], str | None]) -> list[tuple[str, list[Resource]]]:
    groups: dict[str, list[Resource]] = {}
    for resource in resources:
        groups.setdefault(key(resource) or "", []).append(resource)
    return list(groups.items())


def _without_references(value: object) -> object:
    if isinstance(value, dict):
        logical = isinstance(value.get("identifier"), dict) and value.keys() <= shadow.LOGICAL_MEMBERS
        if logical or isinstance(value.get("reference"), str):
            return {}
        return {name: _without_references(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_references(item) for item in value]
    return value


def _ms(text: str) -> int:
    return _ms_or_none(text) or 0


def _ms_or_none(text: str | None) -> int | None:
    try:
        return None if text is None else times.ms_of(text)
    except Malformed:
        return None
