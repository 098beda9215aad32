"""Whose: a partner never learns of another's client, by no method (DECISIONS 2 to 5)."""

from __future__ import annotations

import pytest

from tests.api.conftest import Town, body, goal, patient

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


# ------------------------------------------------------------------------------------------------ tricks

NOWHERE = "00000000-0000-4000-8000-999999999999"


def _plan(town: Town, client: str, name: str, *members: str) -> str:
    """A case of the client with a plan ``name.p`` and a goal ``name.g``; the case's id."""
    from fhircase.plans.change import Write

    case = town.open_case(client, *members)
    subject = {"reference": f"Patient/{client}"}
    plan = {"resourceType": "CarePlan", "status": "active", "intent": "plan", "subject": subject, "goal": [{"reference": f"Goal/{name}.g"}]}
    town.commit(
        Write("Goal", f"{name}.g", goal(client), expect=0, client=client, case=case),
        Write("CarePlan", f"{name}.p", plan, expect=0, client=client, case=case),
    )
    return case


def _task(town: Town, client: str, owner: str = "riverside", **more) -> dict:
    return {
        "resourceType": "Task", "status": "requested", "intent": "order", "for": {"reference": f"Patient/{client}"},
        "owner": {"reference": f"Organization/{town.organizations[owner]}"}, **more,
    }  # fmt: skip


def test_an_own_task_moved_into_a_foreign_case_invites_nobody(town: Town) -> None:
    _plan(town, town.anna, "a", "mercy")
    made = town.riverside.made(_task(town, town.berta))
    moved = {**_task(town, town.anna, basedOn=[{"reference": "CarePlan/a.p"}]), "id": made["id"]}
    absent = {**_task(town, NOWHERE, basedOn=[{"reference": "CarePlan/a.p"}]), "id": made["id"]}
    answers = [town.riverside.put(f"/fhir/Task/{made['id']}", one) for one in (moved, absent)]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert body(answers[0]) == body(answers[1])
    assert town.riverside.get(f"/fhir/Patient/{town.anna}").status_code == 404
    assert town.riverside.patch(f"/fhir/Task/{made['id']}", [
        {"op": "replace", "path": "/for/reference", "value": f"Patient/{town.anna}"}
    ]).status_code == 422  # fmt: skip


def test_an_own_goal_cannot_be_moved_upon_a_foreign_client(town: Town) -> None:
    made = town.riverside.made(goal(town.berta))
    assert town.riverside.put(f"/fhir/Goal/{made['id']}", {**goal(town.anna), "id": made["id"]}).status_code == 422
    assert _entries(town.mercy.get(f"/fhir/Goal?subject=Patient/{town.anna}")) == []


def test_a_task_in_ones_own_case_opens_nothing_foreign_by_its_focus(town: Town) -> None:
    _plan(town, town.anna, "a", "mercy")
    _plan(town, town.berta, "b", "riverside")
    for focus in ("Goal/a.g", f"Patient/{town.anna}", "CarePlan/a.p"):
        sent = _task(town, town.berta, basedOn=[{"reference": "CarePlan/b.p"}], focus={"reference": focus})
        assert town.riverside.post("/fhir/Task", sent).status_code == 201
        assert town.riverside.get(f"/fhir/{focus}").status_code == 404


def test_a_task_opens_its_focus_only_within_its_case(town: Town) -> None:
    _plan(town, town.anna, "a", "mercy")
    _plan(town, town.anna, "other", "riverside")
    sent = _task(town, town.anna, basedOn=[{"reference": "CarePlan/other.p"}], focus={"reference": "Goal/a.g"})
    assert town.riverside.post("/fhir/Task", sent).status_code == 201
    assert town.riverside.get("/fhir/Goal/a.g").status_code == 404


def test_an_invitation_still_opens_its_own_focus(town: Town) -> None:
    _plan(town, town.anna, "a", "mercy")
    sent = _task(town, town.anna, basedOn=[{"reference": "CarePlan/a.p"}], focus={"reference": "Goal/a.g"})
    assert town.mercy.post("/fhir/Task", sent).status_code == 201
    assert town.riverside.get("/fhir/Goal/a.g").status_code == 200
    assert town.riverside.get("/fhir/CarePlan/a.p").status_code == 404


