"""Who may see whose: DECISIONS 2 and 4 as a table."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.plans import grants, membership
from fhircase.plans.change import Grant, Ref
from fhircase.plans.partner import Partner

NOW = 1_790_000_000_000
PARTNERS = [
    Partner("mercy", organization="o-mercy"),
    Partner("rehab", organization="o-rehab"),
    Partner("home", organization="o-home"),
]


def team(*participants: dict[str, Any], status: str = "active") -> dict[str, Any]:
    return {"resourceType": "CareTeam", "status": status, "participant": list(participants)}


def of(organization: str, **period: str) -> dict[str, Any]:
    return {"member": {"reference": f"Organization/{organization}"}, "period": period}


def derive(**given: Any) -> list[Grant]:
    told: dict[str, Any] = {
        "case": "c1", "client": "p1", "team": None, "tasks": [], "episode": {"status": "active"},
        "partners": PARTNERS, "existing": [], "now": NOW, "handover_days": 30,
    }  # fmt: skip
    return grants.derive(**{**told, **given})


def test_an_active_participant_is_a_member_from_its_period_start() -> None:
    made = derive(team=team(of("o-mercy", start="2026-01-02T00:00:00Z")))
    assert made == [Grant("mercy", "p1", "c1", "member", 1_767_312_000_000, None)]


def test_an_organisation_that_is_no_partner_gets_nothing() -> None:
    assert derive(team=team(of("o-stranger"))) == []


def test_a_participation_that_has_ended_gives_nothing() -> None:
    assert derive(team=team(of("o-mercy", end="2020-01-01"))) == []


def test_an_inactive_team_gives_nothing_and_ends_what_was_given() -> None:
    held = Grant("mercy", "p1", "c1", "member", 0, None)
    assert derive(team=team(of("o-mercy"), status="inactive"), existing=[held]) == [Grant("mercy", "p1", "c1", "member", 0, NOW)]


def test_what_stands_already_is_not_granted_again() -> None:
    assert derive(team=team(of("o-mercy")), existing=[Grant("mercy", "p1", "c1", "member", 0, None)]) == []


def test_closing_the_case_leaves_members_the_handover_days() -> None:
    held = Grant("mercy", "p1", "c1", "member", 0, None)
    made = derive(team=team(of("o-mercy")), existing=[held], episode={"status": "finished"})
    assert made == [Grant("mercy", "p1", "c1", "member", 0, NOW + 30 * grants.DAY)]


@pytest.mark.parametrize("status", ["requested", "received"])
def test_the_owner_of_an_unanswered_task_is_invited_to_task_focus_and_client(status: str) -> None:
    task = {"status": status, "owner": {"reference": "Organization/o-rehab"}, "focus": {"reference": "ServiceRequest/s1"}}
    assert {g.item for g in derive(tasks=[("t1", task)])} == {Ref("Task", "t1"), Ref("ServiceRequest", "s1"), Ref("Patient", "p1")}


@pytest.mark.parametrize("status", ["draft", "rejected", "cancelled", "accepted", "completed"])
def test_an_answered_or_unsent_task_invites_nobody(status: str) -> None:
    held = Grant("rehab", "p1", "c1", "invited", 5, None, Ref("Task", "t1"))
    task = {"status": status, "owner": {"reference": "Organization/o-rehab"}}
    assert derive(tasks=[("t1", task)], existing=[held]) == [Grant("rehab", "p1", "c1", "invited", 5, NOW, Ref("Task", "t1"))]


TASK = {
    "status": "accepted",
    "identifier": [{"system": membership.HANDOVER, "value": "x"}],
    "owner": {"reference": "Organization/o-rehab"},
    "requester": {"reference": "Organization/o-mercy"},
}


def test_accepting_a_handover_adds_the_owner_and_lets_the_sender_stay_thirty_days() -> None:
    made = membership.take_over(team(of("o-mercy")), TASK, at=NOW, handover_days=30)
    assert [p["member"]["reference"] for p in made["participant"]] == ["Organization/o-mercy", "Organization/o-rehab"]
    assert made["participant"][0]["period"]["end"] == "2026-10-21T14:13:20.000Z"
    assert made["participant"][1]["period"] == {"start": "2026-09-21T14:13:20.000Z"}
    granted = {g.partner: g.until for g in derive(team=made)}
    assert granted["rehab"] is None
    assert granted["mercy"] == NOW + 30 * grants.DAY + 1


def test_accepting_twice_changes_nothing_more() -> None:
    once = membership.take_over(team(of("o-mercy")), TASK, at=NOW, handover_days=30)
    assert membership.take_over(once, TASK, at=NOW + 5, handover_days=30) == once


def test_only_the_version_that_accepts_counts_as_accepting() -> None:
    assert membership.accepted_now({"status": "requested"}, TASK)
    assert not membership.accepted_now(TASK, {**TASK, "status": "in-progress"})
    assert not membership.accepted_now(None, {**TASK, "status": "requested"})
