"""``/cases``: the case management view of the shared plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, current_app, g, request

from fhircase.access.principal import Principal
from fhircase.case.closing import Closing
from fhircase.errors import Invalid, Malformed, Problem, Refused, WrongMediaType
from fhircase.fhir import jsontext
from fhircase.flows import activate as activation
from fhircase.flows import case_list, cases, correct, decide, judged, kinds, move_case, open_case, timeline
from fhircase.flows.hub import Hub
from fhircase.mapping import schema
from fhircase.plans.change import Agent
from fhircase.ports import Viewer

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


_ACTIVATION = schema.closed(
    {name: {"type": "array", "items": {"type": "string"}, "uniqueItems": True} for name in ("goals", "services", "equipment")}
)


def _query(*known: str) -> dict[str, str]:
    """The query parameters. Raises Invalid for one that is not known or stands twice."""
    asked = request.args
    wrong = [Problem("no such parameter", name[:64], "known: " + ", ".join(known)) for name in asked if name not in known]
    wrong += [Problem("given twice", name, "give it once") for name in known if len(asked.getlist(name)) > 1]
    if wrong:
        raise Invalid(wrong)
    return asked.to_dict()


def _count(asked: dict[str, str]) -> int:
    try:
        return min(max(int(asked.get("count", "50")), 1), 200)
    except ValueError:
        raise Malformed("count is a whole number", path="count") from None


def _answer(view: cases.CaseView, status: int = 200, **more: Any) -> Response:
    body = {**view.doc, **more}
    if view.problems:
        body["problems"] = [{"path": p.path, "problem": p.what, "hint": p.hint} for p in view.problems]
    response = Response(jsontext.dumps(body), status, content_type="application/json")
    response.headers["ETag"] = f'W/"{view.tag}"'
    return response


@bp.get("")
def list_cases() -> Response:
    """Cases that the caller may see; filters name, birth_date, phase, status, owner, partner, mine, due; paging by ``next``."""
    _who().require("search-type", "EpisodeOfCare")
    asked = _query(*case_list.FILTERS, "mine", "count", "next")
    hub = _hub()
    filters = {name: asked.get(name, "") for name in case_list.FILTERS}
    if filters["due"] == "today":
        filters["due"] = judged.today(hub).isoformat()
    if asked.get("mine", "false") not in ("true", "false"):
        raise Malformed("mine is true or false", path="mine")
    if asked.get("mine") == "true":
        user = _who().agent().user or ""
        if not user.startswith("Practitioner/"):
            hint = "ask with owner, or make a key with --user Practitioner/…"
            raise Refused("this key stands for no Practitioner", path="mine", hint=hint)
        filters["owner"] = user
    items, following = case_list.index(
        hub, _who().viewer(hub.now()), case_list.Wanted(**filters), count=_count(asked), cursor=asked.get("next")
    )
    return Response(jsontext.dumps({"items": items, "next": following}), content_type="application/json")


@bp.get("/<case>")
def read_case(case: str) -> Response:
    """One case, whole."""
    _who().require("read", "EpisodeOfCare")
    return _answer(cases.read(_hub(), _who().viewer(_hub().now()), case))


@bp.post("")
def open_by_hand() -> Response:
    """Open a case: ``{"client": "Patient/id" or a client document, "kind", "title", "manager", "opened"}``."""
    _who().require("create", "EpisodeOfCare")
    hub = _hub()
    case, view = open_case.open_case(
        hub, _who().agent(), _who().viewer(hub.now()), _document(), key=_who().key, correlation=g.get("correlation", "")
    )
    response = _answer(view, 201)
    response.headers["Location"] = f"{hub.policy.base_url}/cases/{case}"
    return response


@bp.patch("/<case>")
def change_case(case: str) -> Response:
    """Merge patch (RFC 7396) of several parts in one commit: ``{"plan": {…}, "goals": {"<id>": {…}, "#new": {…}}}``."""
    document = _document()
    for name, value in document.items() or (("episode", {}),):
        kind = kinds.SINGLES.get(name) or kinds.KINDS.get(name)
        new = isinstance(value, list) or (isinstance(value, dict) and name in kinds.KINDS and any(id_.startswith("#") for id_ in value))
        _who().require("create" if new else "update", kind.type if kind else None)
    hub = _hub()
    return _answer(cases.change_several(hub, _who().agent(), _who().viewer(hub.now()), case, document, **_told()))


@bp.get("/<case>/timeline")
def read_timeline(case: str) -> Response:
    """What happened to the case, oldest first: when, who, from which message, and which fields it changed."""
    _who().require("read", "EpisodeOfCare")
    asked = _query("count", "next")
    hub = _hub()
    items, following = timeline.timeline(hub, _who().viewer(hub.now()), case, count=_count(asked), cursor=asked.get("next"))
    return Response(jsontext.dumps({"items": items, "next": following}), content_type="application/json")


Who = tuple[Hub, Agent, Viewer, str]
Run = Callable[[Who, dict[str, Any], dict[str, Any]], move_case.Result]


@bp.post("/<case>/phase")
def move_phase(case: str) -> Response:
    """Move the case to its next phase: ``{"to": "assessment", "because": "…"}``; what stands in the way is told."""
    return _move(case, move_case.PHASE, lambda who, doc, told: move_case.phase(*who, doc["to"], doc["because"], **told))


@bp.post("/<case>/hold")
def hold(case: str) -> Response:
    """Let the work rest: ``{"because"}``; the phase stays."""
    return _move(case, move_case.REST, lambda who, doc, told: move_case.hold(*who, doc["because"], **told))


@bp.post("/<case>/resume")
def resume(case: str) -> Response:
    """Let the work go on: ``{"because"}``."""
    return _move(case, move_case.REST, lambda who, doc, told: move_case.resume(*who, doc["because"], **told))


@bp.post("/<case>/close")
def close(case: str) -> Response:
    """Close the case: ``{"reason", "outcome", "destination", "because"}``; a client who withdraws can always close."""

    def run(who: Who, doc: dict[str, Any], told: dict[str, Any]) -> move_case.Result:
        closing = Closing(doc["reason"], doc.get("outcome", ""), doc.get("destination", ""), doc.get("goes_on_with", ""))
        return move_case.close(*who, closing, doc.get("because", ""), **told)

    return _move(case, move_case.CLOSE, run)


@bp.post("/<case>/reopen")
def reopen(case: str) -> Response:
    """Open a closed case again, within the days of return: ``{"because"}``."""
    return _move(case, move_case.REST, lambda who, doc, told: move_case.reopen(*who, doc["because"], **told))


def _move(case: str, shape: schema.Shape, run: Run) -> Response:
    _who().require("update", "EpisodeOfCare")
    document = _document()
    problems = shape.problems(document)
    if problems:
        raise Invalid(problems)
    hub = _hub()
    moved = run((hub, _who().agent(), _who().viewer(hub.now()), case), document, _told())
    return _answer(moved.view, open=[{"path": p.path, "problem": p.what, "hint": p.hint} for p in moved.open])


@bp.post("/<case>/decisions")
def keep_decision(case: str) -> Response:
    """Keep the client's decision: ``{"on": "ServiceRequest/…", "decided": "accepted" | "declined", "by": "Patient/…", "reason"}``."""
    _who().require("update", "CarePlan")
    document = _document()
    problems = decide.SHAPE.problems(document)
    if problems:
        raise Invalid(problems)
    hub = _hub()
    return _answer(decide.decide(hub, _who().agent(), _who().viewer(hub.now()), case, document, **_told()))


