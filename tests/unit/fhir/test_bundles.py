"""Bundles out and in, patches, equality, subsets and the CapabilityStatement."""

from __future__ import annotations

import base64
import copy
from dataclasses import dataclass
from typing import Any

import pytest

from fhircase.errors import Conflict, Invalid, Malformed, Refused
from fhircase.fhir import bundles, capability, checks, equal, jsontext, patch, stamp, subset

BASE = "http://hub.example/fhir"
GOAL: dict[str, Any] = jsontext.loads("""{"resourceType":"Goal","id":"g","lifecycleStatus":"active","description":{"text":"x"},
    "subject":{"reference":"Patient/p"},"target":[{"measure":{"text":"m"},"detailQuantity":{"value":72.50}}]}""")


@dataclass(frozen=True)
class Row:
    type: str
    id: str
    version: int
    updated: int
    deleted: bool
    text: str
    mark: int
    effective: int
    method: str


def row(id_: str, *, version: int = 1, effective: int | None = None, deleted: bool = False, method: str = "PUT") -> Row:
    text, mark = stamp.stamp(GOAL, id=id_, version=version, at_ms=1_000)
    return Row("Goal", id_, version, 1_000, deleted, text, mark, 1_000 if effective is None else effective, method)


# ------------------------------------------------------------------------------------------------ out


def test_a_searchset_is_valid_and_token_faithful() -> None:
    text = bundles.searchset(
        [row("a"), row("b", effective=2_000)],
        [row("c")],
        base_url=f"{BASE}/",
        links=[("self", f"{BASE}/Goal?x=%22"), ("next", "n")],
        total=7,
        at_ms=5,
    )
    made = jsontext.loads(text)
    assert checks.check(made) == [] and made["total"] == 7 and [e["search"]["mode"] for e in made["entry"]] == ["match", "match", "include"]
    assert made["entry"][0]["fullUrl"] == f"{BASE}/Goal/a" and text.count("72.50") == 3
    assert [e["resource"]["meta"]["lastUpdated"] for e in made["entry"]] == [
        "1970-01-01T00:00:01.000Z",
        "1970-01-01T00:00:02.000Z",
        "1970-01-01T00:00:01.000Z",
    ]
    assert [link["relation"] for link in made["link"]] == ["self", "next"]


def test_an_empty_searchset_has_no_empty_lists() -> None:
    made = jsontext.loads(bundles.searchset([], base_url=BASE, links=[("self", "x")], total=0))
    assert "entry" not in made and made["total"] == 0 and checks.check(made) == []


def test_a_searchset_may_carry_an_outcome_and_views() -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "not-supported"}]}
    made = jsontext.loads(
        bundles.searchset([row("a")], base_url=BASE, links=[("self", "x")], outcome=outcome, view=lambda v: '{"resourceType":"Goal"}')
    )
    assert made["entry"][1] == {"resource": outcome, "search": {"mode": "outcome"}} and made["entry"][0]["resource"] == {
        "resourceType": "Goal"
    }


def test_a_history_tells_how_each_version_came_about() -> None:
    versions = [row("a", version=3, deleted=True), row("a", version=2, method="PATCH"), row("a", version=1, method="POST")]
    made = jsontext.loads(bundles.history(versions, base_url=BASE, links=[("self", "x")], total=3))
    assert checks.check(made) == []
    assert [
        (e["request"]["method"], e["request"]["url"], e["response"]["status"], e["response"]["etag"], "resource" in e)
        for e in made["entry"]
    ] == [
        ("DELETE", "Goal/a", "204", 'W/"3"', False),
        ("PATCH", "Goal/a", "200", 'W/"2"', True),
        ("POST", "Goal", "201", 'W/"1"', True),
    ]


def test_a_response_keeps_the_order_of_the_request() -> None:
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-found"}]}
    answers = [
        bundles.Answer("201 Created", f"{BASE}/Goal/a/_history/1", 'W/"1"', 1_000, row("a").text),
        bundles.Answer("404 Not Found", outcome=outcome),
    ]
    for transaction, kind in ((True, "transaction-response"), (False, "batch-response")):
        made = jsontext.loads(bundles.response(answers, transaction=transaction))
        assert made["type"] == kind and checks.check(made) == []
        assert [e["response"]["status"] for e in made["entry"]] == ["201 Created", "404 Not Found"] and made["entry"][1]["response"][
            "outcome"
        ] == outcome


