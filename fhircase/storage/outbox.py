"""Lanes, dirty marks, events and their deliveries (ports.Outbox; RELIABILITY §1, DECISIONS 22).

A lane has work while it has marks that are not parked, or ready deliveries; the lane's row itself changes only in the hands
of workers, so that a commit that marks never waits for one that sends, nor the other way round. A transaction that both
clears marks and takes a stamp takes the stamp first."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from fhircase.plans.change import Ref
from fhircase.plans.partner import HUB, Partner
from fhircase.ports import Delivery, Endpoint, Event, Lane, Mark
from fhircase.storage import schema
from fhircase.storage.engine import CHANNEL, Insert, Row, Session
from fhircase.storage.listing import Listing
from fhircase.storage.packed import clean, pack, unpack

SPREAD = 8
"""Lanes of an endpoint that does not ask for order."""

# INSERT … ON CONFLICT waits for whoever is updating the row that it meets; a commit that marks must not wait for a worker.
_NEW_LANE = (
    "INSERT INTO lane (key, target, kind, fifo, waits_for, owner, lease, turn, not_before, fence, fails)"
    " SELECT ?, ?, ?, ?, ?, NULL, 0, 0, 0, 0, 0 WHERE NOT EXISTS (SELECT 1 FROM lane WHERE key = ?) ON CONFLICT (key) DO NOTHING"
)
_MARK = Insert(
    schema.mark,
    *("partner", "ref", "lane", "rev", "at", "correlation"),
    behind=" ON CONFLICT (partner, ref) DO UPDATE SET rev = GREATEST(mark.rev + 1, excluded.rev), lane = excluded.lane,"
    " correlation = excluded.correlation,"
    " at = CASE WHEN mark.parked IS NULL THEN mark.at ELSE excluded.at END, parked = NULL",
)
# A mark that a commit under way holds is being marked again: it must stay.
_CLEAR = "DELETE FROM mark WHERE n = (SELECT n FROM mark WHERE partner = ? AND ref = ? AND rev = ? FOR UPDATE SKIP LOCKED)"
_CLAIMABLE = """SELECT l.key FROM lane l WHERE l.kind IN ({kinds}) AND l.lease <= {clock} AND l.not_before <= ? AND CASE
 WHEN l.kind = 'fhir' THEN EXISTS (SELECT 1 FROM mark m WHERE m.lane = l.key AND m.parked IS NULL)
  AND NOT EXISTS (SELECT 1 FROM mark d WHERE d.lane = l.waits_for AND d.parked IS NULL)
  AND NOT EXISTS (SELECT 1 FROM partner p WHERE p.name = l.target AND p.paused = 1)
 WHEN l.fifo = 1 THEN (SELECT d.not_before FROM delivery d WHERE d.lane = l.key AND d.state = 'ready' ORDER BY d.n LIMIT 1) <= ?
 ELSE EXISTS (SELECT 1 FROM delivery d WHERE d.lane = l.key AND d.state = 'ready' AND d.not_before <= ?) END
 ORDER BY l.turn, l.key LIMIT 1 FOR UPDATE SKIP LOCKED"""
_CLAIM = (
    "UPDATE lane SET owner = ?, lease = {clock} + ?, fence = fence + 1, turn = (SELECT max(turn) + 1 FROM lane) WHERE key = ?"
    " RETURNING key, target, kind, fence, fails"
)
_CLOCK = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)"
_DELIVERY = (
    "SELECT d.n, d.endpoint, d.state, d.attempts, d.not_before, d.last_status, d.last_problem, d.last_at,"
    " e.id, e.type, e.at, e.seq, e.client, e.case_id, e.partner, e.data FROM delivery d JOIN event e ON e.n = d.event"
)
_EVENT = "SELECT n, id, type, at, seq, client, case_id, partner, data FROM event"
_ENDPOINT_FIELDS = frozenset(field.name for field in fields(Endpoint))


class SqlOutbox:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    # ------------------------------------------------------------------------------------------ marks

    def mark(self, partner: Partner, refs: Iterable[tuple[Ref, str | None]], *, correlation: str = "") -> None:
        directory = f"fhir:{partner.name}:dir"
        lanes: dict[str, Row] = {}
        made: dict[str, Row] = {}
        seq, at = self._session.one("SELECT seq, at FROM counter WHERE name = 'commit'") or (0, 0)
        for ref, client in refs:
            key = directory if client is None else f"fhir:{partner.name}:{zlib.crc32(client.encode()) % max(partner.width, 1)}"
            lanes[key] = (key, partner.name, "fhir", 1, "" if client is None else directory)
            made[str(ref)] = (partner.name, str(ref), key, seq, at, correlation)
        self._session.many(_NEW_LANE, [(*row, row[0]) for row in lanes.values()])
        self._session.insert(_MARK, list(made.values()))

    def marks(self, lane: Lane, limit: int) -> Sequence[Mark]:
        found = self._session.all(
            f"SELECT partner, ref, rev, correlation FROM mark WHERE lane = ? AND parked IS NULL ORDER BY n LIMIT {int(limit)}", (lane.key,)
        )
        return [Mark(partner, Ref.of(ref), rev, correlation) for partner, ref, rev, correlation in found]

    def clear(self, marks: Sequence[Mark]) -> None:
        """Those marked again meanwhile stay."""
        self._session.many(_CLEAR, [(mark.partner, str(mark.ref), mark.rev) for mark in marks])

    def park(self, mark: Mark, why: str) -> None:
        self._session.run(
            "UPDATE mark SET parked = ? WHERE partner = ? AND ref = ? AND rev = ?", (clean(why), mark.partner, str(mark.ref), mark.rev)
        )

    # ------------------------------------------------------------------------------------------ lanes

    def claim(self, me: str, now: int, lease: int, kinds: Sequence[str] = ("fhir", "hook")) -> Lane | None:
        """Lanes take turns. On PostgreSQL leases run by the database's clock, on SQLite by ``now``."""
        postgres = self._session.dialect.postgres
        clock, clock_args = (_CLOCK, ()) if postgres else ("?", (now,))
        found = self._session.one(_CLAIMABLE.format(kinds=", ".join("?" * len(kinds)), clock=clock), (*kinds, *clock_args, now, now, now))
        if found is None:
            return None
        row = self._session.one(_CLAIM.format(clock=clock), (me, *clock_args, lease, found[0]))
        return Lane(*row) if row else None

    def release(self, lane: Lane, *, now: int, pause: int = 0, failed: bool = False) -> bool:
        fails = "fails + 1" if failed else "0"
        return 1 == self._session.run(
            f"UPDATE lane SET owner = NULL, lease = 0, not_before = ?, fails = {fails} WHERE key = ? AND fence = ?",
            (now + pause if pause else 0, lane.key, lane.fence),
        )

    def renew(self, lane: Lane, now: int, lease: int) -> bool:
        clock, clock_args = (_CLOCK, ()) if self._session.dialect.postgres else ("?", (now,))
        return 1 == self._session.run(
            f"UPDATE lane SET lease = {clock} + ? WHERE key = ? AND fence = ? AND owner IS NOT NULL",
            (*clock_args, lease, lane.key, lane.fence),
        )

    def hurry(self, target: str) -> int:
        return self._session.run("UPDATE lane SET not_before = 0, fails = 0 WHERE target = ?", (target,))

    def status(self) -> Sequence[Mapping[str, Any]]:
        """By key. ``oldest``: when the oldest thing waiting was committed (epoch ms), None when nothing waits."""
        found = self._session.all(
            "SELECT l.key, l.target, l.kind,"
            " CASE WHEN l.kind = 'fhir' THEN (SELECT count(*) FROM mark m WHERE m.lane = l.key AND m.parked IS NULL)"
            " ELSE (SELECT count(*) FROM delivery d WHERE d.lane = l.key AND d.state = 'ready') END,"
            " CASE WHEN l.kind = 'fhir' THEN (SELECT count(*) FROM mark m WHERE m.lane = l.key AND m.parked IS NOT NULL) ELSE 0 END,"
            " CASE WHEN l.kind = 'fhir' THEN (SELECT m.at FROM mark m WHERE m.lane = l.key AND m.parked IS NULL ORDER BY m.n LIMIT 1)"
            " ELSE (SELECT e.at FROM delivery d JOIN event e ON e.n = d.event"
            " WHERE d.lane = l.key AND d.state = 'ready' ORDER BY d.n LIMIT 1) END,"
            " l.not_before, l.fails, l.owner FROM lane l ORDER BY l.key"
        )
        names = ("key", "target", "kind", "waiting", "parked", "oldest", "not_before", "fails", "owner")
        return [dict(zip(names, row)) for row in found]

    def wake(self) -> None:
        if self._session.dialect.postgres and not self._session.woken:
            self._session.run(f"NOTIFY {CHANNEL}")
        self._session.woken = True

    # ------------------------------------------------------------------------------------------ events and deliveries

    def emit(self, events: Sequence[Event], *, endpoint: str | None = None) -> None:
        if not events:
            return
        session = self._session
        session.many(
            "INSERT INTO event (id, type, at, seq, client, case_id, partner, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [(e.id, e.type, e.at, e.seq, e.client, e.case, e.partner, pack(e.data)) for e in events],
        )
        if endpoint is not None:
            one = self.endpoint(endpoint)
            wanted = [(one, event) for event in events] if one else []
        else:
            enabled = [_endpoint(row[0]) for row in session.all("SELECT doc FROM endpoint WHERE disabled = 0")]
            if not enabled:
                return
            known = self._known_to({event.client for event in events if event.client}, {e.partner for e in enabled} - {HUB})
            wanted = [(e, event) for event in events for e in enabled if _matches(e, event) and _concerns(e, event, known)]
        self._deliver(wanted)

    def _known_to(self, clients: set[str], partners: set[str]) -> set[tuple[str, str]]:
        """(partner, client) of which there is or was a grant."""
        if not clients or not partners:
            return set()
        lists = (self._session.array(sorted(clients)), self._session.array(sorted(partners)))
        return {
            (row[0], row[1])
            for row in self._session.all(
                "SELECT DISTINCT partner, client FROM access WHERE client IN LIST(?) AND partner IN LIST(?)", lists
            )
        }

    def _deliver(self, wanted: Sequence[tuple[Endpoint, Event]]) -> None:
        if not wanted:
            return
        session = self._session
        numbers = {
            row[0]: row[1]
            for row in session.all("SELECT id, n FROM event WHERE id IN LIST(?)", (session.array({e.id for _, e in wanted}),))
        }
        lanes: dict[str, Row] = {}
        made: list[Row] = []
        for endpoint, event in wanted:
            key = f"hook:{endpoint.id}" if endpoint.fifo else f"hook:{endpoint.id}:{zlib.crc32(event.id.encode()) % SPREAD}"
            lanes[key] = (key, endpoint.id, "hook", int(endpoint.fifo), "")
            made.append((endpoint.id, numbers[event.id], key))
        session.many(_NEW_LANE, [(*row, row[0]) for row in lanes.values()])
        session.many("INSERT INTO delivery (endpoint, event, lane, state, attempts, not_before) VALUES (?, ?, ?, 'ready', 0, 0)", made)

    def deliveries(self, lane: Lane, limit: int, now: int) -> Sequence[Delivery]:
        fifo = self._session.one("SELECT fifo FROM lane WHERE key = ?", (lane.key,))
        due, args = ("", ()) if fifo is None or fifo[0] else (" AND d.not_before <= ?", (now,))
        sql = f"{_DELIVERY} WHERE d.lane = ? AND d.state = 'ready'{due} ORDER BY d.n LIMIT {int(limit)}"
        found = self._session.all(sql, (lane.key, *args))
        return [_delivery(row) for row in found]

    def delivered(self, ids: Sequence[int], status: int, now: int) -> None:
        self._session.many(
            "UPDATE delivery SET state = 'delivered', attempts = attempts + 1, last_status = ?, last_problem = NULL, last_at = ?"
            " WHERE n = ?",
            [(status, now, id) for id in ids],
        )

    def dropped(self, ids: Sequence[int], why: str, now: int) -> None:
        self._session.many(
            "UPDATE delivery SET state = 'dropped', last_problem = ?, last_at = ? WHERE n = ?", [(clean(why), now, id) for id in ids]
        )

    def failed(self, id: int, *, status: int | None, problem: str, now: int, not_before: int, dead: bool) -> None:
        self._session.run(
            "UPDATE delivery SET state = ?, attempts = attempts + 1, last_status = ?, last_problem = ?, last_at = ?, not_before = ?"
            " WHERE n = ?",
            ("dead" if dead else "ready", status, clean(problem), now, not_before, id),
        )

    def log(
        self, *, endpoint: str | None = None, state: str | None = None, since: int | None = None, cursor: str | None = None, count: int = 50
    ) -> tuple[Sequence[Delivery], str | None]:
        """Newest first; ``since`` on the event's time."""
        listing = Listing("deliveries", _DELIVERY, order="d.n")
        if endpoint is not None:
            listing.where("d.endpoint = ?", clean(endpoint))
        if state is not None:
            listing.where("d.state = ?", clean(state))
        if since is not None:
            listing.where("e.at >= ?", since)
        found, following = listing.rows(self._session, cursor, count)
        return [_delivery(row) for row in found], following

    def events(self, *, since: int | None = None, cursor: str | None = None, count: int = 50) -> tuple[Sequence[Event], str | None]:
        """Oldest first: the order in which they happened."""
        listing = Listing("events", _EVENT, newest_first=False)
        if since is not None:
            listing.where("at >= ?", since)
        found, following = listing.rows(self._session, cursor, count)
        return [_event(row[1:]) for row in found], following

    def resend(self, endpoint: str, *, delivery: int | None = None, since: int | None = None, until: int | None = None) -> int:
        """Events of the range that came while the endpoint was disabled, and so were never queued for it, are queued too."""
        session = self._session
        reset = "UPDATE delivery SET state = 'ready', attempts = 0, not_before = 0 WHERE endpoint = ?"
        if delivery is not None:
            made = session.run(f"{reset} AND n = ?", (endpoint, delivery))
        else:
            bounds, args = _between(since, until)
            made = session.run(
                f"{reset} AND (state = 'dead' OR (state = 'ready' AND attempts > 0))"
                f" AND EXISTS (SELECT 1 FROM event e WHERE e.n = delivery.event{bounds})",
                (endpoint, *args),
            )
            made += self._catch_up(endpoint, bounds, args)
        session.run("UPDATE lane SET not_before = 0, fails = 0 WHERE target = ? AND kind = 'hook'", (endpoint,))
        return made

    def _catch_up(self, id: str, bounds: str, args: Sequence[int]) -> int:
        endpoint = self.endpoint(id)
        if endpoint is None:
            return 0
        found = self._session.all(
            f"SELECT e.n, e.id, e.type, e.at, e.seq, e.client, e.case_id, e.partner, e.data FROM event e WHERE e.at >= ?{bounds}"
            " AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.event = e.n AND d.endpoint = ?) ORDER BY e.n",
            (endpoint.created, *args, id),
        )
        missed = [event for event in map(_event, (row[1:] for row in found)) if _matches(endpoint, event)]
        known = self._known_to({event.client for event in missed if event.client}, {endpoint.partner})
        wanted = [(endpoint, event) for event in missed if _concerns(endpoint, event, known)]
        self._deliver(wanted)
        return len(wanted)

    # ------------------------------------------------------------------------------------------ endpoints

    def endpoint(self, id: str) -> Endpoint | None:
        row = self._session.one("SELECT doc FROM endpoint WHERE id = ?", (clean(id),))
        return _endpoint(row[0]) if row else None

    def endpoints(self) -> Sequence[Endpoint]:
        """By id."""
        return [_endpoint(row[0]) for row in self._session.all("SELECT doc FROM endpoint ORDER BY id")]

    def save_endpoint(self, endpoint: Endpoint) -> None:
        self._session.run(
            "INSERT INTO endpoint (id, partner, disabled, doc) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET partner = excluded.partner, disabled = excluded.disabled, doc = excluded.doc",
            (endpoint.id, endpoint.partner, int(bool(endpoint.disabled)), pack(asdict(endpoint))),
        )

    def drop_endpoint(self, id: str) -> None:
        """Its log stays; what waited for it is dropped."""
        self._session.run("DELETE FROM endpoint WHERE id = ?", (id,))
        self._session.run(
            "UPDATE delivery SET state = 'dropped', last_problem = 'the endpoint was removed' WHERE endpoint = ? AND state = 'ready'", (id,)
        )


