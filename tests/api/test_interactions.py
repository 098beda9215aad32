"""The RESTful interactions, their headers and their races."""

from __future__ import annotations

import threading

import pytest

from tests.api.conftest import Town, body, goal, patient

ONE = "urn:uuid:6c2b2e3a-0000-4000-8000-000000000001"
TWO = "urn:uuid:6c2b2e3a-0000-4000-8000-000000000002"


def test_a_resource_is_served_as_sent_token_for_token(town: Town) -> None:
    sent = (
        b'{"resourceType":"Observation","status":"final","code":{"text":"weight"},"subject":{"reference":"Patient/%s"},'
        b'"valueQuantity":{"value":72.50,"unit":"kg"},"extension":[{"url":"urn:x","valueDecimal":1e2}]}' % town.anna.encode()
    )
    created = town.mercy.post("/fhir/Observation", sent, Content_Type="application/fhir+json")
    assert created.status_code == 201, created.get_data(as_text=True)
    text = town.mercy.get(f"/fhir/Observation/{body(created)['id']}").get_data(as_text=True)
    assert '"value":72.50' in text and '"valueDecimal":1e2' in text


def test_create_read_update_delete_tell_versions_in_headers(town: Town) -> None:
    created = town.mercy.post("/fhir/Goal", goal(town.anna))
    made = body(created)
    assert created.headers["ETag"] == 'W/"1"'
    assert created.headers["Location"] == f"http://127.0.0.1:8080/fhir/Goal/{made['id']}/_history/1"
    assert created.headers["Last-Modified"].endswith("GMT")
    made["lifecycleStatus"] = "completed"
    updated = town.mercy.put(f"/fhir/Goal/{made['id']}", made, If_Match='W/"1"')
    assert (updated.status_code, updated.headers["ETag"]) == (200, 'W/"2"')
    assert body(town.mercy.get(f"/fhir/Goal/{made['id']}/_history/1"))["lifecycleStatus"] == "active"
    deleted = town.mercy.delete(f"/fhir/Goal/{made['id']}")
    assert (deleted.status_code, deleted.get_data()) == (204, b"")
    gone = town.mercy.get(f"/fhir/Goal/{made['id']}")
    assert (gone.status_code, body(gone)["issue"][0]["code"]) == (410, "deleted")
    history = body(town.mercy.get(f"/fhir/Goal/{made['id']}/_history"))
    assert [e["request"]["method"] for e in history["entry"]] == ["DELETE", "PUT", "POST"]
    assert town.mercy.delete(f"/fhir/Goal/{made['id']}").status_code == 204


def test_an_equal_update_makes_no_new_version(town: Town) -> None:
    made = town.mercy.made(goal(town.anna))
    assert town.mercy.put(f"/fhir/Goal/{made['id']}", made).headers["ETag"] == 'W/"1"'


def test_a_stale_if_match_is_412_and_changes_nothing(town: Town) -> None:
    made = town.mercy.made(goal(town.anna))
    for tag in ('W/"2"', '"abc"', 'W/"0"'):
        answer = town.mercy.put(f"/fhir/Goal/{made['id']}", {**made, "lifecycleStatus": "completed"}, If_Match=tag)
        assert answer.status_code == 412, tag
    assert town.mercy.get(f"/fhir/Goal/{made['id']}").headers["ETag"] == 'W/"1"'


def test_a_reader_that_holds_the_version_gets_304(town: Town) -> None:
    made = town.mercy.made(goal(town.anna))
    answer = town.mercy.get(f"/fhir/Goal/{made['id']}", If_None_Match='W/"1"')
    assert (answer.status_code, answer.get_data()) == (304, b"")
    assert town.mercy.get(f"/fhir/Goal/{made['id']}", If_None_Match='W/"2"').status_code == 200
    since = town.mercy.get(f"/fhir/Goal/{made['id']}").headers["Last-Modified"]
    assert town.mercy.get(f"/fhir/Goal/{made['id']}", If_Modified_Since=since).status_code == 304


def test_head_answers_like_get_without_a_body(town: Town) -> None:
    answer = town.mercy.open("HEAD", f"/fhir/Patient/{town.anna}")
    assert (answer.status_code, answer.get_data(), answer.headers["ETag"]) == (200, b"", 'W/"1"')


