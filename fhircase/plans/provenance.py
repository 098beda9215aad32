"""Who set what, when, from which message and which place in it (http://hl7.org/fhir/R4/provenance.html;
US Core basic provenance). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhircase.plans.change import Agent, Origin, Ref, Resource, Source

ORIGIN = "urn:fhircase:extension:value-origin"
"""Extension on Provenance: ``target`` (Type/id), ``element`` (FHIRPath), ``place`` (HL7 v2 place), ``raw`` where the
original text could not be carried over whole."""

AGENT_TYPE = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"
ACTIVITY = "http://terminology.hl7.org/CodeSystem/v3-DataOperation"
MESSAGE = "urn:fhircase:message"


def of(
    *,
    targets: Sequence[tuple[Ref, int, str]],
    agent: Agent,
    organization: str | None,
    source: Source,
    reason: str,
    activity: str,
    recorded: str,
    origins: Sequence[tuple[Ref, Origin]],
    informant: str | None = None,
) -> Resource:
    """A Provenance for one commit. ``targets`` are (reference, version, CREATE|UPDATE|DELETE); ``organization`` the id of
    the agent's Organization, ``recorded`` an instant, ``activity`` words of our own, if any; ``informant`` the client or guardian
    who decided it."""
    who: dict[str, Any] = {"reference": f"Organization/{organization}"} if organization else {"display": agent.partner}
    author: dict[str, Any] = {"type": _concept(AGENT_TYPE, "author"), "who": who}
    if agent.user:
        person = {"reference": agent.user} if agent.user.startswith("Practitioner/") else {"display": agent.user}
        author = {"type": _concept(AGENT_TYPE, "author"), "who": person, "onBehalfOf": who}
    agents = [author]
    if informant:
        agents.append({"type": _concept(AGENT_TYPE, "informant"), "who": {"reference": informant}})
    operations = {operation for _, _, operation in targets}
    body: Resource = {
        "resourceType": "Provenance",
        "target": [{"reference": f"{ref}/_history/{version}"} for ref, version, _ in targets],
        "recorded": recorded,
        "activity": {"coding": _concept(ACTIVITY, operations.pop() if len(operations) == 1 else "UPDATE")["coding"]},
        "agent": agents,
    }
    if source.at and "T" in source.at:
        body["occurredDateTime"] = source.at
    if activity:
        body["activity"]["text"] = activity
    if reason:
        body["reason"] = [{"text": reason}]
    what: dict[str, Any] = {}
    if source.message:
        what = {"identifier": {"system": MESSAGE, "value": source.message}}
        if source.identifier:
            what["display"] = source.identifier
    elif source.identifier:
        what = {"identifier": {"value": source.identifier}}
    if what:
        body["entity"] = [{"role": "source", "what": what}]
    if origins:
        body["extension"] = [_origin(ref, origin) for ref, origin in origins]
    return body


def _origin(ref: Ref, origin: Origin) -> dict[str, Any]:
    parts = [
        {"url": "target", "valueString": str(ref)},
        {"url": "element", "valueString": origin.element},
        {"url": "place", "valueString": origin.place},
    ]
    if origin.raw:
        parts.append({"url": "raw", "valueString": origin.raw})
    return {"url": ORIGIN, "extension": parts}


def _concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}
