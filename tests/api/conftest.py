"""The real application on a real SQLite store, asked through Flask's test client. Two partners with clients of their own
are in every test: *mercy* with Anna, *riverside* with Berta."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from fhircase.flows import commit, enrol
from fhircase.flows.hub import Hub
from fhircase.plans.change import Agent, Change, Source, Write
from fhircase.web.app import Services, create_app

ADMIN = Agent("hub", None, admin=True)


def body(response: TestResponse) -> Any:
    """The JSON of an answer."""
    return response.get_json(force=True)


@dataclass
class Api:
    """One caller."""

    app: Flask
    key: str

    def open(self, method: str, path: str, content: Any = None, **headers: str) -> TestResponse:
        sent = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        options: dict[str, Any] = {"headers": sent}
        if isinstance(content, bytes):
            options["data"] = content
        elif content is not None:
            options["json"] = content
            if "Content-Type" in sent:
                options["content_type"] = sent.pop("Content-Type")
        return self.app.test_client().open(path, method=method, **options)

    def get(self, path: str, **headers: str) -> TestResponse:
        return self.open("GET", path, **headers)

    def post(self, path: str, content: Any, **headers: str) -> TestResponse:
        return self.open("POST", path, content, **headers)

    def put(self, path: str, content: Any, **headers: str) -> TestResponse:
        return self.open("PUT", path, content, **headers)

    def patch(self, path: str, content: Any, **headers: str) -> TestResponse:
        return self.open("PATCH", path, content, **{"Content_Type": "application/json-patch+json"} | headers)

    def delete(self, path: str, **headers: str) -> TestResponse:
        return self.open("DELETE", path, **headers)

    def made(self, resource: dict[str, Any]) -> dict[str, Any]:
        """Create, and the stored resource; fails the test when refused."""
        answer = self.post(f"/fhir/{resource['resourceType']}", resource)
        assert answer.status_code == 201, answer.get_data(as_text=True)
        stored: dict[str, Any] = body(answer)
        return stored


@dataclass
class Town:
    """A hub with two partners, each with a client that the other may not know of."""

    app: Flask
    hub: Hub
    services: Services
    clock: Any
    organizations: dict[str, str]
    admin: Api
    manager: Api
    mercy: Api
    riverside: Api
    anna: str = ""
    berta: str = ""
    seeds: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    def key(self, partner: str, *scopes: str, user: str | None = None, admin: bool = False) -> Api:
        """A caller with a key of its own."""
        _, text = enrol.key(
            self.hub, self.random, name=f"key of {partner}", partner=partner, scopes=scopes or ("system/*.cruds",), user=user, admin=admin
        )
        return Api(self.app, text)

    def random(self, count: int) -> bytes:
        return hashlib.sha512(str(next(self.seeds)).encode()).digest()[:count]

    def open_case(self, client: str, *members: str) -> str:
        """An episode of the client with the hub's care team of these partners; the case's id."""
        case = self.hub.ids.new()
        subject = {"reference": f"Patient/{client}"}
        episode = {"resourceType": "EpisodeOfCare", "id": case, "status": "active", "patient": subject}
        participants = [{"member": {"reference": f"Organization/{self.organizations[name]}"}} for name in members]
        team = {
            "resourceType": "CareTeam", "status": "active", "subject": subject, "participant": participants,
            "identifier": [{"system": "urn:fhircase:team", "value": case}],
        }  # fmt: skip
        self.commit(
            Write("EpisodeOfCare", case, episode, expect=0, client=client, case=case),
            Write("CareTeam", self.hub.ids.new(), team, expect=0, client=client, case=case),
        )
        return case

    def commit(self, *writes: Write) -> None:
        change = commit.check(Change(writes, ADMIN, Source("hub"), reason="test"))
        with self.hub.store.write() as tx:
            commit.commit(self.hub, tx, change)


def patient(family: str, **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "name": [{"family": family}], **more}


def goal(client: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Goal", "lifecycleStatus": "active", "description": {"text": "Walk 50 feet"},
        "subject": {"reference": f"Patient/{client}"}, **more,
    }  # fmt: skip


@pytest.fixture
def town(make_hub: Callable[..., Hub], clock: Any) -> Town:
    hub = make_hub(maps=None, clock=clock)
    seeds = iter(range(10_000))
    services = Services(random_bytes=lambda count: hashlib.sha512(b"web" + str(next(seeds)).encode()).digest()[:count], key_cache_s=0.0)
    app = create_app(hub, services)
    app.testing = False
    enrol.ensure_hub(hub)
    organizations = {}
    for name, role in (("mercy", "hospital"), ("riverside", "rehab")):
        record, _ = enrol.read_partner({"name": name, "role": role, "authorities": {name.upper(): f"urn:oid:1.2.3.{len(name)}"}})
        organizations[name] = str(enrol.partner(hub, ADMIN, record, new=True).organization)
    nobody = Api(app, "")
    made = Town(app, hub, services, clock, organizations, nobody, nobody, nobody, nobody, seeds=iter(range(10_000)))
    made.admin = made.key("hub", admin=True)
    made.manager = made.key("hub", user="Kim Lee")
    made.mercy = made.key("mercy")
    made.riverside = made.key("riverside")
    made.anna = made.mercy.made(patient("Aarden"))["id"]
    made.berta = made.riverside.made(patient("Boone"))["id"]
    return made


@pytest.fixture(scope="module")
def maps() -> Any:
    """The project's mappings, read once a module."""
    from fhircase.mapping import Mappings

    return Mappings.load()


@pytest.fixture
def scene(make_hub: Callable[..., Hub], clock: Any, maps: Any) -> Any:
    """The scene of the tests of ``/cases`` (case_scene.py)."""
    from tests.api.case_scene import stage

    return stage(make_hub, clock, maps)
