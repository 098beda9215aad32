"""A hub with the project's mappings, a case manager at its case API, and two partners with FHIR servers of their own in this process:
a rehab hospital and a home care agency, both members of the client's case."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from fhircase.flows import deliver, enrol, receive
from fhircase.flows.hub import Hub
from fhircase.plans.change import Ref
from fhircase.sync import shadow
from fhircase.web.app import Services, create_app
from tests.api.conftest import ADMIN, Api, Town, body
from tests.conftest import FrozenClock
from tests.sim.scene import server
from tests.sim.server import FhirServer

PARTNERS = {"riverside": "rehab", "homeward": "home-care"}


class Place:
    """``case`` the id of the case; ``refs`` what entries may refer to, by the names used in ``entries.py``."""

    def __init__(self, make_hub: Callable[..., Hub], clock: FrozenClock, maps: Any) -> None:
        self.clock = clock
        self.servers: dict[str, FhirServer] = {name: server(name, clock) for name in PARTNERS}
        self.hub = make_hub(clock=clock, maps=maps, gateways=lambda partner: self.servers[partner.name])
        seeds: Iterator[int] = iter(range(10_000))
        services = Services(random_bytes=lambda n: hashlib.sha512(b"p" + str(next(seeds)).encode()).digest()[:n], key_cache_s=0.0)
        app = create_app(self.hub, services)
        enrol.ensure_hub(self.hub)
        organizations = {}
        for name, role in PARTNERS.items():
            record, _ = enrol.read_partner({"name": name, "role": role, "base_url": self.servers[name].base_url})
            saved = enrol.partner(self.hub, ADMIN, record, new=True)
            organizations[name] = str(saved.organization)
            with self.hub.store.write() as tx:
                tx.partners.save(replace(saved, dialect={"ids": "any"}))
        nobody = Api(app, "")
        town = Town(app, self.hub, services, clock, organizations, nobody, nobody, nobody, nobody)
        self.town = town
        kim = self._staff(town.key("hub", admin=True))
        self.manager = town.key("hub", user=kim)
        self.refs = {"manager": kim}
        self.refs |= {"home": f"Organization/{organizations['homeward']}", "rehab": f"Organization/{organizations['riverside']}"}
        self._open()

    def _staff(self, admin: Api) -> str:
        made = admin.made({
            "resourceType": "Practitioner", "name": [{"family": "Lee", "given": ["Kim"]}],
            "qualification": [{"code": {"text": "Social worker, LCSW"}}],
        })  # fmt: skip
        admin.made({
            "resourceType": "PractitionerRole", "practitioner": {"reference": f"Practitioner/{made['id']}"}, "active": True,
            "code": [{"text": "Social worker"}],
        })  # fmt: skip
        return f"Practitioner/{made['id']}"

    def _open(self) -> None:
        answer = self.manager.post("/cases", {
            "client": {"names": [{"use": "official", "family": "Okafor", "given": ["Ruth"]}], "born": "1948-11-03"}, "kind": "medical",
            "manager": self.refs["manager"],
            "contacts": [{"id": "#d", "relationship": "daughter", "names": [{"family": "Okafor", "given": ["Ada"]}]}],
            "needs": [{"id": "#n", "kind": "problem", "text": "Fractured hip", "clinical": "active"}],
            "goals": [{"id": "#g", "title": "Home by Christmas", "lifecycle": "active", "needs": ["#n"]}],
            "services": [{"id": "#s", "state": "active", "intent": "order", "kind": "physical-therapy", "needs": ["#n"]}],
            "assessments": [{"id": "#a", "what": "Pain", "score": 3, "when": "2026-11-20", "domain": "biological"}],
        })  # fmt: skip
        assert answer.status_code == 201, answer.data
        case = body(answer)
        self.case = case["id"]
        self.client = case["client"]["id"]
        self.refs |= {
            "client": f"Patient/{self.client}", "daughter": f"RelatedPerson/{case['contacts'][0]['id']}",
            "need": f"Condition/{case['needs'][0]['id']}", "goal": f"Goal/{case['goals'][0]['id']}",
            "service": f"ServiceRequest/{case['services'][0]['id']}", "assessment": f"Observation/{case['assessments'][0]['id']}",
        }  # fmt: skip
        members = [
            *case["team"]["members"],
            *({"role": "setting", "person": self.refs[name], "since": "2026-11-01"} for name in ("rehab", "home")),
        ]
        assert self.manager.patch(f"/cases/{self.case}/team", {"members": members}, Content_Type=MERGE).status_code == 200
        self.refs["coverage"] = f"Coverage/{self.add('coverages', {'state': 'active', 'payers': ['{client}']})}"
        self.settle()

    # ------------------------------------------------------------------------------------------ by the case API

    def meant(self, value: Any) -> Any:
        """``value`` with the references that stand here for ``{client}`` and the like."""
        if isinstance(value, str):
            return self.refs[value[1:-1]] if value.startswith("{") and value.endswith("}") else value
        if isinstance(value, dict):
            return {name: self.meant(one) for name, one in value.items()}
        return [self.meant(one) for one in value] if isinstance(value, list) else value

    def add(self, what: str, doc: dict[str, Any]) -> str:
        answer = self.manager.post(f"/cases/{self.case}/{what}", self.meant(doc))
        assert answer.status_code == 201, answer.get_data(as_text=True)
        added: str = body(answer)["added"]
        return added

    def patch(self, below: str, doc: dict[str, Any]) -> Any:
        answer = self.manager.patch(f"/cases/{self.case}{below}", self.meant(doc), Content_Type=MERGE)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return body(answer)

    def post(self, below: str, doc: dict[str, Any]) -> Any:
        return self.manager.post(f"/cases/{self.case}{below}", self.meant(doc))

    def view(self) -> dict[str, Any]:
        found: dict[str, Any] = body(self.manager.get(f"/cases/{self.case}"))
        return found

    def entry(self, what: str, id_: str) -> dict[str, Any]:
        answer = self.manager.get(f"/cases/{self.case}/{what}/{id_}")
        assert answer.status_code == 200, answer.get_data(as_text=True)
        found: dict[str, Any] = body(answer)
        return found

    def points(self, rule: str) -> list[str]:
        """What deserves a look by this rule."""
        return [point["about"] for point in self.view()["attention"] if point["rule"] == rule]

    def fhir(self, reference: str) -> dict[str, Any]:
        answer = self.manager.get(f"/fhir/{reference}")
        assert answer.status_code == 200, answer.get_data(as_text=True)
        found: dict[str, Any] = body(answer)
        return found

    # ------------------------------------------------------------------------------------------ at the partners

    def settle(self, rounds: int = 12) -> None:
        """Deliver and collect, with time passing, until no server is written any more."""
        for _ in range(rounds):
            before = [one.writes for one in self.servers.values()]
            self.clock.tick(seconds=600)
            for name in self.servers:
                found = receive.collect(self.hub, name)
                assert not found.paused, found
            self._deliver()
            if before == [one.writes for one in self.servers.values()]:
                return
        raise AssertionError("it does not come to rest")

    def _deliver(self) -> None:
        idle = 0
        while idle < 30:
            with self.hub.store.write() as tx:
                lane = tx.outbox.claim("test", self.hub.now(), self.hub.policy.lease_ms, ("fhir",))
            if lane is not None:
                deliver.step(self.hub, lane)
                idle = 0
                continue
            with self.hub.store.read() as tx:
                waiting = sum(one["waiting"] for one in tx.outbox.status())
            if not waiting:
                return
            idle += 1
            self.clock.tick(seconds=1)
        raise AssertionError("the lanes do not come to rest")

    def theirs(self, partner: str, reference: str) -> dict[str, Any]:
        """The one copy at the partner."""
        ref = Ref.of(reference)
        with self.hub.store.read() as tx:
            link = tx.links.get(partner, ref)
        assert link is not None and link.remote is not None, f"{partner} has no {reference}"
        return self.servers[partner].rows[(ref.type, link.remote)][-1].resource

    def essence(self, partner: str, reference: str) -> Any:
        """The partner's copy in our terms, less what is each server's own."""
        ref = Ref.of(reference)
        with self.hub.store.read() as tx:
            found = {(link.ref.type, link.remote): link.ref for link in tx.links.all(partner)}
        raw = self.theirs(partner, reference)
        made = shadow.incoming(raw, ref, lambda type_, remote: found.get((type_, remote)), base_url=self.servers[partner].base_url)
        return shadow.essence(made)

    def remote(self, partner: str, reference: str) -> str:
        ref = Ref.of(reference)
        with self.hub.store.read() as tx:
            link = tx.links.get(partner, ref)
        assert link is not None and link.remote is not None
        return link.remote


MERGE = "application/merge-patch+json"
