"""Keys, scopes, partners, reviews, audit, and what runs."""

from __future__ import annotations

import io
import json
import re

import pytest

from fhircase import telemetry
from fhircase.web import auth, running
from tests.api.conftest import Api, Town, body, goal, patient


def test_every_blueprint_but_running_asks_for_a_key(town: Town) -> None:
    assert auth.OPEN == {"running"}
    nobody = Api(town.app, "")
    for rule in town.app.url_map.iter_rules():
        path = rule.rule
        for name in rule.arguments:
            path = path.replace(f"<{name}>", "Goal" if name == "type" else "x").replace(f"<path:{name}>", "x")
        for method in sorted((rule.methods or set()) - {"OPTIONS", "HEAD"}):
            answer = nobody.open(method, path)
            if rule.endpoint.startswith("running."):
                assert answer.status_code != 401, path
            else:
                assert answer.status_code == 401, (method, path)


def test_scopes_say_what_kind(town: Town) -> None:
    reader = town.key("mercy", "system/Goal.rs")
    made = town.mercy.made(goal(town.anna))
    assert reader.get(f"/fhir/Goal/{made['id']}").status_code == 200
    assert reader.get("/fhir/Goal").status_code == 200
    for method, path, content in (
        ("GET", f"/fhir/Patient/{town.anna}", None), ("GET", "/fhir/Patient", None), ("POST", "/fhir/Goal", goal(town.anna)),
        ("PUT", f"/fhir/Goal/{made['id']}", made), ("DELETE", f"/fhir/Goal/{made['id']}", None), ("GET", "/fhir/_history", None),
        ("GET", f"/fhir/Patient/{town.anna}/$everything", None),
    ):  # fmt: skip
        answer = reader.open(method, path, content)
        assert answer.status_code == 403, (method, path)
        assert body(answer)["issue"][0]["code"] == "forbidden"
    with_client = body(reader.get("/fhir/Goal?_include=Goal:subject"))
    assert [e["resource"]["resourceType"] for e in with_client["entry"]] == ["Goal"]


