"""``/cases``: the case management view of the shared plan, and the same plan under ``/fhir``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import jsonschema
import pytest

from fhircase.flows import enrol
from fhircase.flows.hub import Hub
from fhircase.mapping import Mappings
from fhircase.plans.change import Ref
from fhircase.web.app import Services, create_app
from tests.api.conftest import ADMIN, Api, Town, body

MERGE = "application/merge-patch+json"
ER7 = "application/hl7-v2"
LOINC_WALK = {"system": "http://loinc.org", "code": "41950-7", "display": "Number of steps in 24 hour Measured"}
FOREIGN = {"url": "https://rehab.example/fhir/confidence", "valueDecimal": 0.70}


def adt(event: str, control: str, *, disposition: str = "62", happened: str = "20261120142500-0500") -> bytes:
    end = happened if event == "A03" else ""
    return "\r".join(
        (
            f"MSH|^~\\&|ADT|MERCY|HUB|NET|{happened}||ADT^{event}|{control}|P|2.5.1",
            f"EVN||{happened}||||{happened}",
            "PID|1||MRN-7^^^MERCY^MR||Okafor^Ruth||19481103|F",
            f"PV1|1|I|4E^401^B||||||||||||||||V-7^^^MERCY^VN|||||||||||||||||{disposition}||||||||20261110080000-0500|{end}",
            "",
        )
    ).encode()


class Scene:
    """A town with the project's mappings, and one client whose discharge from Mercy to Riverside opened a case."""

    def __init__(self, town: Town) -> None:
        self.town, self.manager, self.mercy, self.riverside = town, town.manager, town.mercy, town.riverside
        answer = self.mercy.post("/intake/hl7v2", adt("A03", "M1"), Content_Type=ER7)
        assert b"MSA|AA|M1" in answer.data, answer.data
        (only,) = body(self.manager.get("/cases"))["items"]
        self.path = f"/cases/{only['id']}"
        self.client = only["client_id"]

    def case(self) -> dict[str, Any]:
        answer = self.manager.get(self.path)
        assert answer.status_code == 200, answer.data
        found: dict[str, Any] = body(answer)
        return found

    def add(self, what: str, doc: dict[str, Any]) -> str:
        answer = self.manager.post(f"{self.path}/{what}", doc)
        assert answer.status_code == 201, answer.data
        added: str = body(answer)["added"]
        assert answer.headers["Location"].endswith(f"{self.path}/{what}/{added}")
        return added

    def patch(self, below: str, doc: Any, **headers: str) -> Any:
        return self.manager.patch(f"{self.path}{below}", doc, **{"Content_Type": MERGE} | headers)

    def entry(self, what: str, id_: str) -> dict[str, Any]:
        found: dict[str, Any] = body(self.manager.get(f"{self.path}/{what}/{id_}"))
        return found

    def fhir(self, reference: str) -> dict[str, Any]:
        answer = self.manager.get(f"/fhir/{reference}")
        assert answer.status_code == 200, answer.data
        found: dict[str, Any] = body(answer)
        return found


GOAL = {
    "title": "Walk 50 feet independently within two weeks", "lifecycle": "active", "achievement": "in-progress", "domain": "mobility",
    "measure": "Distance walked without help", "target_value": 50, "target_unit": "feet", "target_unit_code": "[ft_i]",
    "target_unit_system": "http://unitsofmeasure.org", "due": "2026-12-06",
}  # fmt: skip
ASSESSMENT = {
    "what": "Distance walked without help", "kinds": ["functional-status"], "value": 20, "unit": "feet", "when": "2026-11-22T05:20:00Z",
}  # fmt: skip
WHEELCHAIR = {"state": "active", "intent": "order", "kind": "wheelchair", "details": [{"what": "Seat width", "value": 45, "unit": "cm"}]}
HOME_HEALTH = {"state": "active", "intent": "order", "kind": "home-health", "amount": 2, "amount_unit": "visits a week"}


@pytest.fixture(scope="module")
def maps() -> Mappings:
    return Mappings.load()