# ------------------------------------------------------------------------------------------------ in


def request(method: str, url: str, resource: Any = None, full_url: str = "", **more: str) -> dict[str, Any]:
    made: dict[str, Any] = {"request": {"method": method, "url": url} | more}
    if resource is not None:
        made["resource"] = resource
    if full_url:
        made["fullUrl"] = full_url
    return made


def transaction(*rows: Any, type: str = "transaction") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": type, "entry": list(rows)}


def goal(id_: str | None = "g") -> dict[str, Any]:
    return {name: value for name, value in (GOAL | {"id": id_}).items() if value is not None}


def test_a_transaction_is_done_in_fhirs_order_and_answered_in_its_own() -> None:
    rows = bundles.entries(
        transaction(
            request("GET", "Goal?patient=p"),
            request("PUT", "Goal/g", goal()),
            request("POST", "Goal", goal(None)),
            request("DELETE", "Goal/x"),
            request("PATCH", "Goal/y", {"resourceType": "Binary"}),
            request("POST", "Goal", goal(None), ifNoneExist="identifier=1"),
        ),
    )
    assert [entry.index for entry in bundles.plan(rows)] == [3, 2, 5, 1, 4, 0]
    assert (rows[0].type, rows[0].query, rows[1].id, rows[5].if_none_exist) == ("Goal", "patient=p", "g", "identifier=1")


def test_urls_of_our_own_base_are_relative_ones() -> None:
    (entry,) = bundles.entries(transaction(request("PUT", f"{BASE}/Goal/g", goal(), ifMatch='W/"3"')), base_url=BASE)
    assert (entry.url, entry.type, entry.id, entry.if_match) == ("Goal/g", "Goal", "g", 'W/"3"') and not entry.problems


