"""Our own codes, extensions and identifier systems as FHIR conformance resources, made from the files of ``mappings/``: a partner
reads at ``/fhir`` what a code, an extension or a system of ours means.

- each ``codes/*.json``: a ConceptMap, and a ValueSet of what it may write
- each system ``urn:fhircase:codes:…`` that a table names: a CodeSystem, complete
- each extension ``urn:fhircase:extension:…``: a StructureDefinition; types and places are those of the mapping lines
- each identifier system ``urn:fhircase:…``: a NamingSystem

What the lines do not say (the meaning of an extension, what only the code writes) stands in ``published.json``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from fhircase.fhir import jsontext
from fhircase.mapping.codes import EQUAL
from fhircase.mapping.lines import Line
from fhircase.mapping.mappings import Mappings

Resource = dict[str, Any]

CODES = "urn:fhircase:codes:"
EXTENSION = "urn:fhircase:extension:"
OWN = "urn:fhircase:"
TYPES = ("CodeSystem", "ConceptMap", "NamingSystem", "StructureDefinition", "ValueSet")

_NEEDS_COMMENT = {"narrower": "says less than the target's code", "inexact": "near, but not the same"}


def resources(maps: Mappings) -> tuple[Resource, ...]:
    """All of them, by type and id; ``id`` is the last part of the url. Sites' own tables are theirs, and not among them."""
    told = _told(maps)
    made = [*_tables(maps), *_systems(maps, told), *_extensions(maps, told), *_naming(maps, told)]
    for one in made:
        one.setdefault("date", told["date"])
    return tuple(sorted(made, key=lambda one: (one["resourceType"], one["id"])))


def _told(maps: Mappings) -> Any:
    file = maps.folder.joinpath("published.json")
    found = jsontext.loads(file.read_bytes()) if file.is_file() else {}
    return {"date": "2026-11-25", "extensions": {}, "identifiers": {}, "codes": {}, **found}


def _head(type_: str, id_: str, url: str, title: str, description: str = "") -> Resource:
    made: Resource = {"resourceType": type_, "id": id_, "url": url, "name": _name(id_), "title": title, "status": "active"}
    if description:
        made["description"] = " ".join(description.split())
    return made


def _name(id_: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in id_.split("-"))


def _plain(code: str) -> str:
    """The display of a word that no table gives one: ``food-bank`` → Food bank."""
    text = code.replace("-", " ")
    return text[:1].upper() + text[1:]


# ------------------------------------------------------------------------------------------------ codes


def _tables(maps: Mappings) -> Iterator[Resource]:
    for name in maps.tables():
        table = maps.codes(name).resource
        made = _head("ConceptMap", name, f"{CODES}map:{name}", _plain(name), table.get("description", ""))
        made["group"] = [_group(group) for group in table["group"] if group.get("element")]
        if made["group"]:
            yield made
        include = [
            {"system": system, "concept": [{"code": code, **({"display": display} if display else {})} for code, display in codes.items()]}
            for system, codes in _targets(table["group"]).items()
        ]
        if include:
            told = f"What the case view writes for the words of {made['title'].lower()}."
            yield {**_head("ValueSet", name, f"{CODES}set:{name}", _plain(name), told), "compose": {"include": include}}


def _group(group: Resource) -> Resource:
    made = {key: value for key, value in group.items() if value != ""}
    made["element"] = [{**element, "target": [_target(one) for one in element["target"]]} for element in group.get("element", ())]
    return made


def _target(target: Resource) -> Resource:
    comment = _NEEDS_COMMENT.get(target["equivalence"])
    return {**target, "comment": comment} if comment and not target.get("comment") else target


def _targets(groups: Iterable[Resource]) -> dict[str, dict[str, str]]:
    """System → code → display of all that a table writes."""
    made: dict[str, dict[str, str]] = {}
    for group in groups:
        for element in group.get("element", ()) if group.get("target") else ():
            for target in element["target"]:
                if "code" in target and target["equivalence"] not in ("unmatched", "disjoint"):
                    codes = made.setdefault(group["target"], {})
                    codes[target["code"]] = codes.get(target["code"]) or target.get("display", "")
    return made


