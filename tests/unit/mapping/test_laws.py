"""The laws of a lens, over random documents and random resources of every mapping, in every release that it serves: what is
written is read (PutGet), writing what was read changes nothing (GetPut), and what the mapping does not know survives every edit.

``FHIRCASE_SIM_LAWS`` is the number of documents a mapping, shared by its releases, for each law (CI looks at 2,500); without it
twenty in each release."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from fhircase.fhir import jsontext, models
from fhircase.fhir.definitions import Release
from fhircase.mapping import Mapping, Mappings, schema
from fhircase.mapping.definitions import choice_key
from fhircase.mapping.examples import without
from fhircase.mapping.lines import Line

from .documents import document, documents, seeds, smallest
from .resources import Hints, Partner

MAPS = Mappings.load()
SIDES = [(name, release) for name in MAPS.names() for release in MAPS.mapping(name).releases]
MANY = int(os.environ.get("FHIRCASE_SIM_LAWS", "0"))
Json = dict[str, Any]
pytestmark = pytest.mark.timeout(1800 if MANY > 200 else 120)


def run(name: str) -> settings:
    many = max(20, MANY // len(MAPS.mapping(name).releases))
    return settings(max_examples=many, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


every = pytest.mark.parametrize(("name", "release"), SIDES, ids=[f"{name}-{release}" for name, release in SIDES])


def side(name: str, release: Release) -> tuple[Mapping, Callable[[int], Partner], str]:
    """The mapping, who sends resources of its type, and the type's name in the release."""
    mapping = MAPS.mapping(name)
    hints = Hints(mapping.lines_of(release))
    return mapping, lambda seed: Partner(Random(seed), release, hints), mapping.out({}, release=release).resource["resourceType"]


def sent(mapping: Mapping, partner: Partner, type_: str, release: Release) -> Json:
    """A resource as a partner might hold it: all its own, or one of ours with more in it. As it was sent, byte for byte."""
    made = partner.resource(type_)
    if partner.rng.random() < 0.5:
        ours = mapping.out(document(mapping, partner.rng, release), release=release).resource
        made = partner.beside(ours, type_)
    return dict(jsontext.loads(jsontext.dumps(made)))


def hold(law: Callable[[Any], str], value: Any) -> None:
    """``law`` says what is wrong with a value, or nothing; told with the least part of the value that shows it."""
    wrong = law(value)
    if wrong:
        least = smallest(value, lambda one: bool(law(one)))
        pytest.fail(f"{law(least)}\n{jsontext.dumps(least)}")


@every
def test_what_is_written_is_read(name: str, release: Release) -> None:
    mapping = MAPS.mapping(name)

    def law(doc: Json) -> str:
        made = mapping.out(doc, release=release)
        bad = [one for one in made.problems if one.severity == "error" and one.code != "required"]
        if bad:
            return f"cannot be written: {bad}"
        back = mapping.into(made.resource, release=release).doc
        return "" if back == doc or any(one.code == "required" for one in made.problems) else f"came back as {back}"

    @run(name)
    @given(documents(mapping, release))
    def holds(doc: Json) -> None:
        assert not [one for one in mapping.out(doc, release=release).problems if one.severity == "error"]
        hold(law, doc)

    holds()


@every
def test_writing_what_was_read_changes_nothing(name: str, release: Release) -> None:
    mapping, partner, type_ = side(name, release)

    def law(original: Json) -> str:
        before = jsontext.dumps(original)
        read = mapping.into(original, release=release).doc
        written = mapping.out(read, onto=original, release=release)
        if jsontext.dumps(original) != before:
            return "the original was touched"
        after = jsontext.dumps(written.resource)
        return "" if after == before else f"became {after}"

    @run(name)
    @given(seeds())
    def holds(seed: int) -> None:
        hold(law, sent(mapping, partner(seed), type_, release))

    holds()


@every
def test_what_is_written_onto_anothers_resource_is_read(name: str, release: Release) -> None:
    mapping, partner, type_ = side(name, release)

    @run(name)
    @given(seeds())
    def holds(seed: int) -> None:
        here = partner(seed)
        original = sent(mapping, here, type_, release)

        def law(pair: Json) -> str:
            doc, onto = pair.get("doc", {}), pair.get("onto", {})
            written = mapping.out(doc, onto=onto, release=release)
            if jsontext.dumps(written.resource) == "":
                return "cannot be sent"
            wanted = without(doc, [one.path for one in written.problems if one.severity == "error"])
            back = mapping.into(written.resource, release=release).doc
            return differ(mapping.lines_of(release), wanted, back)

        hold(law, {"onto": original, "doc": document(mapping, here.rng, release)})

    holds()


def differ(lines: Iterable[Line], wanted: Json, back: Json, at: str = "") -> str:
    """Where what came back is not what was written. A field that was left out may show what the partner holds further down in
    the list whose first entry it is; what is only read shows what it shows."""
    for line in lines:
        here, there = wanted.get(line.name), back.get(line.name)
        path = f"{at}{line.name}"
        if line.only == "in" or here == there or (here == [] and there is None):
            continue
        if here is None and any(hop.many for one in line.paths for hop in one.hops[: -1 if line.many else None]):
            continue
        if line.fields is not None and isinstance(here, dict | None) and isinstance(there, dict | None):
            wrong = differ(line.fields, here or {}, there or {}, f"{path}.")
        elif line.fields is not None and line.many and len(here or ()) == len(there or ()):
            wrong = next(
                (one for n, (a, b) in enumerate(zip(here or (), there or ())) if (one := differ(line.fields, a, b, f"{path}[{n}]."))), ""
            )
        else:
            wrong = f"{path}: came back as {there}, not {here}"
        if wrong:
            return wrong
    return ""


