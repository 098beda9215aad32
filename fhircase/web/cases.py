"""``/cases``: the case management view of the shared plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Blueprint, Response, g, request

from fhircase.case.closing import Closing
from fhircase.errors import Invalid, Malformed, Refused
from fhircase.fhir import jsontext
from fhircase.flows import activate as activation
from fhircase.flows import case_list, cases, correct, decide, judged, kinds, move_case, open_case, timeline
from fhircase.flows.hub import Hub
from fhircase.mapping import schema
from fhircase.plans.change import Agent
from fhircase.ports import Viewer
from fhircase.web import asked
from fhircase.web.asked import takes

bp = Blueprint("cases", __name__, url_prefix="/cases")

_ACTIVATION = schema.closed(
    {name: {"type": "array", "items": {"type": "string"}, "uniqueItems": True} for name in ("goals", "services", "equipment")}
)


def _may(type_: str) -> bool:
    return asked.who().may("read", type_)


def _visible(view: cases.CaseView) -> dict[str, Any]:
    """What the caller's scopes let through of a case: parts of types that it may read, and what was found about these."""
    hidden = {name for name, kind in {**kinds.KINDS, **kinds.SINGLES}.items() if not _may(kind.type)}
    hidden |= {name for name, type_ in (("client", "Patient"), ("people", "Practitioner")) if not _may(type_)}
    made = {name: value for name, value in view.doc.items() if name not in hidden}
    if hidden:
        made["attention"] = [point for point in view.doc.get("attention", ()) if _may(point["about"].partition("/")[0])]
    return made


def _shown(view: cases.CaseView, parts: Iterable[str] | None = None) -> None:
    """Note in the audit trail which resources of the case the answer shows: all that the caller may read, or these."""
    refs = [ref for ref in view.refs if _may(ref.partition("/")[0])] if parts is None else list(parts)
    asked.shown("read-case", refs, (view.client,))


def _read(case: str) -> cases.CaseView:
    asked.who().require("read", "EpisodeOfCare")
    return asked.noting("read-case", f"EpisodeOfCare/{case}", lambda: cases.read(asked.hub(), asked.viewer(), case))


def _answer(view: cases.CaseView, status: int = 200, **more: Any) -> Response:
    _shown(view)
    body = {**_visible(view), **more}
    if view.problems:
        body["problems"] = [{"path": p.path, "problem": p.what, "hint": p.hint} for p in view.problems]
    response = Response(jsontext.dumps(body), status, content_type="application/json")
    response.headers["ETag"] = f'W/"{view.tag}"'
    return response


@bp.get("")
def list_cases() -> Response:
    """Cases that the caller may see; filters name, birth_date, phase, status, owner, partner, mine, due; paging by ``next``."""
    asked.who().require("search-type", "EpisodeOfCare")
    given = asked.query(*case_list.FILTERS, "mine", "count", "next")
    hub = asked.hub()
    filters = {name: given.get(name, "") for name in case_list.FILTERS}
    if filters["due"] == "today":
        filters["due"] = judged.today(hub).isoformat()
    if filters["name"] or filters["birth_date"]:
        asked.who().require("search-type", "Patient")
    if filters["due"]:
        asked.who().require("read", None)
    if given.get("mine", "false") not in ("true", "false"):
        raise Malformed("mine is true or false", path="mine")
    if given.get("mine") == "true":
        user = asked.agent().user or ""
        if not user.startswith("Practitioner/"):
            hint = "ask with owner, or make a key with --user Practitioner/…"
            raise Refused("this key stands for no Practitioner", path="mine", hint=hint)
        filters["owner"] = user
    items, following = case_list.index(hub, asked.viewer(), case_list.Wanted(**filters), count=asked.count(given), cursor=given.get("next"))
    if not _may("Patient"):
        items = [{name: value for name, value in item.items() if name != "client"} for item in items]
    refs = [ref for item in items for ref in (f"EpisodeOfCare/{item['id']}", f"Patient/{item['client_id']}") if _may(ref.partition("/")[0])]
    asked.shown("search-case", refs, [item["client_id"] for item in items])
    return Response(jsontext.dumps({"items": items, "next": following}), content_type="application/json")


@bp.get("/<case>")
def read_case(case: str) -> Response:
    """One case, whole: the parts that the caller's scopes let it read."""
    return _answer(_read(case))


@bp.post("")
@takes({"$ref": "#/components/schemas/CaseOpening"})
def open_by_hand() -> Response:
    """Open a case: ``{"client": "Patient/id" or a client document, "kind", "title", "manager", "opened"}``."""
    asked.who().require("create", "EpisodeOfCare")
    hub = asked.hub()
    case, view = open_case.open_case(
        hub, asked.agent(), asked.viewer(), asked.document(), key=asked.who().key, correlation=g.get("correlation", "")
    )
    response = _answer(view, 201)
    response.headers["Location"] = f"{hub.policy.base_url}/cases/{case}"
    return response


