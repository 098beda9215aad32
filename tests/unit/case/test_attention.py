"""Every rule calls once for its cause, and not for its negative twin."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest

from fhircase.case import attention
from fhircase.case.attention import RULES, points
from fhircase.case.models import EVERY
from tests.unit.case.support import CLIENT, MANAGER, TODAY, case, changed, guardian

Doc = dict[str, Any]


def model(name: str, **parts: Any) -> Doc:
    return changed("episode", kinds=["medical", name]) | parts


def service(**fields: Any) -> Doc:
    """The quiet case with its service changed."""
    return changed("services", **fields)


def more(name: str, *entries: Doc, doc: Doc | None = None, **parts: Any) -> Doc:
    made = doc or case()
    return made | {name: [*made.get(name, []), *entries]} | parts


GUARDIAN_GOAL = {"set_by": "RelatedPerson/r-1"}
NEED = {"id": "n-2", "kind": "sdoh", "clinical": "active"}
BARRIER = {"id": "b-1", "kind": "barrier", "clinical": "active"}
FLAG = {"id": "f-1", "state": "active", "categories": ["safety", "crisis"], "what": "Suicidal thoughts"}
LOW = {"id": "st-1", "domain": "housing", "level": "crisis", "when": "2026-11-20"}
CONSENT = {"id": "k-1", "state": "active", "by": ["RelatedPerson/r-1"], "given_at": "2026-11-20T10:00:00Z"}
OTHER_GOAL = {**case()["goals"][0], "id": "g-2"}
SOLUTION = {"id": "s-2", "state": "draft", "intent": "proposal", "kind": "support-group", "ordered_by": CLIENT, "goal": "Goal/g-1"}
STRENGTH = {"id": "st-1", "text": "Sings", "domain": "social"}
OVER = {"id": "x", "state": "revoked"}
ENDED = [guardian(until="2026-11-01")]


def but(*domains: str) -> list[Doc]:
    """The quiet case's assessments without those of some domains."""
    return [one for one in case()["assessments"] if one["domain"] not in domains]


def named(name: str, **fields: Any) -> Doc:
    """A further need, and a further entry that names it."""
    return more("needs", NEED, doc=more(name, {"id": "g-3", "needs": ["Condition/n-2"], **fields}))


NURSE = {"role": "nurse", "person": "Practitioner/rn"}
OWN = {"provider": ["Organization/hub"]}

