"""Phases are a cycle with guards; every move says who, when and why."""

from __future__ import annotations

from datetime import date
from itertools import product
from typing import Any

import pytest

from fhircase.case import lifecycle
from fhircase.case.closing import Closing
from fhircase.case.lifecycle import MOVES, PHASES, STATES, Moved, judge, move
from tests.unit.case.support import MANAGER, NEW, case, changed

WITHDREW = Closing("withdrew")


def go(doc: dict[str, Any], to: str, **said: Any) -> Moved:
    return move(doc, to, **{"by": MANAGER, "at": NEW, "why": "needs have changed", **said})


def at(phase: str, **fields: Any) -> dict[str, Any]:
    return changed("episode", phase=phase, **fields)


def whats(problems: Any) -> list[str]:
    return [problem.what for problem in problems]


ALLOWED = {
    ("intake", "assessment"), ("assessment", "planning"), ("planning", "implementation"), ("implementation", "monitoring"),
    ("monitoring", "evaluation"), ("evaluation", "monitoring"),
    ("planning", "assessment"), ("implementation", "assessment"), ("monitoring", "assessment"), ("evaluation", "assessment"),
    ("implementation", "planning"), ("monitoring", "planning"), ("evaluation", "planning"),
    *((phase, "closed") for phase in PHASES if phase != "closed"),
}  # fmt: skip


@pytest.mark.parametrize(("phase", "to"), list(product(PHASES, PHASES)))
def test_a_case_moves_where_the_table_says_and_nowhere_else(phase: str, to: str) -> None:
    moved = go(at(phase), to, closing=WITHDREW)
    assert (moved.problems == ()) == ((phase, to) in ALLOWED), whats(moved.problems)
    assert bool(moved.episode) == ((phase, to) in ALLOWED)


@pytest.mark.parametrize("phase", PHASES)
def test_the_state_that_a_move_gives_goes_with_its_phase(phase: str) -> None:
    for to in MOVES[phase]:
        moved = go(at(phase), to, closing=WITHDREW)
        assert moved.episode["state"] in STATES[to]


def test_a_case_that_closes_at_intake_never_began_and_a_later_one_is_finished() -> None:
    assert go(at("intake"), "closed", closing=Closing("withdrew")).episode["state"] == "cancelled"
    assert go(at("assessment"), "closed", closing=Closing("withdrew")).episode["state"] == "finished"


def test_a_move_says_who_when_and_why() -> None:
    note = go(at("planning"), "implementation").note
    assert note == {"from": "planning", "to": "implementation", "by": MANAGER, "at": NEW, "why": "needs have changed"}


@pytest.mark.parametrize(("said", "path"), [({"by": " "}, "/by"), ({"at": "soon"}, "/at"), ({"why": ""}, "/why")])
def test_a_move_without_who_when_or_why_is_refused(said: dict[str, str], path: str) -> None:
    assert [problem.path for problem in go(at("planning"), "implementation", **said).problems] == [path]


def test_an_unknown_phase_is_refused_with_the_known_ones() -> None:
    (problem,) = go(at("planning"), "implementing").problems
    assert "implementation" in problem.hint and problem.path == "/episode/phase"
    assert whats(go(at("limbo"), "planning").problems) == ["the phase that the case is in is not known"]


def test_a_case_that_never_said_its_phase_is_at_intake_and_closed_when_its_episode_has_ended() -> None:
    assert lifecycle.phase_of({"state": "active"}) == "intake"
    assert lifecycle.phase_of({"state": "finished"}) == "closed"
    assert lifecycle.phase_of({"state": "cancelled", "phase": "monitoring"}) == "closed"
    assert lifecycle.phase_of({"state": "onhold", "phase": "monitoring"}) == "monitoring"


def test_a_case_entered_in_error_does_not_move() -> None:
    assert whats(go(at("planning", state="entered-in-error"), "implementation").problems) == ["this case was entered in error"]


# ------------------------------------------------------------------------------------------ guards


def test_planning_needs_an_assessment() -> None:
    doc = at("assessment") | {"assessments": []}
    assert whats(go(doc, "planning").problems) == ["planning needs an assessment"]


@pytest.mark.parametrize("entry", [{"id": "a", "text": "fine"}, {"id": "a", "not_assessed": "Client was tired"}])
def test_an_assessment_or_the_word_that_it_was_not_done_is_enough_for_planning(entry: dict[str, str]) -> None:
    assert go(at("assessment") | {"assessments": [entry]}, "planning").problems == ()


def test_an_assessment_entered_in_error_does_not_count() -> None:
    doc = at("assessment") | {"assessments": [{"id": "a", "state": "entered-in-error", "text": "fine"}]}
    assert go(doc, "planning").problems != ()


def test_implementation_needs_an_active_plan() -> None:
    doc = at("planning") | {"plan": {"id": "p-1", "state": "draft"}}
    assert whats(go(doc, "implementation").problems) == ["implementation needs an active plan"]
    assert whats(go(at("planning") | {"plan": {}}, "implementation").problems) == ["implementation needs an active plan"]


