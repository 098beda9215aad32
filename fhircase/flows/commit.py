"""The one way in (law 1): check → authorise → compare versions → store → index → grants → provenance and audit →
outbox, in one database transaction. Nothing else writes FHIR resources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fhircase.access.viewer import Viewer
from fhircase.errors import Conflict, Forbidden, Gone, Invalid, NotFound, Problem, Stale
from fhircase.fhir import checks, equal, index, jsontext, refs, stamp, times
from fhircase.flows import follow, guards
from fhircase.flows.draft import Draft
from fhircase.flows.hub import Hub
from fhircase.plans import events, grants, membership, provenance
from fhircase.plans.change import WHOLE, Agent, Change, Grant, Ref, Resource, Review, Source, Write
from fhircase.plans.partner import CREATE_ONLY, DIRECTORY_TYPES, HUB, Partner
from fhircase.ports import AuditEntry, Record, Stamp, Stored, Tx

BY_RULE = frozenset({"hl7v2", "message", "document", "hub"})
"""Sources whose changes are decided by the hub's own rules; every other change is judged by its agent's grants."""

GRANTING = frozenset({"CareTeam", "Task", "EpisodeOfCare"})
GUARDED = frozenset({"Consent", "EpisodeOfCare"})
"""Types that decide who may see what: a partner's edit of them is a review (DECISIONS 2)."""

CASE_LINKS = ("basedOn", "focus", "partOf", "episodeOfCare", "replaces")
"""Reference elements through which a resource belongs to the case of what it points at."""

TARGETING = frozenset({"Provenance"})
PLAN_LINKS = ("goal", "careTeam", "supportingInfo", "addresses")


@dataclass(frozen=True, slots=True)
class Committed:
    """``stamp`` None when nothing was written. ``stored``: every resource of the change as it now stands.
    ``unchanged``: those that already said the same. ``reviews``: ids opened or brought up to date."""

    stamp: Stamp | None
    stored: Mapping[Ref, Stored]
    reviews: tuple[str, ...] = ()
    unchanged: frozenset[Ref] = field(default_factory=frozenset)


def check(change: Change, *, lenient: bool = False) -> Change:
    """Run before the transaction opens, so that a large bundle does not hold the writer (DECISIONS 27).

    Strict: raises Invalid with every problem of every resource. Lenient: raises Invalid only for what cannot be
    represented; the change comes back with a review for each resource that breaks the checks (DECISIONS 13)."""
    broken: list[Problem] = []
    reviews = list(change.reviews)
    for write in change.writes:
        if write.body is None:
            continue
        found = checks.unrepresentable(write.body) or [p for p in checks.check(write.body) if p.severity == "error"]
        if not found:
            continue
        if not lenient or checks.unrepresentable(write.body):
            broken += found
            continue
        reviews.append(
            Review(
                kind="invalid",
                key=f"invalid:{write.ref}",
                what=f"{write.type} breaks the checks and was stored as sent",
                hint="Correct it here or at its source; it is not pushed until then",
                subject=write.ref,
                client=write.client,
                partner=change.agent.partner,
                holds=WHOLE,
                detail={"problems": [{"path": p.path, "what": p.what} for p in found[:50]]},
            )
        )
    if broken:
        raise Invalid(broken)
    return replace(change, reviews=tuple(reviews))


