"""``/cases``: the case management view of the shared plan, and the same plan under ``/fhir``."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from fhircase.plans.change import Ref
from tests.api.case_scene import ASSESSMENT, FOREIGN, GOAL, HOME_HEALTH, LOINC_WALK, MERGE, WHEELCHAIR, Scene
from tests.api.conftest import body

# ------------------------------------------------------------------------------------------------ the story


def test_what_a_case_manager_plans_is_read_under_fhir(scene: Scene) -> None:
    case = scene.case()
    proposed = [g["id"] for g in case["goals"] if g["lifecycle"] == "proposed"]
    offered = [s["id"] for s in case["services"] if s["intent"] == "proposal"]
    assert proposed and offered
    answer = scene.manager.post(f"{scene.path}/activate", {"goals": proposed, "services": offered})
    assert answer.status_code == 200, answer.data
    assert {g["lifecycle"] for g in body(answer)["goals"]} == {"active"}

    assessment, goal = scene.add("assessments", ASSESSMENT), scene.add("goals", GOAL)
    wheelchair, home_health = scene.add("equipment", WHEELCHAIR), scene.add("services", HOME_HEALTH)

    written = scene.fhir(f"Goal/{goal}")
    assert written["description"]["text"] == GOAL["title"]
    assert written["lifecycleStatus"] == "active"
    assert written["subject"]["reference"] == f"Patient/{scene.client}"
    assert written["target"][0]["detailQuantity"] == {"value": 50, "unit": "feet", "code": "[ft_i]", "system": "http://unitsofmeasure.org"}
    assert written["target"][0]["dueDate"] == "2026-12-06"
    assert scene.fhir(f"Observation/{assessment}")["valueQuantity"]["value"] == 20
    assert scene.fhir(f"DeviceRequest/{wheelchair}")["status"] == "active"
    assert scene.fhir(f"ServiceRequest/{home_health}")["intent"] == "order"
    plan = scene.fhir(f"CarePlan/{scene.case()['plan']['id']}")
    goals = {g["reference"] for g in plan["goal"]}
    activities = {a["reference"]["reference"] for a in plan["activity"]}
    assert goals == {f"Goal/{id_}" for id_ in (*proposed, goal)}
    assert {f"DeviceRequest/{wheelchair}", f"ServiceRequest/{home_health}"} <= activities
    assert f"Observation/{assessment}" in {s["reference"] for s in plan["supportingInfo"]}
    for id_ in offered:
        assert scene.fhir(f"ServiceRequest/{id_}")["status"] == "completed"
        (order,) = [s for s in scene.case()["services"] if s.get("based_on") == [f"ServiceRequest/{id_}"]]
        assert (order["intent"], order["state"]) == ("order", "active")
        assert f"ServiceRequest/{order['id']}" in activities
        assert f"ServiceRequest/{id_}" not in activities


def test_what_is_put_under_fhir_is_read_in_the_case(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    resource = scene.fhir(f"Goal/{goal}")
    resource["lifecycleStatus"] = "completed"
    resource["achievementStatus"] = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/goal-achievement", "code": "achieved"}]}
    assert scene.mercy.put(f"/fhir/Goal/{goal}", resource, If_Match='W/"1"').status_code == 200
    entry = scene.entry("goals", goal)
    assert (entry["lifecycle"], entry["achievement"], entry["version"]) == ("completed", "achieved", 2)


def test_every_addition_is_one_commit_with_one_provenance(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    with scene.town.hub.store.read() as tx:
        (provenance,) = tx.plans.referring(Ref("Goal", goal), "Provenance", "target")
        plan = tx.plans.get(Ref("CarePlan", scene.case()["plan"]["id"]))
        assert plan is not None and provenance.seq == plan.seq
    who = provenance.body["agent"][0]
    assert (who["who"]["display"], "onBehalfOf" in who) == ("Kim Lee", True)


# ------------------------------------------------------------------------------------------------ nothing is lost


def test_a_patch_keeps_extensions_and_foreign_codings(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    resource = scene.fhir(f"Goal/{goal}")
    resource["extension"] = [FOREIGN]
    resource["target"][0]["measure"]["coding"] = [LOINC_WALK]
    resource["category"][0]["coding"].append({"system": "urn:oid:9.9", "code": "WALK"})
    resource["target"].append({"measure": {"text": "Falls"}, "dueDate": "2027-01-01"})
    assert scene.manager.put(f"/fhir/Goal/{goal}", resource).status_code == 200
    before = scene.fhir(f"Goal/{goal}")
    assert scene.patch(f"/goals/{goal}", {"title": "Walk 60 feet", "target_value": 60, "due": None}).status_code == 200
    after = scene.fhir(f"Goal/{goal}")
    assert (after["description"]["text"], after["target"][0]["detailQuantity"]["value"]) == ("Walk 60 feet", 60)
    assert "dueDate" not in after["target"][0]
    assert (after["extension"], after["category"]) == (before["extension"], before["category"])
    assert (after["target"][0]["measure"], after["target"][1]) == (before["target"][0]["measure"], before["target"][1])
    raw = scene.manager.get(f"/fhir/Goal/{goal}").get_data(as_text=True)
    assert '"valueDecimal":0.7' in raw


def test_a_foreign_code_does_not_stop_the_rest_from_being_changed(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    resource = scene.fhir(f"Goal/{goal}")
    resource["priority"] = {"coding": [{"system": "urn:oid:9.9", "code": "XQ", "display": "Before lunch"}]}
    assert scene.manager.put(f"/fhir/Goal/{goal}", resource).status_code == 200
    assert scene.entry("goals", goal)["priority"] == "Before lunch"
    assert scene.patch(f"/goals/{goal}", {"domain": "self-care"}).status_code == 200
    assert scene.fhir(f"Goal/{goal}")["priority"] == resource["priority"]
    assert scene.patch(f"/goals/{goal}", {"priority": "After lunch"}).status_code == 422


def test_a_patch_that_says_the_same_makes_no_version(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    tag = scene.manager.get(scene.path).headers["ETag"]
    answer = scene.patch(f"/goals/{goal}", {"title": GOAL["title"], "id": goal, "version": 1})
    assert (answer.status_code, answer.headers["ETag"]) == (200, tag)


# ------------------------------------------------------------------------------------------------ two at once


def test_a_lost_update_is_refused(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    tag = scene.manager.get(scene.path).headers["ETag"]
    assert scene.patch(f"/goals/{goal}", {"title": "Walk 60 feet"}, If_Match=tag).status_code == 200
    answer = scene.patch(f"/goals/{goal}", {"title": "Walk 70 feet"}, If_Match=tag)
    assert (answer.status_code, answer.mimetype) == (412, "application/problem+json")
    assert scene.manager.post(f"{scene.path}/goals", GOAL, If_Match=tag).status_code == 412
    assert scene.entry("goals", goal)["title"] == "Walk 60 feet"


def test_the_tag_never_comes_back_when_something_is_deleted(scene: Scene) -> None:
    tags = [scene.manager.get(scene.path).headers["ETag"]]
    need = scene.manager.made({"resourceType": "Condition", "subject": {"reference": f"Patient/{scene.client}"}})
    tags.append(scene.manager.get(scene.path).headers["ETag"])
    first = scene.add("needs", {"text": "Stairs"})
    tags.append(scene.manager.get(scene.path).headers["ETag"])
    assert scene.patch(f"/needs/{first}", {"severity": "moderate"}).status_code == 200
    tags.append(scene.manager.get(scene.path).headers["ETag"])
    assert scene.manager.delete(f"/fhir/Condition/{need['id']}").status_code in (200, 204)
    tags.append(scene.manager.get(scene.path).headers["ETag"])
    assert len(set(tags)) == len(tags)


def test_who_sends_no_tag_does_not_lose_to_a_faster_writer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody changes the plan between the decision and the write: it is decided anew."""
    from fhircase.flows import commit

    plan = scene.case()["plan"]["id"]
    check, moved = commit.check, []

    def slow(change: Any, **options: Any) -> Any:
        if not moved and change.source.kind == "case":
            moved.append(True)
            resource = scene.fhir(f"CarePlan/{plan}")
            assert scene.manager.put(f"/fhir/CarePlan/{plan}", resource | {"title": "Moved"}).status_code == 200
        return check(change, **options)

    monkeypatch.setattr(commit, "check", slow)
    goal = scene.add("goals", GOAL)
    held = scene.fhir(f"CarePlan/{plan}")
    assert (held["title"], {"reference": f"Goal/{goal}"} in held["goal"]) == ("Moved", True)


