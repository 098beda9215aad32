"""Resources that others wrote, through every mapping of their type: what was read, written back, changes no token; one case field
changed changes its own FHIR elements and nothing else.

``FHIRCASE_SAMPLES_SHAPES`` is how many distinct shapes of each mapping have their fields changed (``all``: every resource). Run with
``-s`` to see how many elements of each file have a case field."""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fhircase.fhir import definitions, jsontext
from fhircase.mapping import Mapping, Mappings, schema
from fhircase.mapping.lines import Line
from fhircase.mapping.paths import resolve

Resource = dict[str, Any]
Trail = tuple[str | int, ...]
FOLDERS = ("pacio-sample-data", "inferno-synthea", "us-core", "gravity-sdoh", "cow", "bser")
PACKAGES = ("us_core_610.tgz", "us_core_700.tgz", "us_core_800.tgz")
_ASIDE = ("resourceType", "id", "meta", "implicitRules")
_KNOB = os.environ.get("FHIRCASE_SAMPLES_SHAPES", "6")
SHAPES = 10**9 if _KNOB == "all" else int(_KNOB)


# ------------------------------------------------------------------------------------------------ what others wrote


def resources(value: Any, path: str = "") -> Iterator[tuple[str, Resource]]:
    """Every resource in a JSON value: itself, entries of Bundles, contained ones."""
    if isinstance(value, dict):
        if definitions.is_resource(str(value.get("resourceType", ""))):
            yield path or value["resourceType"], value
        for name, one in value.items():
            yield from resources(one, f"{path}.{name}")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from resources(one, f"{path}[{index}]")


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for name in FOLDERS:
        for file in sorted((folder / "samples" / name).glob("*.json")):
            if name != "pacio-sample-data" or file.name.startswith("0_Prior"):
                yield f"{name}/{file.name}", file.read_bytes()
    for name in PACKAGES:
        with tarfile.open(folder / "packages" / name) as archive:
            for member in archive:
                stream = archive.extractfile(member) if "/example/" in member.name and member.name.endswith(".json") else None
                if stream is not None:
                    yield f"{name}/{member.name}", stream.read()


def exact(value: Any) -> Any:
    """With one zero more behind each decimal fraction: a number that went through a float on its way comes back without it."""
    if isinstance(value, dict):
        return {name: exact(one) for name, one in value.items()}
    if isinstance(value, list):
        return [exact(one) for one in value]
    return jsontext.Number(f"{value}0") if isinstance(value, jsontext.Number) and re.fullmatch(r"-?\d+\.\d+", str(value)) else value


@lru_cache(maxsize=1)
def read(folder: Path) -> tuple[tuple[str, tuple[tuple[str, Resource], ...]], ...]:
    """File (a package counts as one) → its resources."""
    made: dict[str, list[tuple[str, Resource]]] = {}
    for name, data in files(folder):
        package, mark, member = name.partition(".tgz/")
        value = exact(jsontext.loads(data))
        if not isinstance(value, dict) or "resourceType" not in value:
            continue
        found = resources(value)
        made.setdefault(package + ".tgz" if mark else name, []).extend((f"{member}: {path}" if mark else path, one) for path, one in found)
    return tuple((name, tuple(one)) for name, one in made.items())


@lru_cache(maxsize=1)
def by_type() -> dict[str, tuple[Mapping, ...]]:
    maps = Mappings.load()
    made: dict[str, list[Mapping]] = {}
    for name in maps.names():
        mapping = maps.mapping(name)
        if mapping.fhir is not None:
            made.setdefault(mapping.fhir, []).append(mapping)
    return {type_: tuple(found) for type_, found in made.items()}


def leaves(value: Any, trail: Trail = ()) -> Iterator[tuple[Trail, Any]]:
    """Without those of resources inside, which count for themselves."""
    if isinstance(value, dict):
        if trail and "resourceType" in value:
            return
        for name, one in value.items():
            yield from leaves(one, (*trail, name))
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from leaves(one, (*trail, index))
    else:
        yield trail, value


