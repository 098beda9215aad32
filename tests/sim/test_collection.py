"""Collecting from partners: cursors, late commits, new resources, deletions, restored backups (DECISIONS 10, 13, 23, 24)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhircase.flows import align
from fhircase.plans.change import Ref
from fhircase.plans.membership import HANDOVER
from tests.conftest import FrozenClock
from tests.sim.scene import Scene, server
from tests.sim.server import down
from tests.sim.test_convergence import fresh as fresh

GOAL = Ref("Goal", "g1")
NAMES = ("hosp", "rehab")


@pytest.fixture
def make(fresh: Callable[[], Any]) -> Callable[..., Scene]:
    """Two partners; ``rehab`` has the odd habits. The goal is at both."""

    def build(dialect: dict[str, Any] | None = None, **odd: Any) -> Scene:
        clock = FrozenClock()
        servers = {"hosp": server("hosp", clock), "rehab": server("rehab", clock, **odd)}
        scene = Scene(fresh(), servers, clock, dialects=None if dialect is None else {"rehab": dialect, "hosp": {"ids": "any"}})
        scene.write(
            {
                "resourceType": "Goal",
                "id": "g1",
                "lifecycleStatus": "active",
                "description": {"text": "walk"},
                "subject": {"reference": "Patient/client"},
            }
        )
        scene.settle()
        return scene

    return build


def at_rehab(scene: Scene, change: Callable[[dict[str, Any]], Any]) -> None:
    scene.servers["rehab"].edit("Goal", scene.theirs("rehab", GOAL)["id"], change)


def new_condition(scene: Scene, **more: Any) -> str:
    patient = scene.theirs("rehab", Ref("Patient", "client"))["id"]
    return scene.servers["rehab"].add(
        {"resourceType": "Condition", "code": {"text": "Fracture"}, "subject": {"reference": f"Patient/{patient}"}, **more}
    )


def conditions(scene: Scene) -> list[dict[str, Any]]:
    with scene.hub.store.read() as tx:
        return [stored.body for stored in tx.plans.of_client("client", ["Condition"])]


def test_a_change_at_one_partner_reaches_the_others_with_its_author(make: Callable[..., Scene]) -> None:
    scene = make()
    at_rehab(scene, lambda goal: goal.update(lifecycleStatus="completed"))
    scene.settle()
    assert scene.ours(GOAL)["lifecycleStatus"] == scene.theirs("hosp", GOAL)["lifecycleStatus"] == "completed"
    with scene.hub.store.read() as tx:
        told = [stored.body for stored in tx.plans.referring(GOAL, "Provenance", "target")]
    assert any("org-rehab" in str(provenance["agent"]) for provenance in told)


def test_nothing_new_writes_nothing(make: Callable[..., Scene]) -> None:
    scene = make()
    version, writes = scene.ours(GOAL)["meta"]["versionId"], [made.writes for made in scene.servers.values()]
    for _ in range(3):
        scene.settle()
    assert scene.ours(GOAL)["meta"]["versionId"] == version
    assert [made.writes for made in scene.servers.values()] == writes


def test_every_read_passes_the_servers_cache(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.collect("rehab", sweep=True)
    reads = [headers for method, _, headers in scene.servers["rehab"].asked if method == "GET"]
    assert reads and all(headers.get("Cache-Control") == "no-cache" for headers in reads if "identifier" not in headers)


def test_a_change_that_shows_late_behind_a_newer_one_is_not_missed(make: Callable[..., Scene]) -> None:
    scene = make()
    delays = iter([45.0, 0.0])
    scene.servers["rehab"].late = lambda: next(delays, 0.0)
    at_rehab(scene, lambda goal: goal.update(lifecycleStatus="completed"))
    scene.clock.tick(seconds=5)
    new_condition(scene)
    scene.collect("rehab")
    assert scene.ours(GOAL)["lifecycleStatus"] == "active"
    scene.clock.tick(seconds=60)
    scene.collect("rehab")
    assert scene.ours(GOAL)["lifecycleStatus"] == "completed"


def test_the_cursor_is_the_servers_own_time(make: Callable[..., Scene]) -> None:
    scene = make(skew=-7200)
    at_rehab(scene, lambda goal: goal.update(lifecycleStatus="completed"))
    scene.collect("rehab")
    with scene.hub.store.read() as tx:
        cursor = tx.links.cursor("rehab", "Goal")
    assert cursor == scene.theirs("rehab", GOAL)["meta"]["lastUpdated"]


@pytest.mark.parametrize("habit", [{"since": False}, {"absolute": True}, {"page": 1}, {"answers_body": False}])
def test_a_change_is_found_whatever_the_servers_habits(make: Callable[..., Scene], habit: dict[str, Any]) -> None:
    scene = make(**habit)
    new_condition(scene)
    at_rehab(scene, lambda goal: goal.update(lifecycleStatus="completed"))
    scene.settle()
    assert scene.theirs("hosp", GOAL)["lifecycleStatus"] == "completed"
    assert len(scene.servers["hosp"].held("Condition")) == 1
    assert scene.ours(GOAL)["subject"] == {"reference": "Patient/client"}


def test_what_a_partner_adds_for_a_linked_client_is_taken_with_an_own_id_and_shared(make: Callable[..., Scene]) -> None:
    scene = make()
    remote = new_condition(scene, encounter={"reference": "Encounter/77"})
    scene.settle()
    (condition,) = conditions(scene)
    assert condition["id"] != remote and condition["subject"] == {"reference": "Patient/client"}
    assert condition["encounter"] == {"reference": "http://rehab.example/fhir/Encounter/77"}, "unknown targets stay theirs"
    (copy,) = scene.servers["hosp"].held("Condition").values()
    assert copy["code"] == {"text": "Fracture"}
    assert [verb for verb, type_, _, _ in scene.servers["rehab"].journal if type_ == "Condition"] == [], "its own is not told back"


def test_new_resources_that_refer_to_each_other_keep_their_references(make: Callable[..., Scene]) -> None:
    scene = make()
    remote = new_condition(scene)
    patient = scene.theirs("rehab", Ref("Patient", "client"))["id"]
    scene.servers["rehab"].add(
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "subject": {"reference": f"Patient/{patient}"},
            "reasonReference": [{"reference": f"Condition/{remote}"}],
        }
    )
    scene.settle()
    (condition,) = conditions(scene)
    with scene.hub.store.read() as tx:
        (order,) = (stored.body for stored in tx.plans.of_client("client", ["ServiceRequest"]))
    assert order["reasonReference"] == [{"reference": f"Condition/{condition['id']}"}]


def test_other_peoples_data_is_not_taken(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.servers["rehab"].add({"resourceType": "Condition", "subject": {"reference": "Patient/stranger"}, "code": {"text": "x"}})
    scene.settle()
    assert conditions(scene) == []


def test_what_breaks_the_checks_is_stored_as_sent_with_a_review_and_not_pushed(make: Callable[..., Scene]) -> None:
    scene = make()
    new_condition(scene, onsetDateTime="01/02/2026")
    scene.settle()
    (condition,) = conditions(scene)
    assert condition["onsetDateTime"] == "01/02/2026"
    assert [review.subject for review in scene.reviews("invalid")] == [Ref("Condition", condition["id"])]
    assert scene.servers["hosp"].held("Condition") == {}
    (id_,) = scene.servers["rehab"].held("Condition")
    scene.servers["rehab"].edit("Condition", id_, lambda there: there.update(onsetDateTime="2026-02-01"))
    scene.settle()
    assert scene.reviews("invalid") == [], "it was corrected at its source"
    assert [copy["onsetDateTime"] for copy in scene.servers["hosp"].held("Condition").values()] == ["2026-02-01"]


def test_an_edit_that_breaks_the_checks_is_held_and_the_rest_flows(make: Callable[..., Scene]) -> None:
    scene = make()
    at_rehab(scene, lambda goal: goal.update(startDate="01/02/2026", statusReason="tired"))
    scene.settle()
    assert "startDate" not in scene.ours(GOAL) and scene.ours(GOAL)["statusReason"] == "tired"
    assert [review.holds for review in scene.reviews("invalid")] == ["startDate"]
    assert scene.theirs("rehab", GOAL)["startDate"] == "01/02/2026", "it stays untouched there"


def test_a_partner_does_not_change_who_may_see_what_by_editing_the_team(make: Callable[..., Scene]) -> None:
    scene = make()
    team = Ref("CareTeam", "team-case")
    before = scene.ours(team)["participant"]
    id_ = scene.theirs("rehab", team)["id"]
    scene.servers["rehab"].edit("CareTeam", id_, lambda there: there.update(participant=there["participant"][1:], name="Ours"))
    scene.settle()
    assert scene.ours(team)["participant"] == before and scene.ours(team)["name"] == "Ours"
    assert "participant" in [review.holds for review in scene.reviews("widening")]
    assert len(scene.theirs("rehab", team)["participant"]) == 1, "ours is not forced on them before a person has looked"


def test_a_former_partners_edit_is_a_review(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.edit(
        Ref("CareTeam", "team-case"),
        participant=[
            {"member": {"reference": "Organization/org-hosp"}, "period": {"start": "2026-01-01"}},
            {"member": {"reference": "Organization/org-rehab"}, "period": {"start": "2026-01-01", "end": "2026-01-02"}},
        ],
    )
    at_rehab(scene, lambda goal: goal.update(lifecycleStatus="completed"))
    scene.settle()
    assert scene.ours(GOAL)["lifecycleStatus"] == "active"
    assert [review.holds for review in scene.reviews("widening")] == ["lifecycleStatus"]


def test_a_deletion_there_ends_the_link_and_asks_a_person(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.servers["rehab"].remove("Goal", scene.theirs("rehab", GOAL)["id"])
    found = scene.collect("rehab", sweep=True)
    assert found.deleted == 1 and not found.paused
    assert (link := scene.link("rehab", GOAL)) is not None and link.state == "ended"
    assert [review.subject for review in scene.reviews("partner-deleted")] == [GOAL]
    assert scene.theirs("hosp", GOAL)["lifecycleStatus"] == "active"


def test_many_deletions_at_once_pause_the_partner(make: Callable[..., Scene]) -> None:
    scene = make()
    for n in range(8):
        scene.write({**scene.ours(GOAL), "id": f"many{n}"})
    scene.settle()
    for id_ in list(scene.servers["rehab"].held("Goal")):
        scene.servers["rehab"].remove("Goal", id_)
    assert scene.collect("rehab", sweep=True).paused == "too many of its copies are gone"
    with scene.hub.store.read() as tx:
        partner = tx.partners.get("rehab")
    assert partner is not None and partner.paused
    assert (link := scene.link("rehab", GOAL)) is not None and link.state == "live"


def test_a_partner_restored_from_its_backup_is_paused(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.edit(GOAL, description={"text": "run"})
    scene.settle()
    rows = scene.servers["rehab"].rows[("Goal", scene.theirs("rehab", GOAL)["id"])]
    rows.pop()
    scene.collect("rehab", sweep=True)
    assert [review.kind for review in scene.reviews()] == ["partner-behind"]
    assert scene.ours(GOAL)["description"] == {"text": "run"}


def test_one_version_with_two_contents_is_noticed(make: Callable[..., Scene]) -> None:
    scene = make()
    scene.servers["rehab"].rows[("Goal", scene.theirs("rehab", GOAL)["id"])][-1].resource["description"] = {"text": "another"}
    scene.collect("rehab", sweep=True)
    assert [review.kind for review in scene.reviews()] == ["partner-behind"]


def test_a_partner_that_is_down_moves_no_cursor(make: Callable[..., Scene]) -> None:
    scene = make()
    at_rehab(scene, lambda goal: goal.update(lifecycleStatus="completed"))
    scene.servers["rehab"].before = down
    assert scene.collect("rehab").paused == "no connection"
    scene.servers["rehab"].before = None
    scene.clock.tick(days=3)
    scene.settle()
    assert scene.ours(GOAL)["lifecycleStatus"] == "completed"


def test_dry_run_says_what_would_be_sent_and_drift_what_differs(make: Callable[..., Scene]) -> None:
    scene = make()
    with scene.hub.store.read() as tx:
        rehab = tx.partners.get("rehab")
    assert rehab is not None
    assert align.dry_run(scene.hub, rehab) == [] and align.drift(scene.hub, rehab) == ([], [])
    scene.edit(GOAL, description={"text": "run"})
    writes = scene.servers["rehab"].writes
    assert [(row.ref, row.do, row.elements) for row in align.dry_run(scene.hub, rehab)] == [(GOAL, "update", ("description",))]
    assert [(row.ref, row.do, row.elements) for row in align.drift(scene.hub, rehab)[0]] == [(GOAL, "differs", ("description",))]
    assert scene.servers["rehab"].writes == writes
    scene.deliver()
    assert align.drift(scene.hub, rehab) == ([], [])


def test_who_accepts_a_hand_over_may_have_changed_the_plan_before_the_next_poll(make: Callable[..., Scene]) -> None:
    scene = make()
    plan, task = Ref("CarePlan", "plan1"), Ref("Task", "task1")
    team = scene.ours(Ref("CareTeam", "team-case"))
    scene.write(team | {"participant": [p for p in team["participant"] if "org-rehab" not in str(p)]})
    scene.write(
        {
            "resourceType": "CarePlan", "id": plan.id, "status": "active", "intent": "plan", "title": "Home",
            "subject": {"reference": "Patient/client"},
        },
        {
            "resourceType": "Task", "id": task.id, "status": "requested", "intent": "order", "for": {"reference": "Patient/client"},
            "identifier": [{"system": HANDOVER, "value": "visit 1"}], "focus": {"reference": "CarePlan/plan1"},
            "owner": {"reference": "Organization/org-rehab"},
        },
    )  # fmt: skip
    scene.settle()
    rehab = scene.servers["rehab"]
    rehab.edit("Task", scene.theirs("rehab", task)["id"], lambda held: held.update(status="accepted"))
    rehab.edit("CarePlan", scene.theirs("rehab", plan)["id"], lambda held: held.update(description="Stairs first"))
    scene.settle()
    assert scene.reviews() == []
    assert scene.ours(task)["status"] == "accepted"
    assert scene.theirs("hosp", plan)["description"] == "Stairs first"