def commit(hub: Hub, tx: Tx, change: Change, *, key: str | None = None, correlation: str = "", message: str | None = None) -> Committed:
    """Apply a checked change in the caller's transaction.

    ``key`` is the API key's id, ``correlation`` the request id, ``message`` the intake message that reviews point at.
    Raises NotFound (foreign or absent alike), Forbidden, Stale, Conflict, Gone; then nothing must be kept: let the
    error end the transaction."""
    now = hub.now()
    current = dict(tx.plans.get_many({write.ref for write in change.writes}))
    reviews = list(change.reviews)

    drafts: list[Draft] = []
    for write in change.writes:
        draft = _draft(tx, change, write, current.get(write.ref), now)
        _authorise(tx, change, draft, now, drafts)
        _expect(write, draft.before)
        draft = _unwiden(tx, change, draft, now, reviews)
        if hub.maps is not None and change.source.kind not in BY_RULE:
            guards.moves(hub, draft, now)
        drafts.append(draft)
    if hub.policy.coordinates:
        drafts += follow.team(hub, tx, drafts, now)
        if hub.maps is not None:
            drafts = follow.goals(hub, tx, drafts, now)
        drafts = follow.labels(hub, tx, drafts)

    changed = [draft for draft in drafts if _differs(draft)]
    unchanged = frozenset(draft.write.ref for draft in drafts) - {draft.write.ref for draft in changed}
    stored = {draft.write.ref: draft.before for draft in drafts if draft.before is not None}
    if not changed and not reviews and not change.grants and not change.settles:
        return Committed(None, stored, (), unchanged)

    partners = tx.partners.all() if changed or change.grants else ()
    new_grants = list(change.grants)
    if hub.policy.coordinates:
        new_grants += _derive_grants(hub, tx, changed, partners, now)
    joined = _joins_plan(tx, changed)
    if hub.policy.coordinates:
        labelled = [draft for (_, case), refs_ in joined.items() for draft in follow.joining(hub, tx, refs_, case, drafts)]
        changed += labelled
        done = {draft.write.ref for draft in labelled}
        joined = {key: left for key, refs_ in joined.items() if (left := [ref for ref in refs_ if ref not in done])}
    place = tx.plans.stamp(now) if changed or new_grants or joined else None
    opened = [tx.reviews.open(review, id=hub.ids.new(), at=now, message=message) for review in reviews]
    if place is not None:
        records = [_record(draft, place, hub.policy.base_url + "/fhir") for draft in changed]
        asked = [draft for draft in changed if not draft.rule]
        if asked:
            records.append(_provenance(hub, change, asked, partners, place))
        for rule in dict.fromkeys(draft.rule for draft in changed if draft.rule):
            by_rule = replace(change, agent=Agent(HUB), source=Source("hub"), reason="a rule of the hub", activity=rule, informant=None)
            records.append(_provenance(hub, by_rule, [draft for draft in changed if draft.rule == rule], partners, place))
        if records:
            tx.plans.save(place, records)
            stored.update({Ref(r.type, r.id): _stored(r, place) for r in records})
        for (client, case), members in joined.items():
            tx.plans.assign(place, members, client, case)
        if new_grants:
            tx.plans.grant(place, new_grants)
        tx.audit.add([_audit(change, changed, place, key, correlation)])
        _mark(tx, changed, joined, new_grants, partners, place.at, correlation)
    happened = events.of_commit(
        [(draft.before, stored[draft.write.ref]) for draft in changed],
        grants=new_grants,
        reviews=reviews,
        review_ids=opened,
        settled=change.settles,
        seq=place.seq if place else 0,
        at=place.at if place else now,
        partner=change.agent.partner,
        new_id=hub.ids.new,
    )
    if happened:
        tx.outbox.emit([replace(event, data={**event.data, "correlation": correlation}) if correlation else event for event in happened])
    tx.outbox.wake()
    return Committed(place, stored, tuple(opened), unchanged)


# ------------------------------------------------------------------------------------------ one resource


def _draft(tx: Tx, change: Change, write: Write, before: Stored | None, now: int) -> Draft:
    body = write.body
    client = write.client or (refs.client_of(body) if body is not None else None)
    case = write.case
    if write.type == "Patient":
        client = write.id
    elif write.type in TARGETING and body is not None and client is None:
        client, case = _of_target(tx, change, body, case, now)
    if write.type == "EpisodeOfCare":
        case = write.id
    if before is not None:
        client = client or before.client
        case = case or before.case
    if case is None and body is not None and client is not None:
        case = _case_by_links(tx, change, body, client, now)
    if before is not None:
        creator = before.creator
    elif write.creator:
        creator = write.creator
    else:
        creator = change.agent.partner
    sensitive = bool(body and follow.is_labelled(body)) or (before is not None and before.sensitive and body is None)
    return Draft(write, before, body, client, case, creator, sensitive)


