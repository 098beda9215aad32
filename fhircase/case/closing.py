"""What a case is asked before it closes. Pure.

Goals resolved, loops closed, an open hand-over accepted, reason, outcome, destination. A client who withdraws can always close, and
so can a case whose client has died: what is open is then listed, not enforced (CONCEPTS.md, "evaluation, termination, transition to
independence or a lower level of care")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from fhircase.case.document import (
    ACCEPTED,
    OPEN_GOALS,
    UNANSWERED,
    Doc,
    entries,
    is_order,
    moment,
    refer,
    refusal,
    runs,
    told,
    word,
    words,
)
from fhircase.errors import Problem


@dataclass(frozen=True, slots=True)
class Closing:
    """What is said at closing. ``because`` a word of ``REASONS``, ``destination`` a word of ``DESTINATIONS``, ``outcome`` free words;
    ``goes_on_with`` the reference of who cares on, where that is known."""

    because: str = ""
    outcome: str = ""
    destination: str = ""
    goes_on_with: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """``says`` for people. ``enforced`` False: what is open is listed only. ``asks``: which of outcome and destination must be said.
    ``only_from``: the phase that it closes from; '' any. ``handed_over``: needs an accepted hand-over."""

    says: str
    enforced: bool = True
    asks: tuple[str, ...] = ("outcome", "destination")
    only_from: str = ""
    handed_over: bool = False


REASONS: Mapping[str, Reason] = {
    "goals-met": Reason("The goals of the plan are met", only_from="evaluation"),
    "no-further-benefit": Reason("The service can do no more for the client", only_from="evaluation"),
    "transferred": Reason("Another setting or agency has taken over", handed_over=True),
    "moved": Reason("The client has moved away"),
    "lost-contact": Reason("The client could not be reached any more", asks=()),
    "not-eligible": Reason("The client is not, or no longer, eligible", asks=()),
    "withdrew": Reason("The client has withdrawn", enforced=False, asks=()),
    "died": Reason("The client has died", enforced=False, asks=()),
}


@dataclass(frozen=True, slots=True)
class Destination:
    """``says`` for people; ``accepted`` True: whoever cares on must have accepted."""

    says: str
    accepted: bool = False


DESTINATIONS: Mapping[str, Destination] = {
    "independent": Destination("Lives without the service"),
    "maintenance-care": Destination("A lower level of care goes on", accepted=True),
    "other-setting": Destination("Another setting"),
    "other-agency": Destination("Another agency"),
}

Ask = Callable[[Doc, Closing], Iterator[Problem]]


def _goals(doc: Doc, closing: Closing) -> Iterator[Problem]:
    for goal in entries(doc, "goals"):
        path, lifecycle = f"/goals/{goal.get('id')}", word(goal.get("lifecycle"))
        if lifecycle in OPEN_GOALS or not lifecycle:
            yield refusal("this goal is not resolved", path, "complete it with its achievement, or cancel it with a reason")
        elif lifecycle == "completed" and not word(goal.get("achievement")):
            yield refusal("this goal is completed without saying whether it was achieved", path, "set achievement")
        elif lifecycle == "cancelled" and not any(word(goal.get(name)) for name in ("achievement_reason", "rejected_because")):
            yield refusal("this goal was cancelled without a reason", path, "say why in achievement_reason")


_LOOP_CLOSED = frozenset({"completed", "cancelled", "rejected", "failed"})


def _loops(doc: Doc, closing: Closing) -> Iterator[Problem]:
    loops = entries(doc, "loops")
    for loop in loops:
        if word(loop.get("state")) not in _LOOP_CLOSED:
            yield refusal("this loop is open", f"/loops/{loop.get('id')}", "complete it with its outcome, or cancel it")
    held = {ref for loop in loops if word(loop.get("state")) in ACCEPTED | UNANSWERED for ref in words(loop.get("focus"))}
    held |= {ref for done in entries(doc, "procedures") if done.get("state") != "not-done" for ref in words(done.get("based_on"))}
    for name in ("services", "equipment"):
        for one in entries(doc, name):
            if is_order(one) and runs(one) and one.get("state") in ("active", "on-hold") and refer(name, one) not in held:
                yield refusal(
                    "this was ordered and nobody has done it", f"/{name}/{one.get('id')}", "refer it anew, or revoke or complete it"
                )


def _handovers(doc: Doc, closing: Closing) -> Iterator[Problem]:
    for one in entries(doc, "handovers"):
        if word(one.get("state")) in UNANSWERED:
            yield refusal("this hand-over is not accepted", f"/handovers/{one.get('id')}", "let its owner accept it, or cancel it")


def _reason(doc: Doc, closing: Closing) -> Iterator[Problem]:
    if closing.because not in REASONS:
        what = "no such reason to close" if closing.because else "the reason to close is missing"
        yield refusal(what, "/because", "one of " + ", ".join(REASONS))


def _outcome(doc: Doc, closing: Closing) -> Iterator[Problem]:
    if not closing.outcome.strip() and "outcome" in _row(closing).asks:
        yield refusal("the outcome is missing", "/outcome", "say what the case has come to")


def _destination(doc: Doc, closing: Closing) -> Iterator[Problem]:
    known = DESTINATIONS.get(closing.destination)
    if known is None:
        if closing.destination or "destination" in _row(closing).asks:
            what = "no such destination" if closing.destination else "the destination is missing"
            yield refusal(what, "/destination", "one of " + ", ".join(DESTINATIONS))
    if (_row(closing).handed_over or (known is not None and known.accepted)) and not _accepted(doc, closing):
        yield refusal("nobody has accepted to care on", "/destination", "let the next owner accept a hand-over first")


QUESTIONS: Mapping[str, Ask] = {
    "goals": _goals,
    "loops": _loops,
    "handovers": _handovers,
    "reason": _reason,
    "outcome": _outcome,
    "destination": _destination,
}
"""What closing asks, in this order. Each gives what is not answered yet."""


def ask(doc: Doc, closing: Closing) -> tuple[Problem, ...]:
    """What stands between a case and its closing: problems of severity error are to be settled first, those of severity
    information are told. Paths are places of the case document, or of what is said at closing (``/because``). Empty when nothing
    is open. A closing without a known reason is judged as if it were enforced."""
    row = _row(closing)
    found: list[Problem] = []
    for name, question in QUESTIONS.items():
        problems = question(doc, closing)
        found += problems if row.enforced or name == "reason" else told(problems)
    return tuple(found)


def _row(closing: Closing) -> Reason:
    return REASONS.get(closing.because, _ANY)


_ANY = Reason("")


def _accepted(doc: Doc, closing: Closing) -> bool:
    """The latest hand-over that was not called off is accepted, by whom it shall be where that is said."""
    asked = [one for one in entries(doc, "handovers") if word(one.get("state")) not in ("cancelled", "rejected", "failed", "")]
    latest = max(asked, key=lambda one: moment(one.get("made")) or _FIRST, default=None)
    if latest is None or word(latest.get("state")) not in ACCEPTED or not word(latest.get("owner")):
        return False
    return closing.goes_on_with in ("", latest.get("owner"))


_FIRST = datetime.min.replace(tzinfo=UTC)