def shape(resource: Resource) -> str:
    """What a resource has, whatever the values are: two of one shape take the same ways through the engine. Coding systems
    and extension urls decide which line an entry belongs to, so they count."""
    return "|".join(
        sorted(
            {
                ".".join(str(step) for step in trail if isinstance(step, str)) + (f"={value}" if trail[-1] in ("system", "url") else "")
                for trail, value in leaves(resource)
            }
        )
    )


# ------------------------------------------------------------------------------------------------ nothing is lost


def test_every_real_resource_is_written_back_token_by_token(samples: Path) -> None:
    differ: list[str] = []
    seen = written = 0
    for file, found in read(samples):
        elements = mapped = 0
        for place, resource in found:
            before = jsontext.dumps(resource)
            own = {_shown(trail) for trail, _ in leaves(resource) if trail[0] not in _ASIDE}
            lost = set(own)
            for mapping in by_type().get(resource["resourceType"], ()):
                seen_ = mapping.into(resource)
                after = jsontext.dumps(mapping.out(seen_.doc, onto=resource).resource)
                written += 1
                lost &= set(seen_.loss)
                if after != before:
                    differ.append(f"{file} {place} through {mapping.name}: {_first_difference(before, after)}")
            assert jsontext.dumps(resource) == before, f"{file} {place}: the original was touched"
            elements += len(own)
            mapped += len(own) - len(lost)
            seen += 1
        print(f"{file}: {len(found)} resources, {elements} elements, {mapped} with a case field")
    assert not differ, f"{len(differ)} of {written}:\n" + "\n".join(differ[:20])
    assert seen > 1500 and written > 1500


def _shown(trail: Trail) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in trail).lstrip(".")


def _first_difference(before: str, after: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(before, after)) if a != b), min(len(before), len(after)))
    return f"…{before[max(0, at - 60) : at + 60]}… became …{after[max(0, at - 60) : at + 60]}…"


# ------------------------------------------------------------------------------------------------ one field changes its own elements


def picked(samples: Path, mapping: Mapping) -> list[tuple[str, Resource]]:
    """Resources of the mapping's type that it reads something of, distinct shapes first, those with most in them foremost."""
    kinds: dict[str, tuple[str, Resource]] = {}
    every = []
    for file, found in read(samples):
        for place, resource in found:
            if resource["resourceType"] == mapping.fhir and mapping.into(resource).doc:
                every.append((f"{file} {place}", resource))
                kinds.setdefault(shape(resource), every[-1])
    if SHAPES >= len(every):
        return every
    return covering(sorted(kinds.values(), key=lambda one: -sum(1 for _ in leaves(one[1]))), mapping)


def covering(found: list[tuple[str, Resource]], mapping: Mapping) -> list[tuple[str, Resource]]:
    """The richest ones, and each that alone brings a field."""
    made, fields = found[:SHAPES], set()
    for _, resource in made:
        fields |= {plain(case) for case, _, _ in places(mapping.lines, mapping.into(resource).doc)}
    for place, resource in found[SHAPES:]:
        more = {plain(case) for case, _, _ in places(mapping.lines, mapping.into(resource).doc)}
        if not more <= fields:
            made.append((place, resource))
            fields |= more
    return made


def places(lines: tuple[Line, ...], doc: Any, case: str = "", at: Trail = ()) -> Iterator[tuple[str, Trail, list[Line]]]:
    """(case field as the mapping names it, where it is in the document, the lines down to it) of every value."""
    for line in lines:
        value = doc.get(line.name)
        if value is None or line.only is not None:
            continue
        for index, one in enumerate(value) if line.many else ((-1, value),):
            name = f"{case}{line.name}" + (f"[{index}]" if line.many else "")
            here: Trail = (*at, line.name, index) if line.many else (*at, line.name)
            if line.fields is None:
                yield name, here, [line]
            else:
                for field, below, down in places(line.fields, one, f"{name}.", here):
                    yield field, below, [line, *down]


