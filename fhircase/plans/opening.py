"""What a discharge opens (DECISIONS 8, 9): the case with its one plan, the team, what the template proposes, and the
hand-over. Pure: ids are drawn from an argument, times are given.

A discharge orders nothing: goals are ``proposed``, services are ``proposal``s, and the plan that holds them is active
because it is the hub's record of who cares for the client now. A further discharge of a client with an open case adds a
visit and a transition to that plan, never a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fhircase.plans import handover
from fhircase.plans.change import Origin, Ref, Resource, Review, Write
from fhircase.plans.handover import Receiver
from fhircase.plans.partner import HUB, Partner

EPISODE = "urn:fhircase:episode"
PLAN = "urn:fhircase:plan"
TEAM = "urn:fhircase:team"
GOAL = "urn:fhircase:goal"
SERVICE = "urn:fhircase:service"
PHASE = "urn:fhircase:extension:phase"
CASE_KIND = "urn:fhircase:codes:case-kind"
KIND = "medical"
"""The kind of case that a discharge opens; it picks the template."""

EPISODE_LINK = "http://hl7.org/fhir/StructureDefinition/workflow-episodeOfCare"
CATEGORY = {
    "coding": [{"system": "http://hl7.org/fhir/us/core/CodeSystem/careplan-category", "code": "assess-plan"}],
    "text": "Assessment and plan of treatment",
}
SNOMED = "http://snomed.info/sct"
ROLES = "urn:fhircase:codes:team-role"
ROLE_CASE_MANAGER = {
    "coding": [{"system": ROLES, "code": "case-manager"}, {"system": SNOMED, "code": "768832004"}],
    "text": "Case manager",
}
ROLE_COORDINATION = {
    "coding": [{"system": ROLES, "code": "care-coordinator"}, {"system": SNOMED, "code": "768820003"}],
    "text": "Case management organisation",
}
ROLE_SENDING = {"coding": [{"system": ROLES, "code": "sending-setting"}], "text": "Sending setting"}
ROLE_ATTENDING = {"coding": [{"system": ROLES, "code": "attending"}], "text": "Attending practitioner"}
DAY = 86_400_000
REOPEN_DAYS = 30
OPEN = frozenset({"planned", "waitlist", "active", "onhold"})


@dataclass(frozen=True, slots=True)
class KnownCase:
    """A case of the client as it stands. ``closed``: epoch ms of its end, None while open. ``sensitive``: any label that
    keeps ADT from attaching by itself. ``plan``, ``team`` the ids of the hub's own, None if it has none."""

    id: str
    open: bool
    sensitive: bool = False
    closed: int | None = None
    plan: str | None = None
    team: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Which case an event belongs to. ``join``: the one open; ``new``: none, ``replaces`` the plan of an earlier one;
    ``several`` and ``returned``: a person must say, ``candidates`` names the cases."""

    kind: Literal["new", "join", "several", "returned"]
    case: KnownCase | None = None
    replaces: str | None = None
    candidates: tuple[str, ...] = ()
    beside_sensitive: bool = False


def standing(cases: Sequence[KnownCase], at: int, *, reopen_days: int = REOPEN_DAYS) -> Standing:
    """Where an event at ``at`` (epoch ms) belongs. Cases with a sensitive label are never picked, and never named to anyone
    but the hub's own people: an event beside them opens its own case."""
    plain = [case for case in cases if not case.sensitive]
    beside = any(case.sensitive and case.open for case in cases)
    running = [case for case in plain if case.open]
    if len(running) == 1:
        return Standing("join", running[0], beside_sensitive=beside)
    if running:
        return Standing("several", candidates=tuple(sorted(case.id for case in running)))
    ended = sorted((case for case in plain if case.closed is not None), key=lambda case: case.closed or 0)
    if not ended:
        return Standing("new", beside_sensitive=beside)
    last = ended[-1]
    if at - (last.closed or 0) <= reopen_days * DAY:
        return Standing("returned", last, candidates=(last.id,))
    return Standing("new", replaces=last.plan, beside_sensitive=beside)


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the template for this discharge proposes: resources as the mapping made them, without identifiers, client and
    case. ``template`` names it (DECISIONS 9)."""

    template: str
    goals: tuple[Resource, ...] = ()
    services: tuple[Resource, ...] = ()


@dataclass(frozen=True, slots=True)
class Discharge:
    """One discharge, ready to be acted upon. ``at`` epoch ms; ``when`` FHIR dateTime text of the discharge or None; ``now``
    instant text; ``answer_by`` instant by which the receiver shall answer. ``conditions`` and ``attending`` are
    references to what the message named."""

    client: str
    encounter: str | None
    at: int
    when: str | None
    now: str
    answer_by: str | None
    route: str | None
    disposition: Resource | None
    sender: Partner
    hub: Partner | None
    receiver: Receiver
    conditions: tuple[str, ...] = ()
    attending: tuple[str, ...] = ()
    care_manager: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """``case`` the EpisodeOfCare id that the visit now belongs to, None while a person must say. ``encounter_links``:
    Encounter.episodeOfCare references to add."""

    case: str | None
    writes: tuple[Write, ...] = ()
    reviews: tuple[Review, ...] = ()
    task: str | None = None
    notes: tuple[str, ...] = field(default=())


def on_discharge(
    standing: Standing, discharge: Discharge, proposal: Proposal, new_id: Callable[[], str], *, opens: bool, team: Resource | None = None
) -> Opened:
    """All that follows from a discharge. ``opens``: the sender's setting lets it open a case; ``team`` the hub's CareTeam of
    the case that is joined. A death opens nothing."""
    if standing.kind == "new":
        if not opens or discharge.receiver.kind == "none":
            return Opened(None)
        return _open(discharge, proposal, new_id, replaces=standing.replaces)
    if standing.kind == "join":
        assert standing.case is not None
        case = standing.case
        writes = _join_team(team, discharge, case)
        if discharge.receiver.kind == "none":
            return Opened(case.id, writes, (_closing(discharge, case.id),))
        task, reviews = _hand_over(discharge, case.id, case.plan, new_id)
        return Opened(case.id, (*writes, task), reviews, task.id)
    if discharge.receiver.kind == "none":
        return Opened(None, (), (_which(standing, discharge),))
    task, reviews = _hand_over(discharge, None, None, new_id, draft=True)
    return Opened(None, (task,), (_which(standing, discharge), *reviews), task.id)


def on_admission(
    standing: Standing, discharge: Discharge, new_id: Callable[[], str], *, opens: bool, linked: bool, team: Resource | None = None
) -> Opened:
    """What follows from the beginning of a stay: it joins the open case, and the sender its team when one of its numbers
    was already this client's (DECISIONS 8); or it opens a case without hand-over where the sender's setting says so."""
    if standing.kind == "new":
        return _open(discharge, Proposal(""), new_id, replaces=standing.replaces, transition=False) if opens else Opened(None)
    if standing.kind == "join":
        assert standing.case is not None
        return Opened(standing.case.id, _join_team(team, discharge, standing.case) if linked else ())
    return Opened(None, (), (_which(standing, discharge),))


# ------------------------------------------------------------------------------------------------ the resources


def _open(d: Discharge, proposal: Proposal, new_id: Callable[[], str], *, replaces: str | None, transition: bool = True) -> Opened:
    case, plan, team = new_id(), new_id(), new_id()
    client = {"reference": f"Patient/{d.client}"}
    start = {"start": d.when or d.now}
    hub = handover.party(d.hub, "Case management")
    goals = [_goal(goal, d, new_id()) for goal in proposal.goals]
    services = [_service(service, d, plan, new_id()) for service in proposal.services]
    episode: Resource = {
        "resourceType": "EpisodeOfCare",
        "id": case,
        "extension": [{"url": PHASE, "valueCode": "intake"}],
        "identifier": [{"system": EPISODE, "value": case}],
        "status": "active",
        "statusHistory": [{"status": "active", "period": start}],
        "type": [{"coding": [{"system": CASE_KIND, "code": KIND}]}],
        "patient": client,
        "managingOrganization": hub,
        "period": start,
        "team": [{"reference": f"CareTeam/{team}"}],
    }
    if d.conditions:
        episode["diagnosis"] = [{"condition": {"reference": ref}} for ref in d.conditions]
    if d.care_manager:
        episode["careManager"] = {"reference": d.care_manager}
    care_plan: Resource = {
        "resourceType": "CarePlan",
        "id": plan,
        "extension": [{"url": EPISODE_LINK, "valueReference": {"reference": f"EpisodeOfCare/{case}"}}],
        "identifier": [{"system": PLAN, "value": plan}],
        "status": "active",
        "intent": "plan",
        "category": [CATEGORY],
        "title": "Shared care plan",
        "description": "One plan across settings, kept in step by the case management organisation",
        "subject": client,
        "period": start,
        "created": d.now,
        "author": hub,
        "careTeam": [{"reference": f"CareTeam/{team}"}],
    }
    if replaces:
        care_plan["replaces"] = [{"reference": f"CarePlan/{replaces}"}]
    if d.encounter:
        care_plan["encounter"] = {"reference": f"Encounter/{d.encounter}"}
    if d.conditions:
        care_plan["addresses"] = [{"reference": ref} for ref in d.conditions]
    if goals:
        care_plan["goal"] = [{"reference": f"Goal/{goal['id']}"} for goal in goals]
    if services:
        care_plan["activity"] = [{"reference": {"reference": f"ServiceRequest/{service['id']}"}} for service in services]
    care_team: Resource = {
        "resourceType": "CareTeam",
        "id": team,
        "identifier": [{"system": TEAM, "value": team}],
        "status": "active",
        "name": "Care team",
        "subject": client,
        "period": start,
        "participant": _participants(d),
        "managingOrganization": [hub],
    }
    origin = (Origin("goal", f"template {proposal.template}"),) if proposal.template and (goals or services) else ()
    writes = [
        _write(d, case, episode),
        _write(d, case, care_team),
        *(_write(d, case, one, _whole(one, proposal.template)) for one in (*goals, *services)),
        _write(d, case, care_plan, origin),
    ]
    if not transition:
        return Opened(case, tuple(writes))
    task, reviews = _hand_over(d, case, plan, new_id)
    return Opened(case, (*writes, task), reviews, task.id)


def _whole(resource: Resource, template: str | None) -> tuple[Origin, ...]:
    """The whole resource comes from the template."""
    return (Origin(str(resource["resourceType"]), f"template {template}"),) if template else ()


def _hand_over(
    d: Discharge, case: str | None, plan: str | None, new_id: Callable[[], str], *, draft: bool = False
) -> tuple[Write, tuple[Review, ...]]:
    owner = None if draft else owner_of(d.receiver, d.hub, d.care_manager)
    task = handover.request(
        id=new_id(),
        client=d.client,
        encounter=d.encounter,
        plan=plan,
        owner=owner,
        requester=handover.party(d.sender),
        disposition=d.disposition,
        at=d.now,
        answer_by=d.answer_by,
        label="Take over care after discharge" if owner else "Take over care after discharge: to whom is not known",
    )
    reviews = () if owner or draft else (destination_unknown(d, task["id"], case),)
    return _write(d, case, task), reviews


def owner_of(receiver: Receiver, hub: Partner | None, care_manager: str | None) -> Resource | None:
    """The Task's owner, or None when a person must say."""
    if receiver.kind == "partner":
        return handover.party(receiver.partner)
    if receiver.kind == "hub":
        return {"reference": care_manager} if care_manager else handover.party(hub, "Case management")
    return None