@pytest.fixture
def scene(make_hub: Callable[..., Hub], clock: Any, maps: Mappings) -> Scene:
    hub = make_hub(clock=clock, maps=maps)
    seeds: Iterator[int] = iter(range(10_000))
    services = Services(random_bytes=lambda n: hashlib.sha512(b"case" + str(next(seeds)).encode()).digest()[:n], key_cache_s=0.0)
    app = create_app(hub, services)
    enrol.ensure_hub(hub)
    organizations = {}
    for doc in (
        {"name": "mercy", "role": "hospital", "title": "Mercy", "zone": "America/New_York", "authorities": {"MERCY": "urn:oid:1.2.3"}},
        {"name": "riverside", "role": "rehab", "title": "Riverside", "dispositions": ["rehab"]},
        {"name": "stranger", "role": "home-care"},
    ):
        record, _ = enrol.read_partner(doc)
        organizations[str(doc["name"])] = str(enrol.partner(hub, ADMIN, record, new=True).organization)
    nobody = Api(app, "")
    town = Town(app, hub, services, clock, organizations, nobody, nobody, nobody, nobody)
    town.manager = town.key("hub", user="Kim Lee")
    town.mercy, town.riverside = town.key("mercy"), town.key("riverside")
    return Scene(town)


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


def another_case(scene: Scene, **more: Any) -> Scene:
    """A case of another client, opened by hand."""
    opened = body(scene.manager.post("/cases", {"client": {"names": [{"family": "Right"}]}, **more}))
    other = Scene.__new__(Scene)
    other.town, other.manager, other.mercy, other.riverside = scene.town, scene.manager, scene.mercy, scene.riverside
    other.path, other.client = f"/cases/{opened['id']}", opened["client"]["id"]
    return other


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


# ------------------------------------------------------------------------------------------------ phases


def move(scene: Scene, to: str, **document: Any) -> Any:
    path = f"{scene.path}/{to}" if to in ("hold", "resume", "close", "reopen") else f"{scene.path}/phase"
    told = {"because": "as needs change", **document} | ({} if path.endswith(to) else {"to": to})
    return scene.manager.post(path, told)


def paths(answer: Any) -> list[str]:
    return [error["path"] for error in body(answer)["errors"]]


def planned(scene: Scene) -> tuple[str, str]:
    """The case in implementation, with one goal and one ordered service of its own; what the templates proposed is gone."""
    for goal in scene.case()["goals"]:
        assert scene.patch(f"/goals/{goal['id']}", {"lifecycle": "rejected", "rejected_because": "not now"}).status_code == 200
    for service in scene.case()["services"]:
        assert scene.patch(f"/services/{service['id']}", {"state": "revoked"}).status_code == 200
    for task in scene.case()["handovers"]:
        assert scene.patch(f"/handovers/{task['id']}", {"state": "accepted"}).status_code == 200
    goal, service = scene.add("goals", GOAL), scene.add("services", HOME_HEALTH)
    scene.add("assessments", ASSESSMENT)
    for to in ("assessment", "planning", "implementation"):
        answer = move(scene, to)
        assert answer.status_code == 200, answer.data
    return goal, service


def test_a_case_goes_round_its_cycle_and_every_move_says_who_when_and_why(scene: Scene) -> None:
    planned(scene)
    for to in ("monitoring", "evaluation", "monitoring", "assessment"):
        answer = move(scene, to, because=f"on to {to}")
        assert (answer.status_code, body(answer)["episode"]["phase"]) == (200, to), answer.data
    entry = body(scene.manager.get(f"{scene.path}/timeline"))["items"][-1]
    assert (entry["did"], entry["why"], entry["who"]["person"]) == ("moved from monitoring to assessment", "on to assessment", "Kim Lee")


def test_a_move_that_is_not_allowed_tells_what_stands_in_the_way_and_changes_nothing(scene: Scene) -> None:
    before = scene.case()["episode"]
    assert paths(move(scene, "monitoring")) == ["/episode/phase"]
    assert paths(move(scene, "nowhere")) == ["/to"]
    assert paths(scene.manager.post(f"{scene.path}/phase", {"to": "assessment"})) == ["/because"]
    assert move(scene, "assessment").status_code == 200
    assert paths(move(scene, "planning")) == ["/assessments"], "nothing was assessed"
    scene.add("assessments", {"what": "Finances", "not_assessed": "The client was tired", "domain": "financial"})
    assert move(scene, "planning").status_code == 200, "an explicit 'not assessed' will do"
    assert scene.case()["episode"]["version"] == before["version"] + 2


