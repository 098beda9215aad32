"""A person settles a review: what was held flows again, on every side (DECISIONS 11)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fhircase.errors import Conflict, Invalid, NotFound, Problem
from fhircase.fhir import jsontext
from fhircase.flows import commit
from fhircase.flows.hub import Hub
from fhircase.plans.change import Agent, Change, Resource, Source, Write
from fhircase.ports import AuditEntry, OpenReview, Tx
from fhircase.sync import shadow

WAYS = ("ours", "theirs", "value", "done")
ELEMENTWISE = frozenset({"conflict", "invalid", "widening"})
"""Kinds whose detail says an element, what we hold and what they hold."""


def settle(hub: Hub, id: str, resolution: Mapping[str, Any], *, agent: Agent, key: str | None = None, correlation: str = "") -> OpenReview:
    """Settle an open review by ``{"take": "ours" | "theirs" | "value" | "done", "value": …, "note": …}``.

    *ours*: what we hold goes to every partner. *theirs*: what the partner holds becomes ours, as this person's own change.
    *value*: the element becomes ``value``. *done*: it was seen to elsewhere, which is all that a review without an element
    allows. In one transaction with the change. Raises NotFound, Conflict when it is settled already, Invalid for a way that
    this review does not allow or a value that breaks the checks."""
    with hub.store.read() as tx:
        held = tx.reviews.get(id)
        if held is None:
            raise NotFound("no such review")
        if held.settled is not None:
            raise Conflict("it is settled already", hint=f"see GET /reviews/{id}")
        body = _chosen(tx, held, resolution)
    writes: tuple[Write, ...] = ()
    subject = held.review.subject
    if body is not None and subject is not None:
        writes = (Write(subject.type, subject.id, body[0], expect=body[1]),)
    change = commit.check(Change(writes, agent, Source("hub"), f"settled review {id}", activity="settle", settles=(id,)))
    with hub.store.write() as tx:
        now = hub.now()
        commit.commit(hub, tx, change, key=key, correlation=correlation)
        tx.reviews.settle(id, at=now, by=agent.user or agent.partner, resolution=resolution)
        refs = (str(subject),) if subject else ()
        clients = (held.review.client,) if held.review.client else ()
        tx.audit.add([AuditEntry(now, "E", "settle-review", agent.partner, agent.user, key, refs, clients, "0", correlation, id)])
        if subject is not None:
            _flow_again(tx, held)
        settled = tx.reviews.get(id)
    if settled is None:
        raise NotFound("no such review")
    return settled


def _chosen(tx: Tx, held: OpenReview, resolution: Mapping[str, Any]) -> tuple[Resource, int] | None:
    """The subject as the person wants it and the version that this is built on; None when ours stays."""
    way = resolution.get("take")
    if way not in WAYS:
        raise Invalid(Problem("say how it was settled", "/take", "one of " + ", ".join(WAYS)))
    review = held.review
    element = review.holds or str(review.detail.get("element", ""))
    if way in ("ours", "done"):
        return None
    if review.kind not in ELEMENTWISE or review.subject is None or not element:
        raise Invalid(Problem(f"this review holds no element, so there is nothing to take as {way}", "/take", 'send {"take": "done"}'))
    stored = tx.plans.get(review.subject)
    if stored is None or stored.deleted:
        raise Conflict(f"{review.subject} is no longer there", hint='send {"take": "ours"}')
    name = element.rsplit(".", 1)[-1] if "." in element else element
    ours = stored.body
    if way == "value":
        if "value" not in resolution:
            raise Invalid(Problem("the value is missing", "/value", f"send the whole element {name}"))
        return shadow.with_part(ours, name, {name: resolution["value"]} if resolution["value"] is not None else {}), stored.version
    theirs = jsontext.loads(str(review.detail.get("theirs", "{}")))
    if name == review.subject.type:
        return theirs, stored.version
    return shadow.with_part(ours, name, theirs), stored.version


def _flow_again(tx: Tx, held: OpenReview) -> None:
    """Mark the subject for every partner that has a copy: what is to be sent is judged again when it is sent."""
    subject = held.review.subject
    if subject is None:
        return
    for partner in tx.partners.all():
        if partner.base_url and tx.links.get(partner.name, subject) is not None:
            tx.outbox.mark(partner, [(subject, held.review.client)])
    tx.outbox.wake()
