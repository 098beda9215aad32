"""Deliver webhooks of one lane: prepare, post, record (RELIABILITY §1; Standard Webhooks).

What an endpoint's owner may see is decided here, when it is sent. A fifo endpoint's failing delivery holds up those
behind it; the table of retries is Standard Webhooks' own, and an endpoint that fails to its end is disabled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fhircase.access import signature
from fhircase.access.viewer import Viewer
from fhircase.fhir import jsontext, stamp, times
from fhircase.flows.hub import Hub
from fhircase.plans import events
from fhircase.plans.change import Ref
from fhircase.plans.events import Event
from fhircase.plans.partner import HUB
from fhircase.ports import Delivery, Endpoint, Lane, PartnerDown, Stored, Tx
from fhircase.telemetry import Log, tell

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
RETRIES = (0, 5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""Milliseconds before each attempt, from the one before it: ten attempts in 75.6 hours."""

RETRY_AFTER_MAX = HOUR
"""An endpoint may ask us to wait longer than the table says, but not for ever."""

BATCH = 64
"""Deliveries that are acknowledged in one transaction. A kill in between sends at most these again, with the same ids."""

NOT_VISIBLE = "its owner may not see what it is about"
DISABLED = "the endpoint is disabled"


def step(hub: Hub, lane: Lane, now: int | None = None, *, batch: int = BATCH, stop: Callable[[], bool] = lambda: False) -> int:
    """Send what is due on a claimed webhook lane, at most ``batch`` and until ``stop()`` says so, and let the lane go.
    ``now`` epoch ms (the hub's clock when None). Returns how many deliveries left the queue; 0 also when the lane was
    lost to another worker. Never raises for what a receiver does."""
    started = hub.now() if now is None else now
    with hub.store.read() as tx:
        endpoint = tx.outbox.endpoint(lane.target)
        due = tx.outbox.deliveries(lane, batch, started)
        prepared = [] if endpoint is None or endpoint.disabled else _prepare(hub, tx, endpoint, due, started)
    if endpoint is None or endpoint.disabled:
        return _bury(hub, lane, due, started)
    outcomes = _post(hub, endpoint, prepared, started, stop)
    return _record(hub, lane, endpoint, outcomes)


def retry_delay(hub: Hub, attempts: int, retry_after: float | None) -> int | None:
    """Milliseconds until the next attempt when ``attempts`` have failed; None when the table is used up. Jitter only
    lengthens, so that the table's figures hold as a minimum. ``retry_after`` in seconds, as the endpoint asked."""
    if attempts >= len(RETRIES):
        return None
    delay = int(RETRIES[attempts] * (1 + hub.policy.jitter * hub.random()))
    asked = 0 if retry_after is None else int(min(max(retry_after, 0) * SECOND, RETRY_AFTER_MAX))
    return max(delay, asked)


def viewer_of(owner: str, at: int) -> Viewer:
    """As whom a partner's endpoints see: the hub's own see everything."""
    return Viewer(owner, owner == HUB, at)


def visible(tx: Tx, viewer: Viewer, event: Event, readable: dict[Ref, bool] | None = None) -> bool:
    """Whether ``viewer`` may be told of the event (``plans.events.EventType.audience``). ``readable`` remembers answers
    within one transaction: a commit tells several things of one resource."""
    if viewer.everything:
        return True
    known = events.EVENT_TYPES.get(event.type)
    audience = known.audience if known else "hub"
    if audience == "resource":
        ref = events.subject(event)
        if ref is None:
            return False
        known_refs = {} if readable is None else readable
        if ref not in known_refs:
            known_refs[ref] = tx.plans.read(viewer, ref) is not None
        return known_refs[ref]
    if audience == "grant":
        if event.data.get("partner") == viewer.partner:
            return True
        return any(grant.kind == "member" for grant in tx.plans.grants(partner=viewer.partner, case=event.case, at=viewer.at))
    return audience == "partner" and event.data.get("partner") == viewer.partner


