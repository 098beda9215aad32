"""A store of one lane in memory, for the flows' own decisions; that real stores agree is tests/contract's to show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fhircase.access.principal import Principal
from fhircase.access.scopes import Scopes
from fhircase.fhir import stamp
from fhircase.plans.change import Grant, Ref
from fhircase.plans.events import Event
from fhircase.ports import Delivery, Endpoint, Lane, Stored
from tests.conftest import START, build_hub

NOW = int(START.timestamp() * 1000)
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Outbox:
    def __init__(self) -> None:
        self.kept: dict[str, Endpoint] = {}
        self.rows: list[Delivery] = []
        self.emitted: list[tuple[Event, str | None]] = []
        self.released: list[tuple[int, bool]] = []
        self.lost = False
        self.woken = 0

    def endpoint(self, id: str) -> Endpoint | None:
        return self.kept.get(id)

    def endpoints(self) -> Sequence[Endpoint]:
        return list(self.kept.values())

    def save_endpoint(self, endpoint: Endpoint) -> None:
        self.kept[endpoint.id] = endpoint

    def drop_endpoint(self, id: str) -> None:
        del self.kept[id]

    def emit(self, events: Sequence[Event], *, endpoint: str | None = None) -> None:
        self.emitted += [(event, endpoint) for event in events]

    def wake(self) -> None:
        self.woken += 1

    def deliveries(self, lane: Lane, limit: int, now: int) -> Sequence[Delivery]:
        fifo = self.kept[lane.target].fifo
        ready = [row for row in self.rows if row.state == "ready" and row.endpoint == lane.target]
        return [row for row in ready if fifo or row.not_before <= now][:limit]

    def renew(self, lane: Lane, now: int, lease: int) -> bool:
        return not self.lost

    def release(self, lane: Lane, *, now: int, pause: int = 0, failed: bool = False) -> bool:
        self.released.append((pause, failed))
        return True

    def _set(self, id: int, **values: Any) -> None:
        self.rows = [replace(row, **values) if row.id == id else row for row in self.rows]

    def delivered(self, ids: Sequence[int], status: int, now: int) -> None:
        for id in ids:
            self._set(id, state="delivered", last_status=status, last_at=now)

    def dropped(self, ids: Sequence[int], why: str, now: int) -> None:
        for id in ids:
            self._set(id, state="dropped", last_problem=why, last_at=now)

    def failed(self, id: int, *, status: int | None, problem: str, now: int, not_before: int, dead: bool) -> None:
        attempts = next(row.attempts for row in self.rows if row.id == id) + 1
        self._set(
            id, state="dead" if dead else "ready", last_status=status, last_problem=problem, last_at=now, not_before=not_before,
            attempts=attempts,
        )  # fmt: skip

    def log(self, **asked: Any) -> tuple[Sequence[Delivery], str | None]:
        return [row for row in self.rows if asked.get("endpoint") in (None, row.endpoint)], None

    def events(self, **asked: Any) -> tuple[Sequence[Event], str | None]:
        return [row.event for row in self.rows], None

    def resend(self, endpoint: str, *, delivery: int | None = None, since: int | None = None, until: int | None = None) -> int:
        own = [row for row in self.rows if row.endpoint == endpoint]
        chosen = [row for row in own if (row.id == delivery if delivery is not None else row.state == "dead")]
        for row in chosen:
            self._set(row.id, state="ready", attempts=0, not_before=0)
        return len(chosen)

    def states(self) -> list[str]:
        return [row.state for row in self.rows]


class Plans:
    """``seen``: partner → what it may read."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[Ref, Stored]] = {}
        self.held: list[Grant] = []
        self.reads = 0

    def read(self, viewer: Any, ref: Ref) -> Stored | None:
        self.reads += 1
        return self.seen.get(viewer.partner, {}).get(ref)

    def vread(self, viewer: Any, ref: Ref, version: int) -> Stored | None:
        for stored in [*self.seen.get(viewer.partner, {}).values()]:
            if stored.ref == ref and stored.version == version:
                return stored
        return None

    def grants(self, *, partner: str | None = None, case: str | None = None, at: int | None = None) -> list[Grant]:
        return [g for g in self.held if g.partner == partner and g.case == case]


class Partners:
    names = ("hub", "rehab", "homecare")

    def get(self, name: str) -> Any:
        return object() if name in self.names else None


@dataclass
class Tx:
    outbox: Outbox = field(default_factory=Outbox)
    plans: Plans = field(default_factory=Plans)
    partners: Partners = field(default_factory=Partners)


class Store:
    def __init__(self) -> None:
        self.tx = Tx()
        self.open = False

    @contextmanager
    def write(self) -> Iterator[Tx]:
        assert not self.open
        self.open = True
        try:
            yield self.tx
        finally:
            self.open = False

    read = write


class Poster:
    """Notes what is posted, and that no transaction is open meanwhile (law 3)."""

    def __init__(self, store: Store, answers: Sequence[Any] = ()) -> None:
        self.store = store
        self.answers = list(answers)
        self.posted: list[tuple[str, bytes, Mapping[str, str]]] = []

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Any:
        from fhircase.ports import Reply

        assert not self.store.open, "a network call inside a transaction"
        self.posted.append((url, body, headers))
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Reply) else Reply(answer, None)

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for _, _, headers in self.posted]


def hub_with(*answers: Any, clock: Any = None) -> tuple[Any, Tx, Poster]:
    store = Store()
    poster = Poster(store, answers)
    return build_hub(store, poster=poster, clock=clock), store.tx, poster


def endpoint(**values: Any) -> Endpoint:
    made: dict[str, Any] = {
        "id": "e1",
        "partner": "rehab",
        "url": "https://rehab.example/hooks",
        "events": (),
        "secrets": ("sealed:" + SECRET,),
        "created": NOW,
    }
    return Endpoint(**{**made, **values})


def goal(number: int, version: int = 1) -> Stored:
    body = {"resourceType": "Goal", "note": [{"text": "72.50"}]}
    text, mark = stamp.stamp(body, id=f"g{number}", version=version, at_ms=NOW)
    return Stored("Goal", f"g{number}", version, NOW, number, False, "c1", "k1", "hub", text, NOW, mark=mark)


def event(number: int, type: str = "goal.updated", **values: Any) -> Event:
    made: dict[str, Any] = {
        "id": f"w{number}", "type": type, "at": NOW, "seq": number, "client": "c1", "case": "k1", "partner": "hub",
        "data": {"resource": f"Goal/g{number}", "version": 1},
    }  # fmt: skip
    return Event(**{**made, **values})


def queue(tx: Tx, *events: Event, to: Endpoint | None = None, attempts: int = 0, visible: bool = True) -> None:
    to = to or endpoint()
    tx.outbox.kept.setdefault(to.id, to)
    for happened in events:
        tx.outbox.rows.append(Delivery(len(tx.outbox.rows) + 1, to.id, happened, "ready", attempts, 0))
        if visible and happened.data.get("resource", "").startswith("Goal/g"):
            stored = goal(int(happened.data["resource"].removeprefix("Goal/g")))
            tx.plans.seen.setdefault(to.partner, {})[stored.ref] = stored


LANE = Lane("hook:e1:0", "e1", "hook", 1, 0)


def principal(partner: str = "rehab", *scopes: str, admin: bool = False) -> Principal:
    return Principal(partner, None, admin, Scopes.of(scopes or ("system/*.cruds",)), "key1")