PROPOSED_GOAL = {"id": "g", "lifecycle": "proposed"}
PROPOSAL = {"id": "s", "state": "draft", "intent": "proposal"}
REVOKED = {"id": "s", "state": "revoked", "intent": "order"}
UNWANTED = {"id": "s", "state": "active", "intent": "order", "not_wanted": True}
ORDER = {"id": "s", "state": "active", "intent": "order"}


@pytest.mark.parametrize(
    ("parts", "enough"),
    [
        ({}, False),
        ({"goals": [PROPOSED_GOAL]}, False),
        ({"services": [PROPOSAL]}, False),
        ({"services": [REVOKED]}, False),
        ({"services": [UNWANTED]}, False),
        ({"goals": [{"id": "g", "lifecycle": "accepted"}]}, True),
        ({"services": [ORDER]}, True),
        ({"equipment": [ORDER]}, True),
    ],
)
def test_implementation_needs_a_goal_or_a_service_and_a_proposal_is_not_enough(parts: dict[str, Any], enough: bool) -> None:
    doc = at("planning") | {"goals": [], "services": [], "equipment": [], **parts}
    assert (go(doc, "implementation").problems == ()) == enough


def test_a_guard_is_not_asked_on_the_way_back() -> None:
    doc = at("monitoring") | {"assessments": [], "goals": [], "services": [], "plan": {"state": "revoked"}}
    assert go(doc, "assessment").problems == ()


# ------------------------------------------------------------------------------------------ history, hold


def test_the_state_that_ends_is_kept_with_its_time() -> None:
    moved = go(at("intake", state="planned"), "assessment")
    assert moved.episode["history"] == [{"state": "planned", "since": "2026-11-01", "until": NEW}]


def test_a_move_that_keeps_the_state_adds_no_history() -> None:
    assert "history" not in go(at("planning"), "implementation").episode


def test_history_goes_on_from_the_last_end_and_closes_an_entry_that_runs() -> None:
    held = [{"state": "planned", "since": "2026-10-01", "until": "2026-11-01"}]
    moved = go(at("planning", state="onhold", history=held), "implementation")
    assert moved.episode["history"] == [*held, {"state": "onhold", "since": "2026-11-01", "until": NEW}]
    running = [{"state": "onhold", "since": "2026-11-05"}]
    moved = go(at("planning", state="onhold", history=running), "implementation")
    assert moved.episode["history"] == [{"state": "onhold", "since": "2026-11-05", "until": NEW}]
    assert running == [{"state": "onhold", "since": "2026-11-05"}]


def test_a_beginning_that_nobody_knows_is_not_made_up() -> None:
    assert "history" not in go(at("intake", state="planned", opened=None), "assessment").episode


def test_hold_rests_in_its_phase_and_resume_goes_on() -> None:
    said = {"by": MANAGER, "at": NEW, "why": "respite"}
    held = lifecycle.hold(at("monitoring"), **said)
    assert (held.episode["state"], held.note["to"]) == ("onhold", "monitoring")
    assert lifecycle.resume(at("monitoring", state="onhold"), **said).episode["state"] == "active"
    assert lifecycle.hold(at("closed", state="finished"), **said).problems != ()
    assert lifecycle.resume(at("monitoring"), **said).problems != ()


# ------------------------------------------------------------------------------------------ coming back

CLOSED = {
    "state": "finished",
    "closed": "2026-11-10T09:00:00-05:00",
    "closed_because": "goals-met",
    "outcome": "ok",
    "destination": "independent",
}


def back(doc: dict[str, Any], day: str = NEW, **given: Any) -> Moved:
    return lifecycle.reopen(doc, by=MANAGER, at=day, why="readmitted", **given)


def test_a_closed_case_reopens_in_assessment_and_what_was_said_at_closing_is_taken_back() -> None:
    moved = back(at("closed", **CLOSED))
    fields = {name: moved.episode[name] for name in ("phase", "state", "closed", "closed_because", "outcome", "destination")}
    assert fields == {
        "phase": "assessment",
        "state": "active",
        "closed": None,
        "closed_because": None,
        "outcome": None,
        "destination": None,
    }
    assert moved.episode["history"] == [{"state": "finished", "since": CLOSED["closed"], "until": NEW}]
    assert moved.note["from"] == "closed"


def test_closing_and_reopening_leave_the_whole_history() -> None:
    doc = at("monitoring")
    doc["episode"] |= go(doc, "closed", closing=WITHDREW, at="2026-11-20T09:00:00Z").episode
    doc["episode"] |= back(doc).episode
    assert [(one["state"], one["since"], one["until"]) for one in doc["episode"]["history"]] == [
        ("active", "2026-11-01", "2026-11-20T09:00:00Z"),
        ("finished", "2026-11-20T09:00:00Z", NEW),
    ]


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"phase": "monitoring"}, "this case is open"),
        ({"phase": "closed", **CLOSED, "closed": None}, "this case does not say when it closed"),
        ({"phase": "closed", **CLOSED, "closed": "2026-10-25"}, "it closed more than 30 days ago"),
        ({"phase": "closed", **CLOSED, "closed_because": "died"}, "the client has died"),
        ({"phase": "closed", "state": "entered-in-error"}, "this case was entered in error"),
    ],
)
def test_only_a_case_closed_within_the_days_of_return_reopens(fields: dict[str, Any], what: str) -> None:
    doc = case()
    doc["episode"] |= fields
    moved = back(doc)
    assert (whats(moved.problems), moved.episode) == ([what], {})


