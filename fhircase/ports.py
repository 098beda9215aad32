"""What flows need from the outside, as Protocols. ``storage`` and ``partners`` fulfil them; ``tests/contract`` holds
one suite that every implementation passes.

Times are epoch milliseconds (int, UTC) unless a name says otherwise. Nothing here reads a clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from fhircase.access.viewer import Viewer as Viewer
from fhircase.fhir import jsontext
from fhircase.fhir.query import IndexValue, Query
from fhircase.plans.change import Grant, Ref, Resource, Review
from fhircase.plans.events import Event as Event
from fhircase.plans.partner import Partner


class Clock(Protocol):
    def now(self) -> datetime:
        """The present, aware, UTC."""


class Ids(Protocol):
    def new(self) -> str:
        """A fresh UUID as text."""


# ---------------------------------------------------------------------------------------------- the plan store


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of one resource. ``text`` is the JSON as served, with id, meta.versionId and meta.lastUpdated;
    ``effective`` is what the viewer sees as lastUpdated (DECISIONS 4; equals ``updated`` for unscoped reads)."""

    type: str
    id: str
    version: int
    updated: int
    seq: int
    deleted: bool
    client: str | None
    case: str | None
    creator: str
    text: str
    effective: int = 0
    method: str = "PUT"
    sensitive: bool = False
    mark: int = 0
    """Offset in ``text`` of the 24 characters of meta.lastUpdated (``2026-11-22T05:24:38.123Z``)."""

    @property
    def ref(self) -> Ref:
        return Ref(self.type, self.id)

    @property
    def body(self) -> Resource:
        """A fresh parse; the caller may change it."""
        made: Resource = jsontext.loads(self.text)
        return made


@dataclass(frozen=True, slots=True)
class Record:
    """One version to be written by ``Plans.save``. ``text`` carries the stamp already; ``index`` replaces all index
    rows of the resource; ``claims`` replaces its claims (Conflict if another resource holds one), None keeps them."""

    type: str
    id: str
    version: int
    deleted: bool
    client: str | None
    case: str | None
    creator: str
    text: str
    mark: int
    method: str
    sensitive: bool = False
    index: Sequence[IndexValue] = ()
    claims: Sequence[tuple[str, str]] | None = ()


@dataclass(frozen=True, slots=True)
class Stamp:
    """The place of one commit in commit order: ``seq`` and ``at`` both grow strictly from commit to commit."""

    seq: int
    at: int


@dataclass(frozen=True, slots=True)
class Page:
    """``matches`` in order, ``included`` behind them (deduplicated), ``next`` an opaque cursor or None, ``total`` when asked."""

    matches: Sequence[Stored]
    included: Sequence[Stored] = ()
    next: str | None = None
    total: int | None = None
    latest: int = 0


class Plans(Protocol):
    """FHIR resources, all versions, their index, claims and grants."""

    # -- as a viewer may see them (everything else is for decisions inside, and never leaves unfiltered)
    def read(self, viewer: Viewer, ref: Ref) -> Stored | None: ...
    def vread(self, viewer: Viewer, ref: Ref, version: int) -> Stored | None: ...
    def search(self, viewer: Viewer, query: Query) -> Page: ...
    def history(
        self,
        viewer: Viewer,
        type: str | None,
        id: str | None,
        *,
        since: int | None,
        at: tuple[int, int] | None = None,
        count: int,
        cursor: str | None,
        total: bool = False,
    ) -> Page:
        """Newest first; deletions are shown; ``since`` is inclusive and compares the viewer's effective time."""

    # -- unscoped
    def get(self, ref: Ref) -> Stored | None:
        """The current version, a tombstone included (``deleted``)."""

    def get_many(self, refs: Iterable[Ref]) -> Mapping[Ref, Stored]: ...
    def get_version(self, ref: Ref, version: int) -> Stored | None: ...
    def by_identifier(self, type: str, system: str, value: str) -> Sequence[Stored]:
        """Current, not deleted, whose ``identifier`` holds system|value."""

    def holder(self, type: str, system: str, value: str) -> Ref | None:
        """Who holds the claim."""

    def of_case(self, case: str, types: Sequence[str] = ()) -> Sequence[Stored]: ...
    def of_client(self, client: str, types: Sequence[str] = ()) -> Sequence[Stored]: ...
    def referring(self, target: Ref, type: str, param: str) -> Sequence[Stored]:
        """Current resources of ``type`` whose reference parameter ``param`` points at ``target``."""

    # -- writing, inside a write transaction
    def lock(self, key: str) -> None:
        """Serialise with every other transaction that locks the same key until this one ends (a conditional create's
        criteria, a visit, a client). Free on SQLite, where writers are serial."""

    def stamp(self, now: int) -> Stamp:
        """Take the next place in commit order. Call once, after all reading, right before ``save``."""

    def save(self, stamp: Stamp, records: Sequence[Record]) -> None: ...
    def assign(self, stamp: Stamp, refs: Sequence[Ref], client: str, case: str) -> None:
        """Put stored resources into a case without a new version; they become visible at ``stamp``."""

    def grant(self, stamp: Stamp, grants: Sequence[Grant]) -> None:
        """Insert, or end (same partner, case, kind, item, since with ``until``)."""

    def grants(
        self, *, partner: str | None = None, client: str | None = None, case: str | None = None, at: int | None = None
    ) -> Sequence[Grant]: ...