def _case_by_links(tx: Tx, change: Change, body: Resource, client: str, now: int) -> str | None:
    """The case of what it is based on, focused on or part of, where these agree and are of the same client. A link to a
    case that the agent may not know of says as little as one that leads nowhere (DECISIONS 5)."""
    targets: list[Ref] = []
    for element in CASE_LINKS:
        value = body.get(element)
        for reference in value if isinstance(value, list) else [value]:
            literal = reference.get("reference", "") if isinstance(reference, dict) else ""
            if isinstance(literal, str) and literal.count("/") == 1 and not literal.startswith(("#", "urn:", "http")):
                targets.append(Ref.of(literal))
    found = {target.id for target in targets if target.type == "EpisodeOfCare"}
    within = {write.ref: write.case for write in change.writes}
    found |= {case for target in targets if (case := within.get(target))}
    outside = [target for target in targets if target not in within and target.type != "EpisodeOfCare"]
    if outside:
        found |= {held.case for held in tx.plans.get_many(outside).values() if held.case and held.client == client}
    if found and _judged(change):
        found &= {grant.case for grant in tx.plans.grants(partner=change.agent.partner, client=client, at=now) if grant.kind == "member"}
    return found.pop() if len(found) == 1 else None


def _of_target(tx: Tx, change: Change, body: Resource, case: str | None, now: int) -> tuple[str | None, str | None]:
    """Client and case of what a Provenance speaks of, where all targets that the agent may see agree."""
    targets = [
        found for t in body.get("target", ()) if isinstance(t, dict) and (found := refs.literal(t.get("reference"))) and not found.base
    ]
    names = {Ref(t.type, t.id) for t in targets}
    held = tx.plans.get_many(names)
    if _judged(change):
        viewer = Viewer(change.agent.partner, False, now)
        held = {ref: stored for ref, stored in held.items() if tx.plans.read(viewer, ref) is not None}
    clients = {s.client for s in held.values() if s.client} | {w.client for w in change.writes if w.ref in names and w.client}
    cases = {s.case for s in held.values()} | {w.case for w in change.writes if w.ref in names}
    return (clients.pop() if len(clients) == 1 else None), case or (cases.pop() if len(cases) == 1 else None)


def _expect(write: Write, before: Stored | None) -> None:
    version = 0 if before is None else before.version
    if write.expect is None:
        if write.body is None and before is None:
            raise NotFound(f"{write.type} {write.id} is not known here")
        return
    if write.expect == 0 and before is not None and not before.deleted:
        raise Conflict(f"{write.ref} exists already", hint="update it with If-Match")
    if write.expect == 0:
        return
    if before is None:
        raise NotFound(f"{write.type} {write.id} is not known here")
    if before.deleted and write.body is None:
        raise Gone(f"{write.ref} was deleted")
    if write.expect != version:
        raise Stale(f"{write.ref} is now version {version}", hint="read it again, apply your change to that, and send its ETag as If-Match")


def _differs(draft: Draft) -> bool:
    if draft.body is None:
        return draft.before is not None and not draft.before.deleted
    if draft.before is None or draft.before.deleted:
        return True
    if draft.write.case and draft.before.case != draft.case:
        return True
    return not _same(stamp.unstamped(draft.body), stamp.unstamped(draft.before.body))