def test_a_client_who_died_is_not_reopened_whatever_the_reason_said() -> None:
    doc = at("closed", **CLOSED)
    doc["client"]["died"] = "2026-11-20"
    assert whats(back(doc).problems) == ["the client has died"]
    doc["client"]["died"] = False
    assert back(doc).problems == ()


@pytest.mark.parametrize(("day", "means"), [(date(2026, 12, 10), "reopen"), (date(2026, 12, 11), "new-plan")])
def test_a_return_proposes_reopening_for_thirty_days_and_then_a_new_plan(day: date, means: str) -> None:
    assert lifecycle.on_return({"phase": "closed", **CLOSED}, day) == means
    assert lifecycle.on_return({"phase": "closed", **CLOSED}, day, within=90) == "reopen"


def test_a_return_to_an_open_case_is_no_return() -> None:
    assert lifecycle.on_return({"phase": "monitoring", "state": "active"}, date(2026, 12, 10)) == "open"


# ------------------------------------------------------------------------------------------ other doors


@pytest.mark.parametrize(("phase", "to"), list(product(PHASES, PHASES)))
def test_a_write_by_another_door_is_judged_by_the_same_table(phase: str, to: str) -> None:
    before = {"phase": phase, "state": sorted(STATES[phase])[0]}
    after = {"phase": to, "state": "active" if to != "closed" else "finished", "closed": "2026-11-25", "closed_because": "moved"}
    refused = any(problem.path == "/episode/phase" for problem in judge(before, after))
    reopening = (phase, to) == ("closed", "assessment")
    assert refused == (phase != to and (phase, to) not in ALLOWED and not reopening)


MONITORING = {"phase": "monitoring", "state": "active"}
ENDED = {"state": "finished", "closed": "2026-11-25", "closed_because": "moved"}


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        (MONITORING, {"phase": "monitoring", **ENDED}, "the state finished does not go with the phase monitoring"),
        (MONITORING, {"phase": "closed", "state": "active"}, "the state active does not go with the phase closed"),
        ({"phase": "monitoring", "state": "active"}, {"state": "active"}, "the phase is gone"),
        ({"phase": "monitoring", "state": "active"}, {"phase": "limbo", "state": "active"}, "no such phase"),
        ({"state": "finished"}, {"state": "waitlist"}, "finished does not lead to waitlist"),
        ({"state": "entered-in-error"}, {"state": "active"}, "what was entered in error does not come back"),
        ({"state": "active"}, {"state": "finished", "closed_because": "moved"}, "a closed case needs the day it closed"),
    ],
)  # fmt: skip
def test_a_wrong_write_by_another_door_is_told(before: dict[str, str], after: dict[str, str], what: str) -> None:
    assert whats(judge(before, after)) == [what]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, {"state": "active"}),
        (None, {"phase": "monitoring", "state": "active"}),
        ({"state": "planned"}, {"state": "active"}),
        ({"state": "active"}, {"phase": "assessment", "state": "active"}),
        ({"phase": "monitoring", "state": "finished"}, {"phase": "monitoring", "state": "finished"}),
        ({"phase": "monitoring", "state": "active"}, {"phase": "monitoring", "state": "onhold"}),
        ({"phase": "monitoring", "state": "active"}, {"phase": "monitoring", "state": "entered-in-error"}),
        (
            {"phase": "monitoring", "state": "active"},
            {"phase": "closed", "state": "finished", "closed": "2026-11-25", "closed_because": "moved"},
        ),
    ],
)
def test_a_right_write_by_another_door_is_not_told_of(before: dict[str, str] | None, after: dict[str, str]) -> None:
    assert judge(before, after) == ()


def test_a_closing_without_its_reason_is_told_and_not_enforced() -> None:
    (problem,) = judge({"state": "active"}, {"state": "finished", "closed": "2026-11-25"})
    assert (problem.severity, problem.path) == ("warning", "/episode/closed_because")


def test_a_case_that_is_entered_when_it_is_over_already_is_taken_as_it_is_known() -> None:
    assert {problem.severity for problem in judge(None, {"state": "finished"})} == {"warning"}
    assert [problem.severity for problem in judge({"state": "active"}, {"state": "finished"})] == ["error", "warning"]


def test_reopening_by_another_door_keeps_to_the_days_of_return() -> None:
    before, after = {"phase": "closed", **CLOSED}, {"phase": "assessment", "state": "active"}
    assert judge(before, after, on=date(2026, 11, 25)) == ()
    assert whats(judge(before, after, on=date(2027, 1, 25))) == ["it closed more than 30 days ago"]
