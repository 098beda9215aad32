"""``/cases``: the case management view of the shared plan."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, current_app, g, request

from fhircase.access.principal import Principal
from fhircase.errors import Malformed, WrongMediaType
from fhircase.fhir import jsontext
from fhircase.flows import cases
from fhircase.flows.hub import Hub

bp = Blueprint("cases", __name__, url_prefix="/cases")

JSON = ("application/json", "application/merge-patch+json", "application/fhir+json")


def _hub() -> Hub:
    hub: Hub = current_app.extensions["fhircase"]
    return hub


def _who() -> Principal:
    principal: Principal = g.principal
    return principal


def _told() -> dict[str, Any]:
    return {"key": _who().key, "correlation": g.get("correlation", ""), "if_match": request.headers.get("If-Match")}


def _document() -> dict[str, Any]:
    if request.mimetype not in JSON:
        raise WrongMediaType("a case document is JSON", hint="send Content-Type: application/json")
    document = jsontext.loads(request.get_data())
    if not isinstance(document, dict):
        raise Malformed("a JSON object is needed")
    return document


def _names(document: dict[str, Any], name: str) -> list[str]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Malformed("a list of ids is needed", path=f"/{name}")
    return value


def _answer(view: cases.CaseView, status: int = 200, **more: Any) -> Response:
    body = {**view.doc, **more}
    if view.problems:
        body["problems"] = [{"path": p.path, "problem": p.what, "hint": p.hint} for p in view.problems]
    response = Response(jsontext.dumps(body), status, content_type="application/json")
    response.headers["ETag"] = f'W/"{view.tag}"'
    return response


@bp.get("")
def list_cases() -> Response:
    """Cases that the caller may see; filters name, birth_date, phase, status, owner; paging by ``next``."""
    _who().require("search-type", "EpisodeOfCare")
    asked = request.args
    try:
        count = min(max(int(asked.get("count", "50")), 1), 200)
    except ValueError:
        raise Malformed("count is a whole number", path="count") from None
    items, following = cases.index(
        _hub(),
        _who().viewer(_hub().now()),
        name=asked.get("name", ""),
        birth_date=asked.get("birth_date", ""),
        phase=asked.get("phase", ""),
        status=asked.get("status", ""),
        owner=asked.get("owner", ""),
        count=count,
        cursor=asked.get("next"),
    )
    return Response(jsontext.dumps({"items": items, "next": following}), content_type="application/json")


@bp.get("/<case>")
def read_case(case: str) -> Response:
    """One case, whole."""
    _who().require("read", "EpisodeOfCare")
    return _answer(cases.read(_hub(), _who().viewer(_hub().now()), case))


@bp.post("/<case>/activate")
def activate(case: str) -> Response:
    """Make proposals real: ``{"goals": [ids], "services": [ids]}``."""
    _who().require("update", "CarePlan")
    document = _document()
    hub = _hub()
    view = cases.activate(
        hub,
        _who().agent(),
        _who().viewer(hub.now()),
        case,
        goals=_names(document, "goals"),
        services=_names(document, "services"),
        **_told(),
    )
    return _answer(view)


@bp.post("/<case>/<what>")
def add_entry(case: str, what: str) -> Response:
    """Add a goal, service, equipment, need or assessment; Location names it."""
    kind = cases.KINDS.get(what)
    _who().require("create", kind.type if kind else None)
    hub = _hub()
    id_, view = cases.add(hub, _who().agent(), _who().viewer(hub.now()), case, what, _document(), **_told())
    response = _answer(view, 201, added=id_)
    response.headers["Location"] = f"{hub.policy.base_url}/cases/{case}/{what}/{id_}"
    return response


@bp.get("/<case>/<what>")
def read_entries(case: str, what: str) -> Response:
    """One part of the case."""
    _who().require("read", "EpisodeOfCare")
    view = cases.read(_hub(), _who().viewer(_hub().now()), case)
    part = cases.part(view, what)
    response = Response(jsontext.dumps({"items": part, "next": None} if isinstance(part, list) else part), content_type="application/json")
    response.headers["ETag"] = f'W/"{view.tag}"'
    return response


@bp.get("/<case>/<what>/<entry>")
def read_entry(case: str, what: str, entry: str) -> Response:
    """One entry of one list of the case."""
    _who().require("read", "EpisodeOfCare")
    view = cases.read(_hub(), _who().viewer(_hub().now()), case)
    response = Response(jsontext.dumps(cases.entry(view, what, entry)), content_type="application/json")
    response.headers["ETag"] = f'W/"{view.tag}"'
    return response


@bp.patch("/<case>/<what>/<entry>")
def change_entry(case: str, what: str, entry: str) -> Response:
    """Merge patch (RFC 7396) of one entry."""
    kind = cases.KINDS.get(what)
    _who().require("update", kind.type if kind else None)
    hub = _hub()
    return _answer(cases.change(hub, _who().agent(), _who().viewer(hub.now()), case, what, entry, _document(), **_told()))


@bp.patch("/<case>/<what>")
def change_part(case: str, what: str) -> Response:
    """Merge patch of the plan, the team or the episode of the case."""
    single = cases.SINGLES.get(what)
    _who().require("update", single.type if single else None)
    hub = _hub()
    return _answer(cases.change(hub, _who().agent(), _who().viewer(hub.now()), case, what, "", _document(), **_told()))