def test_phase_and_state_are_not_patched_and_not_jumped_under_fhir(scene: Scene) -> None:
    assert paths(scene.patch("/episode", {"phase": "monitoring", "closed": "2026-11-22"})) == ["/phase", "/closed"]
    id_ = scene.path.rpartition("/")[2]
    episode = scene.fhir(f"EpisodeOfCare/{id_}")
    phase = {"url": "urn:fhircase:extension:phase", "valueCode": "monitoring"}
    for change, place in (({"extension": [phase]}, "EpisodeOfCare.extension"), ({"status": "finished"}, "EpisodeOfCare.status")):
        refused = scene.manager.put(f"/fhir/EpisodeOfCare/{id_}", {**episode, **change})
        assert refused.status_code == 422
        (issue, *_) = body(refused)["issue"]
        assert issue.get("expression", [""])[0].startswith(place), issue
    assert scene.fhir(f"EpisodeOfCare/{id_}") == episode


def test_closing_asks_for_goals_loops_and_destination_and_closes_when_all_is_answered(scene: Scene) -> None:
    goal, service = planned(scene)
    refused = move(scene, "close", reason="goals-met")
    assert refused.status_code == 422
    assert {"/reason", "/because", f"/goals/{goal}", f"/services/{service}", "/outcome", "/destination"} & set(paths(refused)) >= {
        f"/goals/{goal}", f"/services/{service}", "/outcome", "/destination",
    }  # fmt: skip
    assert scene.case()["episode"]["state"] == "active"
    assert scene.patch(f"/goals/{goal}", {"lifecycle": "completed", "achievement": "achieved"}).status_code == 200
    assert scene.patch(f"/services/{service}", {"state": "completed"}).status_code == 200
    for to in ("monitoring", "evaluation"):
        assert move(scene, to).status_code == 200
    closed = move(scene, "close", reason="goals-met", outcome="Walks to the shop", destination="independent")
    assert closed.status_code == 200, closed.data
    case = body(closed)
    assert (case["episode"]["state"], case["episode"]["phase"], case["plan"]["state"]) == ("finished", "closed", "completed")
    assert (case["episode"]["closed_because"], case["episode"]["destination"]) == ("goals-met", "independent")
    assert case["attention"] == [] and "closed" in case["episode"]


def test_a_client_who_withdraws_can_always_close_and_what_is_open_is_listed(scene: Scene) -> None:
    goal = scene.add("goals", GOAL)
    closed = move(scene, "close", reason="withdrew")
    assert closed.status_code == 200, closed.data
    case = body(closed)
    assert (case["episode"]["phase"], case["plan"]["state"]) == ("closed", "revoked")
    assert f"/goals/{goal}" in [one["path"] for one in case["open"]]
    assert next(g for g in case["goals"] if g["id"] == goal)["lifecycle"] == "active", "listed, not changed"


def test_a_closed_case_is_reopened_within_thirty_days_and_not_later(scene: Scene) -> None:
    assert paths(move(scene, "reopen")) == ["/episode/phase"], "it is open"
    assert move(scene, "close", reason="withdrew").status_code == 200
    reopened = move(scene, "reopen", because="came back after a week")
    assert reopened.status_code == 200, reopened.data
    case = body(reopened)
    assert (case["episode"]["phase"], case["episode"]["state"], case["plan"]["state"]) == ("assessment", "active", "active")
    assert "closed" not in case["episode"] and "ends" not in case["plan"]
    assert move(scene, "close", reason="withdrew").status_code == 200
    scene.town.clock.at += timedelta(days=31)
    assert paths(move(scene, "reopen")) == ["/episode/closed"]


