"""The blueprint alone; that its errors become problem+json and its callers authenticate is shown in tests/api."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, g
from flask.testing import FlaskClient

from fhircase.errors import FhircaseError
from fhircase.web import events as webhooks
from tests.unit.webhooks.support import Tx, event, hub_with, principal, queue


@pytest.fixture
def served() -> Iterator[tuple[FlaskClient, Tx]]:
    hub, tx, _ = hub_with()
    app = Flask("test")
    randoms = iter([b"1", b"2"])
    app.extensions["fhircase"] = hub
    app.extensions["fhircase.services"] = SimpleNamespace(random_bytes=lambda count: next(randoms) * count)
    app.register_blueprint(webhooks.bp)

    @app.before_request
    def _caller() -> None:
        g.principal = principal()

    @app.errorhandler(FhircaseError)
    def _refused(error: FhircaseError) -> Any:
        return {"errors": [{"path": p.path, "problem": p.what} for p in error.problems]}, error.status

    yield app.test_client(), tx


def test_an_endpoint_is_made_read_changed_and_removed(served: tuple[FlaskClient, Tx]) -> None:
    client, tx = served
    made = client.post("/webhooks/endpoints", json={"url": "https://rehab.example/hooks", "events": ["handover.*"]})
    assert made.status_code == 201
    assert made.json["secret"].startswith("whsec_")
    assert made.headers["Cache-Control"] == "no-store"
    where = made.headers["Location"].removeprefix("http://127.0.0.1:8080")
    read = client.get(where)
    assert "secret" not in read.json and "secrets" not in read.json
    assert client.patch(where, json={"thin": True}).json["events"] == read.json["events"]
    assert client.post(where + "/rotate").json["secret"] != made.json["secret"]
    assert client.get(where).json["old_secret_until"] == "2026-11-23T05:24:38.123Z"
    assert client.post(where + "/test").status_code == 202
    assert client.post(where + "/disable").json["disabled"] == "its owner disabled it"
    assert client.post(where + "/enable", json={"since": "2026-11-22T00:00:00Z"}).json["resent"] == 0
    assert client.delete(where).status_code == 204
    assert client.get(where).status_code == 404


def test_events_are_polled_as_they_would_be_posted(served: tuple[FlaskClient, Tx]) -> None:
    client, tx = served
    queue(tx, event(1))
    page = client.get("/webhooks/events").json
    assert page["next"] is None
    assert page["items"][0]["id"] == "w1"
    assert page["items"][0]["data"]["resource"] == "Goal/g1"


def test_the_delivery_log_tells_how_each_attempt_went(served: tuple[FlaskClient, Tx]) -> None:
    client, tx = served
    queue(tx, event(1))
    tx.outbox.failed(1, status=500, problem="the endpoint answered 500", now=1_000, not_before=6_000, dead=False)
    item = client.get("/webhooks/deliveries?endpoint=e1").json["items"][0]
    assert (item["state"], item["attempts"], item["status"], item["next_try"]) == ("ready", 1, 500, "1970-01-01T00:00:06.000Z")
    again = client.post("/webhooks/deliveries/resend", json={"endpoint": "e1", "delivery": 1})
    assert (again.status_code, again.json) == (202, {"resent": 1})


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/webhooks/endpoints", b"{", 400),
        ("POST", "/webhooks/endpoints", b"[]", 400),
        ("POST", "/webhooks/endpoints", b"{}", 422),
        ("POST", "/webhooks/deliveries/resend", b"{}", 400),
        ("POST", "/webhooks/deliveries/resend", b'{"endpoint":"e1","delivery":true}', 400),
        ("POST", "/webhooks/deliveries/resend", b'{"endpoint":"e1","delivery":99999999999999999999}', 400),
        ("GET", "/webhooks/events?since=yesterday", None, 400),
        ("GET", "/webhooks/events?since=2026-11-22T05:24:38", None, 400),
        ("GET", "/webhooks/events?count=0", None, 400),
        ("GET", "/webhooks/events?count=-1", None, 400),
        ("GET", "/webhooks/events?count=%C2%B2", None, 400),
        ("GET", "/webhooks/deliveries?state=lost", None, 400),
        ("GET", "/webhooks/deliveries?endpoint=none", None, 404),
    ],
)
def test_bad_input_is_a_clear_refusal(served: tuple[FlaskClient, Tx], method: str, path: str, body: bytes | None, status: int) -> None:
    client, tx = served
    queue(tx, event(1))
    answer = client.open(path, method=method, data=body, content_type="application/json" if body else None)
    assert answer.status_code == status
    assert answer.json["errors"]


def test_a_body_of_another_type_is_refused(served: tuple[FlaskClient, Tx]) -> None:
    client, _ = served
    assert client.post("/webhooks/endpoints", data="url=x", content_type="application/x-www-form-urlencoded").status_code == 415
