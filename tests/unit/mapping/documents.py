"""Random case documents of a mapping, made from what its lines say of their values."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from fhircase.mapping import Mapping
from fhircase.mapping.lines import Line

_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=8)
_DATE = st.dates().map(lambda day: day.isoformat())
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": _TEXT,
    "number": st.one_of(st.integers(-999, 999), st.decimals(-99, 99, places=2)),
    "integer": st.integers(1, 99),
    "boolean": st.booleans(),
    "date": _DATE,
    "dateTime": st.one_of(_DATE, _DATE.map(lambda day: f"{day}T12:00:00+10:30")),
    "instant": _DATE.map(lambda day: f"{day}T12:00:00Z"),
}


def _value(line: Line) -> st.SearchStrategy[Any]:
    if line.kind == "code":
        assert line.codes is not None
        words = line.codes.sources() or ["en", "es"]
        coder = line.coders[0]
        known = st.sampled_from([word for word in words if coder.read(coder.write(word)[0]) == (word, True)])
        return known if coder.shape == "code" else st.one_of(known, _TEXT.map(lambda text: f"<{text}>"))
    if line.kind == "ref":
        return st.builds("{}/{}".format, st.sampled_from(line.ref), st.sampled_from(["a", "b", "c-1"]))
    if line.kind == "either":
        return st.one_of(*(_VALUES[path.kind or "text"] for path in line.paths))
    if line.paths[0].element.codes:
        return st.sampled_from(line.paths[0].element.codes)
    return _VALUES[line.kind]


def _field(line: Line) -> st.SearchStrategy[Any]:
    if line.fields is not None:
        entry = _fields(line.fields).filter(bool)
        if not line.many:
            return entry
        keys = line.key
        unique = (lambda doc: repr([doc.get(key) for key in keys])) if keys else repr
        return st.lists(entry, min_size=1, max_size=3, unique_by=unique)
    return st.lists(_value(line), min_size=1, max_size=3, unique=True) if line.many else _value(line)


def _fields(lines: tuple[Line, ...]) -> st.SearchStrategy[dict[str, Any]]:
    lines = tuple(line for line in lines if line.only != "in")
    sure = {line.name: _field(line) for line in lines if line.need or line.default is not None}
    maybe = {line.name: _field(line) for line in lines if line.name not in sure}
    return st.fixed_dictionaries(sure, optional=maybe).map(lambda doc: _one_side(doc, lines))


def _one_side(doc: dict[str, Any], lines: tuple[Line, ...]) -> dict[str, Any]:
    """FHIR has room for one type of a choice: the first said stays."""
    taken: dict[str, str] = {}
    for line in lines:
        for path in line.paths:
            before, mark, rest = path.text.partition(".ofType(")
            # Two choices in one path (an extension's) are told apart by the longer text.
            if mark and line.name in doc and not line.alternatives and taken.setdefault(before, rest.split(")")[0]) != rest.split(")")[0]:
                doc = {name: value for name, value in doc.items() if name != line.name}
    return doc


def documents(mapping: Mapping) -> st.SearchStrategy[dict[str, Any]]:
    return _fields(mapping.lines)
