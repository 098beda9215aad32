"""Whether a goal can be measured, how far it is, and whose words it is in. Pure.

Achievement follows http://terminology.hl7.org/CodeSystem/goal-achievement: *in-progress* "being sought but not yet reached", with
*improving*, *worsening* and *no-change* as its trends; *achieved*, with *sustaining* while it lasts; *not-achieved*. It never
touches the lifecycle of a goal: the two axes stay apart (CONCEPTS.md, "specific, measurable goal")."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from fhircase.case import people
from fhircase.case.document import Doc, entries, first_day, last_day, moment, refer, stands, word, words

TARGETS = ("target_value", "target_text", "target_met", "target_coded")
"""Fields, any of which is a target."""


def lacking(goal: Doc) -> tuple[str, ...]:
    """What a goal needs to be measurable and has not: ``measure`` (what is measured), ``target`` (what is to be reached),
    ``due`` (by when). Empty for a measurable goal."""
    lacks = []
    if not word(goal.get("measure")) and not word(goal.get("measure_code")):
        lacks.append("measure")
    if all(goal.get(name) is None or goal.get(name) == "" for name in TARGETS):
        lacks.append("target")
    if last_day(goal.get("due")) is None:
        lacks.append("due")
    return tuple(lacks)


# ------------------------------------------------------------------------------------------ achievement


@dataclass(frozen=True, slots=True)
class Achievement:
    """``word``: a code of goal-achievement, '' when nothing can be said. ``by`` the observation that decided, ``baseline`` the
    first one; '' without. ``why`` says it in words, for people, without values of the record."""

    word: str
    why: str
    by: str = ""
    baseline: str = ""


@dataclass(frozen=True, slots=True)
class _Seen:
    ref: str
    value: Decimal
    when: datetime | None
    day: date | None
    marked: bool


_CLEAR = frozenset({"final", "amended", "corrected"})
"""States of an observation that counts; one without state was entered as final."""


def achievement(goal: Doc, doc: Doc, today: date) -> Achievement:
    """How far a goal with a quantity as target is, from the observations of the case up to today.

    They are found by the measure's code, else by the goal's ``outcomes`` and what an observation is ``about``. The target's
    comparator says which way is better; else the first observation (or the one marked ``baseline``) against the target does;
    where these are equal only the target itself is an achievement. Nothing is computed when units cannot be compared or two
    results of one moment differ. Values are exact decimals."""
    return _achievement(goal, _index(doc), today)


def achievements(doc: Doc, today: date) -> dict[str, Achievement]:
    """The same for every goal of the case, by its reference."""
    index = _index(doc)
    return {refer("goals", goal): _achievement(goal, index, today) for goal in entries(doc, "goals") if word(goal.get("id"))}


def _achievement(goal: Doc, index: _Index, today: date) -> Achievement:
    target = _decimal(goal.get("target_value"))
    if target is None:
        return Achievement("", "the target is no quantity")
    seen: list[_Seen] = []
    for one in _matching(goal, index):
        value = _value(one)
        when = one.get("when") or one.get("from") or one.get("issued")
        day = first_day(when)
        if value is None or (day is not None and day > today):
            continue
        scaled = _comparable(value, one, goal)
        if scaled is None:
            return Achievement("", "the units of target and observation cannot be compared", refer("assessments", one))
        seen.append(_Seen(refer("assessments", one), scaled, moment(when), day, one.get("baseline") is True))
    if not seen:
        return Achievement("", "nothing has been measured yet")
    if len(seen) > 1:
        dated = [one for one in seen if one.when is not None]
        if not dated:
            return Achievement("", "several observations and none says when")
        seen = sorted(dated, key=_order)
        if any(a.when == b.when and a.value != b.value for a, b in zip(seen, seen[1:])):
            return Achievement("", "two results of the same moment differ")
    return _judged(goal, target * _scale(goal), seen, today)


def measures(observation: Doc, goal: Doc) -> bool:
    """Whether an observation measures the goal."""
    return bool(_matching(goal, _index({"assessments": [observation]})))


def _order(one: _Seen) -> tuple[datetime, str]:
    assert one.when is not None
    return one.when, one.ref


def _judged(goal: Doc, target: Decimal, seen: list[_Seen], today: date) -> Achievement:
    baseline = next((one for one in seen if one.marked), seen[0])
    last = seen[-1]
    way = _WAYS.get(word(goal.get("target_comparator"))) or _way(baseline.value, target)

    def reached(one: _Seen) -> bool:
        return way.reached(one.value, target)

    def told(code: str, why: str) -> Achievement:
        return Achievement(code, why, last.ref, baseline.ref)

    due = last_day(goal.get("due"))
    if reached(last):
        if len(seen) > 1 and reached(seen[-2]):
            return told("sustaining", "reached, and held since the observation before")
        return told("achieved", "reached by the last observation")
    if due is not None and today > due and not any(reached(one) and one.day is not None and one.day <= due for one in seen):
        return told("not-achieved", "not reached when it was due")
    if len(seen) == 1:
        return told("in-progress", "not reached by the first observation")
    before, now = (abs(one.value - target) if not reached(one) else Decimal(0) for one in seen[-2:])
    if now < before:
        return told("improving", "nearer to the target than the observation before")
    if now > before:
        return told("worsening", "further from the target than the observation before")
    return told("no-change", "as far from the target as the observation before")


@dataclass(frozen=True, slots=True)
class _Way:
    up: bool = False
    down: bool = False
    at: bool = True

    def reached(self, value: Decimal, target: Decimal) -> bool:
        return (self.at and value == target) or (self.up and value > target) or (self.down and value < target)


_WAYS: Mapping[str, _Way] = {
    ">=": _Way(up=True),
    ">": _Way(up=True, at=False),
    "<=": _Way(down=True),
    "<": _Way(down=True, at=False),
}


def _way(baseline: Decimal, target: Decimal) -> _Way:
    return _Way(up=baseline < target, down=baseline > target)


@dataclass(frozen=True, slots=True)
class _Index:
    """Observations that count, by code, by reference, and by what they are about."""

    coded: Mapping[str, Sequence[Doc]]
    named: Mapping[str, Doc]
    about: Mapping[str, Sequence[Doc]]


def _index(doc: Doc) -> _Index:
    coded: defaultdict[str, list[Doc]] = defaultdict(list)
    about: defaultdict[str, list[Doc]] = defaultdict(list)
    named: dict[str, Doc] = {}
    for one in entries(doc, "assessments"):
        if word(one.get("state")) not in (*_CLEAR, "") or one.get("not_assessed"):
            continue
        if _system(one) == _LOINC and word(one.get("code")):
            coded[word(one.get("code"))].append(one)
        named[refer("assessments", one)] = one
        for ref in words(one.get("about")):
            about[ref].append(one)
    return _Index(coded, named, about)


def _matching(goal: Doc, index: _Index) -> Iterable[Doc]:
    code = word(goal.get("measure_code"))
    if code and index.coded.get(code):
        return index.coded[code]
    named = [index.named[ref] for ref in words(goal.get("outcomes")) if ref in index.named]
    about = index.about.get(refer("goals", goal), ())
    return {refer("assessments", one): one for one in (*named, *about)}.values()


_LOINC = "http://loinc.org"
"""The system of a goal's ``measure_code``, and of an observation's code that names no other."""


def _system(observation: Doc) -> str:
    return word(observation.get("system")) or _LOINC


def _value(observation: Doc) -> Decimal | None:
    value = observation.get("value")
    return _decimal(value if value is not None else observation.get("score"))


def _decimal(value: Any) -> Decimal | None:
    """Exact; None for what is no number (nothing, yes and no, words, NaN)."""
    try:
        made = Decimal(str(value))
    except InvalidOperation:
        return None
    return made if made.is_finite() else None


UNITS: Mapping[str, tuple[str, Decimal]] = {
    "m": ("length", Decimal("1")),
    "cm": ("length", Decimal("0.01")),
    "mm": ("length", Decimal("0.001")),
    "km": ("length", Decimal("1000")),
    "[in_i]": ("length", Decimal("0.0254")),
    "[ft_i]": ("length", Decimal("0.3048")),
    "[yd_i]": ("length", Decimal("0.9144")),
    "[mi_i]": ("length", Decimal("1609.344")),
    "g": ("mass", Decimal("1")),
    "kg": ("mass", Decimal("1000")),
    "mg": ("mass", Decimal("0.001")),
    "[lb_av]": ("mass", Decimal("453.59237")),
    "[oz_av]": ("mass", Decimal("28.349523125")),
    "s": ("time", Decimal("1")),
    "min": ("time", Decimal("60")),
    "h": ("time", Decimal("3600")),
    "d": ("time", Decimal("86400")),
    "wk": ("time", Decimal("604800")),
    "%": ("percent", Decimal("1")),
}
"""UCUM code → what it measures, and how many of the first unit of that kind it is (https://ucum.org/ucum, tables 1 to 7). Exact:
values are multiplied, never divided."""


def _comparable(value: Decimal, observation: Doc, goal: Doc) -> Decimal | None:
    """The value on the scale that ``_scale`` puts the target on; None when they cannot be compared. Where a code is missing,
    the same words are the same unit."""
    said, wanted = word(observation.get("unit_code")), word(goal.get("target_unit_code"))
    if not said or not wanted:
        unit, other = (word(text).strip().casefold() for text in (observation.get("unit"), goal.get("target_unit")))
        return value * _scale(goal) if unit == other and (unit or said == wanted) else None
    systems = {word(observation.get("unit_system")), word(goal.get("target_unit_system"))} - {""}
    if said == wanted:
        return value * _scale(goal) if len(systems) < 2 else None
    if said in UNITS and wanted in UNITS and UNITS[said][0] == UNITS[wanted][0] and systems <= {_UCUM}:
        return value * UNITS[said][1]
    return None


def _scale(goal: Doc) -> Decimal:
    """What the target is multiplied by, so that all values stand in the first unit of its kind."""
    return UNITS.get(word(goal.get("target_unit_code")), ("", Decimal(1)))[1]


_UCUM = "http://unitsofmeasure.org"


# ------------------------------------------------------------------------------------------ whose words


def client_expressed(goal: Doc, doc: Doc, today: date) -> bool:
    """Whether the client said it, or a guardian who was valid on the day it was said (when it started; today for one that starts
    later or says nothing)."""
    return people.speaks_for_client(doc, goal.get("set_by"), said_on(goal, today))


def said_on(goal: Doc, today: date) -> date:
    """The day on which a goal was expressed, as far as it is known."""
    started = first_day(goal.get("started"))
    return min(started, today) if started else today


def expressed(doc: Doc, today: date) -> list[Doc]:
    """The client's own goals that stand, in their order."""
    return [goal for goal in entries(doc, "goals") if stands(goal) and client_expressed(goal, doc, today)]