def _systems(maps: Mappings, told: Any) -> Iterator[Resource]:
    """Every system of ours with every code that any table has of it, on either side; a fragment where a table lets codes pass
    that it does not name."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    about: dict[str, str] = {}
    part: set[str] = set()
    for name in maps.tables():
        table = maps.codes(name).resource
        for group in table["group"]:
            source, target = group.get("source", ""), group.get("target", "")
            if "unmapped" in group:
                part |= {source, target}
            for element in group.get("element", ()):
                if source.startswith(CODES):
                    _note(found, source, element["code"], "", _same(element, target))
                    about.setdefault(source, table.get("description", "") if source == CODES + name else "")
                for one in element["target"] if target.startswith(CODES) else ():
                    if "code" in one:
                        _note(found, target, one["code"], one.get("display", ""), "")
    for system, codes in sorted(found.items()):
        id_ = system.removeprefix(CODES)
        made = _head("CodeSystem", id_, system, _plain(id_), about.get(system, ""))
        words = told["codes"].get(id_, {})
        concepts = []
        for code, (display, definition) in codes.items():
            meaning = words.get(code) or definition
            # A code that is no word (a language's) is shown by what it means.
            concept = {"code": code, "display": display or (meaning.rstrip(".") if meaning and len(code) == 2 else _plain(code))}
            if meaning:
                concept["definition"] = meaning
            concepts.append(concept)
        content = "fragment" if system in part else "complete"
        yield {**made, "caseSensitive": True, "content": content, "count": len(concepts), "concept": concepts}


def _same(element: Resource, target: str) -> str:
    """What a word of ours means, when it is another system's code."""
    for one in element["target"]:
        if "code" in one and one["equivalence"] in EQUAL and target and not target.startswith(CODES):
            return f"What {target} calls {one.get('display') or one['code']} ({one['code']})."
    return ""


def _note(found: dict[str, dict[str, tuple[str, str]]], system: str, code: str, display: str, definition: str) -> None:
    codes = found.setdefault(system, {})
    before = codes.get(code, ("", ""))
    codes[code] = (before[0] or display, before[1] or definition)


# ------------------------------------------------------------------------------------------------ extensions and identifiers


def _steps(maps: Mappings) -> Iterator[tuple[str, str, Line, Any, int]]:
    """(mapping, element that the path begins at, line, path, which hop names a system or an extension of ours)."""

    def below(name: str, lines: Iterable[Line], start: str) -> Iterator[tuple[str, str, Line, Any, int]]:
        for line in lines:
            for path in (*line.paths, *line.alsoread):
                for at, hop in enumerate(path.hops):
                    if any(value.startswith(OWN) for member, value in hop.fixed if member in ("url", "system")):
                        yield name, start, line, path, at
                if line.fields is not None:
                    yield from below(name, line.fields, ".".join([start, *(_member(hop.key) for hop in path.hops)]))

    for name in maps.names():
        mapping = maps.mapping(name)
        if mapping.fhir is not None:
            yield from below(name, mapping.lines, mapping.fhir)


def _member(key: str) -> str:
    return key.removeprefix("_")