@pytest.mark.parametrize("target", ["Goal/a.g", "CarePlan/a.p", "Patient/{anna}"])
def test_a_provenance_of_something_foreign_is_answered_like_one_of_nothing(town: Town, target: str) -> None:
    _plan(town, town.anna, "a", "mercy")
    answers = []
    for reference in (target.format(anna=town.anna), f"Goal/{NOWHERE}"):
        sent = {
            "resourceType": "Provenance", "target": [{"reference": reference}], "recorded": "2026-01-01T00:00:00Z",
            "agent": [{"who": {"display": "x"}}],
        }  # fmt: skip
        answers.append(town.riverside.post("/fhir/Provenance", sent))
    assert [answer.status_code for answer in answers] == [201, 201]
    assert _entries(town.mercy.get("/fhir/Provenance?target=Goal/a.g&agent-role=x&_count=50")) == []
    found = _entries(town.mercy.get("/fhir/Provenance"))
    assert all(entry["resource"]["id"] != body(answers[0])["id"] for entry in found)


def test_a_link_to_a_case_one_is_not_in_says_as_little_as_a_link_to_nothing(town: Town) -> None:
    _plan(town, town.anna, "a", "mercy")
    _plan(town, town.anna, "other", "riverside")
    kept = []
    for target in ("CarePlan/a.p", f"CarePlan/{NOWHERE}"):
        sent = {
            "resourceType": "ServiceRequest", "status": "active", "intent": "order", "basedOn": [{"reference": target}],
            "subject": {"reference": f"Patient/{town.anna}"},
        }  # fmt: skip
        answer = town.riverside.post("/fhir/ServiceRequest", sent)
        assert answer.status_code == 201
        with town.hub.store.read() as tx:
            from fhircase.plans.change import Ref

            kept.append(tx.plans.get(Ref("ServiceRequest", body(answer)["id"])).case)
    assert kept == [None, None]


def test_names_of_the_hub_give_a_partner_nothing(town: Town) -> None:
    """A team, a hand-over or a case with the hub's identifiers is still the partner's own."""
    case = _plan(town, town.anna, "a", "mercy")
    own = {"reference": f"Organization/{town.organizations['riverside']}"}
    for sent in (
        {
            "resourceType": "CareTeam", "status": "active", "subject": {"reference": f"Patient/{town.berta}"},
            "identifier": [{"system": "urn:fhircase:team", "value": case}], "participant": [{"member": own}],
        },
        _task(town, town.berta, identifier=[{"system": "urn:fhircase:handover", "value": "1"}], status="accepted"),
        {"resourceType": "EpisodeOfCare", "status": "active", "patient": {"reference": f"Patient/{town.berta}"}},
        {"resourceType": "EpisodeOfCare", "status": "active", "patient": {"reference": f"Patient/{town.anna}"}},
    ):  # fmt: skip
        town.riverside.post(f"/fhir/{sent['resourceType']}", sent)
    sent = _task(
        town, town.anna, identifier=[{"system": "urn:fhircase:handover", "value": "1"}], focus={"reference": f"EpisodeOfCare/{case}"}
    )
    assert town.riverside.post("/fhir/Task", sent).status_code == 422
    for path in (f"Patient/{town.anna}", "Goal/a.g", "CarePlan/a.p", f"EpisodeOfCare/{case}"):
        assert town.riverside.get(f"/fhir/{path}").status_code == 404
    with town.hub.store.read() as tx:
        assert {grant.partner for grant in tx.plans.grants(client=town.anna)} == {"mercy"}


def _handover(town: Town, case: str, owner: str = "riverside") -> None:
    from fhircase.plans.change import Write

    sent = _task(town, town.anna, owner, identifier=[{"system": "urn:fhircase:handover", "value": case}])
    sent["requester"] = {"reference": f"Organization/{town.organizations['mercy']}"}
    town.commit(Write("Task", "handover", sent, expect=0, client=town.anna, case=case))


def _members(town: Town, case: str) -> set[str]:
    with town.hub.store.read() as tx:
        return {grant.partner for grant in tx.plans.grants(case=case, at=town.hub.now()) if grant.kind == "member"}