def _same(one: object, other: object) -> bool:
    """Equal to the token: 72.50 is not 72.5, and true is not 1 (DECISIONS 12); the order of members does not count."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, jsontext.Number):
        return str(one) == str(other)
    return one == other


def _record(draft: Draft, place: Stamp, base_url: str) -> Record:
    write, before = draft.write, draft.before
    version = 1 if before is None else before.version + 1
    method = "DELETE" if draft.body is None else "POST" if before is None else "PUT"
    body = draft.body if draft.body is not None else {"resourceType": write.type}
    text, mark = stamp.stamp(body, id=write.id, version=version, at_ms=place.at)
    return Record(
        type=write.type,
        id=write.id,
        version=version,
        deleted=draft.body is None,
        client=draft.client,
        case=draft.case,
        creator=draft.creator,
        text=text,
        mark=mark,
        method=method,
        sensitive=draft.sensitive,
        index=() if draft.body is None else index.extract({**body, "id": write.id}, base_url=base_url),
        claims=() if draft.body is None else write.claims if write.claims is not None or before is not None else (),
    )


def _stored(record: Record, place: Stamp) -> Stored:
    return Stored(
        record.type, record.id, record.version, place.at, place.seq, record.deleted, record.client, record.case,
        record.creator, record.text, place.at, record.method, record.sensitive, record.mark,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------ who may


def _judged(change: Change) -> bool:
    """Whether the agent's grants decide, and not the hub's own rules or people."""
    return not (change.agent.admin or change.agent.partner == HUB or change.source.kind in BY_RULE)


def _authorise(tx: Tx, change: Change, draft: Draft, now: int, earlier: Sequence[Draft]) -> None:
    """Raises NotFound where the agent may not know of the resource, Forbidden where it may know but not write."""
    agent = change.agent
    if not _judged(change):
        return
    write = draft.write
    absent = NotFound(f"{write.type} {write.id} is not known here")
    if write.type in DIRECTORY_TYPES:
        if draft.before is not None and draft.before.creator != agent.partner:
            raise Forbidden(f"{write.ref} belongs to another organisation", hint="only its creator or an administrator changes it")
        return
    if draft.before is None and write.type == "Patient":
        return
    held = tx.plans.grants(partner=agent.partner, client=draft.client, at=now) if draft.client else ()
    member_of = {grant.case for grant in held if grant.kind == "member"}
    before = draft.before
    if before is not None:
        own = before.creator == agent.partner and not _former(tx, agent, before, now)
        in_case = before.case in member_of if before.case else bool(member_of) and not before.sensitive
        invited = any(grant.kind == "invited" and grant.item == write.ref for grant in held)
        if not (own or in_case or (invited and write.type == "Task")):
            raise Forbidden(f"{write.ref} may be read here, not changed") if invited else absent
        if draft.client != before.client and not own:
            raise Forbidden(f"{write.ref} may not be moved to another client")
        if draft.body is None and before.creator != agent.partner:
            raise Forbidden(f"{write.ref} was contributed by another", hint="what a partner deletes is its own; end it with its status")
        if (draft.client, draft.case) == (before.client, before.case):
            return
    if draft.client is None:
        return
    if draft.case is not None and draft.case not in member_of:
        raise NotFound("the case that it refers to is not known here", path=f"{write.type}")
    if not member_of and not _own_client(tx, agent, draft.client, earlier):
        raise Invalid(
            Problem(
                "the client is not known here",
                f"{write.type}.subject",
                "create the Patient first, or refer to one that you may read",
                "not-found",
            )
        )


def _former(tx: Tx, agent: Agent, before: Stored, now: int) -> bool:
    """Contributed by this partner to a case that it has left: readable, no longer writable."""
    if before.case is None:
        return False
    return not any(g.kind == "member" for g in tx.plans.grants(partner=agent.partner, case=before.case, at=now))


def _own_client(tx: Tx, agent: Agent, client: str, earlier: Sequence[Draft]) -> bool:
    ref = Ref("Patient", client)
    if any(draft.write.ref == ref and draft.creator == agent.partner for draft in earlier):
        return True
    patient = tx.plans.get(ref)
    return patient is not None and patient.creator == agent.partner


def _unwiden(tx: Tx, change: Change, draft: Draft, now: int, reviews: list[Review]) -> Draft:
    """What a partner's edit would change of who may see what stays as it is, and a person is asked (DECISIONS 2)."""
    agent = change.agent
    if not _judged(change) or draft.body is None or draft.before is None:
        return draft
    body, before = draft.body, draft.before.body
    element = ""
    if draft.write.type in GUARDED and equal.differing(body, before):
        element, body = draft.write.type, before
    elif draft.write.type == "CareTeam" and grants.members(body) != grants.members(before):
        element, body = "CareTeam.participant", {**body, "participant": before.get("participant", [])}
        if not body["participant"]:
            del body["participant"]
    elif draft.write.type == "Task" and draft.creator == HUB and (kept := _handed_over(tx, agent, draft, now)):
        element = f"Task.{kept[0]}"
        body = {name: value for name, value in body.items() if name not in kept}
        body |= {name: before[name] for name in kept if name in before}
    lost = [label for label in before.get("meta", {}).get("security", ()) if label not in body.get("meta", {}).get("security", ())]
    if lost:
        meta = {**body.get("meta", {}), "security": [*body.get("meta", {}).get("security", ()), *lost]}
        element, body = element or f"{draft.write.type}.meta.security", {**body, "meta": meta}
    if not element:
        return draft
    reviews.append(
        Review(
            kind="widening",
            key=f"widening:{draft.write.ref}:{agent.partner}",
            what=f"{agent.partner} would change who may see what: {element}",
            hint="Accept it by making the change yourself, or settle this and it stays as it is",
            subject=draft.write.ref,
            client=draft.client,
            case=draft.case,
            partner=agent.partner,
            holds=element.split(".")[1] if "." in element else WHOLE,
            detail={"element": element, "theirs": jsontext.dumps(draft.write.body)},
        )
    )
    return replace(draft, body=body)