def test_parts_of_a_case_change_in_one_commit_or_not_at_all(scene: Scene) -> None:
    answer = scene.patch("", {"plan": {"title": "Home again"}, "episode": {"kinds": ["nonsense"]}})
    assert (answer.status_code, [e["path"] for e in body(answer)["errors"]]) == (422, ["/episode/kinds/0"])
    assert scene.case()["plan"]["title"] == "Shared care plan"
    answer = scene.patch("", {"plan": {"title": "Home again"}, "episode": {"kinds": ["medical", "intensive"]}})
    assert answer.status_code == 200, answer.data
    assert (body(answer)["plan"]["title"], body(answer)["episode"]["kinds"]) == ("Home again", ["medical", "intensive"])
    (last,) = body(scene.manager.get(f"{scene.path}/timeline"))["items"][-1:]
    assert {c["what"] for c in last["changes"]} == {"plan", "episode"}
    for document in ({"goals": []}, {"plann": {}}, {"plan": []}):
        assert scene.patch("", document).status_code == 422


# ------------------------------------------------------------------------------------------------ bad documents

BAD: list[tuple[str, dict[str, Any], list[str]]] = [
    ("goals", {}, ["/lifecycle", "/title"]),
    ("goals", {**GOAL, "titel": "x", "lifecycle": "activ"}, ["/lifecycle", "/titel"]),
    ("goals", {**GOAL, "due": "2026-02-30", "target_value": "50"}, ["/due", "/target_value"]),
    ("goals", {**GOAL, "due": "in two weeks"}, ["/due"]),
    ("goals", {**GOAL, "notes": [{"text": "a"}, {"at": "2026-11-22", "txt": "b"}]}, ["/notes/1/text", "/notes/1/txt"]),
    ("goals", {**GOAL, "needs": "Condition/a"}, ["/needs"]),
    ("goals", {**GOAL, "needs": ["Goal/a", "Condition/nowhere"]}, ["/needs/0", "/needs/1"]),
    ("goals", {**GOAL, "title": None}, ["/title"]),
    ("goals", {**GOAL, "title": "   "}, ["/title"]),
    ("goals", {**GOAL, "id": "mine"}, ["/id"]),
    ("goals", {**GOAL, "client": "Patient/other"}, ["/client"]),
    ("services", {"kind": "home-helth"}, ["/intent", "/kind", "/state"]),
    ("equipment", {**WHEELCHAIR, "kind": 7, "urgency": "now"}, ["/kind", "/urgency"]),
    ("equipment", {**WHEELCHAIR, "details": {"what": "x"}}, ["/details"]),
    ("needs", {"clinical": "maybe", "colour": "red"}, ["/clinical", "/colour"]),
    ("assessments", {"value": True, "when": "2026-11-22T10:00:00"}, ["/value", "/what", "/when"]),
]