@bp.patch("/<case>")
@takes({"$ref": "#/components/schemas/CasePatch"})
def change_case(case: str) -> Response:
    """Merge patch (RFC 7396) of several parts in one commit: ``{"plan": {…}, "goals": {"<id>": {…}, "#new": {…}}}``."""
    document = asked.document()
    for name, value in document.items() or (("episode", {}),):
        kind = kinds.SINGLES.get(name) or kinds.KINDS.get(name)
        new = isinstance(value, list) or (isinstance(value, dict) and name in kinds.KINDS and any(id_.startswith("#") for id_ in value))
        asked.who().require("create" if new else "update", kind.type if kind else None)
    hub = asked.hub()
    return _answer(cases.change_several(hub, asked.agent(), asked.viewer(), case, document, **asked.told()))


@bp.get("/<case>/timeline")
def read_timeline(case: str) -> Response:
    """What happened to the case, oldest first: when, who, from which message, and which fields it changed."""
    asked.who().require("read", "EpisodeOfCare")
    given = asked.query("count", "next")
    hub = asked.hub()
    items, following, client = asked.noting(
        "read-case",
        f"EpisodeOfCare/{case}",
        lambda: timeline.timeline(hub, asked.viewer(), case, count=asked.count(given), cursor=given.get("next")),
    )
    for item in items:
        item["changes"] = [change for change in item["changes"] if _may(change["reference"].partition("/")[0])]
    asked.shown("read-case", dict.fromkeys(change["reference"] for item in items for change in item["changes"]), (client,))
    return Response(jsontext.dumps({"items": items, "next": following}), content_type="application/json")


Who = tuple[Hub, Agent, Viewer, str]
Run = Callable[[Who, dict[str, Any], dict[str, Any]], move_case.Result]


@bp.post("/<case>/phase")
@takes(move_case.PHASE.schema)
def move_phase(case: str) -> Response:
    """Move the case to its next phase: ``{"to": "assessment", "because": "…"}``; what stands in the way is told."""
    return _move(case, move_case.PHASE, lambda who, doc, told: move_case.phase(*who, doc["to"], doc["because"], **told))


@bp.post("/<case>/hold")
@takes(move_case.REST.schema)
def hold(case: str) -> Response:
    """Let the work rest: ``{"because"}``; the phase stays."""
    return _move(case, move_case.REST, lambda who, doc, told: move_case.hold(*who, doc["because"], **told))


@bp.post("/<case>/resume")
@takes(move_case.REST.schema)
def resume(case: str) -> Response:
    """Let the work go on: ``{"because"}``."""
    return _move(case, move_case.REST, lambda who, doc, told: move_case.resume(*who, doc["because"], **told))


@bp.post("/<case>/close")
@takes(move_case.CLOSE.schema)
def close(case: str) -> Response:
    """Close the case: ``{"reason", "outcome", "destination", "because"}``; a client who withdraws can always close."""

    def run(who: Who, doc: dict[str, Any], told: dict[str, Any]) -> move_case.Result:
        closing = Closing(doc["reason"], doc.get("outcome", ""), doc.get("destination", ""), doc.get("goes_on_with", ""))
        return move_case.close(*who, closing, doc.get("because", ""), **told)

    return _move(case, move_case.CLOSE, run)


@bp.post("/<case>/reopen")
@takes(move_case.REST.schema)
def reopen(case: str) -> Response:
    """Open a closed case again, within the days of return: ``{"because"}``."""
    return _move(case, move_case.REST, lambda who, doc, told: move_case.reopen(*who, doc["because"], **told))


def _move(case: str, shape: schema.Shape, run: Run) -> Response:
    asked.who().require("update", "EpisodeOfCare")
    document = asked.document()
    problems = shape.problems(document)
    if problems:
        raise Invalid(problems)
    hub = asked.hub()
    moved = run((hub, asked.agent(), asked.viewer(), case), document, asked.told())
    return _answer(moved.view, open=[{"path": p.path, "problem": p.what, "hint": p.hint} for p in moved.open])


@bp.post("/<case>/decisions")
@takes(decide.SHAPE.schema)
def keep_decision(case: str) -> Response:
    """Keep the client's decision: ``{"on": "ServiceRequest/…", "decided": "accepted" | "declined", "by": "Patient/…", "reason"}``."""
    asked.who().require("update", "CarePlan")
    document = asked.document()
    problems = decide.SHAPE.problems(document)
    if problems:
        raise Invalid(problems)
    hub = asked.hub()
    return _answer(decide.decide(hub, asked.agent(), asked.viewer(), case, document, **asked.told()))


