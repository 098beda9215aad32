"""A search asked of one resource in memory."""

from __future__ import annotations

import pytest

from fhircase.fhir import index, search, times
from fhircase.fhir.match import matches

SYSTEM = {
    "resourceType": "CodeSystem", "id": "domain", "url": "urn:x:codes:domain", "name": "LifeDomain", "status": "active",
    "content": "complete", "date": "2026-11-25", "concept": [{"code": "food"}, {"code": "safety"}],
    "jurisdiction": [{"coding": [{"system": "urn:iso:std:iso:3166", "code": "US", "display": "United States"}]}],
}  # fmt: skip
UPDATED = times.ms_of("2026-11-25T00:00:00Z")


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("_id", "domain", True), ("_id", "a,domain", True), ("_id", "other", False),
        ("url", "urn:x:codes:domain", True), ("url", "urn:x:codes", False), ("url:below", "urn:x:codes", False),
        ("name", "life", True), ("name:exact", "LifeDomain", True), ("name:exact", "lifedomain", False), ("name:contains", "dom", True),
        ("name", "dom", False), ("status", "active", True), ("status", "draft,active", True), ("status:not", "active", False),
        ("status:not", "draft", True), ("code", "food", True), ("code", "shelter", False),
        ("jurisdiction", "urn:iso:std:iso:3166|US", True),
        ("jurisdiction", "urn:iso:std:iso:3166|CA", False), ("jurisdiction", "urn:iso:std:iso:3166|", True), ("jurisdiction", "|US", False),
        ("jurisdiction:text", "united", True), ("version:missing", "true", True), ("url:missing", "true", False),
        ("date", "2026-11-25", True), ("date", "2026-11", True), ("date", "ne2026-11-25", False), ("date", "gt2026-11-25", False),
        ("date", "ge2026-11-25", True), ("date", "lt2026-11-26", True), ("date", "sa2026-11-24", True), ("date", "eb2026-11-25", False),
        ("_lastUpdated", "ge2026-11-25", True), ("_lastUpdated", "lt2026-11-25", False), ("supplements", "CodeSystem/a", False),
    ],
)  # fmt: skip
def test_a_parameter_finds_what_it_says(name: str, value: str, wanted: bool) -> None:
    query = search.parse("CodeSystem", [(name, value)], strict=True)
    assert matches(query, "domain", UPDATED, index.extract(SYSTEM)) is wanted


def test_all_parameters_must_hold() -> None:
    for status, wanted in (("active", True), ("draft", False)):
        query = search.parse("CodeSystem", [("code", "food"), ("status", status)], strict=True)
        assert matches(query, "domain", UPDATED, index.extract(SYSTEM)) is wanted
