"""One client from hospital to rehab to home, step by step, on a hub and three partner FHIR servers.

Every state that is printed was read, over HTTP, from the server that is named. The same story runs against our own
servers (``fhircase demo``) and against other makers' (tests/live)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fhircase.demo import compare, messages
from fhircase.demo.receiver import Receiver
from fhircase.demo.servers import Api, Resource, Unexpected, mllp
from fhircase.fhir import jsontext

MERCY, RIVERSIDE, HOMEWARD = "mercy", "riverside", "homeward"
SENDERS = {MERCY: messages.Sender("EPIC", "MERCY"), RIVERSIDE: messages.Sender("NETSMART", "RIVERSIDE")}
TITLES = {MERCY: "Mercy Hospital", RIVERSIDE: "Riverside Rehabilitation", HOMEWARD: "Homeward Home Care"}
ROLES = {MERCY: "hospital", RIVERSIDE: "rehab", HOMEWARD: "home-care"}
INES = messages.Client("MORENO", "INÉS", "19560304", "F", "M-20417^^^MERCY^MR")
INES_AT_REHAB = messages.Client("MORENO", "INÉS", "19560304", "F", "R-881^^^RIVERSIDE^MR~M-20417^^^MERCY^MR")
AUTHORITIES = {"MERCY": "urn:oid:2.16.840.1.113883.19.5.1", "RIVERSIDE": "urn:oid:2.16.840.1.113883.19.5.2"}
MRN = f"{AUTHORITIES['MERCY']}|M-20417"


@dataclass(slots=True)
class Cast:
    """Who plays. ``hub`` is called by an administrator, ``manager`` by the case manager, ``own`` by each partner with its
    own key at the hub; ``servers`` are the partners' FHIR servers, called by their own staff. ``stop`` and ``start`` take a
    partner's server down and up again (absent for foreign ones), ``crash`` kills and restarts the hub."""

    hub: Api
    manager: Api
    own: Mapping[str, Api]
    servers: Mapping[str, Api]
    mllp_port: int
    receiver: Receiver
    now: datetime
    say: Callable[[str], None]
    stop: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    start: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    crash: Callable[[], None] | None = None
    patience: float = 20.0
    dropped: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)


class NotEqual(Exception):
    """The servers did not end equal."""


def wait_for(what: str, ask: Callable[[], Any], seconds: float) -> Any:
    """Ask until the answer is true. Raises Unexpected when it is not within ``seconds``."""
    deadline = time.monotonic() + seconds
    last: Exception | None = None
    while time.monotonic() < deadline:
        try:
            found = ask()
            if found:
                return found
        except (Unexpected, OSError) as error:
            last = error
        time.sleep(0.1)
    raise Unexpected(f"waited {seconds:.0f} s in vain for: {what}" + (f" ({last})" if last else ""))


