"""What follows from a change in the same commit, by the hub's own rules: the care team follows an accepted hand-over, privacy
labels follow the kind of the case, the achievement of a measured goal follows its observations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from fhircase.case.goals import achievement, measures
from fhircase.fhir import times
from fhircase.flows import kinds
from fhircase.flows.draft import Draft
from fhircase.flows.hub import Hub
from fhircase.plans import membership
from fhircase.plans.change import WHOLE, Ref, Resource, Write
from fhircase.plans.partner import HUB
from fhircase.ports import Stored, Tx

Doc = dict[str, Any]

TEAM_SYSTEM = "urn:fhircase:team"
KIND_SYSTEM = "urn:fhircase:codes:case-kind"
SENSITIVE = frozenset({"R", "V", "ETH", "SUD", "PSY", "MH", "HIV", "SDV", "STD", "ETHUD", "OPIOIDUD"})
LABELS = "privacy-label"
"""The table of ``mappings/codes``: kind of case → security labels of all that belongs to it."""


def team(hub: Hub, tx: Tx, drafts: Sequence[Draft], now: int) -> list[Draft]:
    """The hub's care team after hand-overs that these drafts accept (DECISIONS 2)."""
    teams: dict[str, Draft] = {}
    for draft in drafts:
        if draft.write.type != "Task" or draft.body is None or draft.creator != HUB or not draft.case:
            continue
        before = None if draft.before is None else draft.before.body
        if not membership.is_handover(draft.body) or not membership.accepted_now(before, draft.body):
            continue
        teams_held = (s for s in tx.plans.of_case(draft.case, ["CareTeam"]) if s.creator == HUB and not s.deleted)
        stored = next((s for s in teams_held if is_team(s.body)), None)
        if stored is None or any(d.write.ref == stored.ref for d in drafts):
            continue
        held = teams.get(draft.case)
        team = held.body if held and held.body else stored.body
        made = membership.take_over(team, draft.body, at=now, handover_days=hub.policy.handover_days)
        write = Write("CareTeam", stored.id, made, case=draft.case)
        teams[draft.case] = Draft(write, stored, made, draft.client, draft.case, HUB, stored.sensitive)
    return list(teams.values())


def goals(hub: Hub, tx: Tx, drafts: Sequence[Draft], now: int) -> list[Draft]:
    """The drafts, with the goals that their observations measure: achievement (``case.goals``) and outcomes follow, the lifecycle is
    a person's. An achievement that the same change says, that no measurement can say (not attainable) or that a review holds
    (DECISIONS 11), stays."""
    made = list(drafts)
    for case in dict.fromkeys(d.case for d in drafts if d.case and d.body is not None and d.write.type in ("Goal", "Observation")):
        tx.plans.lock(f"case|{case}")  # two observations at once measure the goal one after the other
        observed = [d for d in drafts if d.case == case and d.body is not None and kinds.of(d.body) == "assessments"]
        fresh = {str(d.write.ref): _doc(hub, "assessment", d.write.ref, d.body or {}) for d in observed}
        at_hand = {d.write.ref: d for d in drafts if d.case == case and d.write.type == "Goal"}
        held = {s.ref: s for s in tx.plans.of_case(case, ["Goal"]) if not s.deleted} if fresh else {}
        in_question = tx.reviews.holds(held) if held else {}
        for ref in dict.fromkeys((*held, *at_hand)):
            draft = at_hand.get(ref)
            body = draft.body if draft is not None else held[ref].body
            if body is None or not _measured(body) or {WHOLE, "achievementStatus"} & in_question.get(ref, frozenset()):
                continue
            made_of = _achieved(hub, tx, ref, body, draft, fresh, case, now)
            if made_of is None:
                continue
            if draft is not None:
                made[made.index(draft)] = replace(draft, body=made_of[0])
            else:
                made.append(replace(_as_it_is(held[ref], case), body=made_of[0], rule=f"achievement: {made_of[1]}"))
    return made


def _measured(goal: Resource) -> bool:
    return goal.get("lifecycleStatus") in ("accepted", "active", "on-hold") and any("detailQuantity" in t for t in goal.get("target", ()))


def _achieved(
    hub: Hub, tx: Tx, ref: Ref, body: Resource, draft: Draft | None, fresh: Mapping[str, Doc], case: str, now: int
) -> tuple[Resource, str] | None:
    """The goal as it is measured, and why; None when nothing changes."""
    mapping = hub.maps.mapping("goal")
    goal = {**mapping.into(body).doc, "id": ref.id}
    before = mapping.into(draft.before.body).doc if draft is not None and draft.before is not None else {}
    if goal.get("achievement") == "not-attainable" or (draft is not None and goal.get("achievement") != before.get("achievement")):
        return None
    known = dict(fresh)
    if draft is not None and any(goal.get(name) != before.get(name) for name in _MEASURE):
        stored = [s for s in tx.plans.of_case(case, ["Observation"]) if not s.deleted]
    else:
        if not any(measures(one, goal) for one in fresh.values()):
            return None
        named = [Ref.of(text) for text in goal.get("outcomes", ()) if text.count("/") == 1]
        stored = [s for s in tx.plans.get_many(named).values() if not s.deleted] if named else []
    for one in stored:
        if kinds.of(one.body) == "assessments":
            known.setdefault(str(one.ref), _doc(hub, "assessment", one.ref, one.body))
    found = achievement(goal, {"assessments": list(known.values())}, date.fromisoformat(times.instant(now)[:10]))
    if not found.word:
        return None
    outcomes = list(dict.fromkeys((*goal.get("outcomes", ()), found.baseline, found.by)))
    if (found.word, outcomes) == (goal.get("achievement"), goal.get("outcomes")):
        return None
    day = str(known[found.by].get("when", ""))[:10] if found.by in known else ""
    wanted = {**goal, "achievement": found.word, "outcomes": outcomes, **({"achievement_at": day} if len(day) == 10 else {})}
    wanted["id"] = mapping.into(body).doc.get("id", ref.id)
    return mapping.out(wanted, onto=body).resource, found.why


