"""References, the hub's stamp on a resource, and OperationOutcomes."""

from __future__ import annotations

from typing import Any

import pytest

from fhircase.errors import Invalid, NotFound, Problem
from fhircase.fhir import checks, jsontext, outcome, refs, stamp

PLAN: dict[str, Any] = jsontext.loads("""
{"resourceType":"CarePlan","id":"theirs","meta":{"source":"x","versionId":"7","profile":["p"],"lastUpdated":"2020-01-01T00:00:00Z"},
 "contained":[{"resourceType":"Goal","id":"g","subject":{"reference":"Patient/p"}}],
 "extension":[{"url":"u","valueReference":{"reference":"Task/1"}}],
 "subject":{"reference":"Patient/p"},"goal":[{"reference":"#g"},{"identifier":{"value":"9"}}],
 "activity":[{"reference":{"reference":"ServiceRequest/s/_history/2"}}],"x":72.50}
""")


def test_every_reference_is_found_with_its_path() -> None:
    assert [path for path, _ in refs.references(PLAN)] == [
        "CarePlan.contained[0].subject",
        "CarePlan.extension[0].valueReference",
        "CarePlan.subject",
        "CarePlan.goal[0]",
        "CarePlan.goal[1]",
        "CarePlan.activity[0].reference",
    ]


def test_rewriting_copies_and_leaves_fragments_alone() -> None:
    before = jsontext.dumps(PLAN)
    made = refs.rewrite(PLAN, lambda text: text.replace("Patient/p", "Patient/new"))
    assert jsontext.dumps(PLAN) == before
    assert made["subject"] == {"reference": "Patient/new"} and made["contained"][0]["subject"] == {"reference": "Patient/new"}
    assert made["goal"] is PLAN["goal"] and refs.rewrite(PLAN, lambda text: text) == PLAN
    assert refs.rewrite(PLAN, lambda text: text) is not PLAN


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Patient/p", ("Patient", "p", None, "")),
        ("Patient/p/_history/3", ("Patient", "p", "3", "")),
        ("http://here/fhir/Patient/p", ("Patient", "p", None, "")),
        ("http://there/fhir/Patient/p", ("Patient", "p", None, "http://there/fhir/")),
        ("urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a", None),
        ("#g", None),
        ("Patient", None),
        ("Patient/", None),
        ("Patient/a/b", None),
        ("patient/p", None),
        ("Patient/not_an_id!", None),
        (None, None),
    ],
)
def test_a_literal_reference_is_taken_apart(text: Any, found: Any) -> None:
    assert refs.literal(text, "http://here/fhir/") == found


@pytest.mark.parametrize(
    ("resource", "client"),
    [
        ({"resourceType": "Patient", "id": "p"}, "p"),
        ({"resourceType": "Goal", "subject": {"reference": "Patient/p"}}, "p"),
        ({"resourceType": "Task", "for": {"reference": "Patient/p"}}, "p"),
        ({"resourceType": "EpisodeOfCare", "patient": {"reference": "Patient/p/_history/1"}}, "p"),
        ({"resourceType": "Account", "subject": [{"reference": "Device/d"}, {"reference": "Patient/p"}]}, "p"),
        (
            {"resourceType": "Appointment", "participant": [{"actor": {"reference": "Location/l"}}, {"actor": {"reference": "Patient/p"}}]},
            "p",
        ),
        ({"resourceType": "Goal", "subject": {"reference": "Group/p"}}, None),
        ({"resourceType": "Goal", "subject": {"reference": "http://other/Patient/p"}}, None),
        ({"resourceType": "Goal", "subject": {"identifier": {"value": "1"}}}, None),
        ({"resourceType": "Organization"}, None),
    ],
)
def test_the_client_is_the_patient_that_a_resource_is_about(resource: Any, client: str | None) -> None:
    assert refs.client_of(resource) == client


def test_a_stamp_puts_the_hubs_elements_first_and_keeps_the_rest_token_by_token() -> None:
    text, mark = stamp.stamp(PLAN, id="ours", version=3, at_ms=1_790_000_000_123)
    assert text.startswith(
        '{"resourceType":"CarePlan","id":"ours","meta":{"versionId":"3","lastUpdated":"2026-09-21T14:13:20.123Z","source":"x","profile":["p"]},'
    )
    assert text[mark : mark + 24] == "2026-09-21T14:13:20.123Z" and text.endswith('"x":72.50}')
    read = jsontext.loads(text)
    assert stamp.unstamped(read) == stamp.unstamped(PLAN)
    assert list(read) == ["resourceType", "id", "meta", *[name for name in PLAN if name not in ("resourceType", "id", "meta")]]


def test_a_resource_with_nothing_else_is_stamped_too() -> None:
    text, mark = stamp.stamp({"resourceType": "Basic"}, id="b", version=1, at_ms=0)
    assert jsontext.loads(text) == {
        "resourceType": "Basic",
        "id": "b",
        "meta": {"versionId": "1", "lastUpdated": "1970-01-01T00:00:00.000Z"},
    }
    assert stamp.served(text, mark, 1) == text.replace("00.000Z", "00.001Z")


def test_a_viewer_sees_an_effective_time_and_nothing_else_changes() -> None:
    text, mark = stamp.stamp(PLAN, id="ours", version=3, at_ms=1_790_000_000_123)
    seen = jsontext.loads(stamp.served(text, mark, 1_800_000_000_000))
    assert seen["meta"].pop("lastUpdated") == "2027-01-15T08:00:00.000Z"
    expected = jsontext.loads(text)
    del expected["meta"]["lastUpdated"]
    assert seen == expected


def test_unstamped_drops_a_meta_that_held_nothing_else() -> None:
    assert stamp.unstamped({"resourceType": "Goal", "id": "g", "meta": {"versionId": "1", "lastUpdated": "x"}}) == {"resourceType": "Goal"}


def test_an_outcome_tells_each_problem_with_its_expression() -> None:
    made = outcome.of(
        [Problem("is required", "Goal.target[0].due", "say when", "required"), Problem("is not a date", "_lastUpdated", code="value")]
    )
    assert made["issue"] == [
        {"severity": "error", "code": "required", "diagnostics": "is required. Say when", "expression": ["Goal.target[0].due"]},
        {"severity": "error", "code": "value", "diagnostics": "_lastUpdated: is not a date"},
    ]
    assert not checks.check(made)


def test_an_outcome_without_problems_is_still_valid() -> None:
    assert not checks.check(outcome.of(())) and outcome.of(())["issue"][0]["severity"] == "information"


def test_an_error_says_its_title_when_it_has_no_problem() -> None:
    assert outcome.of_error(NotFound())["issue"] == [{"severity": "error", "code": "not-found", "diagnostics": "Not found"}]
    assert outcome.of_error(Invalid("no", path="Goal.subject"))["issue"][0]["expression"] == ["Goal.subject"]
