"""The care team follows the hand-over Task: accepting makes a member, letting go ends after the hand-over days
(DECISIONS 2; Shared Care Planning, Task status → CareTeam membership). Pure."""

from __future__ import annotations

from copy import deepcopy

from fhircase.fhir import times
from fhircase.plans.change import Resource

ACCEPTED = frozenset({"accepted", "in-progress", "on-hold", "completed"})
HANDOVER = "urn:fhircase:handover"
"""Identifier system of the hand-over Tasks that the hub makes."""

DAY = 86_400_000


def is_handover(task: Resource) -> bool:
    return any(identifier.get("system") == HANDOVER for identifier in task.get("identifier", ()))


def accepted_now(before: Resource | None, after: Resource) -> bool:
    """True when this version is the one that accepts."""
    return after.get("status") in ACCEPTED and (before is None or before.get("status") not in ACCEPTED)


def take_over(team: Resource, task: Resource, *, at: int, handover_days: int) -> Resource:
    """The team after the Task's owner has accepted at ``at`` (epoch ms): the owner is a participant from then on, the
    requester's participation ends ``handover_days`` later. Returns a new team; the same content when nothing changes."""
    made = deepcopy(team)
    owner = _organization(task, "owner")
    if owner is None:
        return made
    participants = made.setdefault("participant", [])
    last = times.instant(at + handover_days * DAY)
    if not any(_member(p) == owner and not _ended(p, at) for p in participants):
        role = [{"coding": [{"system": "urn:fhircase:codes:team-role", "code": "receiving-setting"}]}]
        participants.append({"role": role, "member": {"reference": owner}, "period": {"start": times.instant(at)}})
    for participant in participants:
        if _member(participant) == owner and not _ended(participant, at):
            participant.get("period", {}).pop("end", None)
    requester = _organization(task, "requester")
    if requester is not None and requester != owner:
        for participant in participants:
            if _member(participant) == requester and "end" not in participant.get("period", {}):
                participant.setdefault("period", {})["end"] = last
    return made


def _organization(task: Resource, element: str) -> str | None:
    reference = task.get(element, {}).get("reference", "")
    return reference if reference.startswith("Organization/") else None


def _member(participant: Resource) -> str:
    return str(participant.get("member", {}).get("reference", ""))


def _ended(participant: Resource, at: int) -> bool:
    end = participant.get("period", {}).get("end")
    return end is not None and times.bounds(end)[1] <= at
