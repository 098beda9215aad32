"""What a case document may look like: JSON Schema 2020-12, made from a mapping and the R4 tables.

    shape = schema.of(maps.mapping("goal"))
    shape.schema                        # published in /openapi.json
    shape.problems(doc)                 # every mistake at once, each by its JSON pointer

Types come from the FHIR element types, words from the code tables, ``required`` from ``need``; what no line names is refused,
with what was probably meant. Enforced by the ``jsonschema`` package; a validator is made once per mapping."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from fhircase.errors import MOST_TOLD, Problem
from fhircase.mapping.lines import Line
from fhircase.mapping.mapping import Doc, Mapping
from fhircase.mapping.mistakes import some
from fhircase.mapping.values import MUST

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_DATE = r"^[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?$"
_TIME = r"T([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?(Z|[+-]((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
_INSTANT = rf"^[0-9]{{4}}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01]){_TIME}$"
_DATETIME = rf"^[0-9]{{4}}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01])({_TIME})?)?)?$"
_ID = r"[A-Za-z0-9\-.]{1,64}"

_KINDS: dict[str, Schema] = {
    "text": {"type": "string", "pattern": r"\S"},
    "number": {"type": "number"},
    "integer": {"type": "integer"},
    "boolean": {"type": "boolean"},
    "date": {"type": "string", "format": "fhir-date", "pattern": _DATE},
    "dateTime": {"type": "string", "format": "fhir-date", "pattern": _DATETIME},
    "instant": {"type": "string", "format": "fhir-date", "pattern": _INSTANT},
}
_TYPES: dict[str, Schema] = {
    "code": {"type": "string", "pattern": r"^[^\s]+(\s[^\s]+)*$"},
    "id": {"type": "string", "pattern": rf"^{_ID}$"},
    "uri": {"type": "string", "pattern": r"^\S+$"},
    "url": {"type": "string", "pattern": r"^\S+$"},
    "canonical": {"type": "string", "pattern": r"^\S+$"},
    "positiveInt": {"type": "integer", "minimum": 1, "maximum": 2147483647},
    "unsignedInt": {"type": "integer", "minimum": 0, "maximum": 2147483647},
    "integer": {"type": "integer", "minimum": -2147483648, "maximum": 2147483647},
}
"""FHIR types that allow less than their kind of value (http://hl7.org/fhir/R4/datatypes.html#primitive)."""


def _calendar(value: object) -> bool:
    """Whether the day exists; 2026-02-30 does not."""
    if not isinstance(value, str) or not re.match(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", value):
        return True
    try:
        date.fromisoformat(value[:10])
    except ValueError:
        return False
    return True


_FORMATS = FormatChecker(formats=())
_FORMATS.checkers["fhir-date"] = (_calendar, ())


@dataclass(frozen=True, slots=True)
class Shape:
    """``schema`` is JSON Schema 2020-12, not to be changed. ``fixed``: fields that the hub fills."""

    schema: Schema
    validator: Draft202012Validator
    lines: tuple[Line, ...]

    def problems(self, doc: Any, *, before: Any = None, at: str = "") -> tuple[Problem, ...]:
        """Every mistake, by JSON pointer below ``at``, in the order of the document. ``before``: what stood there already; what
        is wrong in it (a code of somebody else's) is not held against who leaves it as it is."""
        known = {_mark(m) for m in self._mistakes(before)} if before is not None else set()
        found: dict[str, Problem] = {}
        for mistake in self._mistakes(doc):
            if len(found) >= MOST_TOLD:
                break
            if _mark(mistake) not in known:
                pointer = at + mistake.pointer
                found.setdefault(pointer, Problem(mistake.what, pointer, mistake.hint, mistake.code))
        return tuple(found.values())

    def _mistakes(self, doc: Any) -> Iterator[_Mistake]:
        for error in sorted(self.validator.iter_errors(doc), key=lambda e: [str(step) for step in e.absolute_path]):
            yield from _told(error)

    def references(self, doc: Doc) -> tuple[tuple[str, str], ...]:
        """(JSON pointer, reference text) of every reference in the document."""
        return tuple(_references(self.lines, doc, ""))


@lru_cache(maxsize=256)
def of(mapping: Mapping, fixed: tuple[str, ...] = ()) -> Shape:
    """The shape of the case documents of ``mapping``; ``fixed`` names fields that the hub fills itself (``id``, ``client``):
    they may be absent, and are marked read-only. Raises ValueError for a mapping of HL7 v2."""
    if mapping.fhir is None:
        raise ValueError(f"mapping '{mapping.name}' is not FHIR's")
    made = _object(mapping.lines, frozenset(fixed))
    if mapping.about:
        made["description"] = " ".join(mapping.about.split())
    return Shape(made, Draft202012Validator({"$schema": DIALECT, **made}, format_checker=_FORMATS), mapping.lines)


def closed(properties: dict[str, Schema], required: Sequence[str] = (), description: str = "") -> Shape:
    """A shape written by hand, for what no mapping describes: an object with these members and no others."""
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        made["required"] = list(required)
    if description:
        made["description"] = description
    return Shape(made, Draft202012Validator({"$schema": DIALECT, **made}, format_checker=_FORMATS), ())


def patch_of(made: Schema) -> Schema:
    """The schema of a merge patch (RFC 7396) of what ``made`` describes: nothing is needed, null takes a field away, a list is
    replaced whole. What the patch makes of the document is judged by ``made``."""
    if made.get("type") != "object":
        return made
    kept = {name: value for name, value in made.items() if name not in ("required", "default")}
    properties = {name: {"anyOf": [patch_of(one), {"type": "null"}]} for name, one in made.get("properties", {}).items()}
    return {**kept, "properties": properties}


def pointer(field: str) -> str:
    """A case field as problems of a mapping name it, as a JSON pointer (RFC 6901): ``members[0].role`` → ``/members/0/role``."""
    return "".join("/" + escaped(step) for step in re.findall(r"[^.\[\]]+", field))


# ------------------------------------------------------------------------------------------------ from lines to a schema


def _object(lines: Iterable[Line], fixed: frozenset[str] = frozenset()) -> Schema:
    properties: dict[str, Schema] = {}
    required = []
    for line in lines:
        made = _value(line)
        if line.name in fixed or line.only == "in":
            made = {**made, "readOnly": True}
        elif line.need and line.default is None:
            required.append(line.name)
        properties[line.name] = made
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    return schema


def _value(line: Line) -> Schema:
    one = _object(line.fields) if line.fields is not None else _leaf(line)
    if line.default is not None:
        one["default"] = line.default
    made: Schema = {"type": "array", "items": one} if line.many else one
    if line.why:
        made["description"] = line.why
    return made


def _leaf(line: Line) -> Schema:
    if line.kind == "code":
        return _code(line)
    if line.kind == "ref":
        types = "|".join(line.ref)
        text = rf"^((?:{types})/{_ID}(/_history/{_ID})?|#.+|urn:\S+|https?://\S+)$"
        return {"type": "string", "pattern": text, "description": "reference to " + ", ".join(line.ref)}
    if line.kind == "either":
        return {"anyOf": [dict(_KINDS[path.kind or "text"]) for path in line.paths]}
    element = line.paths[0]
    if line.kind == "text" and element.type == "code" and element.element.codes:
        return {"type": "string", "enum": element.element.codes}
    return dict(_TYPES.get(element.type) or _KINDS[line.kind])


def _code(line: Line) -> Schema:
    """The words of the table that can be written; where the table lets codes pass as they are, any word."""
    words: dict[str, None] = {}
    for coder in line.coders:
        if any(group.unmapped is not None for group in coder.groups):
            return {"type": "string", "pattern": r"^\S+$", "examples": coder.codes.sources()[:20]}
        for word in coder.codes.sources():
            if coder.targets(word):
                words[word] = None
        if coder.shape != "code":
            words.update(dict.fromkeys(sorted(word for group in coder.groups for word in group.none)))
    return {"type": "string", "enum": list(words)}


def _references(lines: Iterable[Line], doc: Any, at: str) -> Iterator[tuple[str, str]]:
    if not isinstance(doc, dict):
        return
    for line in lines:
        value = doc.get(line.name)
        if value is None or (line.fields is None and line.kind != "ref"):
            continue
        here = f"{at}/{line.name}"
        for index, one in enumerate(value if isinstance(value, list) else [value]):
            place = f"{here}/{index}" if isinstance(value, list) else here
            if line.fields is not None:
                yield from _references(line.fields, one, place)
            elif isinstance(one, str):
                yield place, one


# ------------------------------------------------------------------------------------------------ from errors to problems


@dataclass(frozen=True, slots=True)
class _Mistake:
    pointer: str
    what: str
    hint: str
    code: str
    value: str


def _mark(mistake: _Mistake) -> tuple[str, str, str]:
    """The same mistake with the same value, wherever its list has moved it."""
    return re.sub(r"/\d+(?=/|$)", "/*", mistake.pointer), mistake.what, mistake.value


def _told(error: ValidationError) -> Iterator[_Mistake]:
    here = "".join("/" + escaped(str(step)) for step in error.absolute_path)
    value = repr(error.instance)
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        known = sorted(schema.get("properties", ()))
        for name in instance:
            if name not in schema.get("properties", {}):
                yield _Mistake(f"{here}/{escaped(str(name)[:64])}", "no such field", _meant(str(name), known), "structure", "")
    elif error.validator == "required":
        for name in schema["required"]:
            if name not in instance and error.message.startswith(repr(name)):
                yield _Mistake(f"{here}/{name}", "is needed", _must(schema["properties"].get(name, {})), "required", "")
    elif error.validator == "enum":
        yield _Mistake(here, "not one of the words of this field", _meant(str(error.instance), schema["enum"]), "code-invalid", value)
    elif error.validator == "format":
        yield _Mistake(here, "no such day", "see the calendar", "value", value)
    elif error.validator in ("minimum", "maximum"):
        yield _Mistake(here, "out of range", f"{error.validator} {error.validator_value}", "value", value)
    else:
        yield _Mistake(here, "not what this field holds", _must(schema), "value", value)


def _must(schema: Schema) -> str:
    """What a value must be, in words."""
    if "enum" in schema:
        return "one of " + some(schema["enum"], 30)
    if schema.get("type") == "array":
        return "a list: each " + _must(schema.get("items", {}))
    if schema.get("type") == "object":
        return "an object with " + some(list(schema.get("properties", {})), 30)
    if "anyOf" in schema:
        return " or ".join(_must(one) for one in schema["anyOf"])
    if str(schema.get("description", "")).startswith("reference to "):
        return "a " + str(schema["description"])
    for kind, plain in _KINDS.items():
        if schema.get("pattern") == plain.get("pattern") and schema.get("type") == plain["type"]:
            return MUST[kind]
    return {"string": "a text without blanks around it", "integer": "a whole number"}.get(str(schema.get("type")), "see /openapi.json")


def _meant(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word[:64], known, 1, 0.6)
    return f"did you mean '{near[0]}'?" if near else "one of " + some(list(known), 30)


def escaped(step: str) -> str:
    """One step of a JSON pointer (RFC 6901)."""
    return step.replace("~", "~0").replace("/", "~1")
