"""A parsed search asked of one resource in memory, as the store's SQL asks it of index rows (``query.Test`` says what each
modifier means). For what is not in the store; no chains, which need other resources: they match nothing."""

from __future__ import annotations

from collections.abc import Sequence

from fhircase.fhir.query import IndexValue, Query, Test


def matches(query: Query, id: str, updated: int, values: Sequence[IndexValue]) -> bool:
    """``updated``: epoch milliseconds of lastUpdated; ``values``: what ``index.extract`` gives."""
    if query.ids and id not in query.ids:
        return False
    if not all(_dated(how, updated, updated + 1, low, high) for how, low, high in query.updated):
        return False
    return all(_holds(test, [value for value in values if value.param == test.param]) for test in query.tests)


def _holds(test: Test, values: Sequence[IndexValue]) -> bool:
    if test.chain or test.chain_type:
        return False
    if test.modifier == "missing":
        return all((how == "true") is not bool(values) for how, _ in test.values)
    found = any(_one(test, how, wanted, value) for how, wanted in test.values for value in values)
    return not found if test.modifier == "not" else found


def _one(test: Test, how: str, wanted: IndexValue, value: IndexValue) -> bool:
    if test.kind == "token":
        if test.modifier == "text":
            return bool(value.text) and value.text.startswith(wanted.text)
        if not value.code and not value.system:
            return False
        same = {"code": value.code == wanted.code, "system": value.system == wanted.system}
        return same[how] if how in same else all(same.values())
    if test.kind == "string":
        if test.modifier == "exact":
            return value.code == wanted.code
        return wanted.text in value.text if test.modifier == "contains" else value.text.startswith(wanted.text)
    if test.kind == "uri":
        if test.modifier == "below":
            return value.code == wanted.code or value.code.startswith(f"{wanted.code}/")
        if test.modifier == "above":
            return value.code == wanted.code or wanted.code.startswith(f"{value.code}/")
        return value.code == wanted.code
    if test.kind == "reference" and test.modifier != "identifier":
        return value.code == wanted.code and wanted.system in ("", value.system)
    return test.kind == "date" and _dated(how, value.low, value.high, wanted.low, wanted.high)


def _dated(how: str, from_: int, to: int, low: int, high: int) -> bool:
    """A period [from_, to) against the one that was asked for (R4 §3.1.1.5.9)."""
    inside = low <= from_ and to <= high
    told = {
        "eq": inside, "ne": not inside, "gt": to > high, "ge": to > high or inside, "lt": from_ < low, "le": from_ < low or inside,
        "sa": from_ >= high, "eb": to <= low, "ap": from_ < high and to > low,
    }  # fmt: skip
    return told[how]
