"""A parsed search as SQL: one statement for the page, one for the total when asked, one for each include."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fhircase.access.viewer import Viewer
from fhircase.errors import Invalid, TooLarge
from fhircase.fhir.query import Include, IndexValue, Query, Test
from fhircase.ports import Page, Stored
from fhircase.storage import paging, rows, visible
from fhircase.storage.engine import Row, Session
from fhircase.storage.schema import FOREVER

MOST_INCLUDED = 1000
ROUNDS = 3
"""How often ``:iterate`` goes on."""

_NARROW = 1
"""Tests of this rank or lower leave few resources, whatever their value: a client, an identifier, a name."""
_NEGATIVE = 8
"""No index finds these: they are judged on what something else found."""
_FEW = 1_000

_LAST = "\U0010ffff"

Args = list[Any]


@dataclass(frozen=True, slots=True)
class Condition:
    """``where`` on ``ix t`` picks index rows of one parameter. ``rank``: how few resources it leaves (0 fewest)."""

    table: str
    where: str
    args: tuple[Any, ...]
    negative: bool
    rank: int

    def driver(self) -> str:
        """A table of the resources that it picks, to begin with. CROSS JOIN behind it keeps SQLite to that order."""
        return f"(SELECT DISTINCT t.rid FROM {self.table} t WHERE {self.where}) d CROSS JOIN resource r ON r.rid = d.rid"

    def probe(self, most: int) -> str:
        """How many index rows it picks, counted up to ``most``."""
        return f"SELECT count(*) FROM (SELECT 1 FROM {self.table} t WHERE {self.where} LIMIT {most}) p"

    def filter(self, alias: str = "r") -> str:
        return f"{'NOT ' if self.negative else ''}EXISTS (SELECT 1 FROM {self.table} t WHERE t.rid = {alias}.rid AND {self.where})"


# ---------------------------------------------------------------------------------------------- one test


def condition(type: str, test: Test) -> Condition:
    """Raises Invalid for a modifier or prefix that the store does not know."""
    table = rows.TABLES[test.kind]
    name = f"{type}.{test.param}"
    if test.modifier == "missing":
        return Condition(table, "t.name = ?", (name,), test.values[0][0] == "true", _NEGATIVE)
    compare = _COMPARE[test.kind]
    parts: list[str] = []
    args: Args = [name]
    for how, value in test.values:
        part = compare(test, how, value, args)
        parts.append(part)
    any_of = _any(parts)
    negative = test.modifier == "not"
    return Condition(table, f"t.name = ? AND {any_of}", tuple(args), negative, _NEGATIVE if negative else _rank(test))


def _any(parts: Sequence[str]) -> str:
    """``parts`` joined by OR, in groups: SQLite takes expressions 1,000 deep."""
    while len(parts) > 1:
        groups = [parts[at : at + 100] for at in range(0, len(parts), 100)]
        parts = [group[0] if len(group) == 1 else f"({' OR '.join(group)})" for group in groups]
    return parts[0]


def _rank(test: Test) -> int:
    if test.kind == "reference":
        return 0
    if test.kind == "token":
        return _NEGATIVE if test.modifier == "text" else 0 if test.param == "identifier" else 3
    return {"string": 1, "uri": 1, "special": 3}.get(test.kind, 4)


def _unknown(test: Test, what: str) -> Invalid:
    return Invalid(
        f"'{what}' is not supported on {test.param}",
        path=test.param,
        hint="leave it out",
    )


def _starts(column: str, text: str, args: Args) -> str:
    args += [text, text + _LAST]
    return f"({column} >= ? AND {column} < ?)"


def _like(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _token(test: Test, how: str, value: IndexValue, args: Args) -> str:
    if test.modifier == "text":
        return "t.text <> '' AND " + _starts("t.text", rows.text(value.text), args)
    if test.modifier not in ("", "not"):
        raise _unknown(test, test.modifier)
    if how == "both":
        args += [rows.short(value.code), rows.short(value.system)]
        return "(t.code = ? AND t.system = ?)"
    if how == "system":
        args.append(rows.short(value.system))
        return "t.system = ?"
    args.append(rows.short(value.code))
    return "t.code = ?"


def _uri(test: Test, how: str, value: IndexValue, args: Args) -> str:
    code = value.code
    if test.modifier == "below":
        args.append(rows.short(code))
        return f"(t.code = ? OR {_starts('t.code', code.rstrip('/') + '/', args)})"
    if test.modifier == "above":
        parts = code.split("/")
        above = [rows.short("/".join(parts[:n])) for n in range(len(parts), 0, -1)]
        args += above
        return f"t.code IN ({', '.join('?' * len(above))})"
    if test.modifier:
        raise _unknown(test, test.modifier)
    args.append(rows.short(code))
    return "t.code = ?"


def _string(test: Test, how: str, value: IndexValue, args: Args) -> str:
    if test.modifier == "exact":
        args.append(rows.text(value.code))
        if not value.text:
            return "t.code = ?"
        args.append(rows.text(value.text))
        return "(t.code = ? AND t.text = ?)"
    text = rows.text(value.text)
    if test.modifier == "contains":
        args.append(f"%{_like(text)}%")
        return "t.text LIKE ? ESCAPE '!'"
    if test.modifier:
        raise _unknown(test, test.modifier)
    return "t.text <> '' AND " + _starts("t.text", text, args)


def _reference(test: Test, how: str, value: IndexValue, args: Args) -> str:
    if test.modifier == "identifier":
        if how == "system":
            return "t.text <> '' AND " + _starts(
                "t.text", value.text if value.text.endswith("|") else f"{value.system or value.text}|", args
            )
        if how == "code":
            args.append(f"%|{_like((value.text or value.code).removeprefix('|'))}")
            return "t.text <> '' AND t.text LIKE ? ESCAPE '!'"
        args.append(rows.short(value.text))
        return "t.text <> '' AND t.text = ?"
    if test.modifier:
        raise _unknown(test, test.modifier)
    args.append(rows.short(value.code))
    if not value.system:
        return "t.code = ?"
    args.append(value.system)
    return "(t.code = ? AND t.system = ?)"


_DATE = {
    "eq": ("(t.low >= ? AND t.high <= ?)", "lh"),
    "ne": ("NOT (t.low >= ? AND t.high <= ?)", "lh"),
    "gt": ("t.high > ?", "h"),
    "lt": ("t.low < ?", "l"),
    "ge": ("(t.high > ? OR t.low >= ?)", "hl"),
    "le": ("(t.low < ? OR t.high <= ?)", "lh"),
    "sa": ("t.low >= ?", "h"),
    "eb": ("t.high <= ?", "l"),
    "ap": ("(t.low < ? AND t.high > ?)", "hl"),
}


def _date(test: Test, how: str, value: IndexValue, args: Args) -> str:
    return _ranged(_DATE, test, how, value, args)


_QUANTITY = {
    "eq": ("(t.low >= ? AND t.low < ?)", "lh"),
    "ne": ("NOT (t.low >= ? AND t.low < ?)", "lh"),
    "gt": ("t.low > ?", "l"),
    "lt": ("t.low < ?", "l"),
    "ge": ("t.low >= ?", "l"),
    "le": ("t.low <= ?", "l"),
    "sa": ("t.low > ?", "l"),
    "eb": ("t.low < ?", "l"),
    "ap": ("(t.low >= ? AND t.low < ?)", "lh"),
}


def _quantity(test: Test, how: str, value: IndexValue, args: Args) -> str:
    parts = [_ranged(_QUANTITY, test, how, value, args)]
    if value.system:
        args += [rows.short(value.system), rows.short(value.code)]
        parts.append("t.system = ? AND t.code = ?")
    elif value.code or value.text:
        args += [rows.short(value.code or value.text), rows.short(value.text or value.code)]
        parts.append("(t.code = ? OR t.text = ?)")
    return "(" + " AND ".join(parts) + ")"


def _ranged(table: dict[str, tuple[str, str]], test: Test, how: str, value: IndexValue, args: Args) -> str:
    if test.modifier:
        raise _unknown(test, test.modifier)
    known = table.get(how or "eq")
    if known is None:
        raise _unknown(test, how)
    sql, bounds = known
    low = rows.within(value.low)
    high = rows.within(value.high) if value.high > value.low else low + 1
    args += [low if bound == "l" else high for bound in bounds]
    return sql


_COMPARE: dict[str, Callable[[Test, str, IndexValue, Args], str]] = {
    "token": _token,
    "special": _token,
    "uri": _uri,
    "string": _string,
    "reference": _reference,
    "date": _date,
    "quantity": _quantity,
}

_UPDATED = {
    "eq": ("{e} >= ? AND {e} < ?", "lh"),
    "ne": ("NOT ({e} >= ? AND {e} < ?)", "lh"),
    "gt": ("{e} >= ?", "h"),
    "lt": ("{e} < ?", "l"),
    "ge": ("{e} >= ?", "l"),
    "le": ("{e} < ?", "h"),
    "sa": ("{e} >= ?", "h"),
    "eb": ("{e} < ?", "l"),
    "ap": ("{e} >= ? AND {e} < ?", "lh"),
}


# ---------------------------------------------------------------------------------------------- a whole search


class Search:
    """One search for one viewer, compiled. ``from_grants`` forces the plan that starts at the viewer's grants (None: it is
    taken when nothing else narrows the search)."""

    def __init__(self, session: Session, viewer: Viewer, query: Query, *, from_grants: bool | None = None) -> None:
        self._session = session
        self._viewer = viewer
        self._query = query
        self._free = visible.unscoped(viewer, query.type)
        self._keys = self._sort_keys()
        self._conditions = sorted((condition(query.type, test) for test in query.tests if not test.chain), key=lambda c: c.rank)
        self._chains = [test for test in query.tests if test.chain]
        best = self._conditions[0].rank if self._conditions else _NEGATIVE
        narrow = bool(query.ids) or best <= _NARROW
        self._from_grants = (not self._free) and (not narrow if from_grants is None else from_grants)
        self._driver = self._choose()

    def _choose(self) -> Condition | None:
        """The test to begin with, if one leaves few. PostgreSQL knows its figures and judges the wide ones itself; on SQLite
        they are counted, for beginning with half of the table costs as much as reading all of a rare code's."""
        if self._query.ids or self._from_grants or not self._conditions:
            return None
        first = self._conditions[0]
        if first.rank <= _NARROW:
            return first
        if first.rank >= _NEGATIVE or self._session.dialect.postgres:
            return None
        picked = self._session.one(first.probe(_FEW), first.args)
        return first if picked is not None and picked[0] < _FEW else None

    # -- statement

    def _sort_keys(self) -> list[tuple[str, bool, type, tuple[Any, ...]]]:
        """(expression on ``resource r`` or 'eff', descending, Python type, arguments)."""
        keys: list[tuple[str, bool, type, tuple[Any, ...]]] = []
        for param, down in self._query.sort:
            if param == "_lastUpdated":
                keys.append(("eff", down, int, ()))
            elif param == "_id":
                keys.append(("r.id", down, str, ()))
            else:
                name = f"{self._query.type}.{param}"
                pick, none_number, none_text = ("max", -FOREVER, "''") if down else ("min", FOREVER, f"'{_LAST}'")
                number = ", ".join(
                    f"(SELECT {pick}(t.low) FROM {table} t WHERE t.rid = r.rid AND t.name = ?)" for table in ("ix_date", "ix_quantity")
                )
                text = ", ".join(
                    f"(SELECT {pick}(t.{column}) FROM {table} t WHERE t.rid = r.rid AND t.name = ?)"
                    for table, column in (("ix_string", "text"), ("ix_token", "code"), ("ix_reference", "code"))
                )
                keys.append((f"coalesce({number}, {none_number})", down, int, (name, name)))
                keys.append((f"coalesce({text}, {none_text})", down, str, (name, name, name)))
        if not any(param in ("_lastUpdated", "_id") for param, _ in self._query.sort):
            keys.append(("eff", False, int, ()))
        return keys

    def _found(self) -> tuple[str, str, Args]:
        """(WITH clause, SELECT of rid, vid, eff and sort keys, arguments) of every match."""
        query = self._query
        where = ["r.type = ?", "r.deleted = 0"]
        args: Args = [query.type]
        if query.ids:
            where.append(f"r.id IN ({', '.join('?' * len(query.ids))})")
            args += query.ids
        source = "resource r"
        if self._driver is not None:
            source = self._driver.driver()
        for made in self._conditions:
            if made is not self._driver:
                where.append(made.filter())
                args += made.args
        for test in self._chains:
            sql, chained = self._chain(test)
            where.append(sql)
            args += chained
        key_args: Args = []
        key_columns = ""
        for place, (expression, _, _, more) in enumerate(self._keys):
            if expression != "eff":
                key_columns += f", {expression} AS k{place}"
                key_args += more
        carried = "".join(f", m.k{place}" for place, key in enumerate(self._keys) if key[0] != "eff")
        tests = " AND ".join(where)
        if self._driver is not None:
            args = [*self._driver.args, *args]
        if self._free:
            return "", f"SELECT r.rid, r.vid, r.updated AS eff{key_columns} FROM {source} WHERE {tests}", key_args + args
        if self._from_grants:
            granted, grant_args = visible.rows(self._viewer, query.type)
            source = f"({granted}) s CROSS JOIN resource r ON r.rid = s.rid"
            inner = f"SELECT r.rid, r.vid, r.updated, s.seen{key_columns} FROM {source} WHERE {tests}"
            args = [*key_args, *grant_args, *args]
        else:
            seen, seen_args = visible.seen(self._viewer)
            inner = f"SELECT r.rid, r.vid, r.updated, {seen} AS seen{key_columns} FROM {source} WHERE {tests}"
            args = [*seen_args, *key_args, *args]
        return (
            f"WITH m AS MATERIALIZED ({inner}) ",
            f"SELECT m.rid, m.vid, GREATEST(m.updated, m.seen) AS eff{carried} FROM m WHERE m.seen < {FOREVER}",
            args,
        )

    def _chain(self, test: Test) -> tuple[str, Args]:
        """The reference points at a resource that passes the chained tests and that the viewer may see."""
        inner = ["c.deleted = 0", "c.type = ?"]
        args: Args = [f"{self._query.type}.{test.param}", test.chain_type]
        for each in test.chain:
            made = condition(test.chain_type, each)
            inner.append(made.filter("c"))
            args += made.args
        if not visible.unscoped(self._viewer, test.chain_type):
            seen, seen_args = visible.seen(self._viewer, "c")
            inner.append(f"{seen} < {FOREVER}")
            args += seen_args
        joined = "x.rid = r.rid AND x.name = ? AND c.type = x.system AND c.id = x.code"
        return f"EXISTS (SELECT 1 FROM ix_reference x JOIN resource c ON {joined} AND {' AND '.join(inner)})", args

    def _updated(self) -> tuple[list[str], Args]:
        parts: list[str] = []
        args: Args = []
        for prefix, low, high in self._query.updated:
            sql, bounds = _UPDATED[prefix or "eq"]
            parts.append(sql.format(e="h.eff"))
            args += [low if bound == "l" else high for bound in bounds]
        return parts, args

    def page(self) -> Page:
        query, session = self._query, self._session
        opening, found, args = self._found()
        where, more = self._updated()
        total = None
        if query.total or query.count <= 0:
            conditions = f" WHERE {' AND '.join(where)}" if where else ""
            total = int((session.one(f"{opening}SELECT count(*) FROM ({found}) h{conditions}", (*args, *more)) or (0,))[0])
            if query.count <= 0:
                return Page((), total=total)
        scope = repr((query.type, query.tests, query.ids, query.updated, query.sort, self._viewer.partner, self._viewer.everything))
        names = [("eff" if key[0] == "eff" else f"k{place}") for place, key in enumerate(self._keys)]
        order = [(name, key[1]) for name, key in zip(names, self._keys)] + [("rid", False)]
        if query.cursor is not None:
            place = paging.decode(scope, query.cursor, [*(key[2] for key in self._keys), int])
            sql, place_args = _after(order, place)
            where.append(sql)
            more += place_args
        conditions = f" WHERE {' AND '.join(where)}" if where else ""
        columns = ", ".join(dict.fromkeys(["h.rid", "h.vid", "h.eff", *(f"h.{name}" for name in names)]))
        text = (
            f"{opening}SELECT {rows.columns('p.eff')}, {', '.join(f'p.{name}' for name in names)}, p.rid FROM ("
            f"SELECT {columns} FROM ({found}) h{conditions} ORDER BY {_order('h', order)} LIMIT {int(query.count) + 1}"
            f") p JOIN resource r ON r.rid = p.rid JOIN version v ON v.vid = p.vid ORDER BY {_order('p', order)}"
        )
        got = session.all(text, (*args, *more))
        following = None
        if len(got) > query.count:
            got = got[: query.count]
            following = paging.encode(scope, got[-1][rows.WIDTH :])
        matches = [rows.stored(row) for row in got]
        included = self._include({row[-1]: row[0] for row in got}) if query.includes and got else ()
        return Page(matches, included, following, total, max((stored.effective for stored in matches), default=0))

    # -- includes

    def _include(self, matches: dict[int, str]) -> list[Stored]:
        known = dict(matches)
        found: list[Stored] = []
        fresh = matches
        includes: Sequence[Include] = self._query.includes
        for _ in range(1 + ROUNDS):
            news: dict[int, str] = {}
            for include in includes:
                for row in self._included(include, fresh):
                    if row[-1] not in known:
                        known[row[-1]] = news[row[-1]] = row[0]
                        found.append(rows.stored(row))
                if len(found) > MOST_INCLUDED:
                    raise TooLarge(f"more than {MOST_INCLUDED} resources would be included", hint="ask for fewer matches with _count")
            includes = [include for include in includes if include.iterate]
            fresh = news
            if not news or not includes:
                break
        return found

    def _included(self, include: Include, known: dict[int, str]) -> list[Row]:
        if include.reverse:
            starts = [rid for rid, type in known.items() if include.target in ("", type)]
        else:
            starts = [rid for rid, type in known.items() if include.source in ("*", type)]
        if not starts:
            return []
        name, name_args = _named(include)
        # One match is what a poll of one plan has. PostgreSQL keeps the plan of "= ?"; it plans a short list anew each time.
        among, those = ("= ?", starts[0]) if len(starts) == 1 else ("IN LIST(?)", self._session.array(starts))
        args: Args = []
        if include.reverse:
            inner = (
                f"SELECT x.rid FROM resource m JOIN ix_reference x ON x.code = m.id AND x.system = m.type AND {name} WHERE m.rid {among}"
            )
            args += [*name_args, those]
        else:
            inner = (
                f"SELECT t.rid FROM ix_reference x JOIN resource t ON t.id = x.code AND t.type = x.system WHERE x.rid {among} AND {name}"
                + (" AND x.system = ?" if include.target else "")
            )
            args += [those, *name_args, *([include.target] if include.target else [])]
        if self._viewer.everything:
            seen, seen_args = "0", ()
        else:
            seen, seen_args = visible.seen(self._viewer)
        text = (
            f"SELECT {rows.columns('v.updated')}, {seen} AS seen, r.rid FROM resource r JOIN version v ON v.vid = r.vid"
            f" WHERE r.rid IN ({inner}) AND r.deleted = 0 LIMIT {MOST_INCLUDED * 4}"
        )
        got = self._session.all(text, (*seen_args, *args))
        return [rows.effective(row, row[rows.WIDTH]) for row in got if row[rows.WIDTH] < FOREVER]


