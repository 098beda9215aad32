"""One hub with one real server as its partner: the flows of delivery and collection, on the Gateway over HTTP."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import requests

from fhircase.partners.egress import GuardedAdapter, literal_networks
from fhircase.partners.gateway import HttpGateway
from fhircase.partners.probe import Found, probe
from fhircase.plans.change import Ref, Resource
from fhircase.ports import PartnerDown, Reply
from tests.conftest import FrozenClock
from tests.sim import scene as simulated

THEM = "them"
TYPES = (*simulated.TYPES, "Observation", "DeviceRequest")


class There:
    """A live server as the hub's partner. ``asked`` is every request of the hub; ``lose`` the methods whose next answer is
    lost after it took effect."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._gateway = HttpGateway(base_url, GuardedAdapter(literal_networks(base_url)), timeout=60)
        self.asked: list[tuple[str, str, int]] = []
        self.lose: list[str] = []

    @property
    def writes(self) -> int:
        return sum(method != "GET" and 200 <= status < 300 for method, _, status in self.asked)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        reply = self._gateway.request(method, path, body=body, headers=headers, params=params)
        self.asked.append((method, path, reply.status))
        if method in self.lose and 200 <= reply.status < 300:
            self.lose.remove(method)
            raise PartnerDown("no answer in time")
        return reply

    # -- as their own staff use it

    def call(self, method: str, path: str, body: Resource | None = None, **headers: str) -> requests.Response:
        sent = {"Content-Type": "application/fhir+json", "Cache-Control": "no-cache"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.request(method, f"{self.base_url}/{path}", json=body, headers=sent, timeout=60)

    def all(self, type_: str) -> list[Resource]:
        """Every resource of the type, for servers that cannot search it."""
        found: list[Resource] = []
        url: str | None = f"{self.base_url}/{type_}?_count=500"
        while url:
            bundle = requests.get(url, headers={"Cache-Control": "no-cache"}, timeout=60).json()
            found += [e["resource"] for e in bundle.get("entry", ()) if e["resource"]["resourceType"] == type_]
            url = next((link["url"] for link in bundle.get("link", ()) if link["relation"] == "next"), None)
        return found

    def copies(self, ref: Ref) -> list[Resource]:
        """What carries our identifier of ``ref``."""
        return [r for r in self.all(ref.type) if any(i.get("value") == str(ref) for i in r.get("identifier", ()))]

    def edit(self, ref: Ref, change: Callable[[Resource], Any]) -> Resource:
        (copy,) = self.copies(ref)
        change(copy)
        answer = self.call("PUT", f"{ref.type}/{copy['id']}", copy, If_Match=f'W/"{copy["meta"]["versionId"]}"')
        assert answer.status_code == 200, answer.text
        return copy

    def add(self, resource: Resource) -> str:
        answer = self.call("POST", resource["resourceType"], resource)
        assert answer.status_code == 201, answer.text
        location = answer.headers["Location"].split("/_history")[0]
        return location.rsplit("/", 1)[1]


def probed(there: There) -> Found:
    return probe(there, lambda: str(uuid.uuid4()))


class Scene(simulated.Scene):
    """As the simulator's scene, with ids of its own so that many tests share one server."""

    def __init__(self, store: Any, there: There, dialect: Mapping[str, Any]) -> None:
        self.there = there
        servers: dict[str, Any] = {THEM: there}
        super().__init__(
            store, servers, FrozenClock(), client=str(uuid.uuid4()), case=str(uuid.uuid4()), dialects={THEM: dialect}, send=TYPES,
            take=tuple(t for t in TYPES if t not in ("Patient", "Practitioner")),
        )  # fmt: skip

    def theirs(self, partner: str, ref: Ref) -> Resource:
        link = self.link(partner, ref)
        assert link is not None and link.remote is not None
        answer = self.there.call("GET", f"{ref.type}/{link.remote}")
        assert answer.status_code == 200
        found: Resource = answer.json()
        return found

    @property
    def patient(self) -> dict[str, str]:
        return {"reference": f"Patient/{self.client}"}

    def goal(self, **more: Any) -> Ref:
        ref = Ref("Goal", str(uuid.uuid4()))
        body = {"resourceType": "Goal", "id": ref.id, "lifecycleStatus": "active", "description": {"text": "walk"}, "subject": self.patient}
        self.write({**body, **more})
        return ref
