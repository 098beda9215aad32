"""The acknowledgement (DECISIONS 18): AA committed, AE kept and not applied, AR unacceptable. CA, CE and CR are never sent.

Source: HL7 v2.8 2.9.2 (original mode), 2.14.5 ERR, 2.14.8 MSA, tables 0008, 0357 and 0516."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from fhircase.errors import Problem
from fhircase.hl7v2.message import Delimiters, Message
from fhircase.hl7v2.places import Place

Code = Literal["AA", "AE", "AR"]

_MAX_ERRORS = 50
_CONDITIONS = {
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "207": "Application internal error",
}
_BY_ISSUE = {
    "required": "101",
    "structure": "100",
    "value": "102",
    "invalid": "102",
    "too-long": "100",
    "code-invalid": "103",
    "forbidden": "103",
    "security": "103",
    "not-found": "204",
    "duplicate": "205",
}
_UNSUPPORTED = {
    "MSH-9": "200",
    "MSH-9.1": "200",
    "MSH-9.2": "201",
    "MSH-9.3": "200",
    "MSH-11": "202",
    "MSH-11.1": "202",
    "MSH-12": "203",
    "MSH-12.1": "203",
}
_SEVERITY = {"fatal": "E", "error": "E", "warning": "W", "information": "I"}


def condition(problem: Problem) -> str:
    """The code of HL7 table 0357 for a problem, by its place where the place decides and by its issue type else."""
    if problem.code == "not-supported":
        return _UNSUPPORTED.get(problem.path, "207")
    return _BY_ISSUE.get(problem.code, "207")


def wants_answer(message: Message | None, code: Code) -> bool:
    """Whether the sender asked for an application acknowledgement of this kind (MSH-15, MSH-16). Both empty is the original
    mode: always. We send no accept acknowledgements, so a sender that asks for those alone (MSH-15) gets ours."""
    if message is None:
        return True
    accept, application = ((message.header.get(field) or "").upper() for field in (15, 16))
    wish = application or accept or "AL"
    if wish == "NE":
        return accept not in ("", "NE") and application == "NE" and _matches(accept, code)
    return _matches(wish, code)


def _matches(wish: str, code: Code) -> bool:
    return {"NE": False, "ER": code != "AA", "SU": code == "AA"}.get(wish, True)


def ack(
    message: Message | None, code: Code, problems: Iterable[Problem] = (), *, control_id: str, now: datetime, echo: str | None = None
) -> bytes:
    """The answer to ``message`` (None: not even its header could be read; see ``header``).

    ``control_id`` is the answer's own MSH-10; MSA-2 echoes the message's (``echo`` overrides it). ``now`` is aware. Sender
    and receiver change places; delimiters, processing id, version and character set are the message's. ERR segments go with
    AE and AR, one a problem, at most 50. Segments end with CR; framing is the transport's."""
    delimiters = message.delimiters if message is not None else Delimiters()
    if not delimiters.component:
        delimiters = Delimiters()
    sep, part, write = delimiters.field, delimiters.component, delimiters.write
    raw = message.header.field if message is not None else (lambda _: "")
    event = message.event if message is not None else ""
    version = message.version if message is not None else ""
    kind = part.join(("ACK", write(event), "ACK")) if event else "ACK"
    stamp = now.strftime("%Y%m%d%H%M%S%z")
    segments = [
        sep.join(
            (
                "MSH",
                delimiters.encoding,
                raw(5),
                raw(6),
                raw(3),
                raw(4),
                stamp,
                "",
                kind,
                write(control_id),
                raw(11) or "P",
                raw(12) or "2.5.1",
                *(("", "", "", "", "", raw(18)) if raw(18) else ()),
            )
        ),
        sep.join(("MSA", code, write(message.control_id) if echo is None and message is not None else write(echo or ""))),
    ]
    if code != "AA":
        segments += [_error(problem, delimiters, version) for problem in list(problems)[:_MAX_ERRORS]]
    text = "".join(segment + "\r" for segment in segments)
    codec = message.codec if message is not None and raw(18) else "utf_8"
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        return text.encode("utf_8")


def _error(problem: Problem, delimiters: Delimiters, version: str) -> str:
    part, write = delimiters.component, delimiters.write
    number = condition(problem)
    try:
        place: Place | None = Place.of(problem.path)
    except ValueError:
        place = None
    # Before 2.5 the place and code stood in ERR-1 (ELD); later versions leave it empty.
    old = ""
    if place is not None and version[:3] in ("2.1", "2.2", "2.3", "2.4"):
        coded = delimiters.sub.join((number, write(_CONDITIONS[number]), "HL70357")) if delimiters.sub else number
        old = part.join((place.segment, str(place.occurrence or 1), str(place.field or ""), coded))
    fields = (
        "ERR",
        old,
        place.location(part) if place is not None else "",
        part.join((number, write(_CONDITIONS[number]), "HL70357")),
        _SEVERITY.get(problem.severity, "E"),
        "",
        "",
        write(problem.hint),
        write(f"{problem.path}: {problem.what}" if place is None and problem.path else problem.what),
    )
    return delimiters.field.join(fields).rstrip(delimiters.field)
