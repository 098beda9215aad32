from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fhircase.flows import notify
from fhircase.plans.change import Grant
from fhircase.ports import PartnerDown, Reply
from tests.conftest import FrozenClock
from tests.unit.webhooks.support import LANE, NOW, SECRET, endpoint, event, hub_with, queue

MINUTE = 60_000


def test_events_of_a_lane_are_posted_in_order_and_leave_the_queue() -> None:
    hub, tx, poster = hub_with()
    queue(tx, event(1), event(2), event(3))
    assert notify.step(hub, LANE, NOW) == 3
    assert poster.ids == ["w1", "w2", "w3"]
    assert tx.outbox.states() == ["delivered"] * 3
    assert tx.outbox.released == [(0, False)]


def test_a_thin_body_holds_ids_and_links_and_nothing_of_the_resource() -> None:
    hub, tx, poster = hub_with()
    queue(tx, event(1))
    notify.step(hub, LANE, NOW)
    assert json.loads(poster.posted[0][1]) == {
        "type": "goal.updated",
        "timestamp": "2026-11-22T05:24:38.123Z",
        "data": {
            "resource": "Goal/g1",
            "version": 1,
            "seq": 1,
            "client": "Patient/c1",
            "case": "EpisodeOfCare/k1",
            "by": "hub",
            "url": "http://127.0.0.1:8080/fhir/Goal/g1",
        },
    }


def test_a_full_body_holds_the_version_as_it_is_served_to_the_owner() -> None:
    hub, tx, poster = hub_with()
    queue(tx, event(1), to=endpoint(thin=False))
    notify.step(hub, LANE, NOW)
    body = poster.posted[0][1]
    assert b'"text":"72.50"' in body
    assert json.loads(body)["data"]["body"]["meta"]["versionId"] == "1"


def test_a_full_body_leaves_out_a_version_that_the_owner_may_not_read() -> None:
    hub, tx, poster = hub_with()
    queue(tx, event(1, data={"resource": "Goal/g1", "version": 2}), to=endpoint(thin=False))
    notify.step(hub, LANE, NOW)
    assert "body" not in json.loads(poster.posted[0][1])["data"]


def test_what_the_owner_may_not_see_is_dropped_unsent_and_the_rest_goes_on() -> None:
    hub, tx, poster = hub_with()
    queue(tx, event(1))
    queue(tx, event(2), visible=False)
    queue(tx, event(3))
    notify.step(hub, LANE, NOW)
    assert poster.ids == ["w1", "w3"]
    assert tx.outbox.states() == ["delivered", "dropped", "delivered"]


def test_the_hubs_own_endpoint_sees_everything() -> None:
    hub, tx, poster = hub_with()
    queue(tx, event(1), event(2, "review.opened", data={"kind": "identity"}), to=endpoint(partner="hub"), visible=False)
    notify.step(hub, LANE, NOW)
    assert poster.ids == ["w1", "w2"]


def test_reviews_are_told_to_the_hub_alone() -> None:
    hub, tx, poster = hub_with()
    queue(tx, event(1, "review.opened", data={"kind": "identity", "resource": "Goal/g1"}))
    notify.step(hub, LANE, NOW)
    assert poster.ids == []
    assert tx.outbox.states() == ["dropped"]


def test_a_revoked_partner_is_told_that_it_was_revoked_and_strangers_are_not() -> None:
    revoked = event(1, "case.revoked", data={"partner": "rehab", "grant": "member"})
    other = event(2, "case.revoked", data={"partner": "homecare", "grant": "member"})
    hub, tx, poster = hub_with()
    queue(tx, revoked, other)
    notify.step(hub, LANE, NOW)
    assert poster.ids == ["w1"]


def test_a_member_is_told_who_else_may_see_the_case() -> None:
    hub, tx, poster = hub_with()
    tx.plans.held.append(Grant("rehab", "c1", "k1", "member", 0))
    queue(tx, event(1, "case.granted", data={"partner": "homecare", "grant": "member"}))
    notify.step(hub, LANE, NOW)
    assert poster.ids == ["w1"]