CAUSES: list[tuple[str, str, str, Doc]] = [
    ("no-accountable-owner", "nobody is named", "EpisodeOfCare/ep-1", changed("episode", manager=None) | {"team": {}}),
    ("no-accountable-owner", "the manager is away", "EpisodeOfCare/ep-1",
     case(team={"members": [{"role": "case-manager", "person": MANAGER, "until": "2026-11-20"}]})),
    ("crisis-without-plan", "no plan", "Flag/f-1", case(flags=[FLAG])),
    ("crisis-without-plan", "a domain in crisis", "domain:housing", case(stability=[LOW])),
    ("stability-dropped", "worse than before", "domain:housing",
     case(crisis_plans=[{"id": "x", "state": "active"}], stability=[LOW, LOW | {"level": "stable", "when": "2026-11-10"}])),
    ("family-link-strained", "the latest word", "RelatedPerson/r",
     case(family_links=[{"about": ["RelatedPerson/r"], "link": "strained", "when": "2026-11-20"},
                        {"about": ["RelatedPerson/r"], "link": "strong", "when": "2026-11-10"}])),
    ("crisis-without-plan", "a plan that is no longer in force", "Flag/f-1", case(flags=[FLAG], crisis_plans=[OVER])),
    ("crisis-without-plan", "a plan that has ended", "Flag/f-1",
     case(flags=[FLAG], crisis_plans=[{"id": "x", "state": "active", "ends": "2026-11-24"}])),
    ("consent-without-authority", "an ended guardian", "Consent/k-1", case(consents=[CONSENT], contacts=ENDED)),
    ("consent-without-authority", "a daughter", "Consent/k-1", case(consents=[CONSENT], contacts=[guardian(relationship="daughter")])),
    ("consent-without-authority", "a stranger", "Consent/k-1", case(consents=[CONSENT])),
    ("order-without-decision", "nobody decided", "ServiceRequest/s-1", case(decisions=[])),
    ("order-without-decision", "equipment", "DeviceRequest/e-1",
     case(equipment=[{"id": "e-1", "state": "active", "intent": "order", "needs": ["Condition/n-1"]}])),
    ("goal-by-ended-guardian", "ended", "Goal/g-2", more("goals", OTHER_GOAL | GUARDIAN_GOAL, contacts=ENDED)),
    ("goal-by-ended-guardian", "not begun", "Goal/g-2",
     more("goals", OTHER_GOAL | GUARDIAN_GOAL, contacts=[guardian(since="2026-11-21")])),
    ("goal-by-ended-guardian", "no longer active", "Goal/g-2",
     more("goals", OTHER_GOAL | GUARDIAN_GOAL, contacts=[guardian(active=False)])),
    ("plan-without-client-goal", "the case manager's", "CarePlan/p-1", changed("goals", set_by=MANAGER)),
    ("plan-without-client-goal", "given up", "CarePlan/p-1", changed("goals", lifecycle="cancelled")),
    ("plan-without-client-goal", "a son's", "CarePlan/p-1",
     changed("goals", **GUARDIAN_GOAL) | {"contacts": [guardian(relationship="son")]}),
    ("need-unmet", "named nowhere", "Condition/n-2", more("needs", NEED)),
    ("need-unmet", "only by a goal given up", "Condition/n-2",
     named("goals", lifecycle="cancelled")),
    ("need-unmet", "only by a goal that failed", "Condition/n-2",
     named("goals", lifecycle="completed", achievement="not-achieved")),
    ("need-unmet", "only by a revoked service", "Condition/n-2",
     named("services", state="revoked", intent="order")),
    ("barrier-without-activity", "nothing", "Condition/b-1", more("needs", BARRIER)),
    ("barrier-without-activity", "only a cancelled task", "Condition/b-1",
     more("needs", BARRIER, tasks=[{"id": "k", "state": "cancelled", "focus": "Condition/b-1"}])),
    ("service-without-purpose", "a service", "ServiceRequest/s-2", more("services", {**SOLUTION, "goal": None})),
    ("service-without-purpose", "equipment", "DeviceRequest/e-1", case(equipment=[{"id": "e-1", "state": "draft", "intent": "proposal"}])),
    ("own-service-in-brokerage", "by the organisation", "ServiceRequest/s-1", model("brokerage", services=service(**OWN)["services"])),
    ("own-service-in-brokerage", "by the manager", "ServiceRequest/s-1",
     model("brokerage", services=service(provider=[MANAGER])["services"])),
    ("no-own-activity", "others do it all", "EpisodeOfCare/ep-1", model("direct-service")),
    ("no-own-activity", "what was not done", "EpisodeOfCare/ep-1",
     model("direct-service", procedures=[{"id": "x", "state": "not-done", "performers": [{"person": MANAGER}]}])),
    ("no-strengths", "none", "EpisodeOfCare/ep-1", model("strengths-based", services=[*case()["services"], SOLUTION])),
    ("no-client-solution", "none", "EpisodeOfCare/ep-1", model("strengths-based", strengths=[STRENGTH])),
    ("no-client-solution", "given up", "EpisodeOfCare/ep-1",
     model("strengths-based", strengths=[STRENGTH], services=[*case()["services"], SOLUTION | {"state": "revoked"}])),
    ("goal-not-measurable", "no due date", "Goal/g-1", changed("goals", due=None)),
    ("goal-not-measurable", "words alone", "Goal/g-2", more("goals", {"id": "g-2", "title": "Be well", "lifecycle": "proposed"})),
    ("domain-unassessed", "by every case", "domain:financial", case(assessments=but("financial"))),
    ("domain-unassessed", "by the kind", "domain:medication", case(assessments=but("medication"))),
    ("domain-unassessed", "cancelled", "domain:social",
     case(assessments=[a | ({"state": "cancelled"} if a["domain"] == "social" else {}) for a in case()["assessments"]])),
]  # fmt: skip