def test_only_who_was_asked_accepts_a_hand_over(town: Town) -> None:
    case = _plan(town, town.anna, "a", "mercy")
    _handover(town, case)
    task = body(town.mercy.get("/fhir/Task/handover"))
    assert town.mercy.put("/fhir/Task/handover", {**task, "status": "accepted"}).status_code == 200
    assert _members(town, case) == {"mercy"}
    assert [r["kind"] for r in body(town.manager.get("/reviews?kind=widening"))["items"]] == ["widening"]
    town.riverside.put("/fhir/Task/handover", {**body(town.riverside.get("/fhir/Task/handover")), "status": "accepted"})
    assert _members(town, case) == {"mercy", "riverside"}


def test_who_was_asked_cannot_hand_on_nor_end_anothers_membership(town: Town) -> None:
    case = _plan(town, town.anna, "a", "mercy")
    _handover(town, case)
    third = body(town.admin.post("/partners", {"name": "third", "role": "home-care"}))["organization"]
    task = body(town.riverside.get("/fhir/Task/handover"))
    for edit in ({"owner": {"reference": f"Organization/{third}"}}, {"requester": {"reference": f"Organization/{third}"}}):
        assert town.riverside.put("/fhir/Task/handover", {**task, **edit}).status_code == 200
        held = body(town.manager.get("/fhir/Task/handover"))
        assert (held["owner"], held["requester"]) == (task["owner"], task["requester"])


@pytest.mark.parametrize("type_", ["CareTeam", "EpisodeOfCare", "CarePlan", "Goal"])
def test_a_member_does_not_delete_what_others_contributed(town: Town, type_: str) -> None:
    case = _plan(town, town.anna, "a", "mercy", "riverside")
    found = _entries(town.mercy.get(f"/fhir/{type_}?patient=Patient/{town.anna}"))
    id_ = found[0]["resource"]["id"]
    assert town.mercy.delete(f"/fhir/{type_}/{id_}").status_code == 403
    sent = {"resourceType": "Bundle", "type": "transaction", "entry": [{"request": {"method": "DELETE", "url": f"{type_}/{id_}"}}]}
    assert town.mercy.post("/fhir", sent).status_code == 403
    assert town.mercy.get(f"/fhir/{type_}/{id_}").status_code == 200
    assert _members(town, case) == {"mercy", "riverside"}


ORACLES = (
    "CarePlan?_include=*", "CarePlan?_include=CarePlan:goal", "CarePlan?_include=CarePlan:replaces",
    "CarePlan?goal.lifecycle-status=active", "CarePlan?replaces.status=active", "CarePlan?subject:Patient.family=Aarden",
    "Task?_include=Task:focus", "Task?focus:Goal.lifecycle-status=active",
    "Task?based-on:CarePlan.status=active", "Patient?_has:Goal:patient:lifecycle-status=active", "Patient?link:Patient.family=Aarden",
    "Patient?_include=Patient:link", "Patient?_revinclude=*", "List?item:Patient.family=Aarden", "List?_include=List:item",
    "Group?member:Patient.family=Aarden", "Group?_include=Group:member", "Goal?_id=a.g", "Goal?_has:CarePlan:goal:status=active",
    "Provenance?_include=Provenance:target", "Patient?family=Aarden", "Patient?name:contains=arden", "Patient?family:exact=Aarden",
    "Patient?_id:not=none", "Organization?_revinclude=CareTeam:participant", "Organization?_has:CareTeam:participant:status=active",
    "_history", "_history?_since=2000-01-01", "Goal/_history", "Patient?_count=0&_total=accurate&family=Aarden", "EpisodeOfCare",
    "CarePlan?_include:iterate=CarePlan:replaces&_include:iterate=CarePlan:goal",
)  # fmt: skip


