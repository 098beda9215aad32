"""Webhooks from the queue to a receiver, on both databases: order, grants, retries, what waits for a disabled endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fhircase.access.principal import Principal
from fhircase.access.scopes import ALL
from fhircase.flows import endpoints, notify
from fhircase.plans import events
from fhircase.plans.change import Ref
from fhircase.plans.events import Event
from fhircase.ports import Reply
from tests.conftest import FakePoster, FrozenClock, build_hub
from tests.contract.making import commit, member, record

URL = {"url": "https://rehab.example/hooks"}
REHAB = Principal("rehab", None, False, ALL, "k1")
HUB = Principal("hub", None, False, ALL, "k2")


class World:
    """A hub on a real store, its clock, and what its webhooks brought to the receiver."""

    def __init__(self, store: Any) -> None:
        self.clock = FrozenClock()
        self.poster = FakePoster()
        self.hub = build_hub(store, clock=self.clock, poster=self.poster)
        self.store = store
        self.told = 0
        commit(store, record("Goal/g1", client="c1", case="e1"), grants=[member("rehab", "c1", "e1")], now=self.clock.ms)

    def endpoint(self, who: Principal = REHAB, **asked: Any) -> str:
        made, _ = endpoints.create(self.hub, who, {**URL, **asked}, bytes)
        return made.id

    def tell(self, count: int = 1, ref: str = "Goal/g1", client: str = "c1", case: str = "e1") -> list[str]:
        made = []
        for _ in range(count):
            self.told += 1
            data = {"resource": ref, "version": 1}
            made.append(Event(f"w{self.told}", "goal.updated", self.clock.ms, self.told, client, case, "hub", data))
        with self.store.write() as tx:
            tx.outbox.emit(made)
        return [event.id for event in made]

    def work(self) -> int:
        """As a worker would, until there is nothing due."""
        steps = 0
        while True:
            with self.store.write() as tx:
                lane = tx.outbox.claim("me", self.clock.ms, 60_000, ("hook",))
            if lane is None:
                return steps
            notify.step(self.hub, lane)
            steps += 1
            assert steps < 100, "a lane is claimed again and again with nothing to do"

    @property
    def got(self) -> Sequence[str]:
        return [headers["webhook-id"] for _, _, headers in self.poster.posted]

    def states(self, endpoint: str) -> list[str]:
        with self.store.read() as tx:
            return [delivery.state for delivery in reversed(tx.outbox.log(endpoint=endpoint)[0])]


@pytest.fixture
def world(sql_store: Any) -> World:
    return World(sql_store)


def test_many_events_come_in_order_over_several_batches(world: World) -> None:
    world.endpoint()
    told = world.tell(150)
    assert world.work() == 3
    assert world.got == told


def test_a_fifo_endpoint_gets_events_in_order_through_failures(world: World) -> None:
    world.endpoint()
    told = world.tell(4)
    world.poster.answers = [204, 500, 500]
    world.work()
    assert world.got == told[:2]
    for _ in range(2):
        world.clock.tick(seconds=4)
        assert world.work() == 0
        world.clock.tick(minutes=7)
        world.work()
    assert world.got == [told[0], told[1], told[1], *told[1:]]


def test_a_parallel_endpoint_gets_the_others_while_one_fails(world: World) -> None:
    endpoint = world.endpoint(fifo=False)
    told = world.tell(30)
    world.poster.answers = [500]
    world.work()
    assert sorted(world.got) == sorted(told)
    assert world.states(endpoint).count("delivered") == 29
    world.clock.tick(seconds=7)
    world.work()
    assert world.states(endpoint) == ["delivered"] * 30


def test_an_event_of_a_foreign_client_never_reaches_the_endpoint(world: World) -> None:
    commit(world.store, record("Goal/g2", client="c2", case="e2"), now=world.clock.ms)
    world.endpoint()
    world.tell(ref="Goal/g2", client="c2", case="e2")
    mine = world.tell()
    world.work()
    assert world.got == mine


def test_a_grant_that_ended_between_event_and_sending_drops_the_event(world: World) -> None:
    endpoint = world.endpoint()
    world.tell()
    with world.store.write() as tx:
        stamp = tx.plans.stamp(world.clock.ms)
        tx.plans.grant(stamp, [member("rehab", "c1", "e1", until=stamp.at)])
    world.clock.tick(seconds=1)
    world.work()
    assert world.got == []
    assert world.states(endpoint) == ["dropped"]
    assert endpoints.deliveries(world.hub, REHAB, endpoint)[0] == []


def test_an_endpoint_that_is_gone_stops_and_its_owners_other_endpoint_is_told(world: World) -> None:
    gone = world.endpoint(events=["goal.*"])
    other = world.endpoint(events=["endpoint.*"])
    world.tell(3)
    world.poster.answers = [410]
    world.work()
    assert endpoints.find(world.hub, REHAB, gone).disabled == "the endpoint answered 410 Gone"
    assert world.states(gone) == ["dead"] * 3
    with world.store.read() as tx:
        log = tx.outbox.log(endpoint=other)[0]
    assert [(row.event.type, row.event.data["endpoint"], row.state) for row in log] == [("endpoint.disabled", gone, "delivered")]


def test_enabling_with_a_time_brings_what_failed_and_what_happened_meanwhile(world: World) -> None:
    endpoint = world.endpoint(events=["goal.*"])
    before = world.clock.ms
    failed = world.tell(2)
    world.poster.answers = [410]
    world.work()
    world.clock.tick(minutes=1)
    missed = world.tell(2)
    world.poster.posted.clear()
    _, again = endpoints.enable(world.hub, REHAB, endpoint, since=before)
    world.work()
    assert again == 4
    assert sorted(world.got) == sorted([*failed, *missed])


def test_a_test_event_reaches_its_endpoint_alone(world: World) -> None:
    one, other = world.endpoint(events=["goal.*"]), world.endpoint()
    event = endpoints.test(world.hub, REHAB, one)
    world.work()
    assert world.got == [event.id]
    assert world.states(other) == []


def test_one_delivery_is_sent_again_with_the_same_id(world: World) -> None:
    endpoint = world.endpoint()
    told = world.tell()
    world.work()
    number = endpoints.deliveries(world.hub, REHAB, endpoint)[0][0].delivery.id
    assert endpoints.resend(world.hub, REHAB, endpoint, delivery=number) == 1
    world.work()
    assert world.got == told * 2


def test_the_hubs_endpoint_is_told_of_every_client_and_of_reviews(world: World) -> None:
    world.endpoint(HUB)
    commit(world.store, record("Goal/g2", client="c2", case="e2"), now=world.clock.ms)
    told = world.tell() + world.tell(ref="Goal/g2", client="c2", case="e2")
    with world.store.write() as tx:
        tx.outbox.emit([Event("w99", "review.opened", world.clock.ms, 9, "c2", None, "mercy", {"kind": "identity"})])
    world.work()
    assert world.got == [*told, "w99"]


def test_a_client_filter_narrows_an_endpoint(world: World) -> None:
    commit(world.store, record("Goal/g2", client="c2", case="e2"), grants=[member("rehab", "c2", "e2")], now=world.clock.ms)
    world.endpoint(clients=["Patient/c2"])
    world.tell()
    told = world.tell(ref="Goal/g2", client="c2", case="e2")
    world.work()
    assert world.got == told


def test_polled_events_page_through_everything_once(world: World) -> None:
    told = world.tell(7)
    seen: list[str] = []
    cursor = None
    while True:
        page, cursor = endpoints.happened(world.hub, REHAB, cursor=cursor, count=3)
        seen += [event.id for event in page]
        if cursor is None:
            break
    assert seen == told


def test_a_removed_endpoint_gets_nothing_more(world: World) -> None:
    endpoint = world.endpoint()
    world.tell()
    endpoints.remove(world.hub, REHAB, endpoint)
    world.work()
    assert world.got == []


def test_a_worker_that_lost_its_lane_does_not_undo_the_next_ones_work(world: World) -> None:
    endpoint = world.endpoint()
    told = world.tell(2)
    with world.store.write() as tx:
        slow = tx.outbox.claim("slow", world.clock.ms, 1, ("hook",))
    assert slow is not None
    world.clock.tick(seconds=1)

    class Slow:
        """While the slow worker's request is under way, the next owner of the lane delivers everything."""

        def post(self, *asked: Any) -> Reply:
            world.work()
            return Reply(500, None)

    notify.step(build_hub(world.store, clock=world.clock, poster=Slow()), slow)
    assert world.got == told
    assert world.states(endpoint) == ["delivered", "delivered"]


def test_events_of_a_commit_are_delivered_as_they_were_decided(world: World) -> None:
    world.endpoint(events=["goal.created", "case.granted"])
    with world.store.read() as tx:
        stored = tx.plans.get(Ref("Goal", "g1"))
    assert stored is not None
    told = events.of_commit(
        [(None, stored)], grants=[member("rehab", "c1", "e1")], seq=5, at=world.clock.ms, partner="hub", new_id=world.hub.ids.new
    )
    with world.store.write() as tx:
        tx.outbox.emit(told)
    world.work()
    assert world.got == [event.id for event in told]
