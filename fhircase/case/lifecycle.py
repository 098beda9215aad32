"""The phases of a case and the moves between them. Pure.

    intake → assessment → planning → implementation → monitoring → evaluation → closed
                 ▲            ▲             │              │            │
                 └────────────┴─────────────┴──────────────┴────────────┘   as needs change

It is a cycle, not a line (CONCEPTS.md, "the case itself" and "The cycle"). Nothing is skipped on the way in; any phase may close;
a closed case is reopened within the days of return, after that a new plan is made (DECISIONS 8). Every move says who, when and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Literal

from fhircase.case import closing as closings
from fhircase.case.closing import Closing
from fhircase.case.document import ERROR, Doc, entries, first_day, is_order, items, last_day, part, refusal, runs, word
from fhircase.errors import Problem

PHASES = ("intake", "assessment", "planning", "implementation", "monitoring", "evaluation", "closed")

MOVES: Mapping[str, frozenset[str]] = {
    "intake": frozenset({"assessment", "closed"}),
    "assessment": frozenset({"planning", "closed"}),
    "planning": frozenset({"implementation", "assessment", "closed"}),
    "implementation": frozenset({"monitoring", "assessment", "planning", "closed"}),
    "monitoring": frozenset({"evaluation", "assessment", "planning", "closed"}),
    "evaluation": frozenset({"monitoring", "assessment", "planning", "closed"}),
    "closed": frozenset(),
}
"""Phase → where it may move. An evaluation that finds the plan still right goes on monitoring. A closed case is reopened, not moved."""

REOPENS_IN = "assessment"
"""The phase of a reopened case: what has changed since is looked at first."""

OPEN = frozenset({"active", "onhold"})
STATES: Mapping[str, frozenset[str]] = {
    "intake": frozenset({"planned", "waitlist", "active", "onhold"}),
    "assessment": OPEN,
    "planning": OPEN,
    "implementation": OPEN,
    "monitoring": OPEN,
    "evaluation": OPEN,
    "closed": frozenset({"finished", "cancelled"}),
}
"""Phase → the states of the episode that go with it. A case that closes at intake never began: cancelled; later: finished."""

STATE_MOVES: Mapping[str, frozenset[str]] = {
    "planned": frozenset({"waitlist", "active", "onhold", "cancelled"}),
    "waitlist": frozenset({"planned", "active", "onhold", "cancelled"}),
    "active": frozenset({"onhold", "finished", "cancelled"}),
    "onhold": frozenset({"active", "finished", "cancelled"}),
    "finished": frozenset({"active"}),
    "cancelled": frozenset({"active", "planned", "waitlist"}),
    ERROR: frozenset(),
}
"""State → the states that may follow. Anything may turn out to be entered in error."""

RETURN_DAYS = 30


@dataclass(frozen=True, slots=True)
class Moved:
    """``episode``: the fields as they shall be (None removes one); empty when the move is refused. ``problems`` why it is refused;
    ``open`` what is told and does not hinder. ``note`` says from where to where, by whom, when and why."""

    episode: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    open: tuple[Problem, ...] = ()
    note: Mapping[str, str] = field(default_factory=dict)


def phase_of(episode: Doc) -> str:
    """The phase of a case. One whose episode has ended is closed, whatever phase it last said; one that never said any is at
    intake."""
    if word(episode.get("state")) in STATES["closed"]:
        return "closed"
    return word(episode.get("phase")) or "intake"


def move(doc: Doc, to: str, *, by: str, at: str, why: str, closing: Closing | None = None) -> Moved:
    """The case in its next phase. ``by`` a reference, ``at`` an instant, ``why`` in words; ``closing`` what is said when ``to`` is
    closed. A case on hold that moves is active again."""
    episode = part(doc, "episode")
    phase = phase_of(episode)
    problems = [*_allowed(phase, to), *_said(by, at, why)]
    if episode.get("state") == ERROR:
        problems = [refusal("this case was entered in error", "/episode/state", "open a new case")]
    ending = closing or Closing()
    if not problems:
        problems += _guards(doc, phase, to, ending)
    blocking = tuple(one for one in problems if one.severity == "error")
    listed = tuple(one for one in problems if one.severity != "error")
    if blocking:
        return Moved(problems=blocking, open=listed)
    state = word(episode.get("state"))
    if to == "closed":
        made: dict[str, Any] = {"closed": at, "closed_because": ending.because, **_kept(ending)}
        next_ = "cancelled" if phase == "intake" else "finished"
    else:
        made, next_ = {}, "active"
    made |= {"phase": to, "state": next_, **_history(episode, state, next_, at)}
    return Moved(made, open=listed, note={"from": phase, "to": to, "by": by, "at": at, "why": why})


def _kept(ending: Closing) -> dict[str, Any]:
    return {name: text for name, text in (("outcome", ending.outcome), ("destination", ending.destination)) if text.strip()}


def _allowed(phase: str, to: str) -> Iterable[Problem]:
    if to not in PHASES:
        yield refusal("no such phase", "/episode/phase", "one of " + ", ".join(PHASES))
    elif phase not in PHASES:
        yield refusal("the phase that the case is in is not known", "/episode/phase", "set it to one of " + ", ".join(PHASES))
    elif to == phase:
        yield refusal(f"the case is in {phase} already", "/episode/phase", "nothing is left to do")
    elif phase == "closed":
        yield refusal("a closed case does not move", "/episode/phase", "reopen it first")
    elif to not in MOVES[phase]:
        yield refusal(
            f"{phase} does not lead to {to}", "/episode/phase", "it leads to " + ", ".join(p for p in PHASES if p in MOVES[phase])
        )


def _said(by: str, at: str, why: str) -> Iterable[Problem]:
    if not by.strip():
        yield refusal("nobody is named who moves the case", "/by", "say who")
    if first_day(at) is None:
        yield refusal("the move has no time", "/at", "say when, as an instant")
    if not why.strip():
        yield refusal("the move has no reason", "/why", "say why, in a few words")


def _guards(doc: Doc, phase: str, to: str, ending: Closing) -> Iterable[Problem]:
    if to == "planning" and not assessed(doc):
        hint = "add an assessment, or one that says why it was not assessed"
        yield refusal("planning needs an assessment", "/assessments", hint)
    if to in ("implementation", "monitoring", "evaluation"):
        if word(part(doc, "plan").get("state")) != "active":
            yield refusal(f"{to} needs an active plan", "/plan/state", "set the plan active when the client agrees to it")
        if not agreed(doc):
            yield refusal(
                f"{to} needs a plan with a goal or a service", "/plan", "accept a goal or order a service; a proposal is not enough"
            )
    if to == "closed":
        row = closings.REASONS.get(ending.because)
        if row is not None and row.only_from and phase != row.only_from:
            yield refusal(
                f"{ending.because} is found at {row.only_from}", "/because", f"move to {row.only_from} first, or name another reason"
            )
        yield from closings.ask(doc, ending)


def assessed(doc: Doc) -> bool:
    """Whether something was assessed, or it was said why not."""
    return any(entries(doc, name) for name in ("assessments", "stability", "questionnaires"))


def agreed(doc: Doc) -> bool:
    """Whether the plan holds a goal that was accepted, or a service or equipment that was ordered."""
    goals = any(word(goal.get("lifecycle")) in ("planned", "accepted", "active", "on-hold", "completed") for goal in entries(doc, "goals"))
    return goals or any(
        is_order(one) and runs(one) and one.get("state") in ("active", "on-hold", "completed")
        for name in ("services", "equipment")
        for one in entries(doc, name)
    )


def _history(episode: Doc, state: str, next_: str, at: str) -> dict[str, Any]:
    """The past states with the one that ends now. One whose beginning nobody knows is not made up."""
    if not state or state == next_:
        return {}
    held = [dict(one) for one in items(episode, "history")]
    running = [one for one in held if one.get("state") == state and one.get("until") is None]
    if running:
        running[-1]["until"] = at
        return {"history": held}
    ended = [one["until"] for one in held if one.get("until") is not None]
    since = ended[-1] if ended else episode.get("opened")
    return {"history": [*held, {"state": state, "since": since, "until": at}]} if since else {}


# ------------------------------------------------------------------------------------------ on hold


def hold(doc: Doc, *, by: str, at: str, why: str) -> Moved:
    """The work rests; the phase stays. Only an active case can be put on hold."""
    return _rest(doc, "onhold", frozenset({"active"}), by=by, at=at, why=why)


def resume(doc: Doc, *, by: str, at: str, why: str) -> Moved:
    """The work goes on in the phase in which it rested; a case that is planned or on a waiting list begins."""
    return _rest(doc, "active", frozenset({"onhold", "planned", "waitlist"}), by=by, at=at, why=why)


def _rest(doc: Doc, next_: str, from_: frozenset[str], *, by: str, at: str, why: str) -> Moved:
    episode = part(doc, "episode")
    state, phase = word(episode.get("state")), phase_of(episode)
    problems = list(_said(by, at, why))
    if state not in from_:
        problems.append(
            refusal(f"a case that is {state or 'without state'} cannot be {next_} now", "/episode/state", "look at its state first")
        )
    if problems:
        return Moved(problems=tuple(problems))
    note = {"from": phase, "to": phase, "by": by, "at": at, "why": why}
    return Moved({"state": next_, **_history(episode, state, next_, at)}, note=note)


# ------------------------------------------------------------------------------------------ coming back

Return = Literal["open", "reopen", "new-plan", "unknown"]


def on_return(episode: Doc, day: date, *, within: int = RETURN_DAYS) -> Return:
    """What a client's return means: the case is still open; within so many days of closing it is proposed to reopen it; later
    a new plan is made that replaces the old one. Unknown for a case that does not say when it closed."""
    if phase_of(episode) != "closed":
        return "open"
    closed = last_day(episode.get("closed"))
    if closed is None:
        return "unknown"
    return "reopen" if day <= closed + timedelta(days=within) else "new-plan"


def reopen(doc: Doc, *, by: str, at: str, why: str, within: int = RETURN_DAYS) -> Moved:
    """A closed case open again, in assessment: what was said at closing is taken back, its history stays."""
    episode = part(doc, "episode")
    problems = list(_said(by, at, why))
    day = first_day(at)
    if word(episode.get("state")) == ERROR:
        problems.append(refusal("this case was entered in error", "/episode/state", "open a new case"))
    elif _dead(doc):
        problems.append(refusal("the client has died", "/client/died", "correct that first, if it is wrong"))
    elif day is not None:
        problems += _may_reopen(episode, day, within)
    if problems:
        return Moved(problems=tuple(problems))
    state = word(episode.get("state"))
    made = {"phase": REOPENS_IN, "state": "active", "closed": None, "closed_because": None, "outcome": None, "destination": None}
    history = _history({**episode, "opened": episode.get("closed")}, state, "active", at)
    return Moved({**made, **history}, note={"from": "closed", "to": REOPENS_IN, "by": by, "at": at, "why": why})


def _dead(doc: Doc) -> bool:
    return part(doc, "client").get("died") not in (None, False, "") or part(doc, "episode").get("closed_because") == "died"


def _may_reopen(episode: Doc, day: date, within: int) -> Iterable[Problem]:
    match on_return(episode, day, within=within):
        case "open":
            yield refusal("this case is open", "/episode/phase", "move it instead")
        case "unknown":
            yield refusal("this case does not say when it closed", "/episode/closed", "add the day, then reopen it")
        case "new-plan":
            yield refusal(f"it closed more than {within} days ago", "/episode/closed", "open a new case, whose plan replaces the old one")


# ------------------------------------------------------------------------------------------ other doors


def judge(before: Doc | None, after: Doc, *, on: date | None = None, within: int = RETURN_DAYS) -> tuple[Problem, ...]:
    """What is wrong with a write of the episode that came by another door than ``move``: which moves are allowed, whether phase and
    state go together, whether a closed case says when. What was so before is not judged again. With ``on``, the day of the write, a
    case is reopened within the days of return only. Severity warning: told, not enforced (a closing without its reason)."""
    old = before or {}
    phase, state = word(after.get("phase")), word(after.get("state"))
    was, had = word(old.get("phase")), word(old.get("state"))
    if state == ERROR or (before is not None and (phase, state) == (was, had)):
        return ()
    if had == ERROR:
        return (refusal("what was entered in error does not come back", "/episode/state", "open a new case"),)
    found: list[Problem] = []
    if before is not None and had in STATE_MOVES and state != had and state not in STATE_MOVES[had]:
        hint = f"{had} leads to " + ", ".join(sorted(STATE_MOVES[had]))
        found.append(refusal(f"{had} does not lead to {state}", "/episode/state", hint))
    if was and not phase:
        found.append(refusal("the phase is gone", "/episode/phase", f"keep it ({was}), or move the case"))
    elif phase and phase not in PHASES:
        found.append(refusal("no such phase", "/episode/phase", "one of " + ", ".join(PHASES)))
    elif phase:
        found += _judged_move(was, phase)
        if state not in STATES[phase]:
            hint = f"{phase} goes with " + ", ".join(sorted(STATES[phase]))
            found.append(refusal(f"the state {state} does not go with the phase {phase}", "/episode/state", hint))
    ended, had_ended = state in STATES["closed"], had in STATES["closed"]
    if had_ended and not ended and on is not None and not found:
        found += _may_reopen(old, on, within)
    if ended and not had_ended:
        found += _told_at_closing(after, new=before is None)
    return tuple(found)


def _judged_move(was: str, phase: str) -> Iterable[Problem]:
    if was not in PHASES or was == phase:
        return
    leads = MOVES[was] if was != "closed" else frozenset({REOPENS_IN})
    if phase not in leads:
        yield refusal(f"{was} does not lead to {phase}", "/episode/phase", "it leads to " + ", ".join(p for p in PHASES if p in leads))


def _told_at_closing(after: Doc, *, new: bool) -> Iterable[Problem]:
    """A case that is entered when it is over already is taken as it is known."""
    if first_day(after.get("closed")) is None:
        hint = "say when it ended"
        yield Problem("a closed case needs the day it closed", "/episode/closed", hint, "business-rule", "warning" if new else "error")
    if not word(after.get("closed_because")):
        hint = "say why: one of " + ", ".join(closings.REASONS)
        yield Problem("it closes without a reason", "/episode/closed_because", hint, "business-rule", "warning")
