"""Guards of a commit: what the rules of case management refuse, by whichever door it comes (DESIGN, "The house": the mapping shows
the resources touched, ``case`` judges them)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from fhircase.case import lifecycle
from fhircase.errors import Invalid, Problem
from fhircase.fhir import times
from fhircase.flows.draft import Draft
from fhircase.flows.hub import Hub


def moves(hub: Hub, draft: Draft, now: int) -> None:
    """A case moves only as its lifecycle allows. Raises Invalid, by FHIR element."""
    if draft.write.type != "EpisodeOfCare" or draft.body is None:
        return
    mapping = hub.maps.mapping("episode")
    before = mapping.into(draft.before.body).doc if draft.before is not None and not draft.before.deleted else None
    after = mapping.into(draft.body).doc
    found = lifecycle.judge(before, after, on=date.fromisoformat(times.instant(now)[:10]))
    broken = [problem for problem in found if problem.severity == "error"]
    if broken:
        raise Invalid(_by_element(hub, problem) for problem in broken)


def _by_element(hub: Hub, problem: Problem) -> Problem:
    field = problem.path.removeprefix("/episode/")
    try:
        return replace(problem, path=f"EpisodeOfCare.{hub.maps.mapping('episode').element(field)}")
    except KeyError:
        return problem
