"""Who may see whose: grants derived from the hub's CareTeam, its Tasks and the episode (DECISIONS 2, 4). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fhircase.fhir import times
from fhircase.plans.change import Grant, Ref, Resource
from fhircase.plans.partner import Partner

DAY = 86_400_000
OPEN_EPISODE = frozenset({"planned", "waitlist", "active", "onhold"})
INVITING = frozenset({"requested", "received"})
"""Task statuses in which the owner is asked but has not said yes."""


def derive(
    *,
    case: str,
    client: str,
    team: Resource | None,
    tasks: Iterable[tuple[str, Resource]],
    episode: Resource | None,
    partners: Sequence[Partner],
    existing: Sequence[Grant],
    now: int,
    handover_days: int,
) -> list[Grant]:
    """The grants to insert or end so that they say what team, Tasks and episode say.

    ``team`` is the hub's CareTeam of the case, ``tasks`` (id, body) of the case, ``existing`` the case's grants still
    open or yet to end, ``now`` epoch ms. A partner is a member while its Organization is a participant of an active team
    (``period`` bounds it), and for ``handover_days`` at most once the episode has ended. It is invited to a Task that it
    owns and has not answered: the Task, its focus and the client's demographics."""
    by_organization = {partner.organization: partner.name for partner in partners if partner.organization}
    wanted = _members(case, client, team, by_organization, now)
    if episode is not None and episode.get("status") not in OPEN_EPISODE:
        last = now + handover_days * DAY
        wanted = {key: _until(grant, last) for key, grant in wanted.items()}
    for id_, task in tasks:
        for grant in _invitations(case, client, id_, task, by_organization, now):
            wanted.setdefault(_key(grant), grant)

    changes: list[Grant] = []
    for grant in existing:
        if grant.kind == "former" or (grant.until is not None and grant.until <= now):
            continue
        meant = wanted.pop(_key(grant), None)
        until = now if meant is None else meant.until
        if meant is None and episode is not None and episode.get("status") == "entered-in-error":
            until = now
        if until != grant.until:
            changes.append(Grant(grant.partner, grant.client, grant.case, grant.kind, grant.since, until, grant.item))
    changes.extend(grant for grant in wanted.values() if grant.until is None or grant.until > now)
    return changes


def members(team: Resource) -> frozenset[tuple[str, str, str]]:
    """(organisation, start, end) of every participant that gives an organisation access: what a partner may not
    change by itself."""
    found = set()
    for participant in team.get("participant", ()):
        for organization in _organizations(participant):
            period = participant.get("period", {})
            found.add((organization, str(period.get("start", "")), str(period.get("end", ""))))
    return frozenset(found)


def _organizations(participant: Mapping[str, object]) -> Iterable[str]:
    for element in ("member", "onBehalfOf"):
        target = participant.get(element)
        reference = target.get("reference", "") if isinstance(target, dict) else ""
        if isinstance(reference, str) and reference.startswith("Organization/"):
            yield reference.removeprefix("Organization/")


def _members(
    case: str, client: str, team: Resource | None, by_organization: Mapping[str, str], now: int
) -> dict[tuple[str, str, str], Grant]:
    found: dict[tuple[str, str, str], Grant] = {}
    if team is None or team.get("status") not in ("active", None, "proposed"):
        return found
    for participant in team.get("participant", ()):
        period = participant.get("period", {})
        since = times.bounds(period["start"])[0] if "start" in period else 0
        until = times.bounds(period["end"])[1] if "end" in period else None
        for organization in _organizations(participant):
            partner = by_organization.get(organization)
            if partner is None or (until is not None and until <= now):
                continue
            grant = Grant(partner, client, case, "member", max(since, 0), until)
            held = found.get(_key(grant))
            if held is None or (held.until is not None and (until is None or until > held.until)):
                found[_key(grant)] = grant
    return found


def _invitations(case: str, client: str, id_: str, task: Resource, by_organization: Mapping[str, str], now: int) -> Iterable[Grant]:
    owner = task.get("owner", {}).get("reference", "")
    partner = by_organization.get(owner.removeprefix("Organization/")) if owner.startswith("Organization/") else None
    if partner is None or task.get("status") not in INVITING:
        return
    yield Grant(partner, client, case, "invited", now, None, Ref("Task", id_))
    yield Grant(partner, client, case, "invited", now, None, Ref("Patient", client))
    focus = task.get("focus", {}).get("reference", "")
    if focus.count("/") == 1:
        yield Grant(partner, client, case, "invited", now, None, Ref.of(focus))


def _key(grant: Grant) -> tuple[str, str, str]:
    return (grant.partner, grant.kind, str(grant.item) if grant.item else "")


def _until(grant: Grant, last: int) -> Grant:
    until = last if grant.until is None else min(grant.until, last)
    return Grant(grant.partner, grant.client, grant.case, grant.kind, grant.since, until, grant.item)