# ---------------------------------------------------------------------------------------------- intake


MessageState = Literal["applied", "review", "kept", "rejected", "replayed"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message that arrived. ``key`` (partner, MSH-7, MSH-9, MSH-10 | Bundle id) makes a duplicate with ``digest``.
    ``raw`` None when it was too large to keep (``head`` then holds its first kilobyte). ``answer`` the exact bytes
    answered. ``became`` the references written. State: applied (AA), review (AA with reviews), kept (AE, can be
    replayed), rejected (AR)."""

    id: str
    partner: str
    kind: Literal["hl7v2", "message", "document"]
    key: str
    digest: str
    received: int
    raw: bytes | None
    head: bytes
    content_type: str
    control_id: str
    event: str
    state: MessageState
    code: str
    answer: bytes
    became: tuple[str, ...] = ()
    problems: tuple[Mapping[str, Any], ...] = ()
    client: str | None = None
    replays: int = 0


@dataclass(frozen=True, slots=True)
class VisitEvent:
    """One event of one visit as a sender told it (STANDARDS §5.1): ``at`` when it happened by the sender (ms),
    ``order`` arrival. ``facts`` what the event said of the visit, so that the visit can be told anew in order."""

    visit: str
    message: str
    event: str
    at: int
    order: int
    facts: Mapping[str, Any]


class Inbox(Protocol):
    def find(self, partner: str, key: str) -> Message | None: ...
    def get(self, id: str) -> Message | None: ...
    def add(self, message: Message) -> None: ...
    def update(self, message: Message) -> None: ...
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
        """Newest first, and the next cursor."""

    def events(self, visit: str) -> Sequence[VisitEvent]: ...
    def add_event(self, event: VisitEvent) -> None:
        """``order`` is given by the store."""


# ---------------------------------------------------------------------------------------------- outbox


@dataclass(frozen=True, slots=True)
class Lane:
    """The right to work on one lane until ``lease`` ends; ``fence`` proves it (RELIABILITY §1). ``target``: the partner's
    name (fhir) or the endpoint's id (hook)."""

    key: str
    target: str
    kind: Literal["fhir", "hook"]
    fence: int
    fails: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A dirty mark of a FHIR lane: this partner may lack this resource's latest. ``rev`` is the mark's revision: it
    is removed only if nobody marked again meanwhile."""

    partner: str
    ref: Ref
    rev: int
    correlation: str = ""
    """Of the change that marked it last; it goes along as X-Request-Id."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint. state: ready, delivered, dead, dropped (its owner may not see it)."""

    id: int
    endpoint: str
    event: Event
    state: str
    attempts: int
    not_before: int
    last_status: int | None = None
    last_problem: str | None = None
    last_at: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A webhook receiver. ``secrets`` sealed, newest first (two while rotating: the older signs too until ``old_until``,
    epoch ms). ``events`` full type names, () all. ``clients`` Patient ids, () all. ``disabled`` says why, None while enabled."""

    id: str
    partner: str
    url: str
    events: tuple[str, ...]
    secrets: tuple[str, ...]
    thin: bool = True
    fifo: bool = True
    clients: tuple[str, ...] = ()
    disabled: str | None = None
    created: int = 0
    old_until: int | None = None


class Outbox(Protocol):
    """Lanes: order within, independence between. All calls are in a transaction of the caller's."""

    def mark(self, partner: Partner, refs: Iterable[tuple[Ref, str | None]], *, correlation: str = "") -> None:
        """Mark (resource, client) dirty for a partner; client None goes to its directory lane (width 1)."""

    def emit(self, events: Sequence[Event], *, endpoint: str | None = None) -> None:
        """Keep the events and make one delivery per matching, enabled endpoint whose owner may see the case then or later
        (what it may see is decided again at send time). ``endpoint``: to this one alone, whatever its filters."""

    def claim(self, me: str, now: int, lease: int, kinds: Sequence[str] = ("fhir", "hook")) -> Lane | None:
        """The lane that has waited longest, has work, is due and free; None if there is none."""

    def release(self, lane: Lane, *, now: int, pause: int = 0, failed: bool = False) -> bool:
        """Let go; ``pause`` ms until it is due again. False: the lane was lost meanwhile."""

    def renew(self, lane: Lane, now: int, lease: int) -> bool:
        """Extend the lease; False if the fence moved on: stop at once."""

    def marks(self, lane: Lane, limit: int) -> Sequence[Mark]:
        """Oldest first, parked ones left out."""

    def clear(self, marks: Sequence[Mark]) -> None: ...
    def park(self, mark: Mark, why: str) -> None:
        """Content that the partner refuses: set aside until the next edit or a replay."""

    def deliveries(self, lane: Lane, limit: int, now: int) -> Sequence[Delivery]:
        """Ready ones, oldest first. Of a fifo endpoint from its oldest on, due or not: that one holds up the rest. Of a
        parallel endpoint only those due (``not_before`` <= now), and ``claim`` gives its lane only while one is due."""

    def delivered(self, ids: Sequence[int], status: int, now: int) -> None: ...
    def dropped(self, ids: Sequence[int], why: str, now: int) -> None:
        """Not sent and never to be: state dropped, ``why`` as last_problem (decided at send time)."""

    def failed(self, id: int, *, status: int | None, problem: str, now: int, not_before: int, dead: bool) -> None: ...
    def log(
        self, *, endpoint: str | None = None, state: str | None = None, since: int | None = None, cursor: str | None = None, count: int = 50
    ) -> tuple[Sequence[Delivery], str | None]: ...
    def events(self, *, since: int | None = None, cursor: str | None = None, count: int = 50) -> tuple[Sequence[Event], str | None]: ...
    def resend(self, endpoint: str, *, delivery: int | None = None, since: int | None = None, until: int | None = None) -> int:
        """Make deliveries ready again, with no attempts, and their lane due at once; how many. ``since`` and ``until``
        (epoch ms, inclusive and exclusive) bound the event's time; only failed ones are taken unless ``delivery`` names one."""

    def hurry(self, target: str) -> int:
        """Make the lanes of a partner or endpoint due at once, their pauses forgotten; how many."""

    def status(self) -> Sequence[Mapping[str, Any]]:
        """Per lane: key, target, waiting, parked, oldest, not_before, fails, owner."""

    def wake(self) -> None:
        """Tell workers that there is work (NOTIFY on PostgreSQL); sent on commit."""

    # endpoints
    def endpoint(self, id: str) -> Endpoint | None: ...
    def endpoints(self) -> Sequence[Endpoint]: ...
    def save_endpoint(self, endpoint: Endpoint) -> None: ...
    def drop_endpoint(self, id: str) -> None: ...


# ---------------------------------------------------------------------------------------------- sync


@dataclass(frozen=True, slots=True)
class Link:
    """What is known of one resource at one partner (RELIABILITY §2). Shadows are resources in *our* terms (local ids
    and references): ``stored`` what the partner said it holds, ``sent`` what we meant it to hold, ``pend`` what we tried
    to write, saved before the request. ``state``: live, ended."""

    partner: str
    ref: Ref
    remote: str | None = None
    etag: str | None = None
    updated: str | None = None
    stored: Resource | None = None
    sent: Resource | None = None
    pend: Resource | None = None
    state: str = "live"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to or from a partner, for the ledger. No bodies; ``detail`` holds element names and codes only."""

    partner: str
    at: int
    direction: Literal["out", "in"]
    verb: str
    ref: str
    remote: str
    status: int
    outcome: str
    correlation: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0


class Links(Protocol):
    def get(self, partner: str, ref: Ref) -> Link | None: ...
    def get_many(self, partner: str, refs: Iterable[Ref]) -> Mapping[Ref, Link]: ...
    def by_remote(self, partner: str, type: str, remote: str) -> Link | None: ...
    def save(self, links: Sequence[Link]) -> None: ...
    def all(self, partner: str) -> Sequence[Link]: ...
    def cursor(self, partner: str, type: str) -> str | None: ...
    def set_cursor(self, partner: str, type: str, value: str) -> None: ...


class Ledger(Protocol):
    def add(self, exchanges: Sequence[Exchange]) -> None: ...
    def list(self, partner: str, *, cursor: str | None = None, count: int = 50) -> tuple[Sequence[Exchange], str | None]: ...


# ---------------------------------------------------------------------------------------------- the rest


@dataclass(frozen=True, slots=True)
class OpenReview:
    id: str
    review: Review
    opened: int
    message: str | None = None
    settled: int | None = None
    settled_by: str | None = None
    resolution: Mapping[str, Any] | None = None


class Reviews(Protocol):
    def open(self, review: Review, *, id: str, at: int, message: str | None = None) -> str:
        """The id of the open review of this key: a new one, or the one that stands (its detail is brought up to date)."""

    def get(self, id: str) -> OpenReview | None: ...
    def settle(self, id: str, *, at: int, by: str, resolution: Mapping[str, Any]) -> None: ...
    def list(
        self,
        *,
        state: Literal["open", "settled", "all"] = "open",
        kind: str | None = None,
        client: str | None = None,
        case: str | None = None,
        cursor: str | None = None,
        count: int = 50,
    ) -> tuple[Sequence[OpenReview], str | None]: ...
    def holds(self, refs: Iterable[Ref]) -> Mapping[Ref, frozenset[str]]:
        """Elements under an open review, by resource."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key: only its SHA-256 is kept. ``scopes`` SMART v2 (``system/CarePlan.rs``); ``user`` for people of the hub."""

    id: str
    name: str
    digest: str
    partner: str
    user: str | None
    scopes: tuple[str, ...]
    admin: bool
    created: int
    revoked: int | None = None


class Keys(Protocol):
    def by_digest(self, digest: str) -> Key | None: ...
    def add(self, key: Key) -> None: ...
    def revoke(self, id: str, at: int) -> None: ...
    def list(self) -> Sequence[Key]: ...


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to what (IHE BALP patterns). ``refs`` resources touched; ``query`` only names of search parameters."""

    at: int
    action: Literal["C", "R", "U", "D", "E"]
    interaction: str
    partner: str
    user: str | None
    key: str | None
    refs: tuple[str, ...]
    clients: tuple[str, ...]
    outcome: str
    correlation: str
    detail: str = ""


class Audit(Protocol):
    def add(self, entries: Sequence[AuditEntry]) -> None:
        """Append as one batch, chained by hash to the batch before."""

    def list(
        self, *, client: str | None = None, partner: str | None = None, since: int | None = None, cursor: str | None = None, count: int = 50
    ) -> tuple[Sequence[tuple[int, AuditEntry]], str | None]: ...
    def verify(self) -> int | None:
        """None when the chain holds, else the first broken row."""


class Partners(Protocol):
    def get(self, name: str) -> Partner | None: ...
    def all(self) -> Sequence[Partner]: ...
    def save(self, partner: Partner) -> None: ...
    def secret(self, name: str) -> str | None:
        """A sealed secret, as stored."""

    def save_secret(self, name: str, sealed: str) -> None: ...


class Tx(Protocol):
    """One database transaction and all that can be done in it."""

    plans: Plans
    inbox: Inbox
    outbox: Outbox
    links: Links
    ledger: Ledger
    reviews: Reviews
    keys: Keys
    audit: Audit
    partners: Partners


class Store(Protocol):
    def write(self) -> AbstractContextManager[Tx]:
        """A write transaction: committed when the block ends, rolled back when it raises. SQLite: BEGIN IMMEDIATE."""

    def read(self) -> AbstractContextManager[Tx]:
        """A consistent snapshot; writing in it is an error."""

    def wait(self, seconds: float) -> None:
        """Sleep until there may be work, at most ``seconds``."""


# ---------------------------------------------------------------------------------------------- partners over HTTP


@dataclass(frozen=True, slots=True)
class Reply:
    """A partner's answer. ``resource`` None when there was no FHIR body. ``etag`` as sent (``W/"3"``)."""

    status: int
    resource: Resource | None
    etag: str | None = None
    location: str | None = None
    retry_after: float | None = None
    date: str | None = None


class PartnerDown(Exception):
    """No usable answer: refused, timed out, reset. Whether the request took effect is unknown."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Gateway(Protocol):
    """One partner's FHIR server. Raises PartnerDown when there is no usable answer; every other status is a Reply."""

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """``path`` relative to the partner's base, or an absolute link of the same origin (a ``next`` link)."""


class Gateways(Protocol):
    def __call__(self, partner: Partner) -> Gateway: ...


class Poster(Protocol):
    """Posts a webhook: the egress guard stands before it. Raises PartnerDown."""

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply: ...


class Sealer(Protocol):
    def seal(self, plain: str) -> str: ...
    def open(self, sealed: str) -> str: ...
