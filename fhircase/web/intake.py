"""``/intake``: HL7 v2 over HTTP in, its ACK out; every message that arrived, its answer and what it became.

Status of an answer: AA 200, AE 422 (kept, can be replayed), AR 400, not stored 503 (send it again). The body is always the ACK,
save for 413, 415, 401, 403 and 503, which are problem+json: there was no message to answer."""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from flask import Blueprint, Response, current_app, g, request

from fhircase import hl7v2
from fhircase.access.principal import Principal
from fhircase.errors import Malformed, NotFound, Problem, TooLarge, WrongMediaType
from fhircase.fhir import jsontext, times
from fhircase.flows import messages, take_in
from fhircase.flows.audit import ReadAudit
from fhircase.flows.hub import Hub
from fhircase.ports import AuditEntry, Message

bp = Blueprint("intake", __name__, url_prefix="/intake")

ER7 = ("application/hl7-v2", "x-application/hl7-v2+er7", "application/hl7-v2+er7", "text/plain", "application/octet-stream")
FHIR = ("application/fhir+json", "application/json")
STATUS = {"AA": 200, "AE": 422, "AR": 400}
MOST = 200

_CHUNK = 65_536
_CEILING = 4


@bp.post("/hl7v2")
def post_hl7v2() -> Response:
    """One ER7 message; answers its ACK in the same media type. ``?partner=`` for administrators."""
    who = _who()
    who.require("create", "Bundle")
    _media(ER7, "send HL7 v2 in ER7 as application/hl7-v2")
    raw = _body("hl7v2", _hub().policy.body_bytes, who)
    partner = messages.sender(_hub(), who, request.args.get("partner"), _pair(raw))
    taken = take_in.take_in(
        _hub(), partner.name, "hl7v2", raw, request.mimetype, agent=who.agent(), correlation=g.get("correlation", ""), key=who.key
    )
    return _answered(taken.message, request.mimetype)


def process_message() -> Response:
    """``POST /fhir/$process-message``: one message Bundle (STANDARDS §1.4); answers an OperationOutcome. Called by the FHIR
    blueprint within its request."""
    who = _who()
    who.require("create", "Bundle")
    _media(FHIR, "send a Bundle of type message as application/fhir+json")
    raw = _body("message", _hub().policy.bundle_bytes, who)
    partner = messages.sender(_hub(), who, request.args.get("partner"))
    taken = take_in.take_in(
        _hub(), partner.name, "message", raw, request.mimetype, agent=who.agent(), correlation=g.get("correlation", ""), key=who.key
    )
    return _answered(taken.message, "application/fhir+json; charset=utf-8")


@bp.get("/messages")
def list_messages() -> Response:
    """Newest first; filters ``control_id``, ``client``, ``state``, ``since``, ``until`` (FHIR times), ``partner`` (the hub's people),
    ``count``; paging by ``next``."""
    who = _who()
    who.require("search-type", "Bundle")
    asked = request.args
    state = asked.get("state")
    if state is not None and state not in messages.STATES:
        raise Malformed("not a state of a message", path="state", hint=f"one of {', '.join(messages.STATES)}")
    try:
        count = min(max(int(asked.get("count", "50")), 1), MOST)
    except ValueError:
        raise Malformed("count is a whole number", path="count") from None
    wanted = messages.Wanted(
        partner=asked.get("partner"),
        control_id=asked.get("control_id"),
        client=_client(asked.get("client")),
        state=state,
        since=_time("since", 0),
        until=_time("until", 1),
        cursor=asked.get("next"),
        count=count,
    )
    found, following = messages.index(_hub(), who, wanted)
    for message in found:
        _note(who, "message-list", message)
    return _json({"items": [_shown(message) for message in found], "next": following})


@bp.get("/messages/<id>")
def read_message(id: str) -> Response:
    """One message, its answer and what it became."""
    who = _who()
    who.require("read", "Bundle")
    message = messages.find(_hub(), who, id)
    _note(who, "message-read", message)
    return _json(_shown(message))


@bp.get("/messages/<id>/raw")
def read_raw(id: str) -> Response:
    """The message as it arrived, byte for byte; needs system/Binary.r besides."""
    who = _who()
    who.require("read", "Bundle")
    who.require("read", "Binary")
    message = messages.find(_hub(), who, id)
    _note(who, "message-raw", message)
    if message.raw is None:
        raise NotFound("the message was too large to be kept", path=id[:64], hint="its digest and its first kilobyte are in the message")
    response = Response(message.raw, 200, content_type=message.content_type or "application/octet-stream")
    response.headers["Content-Disposition"] = "attachment"
    response.headers["Cache-Control"] = "no-store"
    return response