class Story:
    """The steps, in order. ``run`` plays them all and returns the case's id."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        self.case = ""
        self.patient = ""
        self.plan = ""
        self.started = time.monotonic()
        self.number = 0

    def run(self) -> str:
        self.admission()
        self.discharge()
        self.same_message_again()
        self.planning()
        self.hand_over_to_rehab()
        self.hand_over_home()
        self.goal_achieved_at_rehab()
        self.disjoint_edits_join()
        self.conflict_is_reviewed()
        self.hub_is_killed()
        self.webhooks()
        self.all_equal()
        return self.case

    # -------------------------------------------------------------------------------------------- steps

    def admission(self) -> None:
        self.step("Mercy Hospital admits Inés Moreno: ADT A01 over MLLP")
        at = messages.days_before(self.cast.now, 16)
        raw = messages.adt(
            "A01", SENDERS[MERCY], INES, at=at, control="M0001", visit="V777^^^MERCY^VN", admitted=at, location="4E^401^B^MERCY"
        )
        answer = mllp("127.0.0.1", self.cast.mllp_port, raw)
        self.told("MLLP answer", _line(answer, "MSA"))
        _expect(b"MSA|AA|M0001" in answer, "the admission is accepted")
        patients = self.cast.hub.search(f"/fhir/Patient?identifier={MRN}")
        _expect(len(patients) == 1, "one Patient")
        self.patient = patients[0]["id"]
        encounters = self.cast.hub.search(f"/fhir/Encounter?patient={self.patient}")
        plans = self.cast.hub.search(f"/fhir/CarePlan?patient={self.patient}")
        self.told("hub", f"{len(patients)} Patient, {len(encounters)} Encounter ({encounters[0]['status']}), {len(plans)} CarePlan")
        _expect([e["status"] for e in encounters] == ["in-progress"] and not plans, "an admission opens no case")

    def discharge(self) -> None:
        self.step("… and discharges her to rehab: ADT A03 over HTTP")
        admitted, at = messages.days_before(self.cast.now, 16), messages.days_before(self.cast.now, 9)
        self.a03 = messages.adt(
            "A03", SENDERS[MERCY], INES, at=at, control="M0002", visit="V777^^^MERCY^VN", admitted=admitted, location="4E^401^B^MERCY",
            discharged=at, disposition="62", destination="RIVERSIDE", diagnosis="I63.9^Cerebral infarction, unspecified^I10",
        )  # fmt: skip
        answer = self.cast.own[MERCY].call("POST", "/intake/hl7v2", self.a03, Content_Type="application/hl7-v2").content
        self.told("HTTP answer", _line(answer, "MSA"))
        _expect(b"MSA|AA|M0002" in answer, "the discharge is accepted")
        cases = self.cast.manager.get("/cases")["items"]
        _expect(len(cases) == 1, "one case")
        self.case = cases[0]["id"]
        plans = self.cast.hub.search(f"/fhir/CarePlan?patient={self.patient}")
        _expect(len(plans) == 1, "one plan")
        self.plan = plans[0]["id"]
        case = self.cast.manager.get(f"/cases/{self.case}")
        handover = case["handovers"][0]
        self.told(
            "hub",
            f"case opened; CarePlan {plans[0]['status']}, {len(case['goals'])} goals and {len(case['services'])} services proposed",
        )
        self.told("hub", f"hand-over Task {self.task()['status']} → {self.name_of(self.task()['owner'])}")
        _expect(handover["id"] == self.task()["id"], "the case shows the hand-over")
        message = self.cast.hub.get("/intake/messages?control_id=M0002")["items"][0]
        self.told("hub", f"/intake/messages: M0002 {message['state']}, became {len(message['became'])} resources")

    def same_message_again(self) -> None:
        self.step("The interface engine sends the same message again")
        before = self.counts(self.cast.hub, "/fhir")
        answer = self.cast.own[MERCY].call("POST", "/intake/hl7v2", self.a03, Content_Type="application/hl7-v2").content
        after = self.counts(self.cast.hub, "/fhir")
        self.told("HTTP answer", _line(answer, "MSA"))
        self.told("hub", f"before {_counts(before)}; after {_counts(after)}")
        _expect(before == after, "the same message again changes nothing")

    def planning(self) -> None:
        self.step("The case manager activates what was proposed, assesses and plans; Riverside's server is down")
        if RIVERSIDE in self.cast.stop:
            self.cast.stop[RIVERSIDE]()
        manager, path = self.cast.manager, f"/cases/{self.case}"
        case = manager.get(path)
        manager.call("POST", f"{path}/activate", {
            "goals": [g["id"] for g in case["goals"] if g["lifecycle"] == "proposed"],
            "services": [s["id"] for s in case["services"] if s["intent"] == "proposal"],
        })  # fmt: skip
        due = (self.cast.now + timedelta(days=14)).date().isoformat()
        manager.call("POST", f"{path}/assessments", ASSESSMENT | {"when": self.cast.now.isoformat(timespec="seconds")})
        added = jsontext.loads(manager.call("POST", f"{path}/goals", GOAL | {"due": due}).content)
        self.goal = added["added"]
        manager.call("POST", f"{path}/equipment", WHEELCHAIR)
        manager.call("POST", f"{path}/services", HOME_HEALTH)
        case = manager.get(path)
        self.told(
            "hub",
            "case view: " + ", ".join(f"{len(case[what])} {what}" for what in ("goals", "services", "equipment", "assessments")),
        )
        goal = self.cast.hub.get(f"/fhir/Goal/{self.goal}")
        self.told("hub", f"/fhir/Goal: “{goal['description']['text']}”, {goal['lifecycleStatus']}, due {goal['target'][0]['dueDate']}")
        self.arrives(MERCY, "Goal", self.goal)
        self.told(MERCY, f"{_counts(self.counts(self.cast.servers[MERCY]))}")

    def hand_over_to_rehab(self) -> None:
        self.step("Riverside's server comes back, is sent the hand-over Task and what it is about, and accepts it there")
        if RIVERSIDE in self.cast.start:
            self.cast.start[RIVERSIDE]()
        task = self.arrives(RIVERSIDE, "Task", self.task()["id"])
        before = self.counts(self.cast.servers[RIVERSIDE])
        self.told(RIVERSIDE, f"{_counts(before)}; Task {task['status']}")
        _expect(
            before["Goal"] == before["CareTeam"] == before["Encounter"] == 0,
            "an invited partner holds the Task, its focus and the client alone",
        )
        self.cast.servers[RIVERSIDE].edit(task | {"status": "accepted"})
        self.arrives(RIVERSIDE, "CarePlan", self.plan)
        self.arrives(RIVERSIDE, "Goal", self.goal)
        self.told(RIVERSIDE, f"after accepting: {_counts(self.counts(self.cast.servers[RIVERSIDE]))}")

    def hand_over_home(self) -> None:
        self.step("Weeks later rehab sends her home with services; Homeward, polling the hub, joins")
        poller = self.cast.own[HOMEWARD]
        since = "2000-01-01T00:00:00Z"
        poll = f"/fhir/CarePlan?patient={self.patient}&_lastUpdated=ge{since}&_include=CarePlan:goal"
        self.told("hub", f"Homeward polls before: {len(poller.search(poll))} plans")
        _expect(not poller.search(poll), "no grant, no plan")
        admitted, at = messages.days_before(self.cast.now, 9), messages.days_before(self.cast.now, 1)
        for event, when, control in (("A01", admitted, "R0001"), ("A03", at, "R0002")):
            leaves = event == "A03"
            raw = messages.adt(
                event,
                SENDERS[RIVERSIDE],
                INES_AT_REHAB,
                at=when,
                control=control,
                visit="RV-12^^^RIVERSIDE^VN",
                admitted=admitted,
                location="R1^12^A^RIVERSIDE",
                discharged=at if leaves else None,
                disposition="06" if leaves else "",
                destination="HOMEWARD" if leaves else "",
            )
            answer = self.cast.own[RIVERSIDE].call("POST", "/intake/hl7v2", raw, Content_Type="application/hl7-v2").content
            _expect(b"MSA|AA|" in answer, f"{event} from rehab is accepted")
        _expect(len(self.cast.hub.search(f"/fhir/Patient?identifier={MRN}")) == 1, "still one client")
        _expect(len(self.cast.hub.search(f"/fhir/CarePlan?patient={self.patient}")) == 1, "still one plan")
        task = next(t for t in self.tasks() if self.name_of(t["owner"]) == TITLES[HOMEWARD])
        seen_at = self.cast.hub.get(f"/fhir/CarePlan/{self.plan}")["meta"]["lastUpdated"]
        theirs = self.arrives(HOMEWARD, "Task", task["id"])
        self.cast.servers[HOMEWARD].edit(theirs | {"status": "accepted"})
        bundle = wait_for(
            "Homeward's poll to show the plan", lambda: _with_goals(poller.get(poll.replace(since, seen_at))), self.cast.patience
        )
        modes = [e["search"]["mode"] for e in bundle["entry"]]
        self.told("hub", f"Homeward polls from {seen_at}: {modes.count('match')} plan, {modes.count('include')} goals")
        self.arrives(HOMEWARD, "Goal", self.goal)
        self.told(HOMEWARD, _counts(self.counts(self.cast.servers[HOMEWARD])))

    def goal_achieved_at_rehab(self) -> None:
        self.step("At Riverside the goal is achieved; the others learn of it")
        goal = self.held(RIVERSIDE, "Goal", self.goal)
        goal["lifecycleStatus"] = "completed"
        goal["achievementStatus"] = {
            "coding": [{"system": "http://terminology.hl7.org/CodeSystem/goal-achievement", "code": "achieved", "display": "Achieved"}]
        }
        self.cast.servers[RIVERSIDE].edit(goal)
        for name in (MERCY, HOMEWARD):
            got = self.shows(name, "Goal", self.goal, "the goal achieved", _achieved)
            self.told(name, f"Goal {got['lifecycleStatus']}, {got['achievementStatus']['coding'][0]['code']}")

    def disjoint_edits_join(self) -> None:
        self.step("Mercy and Homeward change different elements of one service at the same time")
        service = self.service()
        ours = self.held(MERCY, "ServiceRequest", service)
        theirs = self.held(HOMEWARD, "ServiceRequest", service)
        self.cast.servers[MERCY].edit(ours | {"priority": "urgent"})
        self.cast.servers[HOMEWARD].edit(theirs | {"patientInstruction": "Visits on Monday and Thursday"})
        for name in (MERCY, RIVERSIDE, HOMEWARD):
            got = self.shows(name, "ServiceRequest", service, "both edits", _both)
            self.told(name, f"ServiceRequest priority {got['priority']}, instruction “{got['patientInstruction']}”")

    def conflict_is_reviewed(self) -> None:
        self.step("Two partners change the same element: ours stays, a person is asked")
        service = self.service()
        for name in (MERCY, HOMEWARD):
            self.cast.hub.call("PATCH", f"/partners/{name}", {"paused": True})
        ours = self.held(MERCY, "ServiceRequest", service)
        theirs = self.held(HOMEWARD, "ServiceRequest", service)
        self.cast.servers[MERCY].edit(ours | {"priority": "asap"})
        self.cast.servers[HOMEWARD].edit(theirs | {"priority": "routine"})
        for name in (MERCY, HOMEWARD):
            self.cast.hub.call("PATCH", f"/partners/{name}", {"paused": False})
            self.cast.hub.call("POST", f"/partners/{name}/sync", {})
        review = wait_for("a review", lambda: self.cast.hub.get("/reviews?kind=conflict")["items"], self.cast.patience)[0]
        self.told("hub", f"review: {review['what']}: ours {_value(review, 'ours')}, theirs {_value(review, 'theirs')}")
        self.cast.hub.call("POST", f"/reviews/{review['id']}/settle", {"take": "ours"})
        chosen = self.cast.hub.get(f"/fhir/ServiceRequest/{service}")["priority"]
        for name in (MERCY, RIVERSIDE, HOMEWARD):
            self.shows(name, "ServiceRequest", service, "the settled value", lambda held: held.get("priority") == chosen)
            self.told(name, f"ServiceRequest priority {chosen}")

    def hub_is_killed(self) -> None:
        if self.cast.crash is None:
            return
        self.step("The hub is killed (kill -9) right after an edit, and started again")
        manager, path = self.cast.manager, f"/cases/{self.case}"
        manager.call("PATCH", f"{path}/plan", {"title": "Home after stroke"})
        self.cast.crash()
        for name in (MERCY, RIVERSIDE, HOMEWARD):
            self.shows(name, "CarePlan", self.plan, "the new title", lambda held: held.get("title") == "Home after stroke")
            self.told(name, "CarePlan title “Home after stroke”")

    def webhooks(self) -> None:
        self.step("A webhook receiver checked the signature of every event")
        wait_for("events", lambda: self.cast.receiver.kinds().get("goal.updated"), self.cast.patience)
        kinds = self.cast.receiver.kinds()
        self.told("receiver", f"{sum(kinds.values())} events, {self.cast.receiver.refused} refused: " + ", ".join(sorted(kinds)[:6]) + " …")
        _expect(self.cast.receiver.refused == 0, "every signature holds")

    def all_equal(self) -> None:
        self.step("Every server holds the same plan")
        deadline = time.monotonic() + self.cast.patience
        while True:
            rows = [
                compare.with_hub(self.cast.hub, name, api, self.case, self.cast.dropped.get(name, {}))
                for name, api in self.cast.servers.items()
            ]
            if all(row.equal for row in rows) or time.monotonic() > deadline:
                break
            time.sleep(0.3)
        for row in rows:
            self.told(row.name, f"{row.compared} resources compared, {len(row.differences)} differences")
            for difference in row.differences[:20]:
                self.told(row.name, f"  {difference}")
        if not all(row.equal for row in rows):
            raise NotEqual("the servers did not end equal")

    # -------------------------------------------------------------------------------------------- reading

    def arrives(self, name: str, type_: str, id_: str) -> Resource:
        """Wait until the partner's server holds our resource; return its copy."""
        found: Resource = wait_for(f"{type_} at {name}", lambda: self.find(name, type_, id_), self.cast.patience)
        return found

    def shows(self, name: str, type_: str, id_: str, what: str, test: Callable[[Resource], bool]) -> Resource:
        """Wait until the partner's copy passes ``test``; return it."""
        deadline = time.monotonic() + self.cast.patience
        while True:
            found = self.find(name, type_, id_)
            if found is not None and test(found):
                return found
            if time.monotonic() > deadline:
                raise Unexpected(f"waited {self.cast.patience:.0f} s in vain for {what} at {name}")
            time.sleep(0.1)

    def held(self, name: str, type_: str, id_: str) -> Resource:
        found = self.find(name, type_, id_)
        if found is None:
            raise Unexpected(f"{name} holds no {type_}/{id_}")
        return found

    def find(self, name: str, type_: str, id_: str) -> Resource | None:
        return compare.find(self.cast.servers[name], type_, id_)

    def tasks(self) -> list[Resource]:
        return self.cast.hub.search(f"/fhir/Task?patient={self.patient}&_sort=_lastUpdated")

    def task(self) -> Resource:
        return self.tasks()[0]

    def service(self) -> str:
        case = self.cast.manager.get(f"/cases/{self.case}")
        chosen: str = next(s["id"] for s in case["services"] if s["intent"] == "order")
        return chosen

    def name_of(self, reference: Mapping[str, Any]) -> str:
        found: str = self.cast.hub.get(f"/fhir/{reference['reference']}")["name"]
        return found

    def counts(self, api: Api, prefix: str = "") -> dict[str, int]:
        return {
            type_: len(api.search(f"{prefix}/{type_}?_count=100"))
            for type_ in ("CarePlan", "Goal", "ServiceRequest", "Task", "CareTeam", "Encounter")
        }

    def step(self, words: str) -> None:
        self.number += 1
        self.cast.say(f"\n{self.number:>2}. {words}   [{time.monotonic() - self.started:.1f} s]")

    def told(self, who: str, words: str) -> None:
        self.cast.say(f"      {TITLES.get(who, who)}: {words}")


