"""Case documents to FHIR and back, a second of one core's own time, against a bare ``json.dumps`` or ``json.loads`` of the same
bytes; how the cost of a plan grows with its size; and what loading the mappings costs."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from time import process_time
from typing import Any

import pytest

from fhircase.mapping import Mapping, Mappings
from tests.bench import table

SECONDS = 0.2
ROUNDS = 5
Json = dict[str, Any]
Part = tuple[Mapping, Json]

GOAL: Json = {
    "id": "G-17", "title": "Stable housing", "lifecycle": "active", "achievement": "in-progress", "domain": "housing", "priority": "high",
    "started": "2026-11-01", "due": "2027-01-15", "measure": "Lease signed", "client": "Patient/p-1", "set_by": "Patient/p-1",
    "needs": ["Condition/c-1", "Condition/c-2"],
    "notes": [{"text": "Prefers ground floor", "at": "2026-11-02T12:00:00Z", "by": "Practitioner/cm-7"}],
}  # fmt: skip
SERVICE: Json = {
    "id": "S-9", "state": "active", "intent": "order", "kind": "meals", "urgency": "urgent", "client": "Patient/p-1",
    "provider": ["Organization/o-1"], "ordered_by": "Practitioner/cm-7", "ordered_at": "2026-11-02T10:00:00Z", "from": "2026-11-05",
    "to": "2026-12-05", "needs": ["Condition/c-1"], "notes": [{"text": "vegetarian"}],
}  # fmt: skip
TEAM: Json = {
    "id": "T-1", "name": "Jane's team", "state": "active", "client": "Patient/p-1",
    "members": [
        {"role": "case-manager", "person": "Practitioner/cm-7", "name": "Kim Lee", "since": "2026-11-01"},
        {"role": "nurse", "person": "Practitioner/rn-2"},
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """As ``timeit`` does: what a collector finds to look through is the test run's, not the mapping's."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def rate(work: Callable[[], object], at_once: int = 20) -> float:
    """How often a second of this process's own time."""
    done, start = 0, process_time()
    while (spent := process_time() - start) < SECONDS:
        for _ in range(at_once):
            work()
        done += at_once
    return done / spent


def plan(maps: Mappings, goals: int, services: int) -> list[Part]:
    """A whole plan as case documents, each with its mapping: the plan itself, its goals and services, a team."""
    case: Json = {
        "id": "P-1", "title": "Transition to community", "state": "active", "intent": "plan", "kinds": ["assess-plan"],
        "client": "Patient/p-1",
        "manager": "Practitioner/cm-7", "starts": "2026-11-01", "needs": ["Condition/c-1"], "teams": ["CareTeam/t-1"],
        "goals": [f"Goal/g-{n}" for n in range(goals)], "activities": [{"service": f"ServiceRequest/s-{n}"} for n in range(services)],
    }  # fmt: skip
    parts = [(maps.mapping("plan"), case), (maps.mapping("team"), TEAM)]
    parts += [(maps.mapping("goal"), {**GOAL, "id": f"G-{n}"}) for n in range(goals)]
    return parts + [(maps.mapping("service"), {**SERVICE, "id": f"S-{n}"}) for n in range(services)]


def out(parts: list[Part]) -> list[Json]:
    return [mapping.out(doc).resource for mapping, doc in parts]


def into(parts: list[Part]) -> list[Json]:
    return [mapping.into(resource).doc for mapping, resource in parts]


@pytest.fixture(scope="module")
def maps() -> Mappings:
    return Mappings.load()


def measured(what: str, work: Callable[[], object], bare: Callable[[], object], floor: float | None) -> None:
    pairs = []
    for _ in range(ROUNDS):
        baseline = rate(bare)
        pairs.append((rate(work), baseline))
    row = table.of_pairs(what, "none", pairs, floor=floor, absolute=True)
    assert row.kept, row


@pytest.mark.parametrize(("release", "floor"), [("R4", 40_000), ("R5", None)])
def test_goals(maps: Mappings, release: Any, floor: float | None) -> None:
    goal = maps.mapping("goal")
    made = goal.out(GOAL, release=release)
    assert not made.problems and goal.into(made.resource, release=release).doc == GOAL
    text = json.dumps(made.resource)
    measured(f"goals out, {release}", lambda: goal.out(GOAL, release=release), lambda: json.dumps(made.resource), floor)
    measured(f"goals in, {release}", lambda: goal.into(made.resource, release=release), lambda: json.loads(text), floor)
    changed = {**GOAL, "achievement": "achieved", "due": "2027-02-01"}
    onto = made.resource
    measured(f"goals onto the original, {release}", lambda: goal.out(changed, onto=onto, release=release), lambda: json.dumps(onto), None)


def test_plans_of_thirty_resources(maps: Mappings) -> None:
    parts = plan(maps, 10, 18)
    resources = out(parts)
    back = [(mapping, resource) for (mapping, _), resource in zip(parts, resources)]
    assert len(resources) == 30 and into(back) == [doc for _, doc in parts]
    text = json.dumps(resources)
    measured("plans of 30 resources out", lambda: out(parts), lambda: json.dumps(resources), 1_200)
    measured("plans of 30 resources in", lambda: into(back), lambda: json.loads(text), 1_800)


def test_cost_grows_with_the_plan_and_no_faster(maps: Mappings, capsys: pytest.CaptureFixture[str]) -> None:
    """A plan a hundred times as large may take half as long again for each of its resources, no more."""
    curve: list[tuple[int, float, float]] = []
    for goals in (10, 30, 100, 300, 1_000):
        parts = plan(maps, goals, goals * 9 // 5)
        back = [(mapping, resource) for (mapping, _), resource in zip(parts, out(parts))]
        there = max(rate(partial(out, parts), 1) for _ in range(3))
        here = max(rate(partial(into, back), 1) for _ in range(3))
        curve.append((goals, 1e6 / there / len(parts), 1e6 / here / len(parts)))
    with capsys.disabled():
        print("\ngoals in the plan   µs a resource out   in")
        for goals, there, here in curve:
            print(f"{goals:17,}   {there:17.1f}   {here:.1f}")
    assert curve[-1][1] < 1.5 * curve[0][1] and curve[-1][2] < 1.5 * curve[0][2], curve


def test_an_edit_of_a_large_list_is_linear_too(maps: Mappings) -> None:
    """Lists are matched by key, not by looking for each entry among all."""
    mapping = maps.mapping("plan")

    def seconds(services: int) -> float:
        doc = plan(maps, services, services)[0][1]
        original = mapping.out(doc).resource
        changed = {**doc, "activities": doc["activities"][::-1], "goals": doc["goals"][::-1]}
        return min(1 / rate(lambda: mapping.out(changed, onto=original), 1) for _ in range(3))

    small, large = seconds(100), seconds(1_000)
    assert large < 15 * small, (small, large)


def test_load(capsys: pytest.CaptureFixture[str]) -> None:
    """The first load reads, checks and keeps; a later one finds every file as it was."""
    script = (
        "from time import process_time as t\nfrom fhircase.mapping import Mappings, definitions\ndefinitions.children('Goal')\n"
        "def load():\n    before = t(); Mappings.load(); return 1000 * (t() - before)\n"
        "print(load(), min(load() for _ in range(5)))"
    )
    runs = [
        tuple(map(float, subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()))
        for _ in range(3)
    ]
    first, warm = (min(run[at] for run in runs) for at in (0, 1))
    with capsys.disabled():
        print(f"\nmappings loaded: first {first:.0f} ms, warm {warm:.1f} ms of one core's own time")
    assert warm < 15 and first < 600, (first, warm)