def _between(since: int | None, until: int | None) -> tuple[str, list[int]]:
    parts = [(" AND e.at >= ?", since), (" AND e.at < ?", until)]
    return "".join(sql for sql, value in parts if value is not None), [value for _, value in parts if value is not None]


def _matches(endpoint: Endpoint, event: Event) -> bool:
    if endpoint.clients and event.client not in endpoint.clients:
        return False
    return not endpoint.events or event.type in endpoint.events


def _concerns(endpoint: Endpoint, event: Event, known: set[tuple[str, str]]) -> bool:
    """Whether the owner may ever be allowed to see it; whether it may now is decided when it is sent."""
    owner = endpoint.partner
    return event.client is None or owner in (HUB, event.partner, event.data.get("partner")) or (owner, event.client) in known


def _event(row: Row) -> Event:
    id, type, at, seq, client, case, partner, data = row
    return Event(id, type, at, seq, client, case, partner, unpack(data))


def _delivery(row: Row) -> Delivery:
    n, endpoint, state, attempts, not_before, last_status, last_problem, last_at = row[:8]
    return Delivery(n, endpoint, _event(row[8:]), state, attempts, not_before, last_status, last_problem, last_at)


def _endpoint(text: str) -> Endpoint:
    doc: Any = {
        name: tuple(value) if isinstance(value, list) else value for name, value in unpack(text).items() if name in _ENDPOINT_FIELDS
    }
    return Endpoint(**doc)
