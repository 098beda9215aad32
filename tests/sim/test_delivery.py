"""Delivery over lanes, against servers with the habits that real ones have (PARTNERS.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhircase.flows import deliver
from fhircase.plans.change import Ref, Review
from fhircase.ports import PartnerDown
from tests.conftest import FrozenClock
from tests.sim.scene import Scene, server
from tests.sim.server import down
from tests.sim.test_convergence import fresh as fresh

GOAL, PLAN, SERVICE, DOCTOR = Ref("Goal", "g1"), Ref("CarePlan", "p1"), Ref("ServiceRequest", "s1"), Ref("Practitioner", "d1")
SUBJECT = {"reference": "Patient/client"}


@pytest.fixture
def make(fresh: Callable[[], Any]) -> Callable[..., Scene]:
    def build(dialect: dict[str, Any] | None = None, **odd: Any) -> Scene:
        clock = FrozenClock()
        return Scene(fresh(), {"rehab": server("rehab", clock, **odd)}, clock, dialects=None if dialect is None else {"rehab": dialect})

    return build


def goal(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Goal", "id": "g1", "lifecycleStatus": "active", "description": {"text": "walk"}, "subject": SUBJECT, **more}


def plan(**more: Any) -> dict[str, Any]:
    return {"resourceType": "CarePlan", "id": "p1", "status": "active", "intent": "plan", "subject": SUBJECT, **more}


def service(**more: Any) -> dict[str, Any]:
    return {"resourceType": "ServiceRequest", "id": "s1", "status": "active", "intent": "order", "subject": SUBJECT, **more}


def journal(scene: Scene, type_: str) -> list[str]:
    return [verb for verb, t, _, _ in scene.servers["rehab"].journal if t == type_]


def test_parents_are_created_before_children_and_nothing_dangles(make: Callable[..., Scene]) -> None:
    scene = make(checks_references=True)
    scene.write({"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Doe"}]})
    scene.write(plan(goal=[{"reference": "Goal/g1"}]), goal(expressedBy={"reference": "Practitioner/d1"}))
    scene.deliver()
    types = [t for _, t, _, _ in scene.servers["rehab"].journal]
    assert types.index("Patient") < types.index("Practitioner") < types.index("Goal") < types.index("CarePlan")
    there = scene.theirs("rehab", PLAN)
    assert there["goal"] == [{"reference": f"Goal/{scene.theirs('rehab', GOAL)['id']}"}]


def test_a_cycle_is_broken_by_a_logical_reference_and_closed_afterwards(make: Callable[..., Scene]) -> None:
    scene = make(checks_references=True)
    scene.write(plan(activity=[{"reference": {"reference": "ServiceRequest/s1"}}]), service(basedOn=[{"reference": "CarePlan/p1"}]))
    scene.deliver()
    there, order = scene.theirs("rehab", PLAN), scene.theirs("rehab", SERVICE)
    assert there["activity"][0]["reference"]["reference"] == f"ServiceRequest/{order['id']}"
    assert order["basedOn"] == [{"reference": f"CarePlan/{there['id']}"}]
    assert len(scene.servers["rehab"].held("CarePlan")) == len(scene.servers["rehab"].held("ServiceRequest")) == 1
    assert scene.waiting() == 0


def test_a_reference_to_what_is_never_sent_goes_by_identifier(make: Callable[..., Scene]) -> None:
    scene = make(checks_references=True)
    scene.write(goal(addresses=[{"reference": "MedicationRequest/m1", "display": "Warfarin"}]))
    scene.deliver()
    assert scene.theirs("rehab", GOAL)["addresses"] == [
        {"display": "Warfarin", "type": "MedicationRequest", "identifier": {"system": "urn:fhircase:id", "value": "MedicationRequest/m1"}}
    ]
    writes = scene.servers["rehab"].writes
    scene.settle()
    assert scene.servers["rehab"].writes == writes
    assert scene.ours(GOAL)["addresses"] == [{"reference": "MedicationRequest/m1", "display": "Warfarin"}]


def test_the_hubs_identifier_is_on_the_copy_and_not_on_ours(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.write(goal(identifier=[{"system": "urn:x", "value": "1"}]))
    scene.deliver()
    assert scene.theirs("rehab", GOAL)["identifier"] == [
        {"system": "urn:x", "value": "1"},
        {"system": "urn:fhircase:id", "value": "Goal/g1"},
    ]
    assert scene.ours(GOAL)["identifier"] == [{"system": "urn:x", "value": "1"}]


def test_a_client_that_is_there_is_found_by_its_number_and_never_updated(make: Callable[..., Scene]) -> None:
    scene = make()
    there = scene.servers["rehab"].add(
        {
            "resourceType": "Patient",
            "identifier": [{"system": "http://hospital.example/mrn", "value": "client"}],
            "birthDate": "1950-02-03",
            "gender": "male",
        }
    )
    scene.deliver()
    scene.edit(Ref("Patient", "client"), gender="female")
    scene.write(goal())
    scene.deliver()
    assert journal(scene, "Patient") == []
    assert scene.servers["rehab"].held("Patient")[there]["gender"] == "male"
    assert scene.theirs("rehab", GOAL)["subject"] == {"reference": f"Patient/{there}"}


def test_two_records_of_one_number_ask_a_person_and_nothing_is_created(make: Callable[..., Scene]) -> None:
    scene = make()
    for _ in range(2):
        scene.servers["rehab"].add(
            {"resourceType": "Patient", "identifier": [{"system": "http://hospital.example/mrn", "value": "client"}]}
        )
    scene.deliver()
    assert [review.subject for review in scene.reviews("identity")] == [Ref("Patient", "client")]
    assert journal(scene, "Patient") == []


def test_another_birth_date_under_the_same_number_asks_a_person(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.servers["rehab"].add(
        {"resourceType": "Patient", "identifier": [{"system": "http://hospital.example/mrn", "value": "client"}], "birthDate": "1987-01-01"}
    )
    scene.deliver()
    assert len(scene.reviews("identity")) == 1


@pytest.mark.parametrize(("choose_ids", "dialect", "verb"), [(True, {"ids": "any"}, "PUT"), (False, {"ids": "none"}, "POST")])
def test_a_server_without_conditional_create_gets_the_next_rung(
    make: Callable[..., Scene], choose_ids: bool, dialect: dict[str, Any], verb: str
) -> None:
    scene = make(dialect, conditional=frozenset({"Patient"}), choose_ids=choose_ids)
    scene.write(goal())
    scene.deliver()
    assert journal(scene, "Goal") == [verb]
    with scene.hub.store.read() as tx:
        partner = tx.partners.get("rehab")
    assert partner is not None and partner.dialect["create_by_type"]["Goal"] == ("put" if verb == "PUT" else "search")


@pytest.mark.parametrize("dialect", [{"ids": "none"}, {"create": "put", "ids": "any"}, {"create": "search"}])
def test_an_unanswered_create_is_found_again_and_not_repeated(make: Callable[..., Scene], dialect: dict[str, Any]) -> None:
    scene = make(dialect)
    scene.deliver()
    scene.write(goal())

    def lose(method: str) -> None:
        if method in ("POST", "PUT"):
            raise PartnerDown("no answer in time")

    scene.servers["rehab"].after = lose
    assert scene.deliver_one()
    assert (link := scene.link("rehab", GOAL)) is not None and link.pend is not None and link.remote is None
    scene.servers["rehab"].after = None
    scene.edit(GOAL, lifecycleStatus="completed")
    scene.settle()
    assert len(scene.servers["rehab"].carrying("Goal/g1")) == 1
    assert scene.theirs("rehab", GOAL)["lifecycleStatus"] == "completed"
    assert scene.reviews() == []


@pytest.mark.parametrize("history", [True, False])
def test_an_unanswered_update_that_landed_is_not_taken_for_their_edit(make: Callable[..., Scene], history: bool) -> None:
    scene = make({"ids": "any", "history": "unstable" if history else "none"}, history=history)
    scene.write(goal())
    scene.deliver()
    scene.edit(GOAL, description={"text": "run"})

    def lose(method: str) -> None:
        if method == "PUT":
            raise PartnerDown("no answer in time")

    scene.servers["rehab"].after = lose
    assert scene.deliver_one()
    scene.servers["rehab"].after = None
    scene.edit(GOAL, description={"text": "fly"})
    scene.settle()
    assert scene.theirs("rehab", GOAL)["description"] == scene.ours(GOAL)["description"] == {"text": "fly"}
    assert scene.reviews() == []


@pytest.mark.parametrize("stale", [409, 412])
def test_a_stale_write_is_joined_with_what_they_changed(make: Callable[..., Scene], stale: int) -> None:
    scene = make(stale=stale)
    scene.write(goal())
    scene.deliver()
    id_ = scene.theirs("rehab", GOAL)["id"]
    scene.servers["rehab"].edit("Goal", id_, lambda g: g.update(lifecycleStatus="completed"))
    scene.edit(GOAL, description={"text": "run"})
    scene.deliver()
    for held in (scene.ours(GOAL), scene.theirs("rehab", GOAL)):
        assert (held["lifecycleStatus"], held["description"]) == ("completed", {"text": "run"})


def test_a_true_conflict_keeps_both_sides_and_shows_both_values(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.write(goal())
    scene.deliver()
    id_ = scene.theirs("rehab", GOAL)["id"]
    scene.servers["rehab"].edit("Goal", id_, lambda g: g.update(description={"text": "climb"}))
    scene.edit(GOAL, description={"text": "run"}, statusReason="why")
    scene.settle()
    (review,) = scene.reviews("conflict")
    assert isinstance(review, Review) and review.holds == "description" and review.partner == "rehab"
    assert (review.detail["ours"], review.detail["theirs"]) == ('{"description":{"text":"run"}}', '{"description":{"text":"climb"}}')
    assert scene.ours(GOAL)["description"] == {"text": "run"}
    assert scene.theirs("rehab", GOAL)["description"] == {"text": "climb"}
    assert scene.theirs("rehab", GOAL)["statusReason"] == "why", "the rest flows"


def test_what_the_server_adds_to_our_copy_is_not_wiped_by_our_next_write(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.write(goal())
    scene.deliver()
    id_ = scene.theirs("rehab", GOAL)["id"]
    row = scene.servers["rehab"].rows[("Goal", id_)][-1]
    row.resource["text"] = {"status": "additional", "div": "<div xmlns='http://www.w3.org/1999/xhtml'>theirs</div>"}
    row.resource["meta"]["tag"] = [{"code": "theirs"}]
    link = scene.link("rehab", GOAL)
    assert link is not None and link.stored is not None
    scene.servers["rehab"].edit("Goal", id_, lambda g: g.update(statusReason="x"))
    scene.settle()
    scene.edit(GOAL, description={"text": "run"})
    scene.deliver()
    there = scene.theirs("rehab", GOAL)
    assert there["text"]["status"] == "additional" and there["meta"]["tag"] == [{"code": "theirs"}]
    assert "text" not in scene.ours(GOAL)


def test_an_outage_pauses_the_lane_and_loses_nothing(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.deliver()
    scene.servers["rehab"].before = down
    scene.write(goal())
    assert scene.deliver_one() and not scene.deliver_one()
    with scene.hub.store.read() as tx:
        (lane,) = [lane for lane in tx.outbox.status() if lane["waiting"]]
    assert lane["fails"] == 1 and lane["not_before"] > scene.clock.ms
    scene.servers["rehab"].before = None
    scene.clock.tick(seconds=5)
    scene.deliver()
    assert scene.theirs("rehab", GOAL)["description"] == {"text": "walk"}


def test_content_that_is_refused_is_parked_and_the_lane_goes_on(make: Callable[..., Scene]) -> None:
    scene = make(refuses=frozenset({"Goal"}))
    scene.write(plan(title="Home"))
    scene.write(goal(), plan(title="Home", goal=[{"reference": "Goal/g1"}]))
    scene.deliver()
    (review,) = scene.reviews("undeliverable")
    assert review.subject == GOAL and review.detail["issues"] == ["business-rule Goal"]
    assert scene.theirs("rehab", PLAN)["goal"][0]["identifier"]["value"] == "Goal/g1"
    scene.servers["rehab"].refuses = frozenset()
    scene.edit(GOAL, description={"text": "run"})
    scene.deliver()
    assert scene.theirs("rehab", GOAL)["description"] == {"text": "run"}


def test_a_copy_that_is_gone_ends_the_link_and_is_not_created_again(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.write(goal())
    scene.deliver()
    scene.servers["rehab"].remove("Goal", scene.theirs("rehab", GOAL)["id"])
    scene.edit(GOAL, description={"text": "run"})
    scene.deliver()
    scene.edit(GOAL, description={"text": "fly"})
    scene.deliver()
    assert [review.subject for review in scene.reviews("partner-deleted")] == [GOAL]
    assert scene.servers["rehab"].carrying("Goal/g1") == [] and journal(scene, "Goal") == ["POST"]


def test_a_deletion_here_becomes_entered_in_error_there(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.write(goal())
    scene.deliver()
    scene.delete(GOAL)
    scene.deliver()
    assert scene.theirs("rehab", GOAL)["lifecycleStatus"] == "entered-in-error"
    assert (link := scene.link("rehab", GOAL)) is not None and link.state == "ended"


def test_a_partner_that_has_left_the_team_is_not_pushed(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.deliver()
    team = Ref("CareTeam", "team-case")
    scene.edit(
        team, participant=[{"member": {"reference": "Organization/org-rehab"}, "period": {"start": "2026-01-01", "end": "2026-01-02"}}]
    )
    scene.write(goal())
    scene.settle()
    assert scene.servers["rehab"].held("Goal") == {}


def test_every_request_carries_the_correlation_id_and_stands_in_the_ledger(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.write(goal())
    scene.deliver()
    with scene.hub.store.read() as tx:
        rows = tx.ledger.list("rehab", count=200)[0]
    assert len([row for row in rows if row.verb in ("GET", "POST", "PUT")]) == len(scene.servers["rehab"].asked)
    assert {headers["X-Request-Id"] for _, _, headers in scene.servers["rehab"].asked} == {row.correlation for row in rows}


def test_a_worker_that_lost_its_lane_records_nothing(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.deliver()
    scene.write(goal())
    with scene.hub.store.write() as tx:
        lane = tx.outbox.claim("slow", scene.hub.now(), 1_000, ("fhir",))
    assert lane is not None

    def steal(method: str) -> None:
        if method == "POST":
            scene.clock.tick(seconds=61)
            with scene.hub.store.write() as tx:
                assert tx.outbox.claim("fast", scene.hub.now(), 60_000, ("fhir",)) is not None

    scene.servers["rehab"].before = steal
    deliver.step(scene.hub, lane)
    assert (link := scene.link("rehab", GOAL)) is not None and link.remote is None and link.pend is not None


def test_a_worker_that_died_after_its_batch_landed_leaves_nothing_to_be_taken_for_their_edit(make: Callable[..., Scene]) -> None:
    """The plan's update and the goal that it refers to both arrived, and neither was recorded: the goal must be known again
    before the plan is read, or its reference there looks like one of theirs."""

    class Killed(BaseException):
        pass

    def die(method: str) -> None:
        if method == "PUT":
            raise Killed

    scene = make()
    scene.write(plan())
    scene.deliver()
    scene.write(plan(title="Home"))
    scene.write(goal(), plan(title="Home", goal=[{"reference": "Goal/g1"}]))
    scene.servers["rehab"].after = die
    with pytest.raises(Killed):
        scene.deliver()
    assert journal(scene, "Goal") == ["POST"] and journal(scene, "CarePlan") == ["POST", "PUT"]
    scene.servers["rehab"].after = None
    scene.clock.tick(minutes=5)
    scene.settle()
    assert scene.ours(PLAN)["goal"] == [{"reference": "Goal/g1"}]
    assert journal(scene, "Goal") == ["POST"] and journal(scene, "CarePlan") == ["POST", "PUT"]
    assert scene.reviews() == []


def test_a_write_that_lands_after_it_was_given_up_is_not_taken_for_their_edit(make: Callable[..., Scene]) -> None:
    """The partner was slow: it read the request before we asked what became of it, and wrote it afterwards."""
    scene = make()
    scene.write(goal())
    scene.deliver()
    rehab = scene.servers["rehab"]
    late: list[dict[str, Any]] = []
    scene.edit(GOAL, description={"text": "run"})

    def lose(method: str) -> None:
        if method == "PUT":
            raise PartnerDown("no answer in time")

    rehab.before = lose
    assert scene.deliver_one()
    link = scene.link("rehab", GOAL)
    assert link is not None and link.pend is not None
    scene.edit(GOAL, description={"text": "fly"})

    def lands(method: str) -> None:
        if method == "PUT" and not late:
            late.append({})
            rehab.edit("Goal", str(link.remote), lambda held: held.update(description={"text": "run"}))

    rehab.before = lands
    scene.settle()
    assert late and scene.reviews() == []
    assert scene.theirs("rehab", GOAL)["description"] == scene.ours(GOAL)["description"] == {"text": "fly"}
