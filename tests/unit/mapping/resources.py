"""Random FHIR resources, made from the tables of a release: any element may stand there, with extensions, contained resources,
codings of foreign systems beside known ones, values that are absent with a reason, decimals with zeros at the end.

They need not make sense, and invariants may not hold; they are what a partner might send. ``Hints`` make it likely that a
mapping reads some of it: the systems, codes and urls that its lines name."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from fhircase.fhir.definitions import Release
from fhircase.fhir.jsontext import Number
from fhircase.mapping import definitions
from fhircase.mapping.lines import Line

from .documents import date, instant, text

Json = dict[str, Any]
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_DEEPEST = 4


class Hints:
    """What the lines of a mapping look for: ``members`` name → values of ``where()``, ``codings`` of the code tables,
    ``extensions`` url → members of the value."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.members: dict[str, set[str]] = {}
        self.codings: set[tuple[str, str]] = set()
        self.extensions: dict[str, set[str]] = {}
        self._learn(lines)
        self.ordered = {name: sorted(values) for name, values in self.members.items()}
        self.known = sorted(self.codings)
        self.urls = sorted(self.extensions)

    def _learn(self, lines: Iterable[Line]) -> None:
        for line in lines:
            for path in (*line.paths, *line.alsoread):
                for at, hop in enumerate(path.hops):
                    for name, value in hop.fixed:
                        self.members.setdefault(name, set()).add(value)
                        if name == "url" and at + 1 < len(path.hops):
                            self.extensions.setdefault(value, set()).add(path.hops[at + 1].key)
            for coder in line.coders:
                for group in coder.groups:
                    self.codings.update((group.target, target.code) for target, _ in group.rows.values())
            self._learn(line.fields or ())