@pytest.mark.parametrize(
    ("prefer", "shown"), [("return=minimal", ""), ("return=representation", "Goal"), ("return=OperationOutcome", "OperationOutcome")]
)
def test_prefer_decides_what_a_write_answers(town: Town, prefer: str, shown: str) -> None:
    answer = town.mercy.post("/fhir/Goal", goal(town.anna), Prefer=prefer)
    assert answer.status_code == 201
    assert (body(answer)["resourceType"] if answer.get_data() else "") == shown


def test_ids_are_the_hubs_to_give(town: Town) -> None:
    """DECISIONS 6."""
    refused = town.mercy.put("/fhir/Patient/mine", patient("X", id="mine"))
    assert refused.status_code == 400
    assert "PUT Patient?identifier=" in body(refused)["issue"][0]["diagnostics"]
    assert town.mercy.put("/fhir/Patient/mercy.1", patient("X", id="mercy.1")).status_code == 201
    assert town.riverside.put("/fhir/Patient/mercy.2", patient("X", id="mercy.2")).status_code == 400
    assert town.admin.put("/fhir/Patient/any", patient("X", id="any")).status_code == 201


def test_json_patch_changes_what_it_names(town: Town) -> None:
    made = town.mercy.made(goal(town.anna))
    answer = town.mercy.patch(
        f"/fhir/Goal/{made['id']}", [{"op": "replace", "path": "/lifecycleStatus", "value": "on-hold"}], If_Match='W/"1"'
    )
    assert (answer.status_code, body(answer)["lifecycleStatus"]) == (200, "on-hold")
    stale = town.mercy.patch(f"/fhir/Goal/{made['id']}", [{"op": "remove", "path": "/note"}], If_Match='W/"1"')
    assert stale.status_code == 412
    nowhere = town.mercy.patch(f"/fhir/Goal/{made['id']}", [{"op": "remove", "path": "/note"}])
    assert nowhere.status_code == 422
    broken = town.mercy.patch(f"/fhir/Goal/{made['id']}", [{"op": "replace", "path": "/lifecycleStatus", "value": "bogus"}])
    assert broken.status_code == 422
    merge = town.mercy.patch(f"/fhir/Goal/{made['id']}", {"lifecycleStatus": "active"}, Content_Type="application/merge-patch+json")
    assert merge.status_code == 415 and "json-patch" in body(merge)["issue"][0]["diagnostics"]


def test_strict_refuses_and_lenient_keeps_with_a_review(town: Town) -> None:
    """DECISIONS 13."""
    bad = goal(town.anna, lifecycleStatus="bogus")
    refused = town.mercy.post("/fhir/Goal", bad)
    assert refused.status_code == 422
    assert body(refused)["issue"][0]["expression"] == ["Goal.lifecycleStatus"]
    kept = town.mercy.post("/fhir/Goal", bad, Prefer="handling=lenient")
    assert kept.status_code == 201
    reviews = body(town.manager.get("/reviews?kind=invalid"))["items"]
    assert [r["subject"] for r in reviews] == [f"Goal/{body(kept)['id']}"]
    never = town.mercy.post("/fhir/Goal", {"resourceType": "Goal", "lifecycleStatus": "active"}, Prefer="handling=lenient")
    assert never.status_code == 422


def test_validate_tells_every_problem_and_stores_nothing(town: Town) -> None:
    answer = town.mercy.post(
        "/fhir/Goal/$validate", {"resourceType": "Goal", "lifecycleStatus": "bogus", "colour": 1, "subject": {"reference": "Patient/1"}}
    )
    assert answer.status_code == 200
    told = " ".join(issue.get("expression", [""])[0] for issue in body(answer)["issue"])
    assert "Goal.lifecycleStatus" in told and "Goal.description" in told
    assert body(town.mercy.get("/fhir/Goal?_summary=count"))["total"] == 0
    wrapped = {"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": goal(town.anna)}]}
    assert all(i["severity"] != "error" for i in body(town.mercy.post("/fhir/Goal/$validate", wrapped))["issue"])