def _extensions(maps: Mappings, told: Any) -> Iterator[Resource]:
    types: dict[str, set[str]] = {}
    places: dict[str, set[str]] = {}
    tables: dict[str, set[str]] = {}
    parts: dict[str, dict[str, str]] = {}
    for _, start, line, path, at in _steps(maps):
        url = dict(path.hops[at].fixed).get("url", "")
        if not url.startswith(EXTENSION):
            continue
        types.setdefault(url, set())
        keys = [hop.key for hop in path.hops[at + 1 :]] or [""]
        if keys[0].startswith("value"):
            types[url].add(_type(keys[0]))
        elif len(keys) > 1 and keys[1].startswith("value") and (part := dict(path.hops[at + 1].fixed).get("url")):
            parts.setdefault(url, {})[part] = _type(keys[1])
        if line.codes is not None and url not in parts:
            tables.setdefault(url, set()).add(line.codes.name)
        places.setdefault(url, set()).add(".".join([start, *(_member(hop.key) for hop in path.hops[:at])]))
    for id_, one in told["extensions"].items():
        types.setdefault(EXTENSION + id_, set()).update(one.get("types", ()))
        parts.setdefault(EXTENSION + id_, {}).update(one.get("parts", {}))
        places.setdefault(EXTENSION + id_, set()).update(one.get("context", ()))
    for url in sorted(types):
        id_ = url.removeprefix(EXTENSION)
        means = told["extensions"].get(id_, {}).get("means", "")
        yield _extension(url, means, sorted(types[url]), sorted(places[url]), sorted(tables.get(url, ())), parts.get(url, {}))


def _type(value: str) -> str:
    """``valueDateTime`` → dateTime; ``valueCodeableConcept`` → CodeableConcept."""
    bare = value.removeprefix("value")
    lower = bare[:1].lower() + bare[1:]
    return bare if bare in _COMPLEX else lower


_COMPLEX = frozenset(
    {"CodeableConcept", "Coding", "Quantity", "Reference", "Period", "Range", "Ratio", "Identifier", "Annotation", "Age", "Duration"}
)


def _extension(url: str, means: str, types: list[str], places: list[str], tables: list[str], parts: dict[str, str]) -> Resource:
    id_ = url.removeprefix(EXTENSION)
    made = _head("StructureDefinition", id_, url, _plain(id_), means)
    elements: list[Resource] = [{"id": "Extension", "path": "Extension", "short": _plain(id_), **({"definition": means} if means else {})}]
    for part, type_ in parts.items():
        here = f"Extension.extension:{part}"
        elements += [
            {"id": here, "path": "Extension.extension", "sliceName": part, "min": 0, "max": "1"},
            {"id": f"{here}.url", "path": "Extension.extension.url", "fixedUri": part},
            {"id": f"{here}.value[x]", "path": "Extension.extension.value[x]", "type": [{"code": type_}]},
        ]
    if not parts:
        elements.append({"id": "Extension.extension", "path": "Extension.extension", "max": "0"})
    elements.append({"id": "Extension.url", "path": "Extension.url", "fixedUri": url})
    value: Resource = {"id": "Extension.value[x]", "path": "Extension.value[x]"}
    if parts:
        value["max"] = "0"
    else:
        value |= {"min": 1, "type": [{"code": type_} for type_ in types]}
        if len(tables) == 1:
            value["binding"] = {"strength": "extensible", "valueSet": f"{CODES}set:{tables[0]}"}
    elements.append(value)
    return {
        **made, "fhirVersion": "4.0.1", "kind": "complex-type", "abstract": False,
        "context": [{"type": "element", "expression": place} for place in places], "type": "Extension",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Extension", "derivation": "constraint",
        "differential": {"element": elements},
    }  # fmt: skip


def _naming(maps: Mappings, told: Any) -> Iterator[Resource]:
    named: dict[str, set[str]] = {}
    for name, _, _, path, at in _steps(maps):
        system = dict(path.hops[at].fixed).get("system", "")
        if re.fullmatch(rf"{OWN}[a-z0-9-]+", system):
            named.setdefault(system, set()).add(name)
    for id_ in told["identifiers"]:
        named.setdefault(OWN + id_, set())
    for system, names in sorted(named.items()):
        id_ = system.removeprefix(OWN)
        types = sorted({str(maps.mapping(name).fhir) for name in names})
        means = told["identifiers"].get(id_) or f"The hub's own identifier of each {_plain(id_).lower()} ({', '.join(types)})."
        made = _head("NamingSystem", id_, "", _plain(id_), means)
        del made["url"], made["title"]
        yield {**made, "kind": "identifier", "uniqueId": [{"type": "uri", "value": system, "preferred": True}]}
