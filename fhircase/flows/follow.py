"""What follows from a change in the same commit, by the hub's own rules: the care team follows an accepted hand-over, privacy
labels follow the kind of the case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from fhircase.flows.draft import Draft
from fhircase.flows.hub import Hub
from fhircase.plans import membership
from fhircase.plans.change import Ref, Resource, Write
from fhircase.plans.partner import HUB
from fhircase.ports import Stored, Tx

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