def test_an_invited_partner_is_not_told_who_else_may_see_the_case() -> None:
    hub, tx, poster = hub_with()
    tx.plans.held.append(Grant("rehab", "c1", "k1", "invited", 0))
    queue(tx, event(1, "case.granted", data={"partner": "homecare", "grant": "member"}))
    notify.step(hub, LANE, NOW)
    assert poster.ids == []


def test_a_resource_told_of_twice_is_looked_up_once() -> None:
    hub, tx, _ = hub_with()
    queue(tx, event(1), event(1, "goal.created"))
    notify.step(hub, LANE, NOW)
    assert tx.plans.reads == 1


def test_a_failing_delivery_of_a_fifo_endpoint_holds_up_the_rest() -> None:
    hub, tx, poster = hub_with(500)
    queue(tx, event(1), event(2))
    assert notify.step(hub, LANE, NOW) == 0
    assert poster.ids == ["w1"]
    assert [(row.state, row.attempts) for row in tx.outbox.rows] == [("ready", 1), ("ready", 0)]
    pause, failed = tx.outbox.released[0]
    assert failed and pause == tx.outbox.rows[0].not_before - NOW


def test_a_fifo_lane_claimed_too_early_sends_nothing_past_its_head() -> None:
    hub, tx, poster = hub_with()
    queue(tx, event(1), event(2))
    tx.outbox.rows[0] = replace(tx.outbox.rows[0], not_before=NOW + 1)
    notify.step(hub, LANE, NOW)
    assert poster.ids == []


def test_what_was_delivered_before_a_failure_is_acknowledged() -> None:
    hub, tx, _ = hub_with(204, 503)
    queue(tx, event(1), event(2), event(3))
    assert notify.step(hub, LANE, NOW) == 1
    assert tx.outbox.states() == ["delivered", "ready", "ready"]


def test_a_failing_delivery_of_a_parallel_endpoint_holds_up_nothing() -> None:
    hub, tx, poster = hub_with(500, 204)
    queue(tx, event(1), event(2), to=endpoint(fifo=False))
    notify.step(hub, LANE, NOW)
    assert poster.ids == ["w1", "w2"]
    assert tx.outbox.states() == ["ready", "delivered"]
    assert tx.outbox.released == [(0, True)]


def test_a_parallel_endpoint_that_is_silent_is_not_waited_for_time_after_time() -> None:
    hub, tx, poster = hub_with(PartnerDown("no answer within 15 seconds"))
    queue(tx, event(1), event(2), to=endpoint(fifo=False))
    notify.step(hub, LANE, NOW)
    assert poster.ids == ["w1"]
    assert tx.outbox.released == [(5_000, True)]


@pytest.mark.parametrize(
    ("failed", "least"),
    [
        (1, 5_000),
        (2, 5 * MINUTE),
        (3, 30 * MINUTE),
        (4, 120 * MINUTE),
        (5, 300 * MINUTE),
        (6, 600 * MINUTE),
        (7, 840 * MINUTE),
        (8, 1_200 * MINUTE),
        (9, 1_440 * MINUTE),
    ],
)
def test_the_retry_table_is_that_of_standard_webhooks(failed: int, least: int) -> None:
    hub, _, _ = hub_with()
    delay = notify.retry_delay(hub, failed, None)
    assert delay is not None
    assert least <= delay <= least * 1.25


def test_the_retry_table_ends_after_ten_attempts_in_three_days() -> None:
    hub, _, _ = hub_with()
    assert notify.retry_delay(hub, 10, None) is None
    assert sum(notify.RETRIES) == 272_105_000


@pytest.mark.parametrize(("asked", "given"), [(2, 5_625), (60, 60_000), (10**9, 3_600_000), (-5, 5_625)])
def test_retry_after_lengthens_a_pause_up_to_an_hour(asked: float, given: int) -> None:
    hub, _, _ = hub_with()
    assert notify.retry_delay(hub, 1, asked) == given


