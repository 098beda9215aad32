"""Ordered webhook deliveries per second: from the queue of a real store, through grants and signature, to a receiver in
another process. The baseline posts the same bytes with the same client, from a list."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fhircase import storage
from fhircase.access.principal import Principal
from fhircase.access.scopes import ALL
from fhircase.flows import endpoints, notify
from fhircase.partners.egress import guarded_session
from fhircase.partners.poster import WebhookPoster
from fhircase.plans.events import Event
from tests.conftest import build_hub
from tests.contract.making import commit, member, record
from tests.live.servers import free_port

FLOOR = 500
EVENTS = 3_000


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture
def receiver() -> Iterator[Callable[[int], str]]:
    running: list[subprocess.Popen[bytes]] = []

    def start(delay_ms: int) -> str:
        port = free_port()
        running.append(subprocess.Popen([sys.executable, str(Path(__file__).with_name("receiver.py")), str(port), str(delay_ms)]))
        url = f"http://127.0.0.1:{port}/"
        for _ in range(200):
            try:
                urllib.request.urlopen(url, timeout=1).close()
                return url
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the receiver did not start")

    yield start
    for process in running:
        process.kill()
        process.wait()


def queued(store: Any, url: str, count: int, *, fifo: bool) -> tuple[Any, list[Event]]:
    hub = build_hub(store, clock=WallClock(), poster=WebhookPoster(lambda: guarded_session(["127.0.0.0/8"]), WallClock()))
    now = hub.now()
    commit(store, *[record(f"Goal/g{n}", client="c1", case="e1") for n in range(100)], grants=[member("rehab", "c1", "e1")], now=now)
    endpoints.create(hub, Principal("rehab", None, False, ALL, "k"), {"url": url, "fifo": fifo}, bytes)
    told = [
        Event(f"w{n}", "goal.updated", now, n, "c1", "e1", "hub", {"resource": f"Goal/g{n % 100}", "version": 1}) for n in range(count)
    ]
    with store.write() as tx:
        tx.outbox.emit(told)
    return hub, told


def drain(hub: Any, workers: int) -> float:
    """Seconds until nothing is claimable."""

    def work(name: str) -> None:
        while True:
            with hub.store.write() as tx:
                lane = tx.outbox.claim(name, hub.now(), hub.policy.lease_ms, ("hook",))
            if lane is None:
                return
            notify.step(hub, lane)

    threads = [threading.Thread(target=work, args=(f"w{n}",)) for n in range(workers)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def bare(url: str, told: list[Event], hub: Any) -> float:
    bodies = [notify.body_of(event, hub.policy.base_url) for event in told]
    poster = WebhookPoster(lambda: guarded_session(["127.0.0.0/8"]), WallClock())
    began = time.perf_counter()
    for event, body in zip(told, bodies):
        poster.post(url, body, {"webhook-id": event.id})
    return time.perf_counter() - began


def received(url: str) -> list[str]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode()).split("\n")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_ordered_deliveries_on_loopback(kind: str, tmp_path: Path, receiver: Callable[[int], str], request: Any) -> None:
    url = f"sqlite:///{tmp_path}/hub.db" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    storage.migrate(url)
    store = storage.open(url)
    where, base = receiver(0), receiver(0)
    hub, told = queued(store, where, EVENTS, fifo=True)
    plain = EVENTS / bare(base, told, hub)
    rate = EVENTS / drain(hub, 1)
    store.close()
    print(f"\nwebhooks, ordered, loopback, {kind}: {rate:.0f}/s, bare posts {plain:.0f}/s, ratio {rate / plain:.2f}")
    assert received(where) == [event.id for event in told]
    assert rate >= FLOOR


def test_a_slow_receiver_is_served_by_parallel_lanes(tmp_path: Path, receiver: Callable[[int], str]) -> None:
    url = f"sqlite:///{tmp_path}/hub.db"
    storage.migrate(url)
    store = storage.open(url)
    where, base = receiver(150), receiver(150)
    hub, told = queued(store, where, 160, fifo=False)
    plain = 20 / bare(base, told[:20], hub)
    rate = len(told) / drain(hub, 8)
    store.close()
    print(f"\nwebhooks, parallel, 150 ms, sqlite: {rate:.0f}/s over 8 lanes, bare posts {plain:.1f}/s, ratio {rate / plain:.1f}")
    assert sorted(received(where)) == sorted(event.id for event in told)
    assert rate >= 3 * plain