def test_the_work_rests_and_goes_on_in_the_phase_where_it_rested(scene: Scene) -> None:
    assert move(scene, "assessment").status_code == 200
    resting = body(move(scene, "hold", because="in hospital"))
    assert (resting["episode"]["state"], resting["episode"]["phase"], resting["plan"]["state"]) == ("onhold", "assessment", "on-hold")
    assert paths(move(scene, "hold")) == ["/episode/state"]
    again = body(move(scene, "resume"))
    assert (again["episode"]["state"], again["plan"]["state"]) == ("active", "active")
    assert [one["state"] for one in again["episode"]["history"]][-2:] == ["active", "onhold"]


# ------------------------------------------------------------------------------------------------ decisions


def attention(scene: Scene, rule: str) -> list[str]:
    return [point["about"] for point in scene.case()["attention"] if point["rule"] == rule]


def test_an_order_without_the_clients_decision_is_told_until_the_client_decides(scene: Scene) -> None:
    service = scene.add("services", HOME_HEALTH)
    assert f"ServiceRequest/{service}" in attention(scene, "order-without-decision")
    decision = {"on": f"ServiceRequest/{service}", "decided": "accepted", "by": f"Patient/{scene.client}", "reason": "I want that"}
    answer = scene.manager.post(f"{scene.path}/decisions", decision)
    assert answer.status_code == 200, answer.data
    assert f"ServiceRequest/{service}" not in attention(scene, "order-without-decision")
    entry = scene.entry("services", service)
    assert (entry["decided"], entry["decided_by"], entry["decided_because"]) == ("accepted", f"Patient/{scene.client}", "I want that")
    provenances = body(scene.manager.get(f"/fhir/Provenance?target=ServiceRequest/{service}"))["entry"]
    assert any(
        agent["who"] == {"reference": f"Patient/{scene.client}"} and agent["type"]["coding"][0]["code"] == "informant"
        for one in provenances for agent in one["resource"]["agent"]
    )  # fmt: skip


def test_a_refusal_is_kept_and_raises_nothing(scene: Scene) -> None:
    service = scene.add("services", {**HOME_HEALTH, "state": "draft", "intent": "proposal"})
    goal = scene.add("goals", {**GOAL, "lifecycle": "proposed"})
    for on in (f"ServiceRequest/{service}", f"Goal/{goal}"):
        decision = {"on": on, "decided": "declined", "by": f"Patient/{scene.client}", "reason": "My sister helps"}
        assert scene.manager.post(f"{scene.path}/decisions", decision).status_code == 200
    assert (scene.entry("services", service)["state"], scene.entry("goals", goal)["lifecycle"]) == ("revoked", "rejected")
    assert scene.entry("goals", goal)["rejected_because"] == "My sister helps"
    about = [point["about"] for point in scene.case()["attention"]]
    assert f"ServiceRequest/{service}" not in about and f"Goal/{goal}" not in about


def test_only_the_client_and_a_guardian_who_is_valid_that_day_decide(scene: Scene) -> None:
    service = scene.add("services", HOME_HEALTH)
    daughter = scene.add("contacts", {"relationship": "daughter", "names": [{"family": "Okafor", "given": ["Ada"]}]})
    ended = {"since": "2026-01-01", "until": "2026-06-30"}
    guardian = scene.add("contacts", {"relationship": "guardian", "names": [{"family": "Lind"}], **ended})
    told = {"on": f"ServiceRequest/{service}", "decided": "accepted"}
    for who, day, status in (
        (daughter, "2026-11-22", 422), (guardian, "2026-11-22", 422), (guardian, "2026-05-01", 200), ("nobody", "2026-11-22", 422),
    ):  # fmt: skip
        answer = scene.manager.post(f"{scene.path}/decisions", {**told, "by": f"RelatedPerson/{who}", "at": f"{day}T10:00:00Z"})
        assert answer.status_code == status, (who, day, answer.data)
        assert status == 200 or paths(answer) == ["/by"]
    nothing = {**told, "by": f"Patient/{scene.client}", "on": "ServiceRequest/x"}
    assert paths(scene.manager.post(f"{scene.path}/decisions", nothing)) == ["/on"]


# ------------------------------------------------------------------------------------------------ goals follow what is measured

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
