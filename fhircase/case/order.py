"""In which order a case is shown. Pure.

What is urgent stands on top: safety flags and the crisis plan. A strengths-based case then shows strengths, and solutions that the
client named before all others; an intensive one shows its contacts before its services (CONCEPTS.md, "model of case management")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhircase.case.attention import named_by_client
from fhircase.case.document import Doc, part, refer
from fhircase.case.models import Effective, effective

TOP = ("flags", "crisis_plans")
STRENGTHS = ("strengths",)
PLAN = ("preferences", "goals", "needs")
WORK = ("services", "equipment")
CONTACT = ("planned_contacts", "appointments", "communications")
REST = ("strengths",)
INTENSIVE_DAYS = 7
"""So many days between contacts, or fewer, make a case intensive."""


def sections(asked: Effective) -> tuple[str, ...]:
    """The lists of a case document that have a place, first to last; the others follow in their own order."""
    first = (*TOP, *(STRENGTHS if asked.strengths_first else ()), *PLAN)
    work = (*CONTACT, *WORK) if asked.contact_days <= INTENSIVE_DAYS else (*WORK, *CONTACT)
    return tuple(dict.fromkeys((*first, *work, *REST)))


def arranged(doc: Doc, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The same document in its order: single parts first, then lists; where the model says so, the client's own solutions before
    other services. Nothing is added, left out or changed. ``overrides`` as in ``models.effective``, which raises Invalid."""
    asked = effective(part(doc, "episode"), overrides)
    placed = sections(asked)
    singles = [name for name, value in doc.items() if not isinstance(value, list)]
    lists = [name for name in placed if isinstance(doc.get(name), list)]
    made = {name: doc[name] for name in [*singles, *lists, *(n for n in doc if n not in placed and n not in singles)]}
    if asked.client_solutions_first and "services" in lists:
        theirs = named_by_client(doc)
        made["services"] = sorted(doc["services"], key=lambda one: not (isinstance(one, Mapping) and refer("services", one) in theirs))
    return made
