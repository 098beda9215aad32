"""Informed decision and refusal. Pure.

An order rests on a decision of the client, or of a guardian who is valid on that day. A refusal is kept, calls for nobody's
attention, and what was refused is not offered again unasked (CONCEPTS.md, "options and informed decision; refusal")."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from fhircase.case import people
from fhircase.case.document import Doc, chain, entries, first_day, is_client, is_order, items, moment, offered, refer, word

REFUSED = frozenset({"disagree", "rejected"})
"""Words of a goal's acceptance that refuse it."""

_OFFERED = ("services", "equipment")
_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Refusal:
    """``about`` what was refused (``ServiceRequest/s``), ``kind`` the kind of service or equipment ('' for a goal), ``by`` who
    refused, ``at`` when as written, ``reason`` in their words; '' for what is not known."""

    about: str
    kind: str = ""
    by: str = ""
    at: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Book:
    """The document, opened once: services and equipment by reference, decisions by what they are on."""

    doc: Doc
    today: date
    held: Mapping[str, Doc]
    said: Mapping[str, Sequence[Doc]]

    def latest(self, ref: str) -> Doc | None:
        own = [one for one in self.said.get(ref, ()) if self.by_client(one.get("by"), one.get("at"))]
        return max(own, key=lambda one: moment(one.get("at")) or _FIRST, default=None)

    def by_client(self, who: Any, at: Any) -> bool:
        return people.speaks_for_client(self.doc, who, first_day(at) or self.today)

    def decided(self, ref: str, order: Doc) -> bool:
        for under, one in chain(self.held, ref, order):
            latest = self.latest(under)
            if latest is not None and (under == ref or latest.get("decided") == "accepted"):
                return True
            if self.by_client(one.get("ordered_by"), one.get("ordered_at")):
                return True
        return False


def _open(doc: Doc, today: date) -> _Book:
    said: dict[str, list[Doc]] = {}
    for one in items(doc, "decisions"):
        said.setdefault(word(one.get("on")), []).append(one)
    return _Book(doc, today, offered(doc), said)


def decision(doc: Doc, ref: str, today: date) -> Doc | None:
    """The latest decision of the client, or of a guardian valid on its day, on one service or piece of equipment. What others
    decided is no decision of the client."""
    return _open(doc, today).latest(ref)


def decided(doc: Doc, name: str, order: Doc, today: date) -> bool:
    """Whether the client decided on an order: on the order itself, either way; by asking for it; or by accepting a proposal or an
    option that it rests on. An order on top of a proposal that the client declined is not decided."""
    return _open(doc, today).decided(refer(name, order), order)


def undecided(doc: Doc, today: date) -> list[tuple[str, Doc]]:
    """Active orders without a decision of the client, as (list, entry)."""
    book = _open(doc, today)
    return [
        (name, one)
        for name in _OFFERED
        for one in entries(doc, name)
        if is_order(one) and one.get("state") == "active" and one.get("not_wanted") is not True and not book.decided(refer(name, one), one)
    ]


def refusals(doc: Doc, today: date) -> list[Refusal]:
    """Everything that was refused and stands so, services and equipment first. Nothing of it needs attention."""
    found, book = [], _open(doc, today)
    for ref, one in book.held.items():
        kind, latest = word(one.get("kind")), book.latest(ref)
        if latest is not None and latest.get("decided") == "declined":
            found.append(Refusal(ref, kind, word(latest.get("by")), word(latest.get("at")), word(latest.get("reason"))))
        elif one.get("not_wanted") is True:
            found.append(Refusal(ref, kind, word(one.get("ordered_by")), word(one.get("ordered_at"))))
    for goal in entries(doc, "goals"):
        if refuses(goal):
            found.append(Refusal(refer("goals", goal), reason=word(goal.get("rejected_because"))))
    return found


def refuses(goal: Doc) -> bool:
    """A goal that the client does not accept."""
    return word(goal.get("acceptance")) in REFUSED or goal.get("lifecycle") == "rejected"


def refused_refs(doc: Doc, today: date) -> frozenset[str]:
    """What was refused, to be left in peace."""
    return frozenset(one.about for one in refusals(doc, today))


def offerable(kind: str, doc: Doc, today: date) -> bool:
    """Whether a kind of service or equipment may be offered unasked. Not after a refusal, whatever may have been proposed
    since; again when the client has accepted one of the same kind, or asked for one, after the last refusal."""
    refused = [moment(one.at) for one in refusals(doc, today) if one.kind == kind]
    if not refused:
        return True
    known = [at for at in refused if at is not None]
    # A refusal of unknown time may be the latest.
    last = max(known) if len(known) == len(refused) else None
    return last is not None and any(at > last for at in _wishes(kind, doc, today))


def _wishes(kind: str, doc: Doc, today: date) -> list[datetime]:
    """When the client accepted or asked for this kind."""
    found, book = [], _open(doc, today)
    for ref, one in book.held.items():
        if word(one.get("kind")) != kind or one.get("not_wanted") is True:
            continue
        if is_client(doc, one.get("ordered_by")):
            found.append(moment(one.get("ordered_at")))
        latest = book.latest(ref)
        if latest is not None and latest.get("decided") == "accepted":
            found.append(moment(latest.get("at")))
    return [at for at in found if at is not None]
