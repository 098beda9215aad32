"""``/webhooks``: endpoints, their deliveries, and events for those who rather poll."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, Response, current_app, g, request

from fhircase.access.principal import Principal
from fhircase.errors import Malformed, WrongMediaType
from fhircase.fhir import jsontext, times
from fhircase.flows import endpoints, notify
from fhircase.flows.hub import Hub
from fhircase.plans.events import EVENT_TYPES, Event
from fhircase.ports import Delivery, Endpoint

bp = Blueprint("webhooks", __name__, url_prefix="/webhooks")

STATES = ("ready", "delivered", "dead", "dropped")
MOST = 200


@bp.get("/event-types")
def list_types() -> Response:
    """Every event type, who is told, and what it says."""
    return _json({"items": [{"name": t.name, "audience": t.audience, "says": t.says} for t in EVENT_TYPES.values()], "next": None})


@bp.post("/endpoints")
def create_endpoint() -> Response:
    """``{url, events, clients, thin, fifo}``; the answer holds the ``whsec_`` secret this one time."""
    endpoint, secret = endpoints.create(_hub(), _who(), _document(), _random_bytes())
    response = _json({**_endpoint(endpoint), "secret": secret}, 201)
    response.headers["Location"] = f"{_hub().policy.base_url}/webhooks/endpoints/{endpoint.id}"
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.get("/endpoints")
def list_endpoints() -> Response:
    """The caller's endpoints; the hub's people see all."""
    return _json({"items": [_endpoint(endpoint) for endpoint in endpoints.all_of(_hub(), _who())], "next": None})


@bp.get("/endpoints/<id>")
def read_endpoint(id: str) -> Response:
    """One endpoint, without its secret."""
    return _json(_endpoint(endpoints.find(_hub(), _who(), id)))


@bp.patch("/endpoints/<id>")
def change_endpoint(id: str) -> Response:
    """Change url, events, clients, thin or fifo; what is left out stays."""
    return _json(_endpoint(endpoints.change(_hub(), _who(), id, _document())))


@bp.delete("/endpoints/<id>")
def remove_endpoint(id: str) -> Response:
    """Remove it, with what waits for it."""
    endpoints.remove(_hub(), _who(), id)
    return Response(status=204)


@bp.post("/endpoints/<id>/rotate")
def rotate_secret(id: str) -> Response:
    """A fresh secret, shown this one time; the older signs too for a day (``{"leaked": true}``: stops at once)."""
    leaked = _document(optional=True).get("leaked", False)
    if not isinstance(leaked, bool):
        raise Malformed("true or false is asked for", path="/leaked")
    keep = 0 if leaked else endpoints.ROTATION
    endpoint, secret = endpoints.rotate(_hub(), _who(), id, _random_bytes(), keep_ms=keep)
    response = _json({**_endpoint(endpoint), "secret": secret})
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.post("/endpoints/<id>/test")
def send_test(id: str) -> Response:
    """Queue an ``endpoint.test`` event for this endpoint; see /webhooks/deliveries for how it went."""
    return _json({"event": endpoints.test(_hub(), _who(), id).id}, 202)


@bp.post("/endpoints/<id>/enable")
def enable_endpoint(id: str) -> Response:
    """Start it again; ``{"since": instant}`` sends what failed, or happened meanwhile, from then on."""
    endpoint, again = endpoints.enable(_hub(), _who(), id, since=_instant(_document(optional=True), "since"))
    return _json({**_endpoint(endpoint), "resent": again})


@bp.post("/endpoints/<id>/disable")
def disable_endpoint(id: str) -> Response:
    """Stop it; what happens from now on waits until it is enabled with ``since``."""
    return _json(_endpoint(endpoints.disable(_hub(), _who(), id)))


@bp.get("/deliveries")
def list_deliveries() -> Response:
    """The delivery log, newest first: ``endpoint``, ``state``, ``since``, ``count``, ``next``."""
    asked = request.args
    state = asked.get("state")
    if state is not None and state not in STATES:
        raise Malformed("no such state", path="state", hint=f"one of {', '.join(STATES)}")
    found, following = endpoints.deliveries(
        _hub(), _who(), asked.get("endpoint"), state=state, since=_instant(asked, "since"), cursor=asked.get("next"), count=_count()
    )
    return _json({"items": [_delivery(shown.delivery, shown.data) for shown in found], "next": following})


@bp.post("/deliveries/resend")
def resend_deliveries() -> Response:
    """``{endpoint, delivery}`` sends one again, ``{endpoint, since, until}`` all that failed in a range of event times."""
    document = _document()
    endpoint, delivery = document.get("endpoint"), document.get("delivery")
    if not isinstance(endpoint, str):
        raise Malformed("an endpoint's id is asked for", path="/endpoint")
    if delivery is not None and (not isinstance(delivery, int) or isinstance(delivery, bool) or not 0 <= delivery < 2**63):
        raise Malformed("a delivery's number is asked for", path="/delivery")
    again = endpoints.resend(
        _hub(), _who(), endpoint, delivery=delivery, since=_instant(document, "since"), until=_instant(document, "until")
    )
    return _json({"resent": again}, 202)


@bp.get("/events")
def list_events() -> Response:
    """Events that the caller may be told of, oldest first: ``since``, ``count``, ``next``. Each as it would be posted."""
    found, following = endpoints.happened(
        _hub(), _who(), since=_instant(request.args, "since"), cursor=request.args.get("next"), count=_count()
    )
    base = _hub().policy.base_url
    items = ",".join(_event(event, base) for event in found)
    return Response(f'{{"items":[{items}],"next":{jsontext.dumps(following)}}}', content_type="application/json")


# ------------------------------------------------------------------------------------------ in and out


def _hub() -> Hub:
    hub: Hub = current_app.extensions["fhircase"]
    return hub


def _random_bytes() -> Callable[[int], bytes]:
    source: Callable[[int], bytes] = current_app.extensions["fhircase.services"].random_bytes
    return source


def _who() -> Principal:
    principal: Principal = g.principal
    return principal


def _document(*, optional: bool = False) -> dict[str, Any]:
    raw = request.get_data()
    if optional and not raw:
        return {}
    if request.mimetype not in ("application/json", "application/merge-patch+json"):
        raise WrongMediaType("the body is JSON", hint="send Content-Type: application/json")
    document = jsontext.loads(raw)
    if not isinstance(document, dict):
        raise Malformed("a JSON object is asked for")
    return document


def _instant(source: Mapping[str, Any], name: str) -> int | None:
    value = source.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not times.has_zone(value):
        raise Malformed("an instant with an offset is asked for", path=name, hint="such as 2026-11-22T05:24:38Z")
    return times.ms_of(value)


def _count() -> int:
    text = request.args.get("count", "50")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise Malformed("a whole number above 0 is asked for", path="count")
    return min(int(text), MOST)


def _json(value: Mapping[str, Any], status: int = 200) -> Response:
    return Response(jsontext.dumps(value), status, content_type="application/json")


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": endpoint.id,
        "partner": endpoint.partner,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "clients": list(endpoint.clients),
        "thin": endpoint.thin,
        "fifo": endpoint.fifo,
        "created": times.instant(endpoint.created),
        "disabled": endpoint.disabled,
    }
    if len(endpoint.secrets) > 1 and endpoint.old_until is not None:
        shown["old_secret_until"] = times.instant(endpoint.old_until)
    return shown


def _delivery(delivery: Delivery, data: Mapping[str, Any] | None) -> dict[str, Any]:
    event = delivery.event
    shown: dict[str, Any] = {
        "id": delivery.id,
        "endpoint": delivery.endpoint,
        "event": event.id,
        "type": event.type,
        "happened": times.instant(event.at),
        "state": delivery.state,
        "attempts": delivery.attempts,
        "status": delivery.last_status,
        "problem": delivery.last_problem,
        "tried": None if delivery.last_at is None else times.instant(delivery.last_at),
        "next_try": times.instant(delivery.not_before) if delivery.state == "ready" and delivery.not_before else None,
    }
    if data is not None:
        shown["data"] = dict(data)
    return shown


def _event(event: Event, base_url: str) -> str:
    """As it is posted, with its id in front."""
    return f'{{"id":{jsontext.dumps(event.id)},{notify.body_of(event, base_url).decode("utf-8")[1:]}'