def destination_unknown(d: Discharge, task: str, case: str | None) -> Review:
    """Who takes over is for a person to say."""
    return Review(
        kind="destination",
        key=f"destination:{d.encounter or task}",
        what=d.receiver.why or "who takes over is not clear",
        hint="name the owner of the hand-over Task and set it to requested",
        subject=Ref("Task", task),
        client=d.client,
        case=case,
        partner=d.sender.name,
        detail={"route": d.route, "candidates": list(d.receiver.candidates)},
    )


def _participants(d: Discharge) -> list[Resource]:
    since = {"period": {"start": d.now}}
    found: list[Resource] = [{"role": [ROLE_COORDINATION], "member": handover.party(d.hub, "Case management"), **since}]
    if d.sender.name != HUB:
        found.append({"role": [ROLE_SENDING], "member": handover.party(d.sender), **since})
    if d.care_manager:
        found.append({"role": [ROLE_CASE_MANAGER], "member": {"reference": d.care_manager}, **since})
    found += [{"role": [ROLE_ATTENDING], "member": {"reference": ref}, **since} for ref in d.attending]
    return found


def _join_team(team: Resource | None, d: Discharge, case: KnownCase) -> tuple[Write, ...]:
    """The sender takes part again or for the first time; nothing when it does already."""
    if team is None or d.sender.name == HUB:
        return ()
    member = handover.party(d.sender)
    known = [p for p in team.get("participant") or () if _same_party(p.get("member") or {}, member)]
    if any("end" not in (p.get("period") or {}) for p in known):
        return ()
    added = {"role": [ROLE_SENDING], "member": member, "period": {"start": d.now}}
    return (_write(d, case.id, {**team, "participant": [*(team.get("participant") or ()), added]}),)


