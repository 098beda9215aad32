"""Closing asks; a client who withdraws, or has died, is never held."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.case import closing
from fhircase.case.closing import REASONS, Closing, ask
from fhircase.case.lifecycle import move
from tests.unit.case.support import MANAGER, NEW, case, changed

MET = Closing("goals-met", "walks again", "independent")


def resolved(**parts: Any) -> dict[str, Any]:
    """A case in evaluation of which nothing is open."""
    doc = changed("episode", phase="evaluation")
    doc["goals"][0] |= {"lifecycle": "completed", "achievement": "achieved"}
    doc["services"][0]["state"] = "completed"
    doc["loops"] = [{"id": "l-1", "focus": "ServiceRequest/s-1", "state": "completed"}]
    doc["handovers"] = [{"id": "h-1", "state": "accepted", "owner": "Organization/o-2", "made": "2026-11-20T10:00:00Z"}]
    return doc | parts


def asked(doc: dict[str, Any], said: Closing = MET) -> list[tuple[str, str]]:
    return [(problem.path, problem.what) for problem in ask(doc, said)]


def test_a_case_of_which_nothing_is_open_closes() -> None:
    assert asked(resolved()) == []
    moved = move(resolved(), "closed", by=MANAGER, at=NEW, why="done", closing=MET)
    wanted = {"phase": "closed", "state": "finished", "closed": NEW, "closed_because": "goals-met", "outcome": "walks again",
              "destination": "independent"}  # fmt: skip
    assert {name: moved.episode[name] for name in wanted} == wanted
    assert moved.open == ()


OPEN: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "a goal under way": ({"goals": [{"id": "g", "lifecycle": "active"}]}, ("/goals/g", "this goal is not resolved")),
    "a goal that nobody agreed to": ({"goals": [{"id": "g", "lifecycle": "proposed"}]}, ("/goals/g", "this goal is not resolved")),
    "a completed goal that does not say more": (
        {"goals": [{"id": "g", "lifecycle": "completed"}]},
        ("/goals/g", "this goal is completed without saying whether it was achieved"),
    ),
    "a goal cancelled without a reason": (
        {"goals": [{"id": "g", "lifecycle": "cancelled"}]},
        ("/goals/g", "this goal was cancelled without a reason"),
    ),
    "a loop under way": ({"loops": [{"id": "l", "state": "in-progress"}]}, ("/loops/l", "this loop is open")),
    "an order without a loop": (
        {"services": [{"id": "s", "state": "active", "intent": "order"}], "loops": []},
        ("/services/s", "this was ordered and nobody has done it"),
    ),
    "an order whose loop was rejected": (
        {"equipment": [{"id": "e", "state": "active", "intent": "order"}],
         "loops": [{"id": "l", "focus": "DeviceRequest/e", "state": "rejected"}]},
        ("/equipment/e", "this was ordered and nobody has done it"),
    ),
    "an order that was tried and not done": (
        {"services": [{"id": "s", "state": "active", "intent": "order"}], "loops": [],
         "procedures": [{"id": "p", "state": "not-done", "based_on": ["ServiceRequest/s"]}]},
        ("/services/s", "this was ordered and nobody has done it"),
    ),
    "a hand-over that nobody has accepted": (
        {"handovers": [{"id": "h", "state": "requested", "owner": "Organization/o"}]},
        ("/handovers/h", "this hand-over is not accepted"),
    ),
}  # fmt: skip

RESOLVED: dict[str, dict[str, Any]] = {
    "a goal cancelled with a reason": {"goals": [{"id": "g", "lifecycle": "cancelled", "achievement_reason": "moved in with sister"}]},
    "a goal not achieved": {"goals": [{"id": "g", "lifecycle": "completed", "achievement": "not-achieved"}]},
    "a goal that the client rejected": {"goals": [{"id": "g", "lifecycle": "rejected"}]},
    "a goal entered in error": {"goals": [{"id": "g", "lifecycle": "entered-in-error"}]},
    "a proposal that nobody ordered": {"services": [{"id": "s", "state": "draft", "intent": "proposal"}]},
    "a service that goes on and whose loop is closed": {
        "services": [{"id": "s", "state": "active", "intent": "order"}],
        "loops": [{"id": "l", "focus": "ServiceRequest/s", "state": "completed"}],
    },
    "a service done by the own people": {
        "services": [{"id": "s", "state": "active", "intent": "order"}],
        "procedures": [{"id": "p", "state": "completed", "based_on": ["ServiceRequest/s"]}],
    },
    "a hand-over that was called off": {"handovers": [{"id": "h", "state": "cancelled"}]},
}


@pytest.mark.parametrize("name", OPEN)
def test_what_is_open_stops_a_closing_and_says_where(name: str) -> None:
    parts, told = OPEN[name]
    assert asked(resolved(**parts)) == [told]
    assert move(resolved(**parts), "closed", by=MANAGER, at=NEW, why="done", closing=MET).episode == {}


@pytest.mark.parametrize("name", RESOLVED)
def test_what_is_resolved_does_not_stop_a_closing(name: str) -> None:
    assert asked(resolved(**RESOLVED[name])) == []


@pytest.mark.parametrize("because", ["withdrew", "died"])
@pytest.mark.parametrize("phase", ["intake", "assessment", "planning", "implementation", "monitoring", "evaluation"])
def test_a_client_who_withdraws_or_has_died_always_closes_and_what_is_open_is_listed(because: str, phase: str) -> None:
    doc = changed("episode", phase=phase) | {name: value for parts, _ in OPEN.values() for name, value in parts.items()}
    moved = move(doc, "closed", by=MANAGER, at=NEW, why="asked to", closing=Closing(because))
    assert (moved.problems, moved.episode["closed_because"]) == ((), because)
    assert moved.open and {problem.severity for problem in moved.open} == {"information"}
    assert {problem.path for problem in moved.open} >= {"/handovers/h", "/services/s"}


@pytest.mark.parametrize("because", [name for name, row in REASONS.items() if row.enforced])
def test_every_other_reason_asks_for_what_is_open(because: str) -> None:
    doc = resolved(loops=[{"id": "l", "state": "in-progress"}])
    assert ("/loops/l", "this loop is open") in asked(doc, Closing(because, "ok", "independent"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Closing("", "ok", "independent"), ("/because", "the reason to close is missing")),
        (Closing("bored", "ok", "independent"), ("/because", "no such reason to close")),
        (Closing("goals-met", " ", "independent"), ("/outcome", "the outcome is missing")),
        (Closing("goals-met", "ok", ""), ("/destination", "the destination is missing")),
        (Closing("goals-met", "ok", "the moon"), ("/destination", "no such destination")),
    ],
)
def test_reason_outcome_and_destination_are_asked_for(said: Closing, told: tuple[str, str]) -> None:
    assert asked(resolved(), said) == [told]


def test_a_client_who_was_lost_needs_neither_outcome_nor_destination() -> None:
    assert asked(resolved(), Closing("lost-contact")) == []


@pytest.mark.parametrize(
    ("handovers", "accepted"),
    [
        ([], False),
        ([{"id": "h", "state": "rejected", "owner": "Organization/o-2"}], False),
        ([{"id": "h", "state": "accepted"}], False),
        ([{"id": "h", "state": "accepted", "owner": "Organization/o-2"}], True),
        ([{"id": "h", "state": "completed", "owner": "Organization/o-2"}], True),
    ],
)
def test_maintenance_care_and_transfer_need_an_accepted_owner(handovers: list[dict[str, str]], accepted: bool) -> None:
    for said in (Closing("goals-met", "ok", "maintenance-care"), Closing("transferred", "ok", "other-agency")):
        assert (asked(resolved(handovers=handovers), said) == []) == accepted
    assert asked(resolved(handovers=handovers), Closing("goals-met", "ok", "other-agency")) == []


def test_an_accepted_hand_over_of_long_ago_is_not_who_cares_on_now() -> None:
    old = {"id": "h-1", "state": "accepted", "owner": "Organization/o-1", "made": "2026-10-01"}
    new = {"id": "h-2", "state": "accepted", "owner": "Organization/o-2", "made": "2026-11-20T10:00:00Z"}
    for order in ([old, new], [new, old]):
        doc = resolved(handovers=order)
        assert asked(doc, Closing("goals-met", "ok", "maintenance-care", "Organization/o-2")) == []
        assert asked(doc, Closing("goals-met", "ok", "maintenance-care", "Organization/o-1")) == [
            ("/destination", "nobody has accepted to care on")
        ]


def test_goals_met_is_found_at_evaluation_and_other_reasons_anywhere() -> None:
    doc = resolved()
    doc["episode"]["phase"] = "monitoring"
    said = {"by": MANAGER, "at": NEW, "why": "done"}
    assert [p.path for p in move(doc, "closed", closing=MET, **said).problems] == ["/because"]
    assert move(doc, "closed", closing=Closing("moved", "ok", "other-agency"), **said).problems == ()


def test_a_client_who_is_not_eligible_closes_at_intake() -> None:
    doc = case(goals=[], services=[], needs=[])
    doc["episode"]["phase"] = "intake"
    moved = move(doc, "closed", by=MANAGER, at=NEW, why="lives elsewhere", closing=Closing("not-eligible"))
    assert (moved.problems, moved.episode["state"]) == ((), "cancelled")


def test_every_reason_and_destination_says_what_it_means() -> None:
    assert all(row.says for row in (*REASONS.values(), *closing.DESTINATIONS.values()))