@bp.post("/messages/<id>/replay")
def replay_message(id: str) -> Response:
    """Take a kept message in again, after a mapping or a setting was mended (DECISIONS 20)."""
    who = _who()
    who.require_hub()
    messages.find(_hub(), who, id)
    taken = take_in.replay(_hub(), id, who.agent(), correlation=g.get("correlation", ""), key=who.key)
    return _json(_shown(taken.message))


# ---------------------------------------------------------------------------------------------- what comes in


def _media(allowed: tuple[str, ...], hint: str) -> None:
    if request.mimetype not in allowed:
        raise WrongMediaType("this media type is not taken here", path="Content-Type", hint=hint)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise WrongMediaType("an encoded body is not taken", path="Content-Encoding", hint="send it without Content-Encoding")


def _body(kind: Literal["hl7v2", "message"], limit: int, who: Principal) -> bytes:
    """The body; one above ``limit`` is read on for its digest (to a ceiling), its head is kept, and it is refused.
    Raises TooLarge."""
    request.max_content_length = 1 << 62  # counted here, so that a body above every limit still leaves its digest
    digest, head, size, ceiling = hashlib.sha256(), bytearray(), 0, limit * _CEILING
    while size <= ceiling:
        data = request.stream.read(_CHUNK)
        if not data:
            break
        size += len(data)
        digest.update(data)
        if len(head) <= limit:
            head += data
    if size <= limit:
        return bytes(head)
    first = bytes(head[: messages.HEAD])
    named = messages.sender(_hub(), who, request.args.get("partner"), _pair(first) if kind == "hl7v2" else None)
    kept = messages.keep_head(_hub(), named.name, kind, head=first, digest=digest.hexdigest(), size=size, content_type=request.mimetype)
    more = " or more" if size > ceiling else ""
    raise TooLarge(
        f"the body has {size} bytes{more}", path=f"/intake/messages/{kept.id}", hint=f"at most {limit} bytes; its digest and head are kept"
    )


def _pair(raw: bytes) -> tuple[str, str] | None:
    """MSH-3 and MSH-4, as far as they can be read."""
    header = hl7v2.header(raw)
    return None if header is None else (header.header.get(3) or "", header.header.get(4) or "")


def _time(name: str, end: int) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    try:
        return times.bounds(text)[end]
    except Malformed as error:
        raise Malformed("not a time", path=name, hint=error.problems[0].hint) from None


def _client(text: str | None) -> str | None:
    return None if text is None else text.removeprefix("Patient/")


# ---------------------------------------------------------------------------------------------- what goes out


def _answered(message: Message, content_type: str) -> Response:
    answer = message.answer
    if not answer and message.kind == "hl7v2":
        # The sender wants no acknowledgement message (MSH-16 NE), but every HTTP request has an answer.
        problems = [Problem(str(p["what"]), str(p["path"]), str(p["hint"]), str(p["code"]), str(p["severity"])) for p in message.problems]
        header = hl7v2.header(message.raw or message.head)
        code: Any = message.code
        answer = hl7v2.ack(header, code, problems, control_id=message.id.replace("-", "")[:20], now=_hub().clock.now())
    response = Response(answer, STATUS.get(message.code, 200), content_type=content_type)
    response.headers["X-Message-Id"] = message.id
    return response


def _shown(message: Message) -> dict[str, Any]:
    """A message as listed: everything but its bytes."""
    base = f"{_hub().policy.base_url}/intake/messages/{message.id}"
    return {
        "id": message.id,
        "partner": message.partner,
        "kind": message.kind,
        "received": times.instant(message.received),
        "control_id": message.control_id,
        "event": message.event,
        "state": message.state,
        "code": message.code,
        "answer": message.answer.decode("utf-8", "replace"),
        "became": list(message.became),
        "client": message.client,
        "problems": [{"path": p.get("path"), "problem": p.get("what"), "hint": p.get("hint")} for p in message.problems],
        "replays": message.replays,
        "digest": message.digest,
        "content_type": message.content_type,
        "size": None if message.raw is None else len(message.raw),
        "links": {"self": base, "raw": None if message.raw is None else f"{base}/raw", "replay": f"{base}/replay"},
    }


def _note(who: Principal, interaction: str, message: Message) -> None:
    """Every reading of what a message says of a client is audited."""
    services = current_app.extensions.get("fhircase.services")
    audit: ReadAudit | None = getattr(services, "audit", None)
    if audit is not None:
        clients = (message.client,) if message.client else ()
        entry = AuditEntry(
            _hub().now(), "R", interaction, who.partner, who.user, who.key, message.became, clients, "0", g.get("correlation", "")
        )
        audit.note(entry)


def _json(body: Any, status: int = 200) -> Response:
    return Response(jsontext.dumps(body), status, content_type="application/json")


def _hub() -> Hub:
    hub: Hub = current_app.extensions["fhircase"]
    return hub


def _who() -> Principal:
    principal: Principal = g.principal
    return principal
