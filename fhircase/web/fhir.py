"""``/fhir``: the RESTful API of FHIR R4 (http://hl7.org/fhir/R4/http.html). Reads serve stored text; nothing is parsed or
built on the way out but the Bundle around it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, current_app, g, request

from fhircase.access.principal import Principal
from fhircase.errors import FhircaseError, Forbidden, Malformed, NotAcceptable, NotFound, Problem, Refused, TooLarge, WrongMediaType
from fhircase.fhir import bundles, definitions, jsontext, outcome, times
from fhircase.fhir.query import Query
from fhircase.fhir.subset import subset
from fhircase.flows import interact
from fhircase.flows.audit import ReadAudit
from fhircase.flows.hub import Hub
from fhircase.flows.interact import Answer, Caller, Done, Pairs
from fhircase.plans.change import Ref
from fhircase.ports import Page, Stored
from fhircase.web import intake
from fhircase.web.problem import FHIR_JSON

bp = Blueprint("fhir", __name__, url_prefix="/fhir")

JSON_TYPES = frozenset({"application/fhir+json", "application/json", "text/json"})
XML_TYPES = frozenset({"application/fhir+xml", "application/xml", "text/xml"})
CURSOR = "_cursor"
"""The parameter of ``next`` links; its value is the store's."""

COUNT = 50
MOST = 200
_CONTROL = frozenset({"_format", "_pretty"})


# ------------------------------------------------------------------------------------------------ what is asked


@dataclass(frozen=True, slots=True)
class Prefer:
    """The Prefer header (R4 §3.1.0.1.3, §3.1.1.4)."""

    returns: str = "representation"
    lenient: bool | None = None


@lru_cache(maxsize=256)
def prefer_of(header: str) -> Prefer:
    returns, lenient = "representation", None
    for part in re.split(r"[,;]", header):
        name, _, value = part.strip().partition("=")
        value = value.strip('" ')
        if name == "return" and value in ("minimal", "representation", "OperationOutcome"):
            returns = value
        elif name == "handling" and value in ("strict", "lenient"):
            lenient = value == "lenient"
    return Prefer(returns, lenient)


@lru_cache(maxsize=256)
def _acceptable(format: str, accept: str) -> bool:
    """Whether JSON is among what the caller takes; ``_format`` wins over Accept (R4 §3.1.0.1.11)."""
    if format:
        return format.replace(" ", "+").partition(";")[0].lower() in ("json", *JSON_TYPES)
    if not accept:
        return True
    for part in accept.split(","):
        kind, *parameters = (item.strip().lower() for item in part.split(";"))
        if any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters):
            continue
        version = next((p.partition("=")[2].strip('"') for p in parameters if p.startswith("fhirversion=")), "4.0")
        if (kind in JSON_TYPES or kind in ("*/*", "application/*")) and version.startswith("4.0"):
            return True
    return False


@bp.before_request
def negotiate() -> None:
    """Raises NotAcceptable unless JSON will do."""
    if not _acceptable(request.args.get("_format", ""), request.headers.get("Accept", "")):
        raise NotAcceptable("the hub speaks FHIR R4 in JSON", hint="send Accept: application/fhir+json")


def _hub() -> Hub:
    hub: Hub = current_app.extensions["fhircase"]
    return hub


def _audit() -> ReadAudit:
    audit: ReadAudit = current_app.extensions["fhircase.services"].audit
    return audit


def _who() -> Principal:
    who: Principal = g.principal
    return who


def _caller() -> Caller:
    return Caller(_who(), g.correlation, prefer_of(request.headers.get("Prefer", "")).lenient)


def _known(type: str) -> bool:
    return definitions.is_resource(type)


def _type(type: str) -> str:
    if not _known(type):
        raise NotFound(f"{type[:64]} is no resource type of R4", hint="see /fhir/metadata")
    return type


def _ref(type: str, id: str) -> Ref:
    return Ref(_type(type), id)


def _pairs() -> Pairs:
    return tuple(pair for pair in interact.pairs_of(request.query_string.decode("latin-1")) if pair[0] not in _CONTROL)