@bp.get("/<case>/summary")
def summary(case: str) -> Response:
    """The case for the client to read, in plain words and the client's language (``language``, ``zone``); text/plain or JSON by Accept."""
    asked.who().require("read", None)
    given = asked.query("language", "zone")
    told, view = asked.noting(
        "read-case",
        f"EpisodeOfCare/{case}",
        lambda: cases.summary(asked.hub(), asked.viewer(), case, language=given.get("language", ""), zone=given.get("zone", "")),
    )
    _shown(view)
    if request.accept_mimetypes.best_match(("application/json", "text/plain"), "application/json") == "text/plain":
        response = Response(told.text, content_type="text/plain; charset=utf-8")
    else:
        sections = [{"title": section.title, "lines": list(section.lines)} for section in told.sections]
        made = {"language": told.language, "wanted": list(told.wanted), "title": told.title, "sections": sections, "text": told.text}
        response = Response(jsontext.dumps(made), content_type="application/json")
    response.headers["Content-Language"] = told.language
    response.headers["ETag"] = f'W/"{view.tag}-{told.language}"'
    return response


@bp.post("/<case>/activate")
@takes(_ACTIVATION.schema)
def activate(case: str) -> Response:
    """Make proposals real: ``{"goals": [ids], "services": [ids], "equipment": [ids]}``."""
    asked.who().require("update", "CarePlan")
    document = asked.document()
    problems = _ACTIVATION.problems(document)
    if problems:
        raise Invalid(problems)
    hub = asked.hub()
    return _answer(activation.activate(hub, asked.agent(), asked.viewer(), case, **document, **asked.told()))


@bp.post("/<case>/<what>")
@takes(kinds.additions())
def add_entry(case: str, what: str) -> Response:
    """Add a goal, service, equipment, need or assessment; Location names it."""
    kind = kinds.KINDS.get(what)
    asked.who().require("create", kind.type if kind else None)
    hub = asked.hub()
    id_, view = cases.add(hub, asked.agent(), asked.viewer(), case, what, asked.document(), **asked.told())
    response = _answer(view, 201, added=id_)
    response.headers["Location"] = f"{hub.policy.base_url}/cases/{case}/{what}/{id_}"
    return response


@bp.get("/<case>/<what>")
def read_entries(case: str, what: str) -> Response:
    """One part of the case."""
    view = _read(case)
    part = cases.part(view, what)
    type_ = "Patient" if what == "client" else kinds.named(what).type
    asked.who().require("read", type_)
    _shown(view, [f"{type_}/{one['id']}" for one in (part if isinstance(part, list) else [part])])
    response = Response(jsontext.dumps({"items": part, "next": None} if isinstance(part, list) else part), content_type="application/json")
    response.headers["ETag"] = f'W/"{view.tag}"'
    return response


@bp.get("/<case>/<what>/<entry>")
def read_entry(case: str, what: str, entry: str) -> Response:
    """One entry of one list of the case."""
    view = _read(case)
    found = cases.entry(view, what, entry)
    type_ = kinds.named(what).type
    asked.who().require("read", type_)
    _shown(view, [f"{type_}/{entry}"])
    response = Response(jsontext.dumps(found), content_type="application/json")
    response.headers["ETag"] = f'W/"{view.tag}"'
    return response


@bp.patch("/<case>/<what>/<entry>")
@takes(kinds.patches(kinds.KINDS))
def change_entry(case: str, what: str, entry: str) -> Response:
    """Merge patch (RFC 7396) of one entry."""
    kind = kinds.KINDS.get(what)
    asked.who().require("update", kind.type if kind else None)
    hub = asked.hub()
    return _answer(cases.change(hub, asked.agent(), asked.viewer(), case, what, entry, asked.document(), **asked.told()))


@bp.post("/<case>/<what>/<entry>/move")
@takes(correct.SHAPE.schema)
def move_entry(case: str, what: str, entry: str) -> Response:
    """Move an entry to the case that it belongs to: ``{"to": case id, "because"}``; partners' copies are recalled."""
    kind = kinds.KINDS.get(what)
    asked.who().require("update", kind.type if kind else None)
    document = asked.document()
    problems = correct.SHAPE.problems(document)
    if problems:
        raise Invalid(problems)
    hub = asked.hub()
    moved = correct.move(hub, asked.agent(), asked.viewer(), case, what, entry, document["to"], document["because"], **asked.told())
    response = _answer(moved.view, moved={"id": moved.id, "case": document["to"]}, left_out=list(moved.left_out))
    response.headers["Location"] = f"{hub.policy.base_url}/cases/{document['to']}/{what}/{moved.id}"
    return response


@bp.patch("/<case>/<what>")
@takes(kinds.patches(kinds.SINGLES))
def change_part(case: str, what: str) -> Response:
    """Merge patch of the plan, the team or the episode of the case."""
    single = kinds.SINGLES.get(what)
    asked.who().require("update", single.type if single else None)
    hub = asked.hub()
    return _answer(cases.change(hub, asked.agent(), asked.viewer(), case, what, "", asked.document(), **asked.told()))
