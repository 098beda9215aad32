"""Webhook endpoints and their deliveries, as their owner manages them.

A partner sees and changes its own endpoints, the hub's people all of them; foreign and absent are answered alike
(DECISIONS 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from fhircase.access import signature
from fhircase.access.principal import Principal
from fhircase.errors import MOST_TOLD, Conflict, Forbidden, Invalid, NotFound, Problem
from fhircase.flows import notify
from fhircase.flows.hub import Hub
from fhircase.plans import events
from fhircase.plans.events import EVENT_TYPES, NAMED_TYPES, Event
from fhircase.ports import Delivery, Endpoint, Tx

RandomBytes = Callable[[int], bytes]

ROTATION = 24 * 3_600_000
"""How long the older secret goes on signing, in milliseconds."""

FIELDS = ("url", "events", "clients", "thin", "fifo", "partner")
_TYPE_OF = {type_.lower(): type_ for type_ in NAMED_TYPES} | {"case": "EpisodeOfCare", "handover": "Task"}


def create(hub: Hub, principal: Principal, asked: Mapping[str, Any], random_bytes: RandomBytes) -> tuple[Endpoint, str]:
    """A new endpoint and its secret, which is not shown again. ``asked``: url, and as wanted events (() all), clients,
    thin (default true), fifo (default true), partner (for the hub's people). Raises Invalid, Forbidden."""
    problems = _shape(asked)
    if "url" not in asked:
        problems.insert(0, Problem("an address is missing", "/url", "the https address that takes the POST"))
    if problems:
        raise Invalid(problems)
    secret = signature.make(random_bytes)
    now = hub.now()
    owner = str(asked.get("partner", principal.partner))
    if owner != principal.partner and not principal.everything:
        raise Forbidden("an endpoint for another partner is the hub's to make", path="/partner", hint="leave partner out")
    endpoint = Endpoint(
        id=hub.ids.new(),
        partner=owner,
        url=asked["url"],
        events=_events(principal, asked.get("events", ())),
        secrets=(hub.sealer.seal(secret),),
        thin=asked.get("thin", True),
        fifo=asked.get("fifo", True),
        clients=_clients(asked.get("clients", ())),
        created=now,
    )
    _agree(endpoint)
    with hub.store.write() as tx:
        if owner != principal.partner and tx.partners.get(owner) is None:
            raise Invalid(Problem("no partner is called this", "/partner"))
        tx.outbox.save_endpoint(endpoint)
    return endpoint, secret


def find(hub: Hub, principal: Principal, id: str) -> Endpoint:
    """Raises NotFound, for foreign and absent alike."""
    with hub.store.read() as tx:
        return _own(tx, principal, id)


def all_of(hub: Hub, principal: Principal) -> Sequence[Endpoint]:
    """Oldest first."""
    with hub.store.read() as tx:
        found = [e for e in tx.outbox.endpoints() if principal.everything or e.partner == principal.partner]
    return sorted(found, key=lambda endpoint: (endpoint.created, endpoint.id))


def change(hub: Hub, principal: Principal, id: str, asked: Mapping[str, Any]) -> Endpoint:
    """Change url, events, clients, thin or fifo. Raises NotFound, Invalid, Forbidden."""
    problems = _shape(asked)
    if "partner" in asked:
        problems.append(Problem("an endpoint keeps its owner", "/partner", "make a new one"))
    if problems:
        raise Invalid(problems)
    with hub.store.write() as tx:
        endpoint = _own(tx, principal, id)
        endpoint = replace(
            endpoint,
            url=asked.get("url", endpoint.url),
            events=_events(principal, asked["events"]) if "events" in asked else endpoint.events,
            clients=_clients(asked["clients"]) if "clients" in asked else endpoint.clients,
            thin=asked.get("thin", endpoint.thin),
            fifo=asked.get("fifo", endpoint.fifo),
        )
        _agree(endpoint)
        tx.outbox.save_endpoint(endpoint)
    return endpoint


def rotate(hub: Hub, principal: Principal, id: str, random_bytes: RandomBytes, *, keep_ms: int = ROTATION) -> tuple[Endpoint, str]:
    """A fresh secret, not shown again; the one before it signs too for ``keep_ms`` (0: no longer at all, for a secret that
    leaked). Raises NotFound."""
    secret = signature.make(random_bytes)
    with hub.store.write() as tx:
        endpoint = _own(tx, principal, id)
        older = endpoint.secrets[:1] if keep_ms else ()
        until = hub.now() + keep_ms if older else None
        endpoint = replace(endpoint, secrets=(hub.sealer.seal(secret), *older), old_until=until)
        tx.outbox.save_endpoint(endpoint)
    return endpoint, secret


def remove(hub: Hub, principal: Principal, id: str) -> None:
    """The endpoint and what still waits for it. Raises NotFound."""
    with hub.store.write() as tx:
        tx.outbox.drop_endpoint(_own(tx, principal, id).id)


def enable(hub: Hub, principal: Principal, id: str, *, since: int | None = None) -> tuple[Endpoint, int]:
    """Start it again; with ``since`` (epoch ms) what failed, or happened while it was disabled, from then on is sent. How
    many. Raises NotFound."""
    with hub.store.write() as tx:
        endpoint = replace(_own(tx, principal, id), disabled=None)
        tx.outbox.save_endpoint(endpoint)
        again = 0 if since is None else tx.outbox.resend(endpoint.id, since=since)
        tx.outbox.wake()
    return endpoint, again


def disable(hub: Hub, principal: Principal, id: str) -> Endpoint:
    """Stop it at its owner's wish. Raises NotFound."""
    with hub.store.write() as tx:
        endpoint = replace(_own(tx, principal, id), disabled="its owner disabled it")
        tx.outbox.save_endpoint(endpoint)
    return endpoint


def test(hub: Hub, principal: Principal, id: str) -> Event:
    """Queue a test event for this endpoint alone; its delivery shows in the log. Raises NotFound, Conflict when disabled."""
    with hub.store.write() as tx:
        endpoint = _own(tx, principal, id)
        if endpoint.disabled:
            raise Conflict("the endpoint is disabled", hint="enable it first")
        event = events.about_partner(
            "endpoint.test", about=endpoint.partner, endpoint=endpoint.id, at=hub.now(), id=hub.ids.new()
        )
        tx.outbox.emit([event], endpoint=endpoint.id)
        tx.outbox.wake()
    return event


@dataclass(frozen=True, slots=True)
class Shown:
    """A delivery as its owner may see it: ``data`` None when it may not, or may no longer, see what the event is about."""

    delivery: Delivery
    data: Mapping[str, Any] | None


def deliveries(
    hub: Hub,
    principal: Principal,
    endpoint: str | None = None,
    *,
    state: str | None = None,
    since: int | None = None,
    cursor: str | None = None,
    count: int = 50,
) -> tuple[Sequence[Shown], str | None]:
    """The delivery log of one endpoint, or of all of the caller's, and the next cursor; a page may hold fewer than
    ``count``. Dropped ones are shown to the hub's people alone: to an owner they would tell that something exists.
    Raises NotFound."""
    with hub.store.read() as tx:
        only = None if endpoint is None else _own(tx, principal, endpoint).id
        own = {e.id for e in tx.outbox.endpoints() if principal.everything or e.partner == principal.partner}
        found, following = tx.outbox.log(endpoint=only, state=state, since=since, cursor=cursor, count=count)
        viewer = principal.viewer(hub.now())
        shown = []
        for delivery in found:
            if delivery.endpoint not in own:
                continue
            seen = notify.visible(tx, viewer, delivery.event)
            # What waits and may not be seen is as good as dropped.
            if seen or principal.everything or delivery.state == "delivered":
                shown.append(Shown(delivery, delivery.event.data if seen else None))
    return shown, following


def resend(
    hub: Hub, principal: Principal, endpoint: str, *, delivery: int | None = None, since: int | None = None, until: int | None = None
) -> int:
    """Send one delivery again, or all that failed for events from ``since`` to ``until`` (epoch ms). How many.
    Raises NotFound, Conflict when the endpoint is disabled, Invalid when neither is given."""
    if (delivery is None) == (since is None):
        raise Invalid(Problem("either a delivery or a range is asked for", "", 'send {"delivery": 7} or {"since": "2026-11-22T00:00:00Z"}'))
    with hub.store.write() as tx:
        own = _own(tx, principal, endpoint)
        if own.disabled:
            raise Conflict("the endpoint is disabled", hint="enable it first")
        again = tx.outbox.resend(own.id, delivery=delivery, since=since, until=until)
        if delivery is not None and not again:
            raise NotFound("no such delivery of this endpoint")
        tx.outbox.wake()
    return again


def happened(
    hub: Hub, principal: Principal, *, since: int | None = None, cursor: str | None = None, count: int = 50
) -> tuple[Sequence[Event], str | None]:
    """Events that the caller may be told of, oldest first, and the next cursor: what a poller uses instead of an endpoint.
    A page may hold fewer than ``count`` and still have a next one."""
    with hub.store.read() as tx:
        viewer = principal.viewer(hub.now())
        found, following = tx.outbox.events(since=since, cursor=cursor, count=count)
        return [event for event in found if notify.visible(tx, viewer, event) and _readable(principal, event.type)], following


# ------------------------------------------------------------------------------------------ what is asked


def _own(tx: Tx, principal: Principal, id: str) -> Endpoint:
    endpoint = tx.outbox.endpoint(id)
    if endpoint is None or not (principal.everything or endpoint.partner == principal.partner):
        raise NotFound("no such endpoint")
    return endpoint


def _shape(asked: Mapping[str, Any]) -> list[Problem]:
    problems = [
        Problem("no such member", f"/{name[:64]}", f"known are {', '.join(FIELDS)}") for name in asked if name not in FIELDS
    ][:MOST_TOLD]
    if "url" in asked:
        problems += _url(asked["url"])
    for name in ("thin", "fifo"):
        if name in asked and not isinstance(asked[name], bool):
            problems.append(Problem("true or false is asked for", f"/{name}"))
    for name in ("events", "clients"):
        value = asked.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            problems.append(Problem("a list of texts is asked for", f"/{name}", "leave it out for all"))
    if "partner" in asked and not isinstance(asked["partner"], str):
        problems.append(Problem("a partner's name is asked for", "/partner"))
    return problems


def _url(value: Any) -> list[Problem]:
    if not isinstance(value, str) or len(value) > 2_000:
        return [Problem("an address of at most 2,000 characters is asked for", "/url")]
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return [Problem("not an address", "/url")]
    if parts.scheme not in ("https", "http") or not host or any(c.isspace() or ord(c) < 32 for c in value):
        return [Problem("not an http or https address", "/url", "such as https://example.org/hooks")]
    if parts.username is not None or parts.password is not None:
        return [Problem("no user name or password may stand in the address", "/url", "verify the signature instead")]
    if parts.fragment:
        return [Problem("an address to post to has no fragment", "/url", "leave out what follows #")]
    return []


def _events(principal: Principal, filters: Sequence[str]) -> tuple[str, ...]:
    """The full names asked for; all when none is, unless the caller's scopes cover only some: then those."""
    names = events.chosen(filters)
    if names:
        refused = [name for name in names if not _readable(principal, name)]
        if refused:
            needed = sorted({f"system/{_TYPE_OF.get(name.partition('.')[0], '*')}.r" for name in refused})
            missing = f"scopes are missing: {', '.join(needed)}"
            raise Forbidden(missing, path="/events", hint="ask for a key with these, or for fewer events")
        return names
    readable = tuple(name for name in EVENT_TYPES if _readable(principal, name))
    if not readable:
        raise Forbidden("the scopes cover no event", path="/events")
    return () if len(readable) == len(EVENT_TYPES) else readable


def _readable(principal: Principal, event_type: str) -> bool:
    known = EVENT_TYPES.get(event_type)
    if known is None:
        return principal.everything
    return known.audience != "resource" or principal.may("read", _TYPE_OF.get(event_type.partition(".")[0]))


def _clients(asked: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.removeprefix("Patient/") for text in asked))


def _agree(endpoint: Endpoint) -> None:
    """Clinical content travels encrypted, except to this machine itself."""
    parts = urlsplit(endpoint.url)
    if not endpoint.thin and parts.scheme == "http" and not _loopback(parts.hostname or ""):
        raise Invalid(Problem("bodies are not sent over plain http", "/url", "use https, or thin: true"))


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
