"""Who speaks for the client, who is accountable, who is qualified."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from fhircase.case import people
from fhircase.case.document import covers, first_day, last_day
from tests.unit.case.support import CLIENT, MANAGER, TODAY, case, changed, guardian

WHO = "RelatedPerson/r-1"


@pytest.mark.parametrize(
    ("contact", "standing"),
    [
        (guardian(), "valid"),
        (guardian(relationship="power-of-attorney"), "valid"),
        (guardian(relationship=["daughter", "healthcare-power-of-attorney"]), "valid"),
        (guardian(since=None), "valid"),
        (guardian(until="2026-11-25"), "valid"),
        (guardian(until="2026-11-25T08:00:00-05:00"), "valid"),
        (guardian(until="2026-11"), "valid"),
        (guardian(until="2026-11-24"), "ended"),
        (guardian(until="2026-10"), "ended"),
        (guardian(since="2026-11-26"), "not-yet"),
        (guardian(active=False), "inactive"),
        (guardian(relationship="daughter"), "no-guardian"),
        (guardian(until="soon"), "not-yet"),
        (guardian(id="r-2"), "unknown"),
    ],
)
def test_a_guardian_speaks_for_the_client_on_the_days_of_the_relationship(contact: dict[str, Any], standing: str) -> None:
    contact = {name: value for name, value in contact.items() if value is not None}
    doc = case(contacts=[contact])
    assert people.standing(doc, WHO, TODAY) == standing
    assert people.speaks_for_client(doc, WHO, TODAY) == (standing == "valid")
    assert (people.authority(doc, WHO, TODAY, path="/by") is None) == (standing == "valid")


def test_the_client_speaks_for_the_client_and_another_patient_does_not() -> None:
    assert people.speaks_for_client(case(), CLIENT, TODAY)
    assert not people.speaks_for_client(case(), "Patient/other", TODAY)
    assert not people.speaks_for_client(case(), MANAGER, TODAY)
    assert not people.speaks_for_client(case(), None, TODAY)


def test_a_guardianship_that_was_renewed_is_valid_on_both_sides_and_not_between() -> None:
    doc = case(contacts=[guardian(until="2026-03-31"), guardian(since="2026-06-01")])
    days = {date(2026, 3, 31): True, date(2026, 4, 1): False, date(2026, 6, 1): True}
    assert {day: people.speaks_for_client(doc, WHO, day) for day in days} == days


def test_without_authority_it_is_said_where_and_what_to_do() -> None:
    problem = people.authority(case(contacts=[guardian(until="2026-11-01")]), WHO, TODAY, path="/goals/g-1/set_by")
    assert problem is not None
    assert (problem.path, problem.what) == ("/goals/g-1/set_by", "the guardianship had ended on that day")
    assert problem.hint


# ------------------------------------------------------------------------------------------ the accountable owner

LEAVE = [
    {"role": "case-manager", "person": MANAGER, "until": "2026-11-20"},
    {"role": "case-manager", "person": MANAGER, "since": "2026-12-01"},
]
COVER = {"role": "cover", "person": "Practitioner/cm-8", "since": "2026-11-21", "until": "2026-11-30"}


def owner(*members: dict[str, Any], manager: str | None = MANAGER, day: date = TODAY) -> people.Owner:
    doc = changed("episode", manager=manager)
    doc["team"]["members"] = list(members)
    return people.owner(doc, day)


def test_the_case_manager_is_accountable() -> None:
    assert owner() == people.Owner(MANAGER)
    assert owner({"role": "case-manager", "person": MANAGER, "since": "2026-11-01"}) == people.Owner(MANAGER)


def test_cover_is_accountable_during_leave_and_not_after_it() -> None:
    assert owner(*LEAVE, COVER) == people.Owner("Practitioner/cm-8", covering=True)
    assert owner(*LEAVE, COVER, day=date(2026, 12, 1)) == people.Owner(MANAGER)
    assert owner(*LEAVE, COVER, day=date(2026, 11, 20)) == people.Owner(MANAGER)


def test_leave_without_cover_is_a_gap() -> None:
    assert owner(*LEAVE) == people.Owner("", problem="the case manager is away and nobody covers")


def test_one_who_may_cover_at_any_time_covers_for_nobody_yet() -> None:
    assert owner({"role": "cover", "person": "Practitioner/cm-8"}) == people.Owner(MANAGER)


def test_several_at_once_are_told() -> None:
    other = {**COVER, "person": "Practitioner/cm-9"}
    assert owner(*LEAVE, COVER, other).problem == "several people cover for the case manager at once"
    assert owner(*LEAVE, COVER, dict(COVER)).person == "Practitioner/cm-8"
    two = [{"role": "case-manager", "person": one} for one in (MANAGER, "Practitioner/cm-9")]
    assert owner(*two, manager=None).problem == "several case managers and none of them leads"
    assert owner(*two) == people.Owner(MANAGER)


def test_a_case_without_manager_has_the_one_case_manager_of_its_team_or_nobody() -> None:
    assert owner({"role": "case-manager", "person": "Practitioner/cm-9"}, manager=None) == people.Owner("Practitioner/cm-9")
    assert owner({"role": "nurse", "person": "Practitioner/rn"}, manager=None).problem == "nobody is accountable for the case"
    ended = {"role": "case-manager", "person": "Practitioner/cm-9", "until": "2026-11-01"}
    assert owner(ended, manager=None).problem == "nobody is accountable for the case"


# ------------------------------------------------------------------------------------------ qualifications


@pytest.mark.parametrize(
    ("role", "held", "why"),
    [
        ("nurse", [], "missing"),
        ("nurse", [{"what": "Cook"}], "missing"),
        ("nurse", [{"what": "Registered Nurse"}], None),
        ("nurse", [{"what": "R.N., BSN"}], None),
        ("nurse", [{"what": "Nursing", "until": "2026-11-24"}], "expired"),
        ("nurse", [{"what": "Nursing", "until": "2026-11-25"}], None),
        ("nurse", [{"what": "Nursing", "since": "2027-01-01"}], "not-yet"),
        ("nurse", [{"what": "RN", "until": "2020"}, {"what": "RN", "since": "2021"}], None),
        ("case-manager", [{"what": "Licensed Clinical Social Worker"}], None),
        ("case-manager", [{"what": "Dentistry"}], "missing"),
        ("physical-therapist", [{"what": "Occupational therapist"}], "missing"),
        ("physical-therapist", [{"what": "Doctor of Physical Therapy"}], None),
        ("physician", [{"what": "Random studies"}], "missing"),
        ("family", [], None),
        ("housing-navigator", [], None),
    ],
)
def test_a_role_asks_for_its_qualification(role: str, held: list[dict[str, str]], why: str | None) -> None:
    lack = people.lacking(role, "Practitioner/x", held, TODAY)
    assert (lack.why if lack else None) == why


def test_the_team_of_today_and_the_manager_are_judged_and_strangers_are_not() -> None:
    doc = case()
    doc["team"]["members"] += [
        {"role": "nurse", "person": "Practitioner/rn"},
        {"role": "nurse", "person": "Practitioner/gone", "until": "2026-11-01"},
        {"role": "nurse", "person": "Practitioner/stranger"},
    ]
    held: dict[str, list[dict[str, str]]] = {MANAGER: [], "Practitioner/rn": [], "Practitioner/gone": []}
    assert [(lack.person, lack.role) for lack in people.lacks(doc, held, TODAY)] == [
        (MANAGER, "case-manager"),
        ("Practitioner/rn", "nurse"),
    ]
    assert people.lacks(doc, {}, TODAY) == []


def test_a_site_names_what_a_role_needs() -> None:
    held = [{"what": "Diplôme d’État infirmier"}]
    assert people.lacking("nurse", "x", held, TODAY, {"nurse": ("infirmi*",)}) is None
    assert people.lacking("nurse", "x", held, TODAY) is not None


# ------------------------------------------------------------------------------------------ days


@pytest.mark.parametrize(
    ("written", "first", "last"),
    [
        ("2026", date(2026, 1, 1), date(2026, 12, 31)),
        ("2026-02", date(2026, 2, 1), date(2026, 2, 28)),
        ("2026-12", date(2026, 12, 1), date(2026, 12, 31)),
        ("2026-11-25T23:30:00-05:00", date(2026, 11, 25), date(2026, 11, 25)),
        ("2026-02-30", None, None),
        ("9999-12", date(9999, 12, 1), date(9999, 12, 31)),
        ("", None, None),
        (None, None, None),
        (20261125, None, None),
    ],
)
def test_a_date_means_the_days_of_its_precision_where_it_was_written(written: Any, first: date | None, last: date | None) -> None:
    assert (first_day(written), last_day(written)) == (first, last)


def test_a_period_that_cannot_be_read_holds_no_day() -> None:
    assert covers({}, TODAY)
    assert not covers({"since": "soon"}, TODAY)
    assert not covers({"until": "2026-02-30"}, TODAY)
