"""A site changes two lines and a code table without copying a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fhircase.mapping import MappingErrors, Mappings, check, show

from .conftest import concept_map

SITE = """\
mapping: goal
extends: goal
fields:
  started:    drop
  title:      {fhir: description.text, need: yes, why: same place}
  partner_id: {fhir: "identifier.where(system='https://mercy.example/goal').value"}
examples:
  - name: mercy goal
    case: {partner_id: M-5, title: Housing, lifecycle: new, client: Patient/p}
"""


def test_a_site_drops_adds_and_changes_lines(folder: Callable[..., Path]) -> None:
    path = folder(files={"sites/mercy/goal.yaml": SITE})
    maps = Mappings.load(path)
    assert [line.name for line in maps.mapping("goal", "mercy").lines] == ["title", "lifecycle", "domain", "client", "partner_id"]
    assert [line.name for line in maps.mapping("goal").lines] == ["title", "lifecycle", "domain", "started", "client"]
    assert maps.mapping("goal", "elsewhere") is maps.mapping("goal")
    assert maps.mapping("goal", "mercy").site == "mercy" and maps.sites() == ["mercy"]
    assert check(path) == ["ok   goal (mercy): mercy goal [R4, R5]", "1 examples, 0 with problems"]


def test_show_tells_which_line_comes_from_the_site(folder: Callable[..., Path]) -> None:
    lines = show("goal", "mercy", folder(files={"sites/mercy/goal.yaml": SITE}))
    title = next(line for line in lines if line.strip().startswith("title"))
    domain = next(line for line in lines if line.strip().startswith("domain"))
    assert title.endswith("mappings/sites/mercy/goal.yaml:5") and domain.endswith("mappings/goal.yaml:6")


def test_a_site_has_its_own_codes_for_every_mapping_that_it_lays_over(folder: Callable[..., Path]) -> None:
    own = concept_map({"meals": "dietary", "safety": "safety"}, "http://terminology.hl7.org/CodeSystem/goal-category")
    maps = Mappings.load(folder(files={"sites/mercy/goal.yaml": SITE.split("examples")[0], "sites/mercy/codes/area.json": own}))
    assert maps.codes("area", "mercy").forward("meals") == "dietary" and maps.codes("area").forward("meals") is None
    made = maps.mapping("goal", "mercy").out({"title": "x", "lifecycle": "new", "client": "Patient/p", "domain": "meals"})
    assert not made.problems and made.resource["category"][0]["coding"][0]["code"] == "dietary"


def test_a_site_with_codes_alone_has_them_in_every_mapping(folder: Callable[..., Path]) -> None:
    own = concept_map({"meals": "dietary", "safety": "safety"}, "http://terminology.hl7.org/CodeSystem/goal-category")
    maps = Mappings.load(folder(files={"sites/mercy/codes/area.json": own}))
    made = maps.mapping("goal", "mercy").out({"title": "x", "lifecycle": "new", "client": "Patient/p", "domain": "meals"})
    assert not made.problems


def test_mistakes_of_a_site_are_told_with_its_file(folder: Callable[..., Path]) -> None:
    spoilt = SITE.replace("started:    drop", "startd:    drop").replace("extends: goal", "extends: goal\nfihr: Goal")
    with pytest.raises(MappingErrors) as caught:
        Mappings.load(folder(files={"sites/mercy/goal.yaml": spoilt}))
    assert [str(one) for one in caught.value.mistakes] == [
        "mappings/sites/mercy/goal.yaml:3:1: fihr: 'fihr' is not known here (did you mean 'fhir'?)",
        "mappings/sites/mercy/goal.yaml:5:3: fields.startd: there is no 'startd' to drop (did you mean 'started'?)",
    ]


def test_a_folder_is_read_again_when_any_file_of_it_has_changed(folder: Callable[..., Path]) -> None:
    path = folder(files={"sites/mercy/goal.yaml": SITE})
    first = Mappings.load(path)
    assert Mappings.load(path) is first
    for name in ("goal.yaml", "codes/life.json", "sites/mercy/goal.yaml"):
        before = Mappings.load(path)
        text = (path / name).read_text("utf-8")
        (path / name).write_text(text + "\n", "utf-8")
        assert Mappings.load(path) is not before, name
        (path / name).write_text(text, "utf-8")
    (path / "sites/mercy/goal.yaml").unlink()
    assert Mappings.load(path).mapping("goal", "mercy").site is None


def test_a_folder_with_mistakes_tells_them_each_time(folder: Callable[..., Path]) -> None:
    path = folder(files={"sites/mercy/goal.yaml": SITE.replace("fields:", "feilds:")})
    for _ in range(2):
        with pytest.raises(MappingErrors, match="feilds"):
            Mappings.load(path)


def test_show_names_a_code_table_of_the_site(folder: Callable[..., Path]) -> None:
    own = concept_map({"meals": "dietary", "safety": "safety"}, "http://terminology.hl7.org/CodeSystem/goal-category")
    lines = show("goal", "mercy", folder(files={"sites/mercy/codes/area.json": own}))
    assert any(line.strip().startswith("domain") and "codes area (mappings/sites/mercy/codes/area.json)" in line for line in lines)
    assert any(line.strip().startswith("lifecycle") and "codes life;" in line for line in lines)
