"""``mappings/models.json``: where models and kinds of case management differ from our own, checked at load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from fhircase.case.models import MODELS, effective
from fhircase.mapping import MappingErrors, Mappings, check

from .conftest import ROOT, concept_map


@pytest.fixture
def laid(tmp_path: Path) -> Path:
    """The product's mappings, to lay a models.json over."""
    return Path(shutil.copytree(ROOT / "mappings", tmp_path / "mappings"))


def put(folder: Path, content: Any) -> Path:
    text = content if isinstance(content, str) else json.dumps(content, indent=2)
    (folder / "models.json").write_text(text, encoding="utf-8")
    return folder


def told(folder: Path) -> list[str]:
    with pytest.raises(MappingErrors) as caught:
        Mappings.load(folder)
    return [str(one) for one in caught.value.mistakes]


def test_without_the_file_models_and_kinds_are_our_own() -> None:
    maps = Mappings.load()
    assert not (ROOT / "mappings" / "models.json").exists(), "what it would state stands in case.models"
    assert maps.models == {}
    assert effective({"kinds": ["intensive"]}, maps.models).contact_days == MODELS["intensive"].contact_days


def test_what_the_file_says_is_in_force_and_the_rest_stays(laid: Path) -> None:
    maps = Mappings.load(put(laid, {"models": {"intensive": {"contact_days": 2}}, "kinds": {"youth": {"domains": ["education"]}}}))
    asked = effective({"kinds": ["youth", "intensive"]}, maps.models)
    assert (asked.contact_days, asked.review_days) == (2, MODELS["intensive"].review_days)
    assert "education" in asked.domains and "safety" not in asked.domains


MISTAKES: list[tuple[str, Any, list[str]]] = [
    ("table", {"model": {}}, ["mappings/models.json:2:3: /model: no such table (did you mean 'models'?)"]),
    (
        "value",
        {"models": {"intensive": {"contact_day": 3}}},
        ["mappings/models.json:4:7: /models/intensive/contact_day: no such value (did you mean 'contact_days'?)"],
    ),
    (
        "figure",
        {"usual": {"review_days": 2.5}},
        ["mappings/models.json:3:5: /usual/review_days: cannot have this value (whole days, at least 1)"],
    ),
    (
        "performer",
        {"models": {"brokerage": {"performed_by": "other"}}},
        ["mappings/models.json:4:7: /models/brokerage/performed_by: cannot have this value (did you mean 'others'?)"],
    ),
    ("kind", {"kinds": {"yuoth": {}}}, ["mappings/models.json:3:5: /kinds/yuoth: no case can be of this word (did you mean 'youth'?)"]),
    (
        "domain",
        {"every": {"domains": ["social", "socail"]}},
        ["mappings/models.json:5:7: /every/domains/1: no such domain (did you mean 'social'?)"],
    ),
    (
        "label",
        {"kinds": {"legal": {"label": "justice"}}},
        [
            (
                "mappings/models.json:4:7: /kinds/legal/label: has a label, and no case of this kind would get one "
                "(give the kind its rows in codes/privacy-label.json)"
            )
        ],
    ),
    ("list", [], ["mappings/models.json:1:1: must be a table (models, kinds, usual and every, each with what differs)"]),
    ("no JSON", '{\n  "models": {,}\n}', ["mappings/models.json:2:14: not JSON: Expecting property name enclosed in double quotes"]),
    ("twice", '{"usual": {}, "usual": {}}', ["mappings/models.json:1:1: the member 'usual' is written twice (keep one of them)"]),
    (
        "odd name",
        {"models": {"a/b": 3}},
        [
            "mappings/models.json:3:5: /models/a~1b: must be a table (the values that differ)",
            "mappings/models.json:3:5: /models/a~1b: no case can be of this word (one of ",
        ],
    ),
]


@pytest.mark.parametrize(("content", "wanted"), [(c, w) for _, c, w in MISTAKES], ids=[name for name, _, _ in MISTAKES])
def test_a_mistake_is_told_with_file_place_pointer_and_the_likely_cure(laid: Path, content: Any, wanted: list[str]) -> None:
    found = told(put(laid, content))
    assert len(found) == len(wanted)
    assert all(one.startswith(start) for one, start in zip(found, wanted)), found


def test_mistakes_are_told_all_at_once_with_those_of_other_files_and_by_the_check(laid: Path) -> None:
    put(laid, {"x": {}, "usual": {"review_days": -1}, "kinds": {"yuoth": {}}})
    goal = laid / "goal.yaml"
    goal.write_text(goal.read_text(encoding="utf-8").replace("description.text", "descriptoin.text"), encoding="utf-8")
    found = told(laid)
    assert [one.split(": ")[1] for one in found if "models.json" in one] == ["/x", "/usual/review_days", "/kinds/yuoth"]
    assert any(one.startswith("mappings/goal.yaml:") for one in found)
    assert check(laid) == [*found, f"{len(found)} mistakes"]


def test_a_kind_of_ones_own_needs_its_word_in_the_table_of_kinds(laid: Path) -> None:
    put(laid, {"kinds": {"veterans": {"domains": ["housing"], "label": "veterans"}}})
    assert len(told(laid)) == 2
    for name in ("episode-kind", "privacy-label"):
        table = json.loads((laid / "codes" / f"{name}.json").read_text(encoding="utf-8"))
        added = json.loads(concept_map({"veterans": "veterans"}, "urn:county:kinds"))["group"][0]
        table["group"].append({**added, "source": table["group"][0]["source"]})
        (laid / "codes" / f"{name}.json").write_text(json.dumps(table), encoding="utf-8")
    assert "housing" in effective({"kinds": ["veterans"]}, Mappings.load(laid).models).domains
