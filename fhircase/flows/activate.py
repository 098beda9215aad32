"""Make proposals real (DECISIONS 9)."""

from __future__ import annotations

from collections.abc import Sequence

from fhircase.errors import Invalid, Problem
from fhircase.fhir import times
from fhircase.flows import cases, kinds
from fhircase.flows.hub import Hub
from fhircase.plans.change import Agent, Ref, Resource, Write
from fhircase.ports import Tx, Viewer


def activate(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    *,
    goals: Sequence[str] = (),
    services: Sequence[str] = (),
    equipment: Sequence[str] = (),
    if_match: str | None = None,
    key: str | None = None,
    correlation: str = "",
) -> cases.CaseView:
    """Make proposals real (DECISIONS 9): a proposed goal becomes active; a proposed service or equipment is ordered by a new
    request based on it, which takes its place in the plan, and the proposal is completed. All in one commit.

    Raises NotFound, Invalid naming each id that is no proposal of this case, Stale."""
    orders = {("services", id_): hub.ids.new() for id_ in services} | {("equipment", id_): hub.ids.new() for id_ in equipment}

    def decide(tx: Tx, held: cases.Held) -> cases.Decided:
        cases.person(agent)
        by_ref = {stored.ref: stored for stored in held.resources}
        plan = held.plan.body if held.plan else None
        writes: list[Write] = []
        problems: list[Problem] = []
        now = times.instant(hub.now())
        for at, id_ in enumerate(goals):
            stored = by_ref.get(Ref("Goal", id_))
            body = stored.body if stored else {}
            if stored is None or body.get("lifecycleStatus") not in ("proposed", "planned", "accepted"):
                hint = "name ids of goals whose lifecycle is proposed, planned or accepted"
                problems.append(Problem("no proposed goal of this case", f"/goals/{at}", hint, "not-found"))
                continue
            body["lifecycleStatus"] = "active"
            if "startDate" not in body and "startCodeableConcept" not in body:
                body["startDate"] = now[:10]
            writes.append(Write("Goal", id_, body, expect=stored.version, case=case))
        for what, ids in (("services", services), ("equipment", equipment)):
            kind = kinds.KINDS[what]
            for at, id_ in enumerate(ids):
                stored = by_ref.get(Ref(kind.type, id_))
                body = stored.body if stored else {}
                if stored is None or body.get("intent") not in kinds.PROPOSED or body.get("status") not in ("draft", "active"):
                    hint = f"name ids of {what} whose intent is proposal and whose state is draft or active"
                    problems.append(Problem(f"no proposed entry of {what} of this case", f"/{what}/{at}", hint, "not-found"))
                    continue
                order_id = orders[what, id_]
                order: Resource = {k: v for k, v in body.items() if k not in ("id", "meta", "identifier")}
                order.update(status="active", intent="order", authoredOn=now)
                order["identifier"] = [{"system": kind.system, "value": order_id}]
                order["basedOn"] = [{"reference": f"{kind.type}/{id_}"}]
                if agent.user and agent.user.startswith("Practitioner/"):
                    order["requester"] = {"reference": agent.user}
                body["status"] = "completed"
                writes.append(Write(kind.type, order_id, order, expect=0, client=held.client, case=case))
                writes.append(Write(kind.type, id_, body, expect=stored.version, case=case))
                if plan is not None:
                    _replace(plan, f"{kind.type}/{id_}", f"{kind.type}/{order_id}")
        if problems:
            raise Invalid(problems)
        if plan is not None and held.plan is not None:
            if plan.get("status") == "draft":
                plan["status"] = "active"
            writes.append(Write("CarePlan", held.plan.id, plan, expect=held.plan.version, case=case))
        return cases.Decided(writes, "activated what was proposed", {})

    cases.attempt(hub, agent, viewer, case, decide, if_match, key, correlation)
    return cases.read(hub, viewer, case)


def _replace(plan: Resource, old: str, new: str) -> None:
    for activity in plan.get("activity", ()):
        if activity.get("reference", {}).get("reference") == old:
            activity["reference"] = {**activity["reference"], "reference": new}
            return
    cases.link(plan, "activity", new)
