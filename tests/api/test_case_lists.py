"""``GET /cases``: filters and pages."""

from __future__ import annotations

import pytest

from tests.api.case_scene import GOAL, Scene, another_case, move
from tests.api.conftest import body

# ------------------------------------------------------------------------------------------------ listing


def test_filters_hold_together_and_pages_skip_nothing(scene: Scene) -> None:
    made = []
    for number in range(45):
        family = "Adeyemi" if number % 9 == 0 else "Nowak"
        client = {"names": [{"family": family, "given": [f"Nr {number}"]}], "born": "1980-01-01" if number % 2 else "1990-01-01"}
        answer = scene.manager.post("/cases", {"client": client})
        assert answer.status_code == 201
        if family == "Adeyemi":
            made.append(body(answer)["id"])

    def pages(query: str) -> list[str]:
        found: list[str] = []
        path = f"/cases?{query}"
        for _ in range(100):
            answer = body(scene.manager.get(path))
            found += [item["id"] for item in answer["items"]]
            if answer["next"] is None:
                return found
            path = f"/cases?{query}&next={answer['next']}"
        raise AssertionError("the pages never end")

    assert pages("name=adeyemi&count=2") == list(reversed(made))
    assert len(pages("count=7")) == len(set(pages("count=7"))) == 46
    assert len(pages("birth_date=1990-01-01&count=4&phase=intake&status=active")) == 23
    assert pages("name=ade&birth_date=1980-01-01") == [id_ for at, id_ in reversed(list(enumerate(made))) if at % 2]
    assert pages("status=finished") == []


@pytest.mark.parametrize(
    ("query", "status"), [("nam=x", 422), ("phase=later", 422), ("birth_date=1980", 422), ("next=abc", 400), ("count=x", 400)]
)
def test_an_unknown_filter_is_refused(scene: Scene, query: str, status: int) -> None:
    assert scene.manager.get(f"/cases?{query}").status_code == status


# ------------------------------------------------------------------------------------------------ lists


def listed(scene: Scene, query: str) -> list[str]:
    answer = scene.manager.get(f"/cases?{query}")
    assert answer.status_code == 200, answer.data
    return [one["id"] for one in body(answer)["items"]]


def test_my_cases_are_those_that_i_answer_for_today_with_cover_during_leave(scene: Scene) -> None:
    here = scene.path.rpartition("/")[2]
    lee, roy = (
        body(scene.manager.post("/fhir/Practitioner", {"resourceType": "Practitioner", "name": [{"family": name}]}))["id"]
        for name in ("Lee", "Roy")
    )
    mine = scene.town.key("hub", user=f"Practitioner/{lee}")
    theirs = scene.town.key("hub", user=f"Practitioner/{roy}")
    assert scene.patch("/episode", {"manager": f"Practitioner/{lee}"}).status_code == 200
    another_case(scene)
    ask = "/cases?mine=true"
    assert ([c["id"] for c in body(mine.get(ask))["items"]], body(theirs.get(ask))["items"]) == ([here], [])
    cover = {"role": "cover", "person": f"Practitioner/{roy}", "since": "2026-11-01", "until": "2026-12-01"}
    members = [*scene.case()["team"]["members"], cover]
    assert scene.patch("/team", {"members": members}).status_code == 200
    assert (body(mine.get(ask))["items"], [c["id"] for c in body(theirs.get(ask))["items"]]) == ([], [here])
    assert scene.manager.get(ask).status_code == 400, "this key is bound to no Practitioner"


def test_cases_with_something_due_are_found_with_what_is_due(scene: Scene) -> None:
    here = scene.path.rpartition("/")[2]
    for task in scene.case()["handovers"]:
        scene.patch(f"/handovers/{task['id']}", {"deadline": "2027-01-01T00:00:00Z"})
    assert listed(scene, "due=2026-12-05") == []
    goal = scene.add("goals", GOAL)
    assert (listed(scene, "due=2026-12-05"), listed(scene, "due=2026-12-06")) == ([], [here])
    (found,) = body(scene.manager.get("/cases?due=2026-12-06"))["items"]
    assert found["due"] == [{"what": "goals", "id": goal, "day": "2026-12-06", "title": GOAL["title"]}]
    scene.add("planned_contacts", {"state": "active", "to": "2026-11-21"})
    assert listed(scene, "due=today") == [here]
    scene.patch(f"/goals/{goal}", {"lifecycle": "completed", "achievement": "achieved"})
    (found,) = body(scene.manager.get("/cases?due=2026-12-06"))["items"]
    assert [one["what"] for one in found["due"]] == ["planned_contacts"]
    for wrong in ("due=tomorrow", "mine=perhaps"):
        assert scene.manager.get(f"/cases?{wrong}").status_code in (400, 422)


def test_cases_are_found_by_the_partner_that_is_a_member_and_by_their_phase(scene: Scene) -> None:
    here, other = scene.path.rpartition("/")[2], another_case(scene).path.rpartition("/")[2]
    assert (listed(scene, "partner=mercy"), listed(scene, "partner=riverside")) == ([here], [])
    assert sorted(listed(scene, "phase=intake")) == sorted([here, other])
    assert move(scene, "assessment").status_code == 200
    assert (listed(scene, "phase=assessment"), listed(scene, "phase=intake")) == ([here], [other])
