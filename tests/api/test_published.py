"""What the hub's own codes, extensions and identifier systems mean is read at /fhir, by everybody, beside what clients stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhircase.fhir import checks, jsontext, models
from fhircase.flows import enrol
from fhircase.mapping import Mappings, published
from fhircase.web.app import Services, create_app
from tests.api.conftest import ADMIN, Api, Town, body

ROOT = Path(__file__).resolve().parents[2]
OWN = re.compile(r"urn:fhircase:(?:extension:|codes:)?[a-z0-9]+(?:-[a-z0-9]+)*(?![a-z0-9:-])")


@pytest.fixture(scope="module")
def resources() -> dict[str, dict[str, dict[str, Any]]]:
    """Type → url (of a NamingSystem: the system) → resource."""
    made: dict[str, dict[str, dict[str, Any]]] = {type_: {} for type_ in published.TYPES}
    for one in published.resources(Mappings.load()):
        made[one["resourceType"]][one["url"] if "url" in one else one["uniqueId"][0]["value"]] = one
    return made


@pytest.fixture
def town(make_hub: Callable[..., Any], clock: Any) -> Town:
    """A hub with its mappings, and one partner whose key reads goals alone."""
    hub = make_hub(clock=clock)
    app = create_app(hub, Services(random_bytes=lambda count: b"r" * count, key_cache_s=0.0))
    enrol.ensure_hub(hub)
    record, _ = enrol.read_partner({"name": "mercy", "role": "hospital"})
    enrol.partner(hub, ADMIN, record, new=True)
    nobody = Api(app, "")
    made = Town(app, hub, app.extensions["fhircase.services"], clock, {}, nobody, nobody, nobody, nobody)
    made.admin = made.key("hub", admin=True)
    made.mercy = made.key("mercy")
    made.riverside = made.key("mercy", "system/Goal.rs")
    return made


def used() -> dict[str, str]:
    """Every urn of ours in the mappings, their tables and the code → where."""
    found: dict[str, str] = {}
    files = [*(ROOT / "mappings").glob("*.yaml"), *(ROOT / "mappings" / "codes").glob("*.json"), *(ROOT / "fhircase").rglob("*.py")]
    for file in files:
        for urn in OWN.findall(file.read_text(encoding="utf-8")):
            found.setdefault(urn, str(file.relative_to(ROOT)))
    return found


def test_every_extension_and_system_that_is_used_is_published(resources: dict[str, dict[str, dict[str, Any]]]) -> None:
    known = {urn for found in resources.values() for urn in found}
    urns = used()
    assert sum(urn.startswith("urn:fhircase:extension:") for urn in urns) >= 10
    assert {urn: where for urn, where in urns.items() if urn not in known} == {}


def test_every_extension_says_what_it_means_where_it_stands_and_what_it_holds(resources: dict[str, dict[str, dict[str, Any]]]) -> None:
    for url, one in resources["StructureDefinition"].items():
        assert one.get("description", "").endswith("."), f"{url}: say in mappings/published.json what it means"
        assert one["context"], url
        value = one["differential"]["element"][-1]
        assert value.get("type") or value["max"] == "0", url


def test_what_is_told_of_extensions_and_codes_is_told_of_some_that_there_are(resources: dict[str, dict[str, dict[str, Any]]]) -> None:
    told = jsontext.loads((ROOT / "mappings" / "published.json").read_bytes())
    urns = used()
    assert [id_ for id_ in told["extensions"] if published.EXTENSION + id_ not in urns] == []
    assert [id_ for id_ in told["identifiers"] if published.OWN + id_ not in urns] == []
    for id_, words in told["codes"].items():
        codes = {concept["code"] for concept in resources["CodeSystem"][published.CODES + id_]["concept"]}
        assert words.keys() <= codes, (id_, words.keys() - codes)


def test_every_code_of_ours_is_published_with_a_display(resources: dict[str, dict[str, dict[str, Any]]]) -> None:
    for file in sorted((ROOT / "mappings" / "codes").glob("*.json")):
        for group in jsontext.loads(file.read_bytes())["group"]:
            for side, codes in (
                (group.get("source", ""), [element["code"] for element in group["element"]]),
                (group.get("target", ""), [t["code"] for element in group["element"] for t in element["target"] if "code" in t]),
            ):
                if side.startswith(published.CODES):
                    concepts = {concept["code"]: concept for concept in resources["CodeSystem"][side]["concept"]}
                    assert set(codes) <= concepts.keys(), file.name
                    assert all(concept["display"].strip() for concept in concepts.values()), side


def test_every_code_of_ours_says_what_it_means(resources: dict[str, dict[str, dict[str, Any]]]) -> None:
    """By the standard code that it stands for, else by a sentence in mappings/published.json."""
    mute = {
        url.removeprefix(published.CODES): codes
        for url, one in resources["CodeSystem"].items()
        if (codes := [concept["code"] for concept in one["concept"] if not concept.get("definition", "").endswith(".")])
    }
    assert mute == {}, "say in mappings/published.json, under codes, what these mean"


def test_all_that_is_published_is_good_r4(resources: dict[str, dict[str, dict[str, Any]]]) -> None:
    count = 0
    for found in resources.values():
        for one in found.values():
            assert checks.check(one) + models.second_opinion(one) == [], one["id"]
            count += 1
    assert count > 300


def test_a_caller_reads_them_whatever_its_scopes_are(town: Town) -> None:
    for path, url in (
        ("CodeSystem/domain", "urn:fhircase:codes:domain"),
        ("StructureDefinition/phase", "urn:fhircase:extension:phase"),
        ("ConceptMap/goal-priority", "urn:fhircase:codes:map:goal-priority"),
        ("ValueSet/domain", "urn:fhircase:codes:set:domain"),
    ):
        type_ = path.partition("/")[0]
        one = town.riverside.get(f"/fhir/{path}")
        assert (one.status_code, body(one)["url"]) == (200, url)
        for query in (f"url={url}", f"_id={body(one)['id']}"):
            found = body(town.riverside.get(f"/fhir/{type_}?{query}"))
            assert [entry["resource"]["url"] for entry in found["entry"]] == [url], query
    assert town.riverside.get("/fhir/CodeSystem/none-such").status_code == 403
    assert town.mercy.get("/fhir/CodeSystem/none-such").status_code == 404
    assert Api(town.app, "").get("/fhir/CodeSystem/domain").status_code == 401
    assert body(town.riverside.get("/fhir/NamingSystem?value=urn:fhircase:goal"))["entry"][0]["resource"]["id"] == "goal"


def test_its_version_stays_and_is_known_again(town: Town) -> None:
    first = town.mercy.get("/fhir/CodeSystem/domain")
    tag = first.headers["ETag"]
    assert town.mercy.get("/fhir/CodeSystem/domain", If_None_Match=tag).status_code == 304
    version = body(first)["meta"]["versionId"]
    assert tag == f'W/"{version}"'
    assert body(town.mercy.get(f"/fhir/CodeSystem/domain/_history/{version}")) == body(first)
    assert town.mercy.get("/fhir/CodeSystem/domain/_history/1").status_code == 404


def test_they_stand_beside_what_clients_stored_page_by_page(town: Town) -> None:
    own = {"resourceType": "CodeSystem", "url": "https://mercy.example/codes", "status": "draft", "content": "not-present"}
    stored = {town.mercy.made({**own, "title": f"T{n}"})["id"] for n in range(3)}
    first = body(town.mercy.get("/fhir/CodeSystem?_count=40&_total=accurate"))
    ids: list[str] = []
    answer, pages = first, 0
    while True:
        ids += [entry["resource"]["id"] for entry in answer.get("entry", ())]
        following = [link["url"] for link in answer["link"] if link["relation"] == "next"]
        if not following:
            break
        pages += 1
        assert len(answer["entry"]) == 40
        answer = body(town.mercy.get(following[0].partition("8080")[2]))
    assert len(ids) == len(set(ids)) == first["total"]
    assert stored <= set(ids) and pages >= 3
    assert body(town.mercy.get("/fhir/CodeSystem?_summary=count"))["total"] == first["total"]
    drafts = body(town.mercy.get("/fhir/CodeSystem?status=draft"))
    assert {entry["resource"]["id"] for entry in drafts["entry"]} == stored
    assert body(town.mercy.get("/fhir/CodeSystem?status:not=draft&_summary=count"))["total"] == first["total"] - 3
    two = {e["resource"]["id"] for e in body(town.mercy.get("/fhir/CodeSystem?code=housing-instability,walker"))["entry"]}
    assert "equipment-kind" in two and not two & stored


def test_nobody_writes_what_is_published(town: Town) -> None:
    one = body(town.admin.get("/fhir/CodeSystem/domain"))
    refused = town.admin.put("/fhir/CodeSystem/domain", {**one, "title": "Mine"})
    assert (refused.status_code, body(refused)["issue"][0]["code"]) == (405, "not-supported")
    entry = {"resource": one, "request": {"method": "PUT", "url": "CodeSystem/domain"}}
    transaction = {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
    assert town.admin.post("/fhir", transaction).status_code == 405
    assert town.admin.put("/fhir/CodeSystem/another", {**one, "id": "another"}).status_code == 201
    assert town.admin.patch("/fhir/CodeSystem/domain", [{"op": "replace", "path": "/title", "value": "Mine"}]).status_code == 404
    assert town.admin.delete("/fhir/CodeSystem/domain").status_code == 404
    assert body(town.admin.get("/fhir/CodeSystem/domain")) == one


def test_a_batch_reads_them_too_and_the_statement_lists_their_types(town: Town) -> None:
    batch = {
        "resourceType": "Bundle", "type": "batch",
        "entry": [
            {"request": {"method": "GET", "url": "CodeSystem/domain"}},
            {"request": {"method": "GET", "url": "StructureDefinition?url=urn:fhircase:extension:phase"}},
        ],
    }  # fmt: skip
    answers = body(town.mercy.post("/fhir", batch))["entry"]
    assert [entry["resource"]["resourceType"] for entry in answers] == ["CodeSystem", "Bundle"]
    assert answers[1]["resource"]["entry"][0]["resource"]["id"] == "phase"
    types = {row["type"] for row in body(town.mercy.get("/fhir/metadata"))["rest"][0]["resource"]}
    assert set(published.TYPES) <= types