def test_a_revoked_key_stops_at_once(town: Town) -> None:
    made = body(town.admin.post("/keys", {"name": "x", "partner": "mercy", "scopes": ["system/*.rs"]}))
    caller = Api(town.app, made["key"])
    assert caller.get("/fhir/Patient").status_code == 200
    assert town.admin.delete(f"/keys/{made['id']}").status_code == 204
    assert caller.get("/fhir/Patient").status_code == 401
    assert made["key"] not in town.admin.get("/keys").get_data(as_text=True)


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ({"partner": "mercy", "scopes": ["system/*.rs"]}, "/name"),
        ({"name": "x", "partner": "none", "scopes": ["system/*.rs"]}, "/partner"),
        ({"name": "x", "partner": "mercy", "scopes": ["user/Patient.rs"]}, "/scopes"),
        ({"name": "x", "partner": "mercy", "scopes": ["nonsense"]}, "/scopes"),
        ({"name": "x", "partner": "mercy", "scopes": []}, "/scopes"),
        ({"name": "x", "partner": "mercy", "scopes": ["system/*.rs"], "admin": True}, "/admin"),
        ({"name": "x", "partner": "mercy", "scopes": ["system/*.rs"], "user": "Kim"}, "/user"),
        ({"name": "x", "partner": "mercy", "scopes": ["system/*.rs"], "colour": 1}, "/colour"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused_with_its_place(town: Town, sent: dict, path: str) -> None:
    answer = town.admin.post("/keys", sent)
    assert answer.status_code == 422
    assert body(answer)["errors"][0]["path"].startswith(path)


def test_a_partner_is_enrolled_changed_and_never_shows_its_secret(town: Town) -> None:
    sent = {"name": "homeward", "role": "home-care", "base_url": "https://fhir.example/r4/", "auth": {"kind": "bearer", "token": "s3cret"},
            "senders": [["APP", "FAC"]], "identifiers": [{"system": "urn:x", "value": "H"}], "poll_seconds": 0.5}  # fmt: skip
    made = town.admin.post("/partners", sent)
    assert made.status_code == 201, made.get_data(as_text=True)
    told = body(made)
    assert told["base_url"] == "https://fhir.example/r4"
    assert told["auth"] == {"kind": "bearer"}
    assert body(town.admin.get(f"/fhir/Organization/{told['organization']}"))["identifier"] == [{"system": "urn:x", "value": "H"}]
    assert town.admin.post("/partners", sent).status_code == 409
    changed = town.admin.patch("/partners/homeward", {"paused": True}, Content_Type="application/json")
    assert (changed.status_code, body(changed)["paused"], body(changed)["role"]) == (200, True, "home-care")
    for path in ("/partners", "/partners/homeward", "/audit"):
        assert "s3cret" not in town.admin.get(path).get_data(as_text=True)
    with town.hub.store.read() as tx:
        partner = tx.partners.get("homeward")
        assert town.hub.sealer.open(tx.partners.secret(partner.auth["secret"])) == "s3cret"


def test_every_mistake_in_a_partner_is_told_at_once(town: Town) -> None:
    sent = {"name": "no dots.", "role": "zoo", "base_url": "ftp://x", "zone": "Mars/Olympus", "width": 0, "auth": {"kind": "basic"},
            "sender": [], "authorities": [], "poll_seconds": "x"}  # fmt: skip
    answer = town.admin.post("/partners", sent)
    assert answer.status_code == 422
    told = {error["path"]: error["hint"] for error in body(answer)["errors"]}
    assert set(told) == {"/name", "/role", "/base_url", "/zone", "/width", "/auth", "/sender", "/authorities", "/poll_seconds"}
    assert "senders" in told["/sender"]


def test_a_review_is_listed_shown_and_settled_once(town: Town) -> None:
    town.mercy.post("/fhir/Goal", goal(town.anna, lifecycleStatus="bogus"), Prefer="handling=lenient")
    held = body(town.manager.get("/reviews"))["items"]
    assert len(held) == 1
    assert body(town.manager.get(f"/reviews/{held[0]['id']}"))["kind"] == "invalid"
    settled = town.manager.post(f"/reviews/{held[0]['id']}/settle", {"take": "ours"})
    assert (settled.status_code, body(settled)["settled_by"]) == (200, "Kim Lee")
    assert town.manager.post(f"/reviews/{held[0]['id']}/settle", {"take": "ours"}).status_code == 409
    assert body(town.manager.get("/reviews"))["items"] == []


def test_reads_writes_and_refusals_are_audited(town: Town) -> None:
    made = town.mercy.made(goal(town.anna))
    town.mercy.get(f"/fhir/Goal/{made['id']}")
    town.mercy.get(f"/fhir/Goal?patient={town.anna}")
    town.riverside.get(f"/fhir/Goal/{made['id']}")
    town.services.audit.flush(town.hub.store)
    told = [(e["partner"], e["action"], e["interaction"], e["outcome"]) for e in body(town.admin.get("/audit"))["items"]]
    assert ("mercy", "C", "fhir", "0") in told
    assert ("mercy", "R", "read", "0") in told
    assert ("mercy", "E", "search-type", "0") in told
    assert ("riverside", "E", "read", "4") in told
    trail = body(town.admin.get(f"/audit?client={town.anna}"))["items"]
    assert trail and all(town.anna in e["clients"] for e in trail)
    assert "patient" in next(e["detail"] for e in trail if e["interaction"] == "search-type")
    assert body(town.admin.get("/audit/verify")) == {"holds": True, "broken": None}


def test_what_runs_is_open_and_shows_no_client(town: Town) -> None:
    nobody = Api(town.app, "")
    town.mercy.get(f"/fhir/Patient/{town.anna}")
    assert nobody.get("/healthz").status_code == 200
    assert nobody.get("/readyz").status_code == 200
    metrics = nobody.get("/metrics").get_data(as_text=True)
    assert 'fhircase_requests_total{method="GET",route="/fhir/{type}/{id}",status="200"} 1.0' in metrics
    assert town.anna not in metrics
    statement = body(nobody.get("/fhir/metadata"))
    assert (statement["resourceType"], statement["fhirVersion"]) == ("CapabilityStatement", "4.0.1")


def test_openapi_describes_every_route(town: Town) -> None:
    described = running.describe(town.app)
    served = {
        (re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule).rstrip("/"), method.lower())
        for rule in town.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(path, method) for path, methods in described["paths"].items() for method in methods} == served
    names = [operation["operationId"] for methods in described["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))
    assert described["paths"]["/partners"]["post"]["summary"].startswith("Enrol a partner")


def test_a_correlation_id_goes_through(town: Town) -> None:
    answer = town.mercy.post("/fhir/Goal", goal(town.anna), X_Request_Id="abc-123")
    assert answer.headers["X-Request-Id"] == "abc-123"
    assert "abc-123" in town.admin.get("/audit").get_data(as_text=True)
    assert town.mercy.get("/fhir/Goal", X_Request_Id="bad id\x7f").headers["X-Request-Id"] != "bad id\x7f"


def test_logs_hold_ids_and_never_bodies_names_or_queries(town: Town) -> None:
    import structlog

    stream = io.StringIO()
    telemetry.configure("debug", stream)
    try:
        made = town.mercy.made(patient("Canary-Family", birthDate="1931-07-07"))
        town.mercy.get("/fhir/Patient?family=Canary-Family&birthdate=1931-07-07")
        town.mercy.get(f"/fhir/Patient/{made['id']}")
        town.mercy.post("/fhir/Patient", {"resourceType": "Patient", "name": "Canary-Family"})
        telemetry.tell(telemetry.Log.REQUEST, status=200, name="Canary-Family", body="Canary-Family")
    finally:
        structlog.reset_defaults()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) >= 4
    assert "Canary" not in stream.getvalue() and "1931" not in stream.getvalue()
    assert all({"code", "level", "timestamp"} <= set(line) for line in lines)


def test_a_plain_server_has_no_cases_and_says_so(town: Town) -> None:
    for path in ("/cases", "/cases/x", "/directory/people"):
        answer = town.manager.get(path)
        assert (answer.status_code, answer.content_type) == (404, "application/problem+json"), path
        assert "runs no cases" in answer.get_data(as_text=True)
