"""Any bytes at any entry: an answer below 500 in the shape of its side of the house. ``FHIRCASE_FUZZ`` is how many examples each
entry gets (default 25)."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import Town, body

EXAMPLES = int(os.environ.get("FHIRCASE_FUZZ", "25"))
FHIR = "application/fhir+json"

WORDS = st.sampled_from([
    "resourceType", "Goal", "Patient", "Task", "Bundle", "transaction", "batch", "entry", "resource", "request", "method", "url", "PUT",
    "identifier", "system", "value", "reference", "subject", "for", "focus", "basedOn", "meta", "security", "versionId", "contained",
    "text", "div", "extension", "Patient/x", "Goal?identifier=a|b", "urn:uuid:1", "active", "requested", "\x00", "\ud800", "🦴", "",
])  # fmt: skip
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), WORDS, st.text(max_size=8))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=5), max_leaves=20)


def _resource(type_: str) -> Any:
    elements = st.dictionaries(WORDS, VALUES, max_size=6)
    return elements.map(lambda found: json.dumps({**found, "resourceType": type_}).encode())


BODIES = st.one_of(
    st.binary(max_size=200),
    VALUES.map(lambda value: json.dumps(value).encode()),
    *(_resource(type_) for type_ in ("Goal", "Patient", "Task", "Bundle")),
)
SEGMENTS = st.lists(
    st.sampled_from(["MSH|^~\\&|MERCY|MERCY|||20260101||ADT^A03|1|P|2.5", "PID|1||7^^^MERCY^MR||Q^R", "PV1|1|I", "EVN|A03", "|||", "\\"])
    | st.text(max_size=20),
    max_size=6,
)
ER7 = st.one_of(st.binary(max_size=200), SEGMENTS.map(lambda rows: "\r".join(rows).encode("utf-8", "surrogatepass")))

ENTRIES = [
    ("POST", "/fhir", FHIR, BODIES), ("POST", "/fhir/Goal", FHIR, BODIES), ("POST", "/fhir/Patient", FHIR, BODIES),
    ("PUT", "/fhir/Task/mercy.1", FHIR, BODIES), ("PUT", "/fhir/Goal?identifier=a|b", FHIR, BODIES),
    ("PATCH", "/fhir/Patient/{anna}", "application/json-patch+json", BODIES), ("POST", "/fhir/$validate", FHIR, BODIES),
    ("POST", "/fhir/$process-message", FHIR, BODIES), ("POST", "/intake/hl7v2", "application/hl7-v2", ER7),
    ("POST", "/partners", "application/json", BODIES), ("POST", "/keys", "application/json", BODIES),
    ("POST", "/webhooks/endpoints", "application/json", BODIES), ("POST", "/webhooks/deliveries/resend", "application/json", BODIES),
    ("POST", "/reviews/none/settle", "application/json", BODIES),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "kind", "bodies"), ENTRIES, ids=[f"{m} {p}" for m, p, _, _ in ENTRIES])
def test_no_bytes_break_an_entry(town: Town, method: str, path: str, kind: str, bodies: Any) -> None:
    """Strict and lenient: what is refused is refused in words, and nothing is a defect of ours."""
    caller = town.admin if path.startswith(("/partners", "/keys", "/reviews")) else town.mercy

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=bodies, handling=st.sampled_from(["strict", "lenient"]))
    def run(content: bytes, handling: str) -> None:
        answer = caller.open(method, path.format(anna=town.anna), content, Content_Type=kind, Prefer=f"handling={handling}")
        assert answer.status_code < 500, (content, answer.get_data(as_text=True)[:300])
        if path != "/intake/hl7v2" and answer.status_code >= 400 and path.startswith("/fhir"):
            assert body(answer)["resourceType"] == "OperationOutcome"

    run()


QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["_id", "_count", "_sort", "_include", "_lastUpdated", "patient", "identifier", "_since", "_cursor", "target-date"])
        | st.text(max_size=8),
        st.sampled_from(["", "ge", "0000", "9999-12-31", "|", ",", "-1", "99999999999999999999", "\x00", "*", "Goal:subject"])
        | st.text(max_size=12),
    ),
    max_size=4,
)


@pytest.mark.parametrize(
    "path", ["/fhir/Goal", "/fhir/_history", "/fhir/Patient/{anna}/$everything", "/intake/messages", "/webhooks/events"]
)
def test_no_query_breaks_a_read(town: Town, path: str) -> None:
    from urllib.parse import urlencode

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(pairs=QUERIES)
    def run(pairs: list[tuple[str, str]]) -> None:
        query = urlencode([(name.encode("utf-8", "surrogatepass"), value.encode("utf-8", "surrogatepass")) for name, value in pairs])
        answer = town.mercy.get(f"{path.format(anna=town.anna)}?{query}")
        assert answer.status_code < 500, (pairs, answer.get_data(as_text=True)[:300])

    run()