TWINS: list[tuple[str, str, Doc]] = [
    ("no-accountable-owner", "covered", case(team={"members": [
        {"role": "case-manager", "person": MANAGER, "until": "2026-11-20"},
        {"role": "cover", "person": "Practitioner/cm-8", "since": "2026-11-20", "until": "2026-11-30"}]})),
    ("crisis-without-plan", "with a plan", case(flags=[FLAG], crisis_plans=[{"id": "x", "state": "active"}])),
    ("crisis-without-plan", "the flag is down", case(flags=[FLAG | {"state": "inactive"}])),
    ("crisis-without-plan", "the flag has ended", case(flags=[FLAG | {"until": "2026-11-24"}])),
    ("stability-dropped", "better than before", case(stability=[LOW | {"when": "2026-11-10"}, LOW | {"level": "stable"}])),
    ("stability-dropped", "a word alone", case(stability=[LOW | {"level": "vulnerable"}])),
    ("stability-dropped", "another domain",
     case(stability=[LOW | {"level": "vulnerable"}, LOW | {"domain": "financial", "level": "stable", "when": "2026-11-10"}])),
    ("family-link-strained", "mended since",
     case(family_links=[{"about": ["RelatedPerson/r"], "link": "strained", "when": "2026-11-10"},
                        {"about": ["RelatedPerson/r"], "link": "supportive", "when": "2026-11-20"}])),
    ("family-link-strained", "entered in error",
     case(family_links=[{"about": ["RelatedPerson/r"], "link": "ended", "state": "entered-in-error"}])),
    ("crisis-without-plan", "a dog in the yard", case(flags=[FLAG | {"categories": ["safety"]}])),
    ("crisis-without-plan", "no longer in crisis", case(stability=[LOW, LOW | {"id": "st-2", "level": "stable", "when": "2026-11-21"}])),
    ("crisis-without-plan", "a flag of another kind", case(flags=[FLAG | {"categories": ["diet"]}])),
    ("consent-without-authority", "a valid guardian", case(consents=[CONSENT], contacts=[guardian()])),
    ("consent-without-authority", "a guardian of then", case(consents=[CONSENT], contacts=[guardian(until="2026-11-20")])),
    ("consent-without-authority", "the client", case(consents=[CONSENT | {"by": [CLIENT]}])),
    ("consent-without-authority", "a consent that was taken back", case(consents=[CONSENT | {"state": "inactive"}])),
    ("order-without-decision", "a proposal", service(intent="proposal", state="draft") | {"decisions": []}),
    ("order-without-decision", "the client's own", service(ordered_by=CLIENT) | {"decisions": []}),
    ("goal-by-ended-guardian", "valid then", more("goals", OTHER_GOAL | GUARDIAN_GOAL, contacts=[guardian(until="2026-11-20")])),
    ("goal-by-ended-guardian", "a daughter who was never one",
     more("goals", OTHER_GOAL | GUARDIAN_GOAL, contacts=[guardian(relationship="daughter", until="2020")])),
    ("goal-by-ended-guardian", "a goal given up",
     more("goals", OTHER_GOAL | GUARDIAN_GOAL | {"lifecycle": "cancelled"}, contacts=ENDED)),
    ("plan-without-client-goal", "a guardian's", changed("goals", **GUARDIAN_GOAL) | {"contacts": [guardian()]}),
    ("plan-without-client-goal", "a plan that is over", changed("goals", set_by=MANAGER) | {"plan": {"id": "p-1", "state": "completed"}}),
    ("plan-without-client-goal", "no plan", changed("goals", set_by=MANAGER) | {"plan": {}}),
    ("need-unmet", "resolved", more("needs", NEED | {"clinical": "resolved"})),
    ("need-unmet", "refuted", more("needs", NEED | {"verification": "refuted"})),
    ("need-unmet", "a diagnosis of a visit", more("needs", NEED | {"kind": "encounter-diagnosis"})),
    ("need-unmet", "by a service", more("needs", NEED, doc=service(needs=["Condition/n-1", "Condition/n-2"]))),
    ("need-unmet", "by a goal that was reached",
     named("goals", lifecycle="completed", achievement="achieved")),
    ("need-unmet", "the client refused the goal",
     named("goals", lifecycle="rejected")),
    ("barrier-without-activity", "a task",
     more("needs", BARRIER, tasks=[{"id": "k", "state": "requested", "reason_for": "Condition/b-1"}])),
    ("barrier-without-activity", "a service", more("needs", BARRIER, doc=service(needs=["Condition/n-1", "Condition/b-1"]))),
    ("barrier-without-activity", "gone", more("needs", BARRIER | {"clinical": "inactive"})),
    ("service-without-purpose", "a goal", more("services", SOLUTION)),
    ("service-without-purpose", "what it rests on", more("services", SOLUTION | {"goal": None, "based_on": ["ServiceRequest/s-1"]})),
    ("service-without-purpose", "revoked", more("services", SOLUTION | {"goal": None, "state": "revoked"})),
    ("service-without-purpose", "not to be done", more("services", SOLUTION | {"goal": None, "not_wanted": True})),
    ("own-service-in-brokerage", "others", model("brokerage")),
    ("own-service-in-brokerage", "a proposal", model("brokerage", services=service(**OWN, intent="proposal")["services"])),
    ("own-service-in-brokerage", "another model", service(**OWN)),
    ("no-own-activity", "a service", model("direct-service", services=service(**OWN)["services"])),
    ("no-own-activity", "done by the manager",
     model("direct-service", procedures=[{"id": "x", "state": "completed", "performers": [{"person": MANAGER}]}])),
    ("no-own-activity", "done for the organisation", model("direct-service", procedures=[
        {"id": "x", "state": "completed", "performers": [{"person": "Practitioner/x", "on_behalf_of": "Organization/hub"}]}])),
    ("no-strengths", "one", model("strengths-based", strengths=[STRENGTH], services=[*case()["services"], SOLUTION])),
    ("no-strengths", "another model", model("intensive")),
    ("no-client-solution", "one", model("strengths-based", strengths=[STRENGTH], services=[*case()["services"], SOLUTION])),
    ("no-client-solution", "another model", model("brokerage")),
    ("goal-not-measurable", "resolved", changed("goals", due=None, lifecycle="completed", achievement="achieved")),
    ("goal-not-measurable", "refused", more("goals", {"id": "g-2", "lifecycle": "active", "acceptance": "disagree"})),
    ("domain-unassessed", "said why not", case(assessments=[
        a | ({"text": None, "not_assessed": "tired"} if a["domain"] == "social" else {}) for a in case()["assessments"]])),
    ("domain-unassessed", "by how stable it is", case(
        assessments=but("social"),
        stability=[{"id": "y", "domain": "social", "level": "stable"}])),
]  # fmt: skip


