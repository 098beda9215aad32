"""The JSON Schema of case documents: what the mappings' own examples pass, and what it tells of everything else."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from fhircase.fhir import jsontext
from fhircase.mapping import Mappings, schema

TWO_WAY = (
    "client", "visit", "episode", "plan", "team", "goal", "service", "equipment", "handover", "need", "contact", "assessment", "person",
    "organization",
)  # fmt: skip


@pytest.fixture(scope="module")
def maps() -> Mappings:
    return Mappings.load()


def told(shape: schema.Shape, doc: Any, **more: Any) -> dict[str, str]:
    return {p.path: p.hint for p in shape.problems(doc, **more)}


@pytest.mark.parametrize("name", TWO_WAY)
def test_every_example_of_a_mapping_fits_its_schema(maps: Mappings, name: str) -> None:
    mapping = maps.mapping(name)
    shape = schema.of(mapping)
    jsonschema.Draft202012Validator.check_schema(shape.schema)
    assert mapping.examples
    for example in mapping.examples:
        assert shape.problems(example.case) == ()


@pytest.mark.parametrize("name", TWO_WAY)
def test_an_unknown_field_is_refused_at_every_level(maps: Mappings, name: str) -> None:
    def every(part: Any, at: str) -> None:
        if part.get("type") == "object":
            assert part["additionalProperties"] is False, at
            for field, inner in part["properties"].items():
                every(inner, f"{at}/{field}")
        elif part.get("type") == "array":
            every(part["items"], at)

    every(schema.of(maps.mapping(name)).schema, name)


def test_a_validator_is_made_once(maps: Mappings) -> None:
    assert schema.of(maps.mapping("goal"), ("id",)) is schema.of(maps.mapping("goal"), ("id",))


def test_a_mapping_of_messages_has_no_document(maps: Mappings) -> None:
    with pytest.raises(ValueError, match="not FHIR's"):
        schema.of(maps.mapping("adt"))


def test_all_mistakes_are_told_at_once_with_what_was_meant(maps: Mappings) -> None:
    doc = {"titel": "x", "lifecycle": "activ", "due": "tomorrow", "notes": [{"text": "a"}, {"txt": "b"}], "client": "Goal/x"}
    assert told(schema.of(maps.mapping("goal")), doc) == {
        "/titel": "did you mean 'title'?",
        "/title": "a text",
        "/lifecycle": "did you mean 'active'?",
        "/due": "a date (2026-11-22)",
        "/notes/1/text": "a text",
        "/notes/1/txt": "did you mean 'text'?",
        "/client": "a reference to Patient, Group",
    }


@pytest.mark.parametrize(
    ("field", "value", "good"),
    [
        ("due", "2026-11-22", True), ("due", "2026", True), ("due", "2028-02-29", True), ("due", "2026-02-29", False),
        ("due", "0000-01-01", False), ("due", "2026-11-22T10:00:00Z", False), ("due", 20261122, False),
        ("target_value", 50, True), ("target_value", True, False), ("target_value", "50", False), ("target_value", None, False),
        ("target_met", False, True), ("target_met", 0, False), ("title", "\t ", False),
        ("needs", [], True), ("needs", ["Condition/a", "urn:uuid:0"], True), ("needs", ["Condition/a b"], False),
        ("client", "Patient/a/_history/2", True), ("client", "Patient", False),
        ("notes", [{"text": "a", "at": "2026-11-22T10:00:00+05:30"}], True), ("notes", [{"text": "a", "at": "2026-11-22T10:00:00"}], False),
    ],
)  # fmt: skip
def test_values_are_held_to_their_fhir_types(maps: Mappings, field: str, value: Any, good: bool) -> None:
    doc = {"title": "Walk", "lifecycle": "active", "client": "Patient/a", field: value}
    assert (schema.of(maps.mapping("goal")).problems(doc) == ()) is good


def test_decimals_as_they_were_written_are_numbers(maps: Mappings) -> None:
    doc = jsontext.loads('{"title": "Walk", "lifecycle": "active", "client": "Patient/a", "target_value": 72.50}')
    assert schema.of(maps.mapping("goal")).problems(doc) == ()


def test_a_place_of_whole_numbers_takes_no_fraction(maps: Mappings) -> None:
    shape = schema.of(maps.mapping("client"))
    contact = {"kind": "phone", "value": "1", "rank": 1}
    assert shape.problems({"contact_points": [contact]}) == ()
    for rank in (0, 1.5, "1"):
        assert list(told(shape, {"contact_points": [{**contact, "rank": rank}]})) == ["/contact_points/0/rank"]


def test_a_choice_of_types_takes_each_and_names_both(maps: Mappings) -> None:
    shape = schema.of(maps.mapping("client"))
    assert shape.problems({"died": True}) == shape.problems({"died": "2026-11-20T08:00:00Z"}) == ()
    assert "true or false" in told(shape, {"died": 5})["/died"]


def test_a_table_that_lets_codes_pass_takes_any_word(maps: Mappings) -> None:
    assert schema.of(maps.mapping("client")).problems({"languages": [{"language": "nds"}]}) == ()


def test_what_stood_there_already_is_not_held_against_the_caller(maps: Mappings) -> None:
    shape = schema.of(maps.mapping("client"))
    before = {"marital": "it is complicated", "names": [{"family": "A", "use": "stage"}, {"family": "B"}]}
    assert told(shape, {**before, "born": "1980"}, before=before) == {}
    assert told(shape, {**before, "names": [{"family": "B"}, {"family": "A", "use": "stage"}]}, before=before) == {}
    assert list(told(shape, {**before, "marital": "unsaid"}, before=before)) == ["/marital"]


def test_pointers_are_escaped(maps: Mappings) -> None:
    assert list(told(schema.of(maps.mapping("client")), {"a/b~c": 1})) == ["/a~1b~0c"]
    assert schema.pointer("members[0].role") == "/members/0/role"


def test_no_problem_repeats_a_value(maps: Mappings) -> None:
    secret = "Okafor 1948"
    doc = {"title": [secret], "lifecycle": secret, "client": secret, "due": secret, "target_value": secret}
    assert secret not in repr(schema.of(maps.mapping("goal")).problems(doc))