def _handed_over(tx: Tx, agent: Agent, draft: Draft, now: int) -> tuple[str, ...]:
    """The elements of the hub's hand-over Task that this partner may not change by itself: only who was asked accepts, only
    members of the case ask another, and who asked for it, for whom and about what is the hub's word."""
    assert draft.body is not None and draft.before is not None
    body, before = draft.body, draft.before.body
    if not membership.is_handover(before):
        return ()
    differing = [name for name in ("requester", "focus", "identifier") if body.get(name) != before.get(name)]
    record = tx.partners.get(agent.partner)
    asked = record is not None and before.get("owner", {}).get("reference") == f"Organization/{record.organization}"
    if membership.accepted_now(before, body) and not asked:
        return ("status", "owner", *differing)
    if body.get("owner") != before.get("owner"):
        held = tx.plans.grants(partner=agent.partner, case=draft.case, at=now) if draft.case else ()
        if membership.accepted_now(before, body) or not any(grant.kind == "member" for grant in held):
            return ("owner", *differing)
    return tuple(differing)


# ------------------------------------------------------------------------------------------ grants, joins


def _derive_grants(hub: Hub, tx: Tx, changed: Sequence[Draft], partners: Sequence[Partner], now: int) -> list[Grant]:
    cases = {(d.case, d.client) for d in changed if d.write.type in GRANTING and d.case and d.client}
    found: list[Grant] = []
    for case, client in sorted(cases):
        bodies: dict[Ref, tuple[Resource, str]] = {
            s.ref: (s.body, s.creator) for s in tx.plans.of_case(case, sorted(GRANTING)) if not s.deleted
        }
        for draft in changed:
            if draft.case == case and draft.write.type in GRANTING:
                if draft.body is None:
                    bodies.pop(draft.write.ref, None)
                else:
                    bodies[draft.write.ref] = (draft.body, draft.creator)
        team = next((b for ref, (b, creator) in bodies.items() if ref.type == "CareTeam" and creator == HUB and follow.is_team(b)), None)
        found += grants.derive(
            case=case,
            client=client,
            team=team,
            tasks=[(ref.id, _within(tx, b, case, client, changed)) for ref, (b, _) in bodies.items() if ref.type == "Task"],
            episode=next((b for ref, (b, _) in bodies.items() if ref.type == "EpisodeOfCare"), None),
            partners=partners,
            existing=tx.plans.grants(case=case),
            now=now,
            handover_days=hub.policy.handover_days,
        )
    return found