def told(doc: Doc, **given: Any) -> list[tuple[str, str]]:
    return [(point.rule, point.about) for point in points(doc, TODAY, **given)]


def test_nothing_calls_in_a_quiet_case() -> None:
    assert points(case(), TODAY) == []


@pytest.mark.parametrize(("rule", "about", "doc"), [(r, a, d) for r, _, a, d in CAUSES], ids=[f"{r}: {n}" for r, n, *_ in CAUSES])
def test_a_cause_calls_once_and_for_nothing_else(rule: str, about: str, doc: Doc) -> None:
    assert told(doc) == [(rule, about)]


@pytest.mark.parametrize(("rule", "doc"), [(r, d) for r, _, d in TWINS], ids=[f"{r}: {n}" for r, n, _ in TWINS])
def test_the_negative_twin_does_not_call(rule: str, doc: Doc) -> None:
    assert told(doc) == []


@pytest.mark.parametrize("held", [[], [{"what": "Cook"}], [{"what": "RN", "until": "2026-11-24"}]])
def test_a_team_member_without_the_qualification_calls(held: list[Doc]) -> None:
    doc = case()
    doc["team"]["members"].append(NURSE)
    assert told(doc, qualifications={"Practitioner/rn": held}) == [("qualification-lacking", "Practitioner/rn")]


