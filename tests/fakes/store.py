"""``ports.Store`` in memory: one writer at a time, all or nothing, snapshots for readers.

Everything is held in plain dicts of frozen values, so a snapshot is a shallow copy. It keeps versions, claims, grants, the
inbox, reviews, partners, keys, audit, links and events. It does not search and runs no lanes: those are SQL's."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fhircase.errors import Conflict, Stale
from fhircase.fhir import jsontext
from fhircase.plans.change import Grant, Ref, Review
from fhircase.plans.partner import Partner
from fhircase.ports import (
    AuditEntry,
    Event,
    Exchange,
    Key,
    Link,
    Message,
    OpenReview,
    Page,
    Record,
    Stamp,
    Stored,
    Viewer,
    VisitEvent,
)  # fmt: skip


@dataclass
class State:
    """All that is stored. Containers are copied at the start of a transaction, their values are never changed."""

    versions: dict[Ref, tuple[Stored, ...]] = field(default_factory=dict)
    index: dict[Ref, tuple[Any, ...]] = field(default_factory=dict)
    claims: dict[tuple[str, str, str], Ref] = field(default_factory=dict)
    grants: dict[tuple[Any, ...], Grant] = field(default_factory=dict)
    seq: int = 0
    at: int = 0
    messages: dict[str, Message] = field(default_factory=dict)
    events: tuple[VisitEvent, ...] = ()
    reviews: dict[str, OpenReview] = field(default_factory=dict)
    partners: dict[str, Partner] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    audit: tuple[AuditEntry, ...] = ()
    marks: tuple[tuple[str, Ref], ...] = ()
    emitted: tuple[Event, ...] = ()
    links: dict[tuple[str, Ref], Link] = field(default_factory=dict)
    exchanges: tuple[Exchange, ...] = ()

    def copied(self) -> State:
        return State(**{name: copy.copy(getattr(self, name)) for name in self.__dataclass_fields__})


class FakePlans:
    def __init__(self, state: State, locked: list[str]) -> None:
        self.state, self.locked = state, locked

    # ------------------------------------------------------------------------------------------ reading

    def read(self, viewer: Viewer, ref: Ref) -> Stored | None:
        found = self.get(ref)
        return found if found is not None and self._sees(viewer, found) else None

    def vread(self, viewer: Viewer, ref: Ref, version: int) -> Stored | None:
        found = self.get(ref)
        return self.get_version(ref, version) if found is not None and self._sees(viewer, found) else None

    def search(self, viewer: Viewer, query: Any) -> Page:
        raise NotImplementedError("the fake does not search")

    def history(
        self, viewer: Viewer, type: str | None, id: str | None, *, since: int | None, count: int, cursor: str | None, **_: Any
    ) -> Page:
        found = [
            v
            for ref, versions in self.state.versions.items()
            for v in versions
            if (type is None or ref.type == type)
            and (id is None or ref.id == id)
            and (since is None or v.updated >= since)
            and self._sees(viewer, versions[-1])
        ]
        found.sort(key=lambda v: (v.seq, v.id), reverse=True)
        return Page(tuple(found[:count]), total=len(found))

    def _sees(self, viewer: Viewer, stored: Stored) -> bool:
        if viewer.everything or stored.client is None or stored.creator == viewer.partner:
            return True
        for grant in self.grants(partner=viewer.partner, client=stored.client, at=viewer.at):
            if grant.kind == "member" and (stored.case == grant.case or (stored.case is None and not stored.sensitive)):
                return True
            if grant.kind == "invited" and grant.item == stored.ref:
                return True
        return False

    def get(self, ref: Ref) -> Stored | None:
        versions = self.state.versions.get(ref)
        return versions[-1] if versions else None

    def get_many(self, refs: Iterable[Ref]) -> Mapping[Ref, Stored]:
        return {ref: found for ref in refs if (found := self.get(ref)) is not None}

    def get_version(self, ref: Ref, version: int) -> Stored | None:
        return next((v for v in self.state.versions.get(ref, ()) if v.version == version), None)

    def by_identifier(self, type: str, system: str, value: str) -> Sequence[Stored]:
        wanted = (system, value)
        return [s for s in self._live() if s.type == type and wanted in _identifiers(s.body)]

    def holder(self, type: str, system: str, value: str) -> Ref | None:
        return self.state.claims.get((type, system, value))

    def of_case(self, case: str, types: Sequence[str] = ()) -> Sequence[Stored]:
        return [s for s in self._live() if s.case == case and (not types or s.type in types)]

    def of_client(self, client: str, types: Sequence[str] = ()) -> Sequence[Stored]:
        return [s for s in self._live() if s.client == client and (not types or s.type in types)]

    def referring(self, target: Ref, type: str, param: str) -> Sequence[Stored]:
        return [
            s
            for s in self._live()
            if s.type == type
            and any(
                v.param == param and v.kind == "reference" and (v.system, v.code) == (target.type, target.id)
                for v in self.state.index[s.ref]
            )
        ]

    def _live(self) -> Iterator[Stored]:
        return (versions[-1] for versions in self.state.versions.values() if not versions[-1].deleted)

    # ------------------------------------------------------------------------------------------ writing

    def lock(self, key: str) -> None:
        self.locked.append(key)

    def stamp(self, now: int) -> Stamp:
        self.state.seq += 1
        self.state.at = max(self.state.at + 1, now)
        return Stamp(self.state.seq, self.state.at)

    def save(self, stamp: Stamp, records: Sequence[Record]) -> None:
        mine = {Ref(r.type, r.id) for r in records if r.claims is not None}
        for key, ref in list(self.state.claims.items()):
            if ref in mine:
                del self.state.claims[key]
        for record in records:
            ref = Ref(record.type, record.id)
            held = self.state.versions.get(ref, ())
            if record.version != (held[-1].version + 1 if held else 1):
                raise Conflict("it exists already") if record.version == 1 else Stale("not the latest")
            stored = Stored(
                record.type, record.id, record.version, stamp.at, stamp.seq, record.deleted, record.client, record.case, record.creator,
                record.text, stamp.at, record.method, record.sensitive, record.mark,
            )  # fmt: skip
            self.state.versions[ref] = (*held, stored)
            self.state.index[ref] = tuple(record.index)
            for system, value in () if record.deleted else record.claims or ():
                if self.state.claims.setdefault((record.type, system, value), ref) != ref:
                    raise Conflict("an identifier belongs to another record already")

    def assign(self, stamp: Stamp, refs: Sequence[Ref], client: str, case: str) -> None:
        for ref in refs:
            held = self.state.versions[ref]
            self.state.versions[ref] = (*held[:-1], replace(held[-1], client=client, case=case))

    def grant(self, stamp: Stamp, grants: Sequence[Grant]) -> None:
        for grant in grants:
            self.state.grants[(grant.partner, grant.client, grant.case, grant.kind, grant.item, grant.since)] = grant

    def grants(
        self, *, partner: str | None = None, client: str | None = None, case: str | None = None, at: int | None = None
    ) -> Sequence[Grant]:
        return [
            g for g in self.state.grants.values()
            if (partner is None or g.partner == partner) and (client is None or g.client == client) and (case is None or g.case == case)
            and (at is None or (g.since <= at and (g.until is None or g.until > at)))
        ]  # fmt: skip


class FakeInbox:
    def __init__(self, state: State) -> None:
        self.state = state

    def find(self, partner: str, key: str) -> Message | None:
        return next((m for m in self.state.messages.values() if m.partner == partner and m.key == key), None)

    def get(self, id: str) -> Message | None:
        return self.state.messages.get(id)

    def add(self, message: Message) -> None:
        if message.id in self.state.messages:
            raise Conflict("there is a message of this id")
        self.state.messages[message.id] = message

    def update(self, message: Message) -> None:
        if message.id not in self.state.messages:
            raise LookupError("no such message")
        self.state.messages[message.id] = message

    def list(
        self,
        *,
        partner: str | None = None,
        control_id: str | None = None,
        client: str | None = None,
        state: str | None = None,
        since: int | None = None,
        until: int | None = None,
        cursor: str | None = None,
        count: int = 50,
    ) -> tuple[Sequence[Message], str | None]:
        found = [
            m for m in reversed(self.state.messages.values())
            if partner in (None, m.partner) and control_id in (None, m.control_id)
            and client in (None, m.client) and state in (None, m.state)
            and (since is None or m.received >= since) and (until is None or m.received < until)
        ]  # fmt: skip
        return _page(found, cursor, count)

    def events(self, visit: str) -> Sequence[VisitEvent]:
        return [e for e in self.state.events if e.visit == visit]

    def add_event(self, event: VisitEvent) -> None:
        # Facts go through JSON, as in a database.
        facts = jsontext.loads(jsontext.dumps(dict(event.facts)))
        self.state.events = (*self.state.events, replace(event, order=len(self.state.events) + 1, facts=facts))


class FakeReviews:
    def __init__(self, state: State) -> None:
        self.state = state

    def open(self, review: Review, *, id: str, at: int, message: str | None = None) -> str:
        for held in self.state.reviews.values():
            if held.settled is None and held.review.key == review.key:
                kept = replace(
                    review, client=review.client or held.review.client, case=review.case or held.review.case, subject=held.review.subject
                )
                self.state.reviews[held.id] = replace(held, review=kept)
                return held.id
        self.state.reviews[id] = OpenReview(id, review, at, message)
        return id

    def get(self, id: str) -> OpenReview | None:
        return self.state.reviews.get(id)

    def settle(self, id: str, *, at: int, by: str, resolution: Mapping[str, Any]) -> None:
        held = self.state.reviews.get(id)
        if held is not None and held.settled is None:
            self.state.reviews[id] = replace(held, settled=at, settled_by=by, resolution=dict(resolution))

    def list(
        self,
        *,
        state: str = "open",
        kind: str | None = None,
        client: str | None = None,
        case: str | None = None,
        cursor: str | None = None,
        count: int = 50,
    ) -> tuple[Sequence[OpenReview], str | None]:
        found = [
            r for r in reversed(self.state.reviews.values())
            if (state == "all" or (r.settled is None) == (state == "open")) and kind in (None, r.review.kind)
            and client in (None, r.review.client) and case in (None, r.review.case)
        ]  # fmt: skip
        return _page(found, cursor, count)

    def holds(self, refs: Iterable[Ref]) -> Mapping[Ref, frozenset[str]]:
        wanted, held = set(refs), {}
        for r in self.state.reviews.values():
            if r.settled is None and r.review.holds and r.review.subject in wanted:
                held[r.review.subject] = held.get(r.review.subject, frozenset()) | {r.review.holds}
        return held


class FakePartners:
    def __init__(self, state: State) -> None:
        self.state = state

    def get(self, name: str) -> Partner | None:
        return self.state.partners.get(name)

    def all(self) -> Sequence[Partner]:
        return sorted(self.state.partners.values(), key=lambda p: p.name)

    def save(self, partner: Partner) -> None:
        self.state.partners[partner.name] = partner

    def secret(self, name: str) -> str | None:
        return self.state.secrets.get(name)

    def save_secret(self, name: str, sealed: str) -> None:
        self.state.secrets[name] = sealed


class FakeKeys:
    def __init__(self, state: State) -> None:
        self.state = state

    def by_digest(self, digest: str) -> Key | None:
        return next((k for k in self.state.keys.values() if k.digest == digest), None)

    def add(self, key: Key) -> None:
        self.state.keys[key.id] = key

    def revoke(self, id: str, at: int) -> None:
        self.state.keys[id] = replace(self.state.keys[id], revoked=at)

    def list(self) -> Sequence[Key]:
        return list(self.state.keys.values())


class FakeAudit:
    def __init__(self, state: State) -> None:
        self.state = state

    def add(self, entries: Sequence[AuditEntry]) -> None:
        self.state.audit = (*self.state.audit, *entries)

    def list(
        self, *, client: str | None = None, partner: str | None = None, since: int | None = None, cursor: str | None = None, count: int = 50
    ) -> tuple[Sequence[tuple[int, AuditEntry]], str | None]:
        found = [
            (n, e)
            for n, e in enumerate(self.state.audit, 1)
            if (client is None or client in e.clients) and partner in (None, e.partner) and (since is None or e.at >= since)
        ]
        return _page(found[::-1], cursor, count)

    def verify(self) -> int | None:
        return None


class FakeOutbox:
    """Keeps what was marked and emitted, in order; runs no lanes."""

    def __init__(self, state: State) -> None:
        self.state = state

    def mark(self, partner: Partner, refs: Iterable[tuple[Ref, str | None]], *, correlation: str = "") -> None:
        self.state.marks = (*self.state.marks, *((partner.name, ref) for ref, _ in refs))

    def emit(self, events: Sequence[Event]) -> None:
        self.state.emitted = (*self.state.emitted, *events)

    def wake(self) -> None:
        return None


class FakeLinks:
    def __init__(self, state: State) -> None:
        self.state = state

    def get(self, partner: str, ref: Ref) -> Link | None:
        return self.state.links.get((partner, ref))

    def save(self, links: Sequence[Link]) -> None:
        self.state.links.update({(link.partner, link.ref): link for link in links})


class FakeTx:
    def __init__(self, state: State, locked: list[str]) -> None:
        self.plans = FakePlans(state, locked)
        self.inbox = FakeInbox(state)
        self.outbox = FakeOutbox(state)
        self.links = FakeLinks(state)
        self.ledger: Any = None
        self.reviews = FakeReviews(state)
        self.keys = FakeKeys(state)
        self.audit = FakeAudit(state)
        self.partners = FakePartners(state)


class FakeStore:
    """``fails`` names moments to break at: ``begin`` (the store is down), ``commit`` (it dies before the commit).
    ``between`` is called once between a read and the next write transaction, to let somebody else be faster."""

    def __init__(self) -> None:
        self.state = State()
        self.fails: set[str] = set()
        self.between: Any = None
        self.locked: list[str] = []
        self.writes = 0

    @contextmanager
    def write(self) -> Iterator[Any]:
        if "begin" in self.fails:
            raise ConnectionError("the store is down")
        meanwhile, self.between = self.between, None
        if meanwhile is not None:
            meanwhile()
        draft = self.state.copied()
        yield FakeTx(draft, self.locked)
        if "commit" in self.fails:
            raise ConnectionError("the store died before the commit")
        self.state = draft
        self.writes += 1

    @contextmanager
    def read(self) -> Iterator[Any]:
        if "begin" in self.fails:
            raise ConnectionError("the store is down")
        yield FakeTx(self.state.copied(), [])

    def wait(self, seconds: float) -> None:
        return None

    # ------------------------------------------------------------------------------------------ for tests

    def current(self, type: str) -> list[dict[str, Any]]:
        """Bodies of all current resources of a type, in the order of their making."""
        return [versions[-1].body for ref, versions in self.state.versions.items() if ref.type == type and not versions[-1].deleted]

    def open_reviews(self, kind: str | None = None) -> list[Review]:
        return [r.review for r in self.state.reviews.values() if r.settled is None and kind in (None, r.review.kind)]


def _identifiers(body: Mapping[str, Any]) -> set[tuple[Any, Any]]:
    given = body.get("identifier") or ()
    return {(i.get("system"), i.get("value")) for i in (given if isinstance(given, list) else [given])}


def _page(found: Sequence[Any], cursor: str | None, count: int) -> tuple[Sequence[Any], str | None]:
    start = int(cursor or 0)
    return list(found[start : start + count]), str(start + count) if start + count < len(found) else None
