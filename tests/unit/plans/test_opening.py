"""What a discharge opens: one case, one plan, proposals, one hand-over."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.fhir import checks
from fhircase.plans import handover, opening
from fhircase.plans.opening import DAY, Discharge, KnownCase, Proposal, on_admission, on_discharge, standing
from fhircase.plans.partner import HUB, Partner

NOW = 1_000 * DAY
MERCY = Partner("mercy", title="Mercy", organization="o-mercy")
SUNNY = Partner("sunny", title="Sunny", organization="o-sunny", dispositions=("rehab",))
CASE_MANAGEMENT = Partner(HUB, title="County", organization="o-hub")
GOAL = {"resourceType": "Goal", "lifecycleStatus": "active", "description": {"text": "Walk 50 feet"}, "subject": {"reference": "Patient/x"}}
SERVICE = {"resourceType": "ServiceRequest", "status": "active", "intent": "order", "code": {"text": "Physiotherapy"}}
PROPOSAL = Proposal("general/rehab", (GOAL,), (SERVICE,))


def new_ids() -> Any:
    made = iter(f"n{n}" for n in range(1, 99))
    return lambda: next(made)


def discharge(route: str | None = "rehab", **other: Any) -> Discharge:
    found = handover.receiver(route, None, None, (CASE_MANAGEMENT, MERCY, SUNNY), sender="mercy")
    return Discharge(
        **{
            "client": "c",
            "encounter": "v",
            "at": NOW,
            "when": "2026-11-20T14:25:00-05:00",
            "now": "2026-11-20T19:30:00.000Z",
            "answer_by": "2026-11-22T19:30:00.000Z",
            "route": route,
            "disposition": {"text": str(route)},
            "sender": MERCY,
            "hub": CASE_MANAGEMENT,
            "receiver": found,
            "conditions": ("Condition/d",),
            "attending": ("Practitioner/dr",),
            **other,
        }
    )


def bodies(opened: opening.Opened) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for write in opened.writes:
        assert write.body is not None
        found.setdefault(write.type, []).append(write.body)
    return found


STANDINGS: list[tuple[str, tuple[KnownCase, ...], tuple[str, str | None, str | None]]] = [
    ("no case", (), ("new", None, None)),
    ("one open case", (KnownCase("e", True),), ("join", "e", None)),
    ("one open, one closed", (KnownCase("e", True), KnownCase("f", False, closed=NOW - DAY)), ("join", "e", None)),
    ("several open cases", (KnownCase("e", True), KnownCase("f", True)), ("several", None, None)),
    ("a sensitive case is never joined", (KnownCase("e", True, sensitive=True),), ("new", None, None)),
    ("a sensitive one beside an open one", (KnownCase("s", True, sensitive=True), KnownCase("e", True)), ("join", "e", None)),
    ("closed 30 days ago", (KnownCase("e", False, closed=NOW - 30 * DAY, plan="p"),), ("returned", "e", None)),
    ("closed 31 days ago", (KnownCase("e", False, closed=NOW - 31 * DAY, plan="p"),), ("new", None, "p")),
    ("a sensitive case that was closed is not named", (KnownCase("e", False, sensitive=True, closed=NOW - DAY),), ("new", None, None)),
]


@pytest.mark.parametrize(("cases", "expected"), [row[1:] for row in STANDINGS], ids=[row[0] for row in STANDINGS])
def test_where_an_event_belongs(cases: tuple[KnownCase, ...], expected: tuple[str, str | None, str | None]) -> None:
    found = standing(cases, NOW)
    assert (found.kind, found.case.id if found.case else None, found.replaces) == expected


def test_a_discharge_opens_one_case_with_all_that_belongs_to_it() -> None:
    opened = on_discharge(standing((), NOW), discharge(), PROPOSAL, new_ids(), opens=True)
    made = bodies(opened)
    assert {name: len(found) for name, found in made.items()} == {
        "EpisodeOfCare": 1,
        "CarePlan": 1,
        "CareTeam": 1,
        "Goal": 1,
        "ServiceRequest": 1,
        "Task": 1,
    }
    (plan,), (episode,), (team,), (task,) = made["CarePlan"], made["EpisodeOfCare"], made["CareTeam"], made["Task"]
    assert (plan["status"], plan["intent"], plan["category"][0]["coding"][0]["code"]) == ("active", "plan", "assess-plan")
    assert plan["identifier"] == [{"system": "urn:fhircase:plan", "value": plan["id"]}]
    assert plan["goal"] == [{"reference": f"Goal/{made['Goal'][0]['id']}"}]
    assert plan["activity"] == [{"reference": {"reference": f"ServiceRequest/{made['ServiceRequest'][0]['id']}"}}]
    assert plan["addresses"] == [{"reference": "Condition/d"}]
    assert episode["id"] == opened.case
    assert [p["member"].get("reference") for p in team["participant"]] == ["Organization/o-hub", "Organization/o-mercy", "Practitioner/dr"]
    assert (task["status"], task["owner"]["reference"], task["focus"]) == (
        "requested",
        "Organization/o-sunny",
        {"reference": f"CarePlan/{plan['id']}"},
    )
    assert opened.reviews == ()
    assert {write.case for write in opened.writes} == {opened.case}
    assert {write.creator for write in opened.writes} == {HUB}


def test_everything_that_is_opened_passes_the_checks() -> None:
    for route in ("rehab", "home", None):
        for write in on_discharge(standing((), NOW), discharge(route), PROPOSAL, new_ids(), opens=True).writes:
            assert [p for p in checks.check(write.body) if p.severity == "error"] == []


def test_a_discharge_orders_nothing() -> None:
    made = bodies(on_discharge(standing((), NOW), discharge(), PROPOSAL, new_ids(), opens=True))
    assert [g["lifecycleStatus"] for g in made["Goal"]] == ["proposed"]
    assert [(s["intent"], s["status"]) for s in made["ServiceRequest"]] == [("proposal", "draft")]


def test_the_care_manager_is_named_in_case_and_team_and_owns_the_way_home() -> None:
    made = bodies(on_discharge(standing((), NOW), discharge("home", care_manager="Practitioner/cm"), PROPOSAL, new_ids(), opens=True))
    assert made["EpisodeOfCare"][0]["careManager"] == {"reference": "Practitioner/cm"}
    assert "Practitioner/cm" in [p["member"].get("reference") for p in made["CareTeam"][0]["participant"]]
    assert made["Task"][0]["owner"] == {"reference": "Practitioner/cm"}


def test_without_a_disposition_the_hand_over_is_a_draft_and_a_person_is_asked() -> None:
    opened = on_discharge(standing((), NOW), discharge(None), Proposal(""), new_ids(), opens=True)
    (task,) = bodies(opened)["Task"]
    assert (task["status"], "owner" in task) == ("draft", False)
    assert [(r.kind, r.subject.id if r.subject else None) for r in opened.reviews] == [("destination", task["id"])]


def test_death_opens_nothing() -> None:
    assert on_discharge(standing((), NOW), discharge("died"), PROPOSAL, new_ids(), opens=True) == opening.Opened(None)


def test_death_with_an_open_case_asks_to_close_it_and_hands_nothing_over() -> None:
    opened = on_discharge(standing((KnownCase("e", True, plan="p"),), NOW), discharge("died"), PROPOSAL, new_ids(), opens=True)
    assert (opened.case, [r.kind for r in opened.reviews], [w.type for w in opened.writes]) == ("e", ["closing"], [])


def test_a_sender_that_opens_no_case_opens_none() -> None:
    assert on_discharge(standing((), NOW), discharge(), PROPOSAL, new_ids(), opens=False) == opening.Opened(None)


def test_a_further_discharge_adds_a_transition_to_the_same_plan() -> None:
    opened = on_discharge(standing((KnownCase("e", True, plan="p", team="t"),), NOW), discharge(), PROPOSAL, new_ids(), opens=True)
    assert opened.case == "e"
    (task,) = bodies(opened)["Task"]
    assert task["focus"] == {"reference": "CarePlan/p"}
    assert set(bodies(opened)) == {"Task"}


def test_the_discharging_organisation_joins_the_team_once() -> None:
    case = KnownCase("e", True, plan="p", team="t")
    team: dict[str, Any] = {"resourceType": "CareTeam", "id": "t", "participant": [{"member": {"reference": "Organization/o-hub"}}]}
    (added,) = bodies(on_discharge(standing((case,), NOW), discharge(), PROPOSAL, new_ids(), opens=True, team=team))["CareTeam"]
    assert [p["member"]["reference"] for p in added["participant"]] == ["Organization/o-hub", "Organization/o-mercy"]
    again = on_discharge(standing((case,), NOW), discharge(), PROPOSAL, new_ids(), opens=True, team=added)
    assert "CareTeam" not in bodies(again)


def test_a_return_soon_after_closure_proposes_reopening_and_still_makes_the_hand_over() -> None:
    opened = on_discharge(standing((KnownCase("e", False, closed=NOW - DAY),), NOW), discharge(), PROPOSAL, new_ids(), opens=True)
    assert opened.case is None
    assert [(r.kind, r.detail["proposal"], r.detail["candidates"]) for r in opened.reviews] == [("which-case", "reopen", ["e"])]
    assert [(t["status"], "owner" in t) for t in bodies(opened)["Task"]] == [("draft", False)]


def test_a_later_return_opens_a_plan_that_replaces_the_earlier() -> None:
    opened = on_discharge(
        standing((KnownCase("e", False, closed=NOW - 31 * DAY, plan="p"),), NOW), discharge(), PROPOSAL, new_ids(), opens=True
    )
    assert bodies(opened)["CarePlan"][0]["replaces"] == [{"reference": "CarePlan/p"}]


def test_several_open_cases_are_a_persons_choice() -> None:
    opened = on_discharge(standing((KnownCase("e", True), KnownCase("f", True)), NOW), discharge(), PROPOSAL, new_ids(), opens=True)
    assert (opened.case, [r.detail["candidates"] for r in opened.reviews]) == (None, [["e", "f"]])


def test_an_admission_joins_the_sender_only_when_the_number_was_linked() -> None:
    case = standing((KnownCase("e", True, plan="p", team="t"),), NOW)
    team: dict[str, Any] = {"resourceType": "CareTeam", "id": "t", "participant": []}
    assert on_admission(case, discharge(), new_ids(), opens=False, linked=False, team=team).writes == ()
    assert len(on_admission(case, discharge(), new_ids(), opens=False, linked=True, team=team).writes) == 1


def test_an_admission_that_opens_a_case_hands_nothing_over() -> None:
    opened = on_admission(standing((), NOW), discharge(None), new_ids(), opens=True, linked=False)
    assert {w.type for w in opened.writes} == {"EpisodeOfCare", "CareTeam", "CarePlan"}


def test_the_visit_is_linked_to_the_case_once() -> None:
    once = opening.link_episode({"resourceType": "Encounter"}, "e")
    assert opening.link_episode(once, "e") is once