def _body() -> Any:
    """The JSON body. Raises WrongMediaType, TooLarge, Malformed."""
    kind = request.mimetype
    if kind in XML_TYPES:
        raise WrongMediaType("FHIR in XML is not read here", hint="send application/fhir+json")
    if kind not in JSON_TYPES:
        raise WrongMediaType(
            f"{kind or 'no content type'} is not FHIR" if len(kind) < 80 else "not FHIR", hint="send Content-Type: application/fhir+json"
        )
    parameters = request.mimetype_params
    if parameters.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise WrongMediaType("FHIR is in UTF-8", hint="send charset=utf-8")
    if not parameters.get("fhirversion", parameters.get("fhirVersion", "4.0")).startswith("4.0"):
        raise WrongMediaType("the hub speaks FHIR R4", hint="send fhirVersion=4.0")
    return jsontext.loads(_bytes(_hub().policy.bundle_bytes))


def _bytes(most: int) -> bytes:
    data = request.get_data(cache=False)
    if len(data) > most:
        raise TooLarge(f"a body has at most {most} bytes here")
    return data


def _resource(type: str) -> Any:
    """A single resource; a Bundle may be larger than others."""
    body = _body()
    length = request.content_length or 0
    if type != "Bundle" and length > _hub().policy.body_bytes:
        raise TooLarge(f"a resource has at most {_hub().policy.body_bytes} bytes")
    return body


def _if_match() -> int | None:
    tag = request.headers.get("If-Match")
    return None if tag is None else interact.etag_version(tag)


def _number(pairs: Mapping[str, str], name: str, default: int) -> int:
    text = pairs.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Refused(f"{name} is a whole number", path=name)
    return min(int(text), MOST)


# ------------------------------------------------------------------------------------------------ what is answered