@pytest.mark.parametrize(
    ("rows", "path"),
    [
        ([{"resource": goal()}], "Bundle.entry[0].request"),
        (["x"], "Bundle.entry[0].request"),
        ([request("OPTIONS", "Goal")], "Bundle.entry[0].request.method"),
        ([request("POST", "Goal")], "Bundle.entry[0].resource"),
        ([request("POST", "Goal/g", goal())], "Bundle.entry[0].request.url"),
        ([request("POST", "CarePlan", goal())], "Bundle.entry[0].resource.resourceType"),
        ([request("PUT", "Goal", goal())], "Bundle.entry[0].request.url"),
        ([request("PUT", "Goal/h", goal())], "Bundle.entry[0].resource.id"),
        ([request("DELETE", "Goal")], "Bundle.entry[0].request.url"),
        ([request("DELETE", "Gaol/1")], "Bundle.entry[0].request.url"),
        ([request("PUT", "Goal/g/h", goal())], "Bundle.entry[0].request.url"),
        ([request("PUT", "http://elsewhere/Goal/g", goal())], "Bundle.entry[0].request.url"),
        ([request("DELETE", "Goal/g", ifMatch=5)], "Bundle.entry[0].request.ifMatch"),  # type: ignore[arg-type]
        ([request("POST", "Goal", goal(None), "http://x/Goal/1/_history/2")], "Bundle.entry[0].fullUrl"),
        ([request("PUT", "Goal/g", goal()), request("DELETE", "Goal/g")], "Bundle.entry[1].request.url"),
        ([request("PUT", "Goal?identifier=1", goal(None)), request("PUT", "Goal?identifier=1", goal(None))], "Bundle.entry[1].request.url"),
        ([request("POST", "Goal", goal(None), "urn:uuid:1"), request("POST", "Goal", goal(None), "urn:uuid:1")], "Bundle.entry[1].fullUrl"),
        (
            [request("POST", "Goal", goal(None), ifNoneExist="a=1"), request("POST", "Goal", goal(None), ifNoneExist="a=1")],
            "Bundle.entry[1].request.ifNoneExist",
        ),
    ],
)
def test_a_transaction_that_cannot_be_done_is_refused_with_the_place(rows: list[Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        bundles.plan(bundles.entries(transaction(*rows), base_url=BASE))
    assert [p.path for p in refused.value.problems] == [path]


def test_a_batch_goes_on_without_its_bad_entries() -> None:
    rows = bundles.entries(transaction(request("POST", "Goal"), request("GET", "Goal/g"), request("GET", "metadata"), type="batch"))
    assert [bool(entry.problems) for entry in rows] == [True, False, False]


@pytest.mark.parametrize(
    "bundle",
    [
        None,
        [],
        {"resourceType": "Goal"},
        {"resourceType": "Bundle", "type": "searchset"},
        {"resourceType": "Bundle", "type": "batch", "entry": {}},
    ],
)
def test_what_is_no_batch_is_refused(bundle: Any) -> None:
    with pytest.raises(Refused):
        bundles.entries(bundle)


def test_a_bundle_that_is_too_long_is_refused() -> None:
    with pytest.raises(Invalid):
        bundles.entries(transaction(*[request("GET", "Goal/g")] * 3), limit=2)


def test_references_within_a_transaction_are_relinked_and_nothing_else() -> None:
    rows = bundles.entries(
        transaction(
            request("POST", "Patient", {"resourceType": "Patient"}, "urn:uuid:1"),
            request("POST", "Goal", goal(None), "http://their.example/fhir/Goal/7"),
        )
    )
    links = bundles.full_urls(rows, {0: "Patient/new", 1: "Goal/new"})
    assert links == {"urn:uuid:1": "Patient/new", "http://their.example/fhir/Goal/7": "Goal/new", "Goal/7": "Goal/new"}
    plan = jsontext.loads("""{"resourceType":"CarePlan","subject":{"reference":"urn:uuid:1"},"goal":[{"reference":"http://their.example/fhir/Goal/7/_history/2"}],
        "identifier":[{"system":"urn:ietf:rfc:3986","value":"urn:uuid:1"}],"extension":[{"url":"u","valueUri":"urn:uuid:1"}],"x":1.50,
        "text":{"div":"<div><a href=\\"urn:uuid:1\\">urn:uuid:1</a></div>"},"addresses":[{"reference":"urn:uuid:2"}]}""")
    before = copy.deepcopy(plan)
    made = bundles.relinked(plan, links)
    assert plan == before and made["subject"]["reference"] == "Patient/new" and made["goal"][0]["reference"] == "Goal/new"
    assert made["identifier"] == plan["identifier"] and made["extension"][0]["valueUri"] == "Patient/new" and str(made["x"]) == "1.50"
    assert made["text"]["div"] == '<div><a href="Patient/new">urn:uuid:1</a></div>' and made["addresses"] == plan["addresses"]


# ------------------------------------------------------------------------------------------------ patch


def patched(*operations: dict[str, Any]) -> dict[str, Any]:
    return patch.apply(GOAL, list(operations))


def test_a_patch_changes_a_copy() -> None:
    before = jsontext.dumps(GOAL)
    made = patched(
        {"op": "test", "path": "/lifecycleStatus", "value": "active"},
        {"op": "replace", "path": "/lifecycleStatus", "value": "completed"},
        {"op": "add", "path": "/target/0/dueDate", "value": "2026-01-01"},
        {"op": "add", "path": "/target/-", "value": {"dueDate": "2027"}},
        {"op": "add", "path": "/target/0", "value": {"dueDate": "2025"}},
        {"op": "copy", "from": "/target/0", "path": "/target/1"},
        {"op": "move", "from": "/description", "path": "/note"},
    )
    assert (
        [t.get("dueDate") for t in made["target"]] == ["2025", "2025", "2026-01-01", "2027"]
        and made["note"] == {"text": "x"}
        and "description" not in made
    )
    assert jsontext.dumps(GOAL) == before and "72.50" in jsontext.dumps(made)


def test_what_a_removal_leaves_empty_goes_too() -> None:
    assert "target" not in patched(
        {"op": "remove", "path": "/target/0/detailQuantity/value"}, {"op": "remove", "path": "/target/0/measure"}
    )


def test_pointers_are_unescaped() -> None:
    resource = {"resourceType": "Goal", "id": "g", "a/b": {"m~n": 1}}
    assert patch.apply(resource, [{"op": "replace", "path": "/a~1b/m~0n", "value": 2}])["a/b"] == {"m~n": 2}


@pytest.mark.parametrize(
    ("operations", "error", "place"),
    [
        ({}, Malformed, ""),
        (["x"], Malformed, "[0]"),
        ([{"op": "merge", "path": "/x"}], Malformed, "[0]/op"),
        ([{"op": "add", "path": "/x"}], Malformed, "[0]/value"),
        ([{"op": "move", "path": "/x"}], Malformed, "[0]/from"),
        ([{"op": "remove"}], Malformed, "[0]/path"),
        ([{"op": "remove", "path": "x"}], Malformed, "[0]/path"),
        ([{"op": "remove", "path": "/a~2"}], Malformed, "[0]/path"),
        ([{"op": "remove", "path": "/nothing"}], Invalid, "[0]/path"),
        ([{"op": "remove", "path": "/target/1"}], Invalid, "[0]/path"),
        ([{"op": "remove", "path": "/target/-"}], Invalid, "[0]/path"),
        ([{"op": "remove", "path": "/target/01"}], Invalid, "[0]/path"),
        ([{"op": "replace", "path": "/note", "value": 1}], Invalid, "[0]/path"),
        ([{"op": "add", "path": "/target/5", "value": {}}], Invalid, "[0]/path"),
        ([{"op": "add", "path": "/lifecycleStatus/x", "value": 1}], Invalid, "[0]/path"),
        ([{"op": "copy", "from": "/nothing", "path": "/x"}], Invalid, "[0]/from"),
        ([{"op": "move", "from": "/target", "path": "/target/0/x"}], Invalid, "[0]/path"),
        ([{"op": "remove", "path": ""}], Invalid, "[0]/path"),
        ([{"op": "replace", "path": "", "value": {"resourceType": "Patient"}}], Invalid, "/id"),
        ([{"op": "replace", "path": "/id", "value": "other"}], Invalid, "/id"),
        ([{"op": "replace", "path": "", "value": 5}], Invalid, "/id"),
        ([{"op": "test", "path": "/lifecycleStatus", "value": "draft"}], Conflict, "[0]/path"),
        ([{"op": "test", "path": "/target/0/detailQuantity/value", "value": True}], Conflict, "[0]/path"),
        ([{"op": "copy", "from": "/target", "path": "/target/-"}] * 30, Invalid, None),
        ([{"op": "test", "path": "", "value": 1}] * 1_001, Malformed, ""),
    ],
)
def test_a_patch_that_does_not_fit_is_refused_with_the_operation(operations: Any, error: type[Refused], place: str | None) -> None:
    with pytest.raises(error) as refused:
        patch.apply(GOAL, operations)
    assert place is None or refused.value.problems[0].path == place


def test_a_tested_number_is_compared_by_value() -> None:
    assert patched({"op": "test", "path": "/target/0/detailQuantity/value", "value": jsontext.loads("72.5")}) == GOAL


def test_a_patch_within_a_bundle_is_a_binary() -> None:
    operations = b'[{"op":"remove","path":"/note"}]'
    binary = {"resourceType": "Binary", "contentType": "application/json-patch+json", "data": base64.b64encode(operations).decode()}
    assert patch.of_binary(binary) == [{"op": "remove", "path": "/note"}]
    for broken in (None, {}, binary | {"contentType": "text/plain"}, binary | {"data": "%%%"}, binary | {"data": "eA=="}):
        with pytest.raises(Malformed):
            patch.of_binary(broken)


# ------------------------------------------------------------------------------------------------ equality


def test_what_is_local_to_a_side_does_not_count() -> None:
    theirs = copy.deepcopy(GOAL) | {
        "id": "other",
        "meta": {"versionId": "9", "source": "x", "tag": [{"code": "t"}]},
        "text": {"status": "generated"},
    }
    assert equal.differing(GOAL, theirs) == () and equal.equal(theirs, GOAL)


def test_decimals_are_numbers_and_booleans_are_not() -> None:
    assert (
        equal.same(jsontext.loads("1.50"), jsontext.loads("1.5"))
        and equal.same(jsontext.loads("1.0"), 1)
        and equal.same(0.1, jsontext.loads("0.10"))
    )
    assert (
        not equal.same(True, 1)
        and not equal.same(0, False)
        and not equal.same("1", 1)
        and not equal.same([1], [1, 2])
        and not equal.same(None, {})
    )


def test_what_differs_is_named_by_its_top_element() -> None:
    theirs = copy.deepcopy(GOAL) | {"lifecycleStatus": "completed", "statusReason": "x", "_startDate": {"id": "x"}}
    theirs["target"][0]["detailQuantity"]["value"] = 73
    assert equal.differing(GOAL, theirs) == ("lifecycleStatus", "target", "statusReason", "startDate")
    assert equal.differing(GOAL, theirs, held={"target[0].detail", "statusReason", "_startDate"}) == ("lifecycleStatus",)
    assert equal.paths(GOAL, theirs) == ("lifecycleStatus", "target[0].detailQuantity.value", "statusReason", "_startDate")


def test_profiles_and_labels_are_sets() -> None:
    ours = GOAL | {"meta": {"security": [{"code": "R"}, {"code": "V"}], "profile": ["a", "b"]}}
    theirs = GOAL | {"meta": {"security": [{"code": "V"}, {"code": "R"}], "profile": ["b", "a"], "versionId": "1"}}
    assert equal.differing(ours, theirs) == () and equal.differing(ours, GOAL) == ("meta",)
    assert equal.differing(ours, GOAL | {"meta": {"security": [{"code": "R"}], "profile": ["a", "b"]}}) == ("meta",)


# ------------------------------------------------------------------------------------------------ subsets and capability


FULL = GOAL | {
    "meta": {"versionId": "1"},
    "text": {"status": "generated", "div": "x"},
    "note": [{"text": "n"}],
    "startDate": "2026",
    "_startDate": {"id": "i"},
}


def test_a_subset_holds_what_was_asked_for_and_says_so() -> None:
    assert set(subset.subset(FULL, elements=["start", "note.text"])) == {
        "resourceType",
        "id",
        "meta",
        "lifecycleStatus",
        "description",
        "subject",
        "startDate",
        "_startDate",
        "note",
    }
    assert set(subset.subset(FULL, summary="text")) == {"resourceType", "id", "meta", "text", "lifecycleStatus", "description", "subject"}
    assert set(subset.subset(FULL, summary="data")) == set(FULL) - {"text"}
    summary = subset.subset(FULL, summary="true")
    assert "note" not in summary and "lifecycleStatus" in summary and summary["meta"]["tag"][0]["code"] == "SUBSETTED"
    assert "tag" not in FULL["meta"] and subset.subset(FULL) is FULL


def test_the_capability_statement_is_valid_and_complete() -> None:
    made = capability.statement(
        [capability.Row("Goal"), capability.Row("CarePlan"), capability.Row("AuditEvent", ("read", "search-type"), conditional=False)],
        base_url=f"{BASE}/",
        version="1.2",
        at_ms=0,
        security=["SMART-on-FHIR"],
        oauth={"token": f"{BASE}/token"},
        operations=[
            capability.Operation("process-message", "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message"),
            capability.Operation("validate", "http://x", "Goal"),
        ],
    )
    assert checks.check(made) == [] and made["date"] == "1970-01-01T00:00:00.000Z" and made["fhirVersion"] == "4.0.1"
    rest = made["rest"][0]
    types = {r["type"]: r for r in rest["resource"]}
    assert "CarePlan:goal" in types["CarePlan"]["searchInclude"] and "CarePlan:goal" in types["Goal"]["searchRevInclude"]
    assert {p["name"] for p in types["Goal"]["searchParam"]} >= {"patient", "lifecycle-status", "target-date", "_lastUpdated", "_id"}
    assert types["AuditEvent"]["conditionalCreate"] is False and types["Goal"]["operation"] == [
        {"name": "validate", "definition": "http://x"}
    ]
    assert rest["operation"][0]["name"] == "process-message" and rest["security"]["service"][0]["coding"][0]["code"] == "SMART-on-FHIR"
    from fhir.resources.R4B.capabilitystatement import CapabilityStatement

    CapabilityStatement.model_validate(made)
