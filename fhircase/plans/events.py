"""What happened, told to webhook receivers: ids, links and versions, never clinical content. Pure.

Names follow Standard Webhooks (https://www.standardwebhooks.com, "Event types": full stops between groups, past tense):
the FHIR type in lower case and what became of it (``careplan.updated``), or what it means to a case manager
(``handover.accepted``). The table ``EVENT_TYPES`` is the whole list."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fhircase.errors import Invalid, Problem
from fhircase.plans import membership
from fhircase.plans.change import Grant, Ref, Resource, Review
from fhircase.plans.partner import CREATE_ONLY, PLAN_TYPES

Audience = Literal["resource", "grant", "partner", "hub"]


@dataclass(frozen=True, slots=True)
class Event:
    """One row per event. ``id`` is the webhook-id, stable across retries. ``data`` ids and links only."""

    id: str
    type: str
    at: int
    seq: int
    client: str | None
    case: str | None
    partner: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventType:
    """``audience``: who may be told, judged when it is sent. resource: who may read ``data.resource``; grant: its
    partner and the case's members; partner: the partner it is about; hub: the case management organisation alone
    (which is told everything)."""

    name: str
    audience: Audience
    says: str


class Version(Protocol):
    """What is needed of a stored version (``ports.Stored`` is one)."""

    @property
    def type(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def deleted(self) -> bool: ...
    @property
    def client(self) -> str | None: ...
    @property
    def case(self) -> str | None: ...
    @property
    def body(self) -> Resource: ...


NAMED_TYPES = PLAN_TYPES + CREATE_ONLY
OTHER = "resource"


def _table() -> Iterator[EventType]:
    for verb, says in (("created", "is new"), ("updated", "has a new version"), ("deleted", "was deleted")):
        for type_ in NAMED_TYPES:
            yield EventType(f"{type_.lower()}.{verb}", "resource", f"a {type_} {says}")
        yield EventType(f"{OTHER}.{verb}", "resource", f"a resource of another type {says}")
    yield EventType("case.opened", "resource", "an EpisodeOfCare was opened")
    yield EventType("case.closed", "resource", "an EpisodeOfCare was finished or cancelled")
    yield EventType("case.reopened", "resource", "a closed EpisodeOfCare is open again")
    yield EventType("case.granted", "grant", "a partner may see a case from now on, or one item of it")
    yield EventType("case.revoked", "grant", "a partner may no longer see a case, or an item of it")
    yield EventType("handover.requested", "resource", "a hand-over Task asks a setting to take over")
    yield EventType("handover.accepted", "resource", "the setting has taken over")
    yield EventType("handover.rejected", "resource", "the setting will not take over")
    yield EventType("handover.cancelled", "resource", "the hand-over was taken back")
    yield EventType("handover.completed", "resource", "the hand-over is done")
    yield EventType("review.opened", "hub", "a person is asked to settle something")
    yield EventType("review.settled", "hub", "a person has settled a review")
    yield EventType("partner.paused", "partner", "nothing travels to or from this partner until it is resumed")
    yield EventType("partner.resumed", "partner", "exchange with this partner goes on")
    yield EventType("endpoint.disabled", "partner", "a webhook endpoint failed for too long and gets nothing more")
    yield EventType("endpoint.test", "partner", "sent on request, to try an endpoint")


EVENT_TYPES: Mapping[str, EventType] = {row.name: row for row in _table()}

_OPEN_EPISODE = frozenset({"planned", "waitlist", "active", "onhold"})
_HANDOVER = {
    "requested": "handover.requested",
    "accepted": "handover.accepted",
    "rejected": "handover.rejected",
    "cancelled": "handover.cancelled",
    "completed": "handover.completed",
}


def of_commit(
    changed: Iterable[tuple[Version | None, Version]],
    *,
    grants: Sequence[Grant] = (),
    reviews: Sequence[Review] = (),
    review_ids: Sequence[str] = (),
    settled: Sequence[str] = (),
    seq: int,
    at: int,
    partner: str,
    new_id: Callable[[], str],
) -> list[Event]:
    """The events of one commit, in the order of its writes: for each resource what became of it, then what that means
    for the case; then grants; then reviews.

    ``changed``: (version before or None, version after). ``review_ids`` and ``settled`` name reviews that were opened
    (aligned with ``reviews``) and settled. ``at`` epoch milliseconds and ``seq`` are the commit's place; ``partner`` made
    the change."""
    found: list[Event] = []

    def add(type_: str, client: str | None, case: str | None, data: Mapping[str, Any]) -> None:
        found.append(Event(new_id(), type_, at, seq, client, case, partner, data))

    for before, after in changed:
        data = {"resource": f"{after.type}/{after.id}", "version": after.version}
        for type_ in _types(before, after):
            add(type_, after.client, after.case, data)
    for grant in grants:
        ended = grant.until is not None and grant.until <= at
        if grant.kind == "former" or (not ended and grant.since > at):
            continue
        data = {"partner": grant.partner, "grant": grant.kind}
        if grant.item is not None:
            data["resource"] = str(grant.item)
        add("case.revoked" if ended else "case.granted", grant.client, grant.case, data)
    for number, review in enumerate(reviews):
        data = {"kind": review.kind}
        if number < len(review_ids):
            data["review"] = review_ids[number]
        if review.subject is not None:
            data["resource"] = str(review.subject)
        add("review.opened", review.client, review.case, data)
    for id_ in settled:
        add("review.settled", None, None, {"review": id_})
    return found


def about_partner(type: str, *, about: str, reason: str = "", endpoint: str = "", at: int, id: str) -> Event:
    """``partner.paused``, ``partner.resumed``, ``endpoint.disabled`` or ``endpoint.test``; ``reason`` is one of our own
    fixed phrases, ``endpoint`` an endpoint's id."""
    if EVENT_TYPES[type].audience != "partner":
        raise ValueError(f"{type} is not about a partner")
    data: dict[str, Any] = {"partner": about}
    if reason:
        data["reason"] = reason
    if endpoint:
        data["endpoint"] = endpoint
    return Event(id, type, at, 0, None, None, about, data)