def test_retry_after_is_taken_from_the_answer() -> None:
    hub, tx, _ = hub_with(Reply(429, None, retry_after=90.0))
    queue(tx, event(1))
    notify.step(hub, LANE, NOW)
    assert tx.outbox.rows[0].not_before == NOW + 90_000


def test_the_tenth_failure_disables_the_endpoint_and_tells() -> None:
    hub, tx, _ = hub_with(500)
    queue(tx, event(1), event(2), attempts=9)
    notify.step(hub, LANE, NOW)
    assert tx.outbox.kept["e1"].disabled == "the endpoint answered 500"
    told = [(event.type, event.data["endpoint"], event.data["partner"]) for event, _ in tx.outbox.emitted]
    assert told == [("endpoint.disabled", "e1", "rehab")]
    assert tx.outbox.states() == ["dead", "ready"]


def test_410_disables_at_once() -> None:
    hub, tx, _ = hub_with(410)
    queue(tx, event(1))
    notify.step(hub, LANE, NOW)
    assert tx.outbox.kept["e1"].disabled == "the endpoint answered 410 Gone"


def test_what_waits_for_a_disabled_endpoint_leaves_the_queue_unsent() -> None:
    hub, tx, poster = hub_with()
    queue(tx, event(1), event(2), to=endpoint(disabled="the endpoint answered 410 Gone"))
    assert notify.step(hub, LANE, NOW) == 2
    assert poster.ids == []
    assert tx.outbox.states() == ["dead", "dead"]


def test_a_redirect_is_a_failure_that_says_why() -> None:
    hub, tx, _ = hub_with(302)
    queue(tx, event(1))
    notify.step(hub, LANE, NOW)
    assert tx.outbox.rows[0].last_problem == "the endpoint answered 302; redirects are not followed"


def test_a_worker_that_lost_its_lane_records_only_what_was_delivered() -> None:
    hub, tx, _ = hub_with(204, 500)
    queue(tx, event(1), event(2))
    tx.outbox.lost = True
    assert notify.step(hub, LANE, NOW) == 0
    assert [(row.state, row.attempts) for row in tx.outbox.rows] == [("delivered", 0), ("ready", 0)]
    assert tx.outbox.released == []


def test_no_post_is_begun_after_half_the_lease() -> None:
    clock = FrozenClock()
    hub, tx, poster = hub_with(clock=clock)
    post = poster.post

    def slow(*asked: object) -> Reply:
        clock.tick(seconds=14)
        return post(*asked)  # type: ignore[arg-type]

    poster.post = slow  # type: ignore[method-assign, assignment]
    queue(tx, *[event(n) for n in range(1, 9)])
    notify.step(hub, LANE)
    assert poster.ids == ["w1", "w2", "w3"]
    assert tx.outbox.states().count("delivered") == 3


def test_both_secrets_sign_until_the_older_ends() -> None:
    older = "sealed:whsec_" + "A" * 32
    for until, signatures in [(NOW + 1, 2), (NOW, 1)]:
        hub, tx, poster = hub_with()
        queue(tx, event(1), to=endpoint(secrets=("sealed:" + SECRET, older), old_until=until))
        notify.step(hub, LANE, NOW)
        assert len(poster.posted[0][2]["webhook-signature"].split()) == signatures


def test_an_attempt_is_dated_when_it_is_made_and_keeps_its_id() -> None:
    clock = FrozenClock()
    hub, tx, poster = hub_with(500, 204, clock=clock)
    queue(tx, event(1))
    notify.step(hub, LANE)
    clock.tick(seconds=10)
    notify.step(hub, LANE)
    assert poster.ids == ["w1", "w1"]
    assert int(poster.posted[1][2]["webhook-timestamp"]) == int(poster.posted[0][2]["webhook-timestamp"]) + 10