@bp.get("/<case>/summary")
def summary(case: str) -> Response:
    """The case for the client to read, in plain words and the client's language (``language``, ``zone``); text/plain or JSON by Accept."""
    _who().require("read", "EpisodeOfCare")
    asked = _query("language", "zone")
    told, tag = cases.summary(_hub(), _who().viewer(_hub().now()), case, language=asked.get("language", ""), zone=asked.get("zone", ""))
    if request.accept_mimetypes.best_match(("application/json", "text/plain"), "application/json") == "text/plain":
        response = Response(told.text, content_type="text/plain; charset=utf-8")
    else:
        sections = [{"title": section.title, "lines": list(section.lines)} for section in told.sections]
        made = {"language": told.language, "wanted": list(told.wanted), "title": told.title, "sections": sections, "text": told.text}
        response = Response(jsontext.dumps(made), content_type="application/json")
    response.headers["Content-Language"] = told.language
    response.headers["ETag"] = f'W/"{tag}-{told.language}"'
    return response


@bp.post("/<case>/activate")
def activate(case: str) -> Response:
    """Make proposals real: ``{"goals": [ids], "services": [ids], "equipment": [ids]}``."""
    _who().require("update", "CarePlan")
    document = _document()
    problems = _ACTIVATION.problems(document)
    if problems:
        raise Invalid(problems)
    hub = _hub()
    return _answer(activation.activate(hub, _who().agent(), _who().viewer(hub.now()), case, **document, **_told()))


@bp.post("/<case>/<what>")
def add_entry(case: str, what: str) -> Response:
    """Add a goal, service, equipment, need or assessment; Location names it."""
    kind = kinds.KINDS.get(what)
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
    kind = kinds.KINDS.get(what)
    _who().require("update", kind.type if kind else None)
    hub = _hub()
    return _answer(cases.change(hub, _who().agent(), _who().viewer(hub.now()), case, what, entry, _document(), **_told()))


@bp.post("/<case>/<what>/<entry>/move")
def move_entry(case: str, what: str, entry: str) -> Response:
    """Move an entry to the case that it belongs to: ``{"to": case id, "because"}``; partners' copies are recalled."""
    kind = kinds.KINDS.get(what)
    _who().require("update", kind.type if kind else None)
    document = _document()
    problems = correct.SHAPE.problems(document)
    if problems:
        raise Invalid(problems)
    hub = _hub()
    moved = correct.move(
        hub, _who().agent(), _who().viewer(hub.now()), case, what, entry, document["to"], document["because"], **_told()
    )
    response = _answer(moved.view, moved={"id": moved.id, "case": document["to"]}, left_out=list(moved.left_out))
    response.headers["Location"] = f"{hub.policy.base_url}/cases/{document['to']}/{what}/{moved.id}"
    return response


@bp.patch("/<case>/<what>")
def change_part(case: str, what: str) -> Response:
    """Merge patch of the plan, the team or the episode of the case."""
    single = kinds.SINGLES.get(what)
    _who().require("update", single.type if single else None)
    hub = _hub()
    return _answer(cases.change(hub, _who().agent(), _who().viewer(hub.now()), case, what, "", _document(), **_told()))
