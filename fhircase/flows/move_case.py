"""Move a case through its phases, put it on hold, close and reopen it (``case.lifecycle`` judges). Every move says who, when and
why: the why is the Provenance's reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fhircase.case import lifecycle
from fhircase.case.closing import DESTINATIONS, REASONS, Closing
from fhircase.errors import Invalid, Problem
from fhircase.fhir import times
from fhircase.flows import cases, judged
from fhircase.flows.hub import Hub
from fhircase.mapping import schema
from fhircase.plans.change import Agent
from fhircase.ports import Tx, Viewer

_REASONS = "; ".join(f"{word}: {row.says}" for word, row in REASONS.items())
_DESTINATIONS = "; ".join(f"{word}: {row.says}" for word, row in DESTINATIONS.items())
_WHY = {"type": "string", "pattern": r"\S", "description": "why; kept with the move"}
PHASE = schema.closed(
    {"to": {"type": "string", "enum": [phase for phase in lifecycle.PHASES if phase != "closed"]}, "because": _WHY},
    ("to", "because"),
    "The next phase of a case",
)
REST = schema.closed({"because": _WHY}, ("because",), "Why the work rests, goes on, or the case opens again")
CLOSE = schema.closed(
    {
        "reason": {"type": "string", "enum": list(REASONS), "description": _REASONS},
        "because": {"type": "string", "pattern": r"\S", "description": "in words, beside the reason"},
        "outcome": {"type": "string", "pattern": r"\S", "description": "what the case has come to"},
        "destination": {"type": "string", "enum": list(DESTINATIONS), "description": _DESTINATIONS},
        "goes_on_with": {
            "type": "string", "pattern": r"^(Organization|Practitioner|PractitionerRole)/[A-Za-z0-9\-.]{1,64}$",
            "description": "who cares on, by the hand-over that they accepted",
        },
    },
    ("reason",),
    "How a case closes. A client who withdraws can always close; what is open is then listed",
)  # fmt: skip

Judge = Callable[[Mapping[str, Any], str, str], lifecycle.Moved]
"""(case document, who, when) → what becomes of the episode."""


@dataclass(frozen=True, slots=True)
class Result:
    """``open``: what was open and does not hinder the move."""

    view: cases.CaseView
    open: tuple[Problem, ...]


def phase(hub: Hub, agent: Agent, viewer: Viewer, case: str, to: str, because: str, **told: Any) -> Result:
    """To the next phase. Raises NotFound, Forbidden, Stale, Invalid with everything that stands in the way."""
    return _move(hub, agent, viewer, case, lambda doc, by, at: lifecycle.move(doc, to, by=by, at=at, why=because), because, None, **told)


def close(hub: Hub, agent: Agent, viewer: Viewer, case: str, closing: Closing, because: str, **told: Any) -> Result:
    """Close it: the plan is completed (revoked when the client withdrew). Raises as ``phase``; a withdrawal never Invalid."""
    why = because or REASONS[closing.because].says
    plan = "completed" if REASONS[closing.because].enforced else "revoked"

    def judge(doc: Mapping[str, Any], by: str, at: str) -> lifecycle.Moved:
        return lifecycle.move(doc, "closed", by=by, at=at, why=why, closing=closing)

    return _move(hub, agent, viewer, case, judge, why, plan, **told)


def reopen(hub: Hub, agent: Agent, viewer: Viewer, case: str, because: str, **told: Any) -> Result:
    """Open a closed case again, within the days of return. Raises as ``phase``."""
    return _move(hub, agent, viewer, case, lambda doc, by, at: lifecycle.reopen(doc, by=by, at=at, why=because), because, "active", **told)


def hold(hub: Hub, agent: Agent, viewer: Viewer, case: str, because: str, **told: Any) -> Result:
    """The work rests. Raises as ``phase``."""
    return _move(hub, agent, viewer, case, lambda doc, by, at: lifecycle.hold(doc, by=by, at=at, why=because), because, "on-hold", **told)


def resume(hub: Hub, agent: Agent, viewer: Viewer, case: str, because: str, **told: Any) -> Result:
    """The work goes on. Raises as ``phase``."""
    return _move(hub, agent, viewer, case, lambda doc, by, at: lifecycle.resume(doc, by=by, at=at, why=because), because, "active", **told)


_ASKED = {"/because": "/reason", "/why": "/because"}
"""What the lifecycle calls the parts of a request, and what the request calls them."""


def _move(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    judge: Judge,
    why: str,
    plan: str | None,
    *,
    if_match: str | None = None,
    key: str | None = None,
    correlation: str = "",
) -> Result:
    found: list[Problem] = []

    def decide(tx: Tx, held: cases.Held) -> cases.Decided:
        cases.person(agent)
        at = times.instant(hub.now())
        doc = judged.with_decisions(cases.view_of(hub, held).doc)
        moved = judge(doc, agent.user or agent.partner, at)
        if moved.problems:
            raise Invalid(replace(problem, path=_ASKED.get(problem.path, problem.path)) for problem in moved.problems)
        found[:] = moved.open
        wishes = [cases.Wish("episode", "", dict(moved.episode))]
        if plan is not None and held.plan is not None and doc["plan"].get("state") not in (plan, "entered-in-error"):
            ends = at if plan in ("completed", "revoked") else None
            wishes.append(cases.Wish("plan", "", {"state": plan, "ends": ends}))
        decided = cases.fulfilled(hub, tx, held, wishes, {}, moving=True)
        did = f"moved from {moved.note['from']} to {moved.note['to']}"
        return cases.Decided(decided.writes, did, decided.elements, why)

    cases.attempt(hub, agent, viewer, case, decide, if_match, key, correlation)
    return Result(cases.read(hub, viewer, case), tuple(found))
