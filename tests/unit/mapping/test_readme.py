"""The cookbook's recipes are run, the schema fits every file, and the table of keys is the engine's."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from fhircase.case.models import Kind, Model, effective
from fhircase.flows import enrol
from fhircase.mapping import Mappings, check, published, schema
from fhircase.mapping.lines import FILE_KEYS, LINE_KEYS
from fhircase.web.app import Services, create_app
from tests.api.conftest import Api, Town, body

FOLDER = Path(__file__).resolve().parents[3] / "mappings"
README = (FOLDER / "README.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"### ([^\n]+)\n(.*?)(?=\n### |\n## |\Z)", README, re.DOTALL))
SCHEMA = json.loads((FOLDER / "mapping.schema.json").read_text(encoding="utf-8"))


def blocks(recipe: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", RECIPES[recipe], re.DOTALL)


def laid_over(tmp_path: Path, files: dict[str, str]) -> Path:
    shutil.copytree(FOLDER, tmp_path / "mappings")
    for name, text in files.items():
        file = tmp_path / "mappings" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path / "mappings"


def rows_added(folder: Path, table: str, *rows: dict[str, Any]) -> None:
    """The rows in the first group of a code table."""
    file = folder / "codes" / f"{table}.json"
    held = json.loads(file.read_text(encoding="utf-8"))
    held["group"][0]["element"] += rows
    file.write_text(json.dumps(held), encoding="utf-8")


@pytest.mark.parametrize("recipe", ["Add a field", "Move or drop a field at one site", "Read a Z segment"])
def test_a_recipe_of_a_site_works(recipe: str, tmp_path: Path) -> None:
    (text,) = blocks(recipe, "yaml")
    name = yaml.safe_load(text)["mapping"]
    lines = check(laid_over(tmp_path, {f"sites/here/{name}.yaml": text}))
    assert lines[-1].endswith(" 0 with problems"), lines
    assert any(line.startswith(f"ok   {name} (here): ") for line in lines)


def test_the_recipe_of_a_line_moves_drops_and_overrides(tmp_path: Path) -> None:
    (text,) = blocks("Move or drop a field at one site", "yaml")
    maps = Mappings.load(laid_over(tmp_path, {"sites/here/service.yaml": text}))
    doc = {
        "state": "active", "intent": "order", "kind": "meals", "client": "Patient/c-1", "ordered_at": "2026-11-22",
        "coverage": ["Coverage/a"],
    }  # fmt: skip
    made, common = maps.mapping("service", "here").out(doc), maps.mapping("service").out(doc)
    assert made.resource["extension"] == [{"url": "https://county.example/fhir/ordered", "valueDateTime": "2026-11-22"}]
    assert "authoredOn" not in made.resource and "insurance" not in made.resource
    assert {(problem.path, problem.code) for problem in made.problems} == {("coverage", "structure"), ("urgency", "required")}
    assert (common.resource["authoredOn"], common.resource["insurance"]) == ("2026-11-22", [{"reference": "Coverage/a"}])
    assert not common.problems


def test_the_recipe_of_a_code_works(tmp_path: Path) -> None:
    row, means = map(json.loads, blocks("Add a code", "json"))
    folder = laid_over(tmp_path, {})
    assert "doula" not in schema.of(Mappings.load(folder).mapping("service")).schema["properties"]["kind"]["enum"]
    rows_added(folder, "service-kind", row)
    published_ = json.loads((folder / "published.json").read_text(encoding="utf-8"))
    published_["codes"]["service-kind"] |= means["codes"]["service-kind"]
    (folder / "published.json").write_text(json.dumps(published_), encoding="utf-8")
    maps = Mappings.load(folder)
    assert "doula" in schema.of(maps.mapping("service")).schema["properties"]["kind"]["enum"]
    made = maps.mapping("service").out({"state": "active", "intent": "order", "kind": "doula", "client": "Patient/c-1"})
    assert made.resource["code"]["coding"] == [{"system": "urn:fhircase:codes:service-kind", "code": "doula"}] and not made.problems
    assert maps.mapping("service").into(made.resource).doc["kind"] == "doula"
    (system,) = [one for one in published.resources(maps) if one["resourceType"] == "CodeSystem" and one["id"] == "service-kind"]
    assert {"code": "doula", "display": "Doula", "definition": "Support before, during and after a birth."} in system["concept"]


def test_the_recipe_of_a_partner_works(tmp_path: Path, make_hub: Callable[..., Any], clock: Any) -> None:
    record, classes = blocks("Add a partner", "json")
    maps = Mappings.load(laid_over(tmp_path, {f"sites/{json.loads(record)['site']}/codes/v2-class.json": classes}))
    hub = make_hub(clock=clock, maps=maps)
    app = create_app(hub, Services(random_bytes=lambda count: b"r" * count, key_cache_s=0.0))
    enrol.ensure_hub(hub)
    nobody = Api(app, "")
    town = Town(app, hub, app.extensions["fhircase.services"], clock, {}, nobody, nobody, nobody, nobody)
    admin = town.key("hub", admin=True)
    answer = admin.post("/partners", record.encode(), Content_Type="application/json")
    assert answer.status_code == 201, answer.data
    assert body(answer)["site"] == "lakeside"
    lakeside = town.key("lakeside")

    def sent(control: str, facility: str, authority: str, class_: str) -> bytes:
        lines = (
            f"MSH|^~\\&|EPIC|{facility}|F|C|20261120143005||ADT^A01|{control}|P|2.5.1", "EVN||20261120143005",
            f"PID|1||M{control}^^^{authority}^MR||Okafor^Ruth", f"PV1|1|{class_}|||||||||||||||||V{control}" + "|" * 25 + "20261120080000",
        )  # fmt: skip
        answered: bytes = lakeside.post("/intake/hl7v2", "\r".join(lines).encode(), Content_Type="application/hl7-v2").data
        return answered

    assert b"MSA|AA|1" in sent("1", "LAKE", "LAKE", "IN")
    assert b"MSA|AR|2" in sent("2", "POND", "LAKE", "IN")
    (visit,) = [entry["resource"] for entry in body(lakeside.get("/fhir/Encounter"))["entry"]]
    (client,) = [entry["resource"] for entry in body(lakeside.get("/fhir/Patient"))["entry"]]
    assert visit["class"]["code"] == "IMP"
    assert visit["period"]["start"] == "2026-11-20T08:00:00-06:00"
    assert ("urn:oid:2.16.840.1.113883.19.7", "M1") in {(one.get("system"), one["value"]) for one in client["identifier"]}
    assert len(body(lakeside.get("/fhir/Organization?identifier=http://hl7.org/fhir/sid/us-npi|1679576722"))["entry"]) == 1


def test_the_recipe_of_a_model_works(tmp_path: Path) -> None:
    (text,) = blocks("Change a model of case management", "json")
    maps = Mappings.load(laid_over(tmp_path, {"models.json": text}))
    asked, own = (effective({"kinds": ["youth", "intensive"]}, one) for one in (maps.models, None))
    assert (asked.contact_days, asked.review_days, own.contact_days, own.review_days) == (3, 14, 7, 30)
    assert set(asked.domains) - set(own.domains) == {"digital-access"}
    assert effective({}, maps.models).review_days == 60
    told = set(re.findall(r"`([a-z_]+)`", RECIPES["Change a model of case management"]))
    assert {one.name for one in (*fields(Model), *fields(Kind))} <= told


def test_what_the_recipe_of_a_model_says_of_a_kind_of_ones_own_is_so(tmp_path: Path) -> None:
    folder = laid_over(tmp_path, {"models.json": json.dumps({"kinds": {"veterans": {"domains": ["housing"], "label": "veterans"}}})})
    told = "\n".join(check(folder))
    assert "/kinds/veterans: no case can be of this word" in told and "codes/privacy-label.json" in told
    for table, code in (("episode-kind", "veterans"), ("case-kind", "veterans"), ("privacy-label", "R")):
        rows_added(folder, table, {"code": "veterans", "target": [{"code": code, "equivalence": "equivalent"}]})
    maps = Mappings.load(folder)
    assert "veterans" in maps.codes("case-kind").sources()
    assert "housing" in effective({"kinds": ["veterans"]}, maps.models).domains


def test_the_recipe_of_a_discharge_code_works(tmp_path: Path) -> None:
    (text,) = blocks("Teach a discharge code", "json")
    maps = Mappings.load(laid_over(tmp_path, {"sites/here/codes/v2-disposition.json": text}))
    assert maps.codes("v2-disposition", "here").forward("HHS") == "home"
    assert maps.codes("v2-disposition", "here").matchless("HOSP")
    assert maps.codes("v2-disposition").forward("HHS") is None
    assert maps.mapping("adt", "here") is not maps.mapping("adt")


def test_the_recipe_of_a_template_works(tmp_path: Path) -> None:
    (text,) = blocks("Propose something else after a discharge", "yaml")
    maps = Mappings.load(laid_over(tmp_path, {"templates/mental-health-home.yaml": text}))
    assert [doc["title"] for doc in maps.templates("mental-health", "home").goals] == ["Keeps the first appointment"]
    assert maps.templates("mental-health", "rehab").name == "medical/rehab"


def test_no_recipe_is_left_untested() -> None:
    assert set(RECIPES) == {
        "Add a field", "Move or drop a field at one site", "Add a code", "Teach a discharge code", "Read a Z segment", "Add a partner",
        "Propose something else after a discharge", "Change a model of case management",
    }  # fmt: skip


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_mapping_fits_the_schema(file: Path) -> None:
    def texts(node: Any) -> Any:
        """As the engine reads it: every scalar a text."""
        if isinstance(node, yaml.MappingNode):
            return {key.value: texts(value) for key, value in node.value}
        return [texts(one) for one in node.value] if isinstance(node, yaml.SequenceNode) else node.value

    jsonschema.Draft202012Validator(SCHEMA).validate(texts(yaml.compose(file.read_text(encoding="utf-8"))))
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(yaml.safe_load(file.read_text(encoding="utf-8")), default=str)))


def test_the_schema_refuses_a_misspelt_key() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate({"mapping": "x", "fhir": "Goal", "fields": {"a": {"fihr": "title"}}})


def test_schema_and_cookbook_know_every_key_of_the_engine() -> None:
    assert set(SCHEMA["properties"]) == set(FILE_KEYS)
    assert set(SCHEMA["$defs"]["line"]["properties"]) == set(LINE_KEYS)
    told = {
        key for row in re.findall(r"^\| ((?:`[a-z0-9]+`(?:, )?)+) \|", README, re.MULTILINE) for key in re.findall(r"`([a-z0-9]+)`", row)
    }
    assert told == set(LINE_KEYS)


LINE = {"fhir": "description.text"}
GOOD: dict[str, Any] = {"mapping": "x", "fhir": "Goal", "fields": {"a": LINE}}
SLIPS: dict[str, dict[str, Any]] = {
    "misspelt key of the file": {**GOOD, "feilds": {}},
    "no fields": {"mapping": "x", "fhir": "Goal"},
    "no name": {"fhir": "Goal", "fields": {"a": LINE}},
    "a line that is a text": {**GOOD, "fields": {"a": "description.text"}},
    "many that is neither yes nor no": {**GOOD, "fields": {"a": {**LINE, "many": "often"}}},
    "only another way": {**GOOD, "fields": {"a": {**LINE, "only": "both"}}},
    "a release that there is not": {**GOOD, "fields": {"a": {"fhir": {"R4": "a", "R6": "b"}}}},
    "a type of R5 alone": {**GOOD, "fhir": {"R5": "Goal"}},
    "releases of another kind": {**GOOD, "releases": "R4"},
    "a release served that there is not": {**GOOD, "releases": ["R4", "STU3"]},
    "no path in the list": {**GOOD, "fields": {"a": {"fhir": []}}},
    "a when without a place": {**GOOD, "fields": {"a": {**LINE, "when": "active"}}},
    "codes that are a list": {**GOOD, "fields": {"a": {**LINE, "codes": ["x", "y"]}}},
    "an else that is a list": {**GOOD, "fields": {"a": {**LINE, "else": ["x"]}}},
    "a group's misspelt key": {**GOOD, "fields": {"a": {"fhir": "note", "many": "yes", "fields": {"b": {"fihr": "text"}}}}},
    "an example without a case": {**GOOD, "examples": [{"name": "one"}]},
    "an example's misspelt key": {**GOOD, "examples": [{"name": "one", "case": {}, "hfir": "x"}]},
    "a fixed value that is an object": {**GOOD, "always": {"status": {"code": "x"}}},
}


@pytest.mark.parametrize("slip", SLIPS)
def test_the_schema_refuses_a_typical_slip(slip: str) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    validator.validate(GOOD)
    assert not validator.is_valid(SLIPS[slip])


@pytest.mark.parametrize(
    "line",
    [
        {"fhir": {"R4": "code", "R5": "code.concept"}, "codes": {"R4": "a", "R5": "b"}, "need": {"R5": "yes"}},
        {"fhir": ["a", "b"], "alsoread": {"R4": "c"}, "when": {"status": ["active", "draft"]}},
        {"fhir": "statusDate", "when": {"R4": {"status": "active"}, "R5": {"state": "on"}}},
        {"v2": [{"PV1-7": "attending"}, "PV1-8"], "pick": {"PID-3.5": "MR"}, "as": ["text", "date"], "unless": {"PV1-2": "P"}},
    ],
)
def test_the_schema_knows_what_a_line_may_say(line: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate({**GOOD, "fields": {"a": line}})
