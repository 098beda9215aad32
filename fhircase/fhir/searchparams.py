"""The table of search parameters: HL7's for R4, and a few that implementation guides search and include by."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from fhircase.fhir import definitions
from fhircase.fhir.definitions import SearchParameter

EXTRA: Mapping[str, tuple[SearchParameter, ...]] = {
    # SDOH Clinical Care 3.0, capability statements: _include=Task:output and ServiceRequest:supporting-info
    "Task": (SearchParameter("output", "reference", ("output.valueReference:Reference",)),),
    "ServiceRequest": (SearchParameter("supporting-info", "reference", ("supportingInfo:Reference",)),),
    # US Core 7.0: Goal.description
    "Goal": (
        SearchParameter("description", "token", ("description:CodeableConcept",)),
        SearchParameter("addresses", "reference", ("addresses:Reference",)),
    ),
    # decided here: free, at low cost or for a fee; R4 has no parameter for it
    "HealthcareService": (SearchParameter("service-provision-code", "token", ("serviceProvisionCode:CodeableConcept",)),),
    # decided here: other people's plans are linked from ours (DECISIONS 8)
    "CarePlan": (SearchParameter("supporting-info", "reference", ("supportingInfo:Reference",)),),
}

BUILT_IN = frozenset(("_id", "_lastUpdated"))
"""In every table, answered by the store's own columns."""


@cache
def parameters(type: str) -> Mapping[str, SearchParameter]:
    """By name, ``_id``, ``_lastUpdated``, ``_tag``, ``_profile``, ``_security`` and ``_source`` included; empty for what is no
    resource type. Composite and phonetic parameters and Location.near are not among them."""
    found = dict(definitions.search_parameters(type))
    for parameter in EXTRA.get(type, ()):
        found.setdefault(parameter.name, parameter)
    return found


def only_type(parameter: SearchParameter) -> str:
    """The one resource type that a reference parameter points at, '' when there are several."""
    narrowed = {place.partition(">")[2] for place in parameter.places}
    if len(narrowed) == 1 and "" not in narrowed:
        return narrowed.pop()
    return parameter.targets[0] if len(parameter.targets) == 1 else ""
