"""The laws of a lens, over random documents: what is written is read (PutGet), writing what was read changes nothing (GetPut),
and what the mapping does not know survives every edit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fhircase.fhir import jsontext
from fhircase.mapping import Mappings

from .documents import documents

MAPS = Mappings.load()
NAMES = sorted(name for name in MAPS.names() if MAPS.mapping(name).fhir is not None)
FOREIGN = {"url": "https://partner.example/acuity", "valueCode": "high"}
run = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def pair(name: str) -> Any:
    return st.tuples(documents(MAPS.mapping(name)), documents(MAPS.mapping(name)))


def foreign(resource: dict[str, Any]) -> dict[str, Any]:
    """The resource as a partner might hold it: its own version, an unknown extension, codings and a primitive's extension beside ours."""
    made = copy.deepcopy(resource)
    made.setdefault("extension", []).append(dict(FOREIGN))
    made["id"], made["meta"] = "x", {"versionId": "7"}
    made["language"] = "en"

    def beside(value: Any) -> None:
        if isinstance(value, dict):
            for one in list(value.values()):
                beside(one)
            if isinstance(value.get("coding"), list) and "where" not in value:
                value["coding"].append({"system": "https://partner.example/codes", "code": "theirs"})
        elif isinstance(value, list):
            for one in value:
                beside(one)

    beside(made)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read(name: str) -> None:
    mapping = MAPS.mapping(name)

    @run
    @given(documents(mapping))
    def law(doc: dict[str, Any]) -> None:
        made = mapping.out(doc)
        assert not [one for one in made.problems if one.severity == "error"]
        assert mapping.into(made.resource).doc == doc

    law()


@pytest.mark.parametrize("name", NAMES)
def test_writing_what_was_read_changes_nothing(name: str) -> None:
    mapping = MAPS.mapping(name)

    @run
    @given(documents(mapping))
    def law(doc: dict[str, Any]) -> None:
        original = foreign(mapping.out(doc).resource)
        before = copy.deepcopy(original)
        read = mapping.into(original).doc
        written = mapping.out(read, onto=original)
        assert written.resource == before
        assert not written.problems
        assert original == before, "the original was touched"

    law()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_onto_another_is_read(name: str) -> None:
    mapping = MAPS.mapping(name)

    @run
    @given(pair(name))
    def law(docs: tuple[dict[str, Any], dict[str, Any]]) -> None:
        original = mapping.out(docs[0]).resource
        written = mapping.out(docs[1], onto=original)
        assert mapping.into(written.resource).doc == docs[1]
        jsontext.dumps(written.resource)

    law()


@pytest.mark.parametrize("name", NAMES)
def test_what_the_mapping_does_not_know_survives_an_edit(name: str) -> None:
    mapping = MAPS.mapping(name)

    @run
    @given(pair(name))
    def law(docs: tuple[dict[str, Any], dict[str, Any]]) -> None:
        original = foreign(mapping.out(docs[0]).resource)
        written = mapping.out(docs[1], onto=original).resource
        assert FOREIGN in written["extension"]
        assert (written["id"], written["meta"], written["language"]) == ("x", {"versionId": "7"}, "en")

    law()


@pytest.mark.parametrize("name", ["goal", "service", "plan", "team", "visit", "client"])
def test_a_partial_document_of_one_field_changes_that_field_alone(name: str) -> None:
    mapping = MAPS.mapping(name)

    @run
    @given(pair(name), st.data())
    def law(docs: tuple[dict[str, Any], dict[str, Any]], data: Any) -> None:
        original = mapping.out(docs[0]).resource
        plain = [line.name for line in mapping.lines if line.name in docs[1] and not line.many and ".ofType(" not in line.paths[0].text]
        if not plain:
            return
        field = data.draw(st.sampled_from(plain))
        read = mapping.into(mapping.out({field: docs[1][field]}, onto=original, partial=True).resource).doc
        assert read == {**docs[0], field: docs[1][field]}

    law()
