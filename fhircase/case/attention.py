"""What in a case deserves a look, from one table of rules. Pure: computed from the document and the day, so a point closes by itself
when its cause is gone.

Rules whose cause is the passing of time (overdue, silent, missed) are not here, nor does a refusal raise anything. The table, in the
order in which points are told:

    no-accountable-owner        high    nobody, or several at once, answer for the case today
    crisis-without-plan         high    an active safety flag, and no crisis plan
    consent-without-authority   high    a consent given by a contact who was no valid guardian on that day
    stability-dropped           medium  the latest word on a domain is worse than the one before
    family-link-strained        medium  the latest word on a link says strained, broken or ended
    order-without-decision      medium  an active order that neither client nor guardian decided on
    goal-by-ended-guardian      medium  a goal expressed by a guardian who was none on that day
    plan-without-client-goal    medium  no goal of the plan is the client's own
    need-unmet                  medium  an active need that no goal and no service names
    barrier-without-activity    medium  an active barrier that no service, equipment or task is about
    service-without-purpose     medium  a service or equipment that names no need and no goal (beneficence)
    qualification-lacking       medium  a team member whose role needs a qualification that is missing or expired
    own-service-in-brokerage    low     brokerage: the own organisation performs a service
    no-own-activity             low     direct service: the own organisation performs nothing
    no-strengths                low     strengths-based: no strength of the client is recorded
    no-client-solution          low     strengths-based: no service was named by the client
    goal-not-measurable         low     an open goal without measure, target or due date
    domain-unassessed           low     a domain that the kinds of the case ask for, neither assessed nor said not to be
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal

from fhircase.case import decisions, goals, people
from fhircase.case.document import (
    OPEN_GOALS,
    Doc,
    case_ref,
    chain,
    covers,
    entries,
    first_day,
    in_force,
    is_client,
    is_order,
    items,
    moment,
    offered,
    part,
    refer,
    runs,
    stands,
    word,
    words,
)
from fhircase.case.lifecycle import phase_of
from fhircase.case.models import Effective, effective

Severity = Literal["high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class Point:
    """``rule`` a name of the table, ``about`` the reference of what it is about (the case itself for what is missing altogether,
    ``domain:food`` for a domain). ``what`` is wrong and ``hint`` what to do, without values of the record."""

    rule: str
    severity: Severity
    about: str
    what: str
    hint: str


@dataclass(frozen=True, slots=True)
class Look:
    """What the rules look at: the document, the day, what the models and kinds of the case ask for, the references of the own
    organisation and its people, and what is known of qualifications."""

    doc: Doc
    today: date
    asked: Effective
    own: frozenset[str]
    qualifications: Mapping[str, Iterable[Doc]] = field(default_factory=dict)


Found = Iterator[tuple[str, str, str]]
"""(about, what, hint)"""


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    severity: Severity
    find: Callable[[Look], Found]


def points(
    doc: Doc,
    today: date,
    *,
    qualifications: Mapping[str, Iterable[Doc]] | None = None,
    own: Iterable[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> list[Point]:
    """Everything in the case that deserves a look today, one point for each rule and subject, in the order of the table and then of
    the document. A closed case has none.

    ``qualifications``: person → their qualifications (``people.lacks``). ``own``: further references of the own organisation, beside
    the organisation and the manager of the case. ``overrides`` as in ``models.effective``, which raises Invalid."""
    episode = part(doc, "episode")
    if phase_of(episode) == "closed" or episode.get("state") in ("finished", "cancelled", "entered-in-error"):
        return []
    look = Look(doc, today, effective(episode, overrides), _own(doc, own), qualifications or {})
    found: dict[tuple[str, str], Point] = {}
    for rule in RULES:
        for about, what, hint in rule.find(look):
            found.setdefault((rule.name, about), Point(rule.name, rule.severity, about, what, hint))
    return list(found.values())


def _own(doc: Doc, more: Iterable[str]) -> frozenset[str]:
    episode = part(doc, "episode")
    organizations = {word(episode.get("organization")), *more} - {""}
    people_ = {
        word(member.get("person"))
        for member in items(part(doc, "team"), "members")
        if word(member.get("on_behalf_of")) in organizations and word(member.get("on_behalf_of"))
    }
    return frozenset({*organizations, *people_, word(episode.get("manager"))} - {""})


# ------------------------------------------------------------------------------------------ who


def _owner(look: Look) -> Found:
    held = people.owner(look.doc, look.today)
    if held.problem:
        yield case_ref(look.doc), held.problem, "name one case manager, and a cover with its period while they are away"


def _consents(look: Look) -> Found:
    for one in entries(look.doc, "consents"):
        if one.get("state") not in (None, "active"):
            continue
        day = first_day(one.get("given_at")) or look.today
        for who in words(one.get("by")):
            if who.startswith("RelatedPerson/"):
                problem = people.authority(look.doc, who, day, path="")
                if problem is not None:
                    yield (
                        refer("consents", one),
                        f"consent without authority: {problem.what}",
                        "ask the client, or a guardian whose period covers the day",
                    )


def _goal_guardian(look: Look) -> Found:
    for goal in entries(look.doc, "goals"):
        if not stands(goal):
            continue
        standing = people.standing(look.doc, word(goal.get("set_by")), goals.said_on(goal, look.today))
        if standing in ("ended", "not-yet", "inactive"):
            yield (
                refer("goals", goal),
                "expressed by somebody who was no valid guardian on that day",
                "ask the client, or the guardian of now",
            )


def _qualifications(look: Look) -> Found:
    for one in people.lacks(look.doc, look.qualifications, look.today):
        why = {"missing": "is missing", "expired": "has expired", "not-yet": "is not valid yet"}[one.why]
        yield one.person, f"the qualification that {one.role} needs {why}", "add or renew it, or name somebody else"


# ------------------------------------------------------------------------------------------ safety


def _crisis(look: Look) -> Found:
    if any(in_force(one, look.today) for one in entries(look.doc, "crisis_plans")):
        return
    for flag in entries(look.doc, "flags"):
        if word(flag.get("state")) in ("active", "") and covers(flag, look.today) and CRISIS & set(words(flag.get("categories"))):
            yield refer("flags", flag), "a crisis flag without a crisis plan", "agree on a crisis plan with the client, or end the flag"
    for domain, said in _in_time(look.doc, "stability", "domain").items():
        if word(said[-1].get("level")) == "crisis":
            yield f"domain:{domain}", "a domain in crisis without a crisis plan", "agree on a crisis plan with the client"


def _dropped(look: Look) -> Found:
    for domain, said in _in_time(look.doc, "stability", "domain").items():
        levels = [word(one.get("level")) for one in said if word(one.get("level")) in LEVELS]
        if len(levels) > 1 and LEVELS.index(levels[-1]) < LEVELS.index(levels[-2]):
            yield f"domain:{domain}", "this domain is less stable than before", "ask what has changed, and look at the plan again"


def _links(look: Look) -> Found:
    for who, said in _in_time(look.doc, "family_links", "about").items():
        if word(said[-1].get("link")) in STRAINED:
            yield who, "this link is strained or has ended", "ask who can stand in for what they did"


LEVELS = ("crisis", "vulnerable", "stable", "self-sufficient")
STRAINED = frozenset({"strained", "broken", "ended"})


def _in_time(doc: Doc, name: str, by: str) -> dict[str, list[Doc]]:
    """What was said over time, oldest first, by what it is about."""
    found: dict[str, list[Doc]] = {}
    for one in sorted(entries(doc, name), key=lambda one: moment(one.get("when") or one.get("since")) or _FIRST):
        for about in words(one.get(by)) or ("life",):
            found.setdefault(about, []).append(one)
    return found


_FIRST = datetime.min.replace(tzinfo=UTC)

CRISIS = frozenset({"crisis"})
"""Categories of a flag that a crisis plan answers. A safety flag may be a dog in the yard."""


# ------------------------------------------------------------------------------------------ the client's say


def _undecided(look: Look) -> Found:
    for name, order in decisions.undecided(look.doc, look.today):
        yield refer(name, order), "ordered without a decision of the client", "record what the client, or a valid guardian, decided"


def _client_goal(look: Look) -> Found:
    plan = part(look.doc, "plan")
    if plan and plan.get("state") not in ("revoked", "completed", "entered-in-error") and not goals.expressed(look.doc, look.today):
        yield (
            refer("plan", plan) or case_ref(look.doc),
            "no goal is the client's own",
            "ask what the client wants, and enter it as set by them",
        )


# ------------------------------------------------------------------------------------------ needs, barriers, purpose

_GOES_ON = frozenset({"active", "recurrence", "relapse", ""})
_NOT_ACHIEVED = frozenset({"not-achieved", "no-progress", "not-attainable"})


def _needs(look: Look) -> Found:
    doc = look.doc
    named = {ref for goal in entries(doc, "goals") if _pursued(goal) for ref in words(goal.get("needs"))}
    named |= {ref for name in ("services", "equipment") for one in entries(doc, name) if runs(one) for ref in words(one.get("needs"))}
    # What the client has refused is settled: the need stands, and nobody is asked to offer it again.
    refused = decisions.refused_refs(doc, look.today)
    named |= {
        ref
        for name in ("goals", "services", "equipment")
        for one in entries(doc, name)
        if refer(name, one) in refused
        for ref in words(one.get("needs"))
    }
    for need in entries(doc, "needs"):
        kinds = words(need.get("kind"))
        if (
            word(need.get("clinical")) in _GOES_ON
            and not {"barrier", "encounter-diagnosis"} & set(kinds)
            and refer("needs", need) not in named
        ):
            yield refer("needs", need), "no goal and no service is about this need", "name it in a goal or a service, or resolve it"


def _pursued(goal: Doc) -> bool:
    return stands(goal) and not (goal.get("lifecycle") == "completed" and word(goal.get("achievement")) in _NOT_ACHIEVED)


def _barriers(look: Look) -> Found:
    doc = look.doc
    met = {ref for name in ("services", "equipment") for one in entries(doc, name) if runs(one) for ref in words(one.get("needs"))}
    met |= {
        ref
        for name in ("loops", "tasks")
        for one in entries(doc, name)
        if one.get("state") not in ("cancelled", "rejected", "failed")
        for field_ in ("focus", "reason_for")
        for ref in words(one.get(field_))
    }
    for need in entries(doc, "needs"):
        if "barrier" in words(need.get("kind")) and word(need.get("clinical")) in _GOES_ON and refer("needs", need) not in met:
            yield refer("needs", need), "nothing is done about this barrier", "name it in a service or a task, or resolve it"


def _purpose(look: Look) -> Found:
    refused, held = decisions.refused_refs(look.doc, look.today), offered(look.doc)
    for ref, one in held.items():
        if runs(one) and ref not in refused:
            if not any(words(link.get("needs")) or words(link.get("goal")) for _, link in chain(held, ref, one)):
                yield ref, "it names no need and no goal", "say what it is for"


def _measurable(look: Look) -> Found:
    for goal in entries(look.doc, "goals"):
        if stands(goal) and word(goal.get("lifecycle")) in OPEN_GOALS:
            lacks = goals.lacking(goal)
            if lacks:
                yield refer("goals", goal), "not measurable: no " + ", no ".join(_FIELD[name] for name in lacks), _FILL


_FIELD: Mapping[str, str] = {"measure": "measure", "target": "target", "due": "due date"}
_FILL = "say what is measured, what is to be reached, and by when"


def _domains(look: Look) -> Found:
    done = {
        domain
        for name in ("assessments", "stability", "questionnaires")
        for one in entries(look.doc, name)
        if one.get("state") not in ("cancelled", "registered")
        for domain in words(one.get("domain"))
    }
    for domain in look.asked.domains:
        if domain not in done:
            yield f"domain:{domain}", f"the domain {domain} is not assessed", "assess it, or say why it was not assessed"


# ------------------------------------------------------------------------------------------ models


def _own_services(look: Look) -> Found:
    if look.asked.flags_own_services:
        for one in entries(look.doc, "services"):
            if is_order(one) and runs(one) and look.own & set(words(one.get("provider"))):
                yield refer("services", one), "brokerage, and the own organisation performs it", "refer it to others, or change the model"


def _own_activity(look: Look) -> Found:
    if not look.asked.wants_own_activity:
        return
    by = {who for one in entries(look.doc, "services") if runs(one) for who in words(one.get("provider"))}
    for done in entries(look.doc, "procedures"):
        if done.get("state") != "not-done":
            by |= {word(one.get(field_)) for one in items(done, "performers") for field_ in ("person", "on_behalf_of")}
    if not by & look.own:
        what = "direct service, and the own organisation performs nothing"
        yield case_ref(look.doc), what, "enter what you do yourselves, or change the model"


def _strengths(look: Look) -> Found:
    if look.asked.strengths_first and not entries(look.doc, "strengths"):
        yield case_ref(look.doc), "strengths-based, and no strength is recorded", "ask what the client is good at and can count on"


def _solutions(look: Look) -> Found:
    if look.asked.client_solutions_first and not named_by_client(look.doc):
        yield case_ref(look.doc), "strengths-based, and no service was named by the client", "ask what the client thinks would help"


def named_by_client(doc: Doc) -> frozenset[str]:
    """The services that the client named and that still stand: asked for by the client in the order itself, or in a task about it."""
    asked = {
        ref
        for name in ("loops", "tasks")
        for one in entries(doc, name)
        if is_client(doc, one.get("requester")) and one.get("state") not in ("cancelled", "rejected", "failed")
        for ref in words(one.get("focus"))
    }
    standing = [one for one in entries(doc, "services") if runs(one)]
    return frozenset(
        ref for one in standing if (ref := refer("services", one)) in asked or is_client(doc, one.get("ordered_by"))
    )


RULES: tuple[Rule, ...] = (
    Rule("no-accountable-owner", "high", _owner),
    Rule("crisis-without-plan", "high", _crisis),
    Rule("consent-without-authority", "high", _consents),
    Rule("stability-dropped", "medium", _dropped),
    Rule("family-link-strained", "medium", _links),
    Rule("order-without-decision", "medium", _undecided),
    Rule("goal-by-ended-guardian", "medium", _goal_guardian),
    Rule("plan-without-client-goal", "medium", _client_goal),
    Rule("need-unmet", "medium", _needs),
    Rule("barrier-without-activity", "medium", _barriers),
    Rule("service-without-purpose", "medium", _purpose),
    Rule("qualification-lacking", "medium", _qualifications),
    Rule("own-service-in-brokerage", "low", _own_services),
    Rule("no-own-activity", "low", _own_activity),
    Rule("no-strengths", "low", _strengths),
    Rule("no-client-solution", "low", _solutions),
    Rule("goal-not-measurable", "low", _measurable),
    Rule("domain-unassessed", "low", _domains),
)