def _same_party(a: Resource, b: Resource) -> bool:
    return any(a.get(name) is not None and a.get(name) == b.get(name) for name in ("reference", "identifier"))


def _goal(goal: Resource, d: Discharge, id: str) -> Resource:
    return {
        **goal,
        "resourceType": "Goal",
        "id": id,
        "identifier": [{"system": GOAL, "value": id}],
        "lifecycleStatus": "proposed",
        "subject": {"reference": f"Patient/{d.client}"},
    }


def _service(service: Resource, d: Discharge, plan: str, id: str) -> Resource:
    made = {
        **service,
        "resourceType": "ServiceRequest",
        "id": id,
        "identifier": [{"system": SERVICE, "value": id}],
        "status": "draft",
        "intent": "proposal",
        "subject": {"reference": f"Patient/{d.client}"},
        "basedOn": [{"reference": f"CarePlan/{plan}"}],
        "authoredOn": d.now,
    }
    if d.encounter:
        made["encounter"] = {"reference": f"Encounter/{d.encounter}"}
    return made


def _write(d: Discharge, case: str | None, body: Resource, origins: tuple[Origin, ...] = ()) -> Write:
    return Write(body["resourceType"], body["id"], body, client=d.client, case=case, origins=origins, creator=HUB)


def _which(standing: Standing, d: Discharge) -> Review:
    if standing.kind == "returned":
        what = "a client returns within 30 days after the case was closed"
        hint = "reopen the case, or open a new one"
    else:
        what, hint = "several open cases fit this visit", "say to which case the visit belongs"
    subject = Ref("Encounter", d.encounter) if d.encounter else Ref("Patient", d.client)
    return Review(
        kind="which-case",
        key=f"which-case:{subject}",
        what=what,
        hint=hint,
        subject=subject,
        client=d.client,
        partner=d.sender.name,
        detail={"candidates": list(standing.candidates), "proposal": "reopen" if standing.kind == "returned" else "choose"},
    )


def _closing(d: Discharge, case: str) -> Review:
    return Review(
        kind="closing",
        key=f"closing:{case}",
        what="the client died: nobody is asked to take over",
        hint="close the case",
        subject=Ref("EpisodeOfCare", case),
        client=d.client,
        case=case,
        partner=d.sender.name,
    )


def link_episode(encounter: Resource, case: str) -> Resource:
    """The Encounter with the case among its episodes of care; the same when it is there already."""
    reference: dict[str, Any] = {"reference": f"EpisodeOfCare/{case}"}
    held = encounter.get("episodeOfCare") or []
    return encounter if reference in held else {**encounter, "episodeOfCare": [*held, reference]}
