"""What a resource is found by: the values of its search parameters, for index rows (query.IndexValue).

The places of each parameter are compiled once a type into functions, kept by the first member of the path, so that only
what a resource has is looked at."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from fhircase.errors import Malformed
from fhircase.fhir import definitions, refs, searchparams, times
from fhircase.fhir.query import OPEN_HIGH, OPEN_LOW, IndexValue

Object = dict[str, Any]
Emit = Callable[[str, Any, "_Scope"], Iterator[IndexValue]]

_MARKS = re.compile("[\u0300-\u036f]")
_STEP = re.compile(r"(\w+)(?:\[(\w+)(?:=([^\]]*))?\])?")
SCALE = 1_000_000


class _Scope:
    __slots__ = ("base_url", "contained")

    def __init__(self, resource: Object, base_url: str) -> None:
        self.base_url = base_url
        contained = resource.get("contained")
        self.contained = {
            f"#{item.get('id')}": str(item.get("resourceType"))
            for item in (contained if isinstance(contained, list) else ())
            if isinstance(item, dict)
        }


def extract(resource: Object, *, base_url: str = "") -> list[IndexValue]:
    """Every value of every search parameter of the resource's type, without duplicates. ``base_url``: absolute references
    below it count as local. What cannot be read (a date of a lenient resource) is left out; an unknown type gives []."""
    table = _compiled(str(resource.get("resourceType")))
    scope = _Scope(resource, base_url)
    found: dict[IndexValue, None] = {}
    for member, value in resource.items():
        for reader in table.get(member, ()):
            for made in reader(value, scope):
                found[made] = None
    if resource.get("resourceType") == "Patient" and "deceasedBoolean" not in resource and "deceasedDateTime" not in resource:
        found[IndexValue("deceased", "token", code="false")] = None
    return list(found)


def fold(text: str) -> str:
    """Lower case, no accents, single spaces: how strings are compared (search.html#string). As long as an index row may be."""
    return cut(folded(text), 300)


def folded(text: str) -> str:
    """``fold``, of any length."""
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFKD", text))
    return " ".join(text.casefold().split())


def cut(text: str, size: int = 600) -> str:
    """At most ``size`` bytes of UTF-8, which an index row of every database takes. A longer text keeps its beginning and a
    digest of the whole, so that equal stays equal and other stays other."""
    if len(text) * 4 <= size:
        return text
    data = text.encode("utf-8", "replace")
    if len(data) <= size:
        return text
    return data[: size - 65].decode("utf-8", "ignore") + "~" + hashlib.sha256(data).hexdigest()


def scaled(value: Any) -> int | None:
    """A JSON number times a million as an integer within 62 bits; None if it is no number or does not fit."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    number = Decimal(str(value))
    if not number.is_finite() or number.adjusted() > 15:
        return None
    if number.adjusted() < -40:
        return 0
    made = int(number * SCALE)
    return made if OPEN_LOW < made < OPEN_HIGH else None


# ------------------------------------------------------------------------------------------------ compiling


@cache
def _compiled(type_: str) -> Mapping[str, tuple[Callable[[Any, _Scope], Iterator[IndexValue]], ...]]:
    table: dict[str, list[Callable[[Any, _Scope], Iterator[IndexValue]]]] = {}
    for parameter in searchparams.parameters(type_).values():
        if parameter.name in searchparams.BUILT_IN:
            continue
        for place in parameter.places:
            path, _, rest = place.rpartition(":")
            kind, _, only = rest.partition(">")
            emit = _emitter(parameter.kind, kind, only, _system_of_code(type_, path) if kind == "code" else "")
            if emit is None:
                continue
            steps = [_STEP.fullmatch(step).groups() for step in path.split(".")]  # type: ignore[union-attr]
            first = steps[0]
            table.setdefault(str(first[0]), []).append(_reader(parameter.name, steps, emit))
    return {member: tuple(readers) for member, readers in table.items()}


def _reader(name: str, steps: list[tuple[Any, ...]], emit: Emit) -> Callable[[Any, _Scope], Iterator[IndexValue]]:
    filters, members = [(key, wanted) for _, key, wanted in steps], [step[0] for step in steps]
    if len(steps) == 1 and filters[0][0] is None:

        def direct(value: Any, scope: _Scope) -> Iterator[IndexValue]:
            if type(value) is list:
                for item in value:
                    yield from emit(name, item, scope)
            else:
                yield from emit(name, value, scope)

        return direct

    def read(value: Any, scope: _Scope) -> Iterator[IndexValue]:
        items = _narrow([value], *filters[0])
        for i in range(1, len(members)):
            member = members[i]
            items = _narrow([item[member] for item in items if type(item) is dict and member in item], *filters[i])
        for item in items:
            yield from emit(name, item, scope)

    return read


def _narrow(values: list[Any], key: str | None, wanted: str | None) -> list[Any]:
    items: list[Any] = []
    for value in values:
        if type(value) is list:
            items.extend(value)
        else:
            items.append(value)
    if key == "0":
        return items[:1]
    if key is not None:
        return [item for item in items if type(item) is dict and item.get(key) == wanted]
    return items


def _system_of_code(type_: str, path: str) -> str:
    """The code system of a ``code`` element whose required value set has one, else ''."""
    row = None
    for step in path.split("."):
        name = step.partition("[")[0]
        table = definitions.elements(type_) if definitions.is_known(type_) else {}
        row = table.get(name)
        if row is None:
            return ""
        type_ = row.types[0]
    systems = definitions.codes(row.codes) if row is not None and row.codes else {}
    return next(iter(systems)) if len(systems) == 1 else ""


# ------------------------------------------------------------------------------------------------ values


def _emitter(kind: str, type_: str, only: str, system: str) -> Emit | None:
    if kind == "token" and type_ == "code":
        return lambda name, value, scope: _code(name, value, system)
    if kind == "reference" and type_ == "Reference":
        return lambda name, value, scope: _reference(name, value, scope, only)
    return _emitters().get(kind, {}).get(type_)


@cache
def _emitters() -> Mapping[str, Mapping[str, Emit]]:
    """By kind of parameter and type found there; a pair that is missing has nothing to compare (a free text as a date)."""
    return {
        "token": {
            "CodeableConcept": _concept,
            "Coding": _coding,
            "Identifier": _identifier,
            "ContactPoint": _contact,
            "boolean": _boolean,
            "exists": _exists,
            "string": _plain,
            "id": _plain,
            "uri": _plain,
            "canonical": _plain,
            "markdown": _plain,
        },
        "string": {"HumanName": _name, "Address": _address, "string": _string, "markdown": _string, "code": _string},
        "date": {"date": _date, "dateTime": _date, "instant": _date, "Period": _period, "Timing": _timing},
        "reference": {"canonical": _canonical, "uri": _canonical, "url": _canonical, "Resource": _entry},
        "quantity": {
            "Quantity": _quantity,
            "Age": _quantity,
            "Duration": _quantity,
            "Distance": _quantity,
            "Count": _quantity,
            "Range": _range,
            "Money": _money,
        },
        "number": {"decimal": _figure, "integer": _figure, "positiveInt": _figure, "unsignedInt": _figure, "Range": _range},
        "uri": {"uri": _uri, "url": _uri, "canonical": _uri, "oid": _uri, "uuid": _uri, "string": _uri},
    }


def _token(name: str, system: Any, code: Any, text: Any) -> Iterator[IndexValue]:
    if isinstance(code, str) or isinstance(text, str):
        yield IndexValue(
            name,
            "token",
            cut(system, 400) if isinstance(system, str) else "",
            cut(code) if isinstance(code, str) else "",
            fold(text) if isinstance(text, str) else "",
        )


def _code(name: str, value: Any, system: str) -> Iterator[IndexValue]:
    return _token(name, system, value, None)


def _plain(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    return _token(name, None, value, None)


def _boolean(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, bool):
        yield IndexValue(name, "token", code="true" if value else "false")


def _exists(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    yield IndexValue(name, "token", code="true")


def _coding(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, dict):
        yield from _token(name, value.get("system"), value.get("code"), value.get("display"))


def _concept(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, dict):
        codings = value.get("coding")
        for coding in codings if isinstance(codings, list) else ():
            yield from _coding(name, coding, scope)
        yield from _token(name, None, None, value.get("text"))


def _identifier(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, dict):
        kind = value.get("type")
        yield from _token(name, value.get("system"), value.get("value"), kind.get("text") if isinstance(kind, dict) else None)


def _contact(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, dict):
        yield from _token(name, None, value.get("value"), None)


def _string(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, str) and value:
        yield IndexValue(name, "string", code=cut(value), text=fold(value))


def _parts(name: str, value: Any, members: tuple[str, ...]) -> Iterator[IndexValue]:
    if isinstance(value, dict):
        for member in members:
            part = value.get(member)
            for text in part if isinstance(part, list) else (part,):
                if isinstance(text, str) and text:
                    yield IndexValue(name, "string", code=cut(text), text=fold(text))


def _name(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    return _parts(name, value, ("text", "family", "given", "prefix", "suffix"))


def _address(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    return _parts(name, value, ("text", "line", "city", "district", "state", "postalCode", "country"))


def _bounds(value: Any) -> tuple[int, int] | None:
    if not isinstance(value, str):
        return None
    try:
        return times.bounds(value)
    except Malformed:
        return None


def _date(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    found = _bounds(value)
    if found is not None:
        yield IndexValue(name, "date", low=found[0], high=found[1])


def _period(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, dict):
        start, end = _bounds(value.get("start")), _bounds(value.get("end"))
        if start is not None or end is not None:
            yield IndexValue(name, "date", low=start[0] if start else OPEN_LOW, high=end[1] if end else OPEN_HIGH)


def _timing(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, dict):
        events = value.get("event")
        for event in events if isinstance(events, list) else ():
            yield from _date(name, event, scope)
        repeat = value.get("repeat")
        if isinstance(repeat, dict):
            yield from _period(name, repeat.get("boundsPeriod"), scope)


def _reference(name: str, value: Any, scope: _Scope, only: str) -> Iterator[IndexValue]:
    if not isinstance(value, dict):
        return
    text, declared, identifier = value.get("reference"), value.get("type"), value.get("identifier")
    type_ = declared if isinstance(declared, str) and definitions.is_resource(declared) else ""
    code = ""
    if isinstance(text, str) and text:
        if text[0] == "#":
            type_ = scope.contained.get(text, type_)
        else:
            found = refs.literal(text, scope.base_url)
            if found is not None:
                type_ = found.type
                code = found.id if not found.base else text
            else:
                code = text
    if only and type_ and type_ != only:
        return
    logical = ""
    if isinstance(identifier, dict) and isinstance(identifier.get("value"), str):
        system = identifier.get("system")
        logical = f"{system if isinstance(system, str) else ''}|{identifier['value']}"
    if code or logical:
        yield IndexValue(name, "reference", type_ or only, cut(code), cut(logical))


def _canonical(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, str) and value and value[0] != "#":
        bare, _, version = value.partition("|")
        yield IndexValue(name, "reference", code=cut(bare))
        if version:
            yield IndexValue(name, "reference", code=cut(value))


def _entry(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    """A resource within a Bundle (Bundle.composition, Bundle.message)."""
    if isinstance(value, dict) and isinstance(value.get("id"), str):
        yield IndexValue(name, "reference", str(value.get("resourceType")), cut(value["id"]))


def _uri(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, str) and value:
        yield IndexValue(name, "uri", code=cut(value))
        if "|" in value:
            yield IndexValue(name, "uri", code=cut(value.partition("|")[0]))


def _unit(name: str, value: Object, low: int, high: int) -> IndexValue:
    system, code, unit = value.get("system"), value.get("code"), value.get("unit")
    return IndexValue(
        name,
        "quantity",
        cut(system, 400) if isinstance(system, str) else "",
        cut(code) if isinstance(code, str) else "",
        fold(unit) if isinstance(unit, str) else "",
        low,
        high,
    )


def _quantity(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, dict):
        number = scaled(value.get("value"))
        if number is not None:
            yield _unit(name, value, number, number)


def _money(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    if isinstance(value, dict):
        number, currency = scaled(value.get("value")), value.get("currency")
        if number is not None:
            yield IndexValue(
                name, "quantity", "urn:iso:std:iso:4217", currency if isinstance(currency, str) else "", low=number, high=number
            )


def _range(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    """Both ends: it is found by either."""
    if isinstance(value, dict):
        yield from _quantity(name, value.get("low"), scope)
        yield from _quantity(name, value.get("high"), scope)


def _figure(name: str, value: Any, scope: _Scope) -> Iterator[IndexValue]:
    number = scaled(value)
    if number is not None:
        yield IndexValue(name, "quantity", low=number, high=number)