def body_of(event: Event, base_url: str, stored: Stored | None = None) -> bytes:
    """The JSON that is posted: type, timestamp and data; ``stored`` adds the version itself, as it is served."""
    data: dict[str, Any] = {**event.data, "seq": event.seq}
    if event.client:
        data["client"] = f"Patient/{event.client}"
    if event.case:
        data["case"] = f"EpisodeOfCare/{event.case}"
    if event.partner:
        data["by"] = event.partner
    if ref := events.subject(event):
        data["url"] = f"{base_url.rstrip('/')}/fhir/{ref}"
    text = jsontext.dumps({"type": event.type, "timestamp": times.instant(event.at), "data": data})
    if stored is not None and not stored.deleted:
        text = f'{text[:-2]},"body":{stamp.served(stored.text, stored.mark, stored.effective)}}}}}'
    return text.encode("utf-8")


# ------------------------------------------------------------------------------------------ prepare, post, record


@dataclass(frozen=True, slots=True)
class _Prepared:
    """``body`` None: its owner may not see it."""

    delivery: Delivery
    body: bytes | None


@dataclass(frozen=True, slots=True)
class _Outcome:
    delivery: Delivery
    verdict: Literal["delivered", "dropped", "failed", "gone"]
    status: int | None = None
    problem: str = ""
    retry_after: float | None = None


def _prepare(hub: Hub, tx: Tx, endpoint: Endpoint, due: Sequence[Delivery], now: int) -> list[_Prepared]:
    viewer = viewer_of(endpoint.partner, now)
    readable: dict[Ref, bool] = {}
    prepared = []
    for delivery in due:
        # Its own lane's order counts, not what the endpoint asks for now: it may have changed while this one waited.
        if delivery.not_before > now:
            break
        event = delivery.event
        allowed = visible(tx, viewer, event, readable)
        prepared.append(_Prepared(delivery, _render(hub, tx, endpoint, viewer, event) if allowed else None))
    return prepared


def _render(hub: Hub, tx: Tx, endpoint: Endpoint, viewer: Viewer, event: Event) -> bytes:
    stored = None
    version = event.data.get("version")
    if not endpoint.thin and isinstance(version, int) and (ref := events.subject(event)):
        stored = tx.plans.vread(viewer, ref, version)
    return body_of(event, hub.policy.base_url, stored)


