"""Operating the hub: ``/partners``, ``/keys``, ``/reviews``, ``/audit``. Administrators; reviews are for the hub's people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

from flask import Blueprint, Response, current_app, g, request

from fhircase.errors import Conflict, Invalid, Malformed, NotFound, Problem, TooLarge, Unavailable, WrongMediaType
from fhircase.fhir import jsontext, times
from fhircase.flows import enrol, settle
from fhircase.flows.hub import Hub
from fhircase.plans.partner import Partner
from fhircase.ports import Exchange, Key, OpenReview
from fhircase.web.auth import principal

bp = Blueprint("admin", __name__)

MOST = 200


class Operations(Protocol):
    """What an administrator starts at a partner's server; made by the composition root. Each answers JSON."""

    def probe(self, partner: Partner) -> Mapping[str, Any]: ...
    def sync(self, partner: Partner) -> Mapping[str, Any]: ...
    def dry_run(self, partner: Partner) -> Mapping[str, Any]: ...
    def drift(self, partner: Partner) -> Mapping[str, Any]: ...


# ------------------------------------------------------------------------------------------------ partners


@bp.get("/partners")
def list_partners() -> Response:
    """Every partner; secrets are never shown."""
    principal().require_hub()
    with _hub().store.read() as tx:
        held = tx.partners.all()
    return _json({"items": [enrol.shown(partner) for partner in held], "next": None})


@bp.post("/partners")
def add_partner() -> Response:
    """Enrol a partner: ``{name, base_url, fhir_version, auth, role, send, take, …}``."""
    principal().require_admin()
    record, secret = enrol.read_partner(_document())
    made = enrol.partner(_hub(), principal().agent(), record, secret=secret, new=True, key=principal().key, correlation=g.correlation)
    response = _json(enrol.shown(made), 201)
    response.headers["Location"] = f"{_hub().policy.base_url}/partners/{made.name}"
    return response


@bp.get("/partners/<name>")
def show_partner(name: str) -> Response:
    """One partner, with what is known of its server (dialect) and its lanes."""
    principal().require_hub()
    partner = enrol.find(_hub(), name)
    with _hub().store.read() as tx:
        lanes = [dict(lane) for lane in tx.outbox.status() if lane.get("target") == name]
    return _json({**enrol.shown(partner), "lanes": lanes})


@bp.patch("/partners/<name>")
def change_partner(name: str) -> Response:
    """Change some members (merge); ``{"paused": true}`` stops its lanes and polling."""
    return _save_partner(enrol.find(_hub(), name))


@bp.put("/partners/<name>")
def replace_partner(name: str) -> Response:
    """Replace the record; its Organization and what was learnt of its server stay."""
    held = enrol.find(_hub(), name)
    return _save_partner(Partner(name, organization=held.organization, dialect=held.dialect))


def _save_partner(onto: Partner) -> Response:
    principal().require_admin()
    record, secret = enrol.read_partner(_document(), onto)
    made = enrol.partner(_hub(), principal().agent(), record, secret=secret, new=False, key=principal().key, correlation=g.correlation)
    return _json(enrol.shown(made))


@bp.get("/partners/<name>/ledger")
def partner_ledger(name: str) -> Response:
    """Every exchange with the partner's server, newest first; no bodies."""
    principal().require_hub()
    enrol.find(_hub(), name)
    with _hub().store.read() as tx:
        items, following = tx.ledger.list(name, cursor=request.args.get("next"), count=_count())
    return _json({"items": [_exchange(item) for item in items], "next": following})


@bp.get("/partners/<name>/drift")
def partner_drift(name: str) -> Response:
    """What differs now between our plan and the partner's server."""
    return _operate(name, "drift", admin=False)


@bp.get("/partners/<name>/dry-run")
@bp.post("/partners/<name>/dry-run")
def partner_dry_run(name: str) -> Response:
    """What would be sent now."""
    return _operate(name, "dry_run", admin=False)


@bp.post("/partners/<name>/sync")
def partner_sync(name: str) -> Response:
    """Poll and push at once: bring a partner up, or up to date."""
    return _operate(name, "sync")


@bp.post("/partners/<name>/probe")
def partner_probe(name: str) -> Response:
    """Find out what the partner's server can do and how it behaves."""
    return _operate(name, "probe")


def _operate(name: str, what: str, *, admin: bool = True) -> Response:
    if admin:
        principal().require_admin()
    else:
        principal().require_hub()
    partner = enrol.find(_hub(), name)
    if not partner.base_url:
        raise Conflict(f"{name} has no base_url: nothing is exchanged with it", hint=f"set it: PATCH /partners/{name}")
    operations: Operations | None = current_app.extensions["fhircase.services"].operations
    if operations is None:
        raise Unavailable("this process does not reach partners", hint="start it with fhircase serve")
    return _json(dict(getattr(operations, what)(partner)))


def _exchange(item: Exchange) -> dict[str, Any]:
    told = asdict(item)
    told["at"] = times.instant(item.at)
    told["detail"] = dict(item.detail)
    return told


# ------------------------------------------------------------------------------------------------ keys


@bp.get("/keys")
def list_keys() -> Response:
    """Every key, never its text."""
    principal().require_admin()
    with _hub().store.read() as tx:
        held = tx.keys.list()
    return _json({"items": [shown_key(key) for key in held], "next": None})


