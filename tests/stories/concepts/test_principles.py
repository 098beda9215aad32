"""The principles that must be seen in what the service does: what they need is entered by one door, read by another and at a second
partner; what they ask for is told, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fhircase.flows.hub import Hub
from fhircase.mapping import Mappings
from tests.api.conftest import body
from tests.conftest import FrozenClock
from tests.stories.concepts.doors import by_case, by_key, by_server, coded, everywhere, held
from tests.stories.concepts.place import PARTNERS, Place
from tests.stories.concepts.rows import row

Resource = dict[str, Any]

CLIENT = {"reference": "{client}"}
SERVICE = {"state": "active", "intent": "order", "kind": "home-health"}


@pytest.fixture
def place(make_hub: Callable[..., Hub], clock: FrozenClock, maps: Mappings) -> Place:
    return Place(make_hub, clock, maps)


def identified(place: Place) -> None:
    """The rehab's messages can name the client, and home care is who takes over its discharges to home with services."""
    patient = place.fhir(place.refs["client"])
    number = {"system": "urn:oid:1.2.3", "value": "MRN-7"}
    assert place.manager.put(f"/fhir/{place.refs['client']}", {**patient, "identifier": [number]}).status_code == 200
    with place.hub.store.write() as tx:
        for name, more in (
            ("riverside", {"authorities": {"RIVER": "urn:oid:1.2.3"}, "zone": "America/New_York"}),
            ("homeward", {"dispositions": ("home-with-services",)}),
        ):
            record = tx.partners.get(name)
            assert record is not None
            tx.partners.save(replace(record, **more))  # type: ignore[arg-type]


def discharge(place: Place, *, control: str = "R1", family: str = "Okafor") -> None:
    """The rehab tells that the client went home with services (ADT^A03)."""
    text = "\r".join((
        f"MSH|^~\\&|ADT|RIVER|HUB|NET|20261122000000-0500||ADT^A03|{control}|P|2.5.1",
        "EVN||20261122000000-0500||||20261121230000-0500",
        f"PID|1||MRN-7^^^RIVER^MR||{family}^Ruth||19481103|F",
        "PV1|1|I|2W^204^A||||||||||||||||V-7^^^RIVER^VN|||||||||||||||||06||||||||20261110080000-0500|20261121230000-0500",
        "",
    ))  # fmt: skip
    answer = place.town.key("riverside").post("/intake/hl7v2", text.encode(), Content_Type="application/hl7-v2")
    assert f"MSA|AA|{control}".encode() in answer.data, answer.data


def timeline(place: Place) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(place.manager.get(f"/cases/{place.case}/timeline?count=200"))["items"]
    return found


# ------------------------------------------------------------------------------------------------ advocacy and consent


@row("advocacy", "shared")
def test_an_appeal_and_what_was_said_in_it_are_read_by_both_partners(place: Place) -> None:
    denied = by_case(place, "services", {**SERVICE, "kind": "home-modification", "needs": ["{need}"]})
    appeal = by_key(place, "hub", {
        "resourceType": "Task", "status": "requested", "intent": "order", "code": coded("task-kind", "appeal"), "for": CLIENT,
        "focus": {"reference": "{coverage}"}, "reasonReference": {"reference": denied}, "reasonCode": {"text": "Denied without a reason"},
        "owner": {"reference": "{manager}"}, "restriction": {"period": {"end": "2026-12-10"}},
    })  # fmt: skip
    said = by_server(place, "homeward", {
        "resourceType": "Communication", "status": "completed", "subject": CLIENT, "about": [{"reference": "{coverage}"}],
        "category": [coded("communication-category", "advocacy")], "sent": "2026-11-22T09:00:00Z",
        "payload": [{"contentString": "She fell twice on the stairs"}],
    })  # fmt: skip
    task = held(place, "tasks", appeal)
    assert (task["kind"], task["reason"], task["deadline"]) == ("appeal", "Denied without a reason", "2026-12-10")
    assert (task["reason_for"], task["focus"]) == (denied, place.refs["coverage"])
    assert held(place, "communications", said)["categories"] == ["advocacy"]
    everywhere(place, denied, appeal, said)

    def decided(resource: Resource) -> None:
        resource["status"] = "completed"
        resource["output"] = [{"type": coded("output-kind", "decision"), "valueString": "Granted on appeal"}]

    place.servers["riverside"].edit("Task", place.remote("riverside", appeal), decided)
    everywhere(place, appeal)
    assert held(place, "tasks", appeal)["output"] == [{"what": "decision", "text": "Granted on appeal"}]