def _post(
    hub: Hub, endpoint: Endpoint, prepared: Sequence[_Prepared], started: int, stop: Callable[[], bool]
) -> list[_Outcome]:
    """In order, until the first failure of a fifo endpoint, or the first silence of any, or half the lease is over: a
    worker never posts on a lane that may be somebody else's."""
    secrets = _secrets(hub, endpoint, started)
    outcomes: list[_Outcome] = []
    for item in prepared:
        if item.body is None:
            outcomes.append(_Outcome(item.delivery, "dropped"))
            continue
        at = hub.now()
        if stop() or (outcomes and at - started > hub.policy.lease_ms // 2):
            break
        outcome = _attempt(hub, endpoint, secrets, item.delivery, item.body, at)
        outcomes.append(outcome)
        hub.tally("delivery", "webhook", outcome.verdict, 1)
        if outcome.verdict == "gone" or (outcome.verdict == "failed" and (endpoint.fifo or outcome.status is None)):
            break
    return outcomes


def _attempt(hub: Hub, endpoint: Endpoint, secrets: Sequence[str], delivery: Delivery, body: bytes, at: int) -> _Outcome:
    headers: dict[str, str] = dict(signature.headers(secrets, delivery.event.id, at, body))
    if correlation := delivery.event.data.get("correlation"):
        headers["X-Request-Id"] = str(correlation)
    try:
        reply = hub.poster.post(endpoint.url, body, headers)
    except PartnerDown as down:
        return _Outcome(delivery, "failed", None, down.reason)
    if 200 <= reply.status < 300:
        return _Outcome(delivery, "delivered", reply.status)
    if reply.status == 410:
        return _Outcome(delivery, "gone", 410, "the endpoint answered 410 Gone")
    said = f"the endpoint answered {reply.status}"
    if 300 <= reply.status < 400:
        said += "; redirects are not followed"
    return _Outcome(delivery, "failed", reply.status, said, reply.retry_after)


def _secrets(hub: Hub, endpoint: Endpoint, now: int) -> list[str]:
    rotating = endpoint.old_until is None or now < endpoint.old_until
    return [hub.sealer.open(sealed) for sealed in (endpoint.secrets if rotating else endpoint.secrets[:1])]


def _record(hub: Hub, lane: Lane, endpoint: Endpoint, outcomes: Sequence[_Outcome]) -> int:
    now = hub.now()
    pause, disable = 0, ""
    with hub.store.write() as tx:
        mine = tx.outbox.renew(lane, now, hub.policy.lease_ms)
        # Delivered is a fact, whoever owns the lane now; what failed is the new owner's to find out.
        by_status: dict[int, list[int]] = {}
        for outcome in outcomes:
            if outcome.verdict == "delivered":
                by_status.setdefault(outcome.status or 200, []).append(outcome.delivery.id)
        for status, ids in by_status.items():
            tx.outbox.delivered(ids, status, now)
        if not mine:
            tell(Log.LANE_LOST, lane=lane.key, fence=lane.fence)
            return 0
        if hidden := [outcome.delivery.id for outcome in outcomes if outcome.verdict == "dropped"]:
            tx.outbox.dropped(hidden, NOT_VISIBLE, now)
        for outcome in outcomes:
            if outcome.verdict not in ("failed", "gone"):
                continue
            delay = None if outcome.verdict == "gone" else retry_delay(hub, outcome.delivery.attempts + 1, outcome.retry_after)
            if delay is None:
                disable = outcome.problem
            tx.outbox.failed(
                outcome.delivery.id,
                status=outcome.status,
                problem=outcome.problem,
                now=now,
                not_before=now + (delay or 0),
                dead=delay is None,
            )
            if endpoint.fifo:
                pause = delay or 0
            elif outcome.status is None:
                pause = max(pause, RETRIES[1])
        if disable:
            _disable(hub, tx, endpoint, disable, now)
        tx.outbox.release(lane, now=now, pause=pause, failed=any(o.verdict in ("failed", "gone") for o in outcomes))
    if disable:
        tell(Log.ENDPOINT_DISABLED, endpoint=endpoint.id, partner=endpoint.partner, reason=disable)
    elif pause:
        tell(Log.LANE_PAUSED, lane=lane.key, endpoint=endpoint.id, pause_ms=pause)
    return sum(outcome.verdict in ("delivered", "dropped", "gone") for outcome in outcomes)


def _disable(hub: Hub, tx: Tx, endpoint: Endpoint, why: str, now: int) -> None:
    """Stop it, and tell its owner and the hub through their other endpoints; it is read afresh, for its owner may have
    changed it meanwhile."""
    current = tx.outbox.endpoint(endpoint.id)
    if current is None or current.disabled:
        return
    tx.outbox.save_endpoint(replace(current, disabled=why))
    told = events.about_partner(
        "endpoint.disabled", about=endpoint.partner, reason=why, endpoint=endpoint.id, at=now, id=hub.ids.new()
    )
    tx.outbox.emit([told])


def _bury(hub: Hub, lane: Lane, due: Sequence[Delivery], now: int) -> int:
    """What waits for an endpoint that is disabled or gone leaves the queue; it can be recovered after enabling."""
    with hub.store.write() as tx:
        if not tx.outbox.renew(lane, now, hub.policy.lease_ms):
            return 0
        for delivery in due:
            tx.outbox.failed(delivery.id, status=None, problem=DISABLED, now=now, not_before=now, dead=True)
        tx.outbox.release(lane, now=now)
    return len(due)