def _doc(hub: Hub, mapping: str, ref: Ref, body: Resource) -> Doc:
    return {**hub.maps.mapping(mapping).into(body).doc, "id": ref.id}


_MEASURE = ("lifecycle", "measure_code", "target_value", "target_unit_code", "target_unit", "target_comparator", "outcomes", "due")


def is_team(team: Resource) -> bool:
    return any(identifier.get("system") == TEAM_SYSTEM for identifier in team.get("identifier", ()))


def is_labelled(body: Resource) -> bool:
    """Whether it bears a sensitive label: a confidentiality above normal, or a sensitivity code (HL7 v3 Confidentiality, ActCode)."""
    return any(coding.get("code") in SENSITIVE for coding in body.get("meta", {}).get("security", ()) if isinstance(coding, dict))


def sensitive_labels(bodies: Iterable[Resource]) -> list[Resource]:
    """The sensitive labels that any of these bears, each once."""
    found: dict[tuple[str, str], Resource] = {}
    for body in bodies:
        if is_labelled(body):
            found.update({(str(one.get("system")), str(one.get("code"))): one for one in body["meta"]["security"]})
    return list(found.values())


def labels(hub: Hub, tx: Tx, drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts with the labels of their cases; when the kind of a case has changed, also all that belongs to it already.
    A label is added, never taken away: that is for a person."""
    wanted: dict[str, tuple[Resource, ...]] = {}
    made = [
        _labelled(draft, _of_case(hub, tx, draft.case, drafts, wanted)) if draft.case and draft.body is not None else draft
        for draft in drafts
    ]
    written = {draft.write.ref for draft in drafts}
    for draft in drafts:
        if draft.write.type != "EpisodeOfCare" or draft.before is None or draft.body is None or not draft.case:
            continue
        fresh = [label for label in wanted[draft.case] if label not in _of_kinds(hub, draft.before.body)]
        if not fresh:
            continue
        for stored in tx.plans.of_case(draft.case):
            if not stored.deleted and stored.ref not in written and stored.type != "Provenance":
                made.append(_labelled(_as_it_is(stored, draft.case), wanted[draft.case]))
    return made


def joining(hub: Hub, tx: Tx, members: Sequence[Ref], case: str, drafts: Sequence[Draft]) -> list[Draft]:
    """Resources that join a case with labels, labelled; nothing for a case without."""
    wanted = _of_case(hub, tx, case, drafts, {})
    if not wanted:
        return []
    return [_labelled(_as_it_is(stored, case), wanted) for stored in tx.plans.get_many(members).values()]


def _as_it_is(stored: Stored, case: str) -> Draft:
    write = Write(stored.type, stored.id, stored.body, expect=stored.version, client=stored.client, case=case)
    return Draft(write, stored, write.body, stored.client, case, stored.creator, stored.sensitive)


def _of_case(hub: Hub, tx: Tx, case: str, drafts: Sequence[Draft], known: dict[str, tuple[Resource, ...]]) -> tuple[Resource, ...]:
    found = known.get(case)
    if found is None:
        ref = Ref("EpisodeOfCare", case)
        drafted = next((draft.body for draft in drafts if draft.write.ref == ref and draft.body is not None), None)
        stored = tx.plans.get(ref) if drafted is None else None
        found = known[case] = _of_kinds(hub, drafted or (stored.body if stored is not None else {}))
    return found


def _of_kinds(hub: Hub, episode: Resource) -> tuple[Resource, ...]:
    """The labels that the kinds of a case ask for (``mappings/codes/privacy-label.json``)."""
    if hub.maps is None:
        return ()
    table = hub.maps.codes(LABELS)
    codings = [coding for concept in episode.get("type", ()) for coding in concept.get("coding", ())]
    kinds = [coding.get("code") for coding in codings if coding.get("system") == KIND_SYSTEM]
    rows = (group.rows.get(kind) for kind in kinds for group in table.groups)
    return tuple({target.code: target.coding() for target, _ in filter(None, rows)}.values())


def _labelled(draft: Draft, wanted: Sequence[Resource]) -> Draft:
    body = draft.body or {}
    meta = body.get("meta", {})
    held = meta.get("security", [])
    standing = {(one.get("system"), one.get("code")) for one in held if isinstance(one, dict)}
    missing = [label for label in wanted if (label.get("system"), label.get("code")) not in standing]
    if not missing:
        return draft
    made = {**body, "meta": {**meta, "security": [*held, *missing]}}
    return replace(draft, body=made, sensitive=True)
