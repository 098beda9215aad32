"""What clients, case managers and partners' staff do while the hub is being killed: each as a real one does whose connection
breaks. It asks again until it is answered; before it repeats what is not safe to repeat, it looks."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from fhircase.demo import messages
from fhircase.demo.servers import Api, Unexpected, mllp
from fhircase.fhir import jsontext
from tests.sim.kills.journal import JournalServer, Resource

MERCY, RIVERSIDE = "mercy", "riverside"
SENDER = messages.Sender("EPIC", "MERCY")
AUTHORITY = "urn:oid:2.16.840.1.113883.19.5.1"
DRIVERS = 3
TITLES = 4
"""Titles that the case manager gives each plan, one after the other."""

ACHIEVED = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/goal-achievement", "code": "achieved"}]}
GOAL = {"title": "Walk 50 feet", "lifecycle": "active", "achievement": "in-progress", "domain": "mobility"}
WHEELCHAIR = {"kind": "wheelchair", "state": "active", "intent": "order"}


@dataclass
class Client:
    """What one made-up client's story has been acknowledged so far."""

    number: int
    patient: str = ""
    case: str = ""
    plan: str = ""
    task: str = ""
    goal: str = ""
    acked: list[str] = field(default_factory=list)
    titles: int = 0
    accepted: bool = False
    described: bool = False
    achieved: bool = False
    ended: bool = False

    @property
    def record_number(self) -> str:
        return f"{AUTHORITY}|K{self.number}"

    @property
    def description(self) -> str:
        return f"seen at rehab, client {self.number}"


