"""The one way in, on a real store: what a commit writes beside the resource, and what it must never do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhircase.errors import Conflict, Invalid, NotFound, Stale
from fhircase.flows import commit
from fhircase.flows.hub import Hub
from fhircase.plans.change import Agent, Change, Ref, Resource, Source, Write
from fhircase.plans.partner import Partner
from fhircase.ports import Viewer

HUB = Agent("hub", "Kim Lee")
REHAB = Agent("rehab")
MERCY = Agent("mercy")


@pytest.fixture
def hub(make_hub: Callable[..., Hub]) -> Hub:
    made = make_hub(maps=None)
    with made.store.write() as tx:
        for name in ("mercy", "rehab"):
            tx.partners.save(Partner(name, organization=f"o-{name}", base_url=f"http://{name}.example/fhir"))
    return made


def put(hub: Hub, *writes: Write, agent: Agent = HUB, kind: Any = "fhir") -> commit.Committed:
    change = commit.check(Change(writes, agent, Source(kind), "a test"))
    with hub.store.write() as tx:
        return commit.commit(hub, tx, change)


def goal(text: str = "Walk", **more: Any) -> Resource:
    return {
        "resourceType": "Goal",
        "lifecycleStatus": "active",
        "description": {"text": text},
        "subject": {"reference": "Patient/p1"},
        **more,
    }


def open_case(hub: Hub, *members: str) -> None:
    team = {
        "resourceType": "CareTeam", "status": "active", "identifier": [{"system": "urn:fhircase:team", "value": "t1"}],
        "subject": {"reference": "Patient/p1"}, "participant": [{"member": {"reference": f"Organization/o-{m}"}} for m in members],
    }  # fmt: skip
    episode = {"resourceType": "EpisodeOfCare", "status": "active", "patient": {"reference": "Patient/p1"}}
    plan = {
        "resourceType": "CarePlan", "status": "active", "intent": "plan", "subject": {"reference": "Patient/p1"},
        "goal": [{"reference": "Goal/g1"}],
    }  # fmt: skip
    writes = (
        Write("Patient", "p1", {"resourceType": "Patient"}),
        Write("EpisodeOfCare", "c1", episode, case="c1"),
        Write("CareTeam", "t1", team, case="c1"),
        Write("Goal", "g1", goal(), case="c1"),
        Write("CarePlan", "cp1", plan, case="c1"),
    )
    put(hub, *writes)


def seen(hub: Hub, partner: str, ref: Ref) -> bool:
    with hub.store.read() as tx:
        return tx.plans.read(Viewer(partner, False, hub.now()), ref) is not None


def marks(hub: Hub, partner: str) -> int:
    with hub.store.read() as tx:
        return sum(int(lane["waiting"]) for lane in tx.outbox.status() if lane["target"] == partner)


def test_equal_content_makes_no_new_version(hub: Hub) -> None:
    open_case(hub, "mercy")
    before = marks(hub, "mercy")
    again = put(hub, Write("Goal", "g1", goal()))
    assert again.stamp is None
    assert again.unchanged == {Ref("Goal", "g1")}
    assert again.stored[Ref("Goal", "g1")].version == 1
    assert marks(hub, "mercy") == before


def test_a_change_of_a_trailing_zero_is_a_change(hub: Hub) -> None:
    from fhircase.fhir import jsontext

    quantity = jsontext.loads('{"value": 72.5}')
    finer = jsontext.loads('{"value": 72.50}')
    put(hub, Write("Patient", "p1", {"resourceType": "Patient"}))
    put(hub, Write("Goal", "g1", goal(target=[{"measure": {"text": "m"}, "detailQuantity": quantity}])))
    done = put(hub, Write("Goal", "g1", goal(target=[{"measure": {"text": "m"}, "detailQuantity": finer}])))
    assert done.stored[Ref("Goal", "g1")].version == 2
    assert "72.50" in done.stored[Ref("Goal", "g1")].text


def test_a_stale_version_is_refused_and_nothing_of_the_change_is_kept(hub: Hub) -> None:
    open_case(hub, "mercy")
    put(hub, Write("Goal", "g1", goal("Walk further")))
    with pytest.raises(Stale):
        put(hub, Write("Goal", "g2", goal("New")), Write("Goal", "g1", goal("Older idea"), expect=1))
    with hub.store.read() as tx:
        assert tx.plans.get(Ref("Goal", "g2")) is None
        assert tx.plans.get(Ref("Goal", "g1")).body["description"]["text"] == "Walk further"


def test_what_must_not_exist_but_does_is_a_conflict(hub: Hub) -> None:
    open_case(hub, "mercy")
    with pytest.raises(Conflict):
        put(hub, Write("Goal", "g1", goal(), expect=0))


def test_every_problem_of_every_resource_is_told_before_anything_is_stored(hub: Hub) -> None:
    with pytest.raises(Invalid) as refused:
        put(hub, Write("Goal", "g1", goal(lifecycleStatus="activ")), Write("Goal", "g2", goal(colour="red")))
    assert {p.path.split(".")[1] for p in refused.value.problems} == {"lifecycleStatus", "colour"}


def test_a_member_of_the_team_sees_the_case_and_is_sent_it(hub: Hub) -> None:
    open_case(hub, "mercy")
    assert seen(hub, "mercy", Ref("Goal", "g1"))
    assert seen(hub, "mercy", Ref("Patient", "p1"))
    assert not seen(hub, "rehab", Ref("Goal", "g1"))
    assert marks(hub, "mercy") >= 4
    assert marks(hub, "rehab") == 0


def test_a_partner_cannot_write_what_it_may_not_see_and_is_told_that_it_is_not_there(hub: Hub) -> None:
    open_case(hub, "mercy")
    with pytest.raises(NotFound):
        put(hub, Write("Goal", "g1", goal("Mine")), agent=REHAB)
    with pytest.raises(Invalid, match="not known here"):
        put(hub, Write("Goal", "g9", goal("Mine")), agent=REHAB)


def handover(status: str) -> Resource:
    return {
        "resourceType": "Task", "status": status, "intent": "order", "for": {"reference": "Patient/p1"},
        "identifier": [{"system": "urn:fhircase:handover", "value": "h1"}],
        "owner": {"reference": "Organization/o-rehab"}, "requester": {"reference": "Organization/o-mercy"},
    }  # fmt: skip


def test_the_receiver_of_a_handover_sees_the_task_and_the_client_alone(hub: Hub) -> None:
    open_case(hub, "mercy")
    put(hub, Write("Task", "h1", handover("requested"), case="c1"))
    assert seen(hub, "rehab", Ref("Task", "h1"))
    assert seen(hub, "rehab", Ref("Patient", "p1"))
    assert not seen(hub, "rehab", Ref("CarePlan", "cp1"))


def test_accepting_the_handover_makes_a_member_and_sends_the_whole_plan(hub: Hub) -> None:
    open_case(hub, "mercy")
    put(hub, Write("Task", "h1", handover("requested"), case="c1"))
    before = marks(hub, "rehab")
    done = put(hub, Write("Task", "h1", handover("accepted")), agent=REHAB, kind="partner")
    assert Ref("CareTeam", "t1") in done.stored
    assert seen(hub, "rehab", Ref("CarePlan", "cp1"))
    assert marks(hub, "rehab") > before
    with hub.store.read() as tx:
        member = [g for g in tx.plans.grants(case="c1") if g.partner == "mercy" and g.kind == "member"]
    assert [g.until is not None for g in member] == [True]


def test_a_partner_that_adds_itself_to_the_team_changes_nothing_and_a_person_is_asked(hub: Hub) -> None:
    open_case(hub, "mercy")
    with hub.store.read() as tx:
        team = tx.plans.get(Ref("CareTeam", "t1")).body
    team["participant"].append({"member": {"reference": "Organization/o-rehab"}})
    done = put(hub, Write("CareTeam", "t1", team), agent=MERCY)
    assert len(done.reviews) == 1
    assert not seen(hub, "rehab", Ref("Goal", "g1"))
    with hub.store.read() as tx:
        assert len(tx.plans.get(Ref("CareTeam", "t1")).body["participant"]) == 1
        assert [r.review.kind for r in tx.reviews.list()[0]] == ["widening"]


def test_a_partner_cannot_take_a_label_off(hub: Hub) -> None:
    open_case(hub, "mercy")
    label = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}
    put(hub, Write("Goal", "g1", goal(meta={"security": [label]})))
    put(hub, Write("Goal", "g1", goal("Walk more")), agent=MERCY)
    with hub.store.read() as tx:
        kept = tx.plans.get(Ref("Goal", "g1")).body
    assert kept["description"]["text"] == "Walk more"
    assert kept["meta"]["security"] == [label]


def test_what_the_plan_refers_to_joins_the_case_and_becomes_visible(hub: Hub) -> None:
    open_case(hub, "mercy")
    put(hub, Write("Goal", "g2", goal("Cook"), client="p1"))
    with hub.store.read() as tx:
        plan = tx.plans.get(Ref("CarePlan", "cp1")).body
    plan["goal"].append({"reference": "Goal/g2"})
    put(hub, Write("CarePlan", "cp1", plan))
    with hub.store.read() as tx:
        assert tx.plans.get(Ref("Goal", "g2")).case == "c1"


def test_every_commit_tells_who_when_and_from_what(hub: Hub) -> None:
    open_case(hub, "mercy")
    with hub.store.read() as tx:
        told = [s.body for s in tx.plans.of_client("p1", ["Provenance"])]
        audit, _ = tx.audit.list(client="p1")
        assert tx.audit.verify() is None
    assert len(told) == 1
    assert "Goal/g1/_history/1" in {t["reference"] for t in told[0]["target"]}
    assert told[0]["agent"][0]["who"]["display"] == "Kim Lee"
    assert [entry.action for _, entry in audit] == ["C"]


def test_the_correlation_of_a_request_goes_along_to_lanes_events_and_audit(hub: Hub) -> None:
    from fhircase.ports import Endpoint

    open_case(hub, "mercy")
    with hub.store.write() as tx:
        tx.outbox.save_endpoint(Endpoint("e1", "hub", "https://x.example", (), ()))
        change = commit.check(Change((Write("Goal", "g1", goal("Walk more")),), HUB, Source("fhir"), "a test"))
        commit.commit(hub, tx, change, correlation="req-1")
    with hub.store.write() as tx:
        lane = tx.outbox.claim("me", hub.now(), 1000, kinds=("fhir",))
        assert lane is not None
        told = {str(mark.ref): mark.correlation for mark in tx.outbox.marks(lane, 50)}
        events, _ = tx.outbox.events()
        audit, _ = tx.audit.list(client="p1")
    assert told["Goal/g1"] == "req-1"
    assert [e.data["correlation"] for e in events if e.type == "goal.updated"] == ["req-1"]
    assert "req-1" in {entry.correlation for _, entry in audit}
