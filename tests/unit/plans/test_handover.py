"""Who takes over, and what becomes of it when the discharge is taken back."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.plans import handover
from fhircase.plans.handover import receiver, withdraw
from fhircase.plans.partner import HUB, Partner

MERCY = Partner("mercy", role="hospital", organization="o-mercy", dispositions=("rehab",))
SUNNY = Partner(
    "sunny", title="Sunny Rehab", organization="o-sunny", role="rehab", identifiers=(("urn:npi", "SUNNY1"),), dispositions=("62", "rehab")
)
CARE = Partner("care", organization="o-care", role="home-care", dispositions=("home-with-services",))
TWIN = Partner("twin", role="rehab", dispositions=("62",))
CASE_MANAGEMENT = Partner(HUB, organization="o-hub")
ALL = (CASE_MANAGEMENT, MERCY, SUNNY, CARE)

TABLE: list[tuple[str, tuple[str | None, str | None, str | None], tuple[Partner, ...], tuple[str, str | None]]] = [
    ("the disposition names one", ("rehab", "62", None), ALL, ("partner", "sunny")),
    ("the route names one", ("home-with-services", "06", None), ALL, ("partner", "care")),
    ("the destination names one", ("snf", "03", "SUNNY1"), ALL, ("partner", "sunny")),
    ("the destination by title, however written", ("rehab", "62", " sunny rehab "), ALL, ("partner", "sunny")),
    ("a destination that nobody knows is somebody else", ("rehab", "62", "ELSEWHERE"), ALL, ("unknown", None)),
    ("two receivers of a disposition are no answer", ("rehab", "62", None), (*ALL, TWIN), ("unknown", None)),
    ("home without services is the hub's", ("home", "01", None), ALL, ("hub", None)),
    ("home with a destination that is no partner is the hub's", ("home", "01", "Own flat"), ALL, ("hub", None)),
    ("no receiver for a disposition", ("snf", "03", None), ALL, ("unknown", None)),
    ("no disposition", (None, None, None), ALL, ("unknown", None)),
    ("a disposition that no table knows", (None, "XX", None), ALL, ("unknown", None)),
    ("left against advice", ("against-advice", "07", None), ALL, ("unknown", None)),
    ("death asks nobody", ("died", "20", "SUNNY1"), ALL, ("none", None)),
]


@pytest.mark.parametrize(("said", "partners", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_who_receives(said: tuple[Any, Any, Any], partners: tuple[Partner, ...], expected: tuple[str, str | None]) -> None:
    found = receiver(*said, partners, sender="mercy")
    assert (found.kind, found.partner.name if found.partner else None) == expected
    assert found.why or found.kind == "partner"


def test_the_sender_is_not_its_own_receiver_by_a_table_row() -> None:
    found = receiver("rehab", "62", None, ALL, sender="sunny")
    assert found.partner is not None and found.partner.name == "mercy"


def task(id: str, status: str, visit: str = "v") -> dict[str, Any]:
    made = handover.request(
        id=id,
        client="c",
        encounter=visit,
        plan="p",
        owner={"reference": "Organization/o-sunny"},
        requester={"reference": "Organization/o-mercy"},
        disposition=None,
        at="2026-11-20T19:25:00.000Z",
        answer_by=None,
        label="Take over",
    )
    return {**made, "status": status}


def ids() -> Any:
    made = iter(f"new-{n}" for n in range(1, 99))
    return lambda: next(made)


@pytest.mark.parametrize("status", ["draft", "requested", "received", "ready"])
def test_what_nobody_has_accepted_is_cancelled(status: str) -> None:
    found = withdraw([task("t", status)], encounter="v", reason="the discharge was cancelled", at="2026-11-21T00:00:00.000Z", new_id=ids())
    assert [(t["id"], t["status"], t["statusReason"]["text"]) for t in found.cancelled] == [
        ("t", "cancelled", "the discharge was cancelled")
    ]
    assert not found.asks


@pytest.mark.parametrize("status", ["accepted", "in-progress", "on-hold"])
def test_who_has_accepted_is_asked_to_let_go(status: str) -> None:
    found = withdraw([task("t", status)], encounter="v", reason="the discharge was cancelled", at="2026-11-21T00:00:00.000Z", new_id=ids())
    assert not found.cancelled
    (ask,) = found.asks
    assert (ask["code"]["coding"][0]["code"], ask["focus"], ask["owner"], ask["status"]) == (
        "abort",
        {"reference": "Task/t"},
        {"reference": "Organization/o-sunny"},
        "requested",
    )


@pytest.mark.parametrize("status", ["cancelled", "rejected", "failed", "entered-in-error"])
def test_what_is_over_stays_over(status: str) -> None:
    found = withdraw([task("t", status)], encounter="v", reason="r", at="2026-11-21T00:00:00.000Z", new_id=ids())
    assert found == handover.Withdrawal()


def test_a_completed_hand_over_is_for_a_person() -> None:
    assert withdraw([task("t", "completed")], encounter="v", reason="r", at="x", new_id=ids()).done == ("t",)


def test_the_owner_is_asked_once() -> None:
    accepted = task("t", "accepted")
    (ask,) = withdraw([accepted], encounter="v", reason="r", at="x", new_id=ids()).asks
    assert withdraw([accepted, ask], encounter="v", reason="r", at="x", new_id=ids()) == handover.Withdrawal()


def test_other_visits_hand_overs_are_left_alone() -> None:
    assert withdraw([task("t", "requested", "other")], encounter="v", reason="r", at="x", new_id=ids()) == handover.Withdrawal()


def test_a_task_without_owner_is_a_draft() -> None:
    made = handover.request(
        id="t",
        client="c",
        encounter="v",
        plan=None,
        owner=None,
        requester={"display": "Mercy"},
        disposition=None,
        at="x",
        answer_by="y",
        label="l",
    )
    assert (made["status"], "owner" in made, made["focus"]) == ("draft", False, {"reference": "Encounter/v"})


def test_an_organisation_without_a_record_here_is_named_by_its_number() -> None:
    assert handover.party(Partner("x", title="X", identifiers=(("urn:npi", "1"),)))["identifier"] == {"system": "urn:npi", "value": "1"}