def _within(tx: Tx, task: Resource, case: str, client: str, changed: Sequence[Draft]) -> Resource:
    """The Task, without a focus that members of its case may not see: an invitation opens nothing else."""
    focus = refs.literal(task.get("focus", {}).get("reference"))
    if focus is None:
        return task
    ref = Ref(focus.type, focus.id)
    held: Draft | Stored | None = next((draft for draft in changed if draft.write.ref == ref), None) or tx.plans.get(ref)
    loose = held is not None and held.case is None and not held.sensitive
    if held is not None and not focus.base and held.client == client and (held.case == case or loose):
        return task
    return {name: value for name, value in task.items() if name != "focus"}


def _joins_plan(tx: Tx, changed: Sequence[Draft]) -> dict[tuple[str, str], list[Ref]]:
    """Stored resources without a case that a case's plan now refers to: they join it (DECISIONS 3, 10)."""
    joined: dict[tuple[str, str], list[Ref]] = {}
    written = {draft.write.ref for draft in changed}
    for draft in changed:
        if draft.write.type != "CarePlan" or not draft.case or not draft.client or draft.body is None or draft.creator != HUB:
            continue
        targets = {ref for ref in _plan_targets(draft.body) if ref not in written}
        loose = (
            [
                held.ref
                for held in tx.plans.get_many(targets).values()
                if held.case is None and held.client == draft.client and not held.deleted
            ]
            if targets
            else []
        )
        if loose:
            joined.setdefault((draft.client, draft.case), []).extend(loose)
    return joined


def _plan_targets(plan: Resource) -> Iterable[Ref]:
    found = [reference for element in PLAN_LINKS for reference in plan.get(element, ())]
    for activity in plan.get("activity", ()):
        found += [activity.get("reference"), *activity.get("outcomeReference", ())]
    for reference in found:
        literal = reference.get("reference", "") if isinstance(reference, dict) else ""
        if literal.count("/") == 1 and not literal.startswith(("#", "urn:", "http")):
            ref = Ref.of(literal)
            if ref.type not in ("Patient", "Encounter", *DIRECTORY_TYPES):
                yield ref


# ------------------------------------------------------------------------------------------ what follows a commit


def _provenance(hub: Hub, change: Change, changed: Sequence[Draft], partners: Sequence[Partner], place: Stamp) -> Record:
    organization = next((p.organization for p in partners if p.name == change.agent.partner), None)
    operation = {True: "DELETE", False: "UPDATE"}
    targets = [
        (d.write.ref, 1 if d.before is None else d.before.version + 1, "CREATE" if d.before is None else operation[d.body is None])
        for d in changed
    ]
    body = provenance.of(
        targets=targets,
        agent=change.agent,
        organization=organization,
        source=change.source,
        reason=change.reason,
        activity=change.activity,
        recorded=times.instant(place.at),
        origins=[(d.write.ref, origin) for d in changed for origin in d.write.origins],
        informant=change.informant,
    )
    clients = {d.client for d in changed if d.client}
    cases = {d.case for d in changed if d.case}
    labels = follow.sensitive_labels(d.body for d in changed if d.body is not None)
    if labels:
        body["meta"] = {"security": labels}
    id_ = hub.ids.new()
    text, mark = stamp.stamp(body, id=id_, version=1, at_ms=place.at)
    return Record(
        type="Provenance",
        id=id_,
        version=1,
        deleted=False,
        client=clients.pop() if len(clients) == 1 else None,
        case=cases.pop() if len(cases) == 1 else None,
        creator=change.agent.partner if change.source.kind not in BY_RULE else HUB,
        text=text,
        mark=mark,
        method="POST",
        sensitive=any(d.sensitive for d in changed),
        index=index.extract({**body, "id": id_}),
    )