@row("consent", "shared")
def test_a_consent_is_read_by_both_partners_and_the_labels_of_the_case_go_with_what_belongs_to_it(place: Place) -> None:
    consent = by_key(place, "hub", {
        "resourceType": "Consent", "status": "active", "patient": CLIENT, "dateTime": "2026-11-21", "performer": [CLIENT],
        "scope": coded("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
        "category": [{"coding": [{"system": "http://loinc.org", "code": "59284-0"}]}],
        "policyRule": coded("http://terminology.hl7.org/CodeSystem/v3-ActCode", "OPTIN"),
        "provision": {
            "type": "permit",
            "actor": [{
                "role": coded("http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "IRCP"), "reference": {"reference": "{home}"},
            }],
        },
    })  # fmt: skip
    entry = held(place, "consents", consent)
    assert (entry["state"], entry["by"], entry["rule"]) == ("active", [place.refs["client"]], "opt-in")
    assert entry["provision"] == {"decision": "permit", "actors": [{"role": "recipient", "who": place.refs["home"]}]}
    everywhere(place, consent, place.refs["goal"])
    place.patch("/episode", {"kinds": ["medical", "substance-use"]})
    goal, _ = everywhere(place, place.refs["goal"], consent)
    assert {"R", "SUD"} <= {label["code"] for label in goal["meta"]["security"]}
    for partner in PARTNERS:
        assert {"R", "SUD"} <= {label["code"] for label in place.theirs(partner, place.refs["goal"])["meta"]["security"]}
    place.patch(f"/consents/{consent.partition('/')[2]}", {"state": "inactive"})
    assert everywhere(place, consent)[0]["status"] == "inactive", "a revoked consent is known to both"


# ------------------------------------------------------------------------------------------------ safety


CRISIS = {"state": "active", "categories": ["crisis"], "what": "Says she wants to die", "since": "2026-11-22"}
DOG = {"state": "active", "categories": ["safety"], "what": "Dog in the yard", "since": "2026-11-22"}
CRISIS_PLAN = {
    "title": "When it gets dark", "state": "active", "about": "I stop sleeping", "contributors": ["{client}"],
    "steps": [{"do": "Call my daughter", "who": ["{daughter}"]}],
}  # fmt: skip


@row("safety", "shared")
def test_a_flag_of_the_rehab_a_risk_and_the_crisis_plan_are_known_to_all(place: Place) -> None:
    flag = by_server(place, "riverside", {
        "resourceType": "Flag", "status": "active", "subject": CLIENT, "code": {"text": "Falls at night"},
        "category": [coded("http://terminology.hl7.org/CodeSystem/flag-category", "safety")], "period": {"start": "2026-11-20"},
    })  # fmt: skip
    high = coded("http://terminology.hl7.org/CodeSystem/risk-probability", "high")
    risk = by_key(place, "homeward", {
        "resourceType": "RiskAssessment", "status": "final", "subject": CLIENT, "basis": [{"reference": "{assessment}"}],
        "prediction": [{"outcome": {"text": "Another fall"}, "qualitativeRisk": high}],
    })  # fmt: skip
    crisis = by_case(place, "crisis_plans", CRISIS_PLAN)
    entry = held(place, "flags", flag)
    assert (entry["state"], entry["categories"], entry["what"]) == ("active", ["safety"], "Falls at night")
    assert held(place, "risks", risk)["predictions"] == [{"outcome": "Another fall", "risk": "high"}]
    *_, plan = everywhere(place, flag, risk, crisis)
    assert plan["partOf"] == [{"reference": f"CarePlan/{place.view()['plan']['id']}"}]
    lists = [name for name, value in place.view().items() if isinstance(value, list)]
    assert lists[:2] == ["flags", "crisis_plans"], "on top"


@row("safety", "acts")
def test_a_crisis_without_a_crisis_plan_is_told_until_there_is_one(place: Place) -> None:
    flag = by_server(place, "riverside", {
        "resourceType": "Flag", "status": "active", "subject": CLIENT, "code": {"text": CRISIS["what"]},
        "category": [coded("flag-category", "crisis")], "period": {"start": "2026-11-20"},
    })  # fmt: skip
    by_case(place, "stability", {"domain": "mental-health", "level": "crisis", "when": "2026-11-21"})
    assert place.points("crisis-without-plan") == [flag, "domain:mental-health"]
    (point, *_) = [one for one in place.view()["attention"] if one["rule"] == "crisis-without-plan"]
    assert point["severity"] == "high" and CRISIS["what"] not in f"{point['what']} {point['hint']}"
    plan = place.add("crisis_plans", CRISIS_PLAN)
    assert place.points("crisis-without-plan") == []
    place.patch(f"/crisis_plans/{plan}", {"state": "revoked"})
    assert place.points("crisis-without-plan") == [flag, "domain:mental-health"], "a plan that is over is none"


@row("safety", "acts")
def test_a_flag_is_delivered_before_all_else_of_its_commit(place: Place) -> None:
    before = {partner: server.writes for partner, server in place.servers.items()}
    place.patch("", {
        "needs": {"#fear": {"kind": "problem", "text": "Afraid at home", "clinical": "active"}},
        "goals": {"#lock": {"title": "A door with a lock", "lifecycle": "active", "needs": ["#fear"]}},
        "flags": {"#dog": DOG},
    })  # fmt: skip
    place.settle()
    for partner, server in place.servers.items():
        written = [type_ for _, type_, _, _ in server.journal[before[partner] :]]
        assert written[0] == "Flag" and {"Condition", "Goal", "CarePlan"} <= set(written), written


@row("safety", "twin")
def test_a_flag_does_not_overtake_an_earlier_commit(place: Place) -> None:
    before = {partner: server.writes for partner, server in place.servers.items()}
    place.add("goals", {"title": "A door with a lock", "lifecycle": "active"})
    place.add("flags", DOG)
    place.settle()
    for partner, server in place.servers.items():
        written = [type_ for _, type_, _, _ in server.journal[before[partner] :]]
        assert written.index("Goal") < written.index("Flag")


@row("safety", "twin")
def test_a_dog_in_the_yard_an_ended_crisis_and_a_domain_that_is_stable_again_ask_for_no_crisis_plan(place: Place) -> None:
    place.add("flags", DOG)
    place.add("flags", {**CRISIS, "state": "inactive"})
    place.add("flags", {**CRISIS, "since": "2026-10-01", "until": "2026-10-31"})
    for level, day in (("crisis", "2026-11-19"), ("stable", "2026-11-21")):
        place.add("stability", {"domain": "mental-health", "level": level, "when": day})
    assert place.points("crisis-without-plan") == []


# ------------------------------------------------------------------------------------------------ empowerment


@row("empowerment", "shared")
def test_a_goal_in_the_clients_words_and_what_she_does_alone_are_read_in_the_case_and_at_home_care(place: Place) -> None:
    goal = by_key(place, "riverside", {
        "resourceType": "Goal", "lifecycleStatus": "active", "description": {"text": "Cook for my grandchildren"}, "subject": CLIENT,
        "expressedBy": CLIENT,
    })  # fmt: skip
    alone = by_server(place, "homeward", {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": CLIENT, "performer": [CLIENT],
        "code": coded("service-kind", "skills-training"), "reasonReference": [{"reference": "{need}"}],
    })  # fmt: skip
    client = place.refs["client"]
    assert (held(place, "goals", goal)["set_by"], held(place, "services", alone)["provider"]) == (client, [client])
    own, does = everywhere(place, goal, alone)
    assert own["expressedBy"] == {"reference": client} and does["performer"] == [{"reference": client}]
    assert place.theirs("homeward", goal)["expressedBy"] == {"reference": f"Patient/{place.remote('homeward', client)}"}


def summary(place: Place, **asked: str) -> dict[str, Any]:
    query = "&".join(f"{name}={value}" for name, value in asked.items())
    answer = place.manager.get(f"/cases/{place.case}/summary?{query}")
    assert answer.status_code == 200, answer.get_data(as_text=True)
    found: dict[str, Any] = body(answer)
    return found


OWN_GOAL = {"title": "Cocinar para mis nietos", "lifecycle": "active", "set_by": "{client}"}


@row("empowerment", "acts")
def test_the_summary_begins_with_the_clients_own_words_in_her_language(place: Place) -> None:
    patient = place.fhir(place.refs["client"])
    spanish = {"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "es"}]}, "preferred": True}
    assert place.manager.put(f"/fhir/{place.refs['client']}", {**patient, "communication": [spanish]}).status_code == 200
    place.add("goals", OWN_GOAL)
    place.add("preferences", {"kinds": ["care-experience-preference"], "text": "Mi propia cama", "by": ["{client}"], "when": "2026-11-21"})
    place.add("strengths", {"text": "Mi hermana cocina", "by": ["{client}"], "when": "2026-11-21"})
    place.add("services", {**SERVICE, "provider": ["{client}"], "kind": "skills-training"})
    told = summary(place)
    first = told["sections"][0]
    assert (told["language"], first["title"]) == ("es", "En sus propias palabras")
    assert first["lines"] == [
        "Usted quiere: «Cocinar para mis nietos»",
        "Esto es importante para usted: Mi propia cama",
        "Usted dice que esto le ayuda: Mi hermana cocina",
    ]
    assert any(line.startswith("Esto lo hace usted: ") for section in told["sections"] for line in section["lines"])
    answer = place.manager.get(f"/cases/{place.case}/summary", Accept="text/plain")
    assert (answer.mimetype, answer.headers["Content-Language"]) == ("text/plain", "es")
    assert answer.get_data(as_text=True) == told["text"]
    assert summary(place, language="en")["sections"][0]["lines"][0] == "You want: “Cocinar para mis nietos”"


@row("empowerment", "twin")
def test_what_others_said_is_not_told_as_the_clients_own_and_their_notes_are_not_told_at_all(place: Place) -> None:
    place.add("goals", {"title": "Take her tablets", "lifecycle": "active", "set_by": "{manager}", "notes": [{"text": "She is stubborn"}]})
    place.add("goals", {"title": "Stop seeing her son", "lifecycle": "active", "set_by": "{daughter}"})
    place.add("preferences", {"kinds": ["care-experience-preference"], "text": "No visitors", "by": ["{daughter}"], "when": "2026-11-21"})
    place.add("strengths", {"text": "Keeps her flat tidy", "by": ["{manager}"], "when": "2026-11-21"})
    place.add("assessments", {"what": "Memory", "text": "Poor memory", "when": "2026-11-21", "domain": "psychological"})
    place.add("flags", DOG)
    place.add("risks", {"state": "final", "predictions": [{"outcome": "Nursing home", "risk": "high"}]})
    told = summary(place)
    assert told["sections"][0]["lines"] == ["We see this strength: Keeps her flat tidy"]
    for hidden in ("She is stubborn", "No visitors", "Poor memory", DOG["what"], "Nursing home", "Fractured hip"):
        assert hidden not in told["text"], hidden
    assert "We also work on: Take her tablets" in told["text"]


# ------------------------------------------------------------------------------------------------ the whole person


@row("holistic", "shared")
def test_findings_in_every_domain_come_from_all_sides_and_are_read_on_all(place: Place) -> None:
    def finding(domain: str, text: str) -> Resource:
        return {
            "resourceType": "Observation", "status": "final", "subject": CLIENT, "code": {"text": text}, "effectiveDateTime": "2026-11-21",
            "valueString": text, "extension": [{"url": "urn:fhircase:extension:domain", "valueCodeableConcept": coded("domain", domain)}],
        }  # fmt: skip

    doors: dict[str, Callable[[Resource], str]] = {
        "cultural": lambda one: by_server(place, "riverside", one), "social": lambda one: by_server(place, "homeward", one),
        "financial": lambda one: by_key(place, "riverside", one), "environment": lambda one: by_key(place, "homeward", one),
        "psychological": lambda one: by_key(place, "hub", one),
    }  # fmt: skip
    made = {domain: door(finding(domain, f"How it stands: {domain}")) for domain, door in doors.items()}
    made["family"] = by_case(place, "assessments", {"what": "Family", "text": "Close", "domain": "family", "when": "2026-11-21"})
    assert {domain: held(place, "assessments", one)["domain"] for domain, one in made.items()} == {domain: domain for domain in made}
    everywhere(place, *made.values())


@row("holistic", "acts")
def test_unmet_needs_and_unassessed_domains_are_told_and_go_when_they_are_met(place: Place) -> None:
    hungry = by_server(place, "homeward", {
        "resourceType": "Condition", "subject": CLIENT, "code": {"text": "No food at the end of the month"},
        "clinicalStatus": coded("http://terminology.hl7.org/CodeSystem/condition-clinical", "active"),
        "category": [coded("http://terminology.hl7.org/CodeSystem/condition-category", "problem-list-item")],
    })  # fmt: skip
    assert place.points("need-unmet") == [hungry]
    place.add("services", {**SERVICE, "kind": "food-bank", "needs": [hungry]})
    assert place.points("need-unmet") == []
    asked = place.points("domain-unassessed")
    every = ("psychological", "social", "functional", "cultural", "family", "financial", "environment", "medication")
    assert asked == [f"domain:{domain}" for domain in every]
    place.add("assessments", {"what": "Money", "text": "Rent is paid", "domain": "financial", "when": "2026-11-21"})
    place.add("assessments", {"what": "Culture", "not_assessed": "She was tired", "domain": "cultural", "when": "2026-11-21"})
    assert set(asked) - set(place.points("domain-unassessed")) == {"domain:financial", "domain:cultural"}
    place.patch("/episode", {"kinds": ["medical", "social"]})
    assert {"domain:housing", "domain:food", "domain:transport"} <= set(place.points("domain-unassessed")), "its kind asks for more"


@row("holistic", "twin")
def test_needs_that_are_met_resolved_or_refused_and_a_closed_case_are_not_told(place: Place) -> None:
    met = by_case(place, "needs", {"kind": "problem", "text": "Cannot shop", "clinical": "active"})
    place.add("goals", {"title": "Shop alone", "lifecycle": "active", "needs": [met]})
    by_case(place, "needs", {"kind": "problem", "text": "Pneumonia", "clinical": "resolved"})
    lonely = by_case(place, "needs", {"kind": "problem", "text": "Lonely", "clinical": "active"})
    offer = by_case(place, "services", {**SERVICE, "state": "draft", "intent": "proposal", "kind": "support-group", "needs": [lonely]})
    refusal = {"on": offer, "decided": "declined", "by": "{client}", "reason": "I like to be alone"}
    assert place.post("/decisions", refusal).status_code == 200
    assert place.points("need-unmet") == [], "what the client has refused is settled"
    assert place.post("/close", {"reason": "withdrew"}).status_code == 200
    assert place.view()["attention"] == []


# ------------------------------------------------------------------------------------------------ settings


@row("duplicates", "shared")
def test_a_service_ordered_by_two_settings_is_an_issue_with_both_that_all_may_read(place: Place) -> None:
    ours = by_case(place, "services", {**SERVICE, "provider": ["{home}"], "needs": ["{need}"]})
    theirs = by_server(place, "riverside", {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": CLIENT,
        "code": coded("service-kind", "home-health"), "performer": [{"reference": "{home}"}],
    })  # fmt: skip
    issue = by_key(place, "homeward", {
        "resourceType": "DetectedIssue", "status": "preliminary", "severity": "moderate", "patient": CLIENT,
        "code": coded("issue-kind", "duplicate-service"), "implicated": [{"reference": ours}, {"reference": theirs}],
        "mitigation": [{"action": {"text": "The rehab's order is cancelled"}, "date": "2026-11-22"}],
    })  # fmt: skip
    entry = held(place, "issues", issue)
    assert (entry["kind"], entry["severity"], entry["implicated"]) == ("duplicate-service", "moderate", [ours, theirs])
    everywhere(place, ours, theirs, issue)
    copies = [f"ServiceRequest/{place.remote('riverside', one)}" for one in (ours, theirs)]
    assert [one["reference"] for one in place.theirs("riverside", issue)["implicated"]] == copies


@row("least-restrictive", "shared")
def test_the_level_of_care_of_a_stay_and_the_level_that_she_needs_are_read_on_all_sides(place: Place) -> None:
    routine = coded("http://terminology.hl7.org/CodeSystem/v2-0007", "R")
    stay = by_key(place, "riverside", {
        "resourceType": "Encounter", "status": "in-progress", "subject": CLIENT, "period": {"start": "2026-11-10"},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "type": [routine, coded("level-of-care", "inpatient-rehabilitation")],
    })  # fmt: skip
    needed = by_server(place, "homeward", {
        "resourceType": "Observation", "status": "final", "subject": CLIENT, "code": {"text": "Level of care"},
        "category": [coded("assessment-kind", "level-of-care")], "effectiveDateTime": "2026-11-22",
        "valueCodeableConcept": coded("level-of-care", "home-care", "Care at home"),
    })  # fmt: skip
    (visit,) = place.view()["visits"]
    assert visit["kinds"] == ["routine", "inpatient-rehabilitation"]
    entry = held(place, "assessments", needed)
    assert (entry["kinds"], entry["answer"]) == (["level-of-care"], "Care at home")
    assert (entry["answer_code"], entry["answer_system"]) == ("home-care", "urn:fhircase:codes:level-of-care")
    everywhere(place, stay, needed)
    assert place.theirs("homeward", stay)["type"][1] == coded("level-of-care", "inpatient-rehabilitation")
    scale = body(place.town.key("homeward").get("/fhir/CodeSystem?url=urn:fhircase:codes:level-of-care"))["entry"][0]["resource"]
    ranks = [one["code"] for one in scale["concept"]]
    assert ranks.index("home-care") < ranks.index("inpatient-rehabilitation"), "the stay is more than she needs"


@row("discharge-planning", "shared")
def test_the_planned_end_of_a_stay_readiness_and_its_task_are_known_to_all_before_the_discharge(place: Place) -> None:
    stay = by_key(place, "riverside", {
        "resourceType": "Encounter", "status": "in-progress", "subject": CLIENT,
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"}, "period": {"start": "2026-11-10"},
        "extension": [{"url": "urn:fhircase:extension:planned-end", "valueDateTime": "2026-11-28"}],
    })  # fmt: skip
    ready = by_server(place, "riverside", {
        "resourceType": "Observation", "status": "final", "subject": CLIENT, "code": {"text": "Ready for discharge"}, "valueBoolean": True,
        "category": [coded("assessment-kind", "ready-for-discharge")], "effectiveDateTime": "2026-11-22",
    })  # fmt: skip
    task = by_case(place, "tasks", {
        "state": "requested", "kind": "transition", "title": "Find who takes over", "focus": stay, "owner": "{manager}",
        "deadline": "2026-11-27", "reason_for": ready,
    })  # fmt: skip
    (visit,) = place.view()["visits"]
    assert (visit["state"], visit["planned_end"]) == ("in-progress", "2026-11-28")
    assert (held(place, "assessments", ready)["kinds"], held(place, "assessments", ready)["yes"]) == (["ready-for-discharge"], True)
    everywhere(place, stay, ready, task)
    assert place.theirs("homeward", stay)["extension"][0]["valueDateTime"] == "2026-11-28"
    assert place.theirs("homeward", task)["focus"] == {"reference": f"Encounter/{place.remote('homeward', stay)}"}


@row("continuity", "shared")
def test_a_discharge_message_of_the_rehab_becomes_a_visit_and_a_hand_over_that_home_care_accepts_on_its_own_server(place: Place) -> None:
    identified(place)
    discharge(place)
    place.settle()
    view = place.view()
    (visit,), (handover,) = view["visits"], view["handovers"]
    assert (visit["state"], visit["disposition_code"], visit["ends"]) == ("finished", "06", "2026-11-21T23:00:00-05:00")
    assert (handover["state"], handover["requester"], handover["owner"]) == ("requested", place.refs["rehab"], place.refs["home"])
    assert handover["deadline"] > handover["made"]
    task = f"Task/{handover['id']}"
    assert place.theirs("homeward", task)["restriction"]["period"] == place.fhir(task)["restriction"]["period"]

    def accept(resource: Resource) -> None:
        resource["status"] = "accepted"

    place.servers["homeward"].edit("Task", place.remote("homeward", task), accept)
    place.settle()
    assert held(place, "handovers", task)["state"] == "accepted"
    everywhere(place, task, f"Encounter/{visit['id']}", f"CareTeam/{view['team']['id']}")
    members = {one["person"]: one for one in place.view()["team"]["members"] if one["person"] in (place.refs["rehab"], place.refs["home"])}
    assert "until" in members[place.refs["rehab"]] and "until" not in members[place.refs["home"]], "who let go and who took over"


@row("collaboration", "shared")
def test_family_and_professionals_with_their_roles_periods_and_telephones_are_known_to_all(place: Place) -> None:
    son = by_server(place, "homeward", {
        "resourceType": "RelatedPerson", "patient": CLIENT, "name": [{"family": "Okafor", "given": ["Ben"]}],
        "relationship": [coded("http://terminology.hl7.org/CodeSystem/v3-RoleCode", "SONC")], "period": {"start": "2026-01-01"},
        "telecom": [{"system": "phone", "value": "5550111", "use": "mobile"}],
    })  # fmt: skip
    entry = held(place, "contacts", son)
    assert (entry["relationship"], entry["since"]) == ("son", "2026-01-01")
    assert entry["contact_points"] == [{"kind": "phone", "value": "5550111", "use": "mobile"}]
    nurse = by_key(place, "homeward", {"resourceType": "Practitioner", "name": [{"family": "Roy", "given": ["Mia"]}]})
    members = [
        *place.view()["team"]["members"],
        {"role": "nurse", "person": nurse, "on_behalf_of": "{home}", "since": "2026-11-22", "until": "2027-01-22"},
        {"role": "caregiver", "person": son, "since": "2026-11-22"},
    ]
    place.patch("/team", {"members": members, "contact_points": [{"kind": "phone", "value": "5550100", "use": "work"}]})
    team = f"CareTeam/{place.view()['team']['id']}"
    everywhere(place, team, son, nurse)
    for partner in PARTNERS:
        copy = place.theirs(partner, team)
        by = {one["member"]["reference"]: one for one in copy["participant"]}
        told = by[f"Practitioner/{place.remote(partner, nurse)}"]
        assert (told["period"], told["onBehalfOf"]) == (
            {"start": "2026-11-22", "end": "2027-01-22"}, {"reference": f"Organization/{place.remote(partner, place.refs['home'])}"},
        )  # fmt: skip
        assert f"RelatedPerson/{place.remote(partner, son)}" in by and copy["telecom"][0]["value"] == "5550100"


# ------------------------------------------------------------------------------------------------ outcomes and ethics


def report(score: float) -> Resource:
    strata = [{"value": {"text": "Spanish"}, "measureScore": {"value": score, "unit": "days"}}, {"value": {"text": "English"}}]
    return {
        "resourceType": "MeasureReport", "status": "complete", "type": "individual", "subject": CLIENT, "date": "2026-11-30",
        "measure": "https://county.example/Measure/days-to-first-service", "period": {"start": "2026-11-01", "end": "2026-11-30"},
        "group": [{
            "code": {"text": "Days to the first service"}, "measureScore": {"value": 4.5},
            "stratifier": [{"code": [{"text": "Language"}], "stratum": strata}],
        }],
    }  # fmt: skip


@row("outcomes", "shared")
def test_outcomes_from_every_side_and_a_measure_report_are_read_on_all(place: Place) -> None:
    def outcome(measure: str, **value: Any) -> Resource:
        return {
            "resourceType": "Observation", "status": "final", "subject": CLIENT, "code": coded("outcome-measure", measure),
            "category": [coded("assessment-kind", "outcome")], "effectiveDateTime": "2026-11-21", **value,
        }  # fmt: skip

    made = {
        "health-status": by_server(place, "riverside", outcome("health-status", valueInteger=3)),
        "functional-status": by_server(place, "homeward", outcome("functional-status", valueInteger=7)),
        "quality-of-life": by_key(place, "riverside", outcome("quality-of-life", valueInteger=6)),
        "cost": by_key(place, "hub", outcome("cost", valueQuantity={"value": 1240.50, "unit": "USD"})),
        "satisfaction": by_case(place, "outcomes", {
            "measure": "satisfaction", "score": 4, "answered_by": ["{client}"], "when": "2026-11-21",
        }),
    }  # fmt: skip
    shown = {measure: held(place, "outcomes", one) for measure, one in made.items()}
    assert {measure: one["measure"] for measure, one in shown.items()} == {measure: measure for measure in made}
    assert [shown[one].get("score", shown[one].get("value")) for one in made] == [3, 7, 6, 1240.5, 4]
    assert shown["satisfaction"]["answered_by"] == [place.refs["client"]], "only as answered by the client"
    figures = by_server(place, "homeward", report(6.5))
    assert held(place, "reports", figures)["groups"][0]["score"] == 4.5
    everywhere(place, *made.values(), figures)


@row("ethics", "shared")
def test_every_field_says_who_set_it_and_from_which_message_and_figures_by_group_are_carried(place: Place) -> None:
    identified(place)
    discharge(place)
    figures = by_server(place, "homeward", report(6.5))
    title = by_case(place, "goals", {"title": "Walk to the shop", "lifecycle": "active"})
    place.settle()

    def reworded(resource: Resource) -> None:
        resource["description"]["text"] = "Walk to the shop and back"

    place.servers["riverside"].edit("Goal", place.remote("riverside", title), reworded)
    everywhere(place, title, figures)
    (stratifier,) = held(place, "reports", figures)["groups"][0]["stratifiers"]
    assert (stratifier["by"], stratifier["strata"][0]) == ("Language", {"value": "Spanish", "score": 6.5, "unit": "days"})
    assert place.theirs("riverside", figures)["group"] == report(6.5)["group"]

    said = [(item, change) for item in timeline(place) for change in item["changes"]]
    (first, last) = [(item, change) for item, change in said if change["reference"] == title]
    assert first[0]["who"]["person"] == place.refs["manager"] and last[0]["who"]["organization"] == place.refs["rehab"]
    assert last[1]["fields"] == [{"field": "title", "from": "Walk to the shop", "to": "Walk to the shop and back"}]
    ((message, visit),) = [(item, change) for item, change in said if change["what"] == "visits"]
    assert (message["message"]["number"], message["who"]["organization"]) == ("R1", place.refs["rehab"])
    origins = {one["element"]: one["place"] for one in visit["origins"]}
    assert (origins["hospitalization.dischargeDisposition"], origins["period.end"]) == ("PV1-36.1", "PV1-45")

    provenances = body(place.manager.get(f"/fhir/Provenance?target=Encounter/{visit['id']}"))["entry"]
    assert provenances[0]["resource"]["agent"][0]["who"]["reference"] == place.refs["rehab"]
    admin = place.town.key("hub", admin=True)
    assert body(admin.get("/audit/verify"))
    trail = body(admin.get("/audit?count=200"))["items"]
    assert any(title in one["refs"] and one["partner"] == "riverside" for one in trail)


@row("ethics", "acts")
def test_a_service_that_names_neither_need_nor_goal_is_told_and_what_a_partner_says_is_told_as_the_partners(place: Place) -> None:
    aimless = by_server(place, "riverside", {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": CLIENT,
        "code": coded("service-kind", "respite"),
    })  # fmt: skip
    chair = by_case(place, "equipment", {"state": "active", "intent": "order", "kind": "commode"})
    assert sorted(place.points("service-without-purpose")) == sorted([aimless, chair]), "beneficence"
    assert aimless in place.points("order-without-decision"), "autonomy"
    place.patch(f"/services/{aimless.partition('/')[2]}", {"needs": ["{need}"]})
    place.patch(f"/equipment/{chair.partition('/')[2]}", {"goal": "{goal}"})
    assert place.points("service-without-purpose") == []
    first, last = [item for item in timeline(place) for change in item["changes"] if change["reference"] == aimless]
    assert (first["who"]["organization"], "person" in first["who"]) == (place.refs["rehab"], False), "veracity"
    assert last["who"]["person"] == place.refs["manager"]


@row("ethics", "twin")
def test_a_service_for_a_need_one_that_follows_from_it_one_that_is_over_and_a_write_without_a_difference_are_not_told(place: Place) -> None:
    for_need = by_case(place, "services", {**SERVICE, "state": "active", "intent": "plan", "needs": ["{need}"]})
    place.add("services", {**SERVICE, "based_on": [for_need]})
    place.add("services", {**SERVICE, "goal": "{goal}"})
    place.add("services", {**SERVICE, "state": "revoked"})
    place.add("equipment", {"state": "entered-in-error", "intent": "order", "kind": "commode"})
    assert place.points("service-without-purpose") == []
    before = timeline(place)
    place.patch(f"/services/{for_need.partition('/')[2]}", {"needs": ["{need}"]})
    place.settle()
    place.view()
    assert timeline(place) == before, "nobody has set anything"


# ------------------------------------------------------------------------------------------------ the wrong client


def test_what_was_entered_for_the_wrong_client_is_recalled_at_both_partners_and_stands_in_the_right_case(place: Place) -> None:
    opened = body(place.manager.post("/cases", {"client": {"names": [{"family": "Adeyemi"}]}, "manager": place.refs["manager"]}))
    right, client = opened["id"], opened["client"]["id"]
    wrong = by_case(place, "flags", {"state": "active", "categories": ["safety"], "what": "Lives with a violent partner"})
    goal = by_case(place, "goals", {"title": "A door with a lock", "lifecycle": "active", "set_by": "{client}", "needs": ["{need}"]})
    everywhere(place, wrong, goal)
    moved = {}
    for what, reference in (("flags", wrong), ("goals", goal)):
        answer = place.post(f"/{what}/{reference.partition('/')[2]}/move", {"to": right, "because": "two clients in one visit"})
        assert answer.status_code == 200, answer.get_data(as_text=True)
        moved[what] = body(answer)["moved"]["id"]
    everywhere(place, wrong, goal)
    for partner, server in place.servers.items():
        assert place.theirs(partner, wrong)["status"] == "entered-in-error"
        assert place.theirs(partner, goal)["lifecycleStatus"] == "entered-in-error"
        everything = str([rows[-1].resource for rows in server.rows.values()])
        assert client not in everything and right not in everything and "Adeyemi" not in everything, "they do not know the other client"
    plan = place.theirs("homeward", f"CarePlan/{place.view()['plan']['id']}")
    assert {"reference": f"Goal/{place.remote('homeward', goal)}"} not in plan["goal"]
    entry = body(place.manager.get(f"/cases/{right}/flags/{moved['flags']}"))
    assert (entry["state"], entry["what"], entry["client"]) == ("active", "Lives with a violent partner", f"Patient/{client}")
    arrived = body(place.manager.get(f"/cases/{right}/goals/{moved['goals']}"))
    assert (arrived["lifecycle"], arrived["set_by"], "needs" in arrived) == ("active", f"Patient/{client}", False)
    for one, other in ((f"/cases/{right}", (place.client, place.case)), (f"/cases/{place.case}", (client, right))):
        known = "".join(place.manager.get(path).get_data(as_text=True) for path in (one, f"{one}/timeline"))
        assert not any(id_ in known for id_ in other) and "two clients in one visit" in known