def test_ones_own_resources_that_point_at_foreign_ones_tell_nothing(town: Town) -> None:
    """Chains, reverse chains and includes through references that a caller wrote itself."""
    case = _plan(town, town.anna, "a", "mercy")
    anna, berta = {"reference": f"Patient/{town.anna}"}, {"reference": f"Patient/{town.berta}"}
    aim, plan = {"reference": "Goal/a.g"}, {"reference": "CarePlan/a.p"}
    for sent in (
        {"resourceType": "CarePlan", "status": "active", "intent": "plan", "subject": berta, "goal": [aim],
         "supportingInfo": [anna], "replaces": [plan]},
        _task(town, town.berta, focus=aim, basedOn=[plan]),
        {"resourceType": "List", "status": "current", "mode": "working", "entry": [{"item": aim}, {"item": anna}]},
        {"resourceType": "Group", "type": "person", "actual": True, "member": [{"entity": anna}]},
        patient("Boone", link=[{"other": anna, "type": "seealso"}]),
    ):  # fmt: skip
        assert town.riverside.post(f"/fhir/{sent['resourceType']}", sent).status_code == 201
    foreign = {town.anna, "a.g", "a.p", case}
    for query in ORACLES:
        answer = body(town.riverside.get(f"/fhir/{query}"))
        seen = {entry["resource"]["id"] for entry in answer.get("entry", ()) if "resource" in entry}
        assert not seen & foreign, query
        if "Aarden" in query or "a.g" in query:
            assert not seen and not answer.get("total"), query
    chained = {"CarePlan?goal.lifecycle-status=active", "CarePlan?replaces.status=active", "Task?focus:Goal.lifecycle-status=active"}
    assert not any(body(town.riverside.get(f"/fhir/{query}")).get("entry") for query in chained)


def test_cases_messages_and_webhooks_answer_foreign_like_absent(town: Town) -> None:
    case = _plan(town, town.anna, "a", "mercy")
    endpoint = body(town.mercy.post("/webhooks/endpoints", {"url": "https://example.org/hook"}))["id"]
    message = b"MSH|^~\\&|A|B|||20260101||ADT^A01|1|P|2.5"
    town.mercy.post("/intake/hl7v2", message, Content_Type="application/hl7-v2")
    kept = body(town.mercy.get("/intake/messages"))["items"][0]["id"]
    asked = [
        ("GET", "/cases/{}", case), ("GET", "/cases/{}/timeline", case), ("GET", "/cases/{}/goals", case),
        ("GET", "/cases/{}/goals/a.g", case),
        ("PATCH", "/cases/{}", case), ("POST", "/cases/{}/goals", case), ("POST", "/cases/{}/activate", case),
        ("PATCH", "/cases/{}/goals/a.g", case),
        ("GET", "/intake/messages/{}", kept), ("GET", "/intake/messages/{}/raw", kept), ("POST", "/intake/messages/{}/replay", kept),
        ("GET", "/webhooks/endpoints/{}", endpoint), ("PATCH", "/webhooks/endpoints/{}", endpoint),
        ("DELETE", "/webhooks/endpoints/{}", endpoint),
        ("POST", "/webhooks/endpoints/{}/rotate", endpoint), ("POST", "/webhooks/endpoints/{}/test", endpoint),
        ("POST", "/webhooks/endpoints/{}/enable", endpoint), ("POST", "/webhooks/endpoints/{}/disable", endpoint),
        ("GET", "/webhooks/deliveries?endpoint={}", endpoint),
    ]  # fmt: skip
    for method, path, own in asked:
        answers = []
        for id_ in (own, NOWHERE):
            answer = town.riverside.open(method, path.format(id_), {} if method in ("POST", "PATCH") else None)
            told = body(answer)
            told.pop("correlation", None)
            answers.append((answer.status_code, str(told).replace(id_, "x")))
        assert answers[0] == answers[1], (method, path)
        assert answers[0][0] in (403, 404, 422), (method, path, answers)
    assert town.mercy.get(f"/webhooks/endpoints/{endpoint}").status_code == 200
    assert body(town.riverside.get("/intake/messages"))["items"] == []
    assert body(town.riverside.get("/intake/messages?partner=mercy"))["items"] == []
    told = town.riverside.get("/webhooks/events").get_data(as_text=True)
    assert town.anna not in told and case not in told


def test_a_partner_posts_for_itself_alone_and_learns_of_no_other(town: Town) -> None:
    answers = []
    for name in ("mercy", "nobody"):
        answer = town.riverside.post(f"/intake/hl7v2?partner={name}", b"MSH|^~\\&|A|B", Content_Type="application/hl7-v2")
        answers.append((answer.status_code, body(answer)["errors"]))
        made = town.riverside.post("/webhooks/endpoints", {"url": "https://example.org", "partner": name})
        answers.append((made.status_code, body(made)["errors"]))
    assert answers[0] == answers[2] and answers[1] == answers[3]
    assert {status for status, _ in answers} == {403}
