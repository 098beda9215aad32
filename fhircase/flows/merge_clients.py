"""Merge messages (ADT A34, A40): which records are meant, and every resource that has to point elsewhere (STANDARDS §5.4).
What a merge means is ``plans.merging``'s."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fhircase.flows.scene import Item, Scene, bears, retired_one
from fhircase.intake.findings import Fact
from fhircase.plans import identity, merging, opening, overlay
from fhircase.plans.change import Ref, Review, Write
from fhircase.ports import Stored


def merge(scene: Scene) -> str | None:
    client: str | None = None
    patients = [f for f in scene.finding.facts if f.type == "Patient"]
    for fact, gone in zip(patients, scene.finding.retired, strict=False):
        client = _merge_pair(scene, fact, [(i.system, i.value) for i in gone if i.claims]) or client
    return client


def _merge_pair(scene: Scene, fact: Fact, gone: Sequence[tuple[str, str]]) -> str | None:
    plans = scene.tx.plans
    kept = [(i.system, i.value) for i in fact.identities if i.claims]
    scene.locks.update(f"Patient|{system}|{value}" for system, value in (*kept, *gone))
    claimed: dict[Ref, set[tuple[str, str]]] = {}
    for number in (*kept, *gone):
        holder = plans.holder("Patient", *number)
        if holder is None:
            bearers = [s for s in plans.by_identifier("Patient", *number) if not retired_one(s.body)]
            holder = bearers[0].ref if len(bearers) == 1 else None
        if holder is not None:
            claimed.setdefault(holder, set()).add(number)
    bodies = dict(plans.get_many(claimed)) if claimed else {}
    scene.survivors(claimed, bodies)
    holders = {number: ref for ref, numbers in claimed.items() for number in numbers}
    verdict = merging.judge(kept, gone, holders, {ref: s.body for ref, s in bodies.items()})
    ref = verdict.survivor or Ref("Patient", scene.hub.ids.new())
    stored = bodies.get(ref)
    scene.new_client = stored is None
    scene.locals[fact.local] = ref
    before = overlay.bare(stored.body) if stored is not None else None
    drafted = scene.alone(fact)
    if verdict.kind == "inverse":
        scene.reviews.append(
            Review(
                kind="identity",
                key=f"merge:{ref}:{scene.partner.name}",
                what="a merge that is the opposite of an earlier one",
                subject=ref,
                hint="say which number is the client's now",
                client=ref.id,
                partner=scene.partner.name,
                detail={"doubt": "inverse", "kept": [f"{s}|{v}" for s, v in kept], "retired": [f"{s}|{v}" for s, v in gone]},
            )
        )
        return ref.id
    if before is not None and identity.clash(before, drafted):
        scene.reviews.append(
            Review(
                kind="identity",
                key=f"merge-clash:{ref}:{scene.partner.name}",
                what="family name and birth date of the merge's survivor differ",
                hint="merge by hand if they are one person",
                subject=ref,
                client=ref.id,
                partner=scene.partner.name,
                detail={"doubt": "clash", "kept": [f"{s}|{v}" for s, v in kept], "retired": [f"{s}|{v}" for s, v in gone]},
            )
        )
        return ref.id
    item = Item(fact, ref, stored, drafted, before, tuple(kept))
    scene.draft_patient(item, late=False)
    old = tuple(gone)
    if verdict.kind in ("alias", "unknown") and old:
        item.body = (
            merging.aged(item.body, old)
            if verdict.kind == "alias"
            else merging.with_old(item.body, [{"system": s, "value": v} for s, v in old])
        )
    item.claims = tuple(dict.fromkeys((*item.claims, *scene.all_claims(item), *(n for n in old if holders.get(n) in (None, ref)))))
    if verdict.kind == "merge" and verdict.retired is not None:
        _merge_records(scene, item, bodies[verdict.retired])
    scene.write(item)
    return ref.id


def _merge_records(scene: Scene, survivor: Item, retired: Stored) -> None:
    plans = scene.tx.plans
    scene.locks.update((f"Patient/{survivor.ref.id}", f"Patient/{retired.id}"))
    gone = overlay.bare(retired.body)
    gone["id"] = retired.id
    theirs = tuple(
        (s, v)
        for i in gone.get("identifier") or ()
        if isinstance(s := i.get("system"), str) and isinstance(v := i.get("value"), str)
        if plans.holder("Patient", s, v) == retired.ref
    )
    survivor.body = merging.survive(survivor.body, gone)
    survivor.claims = tuple(dict.fromkeys((*survivor.claims, *theirs)))
    scene.put(Write("Patient", retired.id, merging.retire(gone, survivor.ref), retired.version, retired.id, claims=()))
    open_cases: dict[str, list[str]] = {"ours": [], "theirs": []}
    for side, client in (("ours", survivor.ref.id), ("theirs", retired.id)):
        for stored in plans.of_client(client, ("EpisodeOfCare",)):
            if stored.body.get("status") in opening.OPEN:
                open_cases[side].append(stored.id)
    plan_of: dict[str, Stored] = {}
    for stored in plans.of_client(retired.id):
        if stored.type == "Patient" or stored.type in merging.HISTORY or stored.deleted:
            continue
        body = merging.repoint(overlay.bare(stored.body), retired.ref, survivor.ref)
        if stored.type == "CarePlan" and stored.case in open_cases["theirs"] and bears(stored.body, opening.PLAN):
            plan_of["theirs"] = stored
            mine = next(
                (
                    s
                    for s in plans.of_client(survivor.ref.id, ("CarePlan",))
                    if s.case in open_cases["ours"] and bears(s.body, opening.PLAN)
                ),
                None,
            )
            if mine is not None:
                body = merging.link_plans(body, mine.id)
                scene.put(
                    Write(
                        "CarePlan",
                        mine.id,
                        merging.link_plans(overlay.bare(mine.body), stored.id),
                        mine.version,
                        survivor.ref.id,
                        mine.case,
                    )
                )
        claims = scene.claims_of(stored)
        scene.put(Write(stored.type, stored.id, body, stored.version, survivor.ref.id, stored.case, claims=claims))
    for grant in plans.grants(client=retired.id):
        if grant.until is None or grant.until > scene.now:
            scene.grants.append(replace(grant, until=scene.now))
            item = survivor.ref if grant.item == retired.ref else grant.item
            scene.grants.append(replace(grant, client=survivor.ref.id, since=max(scene.now, grant.since), until=grant.until, item=item))
    if open_cases["ours"] and open_cases["theirs"]:
        scene.reviews.append(
            Review(
                kind="which-case",
                key=f"which-case:{survivor.ref}",
                what="two records that were merged each have an open case",
                subject=survivor.ref,
                hint="go on with one and close the other; the plans are linked",
                client=survivor.ref.id,
                partner=scene.partner.name,
                detail={"candidates": sorted((*open_cases["ours"], *open_cases["theirs"])), "proposal": "choose"},
            )
        )