def plain(case: str) -> str:
    return re.sub(r"\[\d+\]", "[]", case)


def changed(doc: Any, trail: Trail, value: Any) -> Any:
    if not trail:
        return value
    head, *rest = trail
    if isinstance(doc, list):
        return [changed(one, tuple(rest), value) if index == head else one for index, one in enumerate(doc)]
    return {name: changed(one, tuple(rest), value) if name == head else one for name, one in doc.items()}


def at(value: Any, trail: Trail) -> Any:
    for step in trail:
        value = value[step]
    return value


def others(leaf: dict[str, Any], value: Any, siblings: Any) -> Iterator[Any]:
    """Values that the field's schema allows and that differ."""
    taken = siblings if isinstance(siblings, list) else [value]
    if "anyOf" in leaf:
        for one in leaf["anyOf"]:
            yield from others(one, value, siblings)
        return
    if "enum" in leaf:
        yield from (word for word in leaf["enum"] if word not in taken)
        return
    if leaf.get("type") == "boolean" and isinstance(value, bool):
        yield not value
    elif leaf.get("type") in ("integer", "number") and not isinstance(value, (str, bool)):
        yield value + 1
    elif leaf.get("type") == "string" and isinstance(value, str):
        if str(leaf.get("description", "")).startswith("reference to "):
            kind = leaf["description"].removeprefix("reference to ").split(", ")[0]
            kept = value.partition("/")[0]
            yield f"{kept if kept in leaf['description'] and value.count('/') == 1 else kind}/another-1"
        elif leaf.get("format") == "fhir-date":
            yield next(text for text in (re.sub(r"^\d{4}", year, value) for year in ("2024", "2028")) if text != value)
        else:
            yield from (word for word in leaf.get("examples", ()) if word not in taken)
            yield from (f"another-{n}" for n in count(1))


def leaf_of(mapping: Mapping, trail: Trail) -> dict[str, Any]:
    found: Any = schema.of(mapping).schema
    for step in trail:
        found = found["items"] if isinstance(step, int) else found["properties"][step]
    return dict(found)


def elements(mapping: Mapping, texts: list[str], resource: Resource) -> list[Trail]:
    """FHIR paths as trails in the JSON; where() is looked up in the resource."""
    made = []
    for text in texts:
        trail: list[str | int] = []
        node: Any = resource
        path = resolve(text, str(mapping.fhir))
        for hop in path.hops:
            trail.append(hop.key)
            node = node.get(hop.key) if isinstance(node, dict) else None
            if hop.many and not (path.whole and hop is path.hops[-1]):
                index = hop.index
                if hop.fixed:
                    entries = node if isinstance(node, list) else []
                    index = next((i for i, one in enumerate(entries) if all(one.get(n) == v for n, v in hop.fixed)), len(entries))
                trail.append(index)
                node = node[index] if isinstance(node, list) and index < len(node) else None
        made.append(tuple(trail))
    return list(dict.fromkeys(made))


def alternatives(text: str, line: Line) -> list[str]:
    """All paths that a line writes, below the same entry."""
    for path in (*line.paths, *line.alsoread):
        found = re.fullmatch(rf"(.*?){re.escape(path.text)}(\[\d+\])?", text)
        if found is not None:
            return [found[1] + one.text + (found[2] or "") for one in line.paths] + [text]
    return [text]


def rewritten(lines: list[Line]) -> list[Line]:
    """The lines down to the entry that a change writes afresh: one of a list without key is told by all that it says, and
    another key is another entry. Empty when entries stay."""
    for depth, line in enumerate(lines[:-1]):
        if line.many and (not line.key or (depth == len(lines) - 2 and lines[-1].name in line.key)):
            return lines[: depth + 1]
    return []


