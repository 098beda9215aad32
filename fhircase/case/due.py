"""What is due in a case by a day: goals, hand-overs, loops and tasks with a deadline, contacts asked for, appointments. Pure. What has
been due for long is still due; what is done, called off or refused is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from fhircase.case.document import OPEN_GOALS, Doc, entries, last_day, stands, word

UNDONE = frozenset({"draft", "requested", "received", "accepted", "ready", "in-progress", "on-hold"})
"""States of a task that is still to be done."""


@dataclass(frozen=True, slots=True)
class Due:
    """``what`` the list and ``id`` the entry, ``day`` when it is due, ``title`` as it was entered ('' without)."""

    what: str
    id: str
    day: date
    title: str = ""


def _goals(doc: Doc, name: str) -> Iterator[tuple[Doc, Any]]:
    for goal in entries(doc, name):
        if word(goal.get("lifecycle")) in OPEN_GOALS and stands(goal):
            yield goal, goal.get("due")


def _tasks(doc: Doc, name: str) -> Iterator[tuple[Doc, Any]]:
    for task in entries(doc, name):
        if word(task.get("state")) in UNDONE:
            yield task, task.get("deadline")


def _contacts(doc: Doc, name: str) -> Iterator[tuple[Doc, Any]]:
    for contact in entries(doc, name):
        if word(contact.get("state")) in ("draft", "active", "on-hold") and contact.get("not_wanted") is not True:
            yield contact, contact.get("to") or contact.get("when") or contact.get("from")


def _appointments(doc: Doc, name: str) -> Iterator[tuple[Doc, Any]]:
    for appointment in entries(doc, name):
        if word(appointment.get("state")) in ("proposed", "pending", "booked", "arrived", "checked-in", "waitlist"):
            yield appointment, appointment.get("starts")


PARTS: Mapping[str, Callable[[Doc, str], Iterator[tuple[Doc, Any]]]] = {
    "goals": _goals,
    "handovers": _tasks,
    "loops": _tasks,
    "tasks": _tasks,
    "planned_contacts": _contacts,
    "appointments": _appointments,
}
"""List of the case document → what of it is open, and when it is due."""


def due(doc: Doc, by: date) -> list[Due]:
    """Everything that is due on ``by`` or was due before it, the oldest first. An entry without a day is due on none."""
    found = []
    for name, read in PARTS.items():
        for entry, when in read(doc, name):
            day = last_day(when)
            if day is not None and day <= by:
                found.append(Due(name, word(entry.get("id")), day, word(entry.get("title"))))
    return sorted(found, key=lambda one: (one.day, one.what, one.id))