class Load:
    """Drivers that take client after client through the story until ``stop``; whoever has begun is brought to the end."""

    def __init__(self, base: str, key: str, mllp_port: int, riverside: JournalServer, *, patience: float, drivers: int = DRIVERS) -> None:
        self.base, self.key, self.mllp_port, self.riverside, self.patience = base, key, mllp_port, riverside, patience
        self.sender_key = ""
        self.clients: list[Client] = []
        self.trouble: list[str] = []
        self.now = datetime.now(UTC).replace(microsecond=0)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._drivers = [threading.Thread(target=self._drive, daemon=True) for _ in range(drivers)]

    def start(self) -> None:
        for driver in self._drivers:
            driver.start()

    def stop(self, seconds: float = 90.0) -> None:
        """Let every story that has begun come to its end."""
        self._stopping.set()
        deadline = time.monotonic() + seconds
        for driver in self._drivers:
            driver.join(max(deadline - time.monotonic(), 0.0))
        self.trouble += [f"client {client.number}'s story did not end" for client in self.clients if not client.ended]

    def api(self, key: str | None = None) -> Api:
        return Api(self.base, key or self.key)

    def _drive(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                client = Client(next(self._numbers))
                self.clients.append(client)
            try:
                self._tell(client)
            except Exception as error:
                self.trouble.append(f"client {client.number}: {type(error).__name__}: {error}")
            client.ended = True

    def _tell(self, client: Client) -> None:
        api = self.api()
        self._messages(client)
        client.patient = self._only(lambda: api.search(f"/fhir/Patient?identifier={client.record_number}"))
        client.case = self._only(lambda: api.search(f"/fhir/EpisodeOfCare?patient={client.patient}"))
        client.plan = self._only(lambda: api.search(f"/fhir/CarePlan?patient={client.patient}"))
        client.task = self._only(lambda: api.search(f"/fhir/Task?patient={client.patient}"))
        path = f"/cases/{client.case}"
        self._title(api, client, 1)
        self.until("what was proposed to be active", lambda: self._activated(api, path))
        client.goal = self.until("a goal", lambda: self._added(api, path, "goals", "title", GOAL))
        self.until("a wheelchair", lambda: self._added(api, path, "equipment", "kind", WHEELCHAIR))
        self._title(api, client, 2)
        self._at_rehab("Task", client.task, {"status": "accepted"})
        client.accepted = True
        self.until("the goal at rehab", lambda: self.riverside.find("Goal", f"Goal/{client.goal}"))
        self._at_rehab("CarePlan", client.plan, {"description": client.description})
        client.described = True
        self._title(api, client, 3)
        self._at_rehab("Goal", client.goal, {"lifecycleStatus": "completed", "achievementStatus": ACHIEVED})
        client.achieved = True
        self._title(api, client, TITLES)

    def _at_rehab(self, type_: str, id_: str, change: Resource) -> None:
        """The staff there change their copy, once it is there."""
        self.until(f"the {type_} at rehab", lambda: self.riverside.edit(type_, f"{type_}/{id_}", lambda body: body | change))

    def _messages(self, client: Client) -> None:
        """Admission and discharge; the same bytes again until they are acknowledged, as an interface engine does. Every third
        client's messages come over MLLP, every fifth discharge comes twice though it was acknowledged."""
        number = client.number
        who = messages.Client(f"KILL{number}", "ANNA", "19500101", "F", f"K{number}^^^MERCY^MR")
        for event in ("A01", "A03"):
            more: dict[str, Any] = {"discharged": self.now, "disposition": "62", "destination": "RIVERSIDE"} if event == "A03" else {}
            control = f"{event}-{number}"
            raw = messages.adt(
                event, SENDER, who, at=self.now, control=control, visit=f"V{number}^^^MERCY^VN", admitted=self.now - timedelta(days=3),
                location="1^1^1", **more,
            )  # fmt: skip
            push = self._by_mllp if number % 3 == 0 else self._by_http
            self.until(f"{control} acknowledged", lambda raw=raw, push=push: b"MSA|AA|" in push(raw))
            client.acked.append(control)
        if number % 5 == 0:
            self.until("the same acknowledged again", lambda: b"MSA|AA|" in self._by_http(raw))

    def _by_http(self, raw: bytes) -> bytes:
        headers = {"Authorization": f"Bearer {self.sender_key}", "Content-Type": "application/hl7-v2"}
        answer = requests.post(f"{self.base}/intake/hl7v2", data=raw, timeout=30, headers=headers)
        return answer.content if answer.status_code == 200 else b""

    def _by_mllp(self, raw: bytes) -> bytes:
        return mllp("127.0.0.1", self.mllp_port, raw)

    def _only(self, ask: Callable[[], list[Resource]]) -> str:
        found: str = self.until("what the discharge makes", ask)[0]["id"]
        return found

    def _title(self, api: Api, client: Client, number: int) -> None:
        self.until(f"title {number}", lambda: api.call("PATCH", f"/cases/{client.case}/plan", {"title": f"title {number}"}))
        client.titles = number

    def _activated(self, api: Api, path: str) -> bool:
        case = api.get(path)
        goals = [g["id"] for g in case["goals"] if g.get("lifecycle") == "proposed"]
        services = [s["id"] for s in case["services"] if s.get("intent") == "proposal" and s.get("state") != "completed"]
        if goals or services:
            api.call("POST", f"{path}/activate", {"goals": goals, "services": services})
        return True

    def _added(self, api: Api, path: str, what: str, field_: str, doc: Resource) -> str:
        held = [entry["id"] for entry in api.get(path)[what] if entry.get(field_) == doc[field_]]
        if held:
            return str(held[0])
        made: str = jsontext.loads(api.call("POST", f"{path}/{what}", doc).content)["added"]
        return made

    def until(self, what: str, ask: Callable[[], Any]) -> Any:
        """Ask again and again. Raises AssertionError when the patience ends."""
        deadline = time.monotonic() + self.patience
        last: Exception | None = None
        while time.monotonic() < deadline:
            try:
                found = ask()
                if found:
                    return found
            except (requests.RequestException, Unexpected, OSError) as error:
                last = error
            time.sleep(0.03)
        raise AssertionError(f"waited {self.patience:.0f} s for {what} ({last})")