def _named(include: Include) -> tuple[str, list[str]]:
    if include.source == "*":
        return "x.name <> ''", []
    if include.param == "*":
        return "x.name >= ? AND x.name < ?", [f"{include.source}.", f"{include.source}/"]
    return "x.name = ?", [f"{include.source}.{include.param}"]


def _order(alias: str, keys: Sequence[tuple[str, bool]]) -> str:
    return ", ".join(f"{alias}.{name}{' DESC' if down else ''}" for name, down in keys)


def _after(keys: Sequence[tuple[str, bool]], place: Sequence[Any]) -> tuple[str, Args]:
    """Behind ``place`` in the order of ``keys``."""
    parts: list[str] = []
    args: Args = []
    for at, (name, down) in enumerate(keys):
        same = "".join(f"h.{earlier} = ? AND " for earlier, _ in keys[:at])
        parts.append(f"({same}h.{name} {'<' if down else '>'} ?)")
        args += [*place[:at], place[at]]
    return "(" + " OR ".join(parts) + ")", args


def explain(session: Session, text: str, args: Sequence[Any]) -> str:
    """The database's plan, for tests."""
    prefix = "EXPLAIN " if session.dialect.postgres else "EXPLAIN QUERY PLAN "
    return json.dumps([str(row[-1]) for row in session.all(prefix + text, args)])
