"""A goal is measured, or the reason why not is told; nothing is guessed from units, words or one lonely value."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from fhircase.case import goals
from fhircase.case.goals import Achievement, achievement
from tests.conftest import ROOT
from tests.unit.case.support import CLIENT, TODAY, case, guardian

CODE = "41950-7"
GOAL: dict[str, Any] = {
    "id": "g-1", "title": "Walk 50 feet", "lifecycle": "active", "measure_code": CODE, "target_value": 50, "target_unit": "feet",
    "target_unit_code": "[ft_i]", "due": "2026-12-06",
}  # fmt: skip


def seen(value: Any, day: int, **fields: Any) -> dict[str, Any]:
    one = {"id": f"a-{day}", "code": CODE, "value": value, "unit_code": "[ft_i]", "when": f"2026-11-{day:02d}", **fields}
    return {name: held for name, held in one.items() if held is not None}


def judged(*observations: dict[str, Any], **goal: Any) -> Achievement:
    made = {name: held for name, held in {**GOAL, **goal}.items() if held is not None}
    return achievement(made, case(goals=[made], assessments=list(observations)), TODAY)


# ------------------------------------------------------------------------------------------ measurability


@pytest.mark.parametrize(
    ("fields", "lacks"),
    [
        ({}, ("measure", "target", "due")),
        ({"measure": "Distance"}, ("target", "due")),
        ({"measure_code": CODE, "target_value": 0}, ("due",)),
        ({"measure": "Lease", "target_met": False, "due": "2026-12"}, ()),
        ({"measure": "Lease", "target_text": "signed", "due": "2026-12-01"}, ()),
        ({"measure": "Lease", "target_coded": "", "due": "2026-12-01"}, ("target",)),
        ({"measure": " ", "target_value": 1, "due": "soon"}, ("measure", "due")),
    ],
)
def test_a_goal_is_measurable_with_measure_target_and_due_date(fields: dict[str, Any], lacks: tuple[str, ...]) -> None:
    assert goals.lacking({"title": "Be well", **fields}) == lacks


# ------------------------------------------------------------------------------------------ achievement

TABLE: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "nothing measured": ([], {}, ""),
    "one value below": ([seen(20, 10)], {}, "in-progress"),
    "one value at the target": ([seen(50, 10)], {}, "achieved"),
    "one value beyond, and nobody says which way": ([seen(60, 10)], {}, "in-progress"),
    "one value beyond, upward": ([seen(60, 10)], {"target_comparator": ">="}, "achieved"),
    "one value at a target to be exceeded": ([seen(50, 10)], {"target_comparator": ">"}, "in-progress"),
    "one value at a target to stay below": ([seen(50, 10)], {"target_comparator": "<"}, "in-progress"),
    "one value below a target to stay below": ([seen(49, 10)], {"target_comparator": "<"}, "achieved"),
    "nearer": ([seen(20, 10), seen(30, 12)], {}, "improving"),
    "further": ([seen(30, 10), seen(20, 12)], {}, "worsening"),
    "nearer than at first and further than before": ([seen(20, 10), seen(40, 12), seen(35, 14)], {}, "worsening"),
    "the same": ([seen(20, 10), seen(20, 12)], {}, "no-change"),
    "beyond the target from below": ([seen(20, 10), seen(60, 12)], {}, "achieved"),
    "below the target from above": ([seen(80, 10), seen(40, 12)], {}, "achieved"),
    "downward and not there": ([seen(80, 10), seen(60, 12)], {}, "improving"),
    "reached and held": ([seen(20, 10), seen(50, 12), seen(55, 14)], {}, "sustaining"),
    "reached and lost": ([seen(20, 10), seen(50, 12), seen(40, 14)], {}, "worsening"),
    "reached again": ([seen(20, 8), seen(50, 10), seen(40, 12), seen(50, 14)], {}, "achieved"),
    "due and not reached": ([seen(20, 10), seen(40, 12)], {"due": "2026-11-24"}, "not-achieved"),
    "due today and not reached yet": ([seen(20, 10), seen(40, 12)], {"due": "2026-11-25"}, "improving"),
    "reached late": ([seen(20, 10), seen(50, 20)], {"due": "2026-11-15"}, "achieved"),
    "reached in time and lost": ([seen(20, 10), seen(50, 12), seen(40, 20)], {"due": "2026-11-15"}, "worsening"),
    "reached on the day it was due and lost": ([seen(20, 10), seen(50, 15), seen(40, 20)], {"due": "2026-11-15"}, "worsening"),
    "reached late and lost": ([seen(20, 10), seen(50, 16), seen(40, 20)], {"due": "2026-11-15"}, "not-achieved"),
    "due with nothing measured": ([], {"due": "2026-11-15"}, ""),
    "baseline at the target: only the target counts": ([seen(50, 10), seen(60, 12)], {}, "worsening"),
    "baseline at the target, and still": ([seen(50, 10), seen(50, 12)], {}, "sustaining"),
    "a marked baseline says which way": ([seen(70, 8), seen(20, 10, baseline=True), seen(60, 12)], {}, "achieved"),
    "upward by comparator although the baseline is above": ([seen(80, 10), seen(60, 12)], {"target_comparator": ">="}, "sustaining"),
    "downward by comparator": ([seen(20, 10), seen(60, 12)], {"target_comparator": "<="}, "worsening"),
    "entered in any order": ([seen(60, 14), seen(20, 10), seen(30, 12)], {}, "achieved"),
}


@pytest.mark.parametrize("name", TABLE)
def test_achievement_is_computed_from_the_observations(name: str) -> None:
    observations, goal, word = TABLE[name]
    found = judged(*observations, **goal)
    assert found.word == word, found.why
    assert bool(found.by) == bool(word)


def test_every_word_is_one_of_the_mappings() -> None:
    groups = json.loads((ROOT / "mappings" / "codes" / "goal-achievement.json").read_text("utf-8"))["group"]
    known = {element["code"] for group in groups for element in group["element"]}
    assert {word for *_, word in TABLE.values() if word} <= known


def test_the_observation_that_decided_and_the_baseline_are_named() -> None:
    found = judged(seen(20, 10), seen(30, 12))
    assert (found.by, found.baseline) == ("Observation/a-12", "Observation/a-10")


def test_the_lifecycle_is_not_touched_and_not_asked() -> None:
    goal, doc = dict(GOAL, lifecycle="on-hold"), case(assessments=[seen(20, 10), seen(50, 12)])
    assert achievement(goal, doc, TODAY).word == "achieved"
    assert goal == dict(GOAL, lifecycle="on-hold")


# ------------------------------------------------------------------------------------------ which observations


@pytest.mark.parametrize(
    "fields",
    [
        {"code": "1-8"},
        {"system": "http://snomed.info/sct"},
        {"state": "preliminary"},
        {"state": "cancelled"},
        {"state": "entered-in-error"},
        {"value": None},
        {"value": None, "text": "50 feet"},
        {"value": True},
        {"value": "fifty"},
        {"value": "NaN"},
        {"not_assessed": "tired", "value": None},
        {"when": "2026-11-26"},
    ],
)
def test_an_observation_of_something_else_or_that_does_not_stand_is_not_used(fields: dict[str, Any]) -> None:
    assert judged(seen(50, 12) | fields).word == ""
    assert judged(seen(50, 12)).word == "achieved"


def test_without_the_code_the_goals_own_references_decide() -> None:
    named, about = seen(50, 12, code=None), seen(50, 12, code=None, about=["Goal/g-1"])
    assert judged(named).word == ""
    assert judged(named, outcomes=["Observation/a-12"]).word == "achieved"
    assert judged(about).word == "achieved"
    assert judged(about, measure_code=None).word == "achieved"


def test_the_code_goes_before_the_references() -> None:
    assert judged(seen(20, 10), seen(50, 12, code=None, about=["Goal/g-1"])).word == "in-progress"


def test_an_observation_that_is_named_twice_counts_once() -> None:
    both = seen(50, 12, code=None, about=["Goal/g-1"])
    assert judged(both, outcomes=["Observation/a-12", "Observation/a-12"]).word == "achieved"


def test_an_observation_measures_a_goal_by_its_code_or_by_naming_it() -> None:
    other = seen(50, 12, code="1-8")
    assert goals.measures(seen(50, 12), GOAL)
    assert not goals.measures(other, GOAL)
    assert goals.measures(other | {"about": ["Goal/g-1"]}, GOAL)
    assert not goals.measures(seen(50, 12, state="cancelled"), GOAL)


def test_all_goals_of_a_case_are_judged_like_each_alone() -> None:
    others = [{**GOAL, "id": "g-2", "measure_code": "1-8"}, {**GOAL, "id": "g-3", "target_value": 20}]
    doc = case(goals=[GOAL, *others], assessments=[seen(20, 10), seen(50, 12)])
    alone = {f"Goal/{goal['id']}": achievement(goal, doc, TODAY) for goal in doc["goals"]}
    assert goals.achievements(doc, TODAY) == alone
    assert [found.word for found in alone.values()] == ["achieved", "", "worsening"]


def test_a_score_is_a_value() -> None:
    score = seen(None, 12, score=7, unit_code=None)
    assert judged(score, target_value=7, target_unit=None, target_unit_code=None).word == "achieved"


def test_times_of_one_day_are_ordered_across_zones() -> None:
    early = seen(20, 12, id="e", when="2026-11-12T23:00:00+05:00")
    late = seen(50, 12, id="l", when="2026-11-12T16:00:00-05:00")
    assert judged(late, early).by == "Observation/l"


def test_two_results_of_one_moment_are_not_chosen_from() -> None:
    assert judged(seen(20, 12), seen(50, 12, id="b")) == Achievement("", "two results of the same moment differ")
    assert judged(seen(50, 12), seen(50, 12, id="b")).word == "sustaining"


def test_several_observations_without_a_time_say_nothing_and_a_single_one_does() -> None:
    assert judged(seen(20, 12, when=None), seen(50, 13, when=None)).word == ""
    assert judged(seen(50, 12, when=None)).word == "achieved"
    assert judged(seen(20, 12), seen(50, 13, when=None)).word == "in-progress"


def test_a_target_that_is_no_quantity_is_not_computed() -> None:
    assert judged(seen(50, 12), target_value=None, target_text="50 feet") == Achievement("", "the target is no quantity")


# ------------------------------------------------------------------------------------------ units and numbers

CANNOT = "the units of target and observation cannot be compared"


@pytest.mark.parametrize(
    ("value", "unit", "target", "target_unit"),
    [
        ("15.24", "m", 50, "[ft_i]"),
        ("1524", "cm", 50, "[ft_i]"),
        ("600", "[in_i]", 50, "[ft_i]"),
        (50, "[ft_i]", "15.24", "m"),
        ("81.6466266", "kg", 180, "[lb_av]"),
        (1500, "g", "1.5", "kg"),
        (90, "min", "1.5", "h"),
        (48, "h", 2, "d"),
        (120, "s", 2, "min"),
        (7, "%", "7.0", "%"),
        (Decimal("0.1"), "mmol/L", "0.10", "mmol/L"),
        (3, "{visits}", 3, "{visits}"),
    ],
)
def test_values_in_units_of_one_kind_are_compared_exactly(value: Any, unit: str, target: Any, target_unit: str) -> None:
    assert judged(seen(value, 12, unit_code=unit), target_value=target, target_unit_code=target_unit).word == "achieved"
    more = Decimal(str(value)) + Decimal("0.0000001")
    assert judged(seen(more, 12, unit_code=unit), target_value=target, target_unit_code=target_unit).word == "in-progress"


@pytest.mark.parametrize(
    ("observed", "goal"),
    [
        ({"unit_code": "kg"}, {}),
        ({"unit_code": "mmol/L"}, {"target_unit_code": "mg/dL"}),
        ({"unit_code": "[ft_us]"}, {}),
        ({"unit_code": None}, {}),
        ({"unit_code": None, "unit": "meters"}, {}),
        ({}, {"target_unit_code": None, "target_unit": None}),
        ({"unit_system": "http://example.org"}, {"target_unit_system": "http://unitsofmeasure.org"}),
        ({"unit_code": "m", "unit_system": "http://example.org"}, {}),
    ],
)
def test_units_that_cannot_be_compared_are_told_and_nothing_is_computed(observed: dict[str, Any], goal: dict[str, Any]) -> None:
    assert judged(seen(50, 12, **observed), **goal) == Achievement("", CANNOT, "Observation/a-12")


def test_one_observation_in_another_kind_of_unit_stops_the_whole() -> None:
    assert judged(seen(20, 10), seen(30, 11, unit_code="kg"), seen(50, 12)).word == ""


@pytest.mark.parametrize(
    ("observed", "goal"),
    [
        ({"unit_code": None, "unit": "Feet"}, {}),
        ({"unit": "feet"}, {"target_unit_code": None}),
        ({"unit_code": None, "unit": "feet"}, {"target_unit_code": None}),
        ({"unit_code": None}, {"target_unit_code": None, "target_unit": None}),
    ],
)
def test_where_a_code_is_missing_the_same_words_are_the_same_unit(observed: dict[str, Any], goal: dict[str, Any]) -> None:
    assert judged(seen(50, 12, **observed), **goal).word == "achieved"


def test_numbers_are_decimals_and_never_floats() -> None:
    class Token(Decimal):
        """As a parser hands it on."""

    for value in (Token("0.30"), "0.3", 0.3):
        assert judged(seen(value, 12), target_value="0.3").word == "achieved"
    assert judged(seen(Decimal("0.30000000000000000001"), 12), target_value="0.3").word == "in-progress"


# ------------------------------------------------------------------------------------------ whose words


@pytest.mark.parametrize(
    ("goal", "contact", "own"),
    [
        ({"set_by": CLIENT}, None, True),
        ({"set_by": "Practitioner/cm-7"}, None, False),
        ({"set_by": "Patient/other"}, None, False),
        ({}, None, False),
        ({"set_by": "RelatedPerson/r-1"}, guardian(), True),
        ({"set_by": "RelatedPerson/r-1"}, guardian(relationship="daughter"), False),
        ({"set_by": "RelatedPerson/r-1"}, guardian(until="2026-11-01"), False),
        ({"set_by": "RelatedPerson/r-1", "started": "2026-10-30"}, guardian(until="2026-11-01"), True),
        ({"set_by": "RelatedPerson/r-1", "started": "2026-11-02"}, guardian(until="2026-11-01"), False),
        ({"set_by": "RelatedPerson/r-1", "started": "2026-12-24"}, guardian(until="2026-11-30"), True),
    ],
)
def test_a_goal_is_the_clients_own_by_the_client_or_a_guardian_of_that_day(
    goal: dict[str, Any], contact: dict[str, Any] | None, own: bool
) -> None:
    doc = case(goals=[{"id": "g", "lifecycle": "active", **goal}], contacts=[contact] if contact else [])
    assert goals.client_expressed(doc["goals"][0], doc, TODAY) == own
    assert bool(goals.expressed(doc, TODAY)) == own
    doc["goals"][0]["lifecycle"] = "cancelled"
    assert goals.expressed(doc, TODAY) == []
