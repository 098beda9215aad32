"""A person settles what two sides could not agree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhircase.errors import Conflict, Invalid, NotFound
from fhircase.flows import commit
from fhircase.flows.hub import Hub
from fhircase.flows.settle import settle
from fhircase.plans.change import Agent, Change, Ref, Resource, Review, Source, Write
from fhircase.plans.partner import Partner
from fhircase.ports import Link

KIM = Agent("hub", "Kim Lee")
GOAL = Ref("Goal", "g1")


def goal(priority: str) -> Resource:
    return {
        "resourceType": "Goal", "lifecycleStatus": "active", "description": {"text": "Walk"}, "subject": {"reference": "Patient/p1"},
        "priority": {"text": priority},
    }  # fmt: skip


@pytest.fixture
def hub(make_hub: Callable[..., Hub]) -> Hub:
    made = make_hub(maps=None)
    change = Change(
        (Write("Patient", "p1", {"resourceType": "Patient"}), Write("Goal", "g1", goal("high"))),
        KIM,
        Source("fhir"),
        "a test",
        reviews=(
            Review(
                "conflict", "k", "priority was changed here and by rehab", subject=GOAL, client="p1", partner="rehab", holds="priority",
                detail={"element": "priority", "ours": '{"priority":{"text":"high"}}', "theirs": '{"priority":{"text":"low"}}'},
            ),
            Review("destination", "d", "who takes over?", client="p1"),
        ),
    )  # fmt: skip
    with made.store.write() as tx:
        for name in ("mercy", "rehab"):
            tx.partners.save(Partner(name, organization=f"o-{name}", base_url=f"http://{name}.example/fhir"))
            tx.links.save([Link(name, GOAL, remote="9", etag='W/"1"')])
        commit.commit(made, tx, change)
    return made


def review(hub: Hub, kind: str) -> str:
    with hub.store.read() as tx:
        return next(r.id for r in tx.reviews.list()[0] if r.review.kind == kind)


def state(hub: Hub) -> tuple[Any, frozenset[str], dict[str, int]]:
    with hub.store.read() as tx:
        stored = tx.plans.get(GOAL)
        assert stored is not None
        waiting = {str(lane["target"]): int(lane["waiting"]) for lane in tx.outbox.status() if lane["waiting"]}
        return stored.body["priority"]["text"], tx.reviews.holds([GOAL]).get(GOAL, frozenset()), waiting


def test_taking_ours_lets_it_flow_to_every_partner_that_has_a_copy(hub: Hub) -> None:
    assert state(hub) == ("high", frozenset({"priority"}), {})
    done = settle(hub, review(hub, "conflict"), {"take": "ours"}, agent=KIM)
    assert done.settled_by == "Kim Lee"
    assert state(hub) == ("high", frozenset(), {"mercy": 1, "rehab": 1})


def test_taking_theirs_makes_it_ours_as_this_persons_change(hub: Hub) -> None:
    settle(hub, review(hub, "conflict"), {"take": "theirs"}, agent=KIM)
    assert state(hub)[0] == "low"
    with hub.store.read() as tx:
        told = [s.body for s in tx.plans.of_client("p1", ["Provenance"])][-1]
    assert told["agent"][0]["who"]["display"] == "Kim Lee"


def test_a_third_value_may_be_chosen(hub: Hub) -> None:
    settle(hub, review(hub, "conflict"), {"take": "value", "value": {"text": "medium"}}, agent=KIM)
    assert state(hub)[0] == "medium"


def test_a_value_that_breaks_the_checks_is_refused_and_the_review_stays_open(hub: Hub) -> None:
    with pytest.raises(Invalid):
        settle(hub, review(hub, "conflict"), {"take": "value", "value": "medium"}, agent=KIM)
    assert state(hub) == ("high", frozenset({"priority"}), {})


def test_what_holds_no_element_can_only_be_done(hub: Hub) -> None:
    with pytest.raises(Invalid, match="holds no element"):
        settle(hub, review(hub, "destination"), {"take": "theirs"}, agent=KIM)
    settle(hub, review(hub, "destination"), {"take": "done", "note": "by telephone"}, agent=KIM)


@pytest.mark.parametrize("wrong", [{}, {"take": "both"}, {"take": "value"}])
def test_a_way_that_there_is_not_is_refused(hub: Hub, wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        settle(hub, review(hub, "conflict"), wrong, agent=KIM)


def test_what_is_settled_or_absent_is_told(hub: Hub) -> None:
    chosen = review(hub, "conflict")
    settle(hub, chosen, {"take": "ours"}, agent=KIM)
    with pytest.raises(Conflict):
        settle(hub, chosen, {"take": "ours"}, agent=KIM)
    with pytest.raises(NotFound):
        settle(hub, "nowhere", {"take": "ours"}, agent=KIM)


def test_settling_tells_the_webhooks(hub: Hub) -> None:
    chosen = review(hub, "conflict")
    settle(hub, chosen, {"take": "theirs"}, agent=KIM)
    with hub.store.read() as tx:
        events, _ = tx.outbox.events()
    assert [e.data["review"] for e in events if e.type == "review.settled"] == [chosen]
