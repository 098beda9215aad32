"""Whose: a partner never learns of another's client, by no method (DECISIONS 2 to 5)."""

from __future__ import annotations

import pytest

from tests.api.conftest import Town, body, goal

JSON_PATCH = [{"op": "replace", "path": "/active", "value": False}]


def _entries(answer) -> list[dict]:
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return body(answer).get("entry", [])


READS = (
    "/fhir/Patient/{id}",
    "/fhir/Patient/{id}/_history",
    "/fhir/Patient/{id}/_history/1",
    "/fhir/Patient/{id}/$everything",
)


@pytest.mark.parametrize("path", READS)
def test_foreign_and_absent_reads_get_the_same_answer(town: Town, path: str) -> None:
    foreign = town.riverside.get(path.format(id=town.anna))
    absent = town.riverside.get(path.format(id="00000000-0000-4000-8000-999999999999"))
    assert (foreign.status_code, absent.status_code) == (404, 404)
    assert foreign.get_data().replace(town.anna.encode(), b"x") == absent.get_data().replace(b"00000000-0000-4000-8000-999999999999", b"x")
    assert town.mercy.get(path.format(id=town.anna)).status_code == 200


@pytest.mark.parametrize(
    ("method", "content"),
    [("PUT", {"resourceType": "Patient"}), ("PATCH", JSON_PATCH), ("DELETE", None)],
)
@pytest.mark.parametrize("tag", [None, 'W/"1"', 'W/"7"', "*"])
def test_foreign_and_absent_writes_get_the_same_answer(town: Town, method: str, content, tag: str | None) -> None:
    answers = []
    for id_ in (town.anna, "00000000-0000-4000-8000-999999999999"):
        sent = {**content, "id": id_} if isinstance(content, dict) else content
        headers = {"Content_Type": "application/json-patch+json" if method == "PATCH" else "application/fhir+json"}
        if tag:
            headers["If_Match"] = tag
        answer = town.riverside.open(method, f"/fhir/Patient/{id_}", sent, **headers)
        answers.append((answer.status_code, answer.get_data().replace(id_.encode(), b"x")))
    assert answers[0] == answers[1]
    assert answers[0][0] in (400, 404)
    assert body(town.mercy.get(f"/fhir/Patient/{town.anna}"))["meta"]["versionId"] == "1"


def test_a_foreign_deleted_resource_is_absent_not_gone(town: Town) -> None:
    assert town.mercy.delete(f"/fhir/Patient/{town.anna}").status_code == 204
    assert town.mercy.get(f"/fhir/Patient/{town.anna}").status_code == 410
    assert town.riverside.get(f"/fhir/Patient/{town.anna}").status_code == 404
    assert town.riverside.delete(f"/fhir/Patient/{town.anna}").status_code == 404


def test_searches_and_histories_hold_only_ones_own(town: Town) -> None:
    town.mercy.made(goal(town.anna))
    town.riverside.made(goal(town.berta))
    for caller, own, other in ((town.mercy, town.anna, town.berta), (town.riverside, town.berta, town.anna)):
        for path in (
            "Patient",
            "Goal",
            "Goal?_include=Goal:subject",
            "Patient?_revinclude=Goal:subject",
            "_history",
            "Patient/_history",
            "Goal/_history",
        ):
            text = caller.get(f"/fhir/{path}").get_data(as_text=True)
            assert own in text, path
            assert other not in text, path
        assert _entries(caller.get(f"/fhir/Goal?subject=Patient/{other}")) == []
        assert _entries(caller.get(f"/fhir/Patient?_id={other}")) == []
        assert body(caller.get("/fhir/Patient?_summary=count"))["total"] == 1


def test_conditional_interactions_match_only_ones_own(town: Town) -> None:
    number = {"system": "urn:oid:9.9", "value": "42"}
    town.mercy.made({"resourceType": "Patient", "identifier": [number]})
    answer = town.riverside.post(
        "/fhir/Patient", {"resourceType": "Patient", "identifier": [number]}, If_None_Exist="identifier=urn:oid:9.9|42"
    )
    assert answer.status_code == 201
    assert town.riverside.delete("/fhir/Patient?identifier=urn:oid:9.9|43").status_code == 204


