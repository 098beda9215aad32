"""Case managers who work on one case at the same moment, on both real stores: nothing is lost, each addition is in the plan."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fhircase.errors import Conflict, Stale
from fhircase.flows import case_list, cases, commit, open_case
from fhircase.plans.change import Agent, Change, Source, Write
from fhircase.plans.partner import HUB, Partner
from fhircase.ports import Viewer

KIM = Agent(HUB, "Kim Lee")


class Ids:
    """Sequential ids for several threads."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)

    def new(self) -> str:
        return f"00000000-0000-4000-8000-{next(self.numbers):012d}"


@pytest.fixture(params=["sqlite", "postgresql"])
def hub(request: pytest.FixtureRequest, make_hub: Callable[..., Any], maps: Any) -> Any:
    made = make_hub(request.getfixturevalue("postgres_url") if request.param == "postgresql" else None, maps=maps, ids=Ids())
    with made.store.write() as tx:
        tx.partners.save(Partner(HUB, title="County", organization="o-hub"))
    return made


def viewer(hub: Any) -> Viewer:
    return Viewer(HUB, True, hub.now())


def test_goals_added_at_once_are_all_in_the_plan(hub: Any) -> None:
    case, _ = open_case.open_case(hub, KIM, viewer(hub), {"client": {"names": [{"family": "Nowak"}]}})

    def add(number: int) -> str:
        return cases.add(hub, KIM, viewer(hub), case, "goals", {"title": f"Goal {number}", "lifecycle": "active"})[0]

    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(add, range(4)))
    view = cases.read(hub, viewer(hub), case).doc
    assert sorted(view["plan"]["goals"]) == sorted(f"Goal/{id_}" for id_ in added)
    assert sorted(goal["title"] for goal in view["goals"]) == [f"Goal {number}" for number in range(4)]


def test_of_several_with_the_same_tag_one_wins(hub: Any) -> None:
    case, view = open_case.open_case(hub, KIM, viewer(hub), {"client": {"names": [{"family": "Nowak"}]}})

    def rename(number: int) -> bool:
        try:
            cases.change(hub, KIM, viewer(hub), case, "plan", "", {"title": f"Plan {number}"}, if_match=f'W/"{view.tag}"')
        except Stale:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(rename, range(4))) == [False, False, False, True]


def test_a_client_gets_one_case_however_many_open_it(hub: Any) -> None:
    patient = {"resourceType": "Patient", "name": [{"family": "Nowak"}]}
    change = commit.check(Change((Write("Patient", "nowak", patient, expect=0),), Agent(HUB, admin=True), Source("hub"), "test"))
    with hub.store.write() as tx:
        commit.commit(hub, tx, change)

    def open_one(_: int) -> bool:
        try:
            open_case.open_case(hub, KIM, viewer(hub), {"client": "Patient/nowak"})
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(open_one, range(4))) == [False, False, False, True]
    assert len(case_list.index(hub, viewer(hub))[0]) == 1


def test_observations_that_arrive_at_once_all_measure_the_goal_and_none_is_refused(hub: Any) -> None:
    case, view = open_case.open_case(hub, KIM, viewer(hub), {
        "client": {"names": [{"family": "Nowak"}]},
        "goals": [{"title": "Walk", "lifecycle": "active", "measure_code": "41950-7", "target_value": 50, "target_unit": "feet"}],
    })  # fmt: skip
    client, plan = view.doc["client"]["id"], view.doc["plan"]["id"]

    def observe(number: int) -> None:
        """As a partner's write comes: without the case view's own lock on the case."""
        body = {
            "resourceType": "Observation", "id": f"seen-{number}", "status": "final", "subject": {"reference": f"Patient/{client}"},
            "code": {"coding": [{"system": "http://loinc.org", "code": "41950-7"}]}, "effectiveDateTime": f"2026-11-{10 + number}",
            "valueQuantity": {"value": 20 + 5 * number, "unit": "feet"}, "basedOn": [{"reference": f"CarePlan/{plan}"}],
        }  # fmt: skip
        write = Write("Observation", f"seen-{number}", body, expect=0)
        change = commit.check(Change((write,), Agent(HUB, admin=True), Source("fhir"), "test"))
        with hub.store.write() as tx:
            commit.commit(hub, tx, change)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(observe, range(7)))
    (goal,) = cases.read(hub, viewer(hub), case).doc["goals"]
    assert len(set(goal["outcomes"])) >= 2 and "Observation/seen-6" in goal["outcomes"]
    assert goal["achievement"] in ("achieved", "sustaining")
