"""Judge a run: by the journals that the partners kept, by what the webhook receiver got, by what the hub says over HTTP."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fhircase.demo import compare
from fhircase.demo.receiver import Receiver
from fhircase.demo.servers import Api
from tests.sim.kills.journal import Entry, JournalServer, Resource
from tests.sim.kills.story import TITLES, Client, Load

ONE_EACH = ("Encounter", "EpisodeOfCare", "CarePlan", "Task", "DeviceRequest")
"""Types of which each client has exactly one at the hub."""


@dataclass(frozen=True)
class Verdict:
    """``faults`` empty: nothing lost, nothing doubled, order kept."""

    kills: int
    histogram: Counter[tuple[str, str]]
    figures: Mapping[str, object]
    faults: list[str]
    seconds: float

    def table(self) -> str:
        rows = [f"{self.kills} times in {self.seconds:.0f} s"]
        rows += [f"  {who:<6} {place:<36} {number:>4}" for (who, place), number in sorted(self.histogram.items())]
        rows += [f"  {name:<43} {value!s:>4}" for name, value in self.figures.items()]
        rows += [f"  FAULT {fault}" for fault in self.faults[:40]] or ["  nothing lost, nothing doubled, order kept"]
        return "\n".join(rows)


class Judge:
    """Asks the hub as an administrator; ``figures`` fills while judging."""

    def __init__(
        self, load: Load, partners: Mapping[str, JournalServer], receiver: Receiver, logs: Sequence[Path], due: frozenset[str] = frozenset()
    ) -> None:
        """``due``: codes of errors that the hub owes to its log in this run."""
        self.load, self.partners, self.receiver, self.logs, self.due = load, partners, receiver, logs, due
        self.api: Api = load.api()
        self.clients: list[Client] = load.clients
        self.figures: dict[str, object] = {}

    def judge(self, quiet: float) -> list[str]:
        faults = list(self.load.trouble) + self.logged()
        faults += self.messages()
        faults += self.settled(quiet)
        faults += self.at_hub()
        for name, server in self.partners.items():
            faults += self.at_partner(name, server)
        faults += self.webhooks()
        faults += self.nothing_left()
        return faults

    # ------------------------------------------------------------------------------------------ the hub

    def messages(self) -> list[str]:
        """Whatever was acknowledged is there, once."""
        held = Counter((m["control_id"], m["code"]) for m in self.pages("/intake/messages"))
        faults = []
        acked = [control for client in self.clients for control in client.acked]
        for control in acked:
            if held[control, "AA"] != 1:
                faults.append(f"{control} was acknowledged, the hub holds {held[control, 'AA'] or 'nothing'}")
        faults += [f"{control} is held {number} times as {code}" for (control, code), number in held.items() if number > 1 or code != "AA"]
        self.figures |= {"clients": len(self.clients), "messages acknowledged": len(acked)}
        return faults

    def at_hub(self) -> list[str]:
        """One of each per client, and the last word of everybody."""
        by_type = {type_: self.everything(type_) for type_ in (*ONE_EACH, "Patient", "Goal", "ServiceRequest", "CareTeam")}
        faults = []
        patients = Counter(_numbers(by_type["Patient"]))
        faults += [f"{number} Patients carry {value}" for value, number in patients.items() if number > 1]
        for type_ in (*ONE_EACH, "CareTeam"):
            held = Counter(_client_of(resource) for resource in by_type[type_])
            for client in self.clients:
                if client.patient and client.titles == TITLES and held[f"Patient/{client.patient}"] != 1:
                    faults.append(f"client {client.number} has {held[f'Patient/{client.patient}']} {type_}")
        walks = Counter(_client_of(goal) for goal in by_type["Goal"] if goal["description"].get("text") == "Walk 50 feet")
        faults += [f"{whose} has the goal {number} times" for whose, number in walks.items() if number > 1]
        orders = Counter(of for order in by_type["ServiceRequest"] for of in _proposals_of(order))
        faults += [f"{proposal} was ordered {number} times" for proposal, number in orders.items() if number > 1]
        plans = {plan["id"]: plan for plan in by_type["CarePlan"]}
        goals = {goal["id"]: goal for goal in by_type["Goal"]}
        for client in self.clients:
            plan = plans.get(client.plan, {})
            if client.titles and plan.get("title") != f"title {client.titles}":
                faults.append(f"the hub holds {plan.get('title')} of client {client.number}, acknowledged was {client.titles}")
            if client.described and plan.get("description") != client.description:
                faults.append(f"the hub lacks what rehab wrote into the plan of client {client.number}")
            if client.achieved and goals.get(client.goal, {}).get("lifecycleStatus") != "completed":
                faults.append(f"the hub lacks that rehab completed the goal of client {client.number}")
        return faults

    def nothing_left(self) -> list[str]:
        """No mark parked or waiting, nothing for a person to settle, the audit chain whole."""
        faults = []
        for name in self.partners:
            lanes = self.api.get(f"/partners/{name}")["lanes"]
            for state in ("waiting", "parked"):
                if number := sum(lane[state] for lane in lanes):
                    faults.append(f"{number} marks for {name} are {state}")
        reviews = Counter((item["kind"], item["what"]) for item in self.pages("/reviews"))
        faults += [f"{number} reviews: {kind}: {what}" for (kind, what), number in reviews.items()]
        audit = self.api.get("/audit/verify")
        if not audit["holds"]:
            faults.append(f"the audit chain is broken at {audit['broken']}")
        self.figures["open reviews"] = reviews.total()
        return faults

    def logged(self) -> list[str]:
        """Defects of ours: lines of level error, tracebacks."""
        found: Counter[str] = Counter()
        for path in self.logs:
            for line in path.read_text().splitlines():
                if line.startswith("{") and '"level": "error"' in line:
                    row = json.loads(line)
                    if row["code"] in self.due:
                        continue
                    found[f"{row['code']} {row['event']}: {row.get('error')} at {row.get('where')}"] += 1
                elif line.startswith("Traceback"):
                    found[f"a traceback in {path.name}"] += 1
        return [f"logged {number} times: {what}" for what, number in found.items()]

    # ------------------------------------------------------------------------------------------ the partners

    def settled(self, seconds: float) -> list[str]:
        """Wait until nothing is written any more for three seconds and no lane has work; then all must be equal."""
        began = time.monotonic()
        size, since = -1, began
        while time.monotonic() - began < seconds:
            now = sum(sum(map(len, list(server.versions.values()))) for server in self.partners.values()) + len(self.receiver.order)
            waiting = any(lane["waiting"] for name in self.partners for lane in self.api.get(f"/partners/{name}")["lanes"])
            if now != size or waiting:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > 3.0:
                self.figures["seconds until quiet"] = round(since - began, 1)
                return []
            time.sleep(0.2)
        return [f"not quiet after {seconds:.0f} s"]

    def at_partner(self, name: str, server: JournalServer) -> list[str]:
        faults = []
        identities = Counter(identity for resource in server.current() if (identity := compare._ours(resource)))
        faults += [f"{name} holds {identity} {number} times" for identity, number in identities.items() if number > 1]
        for entry in server.journal:
            what = f"{entry.type}/{entry.id} version {entry.version}"
            if entry.identity is None and entry.type not in ("Patient", "Encounter"):
                faults.append(f"{name}: {what} carries no identity")
            if entry.before is not None and _content(entry.body) == _content(entry.before):
                faults.append(f"{name}: {what} was written though nothing differed")
            if entry.dangling:
                faults.append(f"{name}: {what} refers to {', '.join(entry.dangling)}, which was not there yet")
        faults += self.titles(name, server.journal)
        row = compare.with_hub(self.api, name, Api(server.base), "", {})
        faults += [f"{name} differs: {difference}" for difference in row.differences]
        return faults + self.ledger(name, server)

    def titles(self, name: str, journal: Sequence[Entry]) -> list[str]:
        """Each plan's titles arrived in the order in which they were given, and the last is the last."""
        came: dict[str, list[int]] = {}
        for entry in journal:
            title = str(entry.body.get("title", ""))
            if entry.type == "CarePlan" and entry.identity:
                came.setdefault(entry.identity, []).append(int(title.removeprefix("title ")) if title.startswith("title ") else 0)
        faults = []
        for client in self.clients:
            seen = came.get(f"CarePlan/{client.plan}", [])
            if not client.titles:
                continue
            if seen != sorted(seen):
                faults.append(f"{name} got the titles of client {client.number} in the order {seen}")
            if not seen or seen[-1] != client.titles:
                faults.append(f"{name} got the titles {seen} of client {client.number}, acknowledged was {client.titles}")
        return faults

    def ledger(self, name: str, server: JournalServer) -> list[str]:
        """What the ledger says was written is in the journal, no more often; what it does not say was taken by a kill."""
        said: Counter[tuple[str, str]] = Counter()
        for row in self.pages(f"/partners/{name}/ledger"):
            if (row["verb"], row["status"]) in (("POST", 201), ("PUT", 200), ("PUT", 201)):
                said[row["ref"], row["verb"]] += 1
        wrote = Counter((entry.identity or "", entry.method) for entry in server.journal)
        self.figures |= {f"writes in {name}'s journal": len(server.journal), f"  in the hub's ledger of {name}": said.total()}
        return [
            f"the ledger of {name} tells {number} {verb} of {ref}, the journal {wrote[ref, verb]}"
            for (ref, verb), number in said.items() if number > wrote[ref, verb]
        ]  # fmt: skip

    # ------------------------------------------------------------------------------------------ the receiver

    def webhooks(self) -> list[str]:
        """Every event that was queued came, first arrivals in the order in which things happened, signatures whole."""
        deliveries = list(self.pages("/webhooks/deliveries"))
        queued = {delivery["event"] for delivery in deliveries}
        faults = [f"event {d['event']} ({d['type']}) is {d['state']}: {d['problem']}" for d in deliveries if d["state"] != "delivered"]
        order, seen = list(self.receiver.order), set(self.receiver.seen)
        if missing := queued - seen:
            faults.append(f"{len(missing)} of {len(queued)} events never came")
        if strange := seen - queued:
            faults.append(f"{len(strange)} events came that the hub knows nothing of")
        if twice := len(deliveries) - len(queued):
            faults.append(f"{twice} events are queued twice")
        happened = {event["id"]: place for place, event in enumerate(self.pages("/webhooks/events"))}
        if absent := queued - happened.keys():
            faults.append(f"{len(absent)} deliveries have no event")
        after_first = [id_ for id_, place in happened.items() if order and place > happened.get(order[0], 0)]
        if never := set(after_first) - queued:
            faults.append(f"{len(never)} events were never queued")
        places = [happened[id_] for id_ in order if id_ in happened]
        if places != sorted(places):
            faults.append(f"events came out of order {sum(a > b for a, b in zip(places, places[1:]))} times")
        if self.receiver.refused:
            faults.append(f"{self.receiver.refused} signatures did not hold")
        self.figures |= {"events delivered": len(order), "  the same id again": self.receiver.repeated}
        return faults

    # ------------------------------------------------------------------------------------------ reading

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        following: str | None = ""
        while following is not None:
            page = self.api.get(f"{path}?count=200" + (f"&next={following}" if following else ""))
            yield from page["items"]
            following = page.get("next")

    def everything(self, type_: str) -> list[Resource]:
        return self.api.search(f"/fhir/{type_}?_count=200")


def _numbers(patients: Sequence[Resource]) -> list[str]:
    return [f"{i.get('system')}|{i['value']}" for patient in patients for i in patient.get("identifier", ())]


def _client_of(resource: Resource) -> str:
    for name in ("subject", "patient", "for"):
        if name in resource:
            return str(resource[name].get("reference"))
    return ""


def _proposals_of(order: Resource) -> list[str]:
    named = [str(based.get("reference")) for based in order.get("basedOn", ())]
    return [reference for reference in named if reference.startswith("ServiceRequest/")]


def _content(resource: Resource) -> Resource:
    return {name: value for name, value in resource.items() if name != "meta"}
