"""Which business identifiers may find a resource, and which it alone may hold (DECISIONS 5, 15).

Only numbers that an assigning authority gives claim: record and visit numbers. Social security, insurance, licence and other
people's numbers find, but never claim: they are mistyped, shared and reused too often to say that two records are one person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fhircase.hl7v2 import DELETE, Authorities, Repetition
from fhircase.hl7v2.authority import SSN
from fhircase.intake.findings import Identity

NEVER = frozenset(
    {
        # HL7 table 0203: social security and tax, insurance and benefits, licences and passports, money, people and organisations
        "SS",
        "SSN",
        "SSA",
        "TAX",
        "TIN",
        "PRC",
        "HC",
        "JHN",
        "MA",
        "MB",
        "MC",
        "MCD",
        "MCN",
        "MCR",
        "MI",
        "MS",
        "NIIP",
        "PNT",
        "SN",
        "SUB",
        "EI",
        "EN",
        "EDS",
        "IN",
        "DL",
        "DLN",
        "PPN",
        "PPC",
        "PPUS",
        "VS",
        "BA",
        "BC",
        "BCT",
        "BR",
        "BRN",
        "CC",
        "DI",
        "DR",
        "AM",
        "AMA",
        "AX",
        "NPI",
        "XX",
        "UPIN",
        "FI",
        "GI",
        "GN",
        "DEA",
        "DDS",
        "DN",
        "DO",
        "DP",
        "DPM",
        "LN",
        "LI",
        "LR",
        "MD",
        "NP",
        "PA",
        "PRN",
        "QA",
        "RN",
        "SL",
        "WC",
        "WCN",
        "WP",
        "AN",
        "ANC",
        "AND",
        "ANT",
        "ANON",
        "U",
    }
)
"""Types (CX.5, or Identifier.type of v2-0203) that never claim."""

RECORD = frozenset({"MR", "MRN", "MRT", "PI", "PT", "PN", "NI", "NH", "NNUSA"})
"""Types that are a record number though no authority is named."""

_NEVER_SYSTEMS = (
    SSN,
    "http://hl7.org/fhir/sid/us-mbi",
    "http://hl7.org/fhir/sid/us-medicare",
    "http://hl7.org/fhir/sid/us-npi",
    "urn:oid:2.16.840.1.113883.4.1",
    "urn:oid:2.16.840.1.113883.4.6",
    "urn:oid:2.16.840.1.113883.4.927",
    "urn:oid:2.16.840.1.113883.4.3.",
    "urn:oid:2.16.840.1.113883.4.330",
)
_TYPES = ("http://terminology.hl7.org/CodeSystem/v2-0203", "http://hl7.org/fhir/v2/0203", "urn:oid:2.16.840.1.113883.12.203")


def of_numbers(numbers: Iterable[Repetition], authorities: Authorities) -> tuple[Identity, ...]:
    """From CX repetitions, the first being the sender's own number: one that names neither type nor authority claims only as that."""
    found: dict[tuple[str, str], Identity] = {}
    for position, number in enumerate(numbers):
        value = number.get()
        if value is None or value is DELETE or not value.strip():
            continue
        system = authorities.of(number)
        kind = (number.get(5) or "").upper()
        given = bool(number.get(4)) or bool(number.get(4, 2)) or kind in RECORD or (position == 0 and not kind)
        claims = given and kind not in NEVER and not system.startswith(_NEVER_SYSTEMS)
        identity = Identity(system, value.strip(), claims)
        found.setdefault((system, identity.value), identity)
    return tuple(found.values())


def of_resource(resource: Mapping[str, Any]) -> tuple[Identity, ...]:
    """From ``identifier`` of a FHIR resource. Those of Patient and Encounter claim, less the types and systems above;
    those of any other resource find only. An identifier without system or value says nothing."""
    claimable = resource.get("resourceType") in ("Patient", "Encounter")
    given = resource.get("identifier")
    found: dict[tuple[str, str], Identity] = {}
    for one in given if isinstance(given, list) else [given]:
        if not isinstance(one, dict):
            continue
        system, value = one.get("system"), one.get("value")
        if not isinstance(system, str) or not isinstance(value, str) or not system or not value:
            continue
        claims = claimable and one.get("use") not in ("old", "temp") and not _types(one) & NEVER and not system.startswith(_NEVER_SYSTEMS)
        found.setdefault((system, value), Identity(system, value, claims))
    return tuple(found.values())


def _types(identifier: Mapping[str, Any]) -> frozenset[str]:
    kind = identifier.get("type")
    codings = kind.get("coding") if isinstance(kind, dict) else None
    if not isinstance(codings, list):
        return frozenset()
    return frozenset(
        str(coding.get("code", "")).upper() for coding in codings if isinstance(coding, dict) and coding.get("system", _TYPES[0]) in _TYPES
    )