def subject(event: Event) -> Ref | None:
    """The resource that the event is about, if any."""
    text = event.data.get("resource")
    return Ref.of(text) if isinstance(text, str) else None


def chosen(filters: Sequence[str]) -> tuple[str, ...]:
    """The event types that an endpoint asks for, each by its full name: ``goal.*`` and ``*.created`` are spelled out.
    () for all. Raises Invalid with every text that names nothing."""
    if "*" in filters:
        return ()
    names: dict[str, None] = {}
    problems: list[Problem] = []
    for number, text in enumerate(filters):
        matches = [name for name in EVENT_TYPES if _fits(text, name)]
        if not matches:
            problems.append(Problem("no event type is called this", f"/events/{number}", _nearest(text)))
        names.update(dict.fromkeys(matches))
    if problems:
        raise Invalid(problems)
    return tuple(names)


def _types(before: Version | None, after: Version) -> Iterator[str]:
    name = after.type.lower() if after.type in NAMED_TYPES else OTHER
    fresh = before is None or before.deleted
    yield f"{name}.{'deleted' if after.deleted else 'created' if fresh else 'updated'}"
    if after.deleted or after.type not in ("EpisodeOfCare", "Task"):
        return
    body = after.body
    status = str(body.get("status", ""))
    earlier = None if before is None or before.deleted else str(before.body.get("status", ""))
    if after.type == "EpisodeOfCare":
        was_open, is_open = earlier in _OPEN_EPISODE, status in _OPEN_EPISODE
        if is_open and not was_open:
            yield "case.opened" if earlier is None else "case.reopened"
        elif was_open and not is_open:
            yield "case.closed"
    elif membership.is_handover(body) and status != earlier and status in _HANDOVER:
        yield _HANDOVER[status]


def _fits(text: str, name: str) -> bool:
    left, _, right = text.partition(".")
    group, _, verb = name.partition(".")
    return left in ("*", group) and right in ("*", verb)


def _nearest(text: str) -> str:
    group, _, _ = text.partition(".")
    near = [name for name in EVENT_TYPES if name.startswith(group + ".")] if group else []
    return f"choose from {', '.join(near)}" if near else "GET /webhooks/event-types lists them all"
