"""The cookbook's recipes are run, the schema fits every file, and the table of keys is the engine's."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from fhircase.mapping import Mappings, check
from fhircase.mapping.lines import FILE_KEYS, LINE_KEYS

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


@pytest.mark.parametrize("recipe", ["Add a field", "Move or drop a field at one site", "Read a Z segment"])
def test_a_recipe_of_a_site_works(recipe: str, tmp_path: Path) -> None:
    (text,) = blocks(recipe, "yaml")
    name = yaml.safe_load(text)["mapping"]
    lines = check(laid_over(tmp_path, {f"sites/here/{name}.yaml": text}))
    assert lines[-1].endswith(" 0 with problems"), lines
    assert any(line.startswith(f"ok   {name} (here): ") for line in lines)


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
        "Add a field", "Move or drop a field at one site", "Teach a discharge code", "Read a Z segment",
        "Propose something else after a discharge",
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