class Partner:
    """Makes resources of one release as ``rng`` has it."""

    def __init__(self, rng: Random, release: Release, hints: Hints) -> None:
        self.rng = rng
        self.release = release
        self.hints = hints

    def resource(self, type_: str) -> Json:
        made: Json = {"resourceType": type_, "id": "x", "meta": {"versionId": "7", "lastUpdated": "2026-11-20T10:00:00.000Z"}}
        made.update(self.fill(type_, {}, 0))
        if self.rng.random() < 0.3:
            made["contained"] = [{"resourceType": "Patient", "id": "p1", "birthDate": "1956"}, {"resourceType": "Basic", "id": "b1"}]
        return made

    def beside(self, node: Any, type_: str, depth: int = 0) -> Any:
        """The same object with further elements in it, wherever there is room."""
        children = definitions.children(type_, self.release)
        made = dict(node)
        for key, held in node.items():
            element = children.get(key)
            if element is not None and element.types[0] not in definitions.PRIMITIVE and element.types[0] != "Resource":
                kind = element.types[0]
                if isinstance(held, dict):
                    made[key] = self.beside(held, kind, depth + 1)
                elif isinstance(held, list):
                    made[key] = [self.beside(one, kind, depth + 1) if isinstance(one, dict) else one for one in held]
                    if kind == "Coding" and self.rng.random() < 0.5:
                        made[key].insert(
                            self.rng.randint(0, len(held)), {"system": "https://partner.example/codes", "code": text(self.rng)}
                        )
            elif (
                element is not None and element.types[0] in definitions.PRIMITIVE and not isinstance(held, list) and self.rng.random() < 0.2
            ):
                made["_" + key] = {"extension": [self.extension(_DEEPEST)]}
        return self.fill(type_, made, depth)

    def fill(self, type_: str, made: Json, depth: int) -> Json:
        children = definitions.children(type_, self.release)
        chance = (0.45, 0.4, 0.3, 0.25, 0.15)[min(depth, _DEEPEST)]
        for name, element in children.items():
            if name in ("contained", "implicitRules", "meta", "text", "id") and (name != "id" or depth == 0):
                continue
            if element.choice:
                if any(definitions.choice_key(name, one) in made for one in element.types):
                    continue
                kind = self.rng.choice(element.types)
                key = definitions.choice_key(name, kind)
            else:
                kind, key = element.types[0], name
            if key in made or self.rng.random() > (min(0.9, chance * 2) if element.needed else chance):
                continue
            if kind not in definitions.PRIMITIVE and depth >= _DEEPEST:
                continue
            if name in ("extension", "modifierExtension") and self.rng.random() < 0.6:
                continue
            if element.many:
                values = [self.value(kind, name, element, depth) for _ in range(self.rng.choice((1, 1, 2, 3)))]
                made[key] = values
            elif kind in definitions.PRIMITIVE and self.rng.random() < 0.06:
                made["_" + key] = {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}
            else:
                made[key] = self.value(kind, name, element, depth)
        return made

    def value(self, kind: str, name: str, element: definitions.Element, depth: int) -> Any:
        rng = self.rng
        if kind in definitions.PRIMITIVE:
            return self.primitive(kind, name, element)
        if kind == "Resource":
            return {"resourceType": "Basic", "id": "b2"}
        if kind == "Extension":
            return self.extension(depth + 1)
        if kind == "Narrative":
            return {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">x</div>'}
        if kind == "Reference":
            made: Json = self.fill(kind, {}, depth + 1) if rng.random() < 0.3 else {}
            if rng.random() < 0.85:
                target = rng.choice(element.targets) if element.targets else "Patient"
                made["reference"] = rng.choice((f"{target}/{rng.choice('abc')}", "#p1", f"https://partner.example/fhir/{target}/1"))
            return made or {"display": text(rng)}
        if kind == "Coding":
            return self.coding()
        if kind == "CodeableConcept":
            made = {}
            if rng.random() < 0.8:
                made["coding"] = [self.coding() for _ in range(rng.choice((1, 1, 2, 3)))]
            if not made or rng.random() < 0.4:
                made["text"] = text(rng)
            if rng.random() < 0.1:
                made["extension"] = [self.extension(depth + 1)]
            return made
        return self.fill(kind, {}, depth + 1) or {"extension": [self.extension(_DEEPEST)]}

    def coding(self) -> Json:
        made: Json = {"system": "https://partner.example/codes", "code": text(self.rng)}
        if self.hints.known and self.rng.random() < 0.5:
            system, code = self.rng.choice(self.hints.known)
            made = {"system": system, "code": code} if system else {"code": code}
        if self.rng.random() < 0.3:
            made["display"] = text(self.rng)
        if self.rng.random() < 0.1:
            made["userSelected"] = True
        return made

    def extension(self, depth: int) -> Json:
        urls = self.hints.urls
        if urls and self.rng.random() < 0.5:
            url = self.rng.choice(urls)
            key = self.rng.choice(sorted(self.hints.extensions[url]))
            if key == "extension":
                return {"url": url, "extension": [self.extension(depth + 1) for _ in range(2)] if depth < _DEEPEST else []} | (
                    {} if depth < _DEEPEST else {"extension": [{"url": "deep", "valueCode": "x"}]}
                )
            element = definitions.children("Extension", self.release)["value"]
            kind = next((one for one in element.types if definitions.choice_key("value", one) == key), "string")
            return {"url": url, definitions.choice_key("value", kind): self.value(kind, "value", element, depth)}
        return {"url": "https://partner.example/acuity", "valueCode": "high"}

    def primitive(self, kind: str, name: str, element: definitions.Element) -> Any:
        rng = self.rng
        hints = self.hints.ordered.get(name)
        if hints and rng.random() < 0.5:
            return rng.choice(hints)
        if element.codes and kind == "code":
            return rng.choice(element.codes)
        held = definitions.PRIMITIVE[kind]
        if held == "number":
            return rng.choice((Number("72.50"), Number("0.10"), Number("1E+3"), rng.randint(-9, 99)))
        if held == "integer":
            return rng.randint(1, 99)
        if held == "boolean":
            return rng.random() < 0.5
        if held == "instant":
            return instant(rng)
        if held == "dateTime":
            return rng.choice((instant, date))(rng)
        if kind == "date":
            return date(rng)
        if kind == "code" and self.hints.known and rng.random() < 0.5:
            return rng.choice(self.hints.known)[1]
        return text(rng)
