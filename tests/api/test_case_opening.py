"""Cases that are opened by hand, alone or with all that they begin with; entries patched together."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.case_scene import GOAL, Scene
from tests.api.conftest import body

# ------------------------------------------------------------------------------------------------ opening by hand


def test_a_case_is_opened_by_hand_for_a_known_client(scene: Scene) -> None:
    patient = scene.manager.made({"resourceType": "Patient", "name": [{"family": "Adeyemi", "given": ["Bola"]}]})
    answer = scene.manager.post("/cases", {"client": f"Patient/{patient['id']}", "kind": "disability", "title": "A flat of her own"})
    assert answer.status_code == 201, answer.data
    case = body(answer)
    assert answer.headers["Location"].endswith(f"/cases/{case['id']}")
    assert (case["episode"]["state"], case["episode"]["kinds"], case["episode"]["phase"]) == ("active", ["disability"], "intake")
    assert (case["plan"]["title"], case["plan"]["state"], case["goals"], case["handovers"]) == ("A flat of her own", "active", [], [])
    assert case["episode"]["teams"] == [f"CareTeam/{case['team']['id']}"]
    again = scene.manager.post("/cases", {"client": f"Patient/{patient['id']}"})
    assert again.status_code == 409
    assert case["id"] in body(again)["errors"][0]["hint"]
    assert scene.manager.post("/cases", {"client": f"Patient/{patient['id']}", "another": True}).status_code == 201


def test_a_case_is_opened_by_hand_with_a_new_client_in_one_commit(scene: Scene) -> None:
    client = {
        "names": [{"use": "official", "family": "Adeyemi", "given": ["Bola"]}], "born": "1980-02-29",
        "identifiers": [{"system": "urn:oid:1.2.3", "value": "MRN-8", "type": "record-number"}],
    }  # fmt: skip
    answer = scene.manager.post("/cases", {"client": client})
    assert answer.status_code == 201, answer.data
    case = body(answer)
    assert (case["client"]["born"], case["episode"]["kinds"]) == ("1980-02-29", ["medical"])
    items = body(scene.manager.get(f"/cases/{case['id']}/timeline"))["items"]
    assert [{c["what"] for c in item["changes"]} for item in items] == [{"client", "episode", "plan", "team"}]
    again = scene.manager.post("/cases", {"client": client})
    assert again.status_code == 409
    assert case["client"]["id"] in body(again)["errors"][0]["hint"]


@pytest.mark.parametrize(
    ("document", "paths"),
    [
        ({}, ["/client"]),
        ({"client": "Patient/none"}, ["/client"]),
        ({"client": "Goal/x", "kind": "medicl", "colour": 1}, ["/client", "/colour", "/kind"]),
        ({"client": {"born": "yesterday", "nams": []}, "title": 5}, ["/client/born", "/client/nams", "/title"]),
        ({"client": {"id": "x"}}, ["/client/id"]),
    ],
)
def test_a_bad_opening_is_refused_with_every_place(scene: Scene, document: dict[str, Any], paths: list[str]) -> None:
    answer = scene.manager.post("/cases", document)
    assert (answer.status_code, sorted(e["path"] for e in body(answer)["errors"])) == (422, paths)


# ------------------------------------------------------------------------------------------------ several entries at once


def test_a_whole_case_is_opened_in_one_commit_with_entries_that_refer_to_each_other(scene: Scene) -> None:
    answer = scene.manager.post("/cases", {
        "client": {"names": [{"family": "Whole"}]}, "kind": "social", "plan": {"title": "A roof and a job"},
        "needs": [{"id": "#roof", "kind": "sdoh", "domain": "housing", "text": "Sleeps in the car"}],
        "goals": [{"id": "#flat", "title": "A flat of her own", "lifecycle": "active", "needs": ["#roof"]}],
        "services": [{"state": "active", "intent": "order", "kind": "meals", "needs": ["#roof"], "goal": "#flat"}],
    })  # fmt: skip
    assert answer.status_code == 201, answer.data
    case = body(answer)
    (need,), (goal,), (service,) = case["needs"], case["goals"], case["services"]
    assert (goal["needs"], service["needs"], service["goal"]) == ([f"Condition/{need['id']}"],) * 2 + (f"Goal/{goal['id']}",)
    assert (case["plan"]["title"], case["plan"]["goals"]) == ("A roof and a job", [f"Goal/{goal['id']}"])
    (entry,) = body(scene.manager.get(f"/cases/{case['id']}/timeline"))["items"]
    assert {change["what"] for change in entry["changes"]} >= {"client", "episode", "plan", "team", "needs", "goals", "services"}


def test_a_whole_case_with_a_mistake_opens_nothing_and_tells_every_place(scene: Scene) -> None:
    answer = scene.manager.post("/cases", {
        "client": {"names": [{"family": "Nothing"}]}, "goals": [{**GOAL, "needs": ["#nobody"]}, {**GOAL, "titel": "x", "id": "mine"}],
        "visits": [], "handovers": [{}], "colour": "red",
    })  # fmt: skip
    assert answer.status_code == 422, answer.data
    assert [e["path"] for e in body(answer)["errors"]] == ["/colour", "/goals/1/id", "/handovers/0"]
    goals = [{**GOAL, "needs": ["#nobody"]}, {"title": "x"}]
    answer = scene.manager.post("/cases", {"client": {"names": [{"family": "Nothing"}]}, "goals": goals})
    assert [e["path"] for e in body(answer)["errors"]] == ["/goals/0/needs/0", "/goals/1/lifecycle"]
    assert body(scene.manager.get("/cases?name=nothing"))["items"] == []


def test_entries_are_patched_and_added_together_by_their_ids(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    before = len(scene.case()["needs"])
    answer = scene.patch("", {
        "goals": {goal: {"needs": ["#stairs"]}}, "needs": {"#stairs": {"kind": "barrier", "text": "Stairs"}}, "plan": {"title": "Home"},
    })  # fmt: skip
    assert answer.status_code == 200, answer.data
    assert len(body(answer)["needs"]) == before + 1
    changed = scene.entry("goals", goal)
    assert scene.entry("needs", changed["needs"][0].removeprefix("Condition/"))["text"] == "Stairs"
    wrong = scene.patch("", {"goals": {goal: {"titel": "x"}, "nowhere": {"title": "y"}}})
    assert wrong.status_code == 404
    wrong = scene.patch("", {"goals": {goal: None}, "needs": {"#a": {"kind": "barriere"}}})
    assert (wrong.status_code, [e["path"] for e in body(wrong)["errors"]]) == (422, [f"/goals/{goal}"])
    assert scene.entry("goals", goal) == changed


@pytest.mark.parametrize("kind", ["social", "mental-health", "substance-use", "disability", "legal", "youth", "re-entry"])
def test_a_kind_of_case_asks_for_its_domains_and_outcomes_and_proposes_its_template_when_asked(scene: Scene, kind: str) -> None:
    asked = {"client": {"names": [{"family": kind}]}, "kind": kind}
    plain = body(scene.manager.post("/cases", asked))
    assert (plain["goals"], plain["services"], plain["asked"]["kinds"]) == ([], [], [kind])
    assert plain["asked"]["domains"] and plain["asked"]["outcomes"] and kind in plain["plan"]["kinds"]
    case = body(scene.manager.post("/cases", {**asked, "another": True, "client": f"Patient/{plain['client']['id']}", "propose": True}))
    assert case["goals"] and {goal["lifecycle"] for goal in case["goals"]} == {"proposed"}
    assert case["services"] and {service["intent"] for service in case["services"]} == {"proposal"}
    ids = [service["id"] for service in case["services"]]
    activated = scene.manager.post(f"/cases/{case['id']}/activate", {"services": ids, "goals": [goal["id"] for goal in case["goals"]]})
    assert activated.status_code == 200, activated.data


def test_a_kind_without_a_template_for_opening_proposes_nothing(scene: Scene) -> None:
    case = body(scene.manager.post("/cases", {"client": {"names": [{"family": "Plain"}]}, "kind": "medical", "propose": True}))
    assert (case["goals"], case["services"]) == ([], [])


def test_two_entries_of_one_name_are_refused_and_neither_takes_the_others_place(scene: Scene) -> None:
    asked = {
        "client": {"names": [{"family": "Twice"}]}, "needs": [{"id": "#a", "kind": "barrier", "text": "Stairs"}],
        "goals": [{"id": "#a", "title": "Down the stairs", "lifecycle": "active"}],
    }  # fmt: skip
    answer = scene.manager.post("/cases", asked)
    assert (answer.status_code, [e["path"] for e in body(answer)["errors"]]) == (422, ["/needs/0"])
    answer = scene.patch("", {"needs": {"#a": asked["needs"][0]}, "goals": {"#a": asked["goals"][0]}})
    assert (answer.status_code, [e["path"] for e in body(answer)["errors"]]) == (422, ["/needs/#a"])