@pytest.mark.parametrize(("what", "document", "paths"), BAD, ids=[f"{w}-{'-'.join(p)}" for w, _, p in BAD])
def test_a_bad_document_is_refused_with_every_place(scene: Scene, what: str, document: dict[str, Any], paths: list[str]) -> None:
    tag = scene.manager.get(scene.path).headers["ETag"]
    answer = scene.manager.post(f"{scene.path}/{what}", document)
    assert (answer.status_code, answer.mimetype) == (422, "application/problem+json")
    errors = body(answer)["errors"]
    assert sorted(e["path"] for e in errors) == paths
    assert all(e["problem"] and e["hint"] for e in errors)
    assert scene.manager.get(scene.path).headers["ETag"] == tag


def test_a_slip_is_answered_with_what_was_meant(scene: Scene) -> None:
    answer = scene.manager.post(f"{scene.path}/goals", {**GOAL, "titel": "x", "lifecycle": "activ"})
    hints = {e["path"]: e["hint"] for e in body(answer)["errors"]}
    assert hints == {"/titel": "did you mean 'title'?", "/lifecycle": "did you mean 'active'?"}


def test_what_breaks_a_rule_of_fhir_is_told_by_the_field_of_the_case(scene: Scene) -> None:
    goal = {name: value for name, value in GOAL.items() if not name.startswith("measure")}
    answer = scene.manager.post(f"{scene.path}/goals", goal)
    assert answer.status_code == 422
    assert all(e["path"].startswith("/") for e in body(answer)["errors"]), body(answer)


@pytest.mark.parametrize(("content", "status"), [(b"{", 400), (b"[]", 400), (b'"x"', 400), (b'{"title": "a", "title": "b"}', 400)])
def test_what_is_no_document_is_refused(scene: Scene, content: bytes, status: int) -> None:
    assert scene.manager.post(f"{scene.path}/goals", content, Content_Type="application/json").status_code == status
    assert scene.manager.post(f"{scene.path}/goals", content, Content_Type="text/plain").status_code == 415


def test_only_what_is_there_and_may_be_added_has_an_address(scene: Scene) -> None:
    assert scene.manager.post(f"{scene.path}/visits", {}).status_code == 409
    assert scene.manager.post(f"{scene.path}/wishes", {}).status_code == 404
    assert scene.patch("/goals/none", {"title": "x"}).status_code == 404
    assert scene.patch("/wishes", {"title": "x"}).status_code == 404