def test_a_number_that_another_claims_makes_an_own_record_and_a_review(town: Town) -> None:
    number = {
        "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
        "system": "urn:oid:9.9",
        "value": "42",
    }
    first = town.mercy.made({"resourceType": "Patient", "identifier": [number]})
    second = town.riverside.made({"resourceType": "Patient", "identifier": [number]})
    assert first["id"] != second["id"]
    reviews = body(town.manager.get("/reviews?kind=identity"))["items"]
    assert [(r["subject"], r["detail"]["candidates"]) for r in reviews] == [(f"Patient/{second['id']}", [f"Patient/{first['id']}"])]


def test_a_resource_cannot_be_put_upon_a_foreign_client(town: Town) -> None:
    foreign = town.riverside.post("/fhir/Goal", goal(town.anna))
    absent = town.riverside.post("/fhir/Goal", goal("00000000-0000-4000-8000-999999999999"))
    assert foreign.status_code == absent.status_code == 422
    assert body(foreign) == body(absent)


@pytest.mark.parametrize("kind", ["batch", "transaction"])
def test_bundles_answer_foreign_like_absent(town: Town, kind: str) -> None:
    bundle = {"resourceType": "Bundle", "type": kind, "entry": [{"request": {"method": "GET", "url": f"Patient/{town.anna}"}}]}
    answer = town.riverside.post("/fhir", bundle)
    if kind == "batch":
        assert body(answer)["entry"][0]["response"]["status"].startswith("404")
    else:
        assert answer.status_code == 404


def test_operating_pages_are_not_for_partners(town: Town) -> None:
    for path in ("/partners", "/partners/mercy", "/partners/mercy/ledger", "/keys", "/reviews", "/audit", "/audit/verify"):
        assert town.mercy.get(path).status_code == 403, path


def test_a_poller_that_joins_late_gets_the_whole_plan_through_its_cursor(town: Town) -> None:
    """DECISIONS 4: becoming visible counts as changing."""
    from fhircase.plans.change import Write

    case = town.open_case(town.anna, "mercy")
    subject = {"reference": f"Patient/{town.anna}"}
    aim = {"resourceType": "Goal", "lifecycleStatus": "active", "description": {"text": "Walk"}, "subject": subject}
    plan = {"resourceType": "CarePlan", "status": "active", "intent": "plan", "subject": subject, "goal": [{"reference": "Goal/g1"}]}
    town.commit(
        Write("Goal", "g1", aim, expect=0, client=town.anna, case=case),
        Write("CarePlan", "p1", plan, expect=0, client=town.anna, case=case),
    )
    town.clock.tick(hours=1)
    cursor = town.clock.now().isoformat().replace("+00:00", "Z")
    poll = f"/fhir/CarePlan?patient=Patient/{town.anna}&_lastUpdated=ge{cursor}&_include=CarePlan:goal"
    assert _entries(town.riverside.get(poll)) == []

    town.clock.tick(hours=1)
    team = body(town.manager.get(f"/fhir/CareTeam?subject=Patient/{town.anna}"))["entry"][0]["resource"]
    team["participant"].append({"member": {"reference": f"Organization/{town.organizations['riverside']}"}})
    assert town.manager.put(f"/fhir/CareTeam/{team['id']}", team, If_Match='W/"1"').status_code == 200

    found = _entries(town.riverside.get(poll))
    assert [(e["resource"]["id"], e["search"]["mode"]) for e in found] == [("p1", "match"), ("g1", "include")]
    assert all(e["resource"]["meta"]["lastUpdated"] >= cursor for e in found)
    assert found[0]["resource"]["meta"]["versionId"] == "1"
    resumed = found[0]["resource"]["meta"]["lastUpdated"]
    town.clock.tick(hours=1)
    again = _entries(town.riverside.get(f"/fhir/CarePlan?patient=Patient/{town.anna}&_lastUpdated=gt{resumed}"))
    assert again == []
    assert _entries(town.mercy.get(poll)) == [], "for a member of old nothing changed"
