"""Who takes over, and what becomes of a hand-over when the discharge is taken back (DECISIONS 2, 9; STANDARDS §1.7, §5.1,
§5.3). Pure. That accepting a hand-over makes a member is ``plans.membership``'s."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fhircase.plans.change import Resource
from fhircase.plans.membership import HANDOVER, is_handover
from fhircase.plans.partner import HUB, Partner

NO_OUTREACH = frozenset({"died"})
HOME = frozenset({"home"})
UNANSWERED = frozenset({"draft", "requested", "received", "ready"})
UNDER_WAY = frozenset({"accepted", "in-progress", "on-hold"})

CANCELLATION = "urn:fhircase:handover-cancellation"
"""Identifier system of the Tasks that ask an owner to let an accepted hand-over go (COW CancellationRequest)."""

TASK_CODE = "http://hl7.org/fhir/CodeSystem/task-code"
KIND = "urn:fhircase:codes:task-kind"


@dataclass(frozen=True, slots=True)
class Receiver:
    """``kind`` partner: that one is asked; hub: the case management organisation itself; unknown: a person must say;
    none: there is nobody to hand over to. ``candidates`` are the partners that might be meant, ``why`` is for people."""

    kind: Literal["partner", "hub", "unknown", "none"]
    partner: Partner | None = None
    candidates: tuple[str, ...] = ()
    why: str = ""


def receiver(route: str | None, code: str | None, named: str | None, partners: Iterable[Partner], *, sender: str) -> Receiver:
    """Who receives the client. ``route`` and ``code``: the disposition as we read it and as sent; ``named`` the receiver in
    the sender's words (PV1-37). The destination decides where it names a partner; a destination that names nobody known
    is somebody else, hence nobody is guessed from the disposition alone; without one, the partner table must name
    exactly one receiver for the disposition. The sender never hands over to itself by a table row."""
    if route in NO_OUTREACH:
        return Receiver("none", why="the client died")
    others = [p for p in partners if p.name != HUB]
    if named:
        meant = [p for p in others if _is_named(p, named)]
        if len(meant) == 1:
            return Receiver("partner", meant[0], (meant[0].name,))
        if len(meant) > 1:
            return Receiver("unknown", candidates=tuple(p.name for p in meant), why="the destination names several partners")
        if route in HOME:
            return Receiver("hub", why="home without services")
        return Receiver("unknown", why="the destination names no partner")
    fit = [p for p in others if p.name != sender and ((code and code in p.dispositions) or (route and route in p.dispositions))]
    if len(fit) == 1:
        return Receiver("partner", fit[0], (fit[0].name,))
    if len(fit) > 1:
        return Receiver("unknown", candidates=tuple(p.name for p in fit), why="several partners receive this disposition")
    if route in HOME:
        return Receiver("hub", why="home without services")
    if route is None and code is None:
        return Receiver("unknown", why="destination unknown: the discharge came without a disposition")
    if route is None:
        return Receiver("unknown", why="destination unknown: no table knows the disposition")
    return Receiver("unknown", why="no partner receives this disposition")


def _is_named(partner: Partner, named: str) -> bool:
    folded = named.strip().casefold()
    return folded in (partner.name.casefold(), partner.title.casefold()) or any(v.casefold() == folded for _, v in partner.identifiers)


def party(partner: Partner | None, name: str = "") -> Resource:
    """A Reference to an organisation that takes part: literal where we hold its Organization, else by identifier, else in
    words."""
    if partner is None:
        return {"type": "Organization", "display": name}
    display = {"display": partner.title} if partner.title else {}
    if partner.organization:
        return {"reference": f"Organization/{partner.organization}", **display}
    if partner.identifiers:
        system, value = partner.identifiers[0]
        return {"type": "Organization", "identifier": {"system": system, "value": value}, **display}
    return {"type": "Organization", "display": partner.title or partner.name}


def request(
    *,
    id: str,
    client: str,
    encounter: str | None,
    plan: str | None,
    owner: Resource | None,
    requester: Resource,
    disposition: Resource | None,
    at: str,
    answer_by: str | None,
    label: str,
) -> Resource:
    """The hand-over Task. With an owner it is ``requested``, without one a ``draft`` that a person completes. ``at`` and
    ``answer_by`` are instants. Its focus is the plan that is handed over, or the visit while there is none."""
    task: Resource = {
        "resourceType": "Task",
        "id": id,
        "identifier": [{"system": HANDOVER, "value": id}],
        "status": "requested" if owner else "draft",
        "intent": "order",
        "priority": "routine",
        "code": {
            "coding": [{"system": TASK_CODE, "code": "fulfill"}, {"system": KIND, "code": "handover"}],
            "text": "Hand-over",
        },
        "description": label,
        "for": {"reference": f"Patient/{client}"},
        "authoredOn": at,
        "lastModified": at,
        "requester": requester,
    }
    if plan:
        task["basedOn"] = [{"reference": f"CarePlan/{plan}"}]
    if plan or encounter:
        task["focus"] = {"reference": f"CarePlan/{plan}" if plan else f"Encounter/{encounter}"}
    if encounter:
        task["encounter"] = {"reference": f"Encounter/{encounter}"}
    if owner:
        task["owner"] = owner
    if disposition:
        task["reasonCode"] = disposition
    if answer_by:
        task["restriction"] = {"period": {"end": answer_by}}
    return task


def addressed(task: Resource, owner: Resource, disposition: Resource | None, at: str) -> Resource:
    """A draft that has found its owner: now it is requested."""
    made = {**task, "status": "requested", "owner": owner, "lastModified": at}
    if disposition:
        made["reasonCode"] = disposition
    return made


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """``cancelled``: Tasks as they shall be, nobody had taken them on. ``asks``: new Tasks that ask an owner to let go of
    what it accepted. ``done``: ids of hand-overs that were completed already; only a person can say what now."""

    cancelled: tuple[Resource, ...] = ()
    asks: tuple[Resource, ...] = ()
    done: tuple[str, ...] = ()


def withdraw(tasks: Sequence[Resource], *, encounter: str | None, reason: str, at: str, new_id: Any) -> Withdrawal:
    """What follows when a discharge (A13) or the whole stay (A11) is taken back, for the hand-overs of that visit
    (``encounter`` None: of all visits). Repeating it changes nothing: what is cancelled stays, and a Task that asks is
    made once."""
    asked = {
        (task.get("focus") or {}).get("reference")
        for task in tasks
        if any(i.get("system") == CANCELLATION for i in task.get("identifier") or ())
    }
    cancelled: list[Resource] = []
    asks: list[Resource] = []
    done: list[str] = []
    for task in tasks:
        if not is_handover(task) or (encounter and (task.get("encounter") or {}).get("reference") != f"Encounter/{encounter}"):
            continue
        status = task.get("status")
        if status in UNANSWERED:
            cancelled.append({**task, "status": "cancelled", "statusReason": {"text": reason}, "lastModified": at})
        elif status in UNDER_WAY and f"Task/{task['id']}" not in asked:
            asks.append(_ask(task, reason, at, new_id()))
        elif status == "completed":
            done.append(str(task["id"]))
    return Withdrawal(tuple(cancelled), tuple(asks), tuple(done))


def _ask(task: Resource, reason: str, at: str, id: str) -> Resource:
    made: Resource = {
        "resourceType": "Task",
        "id": id,
        "identifier": [{"system": CANCELLATION, "value": id}],
        "status": "requested",
        "intent": "order",
        "code": {"coding": [{"system": TASK_CODE, "code": "abort"}], "text": "Cancel the hand-over"},
        "description": "The hand-over that was accepted shall be cancelled",
        "focus": {"reference": f"Task/{task['id']}"},
        "for": task["for"],
        "authoredOn": at,
        "lastModified": at,
        "reasonCode": {"text": reason},
    }
    for element in ("basedOn", "encounter", "requester", "owner"):
        if element in task:
            made[element] = task[element]
    return made
