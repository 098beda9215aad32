"""Operating one partner: bring it up to date at once, say what would be sent, say what differs now (DESIGN "Sync")."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fhircase.flows import receive
from fhircase.flows.deliver import planned
from fhircase.flows.hub import Hub
from fhircase.flows.talk import Later, Talk, etag_of, same_version
from fhircase.flows.terms import Terms
from fhircase.plans.change import Ref
from fhircase.plans.partner import CREATE_ONLY, Partner
from fhircase.ports import PartnerDown, Tx
from fhircase.sync import judge, shadow
from fhircase.sync.dialect import Dialect

MOST = 2_000
"""Copies that ``drift`` reads at once; it says when there are more."""


def sync(hub: Hub, partner: Partner) -> dict[str, Any]:
    """Poll the partner now and mark everything that it may have; its lanes send what it lacks. ``collected`` as
    ``receive.collect`` tells it, ``marked`` how many resources its lanes look at."""
    collected = receive.collect(hub, partner.name)
    with hub.store.write() as tx:
        refs = _may_have(hub, tx, partner)
        tx.outbox.mark(partner, refs)
        tx.outbox.wake()
    return {"collected": asdict(collected), "marked": len(refs)}


def dry_run(hub: Hub, partner: Partner) -> dict[str, Any]:
    """What would be sent now, in order: ``items`` of ``{ref, does, elements}``. Nothing is asked of the partner and nothing
    is written; a pending write of unknown outcome shows as ``examine``."""
    with hub.store.read() as tx:
        refs = [ref for ref, _ in _may_have(hub, tx, partner)]
        items = [{"ref": str(op.ref), "does": op.kind, "elements": sorted(op.elements)} for op in planned(hub, tx, partner, refs)]
    return {"items": items, "next": None}


def drift(hub: Hub, partner: Partner) -> dict[str, Any]:
    """What differs now between ours and each linked copy, read past every cache: ``items`` of ``{ref, remote, state,
    elements, held}``; ``state``: differs, changed-there (a version that was not collected yet), gone. Raises nothing for what
    the partner does: ``stopped`` says why the list is not complete."""
    dialect = Dialect.of(partner.dialect)
    talk = Talk(hub, partner, dialect, hub.gateways(partner), hub.ids.new())
    with hub.store.read() as tx:
        links = [link for link in tx.links.all(partner.name) if link.state == "live" and link.remote and link.ref.type not in CREATE_ONLY]
    items: list[dict[str, Any]] = []
    stopped = f"only the first {MOST} of {len(links)} copies were read" if len(links) > MOST else ""
    try:
        for link in links[:MOST]:
            reply = talk.read(link.ref.type, str(link.remote), str(link.ref))
            remote = f"{link.ref.type}/{link.remote}"
            if reply.status in (404, 410):
                items.append({"ref": str(link.ref), "remote": remote, "state": "gone", "elements": [], "held": []})
                continue
            with hub.store.read() as tx:
                stored = tx.plans.get(link.ref)
                if stored is None or stored.deleted:
                    continue
                terms = Terms(tx, partner, dialect, hub.now())
                ours = stored.body
                theirs = shadow.incoming(reply.resource or {}, link.ref, terms.local_of, base_url=partner.base_url or "", ours=ours)
                held = tx.reviews.holds([link.ref]).get(link.ref, frozenset())
                otherwise = dialect.dropped(link.ref.type)
                elements = shadow.differing(shadow.essence(ours), shadow.essence(theirs), otherwise)
                lost = shadow.differing(shadow.bare(link.stored), link.sent) if same_version(etag_of(reply), link.etag) else frozenset()
            elements -= frozenset(e for e in lost if not judge.unsent(shadow.outgoing(ours, lambda ref: True), link.sent) & {e})
            if elements:
                state = "differs" if same_version(etag_of(reply), link.etag) else "changed-there"
                free, kept = sorted(elements - held), sorted(elements & held)
                items.append({"ref": str(link.ref), "remote": remote, "state": state, "elements": free, "held": kept})
    except PartnerDown as down:
        stopped = down.reason
    except Later as later:
        stopped = later.reason
    if talk.exchanges:
        with hub.store.write() as tx:
            tx.ledger.add(talk.exchanges)
    return {"items": items, "compared": len(links), "stopped": stopped, "next": None}


def _may_have(hub: Hub, tx: Tx, partner: Partner) -> list[tuple[Ref, str | None]]:
    """Everything of the clients whose grants this partner has, that it may have now."""
    terms = Terms(tx, partner, Dialect.of(partner.dialect), hub.now())
    found: dict[Ref, str | None] = {}
    for client in dict.fromkeys(grant.client for grant in tx.plans.grants(partner=partner.name, at=hub.now()) if grant.kind != "former"):
        for stored in tx.plans.of_client(client, list(partner.send)):
            if not stored.deleted and terms.allowed(stored):
                found[stored.ref] = stored.client
    return list(found.items())