def _headers(stored: Stored) -> dict[str, str]:
    return {"ETag": f'W/"{stored.version}"', "Last-Modified": formatdate(interact.lastly(stored) // 1000, usegmt=True)}


def _location(stored: Stored) -> str:
    return f"{interact.fhir_base(_hub())}/{stored.type}/{stored.id}/_history/{stored.version}"


def _show(stored: Stored, interaction: str) -> Response:
    """One resource, or 304 when the caller holds this version already."""
    _audit().shown(_who(), interaction, (stored,), at=_hub().now(), correlation=g.correlation)
    headers = _headers(stored)
    if _unchanged(stored, headers["ETag"]):
        return Response(status=304, headers=headers)
    text = bundles.body(stored)
    summary, elements = request.args.get("_summary", ""), request.args.get("_elements", "")
    if summary or elements:
        text = _part(text, summary, tuple(e.strip() for e in elements.split(",") if e.strip()))
    return Response(text, 200, headers, content_type=FHIR_JSON)


def _unchanged(stored: Stored, etag: str) -> bool:
    held = request.headers.get("If-None-Match")
    if held is not None:
        bare = etag.removeprefix("W/")
        return held.strip() == "*" or any(tag.strip().removeprefix("W/") == bare for tag in held.split(","))
    since = request.headers.get("If-Modified-Since")
    if since is None:
        return False
    try:
        return interact.lastly(stored) // 1000 <= int(parsedate_to_datetime(since).timestamp())
    except (ValueError, OverflowError):
        return False


def _wrote(done: Done) -> Response:
    """The answer to a write, as Prefer asks."""
    if done.stored is None or done.status == 204:
        headers = {"ETag": f'W/"{done.stored.version}"'} if done.stored is not None else {}
        return Response(status=204, headers=headers)
    if not done.wrote:
        _audit().shown(_who(), "read", (done.stored,), at=_hub().now(), correlation=g.correlation)
    headers = {**_headers(done.stored), "Location": _location(done.stored)}
    prefer = prefer_of(request.headers.get("Prefer", ""))
    if prefer.returns == "minimal":
        return Response("", done.status, headers, content_type=FHIR_JSON)
    if prefer.returns == "OperationOutcome":
        told = [
            Problem("a person is asked", hint=f"see /reviews/{id}", code="informational", severity="information") for id in done.reviews
        ]
        return Response(jsontext.dumps(outcome.of(told)), done.status, headers, content_type=FHIR_JSON)
    return Response(bundles.body(done.stored), done.status, headers, content_type=FHIR_JSON)


def _bundle(text: str) -> Response:
    return Response(text, 200, content_type=FHIR_JSON)


def _links(path: str, pairs: Pairs, following: str | None) -> list[tuple[str, str]]:
    """``self`` and, when there is more, ``next``."""
    base = f"{interact.fhir_base(_hub())}/{path}"
    plain = [pair for pair in pairs if pair[0] != CURSOR]
    links = [("self", f"{base}?{urlencode(pairs)}" if pairs else base)]
    if following is not None:
        links.append(("next", f"{base}?{urlencode([*plain, (CURSOR, following)])}"))
    return links


def _searchset(query: Query, page: Page, path: str, pairs: Pairs) -> str:
    ignored = [
        Problem(f"the parameter {name} was left out", name, "see /fhir/metadata", "not-supported", "warning") for name in query.ignored
    ]

    def part(version: bundles.Version) -> str:
        return _part(bundles.body(version), query.summary, query.elements)

    return bundles.searchset(
        page.matches,
        page.included,
        base_url=interact.fhir_base(_hub()),
        links=_links(path, pairs, page.next),
        total=page.total,
        outcome=outcome.of(ignored) if ignored else None,
        view=part if query.summary or query.elements else bundles.body,
    )


def _part(text: str, summary: str, elements: Sequence[str]) -> str:
    return jsontext.dumps(subset(jsontext.loads(text), summary=summary, elements=elements))


# ------------------------------------------------------------------------------------------------ one resource


@bp.get("/<rtype:type>/<rid:id>")
def read(type: str, id: str) -> Response:
    """Read the current version of a resource."""
    ref = _ref(type, id)
    return _show(_noting("read", ref, lambda: interact.read(_hub(), _caller(), ref)), "read")


@bp.get("/<rtype:type>/<rid:id>/_history/<version>")
def vread(type: str, id: str, version: str) -> Response:
    """Read one version of a resource."""
    ref = _ref(type, id)
    if not re.fullmatch(r"[1-9]\d{0,8}", version):
        raise NotFound(f"{ref} has no such version")
    return _show(_noting("vread", ref, lambda: interact.vread(_hub(), _caller(), ref, int(version))), "vread")


@bp.put("/<rtype:type>/<rid:id>")
def update(type: str, id: str) -> Response:
    """Update a resource; If-Match guards against overwriting what others wrote."""
    ref = _ref(type, id)
    return _wrote(interact.update(_hub(), _caller(), type, ref.id, _resource(type), if_match=_if_match()))


@bp.patch("/<rtype:type>/<rid:id>")
def patch(type: str, id: str) -> Response:
    """Patch a resource with JSON Patch (RFC 6902)."""
    ref = _ref(type, id)
    return _wrote(interact.patch(_hub(), _caller(), type, ref.id, _operations(), if_match=_if_match()))


@bp.delete("/<rtype:type>/<rid:id>")
def delete(type: str, id: str) -> Response:
    """Delete a resource; it answers 410 from then on, its history stays."""
    ref = _ref(type, id)
    return _wrote(interact.delete(_hub(), _caller(), type, ref.id, if_match=_if_match()))


def _operations() -> Any:
    kind = request.mimetype
    if kind != "application/json-patch+json":
        hint = "send application/json-patch+json"
        if kind == "application/merge-patch+json":
            hint = "a merge patch would drop lists of others; " + hint
        raise WrongMediaType("this patch is not understood", hint=hint)
    return jsontext.loads(_bytes(_hub().policy.body_bytes))


def _noting(interaction: str, ref: Ref, run: Any) -> Any:
    """Runs a read; what is refused is audited too."""
    try:
        return run()
    except (Forbidden, NotFound) as error:
        _audit().refused(_who(), interaction, str(ref), at=_hub().now(), correlation=g.correlation, reason=error.code)
        raise


# ------------------------------------------------------------------------------------------------ types


@bp.post("/<rtype:type>")
def create(type: str) -> Response:
    """Create a resource; If-None-Exist makes it conditional."""
    criteria = request.headers.get("If-None-Exist")
    pairs = None if criteria is None else interact.criteria_of(criteria)
    return _wrote(interact.create(_hub(), _caller(), _type(type), _resource(type), if_none_exist=pairs))


@bp.put("/<rtype:type>")
def conditional_update(type: str) -> Response:
    """Update the one resource that matches the criteria, or create it."""
    return _wrote(interact.conditional_update(_hub(), _caller(), _type(type), _pairs(), _resource(type), if_match=_if_match()))


@bp.patch("/<rtype:type>")
def conditional_patch(type: str) -> Response:
    """Patch the one resource that matches the criteria."""
    return _wrote(interact.conditional_patch(_hub(), _caller(), _type(type), _pairs(), _operations(), if_match=_if_match()))


@bp.delete("/<rtype:type>")
def conditional_delete(type: str) -> Response:
    """Delete the one resource that matches the criteria."""
    return _wrote(interact.conditional_delete(_hub(), _caller(), _type(type), _pairs()))


@bp.get("/<rtype:type>")
def search(type: str) -> Response:
    """Search one type; parameters in the address."""
    return _search(_type(type), _pairs())


@bp.post("/<rtype:type>/_search")
def search_by_post(type: str) -> Response:
    """Search one type; parameters in a form, so that no log on the way holds them."""
    if request.mimetype != "application/x-www-form-urlencoded":
        raise WrongMediaType("a search by POST is a form", hint="send application/x-www-form-urlencoded")
    try:
        form = _bytes(_hub().policy.body_bytes).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("the form is not UTF-8") from None
    pairs = (*_pairs(), *(pair for pair in interact.pairs_of(form) if pair[0] not in _CONTROL))
    return _search(_type(type), pairs)


@bp.get("/Patient/<rid:id>/<rtype:type>")
def search_compartment(id: str, type: str) -> Response:
    """Search one type within a client's compartment."""
    _ref("Patient", id)
    return _search(_type(type), (("patient", id), *_pairs()))


def _search(type: str, pairs: Pairs) -> Response:
    caller = _caller()
    query, page = interact.search(_hub(), caller, type, pairs, strict=not caller.lenient)
    names = "&".join(sorted({name for name, _ in pairs}))[:200]
    _audit().shown(
        _who(), "search-type", (*page.matches, *page.included), at=_hub().now(), correlation=g.correlation, names=f"{type}?{names}"
    )
    return _bundle(_searchset(query, page, type, pairs))


# ------------------------------------------------------------------------------------------------ history


@bp.get("/_history")
def history_of_all() -> Response:
    """What changed, of all that the caller may see, newest first."""
    return _history(None, None)


@bp.get("/<rtype:type>/_history")
def history_of_type(type: str) -> Response:
    """What changed, of one type, newest first."""
    return _history(_type(type), None)


@bp.get("/<rtype:type>/<rid:id>/_history")
def history_of_one(type: str, id: str) -> Response:
    """Every version of one resource, newest first."""
    return _history(*_parts(_ref(type, id)))


def _parts(ref: Ref) -> tuple[str, str]:
    return ref.type, ref.id


def _history(type: str | None, id: str | None) -> Response:
    pairs = _pairs()
    asked = dict(pairs)
    for name in asked.keys() - {"_count", "_since", "_at", "_total", CURSOR}:
        raise Refused(f"a history has no parameter {name[:40]}", path=name[:40], hint="_since, _at, _count")
    since, at = asked.get("_since"), asked.get("_at")
    try:
        since_ms = None if since is None else times.bounds(since.replace(" ", "+"))[0]
        at_ms = None if at is None else times.bounds(at.replace(" ", "+"))
    except (ValueError, FhircaseError):
        raise Refused("_since and _at are instants", hint="2026-11-22T05:24:38Z") from None
    page = interact.history(
        _hub(), _caller(), type, id, since=since_ms, at=at_ms, count=_number(asked, "_count", COUNT) or 1,
        cursor=asked.get(CURSOR), total=asked.get("_total") != "none",
    )  # fmt: skip
    kind = "history-instance" if id else "history-type" if type else "history-system"
    _audit().shown(_who(), kind, page.matches, at=_hub().now(), correlation=g.correlation)
    path = "/".join(part for part in (type, id, "_history") if part)
    return _bundle(_history_text(page, _links(path, pairs, page.next)))


def _history_text(page: Page, links: Sequence[tuple[str, str]]) -> str:
    return bundles.history(page.matches, base_url=interact.fhir_base(_hub()), links=links, total=page.total)


# ------------------------------------------------------------------------------------------------ batch and transaction


@bp.post("")
@bp.post("/")
def bundle() -> Response:
    """A batch or a transaction."""
    body = _body()
    if not isinstance(body, dict) or body.get("resourceType") != "Bundle" or body.get("type") not in ("batch", "transaction"):
        raise Malformed(
            "a Bundle of type batch or transaction is asked for", path="Bundle.type", hint="a single resource goes to /fhir/Type"
        )
    entries = interact.entries(_hub(), body)
    run = interact.transaction if body["type"] == "transaction" else interact.batch
    answers = run(_hub(), _caller(), entries)
    prefer = prefer_of(request.headers.get("Prefer", ""))
    shown = [s for e, a in zip(entries, answers, strict=True) if e.method in ("GET", "HEAD") for s in _contents(a)]
    if shown:
        _audit().shown(_who(), body["type"], shown, at=_hub().now(), correlation=g.correlation)
    told = [_told(entry, answer, prefer.returns) for entry, answer in zip(entries, answers, strict=True)]
    return _bundle(bundles.response(told, transaction=body["type"] == "transaction"))


def _contents(answer: Answer) -> Sequence[Stored]:
    if answer.found is not None:
        return (*answer.found[1].matches, *answer.found[1].included)
    return (answer.stored,) if answer.stored is not None else ()


def _told(entry: bundles.Entry, answer: Answer, returns: str) -> bundles.Answer:
    status = f"{answer.status} {HTTPStatus(answer.status).phrase}"
    if answer.error is not None:
        return bundles.Answer(status, outcome=outcome.of_error(answer.error))
    if answer.found is not None:
        query, page = answer.found
        path, _, asked = entry.url.partition("?")
        links = _links(path, interact.pairs_of(asked), page.next)
        return bundles.Answer(
            status, text=_history_text(page, links) if query is None else _searchset(query, page, path, interact.pairs_of(asked))
        )
    if answer.stored is None:
        return bundles.Answer(status)
    stored = answer.stored
    reading = entry.method in ("GET", "HEAD")
    return bundles.Answer(
        status,
        location="" if reading else _location(stored),
        etag=bundles.etag(stored.version),
        updated=interact.lastly(stored),
        text=bundles.body(stored) if reading or returns == "representation" else "",
    )


@bp.get("")
@bp.get("/")
def search_all() -> Response:
    """Search across types is not offered."""
    raise Refused("a search names one type", hint="GET /fhir/CarePlan?patient=…")


# ------------------------------------------------------------------------------------------------ operations


@bp.post("/$process-message")
def process_message() -> Response:
    """Take in one message Bundle (http://hl7.org/fhir/R4/messageheader-operation-process-message.html)."""
    return intake.process_message()


@bp.post("/$validate")
def validate_any() -> Response:
    """Every problem of a resource, without storing it."""
    return _validated(None)


@bp.post("/<rtype:type>/$validate")
def validate_type(type: str) -> Response:
    """Every problem of a resource of this type, without storing it."""
    return _validated(_type(type))


@bp.post("/<rtype:type>/<rid:id>/$validate")
def validate_one(type: str, id: str) -> Response:
    """Every problem of a resource, as an update of this one."""
    return _validated(_ref(type, id).type)


def _validated(type: str | None) -> Response:
    return _bundle(jsontext.dumps(outcome.of(interact.validate(type, _body()))))


@bp.get("/Patient/<rid:id>/$everything")
def everything(id: str) -> Response:
    """All that the caller may see of one client."""
    ref = _ref("Patient", id)
    pairs = _pairs()
    asked = dict(pairs)
    for name in asked.keys() - {"_count", "_since", "_type", CURSOR}:
        raise Refused(f"$everything has no parameter {name[:40]} here", path=name[:40], hint="_type, _since, _count")
    try:
        since = None if "_since" not in asked else times.bounds(asked["_since"].replace(" ", "+"))[0]
    except (ValueError, FhircaseError):
        raise Refused("_since is an instant", hint="2026-11-22T05:24:38Z") from None
    types = tuple(_type(t) for t in asked.get("_type", "").split(",") if t)
    count = _number(asked, "_count", MOST) or 1
    page = _noting(
        "read", ref, lambda: interact.everything(_hub(), _caller(), id, types=types, since=since, count=count, after=asked.get(CURSOR))
    )
    _audit().shown(_who(), "everything", (*page.matches, *page.included), at=_hub().now(), correlation=g.correlation)
    return _bundle(_searchset(Query("Patient"), page, f"Patient/{id}/$everything", pairs))


@bp.get("/<rtype:type>/$<operation>")
@bp.post("/<rtype:type>/$<operation>")
@bp.get("/<rtype:type>/<rid:id>/$<operation>")
@bp.post("/<rtype:type>/<rid:id>/$<operation>")
@bp.post("/$<operation>")
@bp.get("/$<operation>")
def unknown_operation(operation: str, type: str = "", id: str = "") -> Response:
    """Any other operation is not known."""
    raise NotFound(f"the operation ${operation[:40]} is not known here", hint="see /fhir/metadata")
