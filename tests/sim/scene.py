"""A hub on a real store with partners in this process: one client, one case, whose team the partners are on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fhircase.flows import commit, deliver, follow, receive
from fhircase.flows.hub import Hub, Policy
from fhircase.plans.change import Agent, Change, Ref, Resource, Review, Source, Write
from fhircase.plans.partner import DIRECTORY_TYPES, HUB, Partner
from fhircase.ports import Gateway, Link
from tests.conftest import FrozenClock, build_hub
from tests.sim.server import FhirServer

CLIENT, CASE, TEAM, PLAN = "client", "case", "team", "plan"
MRN = {"system": "http://hospital.example/mrn", "value": "4711"}
TYPES = ("Patient", "Practitioner", "Goal", "ServiceRequest", "CarePlan", "CareTeam", "EpisodeOfCare", "Condition", "Task")


def server(name: str, clock: FrozenClock, **odd: Any) -> FhirServer:
    return FhirServer(name, lambda: clock.at.timestamp(), base_url=f"http://{name}.example/fhir", **odd)


class Scene:
    """``servers`` by partner name. Dialects are what a probe would have found, as JSON."""

    def __init__(
        self,
        store: Any,
        servers: Mapping[str, FhirServer],
        clock: FrozenClock,
        *,
        client: str = CLIENT,
        case: str = CASE,
        dialects: Mapping[str, Mapping[str, Any]] | None = None,
        send: tuple[str, ...] = TYPES,
        take: tuple[str, ...] | None = None,
        width: int = 8,
        policy: Policy | None = None,
    ) -> None:
        self.clock, self.servers, self.client, self.case = clock, servers, client, case
        self.gateway: Callable[[Partner], Gateway] = lambda partner: servers[partner.name]
        self.hub: Hub = build_hub(store, clock=clock, gateways=lambda partner: self.gateway(partner), policy=policy)
        with store.write() as tx:
            tx.partners.save(Partner(HUB, title="Hub", organization="org-hub"))
            for name, made in servers.items():
                tx.partners.save(
                    Partner(
                        name, title=name.title(), organization=f"org-{name}", base_url=made.base_url, send=send, width=width,
                        dialect=(dialects or {}).get(name, {"ids": "any"}),
                        take=take or tuple(t for t in TYPES if t not in ("Patient", "Practitioner")),
                    )
                )  # fmt: skip
        self.write(
            {"resourceType": "Patient", "id": client, "identifier": [{**MRN, "value": client}], "birthDate": "1950-02-03"},
            {
                "resourceType": "EpisodeOfCare", "id": case, "status": "active", "patient": {"reference": f"Patient/{client}"},
                "managingOrganization": {"reference": "Organization/org-hub"},
            },
            {
                "resourceType": "CareTeam", "id": f"{TEAM}-{case}", "status": "active", "subject": {"reference": f"Patient/{client}"},
                "identifier": [{"system": follow.TEAM_SYSTEM, "value": case}],
                "participant": [
                    {"member": {"reference": f"Organization/org-{name}"}, "period": {"start": "2026-01-01"}} for name in servers
                ],
            },
        )  # fmt: skip

    def write(self, *resources: Resource, agent: str = HUB) -> Any:
        """As the hub's own people write: whole resources, as they shall be. Directory resources have no client."""
        directory = all(r["resourceType"] in DIRECTORY_TYPES for r in resources)
        client, case = (None, None) if directory else (self.client, self.case)
        writes = tuple(
            Write(r["resourceType"], r["id"], r, client=client, case=None if r["resourceType"] == "Patient" else case) for r in resources
        )
        with self.hub.store.write() as tx:
            return commit.commit(self.hub, tx, Change(writes, Agent(agent), Source("case"), "test"))

    def delete(self, ref: Ref) -> None:
        with self.hub.store.write() as tx:
            commit.commit(self.hub, tx, Change((Write(ref.type, ref.id, None),), Agent(HUB), Source("case"), "test"))

    def edit(self, ref: Ref, **elements: Any) -> None:
        body = self.ours(ref)
        for name, value in elements.items():
            if value is None:
                body.pop(name, None)
            else:
                body[name] = value
        self.write(body)

    def ours(self, ref: Ref) -> Resource:
        with self.hub.store.read() as tx:
            stored = tx.plans.get(ref)
        assert stored is not None
        body: Resource = stored.body
        return body

    def link(self, partner: str, ref: Ref) -> Link | None:
        with self.hub.store.read() as tx:
            return tx.links.get(partner, ref)

    def theirs(self, partner: str, ref: Ref) -> Resource:
        """The one copy at the partner, by its link."""
        link = self.link(partner, ref)
        assert link is not None and link.remote is not None
        return self.servers[partner].rows[(ref.type, link.remote)][-1].resource

    def reviews(self, kind: str | None = None) -> list[Review]:
        with self.hub.store.read() as tx:
            return [item.review for item in tx.reviews.list(kind=kind, count=200)[0]]

    def waiting(self) -> int:
        with self.hub.store.read() as tx:
            return sum(lane["waiting"] for lane in tx.outbox.status())

    def deliver_one(self) -> bool:
        """One step of whatever lane is due."""
        with self.hub.store.write() as tx:
            lane = tx.outbox.claim("test", self.hub.now(), self.hub.policy.lease_ms, ("fhir",))
        if lane is None:
            return False
        deliver.step(self.hub, lane)
        return True

    def deliver(self, rounds: int = 60) -> int:
        """Let the lanes run until nothing is due. Returns how many steps were taken."""
        taken = idle = 0
        while taken < rounds:
            if self.deliver_one():
                taken, idle = taken + 1, 0
                continue
            if idle > 30 or not self.waiting():
                return taken
            idle += 1
            self.clock.tick(seconds=1)
        raise AssertionError("the lanes do not come to rest")

    def collect(self, partner: str, **how: Any) -> receive.Collected:
        return receive.collect(self.hub, partner, **how)

    def settle(self, rounds: int = 12) -> None:
        """Deliver and collect, with time passing, until no server is written any more."""
        for _ in range(rounds):
            before = [server.writes for server in self.servers.values()]
            self.clock.tick(seconds=600)
            for name in self.servers:
                self.collect(name)
            self.deliver()
            if before == [server.writes for server in self.servers.values()]:
                return
        raise AssertionError("it does not come to rest")
