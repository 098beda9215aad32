"""Assigning authorities: from CX.4 (an HD) to the identifier system that FHIR wants.

One rule for identities and for mapped identifiers, so that both say the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fhircase.hl7v2.message import Repetition

SSN = "http://hl7.org/fhir/sid/us-ssn"
_SSN_AUTHORITIES = frozenset({"USSSA", "SSA", "USSSN", "SSN"})
_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_UNSAFE = re.compile(r"[\s<>\"{}|\\^`]+")


@dataclass(frozen=True, slots=True)
class Authorities:
    """``table``: the partner's own list, authority (namespace or universal id, '' for numbers without one) → system.
    ``partner`` and ``facility`` (MSH-4.1) name what the table does not: ``urn:fhircase:authority:<partner>:<authority>``."""

    partner: str
    table: Mapping[str, str]
    facility: str = ""

    def system(self, namespace: str | None, universal: str | None = None, kind: str | None = None) -> str:
        """The system of an HD: the partner's table first (by namespace, then by universal id), then a universal id of
        type ISO, UUID or URI as it is, else a name of our own under the partner's."""
        for name in (namespace, universal):
            if name and name in self.table:
                return self.table[name]
        if universal:
            kind = (kind or "").upper()
            if kind == "ISO" and _OID.fullmatch(universal):
                return f"urn:oid:{universal}"
            if kind in ("UUID", "GUID") and _UUID.fullmatch(universal):
                return f"urn:uuid:{universal.lower()}"
            if kind == "URI" and ":" in universal and not _UNSAFE.search(universal):
                return universal
        if not namespace and not universal:
            # A number without an authority is the sending facility's own.
            for name in ("", self.facility):
                if name in self.table:
                    return self.table[name]
        name = _UNSAFE.sub("-", (namespace or universal or self.facility).strip())
        return f"urn:fhircase:authority:{self.partner}:{name}" if name else f"urn:fhircase:authority:{self.partner}"

    def of(self, number: Repetition, *, authority: int = 4, kind: int = 5) -> str:
        """The system of a CX: its authority (CX.4); social security numbers are known by type or authority."""
        named = number.get(authority) or None
        if (number.get(kind) or "").upper() in ("SS", "SSN") or {named, number.get(6)} & _SSN_AUTHORITIES:
            return self.table.get(named or "", SSN)
        return self.system(named, number.get(authority, 2), number.get(authority, 3))
