"""A fact that was entered for the wrong client (or case) is moved to the right one: here it becomes entered in error, which
recalls it from every partner that has it; there it is new. Both in one transaction, told by a Provenance each, so that
neither client's record names the other."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fhircase.errors import Conflict, Invalid, Problem, Stale
from fhircase.fhir import refs
from fhircase.flows import cases, commit, kinds
from fhircase.flows.hub import Hub
from fhircase.mapping import schema
from fhircase.plans.change import Agent, Change, Ref, Resource, Source, Write
from fhircase.ports import Tx, Viewer
from fhircase.sync import shadow

_TRIES = 6

SHAPE = schema.closed(
    {
        "to": {"type": "string", "pattern": r"^[A-Za-z0-9\-.]{1,64}$", "description": "id of the case that it belongs to"},
        "because": {"type": "string", "pattern": r"\S", "description": "why; kept with the correction"},
    },
    ("to", "because"),
    "Where an entry belongs",
)


@dataclass(frozen=True, slots=True)
class Moved:
    """``id`` of the entry in the right case; ``left_out`` the FHIR elements that referred to the wrong client's records and do
    not go along; ``view`` the case that it was taken from, as it stands now."""

    id: str
    left_out: tuple[str, ...]
    view: cases.CaseView


def move(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    what: str,
    id: str,
    to: str,
    because: str,
    *,
    if_match: str | None = None,
    key: str | None = None,
    correlation: str = "",
) -> Moved:
    """Raises NotFound for an absent or foreign case or entry, Conflict for a part that is not entered by hand or when both
    cases are one, Invalid when it cannot stand without what is left out, Stale."""
    kind = kinds.to_add(what)
    cases.person(agent)
    if to == case:
        raise Conflict("it is in this case already", path="/to", hint="name the case that it belongs to")
    new = Ref(kind.type, hub.ids.new())
    for left in reversed(range(_TRIES)):
        with hub.store.read() as tx:
            wrong, right = cases.load(tx, viewer, case), cases.load(tx, viewer, to)
            cases.fresh(wrong, if_match)
            stored = cases.held_entry(wrong, what, id)
            body, left_out = _for(tx, stored.body, wrong, right, kind, new)
            error = shadow.retracted(stored.body)
            recall = [Write(kind.type, id, error, expect=stored.version, client=stored.client, case=stored.case)]
            recall += _plan_without(wrong, stored.ref)
            arrive = [Write(kind.type, new.id, body, expect=0, client=right.client, case=right.id)]
            if kind.link and right.plan is not None:
                plan = right.plan.body
                cases.link(plan, kind.link, str(new))
                arrive.append(Write("CarePlan", right.plan.id, plan, expect=right.plan.version, case=right.id))
        reason = f"entered for the wrong client or case: {because}"
        away = commit.check(Change(tuple(recall), agent, Source("case"), reason, activity=f"taken out of {what}"))
        there = _checked(Change(tuple(arrive), agent, Source("case"), reason, activity=f"added to {what}"), left_out)
        try:
            with hub.store.write() as tx:
                for one in sorted((case, to)):
                    tx.plans.lock(f"case|{one}")
                commit.commit(hub, tx, away, key=key, correlation=correlation)
                commit.commit(hub, tx, there, key=key, correlation=correlation)
            return Moved(new.id, left_out, cases.read(hub, viewer, case))
        except (Stale, Conflict):
            if if_match is not None or not left:
                raise
    raise AssertionError("unreachable")


def _for(tx: Tx, body: Resource, wrong: cases.Held, right: cases.Held, kind: kinds.Kind, new: Ref) -> tuple[Resource, tuple[str, ...]]:
    """The resource as the right client's, and the elements that stay behind."""
    moving = wrong.client != right.client
    named = {}
    for path, reference in refs.references(body):
        literal = refs.literal(reference.get("reference"))
        if literal is not None and not literal.base and literal.type != "Patient":
            named[path] = Ref(literal.type, literal.id)
    held = tx.plans.get_many(set(named.values())) if named else {}
    gone = {ref for ref, one in held.items() if one.client not in (None, right.client) or (one.case not in (None, right.id))}
    # The narrative is left behind too: it may say the other client's name, and can be made again.
    made = _without({name: value for name, value in body.items() if name not in ("id", "meta", "text")}, {str(ref) for ref in gone})
    if moving:
        made = _readdressed(made, f"Patient/{wrong.client}", f"Patient/{right.client}")
    labels = body.get("meta", {}).get("security")
    if labels:
        made["meta"] = {"security": labels}
    if kind.system:
        others = [one for one in made.get("identifier", ()) if one.get("system") != kind.system]
        made["identifier"] = [{"system": kind.system, "value": new.id}, *others]
    return made, tuple(path for path, ref in named.items() if ref in gone)


def _readdressed(item: Any, old: str, new: str) -> Any:
    """``item`` with each Reference to one client as a bare one to the other: display and identifier would name the wrong one."""
    if isinstance(item, list):
        return [_readdressed(value, old, new) for value in item]
    if not isinstance(item, dict):
        return item
    if isinstance(item.get("reference"), str) and item["reference"].partition("/_history/")[0] == old:
        return {"reference": new}
    return {name: _readdressed(value, old, new) for name, value in item.items()}


def _without(item: Any, gone: Collection[str]) -> Any:
    """``item`` less the References to what is ``gone``, and less what that leaves empty."""
    if isinstance(item, list):
        return [one for one in (_without(value, gone) for value in item) if one not in (None, {}, [])]
    if not isinstance(item, dict):
        return item
    if isinstance(item.get("reference"), str) and item["reference"].partition("/_history/")[0] in gone:
        return None
    made = {name: _without(value, gone) if isinstance(value, dict | list) else value for name, value in item.items()}
    return {name: value for name, value in made.items() if value is not None and not (value in ({}, []) and item[name] not in ({}, []))}


def _plan_without(held: cases.Held, ref: Ref) -> list[Write]:
    if held.plan is None:
        return []
    before = held.plan.body
    plan = _without(before, {str(ref)})
    if plan == before:
        return []
    return [Write("CarePlan", held.plan.id, plan, expect=held.plan.version, client=held.client, case=held.id)]


def _checked(change: Change, left_out: tuple[str, ...]) -> Change:
    try:
        return commit.check(change)
    except Invalid as error:
        hint = f"these referred to the other client and stay behind: {', '.join(left_out)}" if left_out else ""
        raise Invalid(Problem(p.what, p.path, hint or p.hint, p.code) for p in error.problems) from None
