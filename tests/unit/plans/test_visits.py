"""A visit is the sum of what was told of it, whatever the order of arrival."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import pytest

from fhircase.plans import visits
from fhircase.plans.visits import Told, tell

WARD = {"location": {"display": "4E 401 B"}}
ICU = {"location": {"display": "ICU 2"}}
REHAB = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/discharge-disposition", "code": "rehab"}]}
HOME = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/discharge-disposition", "code": "home"}]}
INPATIENT = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"}

ADMITTED = "2026-11-10T08:00:00-05:00"
MOVED = "2026-11-12T09:00:00-05:00"
LEFT = "2026-11-20T14:25:00-05:00"
LATER = "2026-11-20T18:00:00-05:00"

A01 = ("admit", 100, {"class": INPATIENT, "start": ADMITTED, "happened": ADMITTED, "here": [WARD], "end": "2011-01-01T00:00:00-05:00"})
A02 = ("transfer", 200, {"happened": MOVED, "here": [ICU], "left": [WARD]})
A03 = (
    "discharge",
    300,
    {"happened": LEFT, "end": LEFT, "here": [ICU], "disposition": REHAB, "route": "rehab", "code": "62", "named": "SUNNY"},
)
A08 = ("update", 250, {"happened": MOVED, "here": [ICU], "end": LEFT, "disposition": HOME})
A13 = ("cancel-discharge", 400, {"happened": LATER, "here": [ICU], "end": LEFT, "disposition": REHAB})
A11 = ("cancel-admit", 150, {"happened": MOVED})
A12 = ("cancel-transfer", 220, {"happened": MOVED})
A05 = ("preadmit", 50, {"happened": "2026-11-09T08:00:00-05:00", "here": [WARD]})
A04 = ("register", 90, {"happened": "2026-11-10T07:00:00-05:00"})


def told(*events: tuple[str, int, dict[str, Any]]) -> list[Told]:
    return [Told(action, at, order, facts, action) for order, (action, at, facts) in enumerate(events, 1)]


def orders(*events: tuple[str, int, dict[str, Any]]) -> Iterator[list[Told]]:
    """Every order of arrival of the same events."""
    return (told(*arrival) for arrival in permutations(events))


def places(visit: visits.Visit) -> list[tuple[str, str]]:
    return [(p["location"]["display"], p["status"]) for p in visit.locations]


TABLE: Sequence[tuple[str, tuple[Any, ...], str, bool, list[tuple[str, str]]]] = [
    ("an admission is a stay", (A01,), "in-progress", False, [("4E 401 B", "active")]),
    ("a registration of one who is present is a stay", (A04,), "in-progress", False, []),
    ("a pre-admission is planned", (A05,), "planned", False, [("4E 401 B", "planned")]),
    ("a transfer moves", (A01, A02), "in-progress", False, [("4E 401 B", "completed"), ("ICU 2", "active")]),
    ("a cancelled transfer restores the place", (A01, A02, A12), "in-progress", False, [("4E 401 B", "active")]),
    ("a discharge ends", (A01, A02, A03), "finished", True, [("4E 401 B", "completed"), ("ICU 2", "completed")]),
    ("an update keeps the status", (A01, A08), "in-progress", False, [("ICU 2", "active")]),
    ("a cancelled admission is cancelled", (A01, A11), "cancelled", False, [("4E 401 B", "completed")]),
    ("a cancelled discharge goes on", (A01, A02, A03, A13), "in-progress", False, [("4E 401 B", "completed"), ("ICU 2", "active")]),
    ("a pre-admission before the admission is passed", (A05, A01), "in-progress", False, [("4E 401 B", "active")]),
    ("an update alone says that there is a visit, no more", (A08,), "unknown", False, [("ICU 2", "active")]),
    ("a discharge alone is a discharge", (A03,), "finished", True, [("ICU 2", "completed")]),
]


@pytest.mark.parametrize(("events", "status", "discharged", "where"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_visit_is_the_same_in_every_order_of_arrival(
    events: tuple[Any, ...], status: str, discharged: bool, where: list[tuple[str, str]]
) -> None:
    for arrival in orders(*events):
        visit = tell(arrival)
        assert (visit.status, visit.discharged, places(visit)) == (status, discharged, where)
        assert visit.contradictions == ()


@pytest.mark.parametrize("events", [row[1] for row in TABLE], ids=[row[0] for row in TABLE])
def test_a_duplicate_of_any_event_changes_nothing(events: tuple[Any, ...]) -> None:
    once = tell(told(*events))
    for again in events:
        twice = tell(told(*events, again))
        assert (twice.status, twice.discharged, twice.start, twice.end, twice.locations) == (
            once.status,
            once.discharged,
            once.start,
            once.end,
            once.locations,
        )
        assert visits.effects(once, twice) == ()


def test_all_seven_events_of_one_visit_end_alike_in_all_orders_of_arrival() -> None:
    events = (A05, A01, A02, A08, A03, A13)
    ends = {repr((v.status, v.start, v.end, v.locations, v.disposition)) for v in map(tell, orders(*events))}
    assert len(ends) == 1


def test_a_discharge_time_on_an_admission_does_not_discharge() -> None:
    visit = tell(told(A01))
    assert (visit.status, visit.end, visit.disposition) == ("in-progress", None, None)


def test_a_discharge_keeps_start_and_tells_end_disposition_and_receiver() -> None:
    visit = tell(told(A01, A03))
    assert (visit.start, visit.end, visit.disposition, visit.route, visit.code, visit.named) == (
        ADMITTED,
        LEFT,
        REHAB,
        "rehab",
        "62",
        "SUNNY",
    )


def test_a_cancelled_discharge_removes_end_disposition_destination() -> None:
    visit = tell(told(A01, A03, A13))
    assert (visit.end, visit.disposition, visit.destination, visit.route, visit.named) == (None, None, None, None, None)


def test_a_late_transfer_does_not_reopen() -> None:
    before = tell(told(A01, A03))
    after = tell(told(A01, A03, A02))
    assert after.status == "finished"
    assert after.contradictions == ()
    assert visits.effects(before, after) == ()


def test_an_admission_that_comes_after_the_discharge_fills_the_start() -> None:
    before, after = tell(told(A03)), tell(told(A03, A01))
    assert (before.start, after.start, after.status) == (None, ADMITTED, "finished")
    assert visits.effects(before, after) == ()


def test_a_discharge_without_a_time_of_its_own_ends_when_it_happened() -> None:
    assert tell(told(A01, ("discharge", 300, {"happened": LEFT}))).end == LEFT


def test_a_discharge_before_the_admission_keeps_the_event_time_and_is_reported() -> None:
    visit = tell(told(A01, ("discharge", 300, {"happened": LEFT, "end": "2011-01-01T00:00:00-05:00"})))
    assert visit.end == LEFT
    assert [c.what for c in visit.contradictions] == ["the discharge lies before the admission"]


def test_still_a_patient_is_no_discharge_and_is_reported() -> None:
    visit = tell(told(A01, ("discharge", 300, {"happened": LEFT, "code": "30", "route": "not-discharged"})))
    assert (visit.status, visit.discharged) == ("in-progress", False)
    assert len(visit.contradictions) == 1


CONTRADICTIONS: Sequence[tuple[str, tuple[Any, ...], str]] = [
    ("an admission after the discharge", (A01, A03, ("admit", 350, {"happened": LATER})), "finished"),
    ("a transfer after the discharge", (A01, A03, ("transfer", 350, {"here": [WARD]})), "finished"),
    ("a transfer of a cancelled stay", (A01, A11, A02), "cancelled"),
    ("a discharge of a cancelled stay", (A01, A11, A03), "cancelled"),
    ("a cancelled admission after the discharge", (A01, A03, ("cancel-admit", 350, {})), "cancelled"),
    ("a discharge cancelled that was never told", (A01, A13), "in-progress"),
    ("a transfer cancelled that was never told", (A01, ("cancel-transfer", 150, {})), "in-progress"),
    ("a discharge cancelled of a cancelled stay", (A01, A11, A13), "in-progress"),
]


@pytest.mark.parametrize(("events", "status"), [row[1:] for row in CONTRADICTIONS], ids=[row[0] for row in CONTRADICTIONS])
def test_an_impossible_order_is_reported_whenever_it_arrives(events: tuple[Any, ...], status: str) -> None:
    for arrival in orders(*events):
        visit = tell(arrival)
        assert visit.status == status
        assert len(visit.contradictions) == 1


def test_events_of_the_same_moment_do_not_contradict_each_other() -> None:
    same = [(action, 500, facts) for action, _, facts in (A01, A02, A03)]
    for arrival in orders(*same):
        visit = tell(arrival)
        assert (visit.status, visit.contradictions) == ("finished", ())


def test_an_admission_again_after_it_was_cancelled_is_a_stay() -> None:
    visit = tell(told(A01, A11, ("admit", 180, {"start": MOVED, "happened": MOVED})))
    assert (visit.status, visit.start, visit.contradictions) == ("in-progress", MOVED, ())


def test_the_update_of_a_discharge_may_change_where_it_goes() -> None:
    changed = ("update", 350, {"disposition": HOME, "code": "01", "route": "home"})
    before, after = tell(told(A01, A03)), tell(told(A01, A03, changed))
    assert (after.status, after.route, after.end) == ("finished", "home", LEFT)
    assert visits.effects(before, after) == ("redirected",)


STEPS: Sequence[tuple[str, tuple[Any, ...], Any, tuple[str, ...]]] = [
    ("a first admission", (), A01, ("admitted",)),
    ("a first discharge", (A01,), A03, ("discharged",)),
    ("a discharge of an unknown stay", (), A03, ("discharged",)),
    ("a discharge taken back", (A01, A03), A13, ("withdrawn",)),
    ("a discharge taken back before it came", (A01, A13), A03, ()),
    ("an admission cancelled", (A01,), A11, ("cancelled",)),
    ("a discharged stay cancelled", (A01, A03), ("cancel-admit", 500, {}), ("cancelled",)),
    ("an update", (A01,), A08, ()),
    ("a pre-admission", (), A05, ()),
    ("the admission of a planned stay", (A05,), A01, ("admitted",)),
]


@pytest.mark.parametrize(("known", "event", "effects"), [row[1:] for row in STEPS], ids=[row[0] for row in STEPS])
def test_what_a_step_sets_off(known: tuple[Any, ...], event: Any, effects: tuple[str, ...]) -> None:
    before = tell(told(*known)) if known else None
    assert visits.effects(before, tell(told(*known, event))) == effects


def test_facts_hold_only_what_the_state_depends_on() -> None:
    encounter = {
        "resourceType": "Encounter",
        "status": "finished",
        "class": INPATIENT,
        "period": {"start": ADMITTED, "end": LEFT},
        "location": [
            {**WARD, "status": "active"},
            {**ICU, "status": "completed"},
            {"location": {"display": "X-ray"}, "status": "active", "extension": [{"url": visits.CLASSIFICATION}]},
        ],
        "hospitalization": {"dischargeDisposition": REHAB},
        "serviceType": {"text": "surgery"},
    }
    facts = visits.facts_of(encounter, happened=LEFT, route="rehab")
    assert facts["here"] == [WARD]
    assert facts["left"] == [ICU]
    assert [p["location"]["display"] for p in facts["aside"]] == ["X-ray"]
    assert set(facts) == {"happened", "class", "start", "end", "here", "left", "aside", "disposition", "route"}


def test_no_events_are_no_visit() -> None:
    with pytest.raises(ValueError):
        tell([])
