"""Ordered deliveries a second over FHIR lanes: from the marks of a real store, by plan, send and record, to a partner's server
in another process, which keeps a journal. The baseline posts the same bytes with requests, one after the other."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from fhircase import storage, wiring
from fhircase.plans.change import Ref
from fhircase.plans.partner import Partner
from fhircase.ports import Link
from fhircase.settings import Settings
from fhircase.worker.run import Workers
from tests.bench import table
from tests.contract.making import commit, member, record
from tests.sim.kills.journal import IDENTITY, JournalServer, identity_of

LOOPBACK_FLOOR = 500.0
SLOW_FLOOR = 3.0
"""Of the ratio: eight lanes in parallel must hide most of a slow partner's latency."""

CLIENTS = 40
GOALS = 25
SLOW_GOALS = 6
_runs = itertools.count(1)


class Indexed(JournalServer):
    """Finds what carries the hub's identifier without reading all it holds, as a real server does."""

    def __init__(self, name: str, latency: float) -> None:
        self._carrying: dict[str, Any] = {}
        super().__init__(name, lambda _method: latency)

    def _store(self, type_: str, id_: str, body: Any) -> Any:
        made = super()._store(type_, id_, body)
        self._carrying[f"{IDENTITY}|{identity_of(made)}"] = made
        return made

    def _search(self, type_: str, query: list[tuple[str, str]]) -> list[Any]:
        if len(query) == 1 and query[0][0] == "identifier" and query[0][1].startswith(IDENTITY):
            found = self._carrying.get(query[0][1])
            return [found] if found else []
        return super()._search(type_, query)


def _serve(latency: float, pipe: Any) -> None:
    server = Indexed("rehab", latency)
    pipe.send(server.base)
    while (asked := pipe.recv()) is not None:
        pipe.send(len(server.journal) if asked == "count" else [(entry.identity, entry.body) for entry in server.journal])
    server.stop()


class Rehab:
    """A JournalServer in a process of its own."""

    def __init__(self, latency: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(latency, theirs), daemon=True)
        self._process.start()
        self.base: str = self._pipe.recv()

    def count(self) -> int:
        self._pipe.send("count")
        return int(self._pipe.recv())

    def journal(self) -> list[tuple[str, dict[str, Any]]]:
        self._pipe.send("journal")
        found: list[tuple[str, dict[str, Any]]] = self._pipe.recv()
        return found

    def stop(self) -> None:
        self._pipe.send(None)
        self._process.join(10)


@contextmanager
def rehab(latency: float) -> Iterator[Rehab]:
    made = Rehab(latency)
    try:
        yield made
    finally:
        made.stop()


def goal(client: str, id: str) -> dict[str, Any]:
    return {
        "resourceType": "Goal", "id": id, "meta": {"versionId": "1", "lastUpdated": "2026-11-22T05:24:38.123Z"},
        "lifecycleStatus": "proposed",
        "achievementStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/goal-achievement", "code": "in-progress"}]},
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/goal-category", "code": "physiotherapy"}]}],
        "description": {"text": "Walk 50 feet independently within two weeks"}, "subject": {"reference": f"Patient/{client}"},
        "startDate": "2026-11-22", "target": [{"measure": {"text": "distance walked"}, "detailQuantity": {"value": 50, "unit": "ft"}}],
    }  # fmt: skip


def prefilled(home: Path, url: str, partner: Partner, goals: int) -> Any:
    """A hub whose partner knows every client already and has ``goals`` new goals of each to come, in turn."""
    storage.migrate(url)
    hub = wiring.build_hub(Settings(database_url=url, secret_key="a secret of the bench, of 32 characters"))
    now = hub.now()
    clients = [f"c{n}" for n in range(CLIENTS)]
    ids = [(client, f"{client}-{n:03d}") for n in range(goals) for client in clients]
    records = [record(f"Patient/{client}", client=client, text=json.dumps({"resourceType": "Patient", "id": client})) for client in clients]
    records += [record(f"Goal/{id}", client=client, case=f"e-{client}", text=json.dumps(goal(client, id))) for client, id in ids]
    commit(hub.store, *records, grants=[member(partner.name, client, f"e-{client}") for client in clients], now=now)
    with hub.store.write() as tx:
        tx.partners.save(partner)
        tx.links.save([Link(partner.name, Ref("Patient", client), remote=f"theirs-{client}", etag='W/"1"') for client in clients])
        tx.outbox.mark(partner, [(Ref("Goal", id), client) for client, id in ids])
    return hub


def delivered(hub: Any, there: Rehab, total: int) -> float:
    """Seconds from the first to the last arrival, as the lanes of ``fhircase serve`` work."""
    workers = Workers(hub, "bench")
    began = time.perf_counter()
    workers.start()
    while there.count() < total:
        assert time.perf_counter() - began < 60, "the lanes stand still"
        time.sleep(0.02)
    took = time.perf_counter() - began
    assert workers.stop()
    return took


def bare(bodies: list[dict[str, Any]], latency: float) -> float:
    """Posts a second of the same bytes in a loop, to a server of the same kind."""
    sent = []
    for body in bodies:
        plain = {name: value for name, value in body.items() if name not in ("id", "meta")}
        criteria = f"identifier=urn:fhircase:id|{plain['identifier'][0]['value']}"
        headers = {"Content-Type": "application/fhir+json", "If-None-Exist": criteria}
        sent.append((json.dumps(plain, separators=(",", ":")).encode(), headers))
    with rehab(latency) as there, requests.Session() as session:
        session.trust_env = False
        began = time.perf_counter()
        for data, headers in sent:
            assert session.post(f"{there.base}/Goal", data=data, headers=headers, timeout=20).status_code == 201
        return len(sent) / (time.perf_counter() - began)


def measured(home: Path, url: str, latency: float, goals: int) -> tuple[float, float]:
    """Rates of lanes and of the bare loop; the order of each client's goals is judged by the partner's journal."""
    total = CLIENTS * goals
    with rehab(latency) as there:
        partner = Partner("rehab", base_url=there.base, send=("Goal", "Patient"), take=(), networks=("127.0.0.0/8",))
        hub = prefilled(home, url, partner, goals)
        rate = total / delivered(hub, there, total)
        hub.store.close()
        journal = there.journal()
    for n in range(CLIENTS):
        mine = [identity for identity, _ in journal if identity and identity.startswith(f"Goal/c{n}-")]
        assert mine == [f"Goal/c{n}-{g:03d}" for g in range(goals)], "in order, each once"
    bodies = [body for _, body in journal]
    return rate, bare(bodies[: 20 if latency else 500], latency)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_ordered_deliveries_on_loopback(kind: str, tmp_path: Path, request: Any) -> None:
    cluster = request.getfixturevalue("postgres_cluster") if kind == "postgresql" else None
    found = [
        measured(tmp_path, cluster.create() if cluster else f"sqlite:///{tmp_path}/{next(_runs)}.db", 0.0, GOALS)
        for _ in range(3)
    ]  # fmt: skip
    row = table.of_pairs("FHIR deliveries, loopback", kind, found, floor=LOOPBACK_FLOOR, absolute=True)
    assert row.kept, row


def test_ordered_deliveries_to_a_slow_partner(tmp_path: Path) -> None:
    found = [measured(tmp_path, f"sqlite:///{tmp_path}/slow.db", 0.15, SLOW_GOALS)]
    row = table.of_pairs("FHIR deliveries, 150 ms", "sqlite", found, floor=SLOW_FLOOR)
    assert row.kept, row
