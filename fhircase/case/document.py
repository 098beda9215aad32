"""How the rules read a case document: entries, references, days. Pure; whatever has another shape than expected counts as absent,
so that a rule says nothing rather than something wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from fhircase.errors import Problem

Doc = Mapping[str, Any]

REFERENCE: Mapping[str, str] = {
    "goals": "Goal",
    "services": "ServiceRequest",
    "equipment": "DeviceRequest",
    "needs": "Condition",
    "assessments": "Observation",
    "strengths": "Observation",
    "stability": "Observation",
    "preferences": "Observation",
    "contacts": "RelatedPerson",
    "handovers": "Task",
    "loops": "Task",
    "tasks": "Task",
    "consents": "Consent",
    "flags": "Flag",
    "crisis_plans": "CarePlan",
    "procedures": "Procedure",
    "plan": "CarePlan",
    "episode": "EpisodeOfCare",
}
"""What a reference to an entry of each part begins with."""

ERROR = "entered-in-error"

OPEN_GOALS = frozenset({"proposed", "planned", "accepted", "active", "on-hold"})
"""Lifecycles of a goal that is still to be resolved."""

GIVEN_UP = frozenset({"cancelled", "rejected"})
"""Lifecycles of a goal that nobody follows any more."""

ORDERS = frozenset({"order", "original-order", "reflex-order", "filler-order", "instance-order", "directive"})
"""Intents of what somebody has ordered; the others are proposals, options and plans."""

ACCEPTED = frozenset({"accepted", "in-progress", "on-hold", "completed"})
"""States of a hand-over or loop that its owner has taken on."""

UNANSWERED = frozenset({"draft", "requested", "received", "ready"})
"""States of a hand-over or loop that nobody has taken on yet."""


def part(doc: Doc, name: str) -> Doc:
    """A single part (``episode``, ``plan``, ``team``, ``client``); empty when absent."""
    held = doc.get(name)
    return held if isinstance(held, Mapping) else {}


def entries(doc: Doc, name: str) -> list[Doc]:
    """The entries of a list, without those entered in error."""
    return [
        one
        for one in items(doc, name)
        if one.get("state") != ERROR and one.get("lifecycle") != ERROR and one.get("verification") not in (ERROR, "refuted")
    ]


def items(held: Doc, name: str) -> list[Doc]:
    """The groups of a field, members of a team for one."""
    found = held.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list | tuple) else []


def words(value: Any) -> tuple[str, ...]:
    """One text or several as texts: a field that may be single or many."""
    if isinstance(value, str):
        return (value,) if value.strip() else ()
    if isinstance(value, list | tuple | set | frozenset):
        return tuple(one for one in value if isinstance(one, str) and one.strip())
    return ()


def word(value: Any) -> str:
    """The first text; '' when there is none."""
    return next(iter(words(value)), "")


def refer(name: str, entry: Doc) -> str:
    """The reference to an entry of ``name``: ``Goal/g-1``; '' for an entry without id."""
    id_ = word(entry.get("id"))
    return f"{REFERENCE[name]}/{id_}" if id_ else ""


def clients(doc: Doc) -> frozenset[str]:
    """The references that mean the client."""
    own = word(part(doc, "client").get("id"))
    named = {word(part(doc, name).get("client")) for name in ("episode", "plan", "team")}
    return frozenset({f"Patient/{own}" if own else "", *named} - {""})


def is_client(doc: Doc, who: Any) -> bool:
    """Whether a reference means the client. A document that does not say who the client is holds one client all the same."""
    text, known = word(who), clients(doc)
    return text in known if known else text.startswith("Patient/")


def case_ref(doc: Doc) -> str:
    """What a point about the whole case is about."""
    return refer("episode", part(doc, "episode")) or "EpisodeOfCare"


_DAY = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:T.*)?)?)?", re.ASCII)


def first_day(value: Any) -> date | None:
    """The first day that a date or date and time can mean (``2026-11`` is the first of November), in the zone that it was
    written in. None for what is no date."""
    return _days(value)[0]


def last_day(value: Any) -> date | None:
    """The last day that a date or date and time can mean. None for what is no date."""
    return _days(value)[1]


def _days(value: Any) -> tuple[date | None, date | None]:
    if isinstance(value, datetime):
        return value.date(), value.date()
    if isinstance(value, date):
        return value, value
    found = _DAY.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None, None
    year, month, day = (int(text) if text else 0 for text in found.groups())
    try:
        low = date(year, month or 1, day or 1)
        if day:
            return low, low
        if not month:
            return low, date(year, 12, 31)
        return low, (date(year, 12, 31) if month == 12 else date(year, month + 1, 1) - timedelta(days=1))
    except ValueError:
        return None, None


def moment(value: Any) -> datetime | None:
    """A date or time on one line of time, to sort by: a date counts as its start, a time without offset as UTC."""
    if isinstance(value, str) and "T" in value:
        try:
            read = datetime.fromisoformat(value)
            return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            return None
    day = first_day(value)
    return datetime.combine(day, time.min, UTC) if day else None


def covers(entry: Doc, day: date) -> bool:
    """Whether ``since`` and ``until`` of an entry hold the day; an open end holds. What is written but cannot be read holds no day."""
    since, until = entry.get("since"), entry.get("until")
    low, high = first_day(since), last_day(until)
    return (since is None or (low is not None and low <= day)) and (until is None or (high is not None and day <= high))


def stands(goal: Doc) -> bool:
    """A goal that somebody follows or has reached."""
    return word(goal.get("lifecycle")) not in GIVEN_UP and goal.get("acceptance") != "disagree"


def runs(service: Doc) -> bool:
    """A service or piece of equipment that is proposed, ordered or done; not one that was revoked or that nobody wants."""
    return service.get("state") != "revoked" and service.get("not_wanted") is not True


def is_order(service: Doc) -> bool:
    """Ordered, hence more than a proposal."""
    return word(service.get("intent")) in ORDERS


def offered(doc: Doc) -> dict[str, Doc]:
    """Services and equipment by their references."""
    return {refer(name, one): one for name in ("services", "equipment") for one in entries(doc, name) if word(one.get("id"))}


def chain(held: Mapping[str, Doc], ref: str, entry: Doc) -> list[tuple[str, Doc]]:
    """A service or piece of equipment, and the proposals and options that it rests on (``based_on``), each once, as (reference,
    entry). ``held`` as ``offered`` gives it."""
    found: dict[str, Doc] = {}
    waiting: list[tuple[str, Doc]] = [(ref, entry)]
    while waiting:
        next_, one = waiting.pop(0)
        if next_ not in found:
            found[next_] = one
            waiting += [(under, held[under]) for under in words(one.get("based_on")) if under in held]
    return list(found.items())


def in_force(plan: Doc, day: date) -> bool:
    """A crisis plan that holds on that day: active, begun, not ended."""
    begins, ends = first_day(plan.get("starts")), last_day(plan.get("ends"))
    return word(plan.get("state")) in ("active", "") and (begins is None or begins <= day) and (ends is None or day <= ends)


def refusal(what: str, path: str, hint: str) -> Problem:
    """What stands in the way."""
    return Problem(what, path, hint, "business-rule")


def told(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The same, told and not enforced."""
    return tuple(Problem(one.what, one.path, one.hint, one.code, "information") for one in problems)