@bp.post("/keys")
def add_key() -> Response:
    """``{name, partner, scopes, user, admin}``; the answer holds the key this one time."""
    principal().require_admin()
    document = _document()
    problems = [
        Problem("a text is asked for", f"/{name}") for name in ("name", "partner") if not isinstance(document.get(name), str)
    ]  # fmt: skip
    scopes, user, admin = document.get("scopes", []), document.get("user"), document.get("admin", False)
    if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
        problems.append(Problem("a list of scopes is asked for", "/scopes", "such as system/*.rs"))
    if user is not None and not isinstance(user, str):
        problems.append(Problem("a text is asked for", "/user"))
    if not isinstance(admin, bool):
        problems.append(Problem("true or false is asked for", "/admin"))
    problems += [Problem("no such member", f"/{name[:64]}") for name in document.keys() - {"name", "partner", "scopes", "user", "admin"}]
    if problems:
        raise Invalid(problems)
    key, text = enrol.key(
        _hub(), current_app.extensions["fhircase.services"].random_bytes,
        name=document["name"], partner=document["partner"], scopes=tuple(scopes), user=user, admin=admin,
    )  # fmt: skip
    response = _json({**shown_key(key), "key": text}, 201)
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.delete("/keys/<id>")
def revoke_key(id: str) -> Response:
    """Revoke a key: at once in this process, within seconds in others."""
    principal().require_admin()
    with _hub().store.write() as tx:
        if all(key.id != id for key in tx.keys.list()):
            raise NotFound("no such key")
        tx.keys.revoke(id, _hub().now())
    current_app.extensions["fhircase.keyring"].forget()
    return Response(status=204)


def shown_key(key: Key) -> dict[str, Any]:
    """A key as JSON, without its digest."""
    return {
        "id": key.id, "name": key.name, "partner": key.partner, "user": key.user, "scopes": list(key.scopes), "admin": key.admin,
        "created": times.instant(key.created), "revoked": None if key.revoked is None else times.instant(key.revoked),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ reviews


@bp.get("/reviews")
def list_reviews() -> Response:
    """What only a person can settle; filters state (open, settled, all), kind, client, case."""
    principal().require_hub()
    state = request.args.get("state", "open")
    if state not in ("open", "settled", "all"):
        raise Malformed("state is open, settled or all", path="state")
    with _hub().store.read() as tx:
        items, following = tx.reviews.list(
            state=state,  # type: ignore[arg-type]
            kind=request.args.get("kind"),
            client=request.args.get("client"),
            case=request.args.get("case"),
            cursor=request.args.get("next"),
            count=_count(),
        )
    return _json({"items": [_review(item) for item in items], "next": following})


@bp.get("/reviews/<id>")
def show_review(id: str) -> Response:
    """One review with all that a person needs to settle it."""
    principal().require_hub()
    return _json(_review(_find_review(id)))


@bp.post("/reviews/<id>/settle")
def settle_review(id: str) -> Response:
    """``{"take": "ours", "note": "…"}``, or ``theirs``, ``value`` with ``value``, ``done``: what was held flows again."""
    principal().require_hub()
    document = _document()
    if not document:
        raise Invalid(Problem("say how it was settled", "", 'such as {"take": "ours", "note": "confirmed by telephone"}'))
    who = principal()
    settled = settle.settle(_hub(), id, document, agent=who.agent(), key=who.key, correlation=g.correlation)
    return _json(_review(settled))


def _find_review(id: str) -> OpenReview:
    with _hub().store.read() as tx:
        held = tx.reviews.get(id)
    if held is None:
        raise NotFound("no such review")
    return held


def _review(item: OpenReview) -> dict[str, Any]:
    review = item.review
    return {
        "id": item.id, "kind": review.kind, "what": review.what, "hint": review.hint, "key": review.key,
        "subject": None if review.subject is None else str(review.subject), "client": review.client, "case": review.case,
        "partner": review.partner, "holds": review.holds, "detail": dict(review.detail), "message": item.message,
        "opened": times.instant(item.opened), "settled": None if item.settled is None else times.instant(item.settled),
        "settled_by": item.settled_by, "resolution": None if item.resolution is None else dict(item.resolution),
    }  # fmt: skip


# ------------------------------------------------------------------------------------------------ audit


@bp.get("/audit")
def list_audit() -> Response:
    """Who did what to what, newest first; filters client, partner, since."""
    principal().require_admin()
    since = request.args.get("since")
    try:
        at = None if since is None else times.ms_of(since)
    except ValueError:
        raise Malformed("since is an instant", path="since", hint="2026-11-22T05:24:38Z") from None
    with _hub().store.read() as tx:
        items, following = tx.audit.list(
            client=request.args.get("client"),
            partner=request.args.get("partner"),
            since=at,
            cursor=request.args.get("next"),
            count=_count(),
        )
    return _json({"items": [{"id": id, **asdict(entry), "at": times.instant(entry.at)} for id, entry in items], "next": following})


@bp.get("/audit/verify")
def verify_audit() -> Response:
    """Whether the hash chain of the audit trail holds, and else the first broken row."""
    principal().require_admin()
    with _hub().store.read() as tx:
        broken = tx.audit.verify()
    return _json({"holds": broken is None, "broken": broken})


# ------------------------------------------------------------------------------------------------ helpers


def _hub() -> Hub:
    hub: Hub = current_app.extensions["fhircase"]
    return hub


def _document() -> dict[str, Any]:
    if request.mimetype not in ("application/json", "application/merge-patch+json"):
        raise WrongMediaType("a JSON document is asked for", hint="send Content-Type: application/json")
    data = request.get_data(cache=False)
    if len(data) > _hub().policy.body_bytes:
        raise TooLarge("the body is too large")
    document = jsontext.loads(data)
    if not isinstance(document, dict):
        raise Malformed("a JSON object is asked for")
    return document


def _count() -> int:
    text = request.args.get("count", "50")
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < 1:
        raise Malformed("count is a whole number from 1", path="count")
    return min(int(text), MOST)


def _json(value: Any, status: int = 200) -> Response:
    return Response(jsontext.dumps(value), status, content_type="application/json")
