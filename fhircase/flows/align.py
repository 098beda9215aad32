"""Bringing one partner up to date at once, and looking at what differs without touching anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fhircase.flows import receive
from fhircase.flows.hub import Hub
from fhircase.flows.talk import Later, Talk
from fhircase.flows.terms import Terms
from fhircase.plans.change import WHOLE, Ref, Resource
from fhircase.plans.partner import CREATE_ONLY, Partner
from fhircase.ports import PartnerDown, Stored, Tx
from fhircase.sync import judge, shadow
from fhircase.sync.dialect import Dialect


@dataclass(frozen=True, slots=True)
class Row:
    """One resource and what is to be done about it at the partner. ``do``: create, update, differs
    or gone; ``elements`` those that differ."""

    ref: Ref
    do: str
    remote: str | None
    elements: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {"ref": str(self.ref), "do": self.do, "remote": self.remote, "elements": list(self.elements)}


def mark_all(hub: Hub, partner: Partner) -> int:
    """Mark everything that the partner may have, and make its lanes due; how many. What it holds already costs nothing: the
    shadows tell."""
    with hub.store.write() as tx:
        found = _wanted(tx, partner, hub.now())
        tx.outbox.mark(partner, found.items())
        tx.outbox.hurry(partner.name)
        tx.outbox.wake()
    return len(found)


def _wanted(tx: Tx, partner: Partner, at: int) -> dict[Ref, str | None]:
    wanted: dict[Ref, str | None] = {}
    for grant in tx.plans.grants(partner=partner.name, at=at):
        if grant.kind == "member":
            for stored in tx.plans.of_client(grant.client, partner.send):
                if stored.case == grant.case or (stored.case is None and not stored.sensitive):
                    wanted[stored.ref] = stored.client
        elif grant.kind == "invited" and grant.item is not None and grant.item.type in partner.send:
            wanted[grant.item] = grant.client
    return wanted


def dry_run(hub: Hub, partner: Partner) -> list[Row]:
    """What would be sent now, from the shadows alone: the partner is not asked."""
    with hub.store.read() as tx:
        wanted = _wanted(tx, partner, hub.now())
        terms = Terms(tx, partner, Dialect.of(partner.dialect), hub.now())
        terms.load(wanted)
        rows = [_would_send(hub, terms, ref) for ref in sorted(wanted, key=str)]
    return [row for row in rows if row is not None]


def _would_send(hub: Hub, terms: Terms, ref: Ref) -> Row | None:
    stored = terms.stored.get(ref)
    link = terms.links.get(ref)
    held = terms.held.get(ref, frozenset())
    if stored is None or stored.deleted or WHOLE in held or not terms.allowed(stored) or (link is not None and link.state != "live"):
        return None
    if link is None or link.remote is None:
        return Row(ref, "create", None) if terms.dialect.creates(ref.type) != "none" else None
    if ref.type in CREATE_ONLY:
        return None
    form = judge.meant(shadow.outgoing(terms.body(ref), terms.known, hub.policy.base_url), link.sent, held)
    elements = judge.unsent(form, link.sent, held)
    return Row(ref, "update", link.remote, tuple(sorted(elements))) if elements else None


def drift(hub: Hub, partner: Partner) -> tuple[list[Row], list[str]]:
    """What differs now between our plan and the partner's server, read from that server; and what could not be read. What its
    dialect drops and what a review holds does not count (DECISIONS 11)."""
    with hub.store.read() as tx:
        wanted = _wanted(tx, partner, hub.now())
        stored = tx.plans.get_many(wanted)
        links = tx.links.get_many(partner.name, wanted)
    dialect = Dialect.of(partner.dialect)
    talk = Talk(hub, partner, dialect, hub.gateways(partner), hub.ids.new())
    rows: list[Row] = []
    unread: list[str] = []
    for ref in sorted(wanted, key=str):
        link = links.get(ref)
        if ref not in stored or stored[ref].deleted or (link is not None and link.state != "live"):
            continue
        if link is None or link.remote is None:
            rows.append(Row(ref, "create", None))
            continue
        try:
            reply = talk.read(ref.type, link.remote, str(ref))
        except (Later, PartnerDown):
            unread.append(str(ref))
            continue
        if reply.resource is None or reply.status in (404, 410):
            rows.append(Row(ref, "gone", link.remote))
            continue
        if ref.type in CREATE_ONLY:
            continue  # created there once and theirs since (DECISIONS 10): that it differs is no drift
        with hub.store.read() as tx:
            elements = _differing(hub, Terms(tx, partner, dialect, hub.now()), stored[ref], reply.resource)
        if elements:
            rows.append(Row(ref, "differs", link.remote, elements))
    with hub.store.write() as tx:
        tx.ledger.add(talk.exchanges)
    return rows, unread


def _differing(hub: Hub, terms: Terms, stored: Stored, raw: Resource) -> tuple[str, ...]:
    terms.load([stored.ref])
    ours = shadow.essence(terms.body(stored.ref))
    theirs = shadow.incoming(raw, stored.ref, terms.local_of, base_url=terms.partner.base_url or "", ours=ours)
    without = terms.held.get(stored.ref, frozenset()) | frozenset(terms.dialect.dropped(stored.type))
    return tuple(sorted(shadow.differing(ours, shadow.essence(theirs), without)))


def collect(hub: Hub, partner: Partner) -> dict[str, Any]:
    """Poll the partner now; what it brought, as numbers."""
    found = receive.collect(hub, partner.name)
    return {
        "seen": found.seen, "taken": found.taken, "new": found.new, "conflicts": found.clashes, "deleted": found.deleted,
        "refused": found.refused, "paused": found.paused,
    }  # fmt: skip
