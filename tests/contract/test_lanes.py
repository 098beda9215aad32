"""Lanes: order within, independence between, one owner at a time (RELIABILITY §1, DECISIONS 22)."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import Any

import pytest

from fhircase.plans.change import Ref
from fhircase.plans.partner import Partner
from fhircase.ports import Endpoint, Event, Lane
from tests.contract.making import T, commit, member

LEASE = 60_000
HOME = Partner("home", base_url="http://home.example", width=4)
REHAB = Partner("rehab", base_url="http://rehab.example")


def mark(store: Any, partner: Partner, *refs: str, client: str | None = "p") -> None:
    with store.write() as tx:
        tx.plans.stamp(T)
        tx.outbox.mark(partner, [(Ref.of(ref), client) for ref in refs])


def claim(store: Any, me: str = "w1", now: int = T, lease: int = LEASE, **kinds: Any) -> Lane | None:
    with store.write() as tx:
        lane: Lane | None = tx.outbox.claim(me, now, lease, **kinds)
        return lane


def release(store: Any, lane: Lane, now: int = T, **how: Any) -> bool:
    with store.write() as tx:
        return bool(tx.outbox.release(lane, now=now, **how))


def marks(store: Any, lane: Lane, limit: int = 100) -> list[str]:
    with store.read() as tx:
        return [str(m.ref) for m in tx.outbox.marks(lane, limit)]


def clear(store: Any, lane: Lane) -> None:
    with store.write() as tx:
        tx.outbox.clear(tx.outbox.marks(lane, 100))


def test_no_work_no_lane(sql_store: Any) -> None:
    assert claim(sql_store) is None


def test_a_client_has_one_lane_of_the_partners_width(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a", "Goal/b", client="p")
    lane = claim(sql_store)
    assert lane is not None
    assert (lane.key, lane.target, lane.kind, lane.fails) == (f"fhir:home:{zlib.crc32(b'p') % 4}", "home", "fhir", 0)
    assert marks(sql_store, lane) == ["Goal/a", "Goal/b"]
    assert marks(sql_store, lane, 1) == ["Goal/a"]


def test_a_lane_has_one_owner(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a")
    lane = claim(sql_store)
    assert claim(sql_store, "w2") is None
    release(sql_store, lane)
    again = claim(sql_store, "w2")
    assert (again.key, again.fence) == (lane.key, lane.fence + 1)


def test_a_lease_that_ended_is_taken_over_and_its_old_owner_finds_out(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a")
    lost = claim(sql_store, "frozen", lease=0)
    taken = claim(sql_store, "w2")
    assert taken is not None and taken.fence == lost.fence + 1
    with sql_store.write() as tx:
        assert not tx.outbox.renew(lost, T, LEASE)
        assert not tx.outbox.release(lost, now=T)
        assert tx.outbox.renew(taken, T, LEASE)
    assert claim(sql_store, "w3") is None
    assert release(sql_store, taken)


def test_renewing_keeps_others_away(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a")
    lane = claim(sql_store, lease=0)
    with sql_store.write() as tx:
        assert tx.outbox.renew(lane, T, LEASE)
    assert claim(sql_store, "w2") is None


def test_a_lane_that_was_let_go_is_not_renewed(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a")
    lane = claim(sql_store)
    release(sql_store, lane)
    with sql_store.write() as tx:
        assert not tx.outbox.renew(lane, T, LEASE)


def test_client_lanes_wait_for_the_partners_directory(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a", client="p")
    mark(sql_store, REHAB, "Goal/a", client="p")
    mark(sql_store, HOME, "Practitioner/x", client=None)
    keys = []
    while (lane := claim(sql_store)) is not None:
        keys.append(lane.key)
    assert sorted(keys) == ["fhir:home:dir", f"fhir:rehab:{zlib.crc32(b'p') % 8}"]
    directory = Lane("fhir:home:dir", "home", "fhir", 1, 0)
    clear(sql_store, directory)
    assert claim(sql_store).target == "home"


def test_a_parked_directory_resource_holds_nothing_up(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a", client="p")
    mark(sql_store, HOME, "Practitioner/x", client=None)
    directory = claim(sql_store)
    with sql_store.write() as tx:
        tx.outbox.park(tx.outbox.marks(directory, 1)[0], "422")
        tx.outbox.release(directory, now=T)
    assert claim(sql_store).key != "fhir:home:dir"


def test_lanes_take_turns(sql_store: Any) -> None:
    for partner in (HOME, REHAB):
        mark(sql_store, partner, "Goal/a")
    served = []
    for _ in range(6):
        lane = claim(sql_store)
        served.append(lane.target)
        release(sql_store, lane)
    assert served in (["home", "rehab"] * 3, ["rehab", "home"] * 3)


def test_a_pause_delays_the_lane_and_counts_failures(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a")
    release(sql_store, claim(sql_store), pause=1_000, failed=True)
    assert claim(sql_store, now=T + 999) is None
    lane = claim(sql_store, now=T + 1_000)
    assert lane.fails == 1
    release(sql_store, lane, now=T + 1_000, pause=2_000, failed=True)
    lane = claim(sql_store, now=T + 3_000)
    assert lane.fails == 2
    release(sql_store, lane, now=T + 3_000)
    assert claim(sql_store, now=T + 3_000).fails == 0


def test_a_paused_partner_is_left_alone(sql_store: Any) -> None:
    with sql_store.write() as tx:
        tx.partners.save(replace(HOME, paused=True))
    mark(sql_store, HOME, "Goal/a")
    assert claim(sql_store) is None
    with sql_store.write() as tx:
        tx.partners.save(HOME)
    assert claim(sql_store) is not None


def test_a_mark_that_was_made_again_is_not_cleared(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a", "Goal/b")
    lane = claim(sql_store)
    with sql_store.read() as tx:
        seen = tx.outbox.marks(lane, 10)
    mark(sql_store, HOME, "Goal/a")
    with sql_store.write() as tx:
        tx.outbox.clear(seen)
    assert marks(sql_store, lane) == ["Goal/a"]
    clear(sql_store, lane)
    assert marks(sql_store, lane) == []


def test_a_mark_of_long_ago_does_not_clear_a_new_one(sql_store: Any) -> None:
    """A worker that froze, lost its lane and clears anyway."""
    mark(sql_store, HOME, "Goal/a")
    lane = claim(sql_store, lease=0)
    with sql_store.read() as tx:
        seen = tx.outbox.marks(lane, 10)
    clear(sql_store, lane)
    mark(sql_store, HOME, "Goal/a")
    with sql_store.write() as tx:
        tx.outbox.clear(seen)
    assert marks(sql_store, lane) == ["Goal/a"]


def test_an_outage_costs_one_mark_a_resource(sql_store: Any) -> None:
    for _ in range(5):
        mark(sql_store, HOME, "Goal/a", "Goal/b")
    lane = claim(sql_store)
    assert marks(sql_store, lane) == ["Goal/a", "Goal/b"]


def test_parked_content_waits_for_the_next_edit(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a", "Goal/b")
    lane = claim(sql_store)
    with sql_store.write() as tx:
        tx.outbox.park(tx.outbox.marks(lane, 1)[0], "422 from the partner")
    assert marks(sql_store, lane) == ["Goal/b"]
    clear(sql_store, lane)
    release(sql_store, lane)
    assert claim(sql_store) is None
    mark(sql_store, HOME, "Goal/a")
    assert marks(sql_store, claim(sql_store)) == ["Goal/a"]


def test_parking_what_was_marked_again_leaves_it_ready(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a")
    lane = claim(sql_store)
    with sql_store.read() as tx:
        seen = tx.outbox.marks(lane, 10)
    mark(sql_store, HOME, "Goal/a")
    with sql_store.write() as tx:
        tx.outbox.park(seen[0], "422")
    assert marks(sql_store, lane) == ["Goal/a"]


def test_a_resource_that_changes_its_client_changes_its_lane(sql_store: Any) -> None:
    other = next(f"q{n}" for n in range(99) if zlib.crc32(f"q{n}".encode()) % 4 != zlib.crc32(b"p") % 4)
    mark(sql_store, HOME, "Goal/a", client="p")
    mark(sql_store, HOME, "Goal/a", client=other)
    lane = claim(sql_store)
    assert lane.key == f"fhir:home:{zlib.crc32(other.encode()) % 4}"
    assert claim(sql_store, "w2") is None


def test_the_kinds_of_work_can_be_chosen(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a")
    assert claim(sql_store, kinds=("hook",)) is None
    assert claim(sql_store, kinds=("fhir",)) is not None


def test_status_tells_what_waits(sql_store: Any) -> None:
    mark(sql_store, HOME, "Goal/a", "Goal/b", "Goal/c")
    lane = claim(sql_store, "me")
    with sql_store.write() as tx:
        tx.outbox.park(tx.outbox.marks(lane, 1)[0], "422")
    with sql_store.read() as tx:
        (told,) = tx.outbox.status()
    assert told == {
        "key": lane.key,
        "target": "home",
        "kind": "fhir",
        "waiting": 2,
        "parked": 1,
        "oldest": T,
        "not_before": 0,
        "fails": 0,
        "owner": "me",
    }


# ---------------------------------------------------------------------------------------------- webhooks


def endpoint(id: str = "w", **given: Any) -> Endpoint:
    values: dict[str, Any] = {"partner": "hub", "url": "https://x.example", "events": (), "secrets": ("sealed",)}
    return Endpoint(id=id, **{**values, **given})


def event(id: str, type: str = "goal.updated", client: str | None = "p", at: int = T, **given: Any) -> Event:
    return Event(id, type, at, 1, client, given.pop("case", "e"), given.pop("partner", "mercy"), {"resource": "Goal/g", **given})


def emit(store: Any, *events: Event, **given: Any) -> None:
    with store.write() as tx:
        tx.outbox.emit(events, **given)


def endpoints(store: Any, *made: Endpoint) -> None:
    with store.write() as tx:
        for one in made:
            tx.outbox.save_endpoint(one)


def queued(store: Any) -> list[tuple[str, str]]:
    with store.read() as tx:
        return sorted((d.endpoint, d.event.id) for d in tx.outbox.log(count=500)[0])


def due(store: Any, lane: Lane, now: int = T) -> list[Any]:
    with store.read() as tx:
        return list(tx.outbox.deliveries(lane, 100, now))


def test_endpoints_come_back_as_they_went_in(sql_store: Any) -> None:
    one = endpoint(
        "a",
        partner="home",
        events=("goal.updated",),
        clients=("p",),
        secrets=("s2", "s1"),
        thin=False,
        fifo=False,
        disabled="410",
        created=T,
        old_until=T + 1,
    )
    endpoints(sql_store, one, endpoint("b"))
    with sql_store.write() as tx:
        assert tx.outbox.endpoint("a") == one
        assert list(tx.outbox.endpoints()) == [one, endpoint("b")]
        tx.outbox.save_endpoint(replace(one, disabled=None))
        assert tx.outbox.endpoint("a").disabled is None
        tx.outbox.drop_endpoint("a")
        assert tx.outbox.endpoint("a") is None


def test_an_event_is_queued_for_endpoints_that_want_it_and_may_ever_see_it(sql_store: Any) -> None:
    commit(sql_store, grants=[member("home", "p", "e"), member("former", "p", "e", 0, 5)])
    endpoints(
        sql_store,
        endpoint("all"),
        endpoint("types", events=("goal.updated",)),
        endpoint("other-types", events=("task.created",)),
        endpoint("client", clients=("p",)),
        endpoint("other-client", clients=("q",)),
        endpoint("off", disabled="410"),
        endpoint("home", partner="home"),
        endpoint("former", partner="former"),
        endpoint("stranger", partner="stranger"),
        endpoint("mercy", partner="mercy"),
    )
    emit(sql_store, event("e1"))
    assert [name for name, _ in queued(sql_store)] == ["all", "client", "former", "home", "mercy", "types"]
    emit(sql_store, event("e2", client=None, type="organization.updated"))
    assert [name for name, id in queued(sql_store) if id == "e2"] == ["all", "former", "home", "mercy", "stranger"]


def test_an_event_for_one_endpoint_passes_its_filters(sql_store: Any) -> None:
    endpoints(sql_store, endpoint("w", events=("task.created",)), endpoint("x"))
    emit(sql_store, event("e1", type="endpoint.test"), endpoint="w")
    emit(sql_store, event("e2"), endpoint="absent")
    assert queued(sql_store) == [("w", "e1")]


def test_deliveries_of_a_fifo_endpoint_come_in_order_from_the_oldest_on(sql_store: Any) -> None:
    endpoints(sql_store, endpoint("w"))
    emit(sql_store, event("e1"), event("e2", client="q"), event("e3"))
    lane = claim(sql_store)
    assert (lane.key, lane.kind, lane.target) == ("hook:w", "hook", "w")
    first, second, third = due(sql_store, lane)
    assert [d.event for d in (first, second, third)] == [event("e1"), event("e2", client="q"), event("e3")]
    assert (first.state, first.attempts, first.not_before) == ("ready", 0, 0)
    with sql_store.write() as tx:
        tx.outbox.delivered([first.id], 204, T)
        tx.outbox.failed(second.id, status=500, problem="500", now=T, not_before=T + 5_000, dead=False)
        tx.outbox.release(lane, now=T)
    assert claim(sql_store, now=T + 4_999) is None
    lane = claim(sql_store, now=T + 5_000)
    assert [(d.event.id, d.attempts, d.last_status) for d in due(sql_store, lane)] == [("e2", 1, 500), ("e3", 0, None)]


def test_deliveries_of_a_parallel_endpoint_do_not_wait_for_each_other(sql_store: Any) -> None:
    endpoints(sql_store, endpoint("w", fifo=False))
    emit(sql_store, *(event(f"e{n}") for n in range(40)))
    lanes = []
    while (lane := claim(sql_store)) is not None:
        lanes.append(lane)
    assert 4 < len(lanes) <= 8
    assert sum(len(due(sql_store, lane)) for lane in lanes) == 40
    lane = lanes[0]
    held = due(sql_store, lane)
    with sql_store.write() as tx:
        tx.outbox.failed(held[0].id, status=None, problem="timeout", now=T, not_before=T + 9_000, dead=False)
        tx.outbox.release(lane, now=T)
    assert claim(sql_store).key == lane.key
    assert [d.id for d in due(sql_store, lane)] == [d.id for d in held[1:]]
    with sql_store.write() as tx:
        tx.outbox.delivered([d.id for d in held[1:]], 200, T)
        tx.outbox.release(replace(lane, fence=lane.fence + 1), now=T)
    assert claim(sql_store, now=T + 8_999) is None
    assert claim(sql_store, now=T + 9_000).key == lane.key


def test_the_log_tells_what_became_of_each_delivery(sql_store: Any) -> None:
    endpoints(sql_store, endpoint("w"))
    emit(sql_store, *(event(f"e{n}", at=T + n) for n in range(4)))
    first, second, third, _ = due(sql_store, claim(sql_store))
    with sql_store.write() as tx:
        tx.outbox.delivered([first.id], 200, T + 50)
        tx.outbox.dropped([second.id], "not visible", T + 51)
        tx.outbox.failed(third.id, status=410, problem="gone", now=T + 52, not_before=T + 52, dead=True)
    with sql_store.read() as tx:
        log, _ = tx.outbox.log(endpoint="w")
        assert [(d.event.id, d.state, d.attempts, d.last_status, d.last_problem, d.last_at) for d in log] == [
            ("e3", "ready", 0, None, None, None),
            ("e2", "dead", 1, 410, "gone", T + 52),
            ("e1", "dropped", 0, None, "not visible", T + 51),
            ("e0", "delivered", 1, 200, None, T + 50),
        ]
        assert [d.event.id for d in tx.outbox.log(state="dead")[0]] == ["e2"]
        assert [d.event.id for d in tx.outbox.log(since=T + 2)[0]] == ["e3", "e2"]
        assert list(tx.outbox.log(endpoint="other")[0]) == []
        page, cursor = tx.outbox.log(count=3)
        rest, end = tx.outbox.log(count=3, cursor=cursor)
        assert ([d.event.id for d in (*page, *rest)], end) == (["e3", "e2", "e1", "e0"], None)


def test_events_are_listed_oldest_first(sql_store: Any) -> None:
    emit(sql_store, *(event(f"e{n}", at=T + n) for n in range(5)))
    with sql_store.read() as tx:
        page, cursor = tx.outbox.events(since=T + 1, count=2)
        rest, end = tx.outbox.events(since=T + 1, count=2, cursor=cursor)
        assert ([e.id for e in (*page, *rest)], end) == (["e1", "e2", "e3", "e4"], None)
        assert page[0] == event("e1", at=T + 1)


def bury(store: Any, *ids: str) -> None:
    with store.write() as tx:
        for delivery in tx.outbox.log(count=100)[0]:
            if delivery.event.id in ids:
                tx.outbox.failed(delivery.id, status=500, problem="500", now=T, not_before=T, dead=True)


def test_failed_deliveries_of_a_range_are_sent_again(sql_store: Any) -> None:
    endpoints(sql_store, endpoint("w"))
    emit(sql_store, *(event(f"e{n}", at=T + n) for n in range(4)))
    lane = claim(sql_store)
    bury(sql_store, "e0", "e1", "e2")
    release(sql_store, lane, pause=10**9, failed=True)
    with sql_store.write() as tx:
        assert tx.outbox.resend("w", since=T + 1, until=T + 2) == 1
        assert tx.outbox.resend("absent", since=T) == 0
    lane = claim(sql_store)
    assert [(d.event.id, d.attempts) for d in due(sql_store, lane)] == [("e1", 0), ("e3", 0)]


def test_one_delivery_is_sent_again_whatever_became_of_it(sql_store: Any) -> None:
    endpoints(sql_store, endpoint("w"))
    emit(sql_store, event("e1"))
    lane = claim(sql_store)
    (delivery,) = due(sql_store, lane)
    with sql_store.write() as tx:
        tx.outbox.delivered([delivery.id], 200, T)
        assert tx.outbox.resend("w", delivery=delivery.id + 1) == 0
        assert tx.outbox.resend("other", delivery=delivery.id) == 0
        assert tx.outbox.resend("w", delivery=delivery.id) == 1
        tx.outbox.release(lane, now=T)
    assert claim(sql_store) is not None


def test_what_happened_while_an_endpoint_was_disabled_is_caught_up(sql_store: Any) -> None:
    commit(sql_store, grants=[member("home", "p", "e")])
    endpoints(sql_store, endpoint("w", partner="home", disabled="too many failures", created=T))
    emit(sql_store, event("before", at=T - 1), event("missed", at=T + 5), event("foreign", client="q", at=T + 6))
    endpoints(sql_store, endpoint("w", partner="home", created=T))
    with sql_store.write() as tx:
        assert tx.outbox.resend("w", since=0) == 1
    assert [d.event.id for d in due(sql_store, claim(sql_store))] == ["missed"]


def test_a_removed_endpoint_leaves_its_log_and_no_work(sql_store: Any) -> None:
    endpoints(sql_store, endpoint("w"))
    emit(sql_store, event("e1"))
    with sql_store.write() as tx:
        tx.outbox.drop_endpoint("w")
    assert claim(sql_store) is None
    with sql_store.read() as tx:
        assert [(d.event.id, d.state) for d in tx.outbox.log(endpoint="w")[0]] == [("e1", "dropped")]


def test_deliveries_of_a_disabled_endpoint_are_still_handed_out_to_be_buried(sql_store: Any) -> None:
    endpoints(sql_store, endpoint("w"))
    emit(sql_store, event("e1"))
    endpoints(sql_store, endpoint("w", disabled="410"))
    assert claim(sql_store) is not None


def test_an_event_is_kept_once(sql_store: Any) -> None:
    from fhircase.errors import Conflict

    emit(sql_store, event("e1"))
    with pytest.raises(Conflict):
        emit(sql_store, event("e1"))