def test_activation_names_each_id_that_is_no_proposal(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    answer = scene.manager.post(f"{scene.path}/activate", {"goals": [goal, "none"], "services": ["none"]})
    assert answer.status_code == 422
    assert [e["path"] for e in body(answer)["errors"]] == ["/goals/0", "/goals/1", "/services/0"]
    answer = scene.manager.post(f"{scene.path}/activate", {"goal": [], "services": "x"})
    assert sorted(e["path"] for e in body(answer)["errors"]) == ["/goal", "/services"]


# ------------------------------------------------------------------------------------------------ whose


def test_members_read_and_people_of_the_hub_write(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    assert scene.mercy.get(scene.path).status_code == 200
    assert [c["id"] for c in body(scene.mercy.get("/cases"))["items"]] == [scene.path.rpartition("/")[2]]
    assert scene.mercy.post(f"{scene.path}/goals", GOAL).status_code == 403
    assert scene.mercy.patch(f"{scene.path}/goals/{goal}", {"title": "x"}, Content_Type=MERGE).status_code == 403
    assert scene.mercy.post(f"{scene.path}/activate", {"goals": [goal]}).status_code == 403
    assert scene.mercy.post("/cases", {"client": f"Patient/{scene.client}"}).status_code == 403
    assert scene.town.key("hub", "system/*.rs").post(f"{scene.path}/goals", GOAL).status_code == 403


def test_a_foreign_case_is_answered_as_an_absent_one(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    stranger = scene.town.key("stranger")
    assert body(stranger.get("/cases"))["items"] == []

    def told(method: str, path: str, content: Any = None) -> tuple[int, Any]:
        answer = stranger.open(method, path, content)
        answered = body(answer)
        answered.pop("correlation")
        return answer.status_code, answered

    for method, below, content in (
        ("GET", "", None), ("GET", "/timeline", None), ("GET", "/goals", None), ("GET", f"/goals/{goal}", None), ("POST", "/goals", GOAL),
        ("POST", "/activate", {"goals": [goal]}), ("PATCH", f"/goals/{goal}", {"title": "x"}), ("PATCH", "/plan", {"title": "x"}),
        ("PATCH", "", {"plan": {"title": "x"}}),
    ):  # fmt: skip
        foreign, absent = told(method, f"{scene.path}{below}", content), told(method, f"/cases/none{below}", content)
        assert foreign == absent
        assert foreign[0] == 404


# ------------------------------------------------------------------------------------------------ the timeline


def test_the_timeline_tells_when_who_what_and_from_which_message(scene: Scene) -> None:
    scene.town.clock.tick(minutes=5)
    goal = scene.add("goals", GOAL)
    scene.town.clock.tick(minutes=5)
    assert scene.patch(f"/goals/{goal}", {"title": "Walk 60 feet"}).status_code == 200
    items = body(scene.manager.get(f"{scene.path}/timeline"))["items"]
    assert [item["at"][:16] for item in items] == ["2026-11-22T05:24", "2026-11-22T05:29", "2026-11-22T05:34"]
    discharge, added, changed = items
    assert (discharge["who"]["name"], discharge["message"]["number"]) == ("Mercy", "M1")
    assert body(scene.manager.get(f"/intake/messages/{discharge['message']['id']}"))["control_id"] == "M1"
    (visit,) = [c for c in discharge["changes"] if c["what"] == "visits"]
    assert {"element": "period.end", "place": "PV1-45"} in visit["origins"]
    assert added["who"]["person"] == "Kim Lee"
    assert {c["what"]: c["done"] for c in added["changes"]} == {"goals": "created", "plan": "changed"}
    (change,) = changed["changes"]
    assert change["fields"] == [{"field": "title", "from": GOAL["title"], "to": "Walk 60 feet"}]
    first = body(scene.manager.get(f"{scene.path}/timeline?count=2"))
    rest = body(scene.manager.get(f"{scene.path}/timeline?count=2&next={first['next']}"))
    assert first["items"] + rest["items"] == items
    assert rest["next"] is None
    assert body(scene.mercy.get(f"{scene.path}/timeline"))["items"]


# ------------------------------------------------------------------------------------------------ described


def test_the_description_holds_the_schemas_that_are_enforced(scene: Scene) -> None:
    schemas = body(scene.manager.get("/openapi.json"))["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    goal = schemas["Goal"]
    assert goal["additionalProperties"] is False
    assert {"title", "lifecycle"} <= set(goal["required"])
    assert "active" in goal["properties"]["lifecycle"]["enum"]
    assert {"Case", "CaseOpening", "Client", "Service", "Equipment", "Need", "Assessment", "Plan", "Team", "Episode"} <= schemas.keys()


def test_a_case_as_it_is_read_fits_its_own_schema(scene: Scene) -> None:
    scene.add("goals", GOAL)
    scene.add("equipment", WHEELCHAIR)
    described = body(scene.manager.get("/openapi.json"))
    root = {"$ref": "#/components/schemas/Case", "components": described["components"]}
    errors = [f"{e.json_path}: {e.message}" for e in jsonschema.Draft202012Validator(root).iter_errors(scene.case())]
    assert errors == []