def test_a_team_member_with_the_qualification_or_of_whom_nothing_is_known_does_not_call() -> None:
    doc = case()
    doc["team"]["members"].append(NURSE)
    assert told(doc, qualifications={"Practitioner/rn": [{"what": "Registered nurse", "until": "2026-11-25"}]}) == []
    assert told(doc) == []


def test_people_of_the_own_organisation_and_those_named_are_own() -> None:
    doc = model("brokerage", services=service(provider=["Practitioner/x"])["services"])
    assert told(doc) == []
    assert told(doc, own=["Practitioner/x"]) == [("own-service-in-brokerage", "ServiceRequest/s-1")]
    doc["team"]["members"].append({"role": "counselor", "person": "Practitioner/x", "on_behalf_of": "Organization/hub"})
    assert told(doc) == [("own-service-in-brokerage", "ServiceRequest/s-1")]


def test_every_rule_has_a_cause_and_a_negative_twin() -> None:
    names = {rule.name for rule in RULES}
    assert {rule for rule, *_ in CAUSES} | {"qualification-lacking"} == names
    assert {rule for rule, *_ in TWINS} | {"qualification-lacking"} == names


def test_the_table_in_the_module_is_the_table_of_the_rules() -> None:
    written = re.findall(r"^    ([a-z-]+) +(high|medium|low) +\S", attention.__doc__ or "", re.MULTILINE)
    assert written == [(rule.name, rule.severity) for rule in RULES]


def test_a_point_says_what_and_what_to_do_without_the_values_of_the_record() -> None:
    for _, _, _, doc in CAUSES:
        for point in points(doc, TODAY):
            assert point.what and point.hint
            for value in ("Weak legs", "Walk 50 feet", "Suicidal", "Ortiz", "Kim Lee"):
                assert value not in point.what + point.hint


def test_points_stand_in_the_order_of_the_table_and_do_not_change() -> None:
    doc = case(decisions=[], assessments=[], flags=[FLAG], team={})
    doc["goals"][0]["due"] = None
    doc["needs"].append(NEED)
    found = points(doc, TODAY)
    order = [rule.name for rule in RULES]
    assert [order.index(point.rule) for point in found] == sorted(order.index(point.rule) for point in found)
    assert len({(point.rule, point.about) for point in found}) == len(found)
    assert points(doc, TODAY) == found
    assert [point.about for point in found if point.rule == "domain-unassessed"] == [f"domain:{d}" for d in (*EVERY.domains, "medication")]


def test_a_point_closes_by_itself_when_its_cause_is_gone() -> None:
    doc = more("needs", NEED)
    assert told(doc) == [("need-unmet", "Condition/n-2")]
    doc["goals"][0]["needs"].append("Condition/n-2")
    assert told(doc) == []


def test_a_closed_case_calls_for_nothing() -> None:
    doc = more("needs", NEED)
    for fields in ({"phase": "closed", "state": "finished"}, {"state": "cancelled"}, {"state": "entered-in-error"}):
        assert told(doc | {"episode": {**doc["episode"], **fields}}) == []


def test_what_was_entered_in_error_counts_for_nothing() -> None:
    wrong = [{**one, "id": f"x-{one['id']}", "lifecycle": "entered-in-error", "set_by": MANAGER, "due": None} for one in case()["goals"]]
    assert told(more("goals", *wrong)) == []


def test_the_document_is_not_changed() -> None:
    doc = more("needs", NEED, decisions=[])
    before = deepcopy(doc)
    points(doc, TODAY)
    assert doc == before


@pytest.mark.parametrize("odd", [None, 7, "x", [], {}, [None], ["x"], [[]], [{}], [{"id": 3, "state": [], "lifecycle": {}, "needs": 5}]])
def test_a_document_of_odd_shapes_is_read_without_falling(odd: Any) -> None:
    for name in [*case(), "equipment", "flags", "consents", "procedures", "strengths", "crisis_plans", "loops", "tasks", "stability"]:
        points({**case(), name: odd}, TODAY)