def entry_of(text: str, lines: list[Line]) -> str:
    """The part of an element's path that leads to the entry of the last of these lines."""
    made = ""
    for line in lines:
        ways = "|".join(re.escape(path.text) for path in line.paths)
        found = re.match(rf"{re.escape(made)}(?:{ways})(\[\d+\])?", text)
        assert found is not None, (text, line.name)
        made = found[0] + "."
    return made[:-1]


def differing(before: Any, after: Any, trail: Trail = ()) -> Iterator[Trail]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in (*before, *(name for name in after if name not in before)):
            yield from differing(before.get(name), after.get(name), (*trail, name))
    elif isinstance(before, list) and isinstance(after, list):
        for index in range(max(len(before), len(after))):
            pair = [one[index] if index < len(one) else None for one in (before, after)]
            yield from differing(*pair, (*trail, index))
    elif type(before) is not type(after) or str(before) != str(after):
        yield trail


def within(trail: Trail, allowed: Trail) -> bool:
    """Below an element, or in the ``_`` member beside it that says why it had no value."""
    if trail[: len(allowed)] == allowed:
        return True
    at_, last = len(allowed) - 1, allowed[-1]
    return len(trail) > at_ and isinstance(last, str) and trail[:at_] == allowed[:at_] and trail[at_] == f"_{last}"


def faults(mapping: Mapping, place: str, resource: Resource, told: dict[str, str]) -> int:
    """Changes every field in turn; ``told`` gets what is wrong, by field. Returns how many were changed."""
    doc = mapping.into(resource).doc
    known = mapping.out(doc, onto=resource).elements
    problems = schema.of(mapping)
    wrong = problems.problems(doc)
    done = 0
    for case, trail, lines in places(mapping.lines, doc):
        line = lines[-1]
        siblings = at(doc, trail[:-1]) if line.many else None
        for value in others(leaf_of(mapping, trail), at(doc, trail), siblings):
            wanted = changed(doc, trail, value)
            if not problems.problems(wanted, before=doc):
                break
        else:
            continue
        made = mapping.out(wanted, onto=resource)
        key = f"{mapping.name}.{plain(case)}"
        done += 1
        texts = [text for one in (known, made.elements) if case in one for text in alternatives(one[case], line)]
        if not texts:
            told.setdefault(key, f"{place}: no element is named for it")
            continue
        entry = rewritten(lines)
        if entry:
            texts = [entry_of(text, entry) for text in texts]
            steps = sum(2 if one.many else 1 for one in entry)
            if any(one.path.startswith("".join(f"/{step}" for step in trail[:steps]) + "/") for one in wrong):
                continue  # it holds what no case may say (a target that FHIR does not allow): an edit is refused, not half done
        allowed = elements(mapping, texts, resource) + elements(mapping, texts, made.resource)
        moved = list(differing(resource, made.resource))
        strange = [_shown(one) for one in moved if not any(within(one, ours) for ours in allowed)]
        again = mapping.into(made.resource).doc
        if any(one.severity == "error" for one in made.problems):
            told.setdefault(key, f"{place}: {value!r} is refused: {made.problems[0]}")
        elif not moved:
            told.setdefault(key, f"{place}: {value!r} changed nothing")
        elif strange:
            told.setdefault(key, f"{place}: {value!r} changed {strange[:4]} too, beyond {[_shown(one) for one in allowed]}")
        elif again != wanted:
            at_ = [_shown(one) for one in differing(wanted, again)]
            told.setdefault(key, f"{place}: {value!r} reads back otherwise at {at_[:4]}")
    return done


@pytest.mark.parametrize("name", [mapping.name for found in by_type().values() for mapping in found])
def test_a_field_of_a_real_case_changes_its_own_elements_and_nothing_else(name: str, samples: Path) -> None:
    mapping = next(one for found in by_type().values() for one in found if one.name == name)
    told: dict[str, str] = {}
    found = picked(samples, mapping)
    done = sum(faults(mapping, place, resource, told) for place, resource in found)
    print(f"{name}: {done} changes of {len(found)} resources")
    assert not told, "\n".join(f"{field}: {fault}" for field, fault in told.items())
    assert done or not found
