"""Privacy labels by kind of case, and facts of the wrong client."""

from __future__ import annotations

from typing import Any

from tests.api.case_scene import GOAL, Scene, another_case
from tests.api.conftest import body

# ------------------------------------------------------------------------------------------------ privacy labels

RESTRICTED = {"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R", "display": "restricted"}
ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
SUBSTANCE_USE = {"system": ACT_CODE, "code": "SUD", "display": "substance use disorder information sensitivity"}


def labels(scene: Scene, reference: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = scene.fhir(reference).get("meta", {}).get("security", [])
    return found


def test_what_belongs_to_a_substance_use_case_bears_its_label_from_the_first_version_on(scene: Scene) -> None:
    opened = body(scene.manager.post("/cases", {"client": {"names": [{"family": "Ames"}]}, "kind": "substance-use"}))
    scene.path = f"/cases/{opened['id']}"
    goal = scene.add("goals", {"title": "Ninety days sober", "lifecycle": "active"})
    for reference in (f"EpisodeOfCare/{opened['id']}", f"CarePlan/{opened['plan']['id']}", f"Goal/{goal}"):
        assert labels(scene, reference) == [RESTRICTED, SUBSTANCE_USE], reference
    assert scene.fhir(f"Goal/{goal}")["meta"]["versionId"] == "1"
    provenance = body(scene.manager.get(f"/fhir/Provenance?target=Goal/{goal}"))["entry"][0]["resource"]
    assert provenance["meta"]["security"] == [RESTRICTED, SUBSTANCE_USE]
    assert labels(scene, f"Patient/{opened['client']['id']}") == [], "the client belongs to no case"


def test_a_medical_case_bears_no_label(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    assert labels(scene, f"Goal/{goal}") == []


def test_a_case_that_becomes_sensitive_labels_what_it_holds_and_nothing_takes_the_label_away(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    assert scene.patch("/episode", {"kinds": ["medical", "mental-health"]}).status_code == 200
    codes = [label["code"] for label in labels(scene, f"Goal/{goal}")]
    assert codes == ["R", "MH"]
    assert scene.patch("/episode", {"kinds": ["medical"]}).status_code == 200
    stored = scene.fhir(f"Goal/{goal}")
    assert [label["code"] for label in stored["meta"]["security"]] == ["R", "MH"]


def test_what_joins_the_plan_of_a_sensitive_case_is_labelled_as_it_joins(scene: Scene) -> None:
    goal = body(scene.manager.post("/fhir/Goal", {
        "resourceType": "Goal", "lifecycleStatus": "active", "description": {"text": "Sleep through"},
        "subject": {"reference": f"Patient/{scene.client}"},
    }))["id"]  # fmt: skip
    assert scene.patch("/episode", {"kinds": ["medical", "mental-health"]}).status_code == 200
    assert labels(scene, f"Goal/{goal}") == [], "it belongs to no case yet"
    goals = [*scene.case()["plan"]["goals"], f"Goal/{goal}"]
    assert scene.patch("/plan", {"goals": goals}).status_code == 200
    assert [label["code"] for label in labels(scene, f"Goal/{goal}")] == ["R", "MH"]
    assert "apart" not in scene.entry("goals", goal)


# ------------------------------------------------------------------------------------------------ the wrong client


def test_a_goal_of_the_wrong_client_is_moved_and_neither_record_names_the_other(scene: Scene) -> None:
    other = another_case(scene)
    need = scene.add("needs", {"kind": "barrier", "text": "Third floor without lift"})
    goal = scene.add("goals", {**GOAL, "set_by": f"Patient/{scene.client}", "needs": [f"Condition/{need}"]})
    there = other.path.rpartition("/")[2]
    answer = scene.manager.post(f"{scene.path}/goals/{goal}/move", {"to": there, "because": "two clients called Ruth"})
    assert answer.status_code == 200, answer.data
    moved = body(answer)["moved"]
    assert moved["case"] == there and answer.headers["Location"].endswith(f"/cases/{there}/goals/{moved['id']}")
    assert body(answer)["left_out"] == ["Goal.addresses[0]"]
    old, new = scene.fhir(f"Goal/{goal}"), scene.fhir(f"Goal/{moved['id']}")
    assert (old["lifecycleStatus"], new["lifecycleStatus"]) == ("entered-in-error", "active")
    assert new["subject"] == new["expressedBy"] == {"reference": f"Patient/{other.client}"} and "addresses" not in new
    assert new["target"] == old["target"]
    assert f"Goal/{goal}" not in scene.case()["plan"].get("goals", []) and f"Goal/{moved['id']}" in other.case()["plan"]["goals"]
    for mine, theirs in ((scene, other), (other, scene)):
        known = mine.manager.get(f"{mine.path}/timeline").get_data(as_text=True) + mine.manager.get(mine.path).get_data(as_text=True)
        assert theirs.client not in known and theirs.path.rpartition("/")[2] not in known
        assert "two clients called Ruth" in known


def test_an_entry_moves_only_with_a_reason_to_another_case_and_by_people_of_the_hub(scene: Scene) -> None:
    other = another_case(scene).path.rpartition("/")[2]
    goal = scene.add("goals", GOAL)
    for to, status in ((scene.path.rpartition("/")[2], 409), ("nowhere", 404)):
        assert scene.manager.post(f"{scene.path}/goals/{goal}/move", {"to": to, "because": "x"}).status_code == status
    wrong = scene.manager.post(f"{scene.path}/goals/{goal}/move", {"to": other})
    assert (wrong.status_code, [e["path"] for e in body(wrong)["errors"]]) == (422, ["/because"])
    refused = scene.riverside.post(f"{scene.path}/goals/{goal}/move", {"to": other, "because": "x"})
    assert refused.status_code in (403, 404)
    assert scene.entry("goals", goal)["lifecycle"] == "active"


def test_a_moved_fact_brings_no_word_of_the_other_client_and_keeps_its_labels(scene: Scene) -> None:
    other = another_case(scene)
    goal = scene.add("goals", GOAL)
    stored = scene.fhir(f"Goal/{goal}")
    named = {"reference": f"Patient/{scene.client}", "display": "Ruth Okafor", "identifier": {"system": "urn:oid:1.2.3", "value": "MRN-7"}}
    told = stored | {
        "subject": named, "expressedBy": named, "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Okafor</div>'},
        "meta": {"security": [RESTRICTED]},
    }  # fmt: skip
    assert scene.manager.put(f"/fhir/Goal/{goal}", told).status_code == 200
    answer = scene.manager.post(f"{scene.path}/goals/{goal}/move", {"to": other.path.rpartition("/")[2], "because": "mixed up"})
    assert answer.status_code == 200, answer.data
    moved = scene.manager.get(f"/fhir/Goal/{body(answer)['moved']['id']}").get_data(as_text=True)
    for word in ("Okafor", "MRN-7", scene.client):
        assert word not in moved
    assert labels(scene, f"Goal/{body(answer)['moved']['id']}") == [RESTRICTED]


# ------------------------------------------------------------------------------------------------ scopes and the audit trail


def test_a_key_sees_of_a_case_what_its_scopes_let_through(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    scene.add("needs", {"kind": "barrier", "text": "Stairs"})
    narrow = scene.town.key("hub", "system/EpisodeOfCare.rs", "system/Goal.r", user="Roy")
    case = body(narrow.get(scene.path))
    assert [one["id"] for one in case["goals"] if one["id"] == goal] == [goal] and case["episode"]["phase"] == "intake"
    assert not {"needs", "services", "client", "plan", "team", "people", "visits"} & set(case)
    assert {point["about"].partition("/")[0] for point in case["attention"]} <= {"Goal", "EpisodeOfCare"}
    assert narrow.get(f"{scene.path}/goals/{goal}").status_code == 200
    for hidden in ("/needs", "/client", "/summary"):
        assert narrow.get(f"{scene.path}{hidden}").status_code == 403, hidden
    (listed,) = body(narrow.get("/cases"))["items"]
    assert "client" not in listed
    for query in ("name=okafor", "due=today"):
        assert narrow.get(f"/cases?{query}").status_code == 403, query
    changes = [change for item in body(narrow.get(f"{scene.path}/timeline"))["items"] for change in item["changes"]]
    assert changes and {change["reference"].partition("/")[0] for change in changes} <= {"Goal", "EpisodeOfCare"}


def test_what_is_read_of_a_case_and_what_is_refused_is_in_the_audit_trail(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    reader = scene.town.key("hub", user="Roy Auditor")
    stranger = scene.town.key("stranger")

    def trail() -> list[dict[str, Any]]:
        scene.town.services.audit.flush(scene.town.hub.store)
        rows = body(scene.town.key("hub", admin=True).get("/audit?_count=200"))["items"]
        return [row for row in rows if row.get("user") == "Roy Auditor" or row.get("partner") == "stranger"]

    for path in ("", f"/goals/{goal}", "/goals", "/timeline", "/summary"):
        before = len(trail())
        assert reader.get(f"{scene.path}{path}").status_code == 200
        row, *_ = trail()
        assert len(trail()) == before + 1 and row["clients"] == [scene.client] and f"Goal/{goal}" in row["refs"], path
    assert reader.get("/cases").status_code == 200
    assert trail()[0]["refs"] == [f"EpisodeOfCare/{scene.path.rpartition('/')[2]}", f"Patient/{scene.client}"]
    assert stranger.get(scene.path).status_code == 404
    row, *_ = trail()
    assert (row["partner"], row["outcome"], row["refs"]) == ("stranger", "4", [f"EpisodeOfCare/{scene.path.rpartition('/')[2]}"])
