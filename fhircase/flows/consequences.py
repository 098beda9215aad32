"""What follows from the step of a visit: cases, plans, hand-overs, and their taking back (DECISIONS 8, 9; STANDARDS §5.1).
What shall follow is decided in ``plans.opening`` and ``plans.handover``; here is what they must know, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fhircase.fhir import times
from fhircase.flows.scene import Item, Scene, Stay, bears
from fhircase.plans import handover, opening, overlay, visits
from fhircase.plans.change import Ref, Resource, Review, Write
from fhircase.plans.membership import is_handover
from fhircase.plans.partner import HUB
from fhircase.ports import Stored

ANSWER_WITHIN_MS = 48 * 3_600_000
"""How long a receiver has to answer a hand-over (Task.restriction.period.end)."""


def follow(scene: Scene, client: str, stay: Stay | None, items: Sequence[Item]) -> str | None:
    """Cases, plans and hand-overs that follow from the step of the visit. Returns the case of the visit, if it has one."""
    if stay is None:
        return _case_of_referral(scene, client)
    if scene.finding.action == "notice":
        return None
    happened = visits.effects(stay.before, stay.after)
    if not happened:
        return None
    scene.locks.add(f"Patient/{client}")
    visit = stay.item.ref.id
    episodes = () if scene.new_client else scene.of_client(client, "EpisodeOfCare")
    tasks = () if scene.new_client else scene.of_client(client, "Task")
    if "withdrawn" in happened or "cancelled" in happened:
        reason = "the discharge was cancelled" if "withdrawn" in happened else "the admission was cancelled"
        _withdraw(scene, tasks, visit, reason, client)
        return None
    if "redirected" in happened:
        _redirect(scene, tasks, stay, client)
        return None
    mine = stay.item.stored.case if stay.item.stored is not None else None
    standing = _standing(scene, episodes, mine)
    discharge = _discharge(scene, client, stay, items)
    if "discharged" in happened:
        if discharge.receiver.kind == "none":
            _withdraw(scene, tasks, None, "the client died", client)
        elif any(
            of_visit(t.body, visit) and t.body.get("status") not in ("cancelled", "entered-in-error", "failed", "rejected") for t in tasks
        ):
            return mine
        opens = scene.partner.opens_case in ("discharge", "admission")
        proposal = (
            _proposal(scene, client) if standing.kind == "new" and opens and discharge.receiver.kind != "none" else opening.Proposal("")
        )
        opened = opening.on_discharge(
            standing,
            discharge,
            proposal,
            scene.hub.ids.new,
            opens=opens,
            team=_team_body(scene, standing),
        )
    else:
        opened = opening.on_admission(
            standing,
            discharge,
            scene.hub.ids.new,
            opens=scene.partner.opens_case == "admission",
            linked=scene.linked,
            team=_team_body(scene, standing),
        )
    _take(scene, opened)
    return opened.case


def _take(scene: Scene, opened: opening.Opened) -> None:
    for write in opened.writes:
        held = _held_version(scene, write)
        scene.writes[write.ref] = replace(write, expect=held, creator=write.creator if held == 0 else None)
        scene.became.append(write.ref)
    scene.reviews += opened.reviews


def _held_version(scene: Scene, write: Write) -> int:
    for stored in (s for found in scene._held.values() for s in found):
        if stored.ref == write.ref:
            return stored.version
    return 0


def _standing(scene: Scene, episodes: Sequence[Stored], mine: str | None) -> opening.Standing:
    cases = []
    for episode in episodes:
        body = episode.body
        status, end = body.get("status"), (body.get("period") or {}).get("end")
        running = status in opening.OPEN
        if status in ("cancelled", "entered-in-error"):
            continue
        closed = None if running else times.ms_of(end) if end else episode.updated
        plan, team, sensitive = (None, None, episode.sensitive)
        for stored in scene.of_case(episode.id):
            if stored.type == "CarePlan" and stored.creator == HUB and bears(stored.body, opening.PLAN):
                plan, sensitive = stored.id, sensitive or stored.sensitive
            elif stored.type == "CareTeam" and stored.creator == HUB and bears(stored.body, opening.TEAM):
                team = stored.id
        case = opening.KnownCase(episode.id, running, sensitive, closed, plan, team)
        if case.id == mine and running:
            return opening.Standing("join", case)
        cases.append(case)
    return opening.standing(cases, scene.at)


def hub_team(scene: Scene, case: str) -> Stored | None:
    return next((s for s in scene.of_case(case) if s.type == "CareTeam" and s.creator == HUB and bears(s.body, opening.TEAM)), None)


def _team_body(scene: Scene, standing: opening.Standing) -> Resource | None:
    if standing.kind != "join" or standing.case is None:
        return None
    stored = hub_team(scene, standing.case.id)
    return overlay.bare(stored.body) if stored is not None else None


def _discharge(scene: Scene, client: str, stay: Stay, items: Sequence[Item]) -> opening.Discharge:
    after = stay.after
    found = handover.receiver(after.route, after.code, after.named, scene.partners, sender=scene.partner.name)
    body = stay.item.body
    attending = tuple(
        ref
        for p in body.get("participant") or ()
        if any(c.get("code") == "ATND" for t in p.get("type") or () for c in t.get("coding") or ())
        if (ref := str((p.get("individual") or {}).get("reference") or "")).startswith(("Practitioner/", "PractitionerRole/"))
    )
    conditions = tuple(str(i.ref) for i in items if i.ref.type == "Condition" and not _in_error(i.body))
    when = (after.end if after.discharged else after.start) or scene.finding.happened
    return opening.Discharge(
        client=client,
        encounter=stay.item.ref.id,
        at=scene.at,
        when=when,
        now=times.instant(scene.now),
        answer_by=times.instant(scene.now + ANSWER_WITHIN_MS),
        route=after.route,
        disposition=after.disposition,
        sender=scene.partner,
        hub=next((p for p in scene.partners if p.name == HUB), None),
        receiver=found,
        conditions=conditions,
        attending=attending,
    )


def _proposal(scene: Scene, client: str) -> opening.Proposal:
    """What the template of this disposition proposes, as the mappings write it."""
    said = scene.finding.disposition
    template = scene.hub.maps.templates(opening.KIND, said.route if said else None)
    if template is None:
        return opening.Proposal("")
    made: dict[str, list[Resource]] = {"goal": [], "service": []}
    for name, docs in (("goal", template.goals), ("service", template.services)):
        mapping = scene.hub.maps.mapping(name, scene.site)
        for doc in docs:
            made[name].append(mapping.out({"id": "proposed", "client": f"Patient/{client}", **doc}).resource)
    return opening.Proposal(template.name, tuple(made["goal"]), tuple(made["service"]))


def _withdraw(scene: Scene, tasks: Sequence[Stored], visit: str | None, reason: str, client: str) -> None:
    by_id = {t.id: t for t in tasks}
    found = handover.withdraw(
        [overlay.bare(t.body) for t in tasks], encounter=visit, reason=reason, at=times.instant(scene.now), new_id=scene.hub.ids.new
    )
    for body in found.cancelled:
        held = by_id[body["id"]]
        scene.put(Write("Task", held.id, body, held.version, client, held.case))
    for body in found.asks:
        focus = by_id[str(body["focus"]["reference"]).removeprefix("Task/")]
        scene.put(Write("Task", body["id"], body, 0, client, focus.case, creator=HUB))
    for id_ in found.done:
        scene.reviews.append(
            Review(
                kind="withdrawal",
                key=f"withdrawal:{id_}",
                what=f"the hand-over was completed, and {reason}",
                client=client,
                hint="settle with the receiver who cares for the client",
                subject=Ref("Task", id_),
                case=by_id[id_].case,
                partner=scene.partner.name,
            )
        )


def _redirect(scene: Scene, tasks: Sequence[Stored], stay: Stay, client: str) -> None:
    """The discharge stands, its destination changed: a draft may find its owner now; one that was sent is a person's."""
    after = stay.after
    found = handover.receiver(after.route, after.code, after.named, scene.partners, sender=scene.partner.name)
    hub = next((p for p in scene.partners if p.name == HUB), None)
    owner = opening.owner_of(found, hub, None)
    for held in tasks:
        task = overlay.bare(held.body)
        if not of_visit(task, stay.item.ref.id) or not is_handover(task):
            continue
        if found.kind == "none" and task.get("status") in handover.UNANSWERED:
            _withdraw(scene, [held], stay.item.ref.id, "the client died", client)
        elif task.get("status") == "draft" and "owner" not in task and owner is not None:
            body = handover.addressed(task, owner, after.disposition, times.instant(scene.now))
            scene.put(Write("Task", held.id, body, held.version, client, held.case))
        elif task.get("status") in handover.UNANSWERED | handover.UNDER_WAY and task.get("owner") != owner:
            scene.reviews.append(
                Review(
                    kind="destination",
                    key=f"destination:{stay.item.ref.id}",
                    what="the sender names another destination after the hand-over was asked for",
                    hint="leave the hand-over, or cancel it and ask another",
                    subject=held.ref,
                    client=client,
                    case=held.case,
                    partner=scene.partner.name,
                    detail={"route": after.route, "candidates": list(found.candidates)},
                )
            )


def _case_of_referral(scene: Scene, client: str) -> str | None:
    """A referral stands in the client's one open case, else under the client alone."""
    if scene.finding.action != "referral" or scene.new_client:
        return None
    standing = _standing(scene, scene.of_client(client, "EpisodeOfCare"), None)
    return standing.case.id if standing.kind == "join" and standing.case is not None else None


def of_visit(task: Resource, visit: str) -> bool:
    return is_handover(task) and (task.get("encounter") or {}).get("reference") == f"Encounter/{visit}"


def _in_error(condition: Resource) -> bool:
    return any(c.get("code") == "entered-in-error" for c in (condition.get("verificationStatus") or {}).get("coding") or ())
