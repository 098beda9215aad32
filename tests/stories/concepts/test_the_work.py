"""What is done for the client, from the services arranged to the closing of the case: each concept entered by one door, read by
another and at a second partner, and what the service does with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fhircase.flows.hub import Hub
from fhircase.mapping import Mappings
from tests.api.conftest import body
from tests.conftest import ROOT, FrozenClock
from tests.stories.concepts.doors import by_case, by_key, by_server, coded, everywhere, held
from tests.stories.concepts.place import PARTNERS, Place
from tests.stories.concepts.rows import row

Resource = dict[str, Any]

CLIENT = {"reference": "{client}"}
HOME_HEALTH = {"state": "active", "intent": "order", "kind": "home-health", "needs": ["{need}"], "provider": ["{home}"]}


def words(table: str) -> list[str]:
    """Every word of a table of ours."""
    groups = json.loads((ROOT / "mappings" / "codes" / f"{table}.json").read_text("utf-8"))["group"]
    return list(dict.fromkeys(element["code"] for group in groups for element in group["element"]))


SERVICES, EQUIPMENT = words("service-kind"), words("equipment-kind")


@pytest.fixture
def place(make_hub: Callable[..., Hub], clock: FrozenClock, maps: Mappings) -> Place:
    return Place(make_hub, clock, maps)


def reference(resource: Resource) -> str:
    return f"{resource['resourceType']}/{resource['id']}"


def activities(plan: Resource) -> set[str]:
    return {one["reference"]["reference"] for one in plan["activity"]}


# ------------------------------------------------------------------------------------------------ services


@row("services", "shared")
@pytest.mark.parametrize("kinds", [SERVICES[n::3] for n in range(3)])
def test_every_kind_of_service_entered_in_the_case_is_in_the_plan_with_its_task_at_both_partners(place: Place, kinds: list[str]) -> None:
    place.patch("", {
        "services": {f"#{kind}": {**HOME_HEALTH, "kind": kind} for kind in kinds},
        "loops": {
            f"#task-{kind}": {"state": "requested", "kind": "fulfill", "focus": f"#{kind}", "owner": "{home}", "title": kind}
            for kind in kinds
        },
    })  # fmt: skip
    view = place.view()
    by_kind = {one["kind"]: f"ServiceRequest/{one['id']}" for one in view["services"] if "provider" in one}
    assert set(by_kind) == set(kinds)
    loops = {one["focus"]: f"Task/{one['id']}" for one in view["loops"]}
    assert set(loops) == set(by_kind.values())
    plan, *stored = everywhere(place, f"CarePlan/{view['plan']['id']}", *by_kind.values(), *loops.values())
    assert set(by_kind.values()) <= activities(plan)
    codes = {reference(one): {coding["code"] for coding in one["code"]["coding"]} for one in stored[: len(kinds)]}
    assert all(kind in codes[by_kind[kind]] for kind in kinds)


@row("services", "shared")
@pytest.mark.parametrize("kinds", [EQUIPMENT[n::2] for n in range(2)])
def test_every_kind_of_equipment_written_by_a_partner_is_shown_in_the_case_and_reaches_the_other(place: Place, kinds: list[str]) -> None:
    made = {
        kind: by_key(place, "riverside", {
            "resourceType": "DeviceRequest", "status": "active", "intent": "order", "subject": CLIENT,
            "codeCodeableConcept": coded("equipment-kind", kind), "reasonReference": [{"reference": "{need}"}],
        })
        for kind in kinds
    }  # fmt: skip
    shown = {f"DeviceRequest/{one['id']}": one["kind"] for one in place.view()["equipment"]}
    assert {kind: shown[ref] for kind, ref in made.items()} == {kind: kind for kind in kinds}
    everywhere(place, *made.values())


@row("services", "shared")
def test_other_requests_that_a_partner_hangs_into_the_plan_are_kept_and_reach_the_other(place: Place) -> None:
    diet = by_server(place, "riverside", {
        "resourceType": "NutritionOrder", "status": "active", "intent": "order", "patient": CLIENT, "dateTime": "2026-11-22T09:00:00Z",
        "oralDiet": {"type": [{"text": "Low salt"}]},
    })  # fmt: skip
    drug = by_server(place, "riverside", {
        "resourceType": "MedicationRequest", "status": "active", "intent": "order", "subject": CLIENT,
        "medicationCodeableConcept": {"text": "Naproxen 250 mg"},
    })  # fmt: skip
    group = by_server(place, "riverside", {
        "resourceType": "RequestGroup", "status": "active", "intent": "plan", "subject": CLIENT,
        "action": [{"title": "Ramp first", "resource": {"reference": "{service}"}}],
    })  # fmt: skip
    plan = f"CarePlan/{place.view()['plan']['id']}"

    def hang(resource: Resource) -> None:
        resource["activity"] += [{"reference": {"reference": f"{ref.partition('/')[0]}/{place.remote('riverside', ref)}"}} for ref in hung]

    hung = (diet, drug, group)
    place.servers["riverside"].edit("CarePlan", place.remote("riverside", plan), hang)
    place.settle()
    assert set(hung) <= activities(everywhere(place, plan, *hung)[0])
    view = place.view()
    assert {diet, drug, group} <= {one["service"] for one in view["plan"]["activities"]}
    assert held(place, "medications", drug)["what"] == "Naproxen 250 mg"
    assert held(place, "groups", group)["actions"] == [{"title": "Ramp first", "request": place.refs["service"]}]
    assert held(place, "nutrition", diet)["diets"] == ["Low salt"]


# ------------------------------------------------------------------------------------------------ education, directory, payer


@row("education", "shared")
def test_teaching_ordered_in_the_case_has_its_teach_back_from_home_care_and_the_rehab_reads_it(place: Place) -> None:
    lesson = by_case(place, "services", {**HOME_HEALTH, "category": "education", "kind": "education"})
    task = by_key(place, "homeward", {
        "resourceType": "Task", "status": "completed", "intent": "order", "code": coded("task-kind", "education"), "for": CLIENT,
        "focus": {"reference": lesson}, "description": "How to move from bed to chair", "owner": {"reference": "{home}"},
        "output": [
            {"type": coded("output-kind", "teach-back"), "valueCodeableConcept": {"text": "Shown back without help"}},
            {"type": coded("output-kind", "outcome"), "valueBoolean": True},
        ],
    })  # fmt: skip
    entry = held(place, "loops", task)
    assert (entry["kind"], entry["focus"], entry["state"]) == ("education", lesson, "completed")
    assert {one["what"]: one.get("answer", one.get("yes")) for one in entry["output"]} == {
        "teach-back": "Shown back without help", "outcome": True,
    }  # fmt: skip
    order, _ = everywhere(place, lesson, task)
    assert held(place, "services", lesson)["category"] == "education"
    assert place.theirs("riverside", lesson)["category"] == order["category"]
    assert place.theirs("riverside", task)["output"][0]["valueCodeableConcept"] == {"text": "Shown back without help"}


@row("directory", "shared")
def test_a_program_of_the_directory_reaches_the_partners_with_the_service_that_names_it(place: Place) -> None:
    kitchen = by_key(place, "hub", {"resourceType": "Organization", "active": True, "name": "North Kitchen"})
    area = by_key(place, "hub", {"resourceType": "Location", "name": "North of the river", "managingOrganization": {"reference": kitchen}})
    program = by_key(place, "hub", {
        "resourceType": "HealthcareService", "active": True, "name": "Meals for veterans", "providedBy": {"reference": kitchen},
        "type": [coded("service-kind", "meals")], "location": [{"reference": area}], "coverageArea": [{"reference": area}],
        "serviceProvisionCode": [coded("http://terminology.hl7.org/CodeSystem/service-provision-conditions", "free")],
        "eligibility": [{"code": coded("eligibility", "veteran"), "comment": "Shows the card"}],
        "characteristic": [coded("program-characteristic", "home-visits")],
        "availableTime": [{"daysOfWeek": ["mon", "fri"], "availableStartTime": "08:00:00", "availableEndTime": "16:30:00"}],
        "extension": [
            {"url": "urn:fhircase:extension:capacity", "valueInteger": 120},
            {"url": "urn:fhircase:extension:free-places", "valueInteger": 7},
        ],
    })  # fmt: skip
    served = by_key(place, "riverside", {
        "resourceType": "Observation", "status": "final", "subject": CLIENT, "code": {"text": "Veteran"}, "valueBoolean": True,
        "category": [coded("http://terminology.hl7.org/CodeSystem/observation-category", "social-history")],
        "effectiveDateTime": "2026-11-21",
    })  # fmt: skip
    meals = by_case(place, "services", {**HOME_HEALTH, "kind": "meals", "provider": [program]})
    assert (held(place, "assessments", served)["kinds"], held(place, "assessments", served)["yes"]) == (["social-history"], True)
    everywhere(place, meals, served, program, area, kitchen)
    program_of = place.hub.maps.mapping("program")
    for partner in PARTNERS:
        told = program_of.into(place.theirs(partner, program)).doc
        assert (told["kinds"], told["prices"]) == (["meals"], ["free"])
        assert told["eligibility"] == [{"who": "veteran", "comment": "Shows the card"}]
        assert (told["capacity"], told["free_places"], told["characteristics"]) == (120, 7, ["home-visits"])
        assert told["hours"] == [{"days": ["monday", "friday"], "opens": "08:00:00", "closes": "16:30:00"}]
        assert told["organization"] == f"Organization/{place.remote(partner, kitchen)}"
        assert told["areas"] == told["locations"] == [f"Location/{place.remote(partner, area)}"]
        order = place.theirs(partner, meals)
        assert order["performer"] == [{"reference": f"HealthcareService/{place.remote(partner, program)}"}]


@row("payer", "shared")
def test_a_coverage_entered_at_the_rehab_pays_for_a_service_and_its_review_is_read_by_home_care(place: Place) -> None:
    cover = by_server(place, "riverside", {
        "resourceType": "Coverage", "status": "active", "beneficiary": CLIENT, "payor": [CLIENT], "subscriberId": "MCD-9",
        "period": {"start": "2026-01-01", "end": "2026-12-31"},
    })  # fmt: skip
    assert (held(place, "coverages", cover)["subscriber_id"], held(place, "coverages", cover)["until"]) == ("MCD-9", "2026-12-31")
    service = by_case(place, "services", {**HOME_HEALTH, "coverage": [cover]})
    review = place.add("tasks", {
        "state": "requested", "kind": "utilization-review", "title": "Are eight more visits needed?", "owner": "{manager}",
        "coverage": [cover], "reason_for": service,
    })  # fmt: skip
    order, task, _ = everywhere(place, service, f"Task/{review}", cover)
    assert order["insurance"] == task["insurance"] == [{"reference": cover}]
    assert place.theirs("homeward", service)["insurance"] == [{"reference": f"Coverage/{place.remote('homeward', cover)}"}]


# ------------------------------------------------------------------------------------------------ dates and talk


@row("appointments", "shared")
def test_an_appointment_that_home_care_makes_for_a_service_is_in_the_case_and_at_the_rehab(place: Place) -> None:
    visit = by_server(place, "homeward", {
        "resourceType": "Appointment", "status": "booked", "description": "First visit", "basedOn": [{"reference": "{service}"}],
        "start": "2026-11-26T09:00:00Z", "end": "2026-11-26T10:00:00Z", "participant": [{"actor": CLIENT, "status": "accepted"}],
    })  # fmt: skip
    entry = held(place, "appointments", visit)
    assert (entry["state"], entry["starts"], entry["based_on"]) == ("booked", "2026-11-26T09:00:00Z", [place.refs["service"]])
    everywhere(place, visit)

    def missed(resource: Resource) -> None:
        resource["status"] = "noshow"

    place.servers["riverside"].edit("Appointment", place.remote("riverside", visit), missed)
    everywhere(place, visit)
    assert held(place, "appointments", visit)["state"] == "no-show" and place.theirs("homeward", visit)["status"] == "noshow"


@row("appointments", "shared")
def test_a_schedule_of_treatments_that_the_rehab_orders_is_read_in_the_case_and_at_home_care(place: Place) -> None:
    course = by_key(place, "riverside", {
        "resourceType": "ServiceRequest", "status": "active", "intent": "order", "subject": CLIENT,
        "code": coded("service-kind", "chemotherapy"), "reasonReference": [{"reference": "{need}"}],
        "occurrenceTiming": {
            "repeat": {
                "boundsPeriod": {"start": "2026-11-23", "end": "2027-02-22"}, "frequency": 1, "period": 3, "periodUnit": "wk",
                "dayOfWeek": ["mon"],
            },
            "code": {"text": "Every three weeks"},
        },
    })  # fmt: skip
    entry = held(place, "services", course)
    assert (entry["timing"], entry["times"], entry["period"], entry["period_unit"]) == ("Every three weeks", 1, 3, "wk")
    assert (entry["days"], entry["timing_from"], entry["timing_to"]) == (["monday"], "2026-11-23", "2027-02-22")
    place.patch(f"/services/{course.partition('/')[2]}", {"days": ["tuesday"]})
    (order,) = everywhere(place, course)
    assert (order["occurrenceTiming"]["repeat"]["dayOfWeek"], order["occurrenceTiming"]["repeat"]["period"]) == (["tue"], 3)
    assert place.theirs("homeward", course)["occurrenceTiming"] == order["occurrenceTiming"]


@row("contacts", "shared")
def test_a_question_asked_in_the_case_is_answered_by_home_care_and_the_next_call_is_planned_by_the_rehab(place: Place) -> None:
    question = by_case(place, "communications", {
        "state": "completed", "mediums": ["phone"], "categories": ["question"], "sent": "2026-11-21T10:00:00Z", "sender": "{daughter}",
        "recipients": ["{home}"], "payload": [{"text": "Who brings the walker?"}],
    })  # fmt: skip
    answer = by_key(place, "homeward", {
        "resourceType": "Communication", "status": "completed", "subject": CLIENT, "inResponseTo": [{"reference": question}],
        "sent": "2026-11-21T15:00:00Z", "sender": {"reference": "{home}"}, "recipient": [{"reference": "{daughter}"}],
        "payload": [{"contentString": "We do, on Thursday"}],
    })  # fmt: skip
    call = by_server(place, "riverside", {
        "resourceType": "CommunicationRequest", "status": "active", "subject": CLIENT, "recipient": [CLIENT],
        "occurrencePeriod": {"end": "2026-11-29"}, "payload": [{"contentString": "How are the stairs?"}],
    })  # fmt: skip
    said = held(place, "communications", answer)
    assert (said["in_response_to"], said["payload"]) == ([question], [{"text": "We do, on Thursday"}])
    assert held(place, "planned_contacts", call)["to"] == "2026-11-29"
    assert (held(place, "communications", question)["mediums"], said["recipients"]) == (["phone"], [place.refs["daughter"]])
    everywhere(place, question, answer, call)


@row("coordination", "shared")
def test_a_note_on_a_referral_written_by_home_care_is_read_by_all_and_every_partner_holds_the_same_plan(place: Place) -> None:
    loop = by_case(place, "loops", {"state": "requested", "kind": "fulfill", "focus": "{service}", "owner": "{home}"})
    place.settle()

    def answer(resource: Resource) -> None:
        resource["status"] = "accepted"
        resource["note"] = [{"text": "From Monday on, twice a week", "time": "2026-11-22T08:00:00Z"}]

    place.servers["homeward"].edit("Task", place.remote("homeward", loop), answer)
    told = by_key(place, "riverside", {
        "resourceType": "Communication", "status": "completed", "subject": CLIENT, "about": [{"reference": "{service}"}],
        "category": [coded("communication-category", "coordination")], "sent": "2026-11-22T09:00:00Z", "sender": {"reference": "{rehab}"},
        "recipient": [{"reference": "{home}"}], "payload": [{"contentString": "She leaves us on Friday"}],
    })  # fmt: skip
    view = place.view()
    everywhere(place, loop, told, f"CarePlan/{view['plan']['id']}", f"CareTeam/{view['team']['id']}", *view["plan"]["goals"])
    entry = held(place, "loops", loop)
    assert (entry["state"], [note["text"] for note in entry["notes"]]) == ("accepted", ["From Monday on, twice a week"])
    assert held(place, "communications", told)["categories"] == ["coordination"]


@row("monitoring", "shared")
def test_what_the_rehab_measures_moves_the_goal_at_home_care_and_the_plan_keeps_its_versions(place: Place) -> None:
    goal = by_case(place, "goals", {
        "title": "Walk 50 feet", "lifecycle": "active", "measure": "Distance walked", "measure_code": "41950-7", "target_value": 50,
        "target_unit": "feet", "target_unit_code": "[ft_i]", "target_unit_system": "http://unitsofmeasure.org", "due": "2026-12-06",
    })  # fmt: skip
    place.settle()
    for feet, day in ((20, "2026-11-20"), (35, "2026-11-21")):
        seen = by_key(place, "riverside", {
            "resourceType": "Observation", "status": "final", "subject": CLIENT, "effectiveDateTime": f"{day}T09:00:00Z",
            "basedOn": [{"reference": f"CarePlan/{place.view()['plan']['id']}"}],
            "code": {"coding": [{"system": "http://loinc.org", "code": "41950-7"}], "text": "Distance walked"},
            "valueQuantity": {"value": feet, "unit": "feet", "system": "http://unitsofmeasure.org", "code": "[ft_i]"},
        })  # fmt: skip
    assert held(place, "goals", goal)["achievement"] == "improving"
    everywhere(place, goal, seen)
    assert place.theirs("homeward", goal)["achievementStatus"]["coding"][0]["code"] == "improving"
    plan = f"CarePlan/{place.view()['plan']['id']}"
    place.patch("/plan", {"title": "Home before Christmas"})
    history = body(place.manager.get(f"/fhir/{plan}/_history"))["entry"]
    assert [one["resource"]["title"] for one in history][:2] == ["Home before Christmas", "Shared care plan"]
    everywhere(place, plan)
    assert place.theirs("homeward", plan)["title"] == "Home before Christmas"


# ------------------------------------------------------------------------------------------------ closing


def resolved(place: Place) -> None:
    """Goal, service and phase as a case has them that is about to close."""
    place.patch("", {
        "goals": {place.refs["goal"].partition("/")[2]: {"lifecycle": "completed", "achievement": "achieved"}},
        "services": {place.refs["service"].partition("/")[2]: {"state": "completed"}},
    })  # fmt: skip


def moved(place: Place, *phases: str) -> None:
    for phase in phases:
        answer = place.post("/phase", {"to": phase, "because": "as needs change"})
        assert answer.status_code == 200, answer.get_data(as_text=True)


CYCLE = ("assessment", "planning", "implementation", "monitoring", "evaluation")
GOALS_MET = {"reason": "goals-met", "outcome": "Walks to the shop", "destination": "independent", "because": "She needs us no more"}


@row("closing", "shared")
def test_a_closed_case_is_finished_with_its_outcome_and_destination_at_both_partners(place: Place) -> None:
    last = by_server(place, "homeward", {
        "resourceType": "Observation", "status": "final", "subject": CLIENT, "effectiveDateTime": "2026-11-22", "valueBoolean": True,
        "category": [coded("assessment-kind", "outcome")], "code": coded("outcome-measure", "living-independently"),
    })  # fmt: skip
    moved(place, *CYCLE)
    resolved(place)
    assert place.post("/close", GOALS_MET).status_code == 200
    assert (held(place, "outcomes", last)["measure"], held(place, "outcomes", last)["yes"]) == ("living-independently", True)
    view = place.view()
    episode, plan, _ = everywhere(place, f"EpisodeOfCare/{place.case}", f"CarePlan/{view['plan']['id']}", last)
    assert (episode["status"], plan["status"], "end" in episode["period"]) == ("finished", "completed", True)
    for partner in PARTNERS:
        copy = place.theirs(partner, f"EpisodeOfCare/{place.case}")
        said = {one["url"].rpartition(":")[2]: one.get("valueString") for one in copy["extension"]}
        assert (said["ended-because"], said["outcome"], said["destination"]) == ("goals-met", "Walks to the shop", "independent")


@row("closing", "acts")
def test_closing_asks_for_goals_services_outcome_and_destination_and_closes_when_all_is_answered(place: Place) -> None:
    moved(place, *CYCLE)
    refused = place.post("/close", {"reason": "goals-met"})
    goal, service = (place.refs[name].partition("/")[2] for name in ("goal", "service"))
    assert refused.status_code == 422
    asked = {one["path"] for one in body(refused)["errors"]}
    assert {f"/goals/{goal}", f"/services/{service}", "/outcome", "/destination"} <= asked
    assert place.view()["episode"]["state"] == "active"
    loop = place.add("loops", {"state": "requested", "kind": "fulfill", "focus": "{service}", "owner": "{home}"})
    resolved(place)
    assert [one["path"] for one in body(place.post("/close", GOALS_MET))["errors"]] == [f"/loops/{loop}"]
    place.patch(f"/loops/{loop}", {"state": "completed"})
    lower = place.post("/close", {**GOALS_MET, "destination": "maintenance-care"})
    assert [one["path"] for one in body(lower)["errors"]] == ["/destination"], "nobody has accepted to care on"
    closed = place.post("/close", GOALS_MET)
    assert closed.status_code == 200, closed.get_data(as_text=True)
    assert (body(closed)["episode"]["state"], body(closed)["plan"]["state"]) == ("finished", "completed")


@row("closing", "twin")
def test_a_client_who_withdraws_closes_at_once_and_what_is_open_is_listed_and_left_as_it_is(place: Place) -> None:
    goal, service = (place.refs[name].partition("/")[2] for name in ("goal", "service"))
    moved(place, "assessment")
    closed = place.post("/close", {"reason": "withdrew"})
    assert closed.status_code == 200, closed.get_data(as_text=True)
    case = body(closed)
    assert {f"/goals/{goal}", f"/services/{service}"} <= {one["path"] for one in case["open"]}
    assert (case["episode"]["state"], case["plan"]["state"], case["attention"]) == ("finished", "revoked", [])
    assert (place.entry("goals", goal)["lifecycle"], place.entry("services", service)["state"]) == ("active", "active")
    everywhere(place, f"EpisodeOfCare/{place.case}", f"CarePlan/{case['plan']['id']}")


# ------------------------------------------------------------------------------------------------ medication


@row("medication", "shared")
def test_medicines_allergies_and_what_the_client_takes_are_entered_in_three_settings_and_read_in_all(place: Place) -> None:
    order = by_case(place, "medications", {"state": "active", "intent": "order", "what": "Metoprolol 50 mg"})
    taken = by_key(place, "riverside", {
        "resourceType": "MedicationStatement", "status": "not-taken", "subject": CLIENT, "basedOn": [{"reference": order}],
        "medicationCodeableConcept": {"text": "Metoprolol 50 mg"}, "informationSource": CLIENT, "dateAsserted": "2026-11-22",
        "extension": [{"url": "urn:fhircase:extension:adherence", "valueCodeableConcept": coded("adherence", "not-taken")}],
    })  # fmt: skip
    allergy = by_server(place, "homeward", {
        "resourceType": "AllergyIntolerance", "patient": CLIENT, "code": {"text": "Penicillin"},
        "clinicalStatus": coded("http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "active"),
        "verificationStatus": coded("http://terminology.hl7.org/CodeSystem/allergyintolerance-verification", "confirmed"),
    })  # fmt: skip
    issue = by_key(place, "hub", {
        "resourceType": "DetectedIssue", "status": "preliminary", "severity": "high", "patient": CLIENT, "detail": "Stopped at home",
        "code": coded("issue-kind", "stopped-elsewhere"), "implicated": [{"reference": order}, {"reference": taken}],
    })  # fmt: skip
    never = by_case(place, "services", {**HOME_HEALTH, "kind": "wound-care", "not_wanted": True})
    said = held(place, "medication_use", taken)
    assert (said["state"], said["adherence"]) == ("not-taken", "not-taken")
    assert (said["said_by"], said["based_on"]) == (place.refs["client"], [order])
    assert (held(place, "allergies", allergy)["what"], held(place, "allergies", allergy)["clinical"]) == ("Penicillin", "active")
    assert (held(place, "issues", issue)["kind"], held(place, "issues", issue)["implicated"]) == ("stopped-elsewhere", [order, taken])
    *_, stop = everywhere(place, order, taken, allergy, issue, never)
    assert stop["doNotPerform"] is True
