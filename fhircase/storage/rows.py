"""Rows ↔ values: a Stored from a row, index rows from IndexValues."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from fhircase.fhir.query import IndexValue
from fhircase.ports import Stored
from fhircase.storage import schema
from fhircase.storage.engine import Insert, Row
from fhircase.storage.schema import ORDINAL_BITS

TABLES = {
    "token": "ix_token",
    "uri": "ix_token",
    "special": "ix_token",
    "string": "ix_string",
    "date": "ix_date",
    "reference": "ix_reference",
    "quantity": "ix_quantity",
}

INSERT = {
    "ix_token": Insert(schema.ix_token, "rid", "n", "name", "system", "code", "text"),
    "ix_string": Insert(schema.ix_string, "rid", "n", "name", "text", "code"),
    "ix_date": Insert(schema.ix_date, "rid", "n", "name", "low", "high"),
    "ix_reference": Insert(schema.ix_reference, "rid", "n", "name", "system", "code", "text"),
    "ix_quantity": Insert(schema.ix_quantity, "rid", "n", "name", "low", "system", "code", "text"),
}

WIDTH = 14
"""Columns of ``columns``."""

_EFFECTIVE = 10
_SHORT = 250
_TEXT = 500
"""Characters kept in an index: PostgreSQL takes 2,700 bytes an entry."""
_BOUND = 2**62


def columns(effective: str) -> str:
    """What ``stored`` reads, from ``resource r`` and ``version v``."""
    return (
        "r.type, r.id, v.version, v.updated, v.vid, v.deleted, r.client, r.case_id, r.creator, v.text,"
        f" {effective}, v.method, r.sensitive, v.mark"
    )


def stored(row: Row) -> Stored:
    """``row`` begins with ``columns``."""
    type, id, version, updated, vid, deleted, client, case, creator, text, effective, method, sensitive, mark = row[:WIDTH]
    return Stored(
        type,
        id,
        version,
        updated,
        vid >> ORDINAL_BITS,
        bool(deleted),
        client,
        case,
        creator,
        text,
        effective,
        method,
        bool(sensitive),
        mark,
    )


def effective(row: Row, seen: int) -> Row:
    """``row`` with the later of its own time and ``seen``."""
    return row if seen <= row[_EFFECTIVE] else (*row[:_EFFECTIVE], seen, *row[_EFFECTIVE + 1 :])


def short(value: str) -> str:
    """A code, system or url as the index holds it: whole, or its head and a digest when it is very long."""
    if len(value) <= _SHORT:
        return value
    return value[: _SHORT - 33] + "#" + hashlib.blake2b(value.encode("utf-8", "replace"), digest_size=16).hexdigest()


def text(value: str) -> str:
    return value if len(value) <= _TEXT else value[:_TEXT]


def within(number: int) -> int:
    """Cut to what 64 bits and one more step can hold."""
    return -_BOUND if number < -_BOUND else _BOUND if number > _BOUND else number


def index_rows(type: str, values: Sequence[IndexValue]) -> list[tuple[str, Row]]:
    """(table, row without rid and n) of each distinct value."""
    made: dict[tuple[str, Row], None] = {}
    for value in values:
        kind = value.kind
        name = f"{type}.{value.param}"
        row: Row
        if kind == "reference":
            row = (name, value.system, short(value.code), short(value.text))
        elif kind == "string":
            row = (name, text(value.text), text(value.code))
        elif kind == "date":
            row = (name, within(value.low), within(value.high))
        elif kind == "quantity":
            row = (name, within(value.low), short(value.system), short(value.code), short(value.text))
        else:
            row = (name, short(value.system), short(value.code), text(value.text))
        made[(TABLES[kind], row)] = None
    return list(made)


def digest(index: Sequence[tuple[str, Row]], claims: Sequence[tuple[str, str]]) -> str:
    """Equal for equal index rows and claims."""
    return hashlib.blake2b(repr((index, claims)).encode("utf-8", "replace"), digest_size=16).hexdigest()
