"""A case in which nothing calls for attention: tests spoil one thing at a time."""

from __future__ import annotations

from copy import deepcopy
from datetime import date
from typing import Any

from fhircase.case.models import EVERY, KINDS

TODAY = date(2026, 11, 25)
CLIENT = "Patient/c-1"
MANAGER = "Practitioner/cm-7"
NEW = "2026-11-25T10:00:00-05:00"

_QUIET: dict[str, Any] = {
    "client": {"id": "c-1", "names": [{"use": "official", "given": ["Ana"], "family": "Ortiz"}]},
    "episode": {
        "id": "ep-1", "state": "active", "phase": "implementation", "kinds": ["medical"], "client": CLIENT, "manager": MANAGER,
        "organization": "Organization/hub", "opened": "2026-11-01",
    },
    "plan": {"id": "p-1", "state": "active", "client": CLIENT, "goals": ["Goal/g-1"], "needs": ["Condition/n-1"]},
    "team": {"id": "t-1", "members": [{"role": "case-manager", "person": MANAGER, "name": "Kim Lee", "since": "2026-11-01"}]},
    "goals": [
        {"id": "g-1", "title": "Walk 50 feet alone", "lifecycle": "active", "measure": "Distance walked", "measure_code": "41950-7",
         "target_value": 50, "target_unit": "feet", "target_unit_code": "[ft_i]", "due": "2026-12-06", "set_by": CLIENT,
         "started": "2026-11-20", "needs": ["Condition/n-1"]},
    ],
    "needs": [{"id": "n-1", "kind": "problem", "clinical": "active", "text": "Weak legs"}],
    "services": [
        {"id": "s-1", "state": "active", "intent": "order", "kind": "physical-therapy", "needs": ["Condition/n-1"],
         "provider": ["Organization/o-1"], "ordered_by": MANAGER, "ordered_at": "2026-11-20T10:00:00Z"},
    ],
    "decisions": [{"on": "ServiceRequest/s-1", "by": CLIENT, "decided": "accepted", "at": "2026-11-19T10:00:00Z"}],
    "contacts": [],
    "assessments": [
        {"id": f"a-{domain}", "state": "final", "domain": domain, "what": domain, "text": "fine", "when": "2026-11-10"}
        for domain in (*EVERY.domains, *KINDS["medical"].domains)
    ],
}  # fmt: skip


def case(**parts: Any) -> dict[str, Any]:
    """The quiet case with whole parts replaced; ``None`` takes a part away."""
    made = deepcopy(_QUIET) | parts
    return {name: value for name, value in made.items() if value is not None}


def changed(name: str, **fields: Any) -> dict[str, Any]:
    """The quiet case with fields of one part changed, of a list's first entry; ``None`` takes a field away."""
    doc = case()
    held = doc[name][0] if isinstance(doc[name], list) else doc[name]
    held.update(fields)
    for field in [field for field, value in fields.items() if value is None]:
        del held[field]
    return doc


def guardian(**fields: Any) -> dict[str, Any]:
    return {"id": "r-1", "active": True, "relationship": "guardian", "since": "2026-01-01", **fields}