def _audit(change: Change, changed: Sequence[Draft], place: Stamp, key: str | None, correlation: str) -> AuditEntry:
    created = all(draft.before is None for draft in changed)
    deleted = any(draft.body is None for draft in changed)
    return AuditEntry(
        at=place.at,
        action="D" if deleted else "C" if created else "U",
        interaction=change.source.kind,
        partner=change.agent.partner,
        user=change.agent.user,
        key=key,
        refs=tuple(str(draft.write.ref) for draft in changed),
        clients=tuple(sorted({draft.client for draft in changed if draft.client})),
        outcome="0",
        correlation=correlation,
        detail=change.activity,
    )


def _mark(
    tx: Tx,
    changed: Sequence[Draft],
    joined: Mapping[tuple[str, str], Sequence[Ref]],
    new_grants: Sequence[Grant],
    partners: Sequence[Partner],
    at: int,
    correlation: str,
) -> None:
    """Tell the lane of each partner that may have it. Directory resources and the client go along as parents of what
    refers to them; what a partner may really have is judged again when it is sent."""
    pushed = {partner.name: partner for partner in partners if partner.base_url}
    if not pushed:
        return
    clients = {d.client for d in changed if d.client} | {client for client, _ in joined}
    held = [grant for client in sorted(clients) for grant in tx.plans.grants(client=client, at=at)]
    wanted: dict[str, dict[Ref, str | None]] = {}
    loose = [(ref, client, case) for (client, case), members in joined.items() for ref in members]
    items = [(d.write.ref, d.client, d.case) for d in changed] + loose
    for grant in held:
        partner = pushed.get(grant.partner)
        if partner is None or grant.since > at:
            continue
        for ref, client, case in items:
            if client != grant.client or ref.type not in partner.send:
                continue
            if grant.kind == "member" and (case is None or case == grant.case):
                wanted.setdefault(partner.name, {})[ref] = client
            elif grant.kind == "invited" and grant.item == ref:
                wanted.setdefault(partner.name, {})[ref] = client
    for grant in new_grants:
        partner = pushed.get(grant.partner)
        if partner is None or grant.until is not None and grant.until <= at:
            continue
        theirs = wanted.setdefault(partner.name, {})
        if grant.kind == "invited" and grant.item is not None:
            theirs[grant.item] = grant.client
        elif grant.kind == "member" and grant.case is not None:
            for stored in [*tx.plans.of_case(grant.case), *tx.plans.of_client(grant.client)]:
                if stored.type in partner.send and not stored.deleted and stored.case in (None, grant.case):
                    theirs[stored.ref] = grant.client
    for name, marks in wanted.items():
        ordered = sorted(marks.items(), key=lambda item: _order(item[0]))
        tx.outbox.mark(pushed[name], ordered, correlation=correlation)


def _order(ref: Ref) -> tuple[int, str]:
    """Flags first, for who meets the client must know them; then parents before children, roughly. Deliver sends what is still
    missing first."""
    return (_ORDER.get(ref.type, 50), ref.type)


_ORDER = {
    name: place
    for place, name in enumerate(
        [
            "Flag",
            *DIRECTORY_TYPES,
            "Patient",
            "RelatedPerson",
            *CREATE_ONLY,
            "Encounter",
            "EpisodeOfCare",
            "Condition",
            "Observation",
            "CareTeam",
            "Goal",
            "ServiceRequest",
            "DeviceRequest",
            "CarePlan",
            "Task",
        ]
    )
}
