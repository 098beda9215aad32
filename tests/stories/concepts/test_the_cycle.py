"""The concepts of the cycle, from assessment to goals: entered by one door, read by another and at the partners, acted on, and what
must not set it off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fhircase.flows.hub import Hub
from fhircase.mapping import Mappings
from tests.api.conftest import body
from tests.conftest import FrozenClock
from tests.stories.concepts.doors import by_case, by_key, by_server, coded, everywhere, held
from tests.stories.concepts.entries import FEET
from tests.stories.concepts.place import Place
from tests.stories.concepts.rows import row

CLIENT = {"reference": "{client}"}
DOMAINS = ("biological", "psychological", "social", "functional", "cultural", "family", "financial", "environment")
LOINC, WALKED = "http://loinc.org", "41950-7"
CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
ACHIEVEMENT = "http://terminology.hl7.org/CodeSystem/goal-achievement"
ACTIVE = coded("http://terminology.hl7.org/CodeSystem/condition-clinical", "active")
NEED_KINDS = {
    "problem": ("http://terminology.hl7.org/CodeSystem/condition-category", "problem-list-item"),
    "health-concern": ("http://hl7.org/fhir/us/core/CodeSystem/condition-category", "health-concern"),
    "sdoh": ("http://hl7.org/fhir/us/core/CodeSystem/us-core-category", "sdoh"),
    "barrier": ("need-kind", "barrier"),
}
"""Kind of a need → its category."""


@pytest.fixture
def place(make_hub: Callable[..., Hub], clock: FrozenClock, maps: Mappings) -> Place:
    return Place(make_hub, clock, maps)


def domain(code: str) -> dict[str, Any]:
    return {"url": "urn:fhircase:extension:domain", "valueCodeableConcept": coded("domain", code)}


def of_plan(place: Place) -> dict[str, str]:
    """A Reference to the plan of the case."""
    return {"reference": f"CarePlan/{place.view()['plan']['id']}"}


# ------------------------------------------------------------------------------------------------ assessment


@row("assessment", "shared")
@pytest.mark.parametrize("one", DOMAINS)
def test_an_assessment_of_each_domain_entered_under_fhir_stands_in_the_case_and_at_both_partners(place: Place, one: str) -> None:
    result = by_key(place, "hub", {
        "resourceType": "Observation", "status": "final", "subject": CLIENT, "category": [coded(CATEGORY, "social-history")],
        "code": {"text": f"Result, {one}"}, "effectiveDateTime": "2026-11-21", "valueString": "As before", "extension": [domain(one)],
        "basedOn": [of_plan(place)],
    })  # fmt: skip
    entry = held(place, "assessments", result)
    assert (entry["domain"], entry["text"], entry["kinds"]) == (one, "As before", ["social-history"])
    everywhere(place, result)


@row("assessment", "shared")
def test_answers_family_history_what_follows_and_what_was_not_assessed_come_by_three_doors_and_stand_at_the_other_partner(
    place: Place,
) -> None:
    answers = by_server(place, "homeward", {
        "resourceType": "QuestionnaireResponse", "status": "completed", "subject": CLIENT, "authored": "2026-11-21T10:00:00Z",
        "questionnaire": "https://county.example/Questionnaire/intake|2",
        "item": [{"linkId": "1", "text": "Enough to eat?", "answer": [{"valueBoolean": False}]}],
    })  # fmt: skip
    history = by_key(place, "riverside", {
        "resourceType": "FamilyMemberHistory", "status": "completed", "patient": CLIENT, "name": "Rosa",
        "relationship": coded("http://terminology.hl7.org/CodeSystem/v3-RoleCode", "MTH"),
        "condition": [{"code": {"text": "Heart failure"}}],
    })  # fmt: skip
    derived = by_key(place, "riverside", {
        "resourceType": "Condition", "subject": CLIENT, "code": {"text": "Food insecurity"}, "clinicalStatus": ACTIVE,
        "category": [coded(*NEED_KINDS["sdoh"])], "extension": [domain("food")], "evidence": [{"detail": [{"reference": answers}]}],
    })  # fmt: skip
    missing = by_case(place, "assessments", NOT_ASSESSED)
    baseline = by_case(
        place, "assessments", {"what": "Mood", "score": 4, "domain": "psychological", "baseline": True, "when": "2026-11-21"}
    )
    (item,) = held(place, "questionnaires", answers)["items"]
    assert (item["text"], item["answers"]) == ("Enough to eat?", [{"yes": False}])
    assert held(place, "family_history", history)["conditions"] == [{"text": "Heart failure"}]
    need = held(place, "needs", derived)
    assert (need["text"], need["domain"], need["kind"]) == ("Food insecurity", "food", "sdoh")
    resources = everywhere(place, answers, history, derived, missing, baseline)
    assert resources[2]["evidence"][0]["detail"] == [{"reference": answers}]
    assert resources[3]["dataAbsentReason"] == {"text": NOT_ASSESSED["not_assessed"]}
    assert {"url": "urn:fhircase:extension:baseline", "valueBoolean": True} in resources[4]["extension"]


NOT_ASSESSED = {"what": "Finances", "domain": "financial", "not_assessed": "The client was tired", "when": "2026-11-21"}


@row("assessment", "acts")
def test_each_domain_asks_for_a_result_until_it_has_one_and_the_others_go_on_asking(place: Place) -> None:
    left = {f"domain:{one}" for one in (*DOMAINS, "medication")} - {"domain:biological"}
    assert set(place.points("domain-unassessed")) == left
    for one in (*DOMAINS[1:], "medication"):
        place.add("assessments", {"what": f"Result, {one}", "score": 3, "domain": one, "when": "2026-11-21"})
        left -= {f"domain:{one}"}
        assert set(place.points("domain-unassessed")) == left
    place.patch(f"/assessments/{place.refs['assessment'].partition('/')[2]}", {"state": "entered-in-error"})
    assert place.points("domain-unassessed") == ["domain:biological"], "an error is no result"


@row("assessment", "acts")
def test_what_a_goal_comes_to_is_measured_from_the_baseline(place: Place) -> None:
    early = walked(place, 35, "2026-11-17")
    baseline = walked(place, 20, "2026-11-18", baseline=True)
    goal = place.add("goals", GOAL)
    last = walked(place, 30, "2026-11-20")
    entry = place.entry("goals", goal)
    assert entry["outcomes"] == [baseline, last] and early not in entry["outcomes"]


@row("assessment", "twin")
def test_a_domain_of_which_it_is_said_that_it_was_not_assessed_is_not_asked_for(place: Place) -> None:
    assert "domain:financial" in place.points("domain-unassessed")
    place.add("assessments", NOT_ASSESSED)
    assert "domain:financial" not in place.points("domain-unassessed")
    assert place.post("/phase", {"to": "assessment", "because": "begin"}).status_code == 200
    assert place.post("/phase", {"to": "planning", "because": "it was said why not"}).status_code == 200


# ------------------------------------------------------------------------------------------------ stability


@row("stability", "shared")
def test_stability_from_crisis_to_self_sufficient_comes_from_a_partners_server_and_stands_at_the_other(place: Place) -> None:
    found = {}
    for day, level in enumerate(("crisis", "vulnerable", "stable", "self-sufficient"), 17):
        found[level] = by_server(place, "homeward", {
            "resourceType": "Observation", "status": "final", "subject": CLIENT, "code": coded("observation-topic", "stability"),
            "category": [coded(CATEGORY, "survey"), coded("assessment-kind", "stability")], "effectiveDateTime": f"2026-11-{day}",
            "extension": [domain("housing")], "valueCodeableConcept": coded("stability-level", level),
        })  # fmt: skip
    for day, (level, reference) in enumerate(found.items(), 17):
        entry = held(place, "stability", reference)
        assert (entry["domain"], entry["level"], entry["when"]) == ("housing", level, f"2026-11-{day}")
    everywhere(place, *found.values())


@row("stability", "acts")
def test_a_domain_in_crisis_asks_for_a_crisis_plan(place: Place) -> None:
    place.add("stability", {"domain": "housing", "level": "crisis", "when": "2026-11-20"})
    assert place.points("crisis-without-plan") == ["domain:housing"]
    place.add("crisis_plans", {"title": "When the landlord calls", "state": "active"})
    assert place.points("crisis-without-plan") == []


@row("stability", "twin")
def test_a_domain_that_was_in_crisis_and_is_stable_now_asks_for_none(place: Place) -> None:
    place.add("stability", {"domain": "housing", "level": "stable", "when": "2026-11-21"})
    place.add("stability", {"domain": "housing", "level": "crisis", "when": "2026-11-20", "baseline": True})
    assert place.points("crisis-without-plan") == []


# ------------------------------------------------------------------------------------------------ needs and barriers


@row("needs", "shared")
@pytest.mark.parametrize("kind", NEED_KINDS)
def test_a_need_of_each_kind_from_a_partners_server_joins_the_plan_and_stands_at_the_other(place: Place, kind: str) -> None:
    need = by_server(place, "riverside", {
        "resourceType": "Condition", "subject": CLIENT, "code": {"text": "Third floor, no lift"}, "clinicalStatus": ACTIVE,
        "category": [coded(*NEED_KINDS[kind])],
    })  # fmt: skip
    assert held(place, "needs", need)["kind"] == kind
    place.patch("/plan", {"needs": [*place.view()["plan"]["needs"], need]})
    assert "apart" not in held(place, "needs", need)
    goal = by_case(place, "goals", {"title": "A flat on the ground floor", "lifecycle": "active", "needs": [need]})
    _, aimed, whole = everywhere(place, need, goal, of_plan(place)["reference"])
    assert aimed["addresses"] == [{"reference": need}] and {"reference": need} in whole["addresses"]


@row("needs", "shared")
def test_a_barrier_told_by_a_partner_as_the_reason_of_a_task_is_kept_and_reaches_the_other(place: Place) -> None:
    task = by_case(place, "loops", {"state": "in-progress", "kind": "fulfill", "focus": "{service}", "owner": "{home}"})
    place.settle()

    def stuck(resource: dict[str, Any]) -> None:
        resource["status"] = "on-hold"
        resource["statusReason"] = coded("task-reason", "no-transport")

    place.servers["homeward"].edit("Task", place.remote("homeward", task), stuck)
    place.settle()
    entry = held(place, "loops", task)
    assert (entry["state"], entry["state_reason"]) == ("on-hold", "no-transport")
    everywhere(place, task)


@row("needs", "acts")
def test_a_need_without_goal_or_service_and_a_barrier_without_activity_deserve_a_look(place: Place) -> None:
    need = by_case(place, "needs", {"text": "No money for heating", "clinical": "active", "kind": "sdoh"})
    barrier = by_case(place, "needs", {"text": "Speaks no English", "clinical": "active", "kind": "barrier"})
    assert (place.points("need-unmet"), place.points("barrier-without-activity")) == ([need], [barrier])
    service = {"state": "active", "intent": "order", "kind": "financial-help"}
    id_ = place.add("services", service | {"needs": [need]})
    place.add("tasks", {"state": "requested", "kind": "to-do", "title": "Find an interpreter", "reason_for": barrier})
    assert (place.points("need-unmet"), place.points("barrier-without-activity")) == ([], [])
    place.patch(f"/services/{id_}", {"state": "revoked"})
    assert place.points("need-unmet") == [need], "its service is gone"


@row("needs", "twin")
def test_a_need_that_is_met_refused_or_over_and_a_diagnosis_of_a_stay_raise_nothing(place: Place) -> None:
    assert place.points("need-unmet") == [], "goal and service name it"
    place.add("needs", {"text": "Cold", "clinical": "resolved", "kind": "problem"})
    place.add("needs", {"text": "Fall", "clinical": "active", "kind": "encounter-diagnosis"})
    place.add("needs", {"text": "No car", "clinical": "resolved", "kind": "barrier"})
    need = by_case(place, "needs", {"text": "No money for heating", "clinical": "active"})
    offer = by_case(place, "services", {"state": "draft", "intent": "proposal", "kind": "meals", "needs": [need]})
    assert decide(place, offer, "declined", reason="My sister cooks").status_code == 200
    assert (place.points("need-unmet"), place.points("barrier-without-activity")) == ([], [])


# ------------------------------------------------------------------------------------------------ strengths


@row("strengths", "shared")
def test_a_strength_entered_by_a_partner_joins_the_plan_a_goal_builds_on_it_and_both_stand_at_the_other_partner(place: Place) -> None:
    strength = by_key(place, "riverside", {
        "resourceType": "Observation", "status": "final", "subject": CLIENT, "code": coded("observation-topic", "strength"),
        "category": [coded(CATEGORY, "social-history"), coded("assessment-kind", "strength")], "extension": [domain("family")],
        "valueString": "Her sister next door cooks on weekends", "performer": [CLIENT], "basedOn": [of_plan(place)],
    })  # fmt: skip
    shown = held(place, "strengths", strength)
    assert (shown["text"], shown["domain"], shown["by"]) == ("Her sister next door cooks on weekends", "family", [place.refs["client"]])
    place.patch("/plan", {"supporting": [*place.view()["plan"]["supporting"], strength]})
    goal = by_case(place, "goals", {"title": "Eat twice a day", "lifecycle": "active", "strength": strength})
    assert held(place, "goals", goal)["strength"] == strength
    *_, whole = everywhere(place, strength, goal, of_plan(place)["reference"])
    assert {"reference": strength} in whole["supportingInfo"]


@row("strengths", "acts")
def test_a_strengths_based_case_asks_for_strengths_and_shows_them_first(place: Place) -> None:
    place.patch("/episode", {"kinds": ["medical", "strengths-based"]})
    assert place.points("no-strengths") == [f"EpisodeOfCare/{place.case}"]
    place.add("strengths", {"text": "Her sister next door"})
    view = place.view()
    lists = [name for name, value in view.items() if isinstance(value, list) and name not in ("flags", "crisis_plans")]
    assert lists[0] == "strengths" and not place.points("no-strengths")


@row("strengths", "twin")
def test_another_case_neither_asks_for_strengths_nor_shows_them_first(place: Place) -> None:
    assert place.points("no-strengths") == []
    place.add("strengths", {"text": "Her sister next door"})
    names = list(place.view())
    assert names.index("strengths") > names.index("goals")


# ------------------------------------------------------------------------------------------------ planning with the client


@row("planning", "shared")
def test_the_clients_own_goal_and_preference_come_by_two_doors_and_stand_at_both_partners(place: Place) -> None:
    eva = guardian(place)
    preference = by_server(place, "homeward", {
        "resourceType": "Observation", "status": "final", "subject": CLIENT, "performer": [CLIENT], "effectiveDateTime": "2026-11-21",
        "category": [coded("http://hl7.org/fhir/us/core/CodeSystem/us-core-category", "care-experience-preference")],
        "code": coded(LOINC, "95541-9"), "valueString": "I want my own bed and my cat",
    })  # fmt: skip
    entry = held(place, "preferences", preference)
    assert (entry["text"], entry["by"]) == ("I want my own bed and my cat", [place.refs["client"]])
    goals = {
        by_key(place, "riverside", {
            "resourceType": "Goal", "lifecycleStatus": "proposed", "description": {"text": "Dance at the wedding"}, "subject": CLIENT,
            "expressedBy": {"reference": who},
        }): who
        for who in (place.refs["client"], eva)
    }  # fmt: skip
    place.patch("/plan", {"goals": [*place.view()["plan"]["goals"], *goals]})
    assert {goal: held(place, "goals", goal)["set_by"] for goal in goals} == goals
    *_, whole = everywhere(place, preference, *goals, of_plan(place)["reference"])
    assert all({"reference": goal} in whole["goal"] for goal in goals)


def guardian(place: Place, **period: str) -> str:
    names = [{"family": "Lind", "given": ["Eva"]}]
    return by_case(place, "contacts", {"relationship": "guardian", "names": names, "since": "2026-01-01", **period})


@row("planning", "acts")
def test_a_plan_without_a_goal_of_the_clients_own_deserves_a_look(place: Place) -> None:
    about = [of_plan(place)["reference"]]
    assert place.points("plan-without-client-goal") == about
    for who in (place.refs["manager"], place.refs["daughter"]):
        place.add("goals", {"title": "Home by Christmas", "lifecycle": "active", "set_by": who})
    by_key(place, "riverside", {
        "resourceType": "Goal", "lifecycleStatus": "active", "description": {"text": "Home by Christmas"}, "subject": CLIENT,
        "expressedBy": {"reference": guardian(place, until="2026-06-30")},
    })  # fmt: skip
    assert place.points("plan-without-client-goal") == about, "the client said none of them"
    place.add("goals", {"title": "Dance", "lifecycle": "cancelled", "set_by": "{client}"})
    assert place.points("plan-without-client-goal") == about, "given up"


@row("planning", "twin")
@pytest.mark.parametrize("who", ["client", "guardian"])
def test_a_goal_in_the_words_of_the_client_or_a_valid_guardian_is_enough(place: Place, who: str) -> None:
    said = place.refs["client"] if who == "client" else guardian(place)
    place.add("goals", {"title": "Dance at the wedding", "lifecycle": "proposed", "set_by": said})
    assert place.points("plan-without-client-goal") == []


# ------------------------------------------------------------------------------------------------ options and decision


def decide(place: Place, on: str, decided: str, by: str = "", **more: str) -> Any:
    return place.post("/decisions", {"on": on, "decided": decided, "by": by or place.refs["client"], **more})


@row("decision", "shared")
@pytest.mark.parametrize("intent", ["proposal", "option"])
def test_what_a_partner_offers_is_decided_in_the_case_and_ordered_and_both_partners_read_who_decided(place: Place, intent: str) -> None:
    offer = by_key(place, "riverside", {
        "resourceType": "ServiceRequest", "status": "active", "intent": intent, "subject": CLIENT,
        "code": coded("service-kind", "meals", "Meals"), "basedOn": [of_plan(place)],
    })  # fmt: skip
    assert decide(place, offer, "accepted", reason="I like that").status_code == 200
    if intent == "proposal":
        assert place.post("/activate", {"services": [offer.partition("/")[2]]}).status_code == 200
    else:
        place.add("services", {"state": "active", "intent": "order", "kind": "meals", "based_on": [offer]})
    (order,) = [one for one in place.view()["services"] if one.get("based_on") == [offer]]
    assert (order["intent"], order["state"]) == ("order", "active")
    entry = held(place, "services", offer)
    assert (entry["decided"], entry["decided_by"], entry["decided_because"]) == ("accepted", place.refs["client"], "I like that")
    everywhere(place, offer, f"ServiceRequest/{order['id']}")


@row("decision", "shared")
def test_a_goal_that_the_client_rejects_at_a_partner_is_rejected_in_the_case_with_the_reason_and_at_the_other(place: Place) -> None:
    goal = by_case(place, "goals", {"title": "Stop smoking", "lifecycle": "proposed"})
    place.settle()
    individual = {"reference": f"Patient/{place.remote('homeward', place.refs['client'])}"}

    def refuse(resource: dict[str, Any]) -> None:
        resource["lifecycleStatus"] = "rejected"
        said = [{"url": "status", "valueCode": "disagree"}, {"url": "individual", "valueReference": individual}]
        resource["extension"] = [{"url": ACCEPTANCE, "extension": said}, {"url": REJECTED, "valueCodeableConcept": {"text": "Not now"}}]

    place.servers["homeward"].edit("Goal", place.remote("homeward", goal), refuse)
    place.settle()
    entry = held(place, "goals", goal)
    assert (entry["lifecycle"], entry["acceptance"], entry["rejected_because"]) == ("rejected", "disagree", "Not now")
    everywhere(place, goal)


ACCEPTANCE = "http://hl7.org/fhir/StructureDefinition/goal-acceptance"
REJECTED = "http://hl7.org/fhir/StructureDefinition/goal-reasonRejected"


@row("decision", "acts")
def test_an_order_without_the_clients_decision_is_told_until_it_is_there_and_the_provenance_names_the_client(place: Place) -> None:
    order = place.refs["service"]
    assert place.points("order-without-decision") == [order]
    assert decide(place, order, "accepted", place.refs["daughter"]).status_code == 422, "she is no guardian"
    assert place.points("order-without-decision") == [order]
    assert decide(place, order, "accepted").status_code == 200
    assert place.points("order-without-decision") == []
    told = body(place.manager.get(f"/fhir/Provenance?target={order}"))["entry"]
    assert place.meant(CLIENT) in [agent["who"] for one in told for agent in one["resource"]["agent"]]


@row("decision", "twin")
def test_a_refusal_is_kept_raises_nothing_and_is_not_offered_again(place: Place) -> None:
    need = by_case(place, "needs", {"text": "Hungry", "clinical": "active"})
    offer = by_case(place, "services", {"state": "draft", "intent": "proposal", "kind": "meals", "needs": [need]})
    goal = by_case(place, "goals", {"title": "Stop smoking", "lifecycle": "proposed"})
    for on in (offer, goal):
        assert decide(place, on, "declined", reason="My sister helps").status_code == 200
    assert not {offer, goal, need} & {point["about"] for point in place.view()["attention"]}
    kept = held(place, "services", offer)
    assert (kept["state"], kept["decided"], kept["decided_because"]) == ("revoked", "declined", "My sister helps")
    assert held(place, "goals", goal)["lifecycle"] == "rejected"
    again = place.post("/activate", {"services": [kept["id"]], "goals": [goal.partition("/")[2]]})
    assert sorted(one["path"] for one in body(again)["errors"]) == ["/goals/0", "/services/0"]


@row("decision", "twin")
def test_an_order_on_what_the_client_accepted_or_asked_for_needs_no_second_decision(place: Place) -> None:
    assert decide(place, place.refs["service"], "accepted", guardian(place)).status_code == 200
    offer = by_case(place, "services", {"state": "active", "intent": "option", "kind": "meals"})
    assert decide(place, offer, "accepted").status_code == 200
    order = {"state": "active", "intent": "order", "kind": "meals"}
    place.add("services", order | {"based_on": [offer]})
    place.add("services", order | {"ordered_by": "{client}", "ordered_at": "2026-11-21T10:00:00Z"})
    place.add("services", order | {"intent": "proposal"})
    assert place.points("order-without-decision") == []


# ------------------------------------------------------------------------------------------------ goals

GOAL = {
    "title": "Walk 50 feet independently within two weeks", "lifecycle": "active", "domain": "mobility", "started": "2026-11-15",
    "measure": "Distance walked", "measure_code": WALKED, "target_value": 50, "target_unit": "feet", "target_unit_code": "[ft_i]",
    "target_unit_system": "http://unitsofmeasure.org", "due": "2026-12-06",
}  # fmt: skip


def walked(place: Place, feet: int, day: str, **more: Any) -> str:
    return by_case(place, "assessments", {
        "what": "Distance walked", "code": WALKED, "system": LOINC, "value": feet, "when": f"{day}T09:00:00Z", **FEET, **more,
    })  # fmt: skip


def at_riverside(place: Place, value: float, day: str, **more: Any) -> str:
    """A distance in metres that the rehab measures, on its own server."""
    return by_server(place, "riverside", {
        "resourceType": "Observation", "status": "final", "subject": CLIENT, "code": coded(LOINC, WALKED, "Distance walked"),
        "effectiveDateTime": f"{day}T09:00:00Z", "basedOn": [of_plan(place)],
        "valueQuantity": {"value": value, "unit": "m", "system": "http://unitsofmeasure.org", "code": "m"}, **more,
    })  # fmt: skip


@row("goal", "shared")
def test_a_specific_goal_with_both_axes_is_entered_in_the_case_and_changed_by_a_partner_on_its_own_server(place: Place) -> None:
    goal = by_case(place, "goals", GOAL | {"needs": ["{need}"], "achievement": "in-progress", "achievement_at": "2026-11-20"})
    (stored,) = everywhere(place, goal)
    assert (stored["description"]["text"], stored["startDate"], stored["addresses"]) == (
        GOAL["title"], "2026-11-15", [{"reference": place.refs["need"]}],
    )  # fmt: skip
    (target,) = stored["target"]
    assert (target["dueDate"], target["detailQuantity"]["value"], target["measure"]["coding"][0]["code"]) == ("2026-12-06", 50, WALKED)
    assert (stored["lifecycleStatus"], stored["achievementStatus"]["coding"][0]["code"]) == ("active", "in-progress")

    def done(resource: dict[str, Any]) -> None:
        resource["lifecycleStatus"] = "on-hold"
        resource["achievementStatus"] = coded(ACHIEVEMENT, "no-progress")

    place.servers["riverside"].edit("Goal", place.remote("riverside", goal), done)
    place.settle()
    entry = held(place, "goals", goal)
    assert (entry["lifecycle"], entry["achievement"]) == ("on-hold", "no-progress"), "two axes"
    everywhere(place, goal)


@row("goal", "acts")
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "no measure, no target, no due date"), (("due",), "no measure, no target"), (("measure", "due"), "no target"),
        (("measure", "target"), "no due date"),
    ],
    ids=["free text", "no measure", "no target", "no due date"],
)  # fmt: skip
def test_a_goal_in_free_text_is_flagged_until_it_has_measure_target_and_due_date(place: Place, given: tuple[str, ...], told: str) -> None:
    """A target without a measure cannot be written at all (gol-1)."""
    goal = by_case(place, "goals", {name: GOAL[name] for name in GOAL if name in ("title", "lifecycle") or name.startswith(given)})
    whats = {point["about"]: point["what"] for point in place.view()["attention"] if point["rule"] == "goal-not-measurable"}
    assert whats[goal] == f"not measurable: {told}"
    place.patch(f"/goals/{goal.partition('/')[2]}", GOAL)
    assert goal not in place.points("goal-not-measurable")


@row("goal", "acts")
def test_what_a_partner_measures_on_its_own_server_moves_the_achievement_and_never_the_lifecycle(place: Place) -> None:
    first = walked(place, 20, "2026-11-16")
    goal = place.add("goals", GOAL)
    for metres, day, achieved in (
        (9.0, "2026-11-17", "improving"), (8.0, "2026-11-18", "worsening"), (15.24, "2026-11-19", "achieved"),
        (16.0, "2026-11-20", "sustaining"),
    ):  # fmt: skip
        seen = at_riverside(place, metres, day)
        entry = place.entry("goals", goal)
        assert (entry["achievement"], entry["achievement_at"], entry["lifecycle"]) == (achieved, day, "active")
        assert {first, seen} <= set(entry["outcomes"])
        assert place.theirs("homeward", f"Goal/{goal}")["achievementStatus"]["coding"][0]["code"] == achieved


@row("goal", "twin")
def test_a_measurable_goal_is_not_flagged_and_a_closed_or_refused_one_neither(place: Place) -> None:
    for more in ({}, {"lifecycle": "completed", "title": "Rest"}, {"lifecycle": "rejected", "title": "Rest"}):
        whole = GOAL if not more else {"domain": "mobility"}
        goal = place.add("goals", {**whole, **more})
        assert f"Goal/{goal}" not in place.points("goal-not-measurable")


@row("goal", "twin")
def test_what_does_not_measure_the_goal_or_cannot_be_compared_leaves_its_achievement_alone(place: Place) -> None:
    goal = place.add("goals", GOAL)
    version = place.entry("goals", goal)["version"]
    at_riverside(place, 60, "2026-11-18", code=coded(LOINC, "8867-4", "Heart rate"))
    at_riverside(place, 60, "2026-11-18", status="preliminary")
    at_riverside(place, 60, "2026-11-18", valueQuantity={"value": 60, "unit": "steps"})
    at_riverside(place, 60, "2026-12-24")
    entry = place.entry("goals", goal)
    assert (entry["version"], "achievement" in entry) == (version, False)


@row("goal", "twin")
def test_what_a_person_says_of_a_goal_is_not_overruled_by_a_measurement(place: Place) -> None:
    goal = place.add("goals", GOAL | {"achievement": "not-attainable"})
    at_riverside(place, 20, "2026-11-18")
    entry = place.entry("goals", goal)
    assert (entry["achievement"], entry["lifecycle"]) == ("not-attainable", "active")
