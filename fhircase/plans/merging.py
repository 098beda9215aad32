"""Two records of one client become one (ADT A34, A40; STANDARDS §5.4). Pure.

The retired Patient stays readable: inactive, with a link to the survivor, which bears the old numbers as ``old`` and
holds their claims from now on, so that both ids and all numbers resolve. Everything that pointed at the retired one
points at the survivor. Two open plans are linked, never blended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fhircase.fhir import refs
from fhircase.plans.change import Ref, Resource

Number = tuple[str, str]

HISTORY = frozenset({"Provenance", "AuditEvent"})
"""What tells of the past keeps telling it as it was."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """``merge``: ``retired`` into ``survivor``. ``same``: both numbers are one record's already (said before). ``alias``: only
    the retired number is known, that record simply has a new number. ``unknown``: the retired number is nobody's; it
    becomes an old number of the survivor. ``ignore``: PID and MRG are the same. ``inverse``: the opposite of an earlier
    merge, for a person."""

    kind: Literal["merge", "same", "alias", "unknown", "ignore", "inverse"]
    survivor: Ref | None = None
    retired: Ref | None = None


def judge(
    survivor_numbers: Sequence[Number],
    retired_numbers: Sequence[Number],
    holders: Mapping[Number, Ref],
    bodies: Mapping[Ref, Resource],
) -> Verdict:
    """What an A40 pair asks for. ``holders`` says which Patient a number is claimed by (a merged one's survivor)."""
    kept = next((holders[n] for n in survivor_numbers if n in holders), None)
    if not retired_numbers or set(retired_numbers) <= set(survivor_numbers):
        return Verdict("ignore", survivor=kept)
    gone = next((holders[n] for n in retired_numbers if n in holders and n not in survivor_numbers), None)
    if kept is None and gone is None:
        return Verdict("unknown")
    if kept is None:
        return Verdict("alias", survivor=gone)
    if gone is None:
        return Verdict("unknown", survivor=kept)
    if kept != gone:
        return Verdict("merge", survivor=kept, retired=gone)
    old = _old_numbers(bodies.get(kept) or {})
    if set(survivor_numbers) & old and not set(retired_numbers) & old:
        return Verdict("inverse", survivor=kept)
    return Verdict("same", survivor=kept)


def retire(retired: Resource, survivor: Ref) -> Resource:
    """The retired Patient."""
    link = {"other": {"reference": str(survivor)}, "type": "replaced-by"}
    return {**retired, "active": False, "link": _with(retired.get("link"), link)}


def survive(survivor: Resource, retired: Resource) -> Resource:
    """The survivor with the retired one's numbers as old ones."""
    link = {"other": {"reference": f"Patient/{retired['id']}"}, "type": "replaces"}
    return {**with_old(survivor, retired.get("identifier") or ()), "link": _with(survivor.get("link"), link)}


def with_old(patient: Resource, identifiers: Iterable[Resource]) -> Resource:
    """A Patient that bears these identifiers as old ones too, where it does not bear them already as current."""
    held = list(patient.get("identifier") or ())
    known = {(i.get("system"), i.get("value")) for i in held}
    added = [{**i, "use": "old"} for i in identifiers if (i.get("system"), i.get("value")) not in known]
    return {**patient, "identifier": [*held, *added]} if added else patient


def aged(patient: Resource, numbers: Iterable[Number]) -> Resource:
    """A Patient whose identifiers of these numbers have become old."""
    old = set(numbers)
    made = [{**i, "use": "old"} if (i.get("system"), i.get("value")) in old else i for i in patient.get("identifier") or ()]
    return {**patient, "identifier": made} if made else patient


def repoint(resource: Resource, retired: Ref, survivor: Ref) -> Resource:
    """A copy in which every literal reference to the retired Patient names the survivor."""
    old, new = str(retired), str(survivor)
    return refs.rewrite(resource, lambda text: new if text == old else text)


def link_plans(plan: Resource, other: str) -> Resource:
    """A plan that shows the other record's plan beside it (``supportingInfo``)."""
    return {**plan, "supportingInfo": _with(plan.get("supportingInfo"), {"reference": f"CarePlan/{other}"})}


def _with(items: Any, item: Resource) -> list[Any]:
    held = list(items or ())
    return held if item in held else [*held, item]


def _old_numbers(patient: Mapping[str, Any]) -> set[Number]:
    return {(str(i.get("system")), str(i.get("value"))) for i in patient.get("identifier") or () if i.get("use") == "old"}