def test_sixteen_identical_conditional_creates_make_one_resource(town: Town) -> None:
    number = [{"system": "urn:oid:9.9", "value": "42"}]
    answers: list[tuple[int, str]] = []
    gate = threading.Barrier(16)

    def create() -> None:
        gate.wait()
        answer = town.mercy.post("/fhir/Patient", patient("C", identifier=number), If_None_Exist="identifier=urn:oid:9.9|42")
        answers.append((answer.status_code, body(answer)["id"]))

    threads = [threading.Thread(target=create) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 16
    assert sorted(status for status, _ in answers) == [200] * 15 + [201]
    assert len({id_ for _, id_ in answers}) == 1
    assert body(town.mercy.get("/fhir/Patient?identifier=urn:oid:9.9|42&_summary=count"))["total"] == 1


def test_of_two_writers_with_the_same_if_match_one_wins(town: Town) -> None:
    made = town.mercy.made(goal(town.anna))
    statuses: list[int] = []
    gate = threading.Barrier(8)

    def write(number: int) -> None:
        gate.wait()
        changed = {**made, "note": [{"text": f"writer {number}"}]}
        statuses.append(town.mercy.put(f"/fhir/Goal/{made['id']}", changed, If_Match='W/"1"').status_code)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] + [412] * 7
    assert town.mercy.get(f"/fhir/Goal/{made['id']}").headers["ETag"] == 'W/"2"'


def test_conditional_update_finds_creates_or_refuses(town: Town) -> None:
    number = [{"system": "urn:oid:9.9", "value": "42"}]
    first = town.mercy.put("/fhir/Patient?identifier=urn:oid:9.9|42", patient("C", identifier=number))
    assert first.status_code == 201
    second = town.mercy.put("/fhir/Patient?identifier=urn:oid:9.9|42", patient("D", identifier=number))
    assert (second.status_code, body(second)["id"]) == (200, body(first)["id"])
    town.mercy.made(patient("E", identifier=number))
    assert town.mercy.put("/fhir/Patient?identifier=urn:oid:9.9|42", patient("F", identifier=number)).status_code == 412
    assert town.mercy.delete("/fhir/Patient?identifier=urn:oid:9.9|42").status_code == 412
    assert town.mercy.put("/fhir/Patient", patient("G")).status_code == 400


def test_paging_follows_next_links_to_the_end(town: Town) -> None:
    made = {town.mercy.made(goal(town.anna))["id"] for _ in range(7)}
    path, seen, pages = "/fhir/Goal?_count=3", [], 0
    while path:
        answer = body(town.mercy.get(path))
        seen += [entry["resource"]["id"] for entry in answer["entry"]]
        path = next((link["url"].removeprefix("http://127.0.0.1:8080") for link in answer["link"] if link["relation"] == "next"), "")
        pages += 1
    assert (len(seen), set(seen), pages) == (7, made, 3)


def test_searches_go_by_get_by_post_and_by_compartment(town: Town) -> None:
    made = town.mercy.made(goal(town.anna))
    by_post = town.mercy.post("/fhir/Goal/_search", f"patient={town.anna}".encode(), Content_Type="application/x-www-form-urlencoded")
    for answer in (town.mercy.get(f"/fhir/Goal?patient={town.anna}"), by_post, town.mercy.get(f"/fhir/Patient/{town.anna}/Goal")):
        found = body(answer)
        assert (answer.status_code, found["type"], [e["resource"]["id"] for e in found["entry"]]) == (200, "searchset", [made["id"]])
        assert found["entry"][0]["fullUrl"] == f"http://127.0.0.1:8080/fhir/Goal/{made['id']}"


def test_an_unknown_search_parameter_is_refused_unless_lenient(town: Town) -> None:
    assert town.mercy.get("/fhir/Goal?colour=red").status_code == 400
    lenient = town.mercy.get("/fhir/Goal?colour=red", Prefer="handling=lenient")
    assert lenient.status_code == 200
    assert any(e["search"]["mode"] == "outcome" for e in body(lenient)["entry"])


def test_everything_holds_the_client_and_what_is_about_it(town: Town) -> None:
    made = town.mercy.made(goal(town.anna))
    town.riverside.made(goal(town.berta))
    found = body(town.mercy.get(f"/fhir/Patient/{town.anna}/$everything"))
    kinds = [(e["resource"]["resourceType"], e["resource"]["id"]) for e in found["entry"]]
    assert kinds[0] == ("Patient", town.anna)
    assert ("Goal", made["id"]) in kinds
    assert town.berta not in str(found)