def places(line: Line) -> set[str]:
    """The members of the resource that a line may touch."""
    made = set()
    for path in (*line.paths, *line.alsoread):
        made.add(path.hops[0].key)
        if path.choice and len(path.hops) == 1:
            made |= {choice_key(path.choice, one) for one in path.element.types}
        made |= {key for key in made if key.startswith(path.hops[0].key)}
    for path in line.paths:
        if ".ofType(" in path.text.split(".", 1)[0] + "." + path.text.partition(".")[2]:
            stem = path.text.split(".ofType(")[0].split(".")[0].split("[")[0]
            made |= {f"{stem}*"}
    return made | {f"_{key}" for key in made}


@every
def test_an_edit_of_one_field_changes_nothing_outside_its_element(name: str, release: Release) -> None:
    mapping, partner, type_ = side(name, release)
    lines = [line for line in mapping.lines_of(release) if line.only != "in" and not line.if_]

    @run(name)
    @given(seeds())
    def holds(seed: int) -> None:
        here = partner(seed)
        original = sent(mapping, here, type_, release)
        line = here.rng.choice(lines)
        value = document(mapping, here.rng, release).get(line.name)
        mine = places(line)
        stems = tuple(key[:-1].lstrip("_") for key in mine if key.endswith("*"))

        def law(pair: Json) -> str:
            before = pair.get("onto", {})
            doc = {**mapping.into(before, release=release).doc, line.name: pair.get("value")}
            after = mapping.out(doc, onto=before, release=release).resource
            for key in {**before, **after}:
                if key in mine or (stems and key.lstrip("_").startswith(stems)):
                    continue
                if jsontext.dumps(before.get(key)) != jsontext.dumps(after.get(key)):
                    return f"{line.name} changed {key} to {jsontext.dumps(after.get(key))}"
            return ""

        hold(law, {"onto": original, "value": value})

    holds()


@pytest.mark.parametrize("name", ["goal", "service", "plan", "team", "visit", "client"])
def test_a_partial_document_of_one_field_changes_that_field_alone(name: str) -> None:
    mapping = MAPS.mapping(name)

    @run(name)
    @given(seeds())
    def law(seed: int) -> None:
        rng = Random(seed)
        one, other = document(mapping, rng), document(mapping, rng)
        plain = [line.name for line in mapping.lines if line.name in other and not line.many and ".ofType(" not in line.paths[0].text]
        if plain:
            original, field = mapping.out(one).resource, rng.choice(plain)
            read = mapping.into(mapping.out({field: other[field]}, onto=original, partial=True).resource).doc
            assert read == {**one, field: other[field]}

    law()


#: FHIR wants a second value beside the first, which a document may leave out; the checks of a write tell it.
HALVES = {
    "Task.input", "Task.output", "Location.position.latitude", "Location.position.longitude", "Encounter.location.location",
    "FamilyMemberHistory.condition.code", "MedicationStatement", "MedicationStatement.medication", "MedicationRequest",
    "MedicationRequest.medication", "Coverage.costToBeneficiary",
}  # fmt: skip


@every
def test_what_is_written_has_the_structure_of_its_release(name: str, release: Release) -> None:
    """By the models of fhir.resources, which are slow: a few documents each."""
    mapping = MAPS.mapping(name)

    def law(doc: Json) -> str:
        made = mapping.out(doc, release=release)
        if made.problems:
            return ""
        found = [one for one in models.second_opinion(made.resource, release) if re.sub(r"\[\d+\]", "", one.path) not in HALVES]
        return str(found) if found else ""

    for seed in range(max(2, MANY // 50)):
        hold(law, document(mapping, Random(seed), release))


@pytest.mark.parametrize("name", dict.fromkeys(name for name, _ in SIDES))
def test_every_document_fits_the_schema_that_is_published(name: str) -> None:
    shape = schema.of(MAPS.mapping(name))
    for seed in range(MANY // 2):
        doc = document(MAPS.mapping(name), Random(seed), known=True)
        hold(lambda one: "; ".join(f"{p.path}: {p.what}" for p in shape.problems(one) if p.code != "required"), doc)


def test_the_laws_look_at_resources_that_say_something() -> None:
    """A generator that made nothing a mapping reads would keep every law."""
    for name, release in SIDES:
        mapping, partner, type_ = side(name, release)
        fields, extensions = set(), 0
        for seed in range(12):
            resource = sent(mapping, partner(seed), type_, release)
            fields |= set(mapping.into(resource, release=release).doc)
            extensions += jsontext.dumps(resource).count('"extension"')
        assert len(fields) >= len(mapping.lines_of(release)) // 2 and extensions, (name, release, fields)


def test_a_law_that_breaks_is_told_with_the_least_that_breaks_it() -> None:
    value = {"resourceType": "Goal", "a": [{"b": 1, "c": 2}, {"d": 3}], "e": 4}
    assert smallest(value, lambda one: "b" in jsontext.dumps(one)) == {"resourceType": "Goal", "a": [{"b": 1}]}
    assert copy.deepcopy(value) == value