UCUM = "http://unitsofmeasure.org"
MEASURE = "Distance walked without help"
ASSESSMENT = {
    "kinds": ["survey", "functional-status"], "domain": "functional", "what": MEASURE, "value": 15, "unit": "feet", "unit_code": "[ft_i]",
    "unit_system": UCUM,
}  # fmt: skip
GOAL = {
    "title": "Walk 50 feet independently within two weeks", "lifecycle": "active", "achievement": "in-progress", "domain": "mobility",
    "measure": MEASURE, "target_value": 50, "target_unit": "feet", "target_unit_code": "[ft_i]", "target_unit_system": UCUM,
}  # fmt: skip
WHEELCHAIR = {"kind": "wheelchair", "state": "active", "intent": "order"}
HOME_HEALTH = {"kind": "home-health", "state": "active", "intent": "order", "urgency": "routine"}


def _expect(truth: bool, what: str) -> None:
    if not truth:
        raise Unexpected(f"expected: {what}")


def _line(message: bytes, segment: str) -> str:
    return next((line for line in message.decode().split("\r") if line.startswith(segment)), "no " + segment)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {type_}" for type_, number in counts.items())


def _with_goals(bundle: Resource) -> Resource | None:
    return bundle if any(e["resource"]["resourceType"] == "Goal" for e in bundle.get("entry", ())) else None


def _achieved(goal: Resource) -> bool:
    codes = [c.get("code") for c in goal.get("achievementStatus", {}).get("coding", ())]
    return "achieved" in codes and goal["lifecycleStatus"] == "completed"


def _both(service: Resource) -> bool:
    return service.get("priority") == "urgent" and "patientInstruction" in service


def _value(review: Mapping[str, Any], side: str) -> Any:
    return review.get("detail", {}).get(side)
