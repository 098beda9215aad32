"""The scene of the tests of ``/cases``: one client whose discharge from Mercy to Riverside opened a case."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

from fhircase.flows import enrol
from fhircase.flows.hub import Hub
from fhircase.mapping import Mappings
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


def stage(make_hub: Callable[..., Hub], clock: Any, maps: Mappings) -> Scene:
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


def another_case(scene: Scene, **more: Any) -> Scene:
    """A case of another client, opened by hand."""
    opened = body(scene.manager.post("/cases", {"client": {"names": [{"family": "Right"}]}, **more}))
    other = Scene.__new__(Scene)
    other.town, other.manager, other.mercy, other.riverside = scene.town, scene.manager, scene.mercy, scene.riverside
    other.path, other.client = f"/cases/{opened['id']}", opened["client"]["id"]
    return other


def move(scene: Scene, to: str, **document: Any) -> Any:
    path = f"{scene.path}/{to}" if to in ("hold", "resume", "close", "reopen") else f"{scene.path}/phase"
    told = {"because": "as needs change", **document} | ({} if path.endswith(to) else {"to": to})
    return scene.manager.post(path, told)


def paths(answer: Any) -> list[str]:
    return [error["path"] for error in body(answer)["errors"]]


def attention(scene: Scene, rule: str) -> list[str]:
    return [point["about"] for point in scene.case()["attention"] if point["rule"] == rule]
