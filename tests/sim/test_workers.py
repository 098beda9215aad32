"""The worker's loops, with real threads: they hand over, outlive defects, and stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from fhircase.errors import Unavailable
from fhircase.plans.change import Ref
from fhircase.worker import collect, deliver
from fhircase.worker.run import Workers
from tests.conftest import FrozenClock
from tests.sim.scene import Scene, server
from tests.sim.test_convergence import fresh as fresh

GOAL = Ref("Goal", "g1")
PATIENCE_S = 20.0


class Now(FrozenClock):
    """Real time: leases and pauses must end while threads wait."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def scene_with(fresh: Callable[[], Any], *names: str) -> tuple[Scene, dict[str, threading.Event]]:
    clock = Now()
    arrived = {name: threading.Event() for name in names}

    def watch(name: str) -> Callable[[str], None]:
        def after(method: str) -> None:
            if scene.servers[name].held("Goal"):
                arrived[name].set()

        return after

    scene = Scene(fresh(), {name: server(name, clock, after=watch(name)) for name in names}, clock)
    scene.write(
        {
            "resourceType": "Goal",
            "id": "g1",
            "lifecycleStatus": "active",
            "description": {"text": "walk"},
            "subject": {"reference": "Patient/client"},
        }
    )
    return scene, arrived


def test_workers_deliver_and_stop(fresh: Callable[[], Any]) -> None:
    scene, arrived = scene_with(fresh, "hosp", "rehab")
    workers = Workers(scene.hub, "me", lanes=8, polls=2)
    workers.start()
    try:
        assert all(event.wait(PATIENCE_S) for event in arrived.values()) and workers.alive()
    finally:
        assert workers.stop(PATIENCE_S)
    assert not workers.alive()


def test_a_defect_in_one_lane_stops_no_other_and_is_tried_again(fresh: Callable[[], Any]) -> None:
    scene, arrived = scene_with(fresh, "hosp", "rehab")

    def gateway(partner: Any) -> Any:
        if partner.name == "rehab":
            raise RuntimeError("a defect of ours")
        return scene.servers[partner.name]

    hub = replace(scene.hub, gateways=gateway)
    workers = Workers(hub, "me", lanes=8, polls=2)
    workers.start()
    try:
        assert arrived["hosp"].wait(PATIENCE_S)
    finally:
        assert workers.stop(PATIENCE_S)
    with hub.store.read() as tx:
        waiting = {lane["target"]: lane["waiting"] for lane in tx.outbox.status() if lane["waiting"]}
    assert set(waiting) == {"rehab"}


def test_a_defect_while_polling_leaves_the_partner_alone_for_a_while(fresh: Callable[[], Any]) -> None:
    scene, _ = scene_with(fresh, "hosp")
    scene.deliver()

    def broken(partner: Any) -> Any:
        raise RuntimeError("a defect of ours")

    assert collect.turn(replace(scene.hub, gateways=broken), "hosp") == collect.DEFECT_PAUSE_S


def test_a_partner_is_polled_by_one_process_at_a_time(fresh: Callable[[], Any]) -> None:
    scene, _ = scene_with(fresh, "hosp")
    scene.deliver()
    asked = len(scene.servers["hosp"].asked)
    assert collect.turn(scene.hub, "hosp") == 0.0 and len(scene.servers["hosp"].asked) > asked
    asked = len(scene.servers["hosp"].asked)
    assert collect.turn(scene.hub, "hosp") == 0.0 and len(scene.servers["hosp"].asked) == asked


def test_a_lane_whose_flow_fails_is_paused(fresh: Callable[[], Any]) -> None:
    scene, _ = scene_with(fresh, "hosp")

    def broken(partner: Any) -> Any:
        raise RuntimeError("a defect of ours")

    hub = replace(scene.hub, gateways=broken)
    with hub.store.write() as tx:
        lane = tx.outbox.claim("me", hub.now(), 60_000)
    assert lane is not None
    deliver.turn(hub, lane)
    with hub.store.read() as tx:
        (row,) = [row for row in tx.outbox.status() if row["key"] == lane.key]
    assert row["fails"] == 1 and row["owner"] is None and row["not_before"] > hub.now()


def test_a_database_that_is_away_is_no_defect_and_is_tried_again_soon(fresh: Callable[[], Any]) -> None:
    scene, _ = scene_with(fresh, "hosp")

    def away(partner: Any) -> Any:
        raise Unavailable("the database does not take it now")

    hub = replace(scene.hub, gateways=away)
    with hub.store.write() as tx:
        lane = tx.outbox.claim("me", hub.now(), hub.policy.lease_ms)
    assert lane is not None
    deliver.turn(hub, lane)
    with hub.store.read() as tx:
        (status,) = [held for held in tx.outbox.status() if held["key"] == lane.key]
    assert status["owner"] is None and 0 < status["not_before"] <= hub.now() + hub.policy.retry_first_ms
    assert collect.turn(hub, "hosp") == collect.STORE_PAUSE_S
