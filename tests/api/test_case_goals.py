"""Achievement follows what is measured."""

from __future__ import annotations

from typing import Any

from fhircase.plans.change import Ref, Review
from tests.api.case_scene import GOAL, Scene
from tests.api.conftest import body

FEET = {"unit": "feet", "unit_code": "[ft_i]", "unit_system": "http://unitsofmeasure.org"}
WALKED = {"what": "Distance walked without help", "code": "41950-7", "system": "http://loinc.org", "kinds": ["functional-status"], **FEET}
MEASURED = {name: value for name, value in GOAL.items() if name != "achievement"} | {"measure_code": "41950-7"}


def walked(scene: Scene, feet: int, day: str, **more: Any) -> str:
    return scene.add("assessments", {**WALKED, "value": feet, "when": f"{day}T09:00:00Z", **more})


def test_achievement_follows_the_observations_and_the_lifecycle_stays(scene: Scene) -> None:
    first = walked(scene, 20, "2026-11-18")
    goal = scene.add("goals", MEASURED)
    entry = scene.entry("goals", goal)
    assert (entry["achievement"], entry["outcomes"]) == ("in-progress", [f"Observation/{first}"]), "the baseline was there before"
    for feet, day, word in ((35, "2026-11-19", "improving"), (30, "2026-11-20", "worsening"), (50, "2026-11-21", "achieved")):
        last = walked(scene, feet, day)
        entry = scene.entry("goals", goal)
        assert (entry["achievement"], entry["achievement_at"], entry["lifecycle"]) == (word, day, "active")
        assert f"Observation/{last}" in entry["outcomes"]
    told = body(scene.manager.get(f"{scene.path}/timeline"))["items"][-1]
    assert told["did"] == "achievement: reached by the last observation" and "person" not in told["who"]


def test_what_does_not_measure_the_goal_leaves_it_alone(scene: Scene) -> None:
    goal = scene.add("goals", MEASURED)
    version = scene.entry("goals", goal)["version"]
    walked(scene, 60, "2026-11-20", code="8867-4", what="Heart rate")
    walked(scene, 60, "2026-11-20", state="preliminary")
    walked(scene, 60, "2026-11-20", unit="steps", unit_code="{steps}")
    assert scene.entry("goals", goal)["version"] == version


def test_what_a_person_says_of_a_goal_is_not_overruled_by_a_measurement(scene: Scene) -> None:
    goal = scene.add("goals", {**MEASURED, "achievement": "not-attainable"})
    walked(scene, 60, "2026-11-20")
    assert scene.entry("goals", goal)["achievement"] == "not-attainable"
    both = scene.patch("", {
        "goals": {goal: {"achievement": "no-progress"}}, "assessments": {"#one": {**WALKED, "value": 70, "when": "2026-11-21T09:00:00Z"}},
    })  # fmt: skip
    assert both.status_code == 200 and scene.entry("goals", goal)["achievement"] == "no-progress"


def test_a_partners_observation_moves_the_goal_too(scene: Scene) -> None:
    (task,) = [entry["resource"] for entry in body(scene.riverside.get("/fhir/Task"))["entry"]]
    assert scene.riverside.put(f"/fhir/Task/{task['id']}", {**task, "status": "accepted"}).status_code == 200
    walked(scene, 20, "2026-11-18")
    goal = scene.add("goals", MEASURED)
    made = scene.riverside.post("/fhir/Observation", {
        "resourceType": "Observation", "status": "final", "subject": {"reference": f"Patient/{scene.client}"},
        "code": {"coding": [{"system": "http://loinc.org", "code": "41950-7"}], "text": "Distance walked"},
        "basedOn": [{"reference": f"CarePlan/{scene.case()['plan']['id']}"}], "effectiveDateTime": "2026-11-21T09:00:00Z",
        "valueQuantity": {"value": 16.5, "unit": "m", "system": "http://unitsofmeasure.org", "code": "m"},
    })  # fmt: skip
    assert made.status_code == 201, made.data
    assert scene.entry("goals", goal)["achievement"] == "achieved"


def test_an_achievement_that_a_review_holds_stays_until_it_is_settled(scene: Scene) -> None:
    walked(scene, 20, "2026-11-18")
    goal = scene.add("goals", MEASURED)
    with scene.town.hub.store.write() as tx:
        review = Review("conflict", "held", "two sides changed it", subject=Ref("Goal", goal), holds="achievementStatus")
        tx.reviews.open(review, id="00000000-0000-4000-8000-00000000aaaa", at=scene.town.hub.now())
    walked(scene, 60, "2026-11-20")
    assert scene.entry("goals", goal)["achievement"] == "in-progress"
    assert scene.manager.post("/reviews/00000000-0000-4000-8000-00000000aaaa/settle", {"take": "done", "note": "x"}).status_code == 200
    walked(scene, 61, "2026-11-21")
    assert scene.entry("goals", goal)["achievement"] == "achieved"


def test_pages_of_the_timeline_skip_nothing_where_a_rule_followed_in_the_same_commit(scene: Scene) -> None:
    walked(scene, 20, "2026-11-18")
    scene.add("goals", MEASURED)
    walked(scene, 35, "2026-11-19")
    whole = body(scene.manager.get(f"{scene.path}/timeline"))["items"]
    paged: list[dict[str, Any]] = []
    following: str | None = ""
    while following is not None:
        page = body(scene.manager.get(f"{scene.path}/timeline?count=1" + (f"&next={following}" if following else "")))
        paged += page["items"]
        following = page["next"]
    assert [one["did"] for one in paged] == [one["did"] for one in whole]
    assert any(one["did"].startswith("achievement: ") for one in whole)