@pytest.mark.parametrize("path", ["/fhir", "/fhir/"])
def test_a_transaction_links_its_entries(town: Town, path: str) -> None:
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": ONE, "resource": goal("x", subject={"reference": TWO}),
         "request": {"method": "POST", "url": "Goal"}},
        {"fullUrl": TWO, "resource": patient("T"), "request": {"method": "POST", "url": "Patient"}},
        {"resource": goal("x", subject={"reference": f"Patient?_id={town.anna}"}),
         "request": {"method": "POST", "url": "Goal"}},
    ]}  # fmt: skip
    answer = town.mercy.post(path, bundle)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    entries = body(answer)["entry"]
    assert [e["response"]["status"][:3] for e in entries] == ["201", "201", "201"]
    made = [e["response"]["location"].split("/fhir/")[-1].split("/_history")[0] for e in entries]
    assert body(town.mercy.get(f"/fhir/{made[0]}"))["subject"]["reference"] == made[1]
    assert body(town.mercy.get(f"/fhir/{made[2]}"))["subject"]["reference"] == f"Patient/{town.anna}"


def test_a_transaction_that_fails_leaves_nothing(town: Town) -> None:
    held = town.mercy.made(goal(town.anna))
    before = body(town.mercy.get("/fhir/_history?_count=200"))["total"]
    for failing, status in (
        ({"resource": goal(town.anna, lifecycleStatus="bogus"), "request": {"method": "POST", "url": "Goal"}}, 422),
        (
            {"resource": {**held, "note": [{"text": "x"}]}, "request": {"method": "PUT", "url": f"Goal/{held['id']}", "ifMatch": 'W/"9"'}},
            412,
        ),
        ({"request": {"method": "DELETE", "url": f"Patient/{town.berta}"}}, 404),
        ({"resource": goal(town.berta), "request": {"method": "POST", "url": "Goal"}}, 422),
        (
            {
                "resource": goal("x", subject={"reference": "urn:uuid:6c2b2e3a-0000-4000-8000-000000000009"}),
                "request": {"method": "POST", "url": "Goal"},
            },
            400,
        ),
        ({"request": {"method": "GET", "url": f"Patient/{town.berta}"}}, 404),
        ({"resource": {"resourceType": "Colour"}, "request": {"method": "POST", "url": "Colour"}}, 404),
    ):
        good = {"resource": patient("T"), "request": {"method": "POST", "url": "Patient"}}
        answer = town.mercy.post("/fhir", {"resourceType": "Bundle", "type": "transaction", "entry": [good, failing]})
        assert answer.status_code == status, (failing, answer.get_data(as_text=True))
        assert body(town.mercy.get("/fhir/_history?_count=200"))["total"] == before


def test_a_batch_does_what_it_can(town: Town) -> None:
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [
        {"resource": goal(town.anna), "request": {"method": "POST", "url": "Goal"}},
        {"resource": goal(town.anna, lifecycleStatus="bogus"), "request": {"method": "POST", "url": "Goal"}},
        {"request": {"method": "GET", "url": "Goal?_count=5"}},
        {"request": {"method": "DELETE", "url": "Goal/none"}},
    ]}  # fmt: skip
    entries = body(town.mercy.post("/fhir", bundle))["entry"]
    assert [e["response"]["status"][:3] for e in entries] == ["201", "422", "200", "404"]
    assert entries[1]["response"]["outcome"]["issue"][0]["expression"] == ["Goal.lifecycleStatus"]
    assert len(entries[2]["resource"]["entry"]) == 1


def test_conditional_create_inside_a_transaction_joins_what_is_there(town: Town) -> None:
    number = [{"system": "urn:oid:9.9", "value": "42"}]
    held = town.mercy.made(patient("C", identifier=number))
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": ONE, "resource": patient("C", identifier=number),
         "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:oid:9.9|42"}},
        {"resource": goal("x", subject={"reference": ONE}), "request": {"method": "POST", "url": "Goal"}},
    ]}  # fmt: skip
    entries = body(town.mercy.post("/fhir", bundle))["entry"]
    assert [e["response"]["status"][:3] for e in entries] == ["200", "201"]
    assert entries[1]["resource"]["subject"]["reference"] == f"Patient/{held['id']}"
