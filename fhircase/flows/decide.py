"""The client's decision on what was offered (CONCEPTS.md, "options and informed decision; refusal"): a service, a piece of equipment
or a goal is accepted or declined, by the client or a guardian who is valid on that day. The Provenance of the commit names who
decided. A refusal is kept and raises nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from fhircase.case import people
from fhircase.errors import Invalid, Problem
from fhircase.fhir import times
from fhircase.flows import cases, kinds
from fhircase.flows.hub import Hub
from fhircase.mapping import schema
from fhircase.plans.change import Agent
from fhircase.ports import Tx, Viewer

_PARTS = {kinds.KINDS[what].type: what for what in ("goals", "services", "equipment")}

SHAPE = schema.closed(
    {
        "on": {
            "type": "string", "pattern": rf"^({'|'.join(_PARTS)})/[A-Za-z0-9\-.]{{1,64}}$",
            "description": "what was offered: a goal, a service or a piece of equipment of this case",
        },
        "decided": {"type": "string", "enum": ["accepted", "declined"]},
        "by": {
            "type": "string", "pattern": r"^(Patient|RelatedPerson)/[A-Za-z0-9\-.]{1,64}$",
            "description": "the client, or a guardian who is valid on that day",
        },
        "at": {"type": "string", "format": "fhir-date", "pattern": r"^\d{4}-\d\d-\d\d", "description": "when; now, if it is left out"},
        "reason": {"type": "string", "pattern": r"\S", "description": "in the client's words"},
    },
    ("on", "decided", "by"),
    "A decision of the client",
)  # fmt: skip


def decide(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    decision: Mapping[str, Any],
    *,
    if_match: str | None = None,
    key: str | None = None,
    correlation: str = "",
) -> cases.CaseView:
    """Keep it on what was offered. Raises NotFound, Forbidden, Stale, Invalid when who decided may not, or a decision breaks a rule."""
    type_, _, id_ = str(decision["on"]).partition("/")
    what = _PARTS[type_]

    def settle(tx: Tx, held: cases.Held) -> cases.Decided:
        cases.person(agent)
        at = str(decision.get("at") or times.instant(hub.now()))
        doc = cases.view_of(hub, held).doc
        problem = people.authority(doc, decision["by"], date.fromisoformat(at[:10]), path="/by")
        if problem is not None:
            raise Invalid(problem)
        entry = next((one for one in doc[what] if one["id"] == id_), None)
        if entry is None:
            raise Invalid(Problem("this case has no such entry", "/on", f"name one of its {what}", "not-found"))
        patch = _goal(entry, decision) if what == "goals" else _request(entry, decision, at)
        decided = cases.fulfilled(hub, tx, held, [cases.Wish(what, id_, patch)], {})
        who = "the client" if str(decision["by"]).startswith("Patient/") else "a guardian"
        words = f"{decision['decided']} by {who}"
        return cases.Decided(decided.writes, words, decided.elements, str(decision.get("reason", "")) or words, str(decision["by"]))

    cases.attempt(hub, agent, viewer, case, settle, if_match, key, correlation)
    return cases.read(hub, viewer, case)


def _request(entry: Mapping[str, Any], decision: Mapping[str, Any], at: str) -> dict[str, Any]:
    """Declined: what is not done yet is revoked. Accepted: it may be ordered (``activate``)."""
    patch: dict[str, Any] = {
        "decided": decision["decided"], "decided_by": decision["by"], "decided_at": at, "decided_because": decision.get("reason"),
    }  # fmt: skip
    if decision["decided"] == "declined" and entry.get("state") in ("draft", "active", "on-hold"):
        patch["state"] = "revoked"
    return patch


def _goal(entry: Mapping[str, Any], decision: Mapping[str, Any]) -> dict[str, Any]:
    if decision["decided"] == "accepted":
        patch: dict[str, Any] = {"acceptance": "agree", "accepted_by": decision["by"], "rejected_because": None}
        return patch | ({"lifecycle": "accepted"} if entry.get("lifecycle") in ("proposed", "planned") else {})
    patch = {"acceptance": "disagree", "accepted_by": decision["by"], "rejected_because": decision.get("reason")}
    return patch | ({"lifecycle": "rejected"} if entry.get("lifecycle") in ("proposed", "planned", "accepted") else {})
