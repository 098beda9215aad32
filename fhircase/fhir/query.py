"""Values that the search grammar, the index and the SQL agree on (http://hl7.org/fhir/R4/search.html)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["token", "string", "date", "reference", "quantity", "uri", "special"]


@dataclass(frozen=True, slots=True)
class IndexValue:
    """One value of one search parameter of one resource, ready for an index row.

    token: ``system`` ('' none, kept apart from unknown), ``code``; ``text`` the display, folded.
    string: ``text`` folded (lower case, no accents). uri: ``code``.
    date: ``low``/``high`` epoch milliseconds, inclusive/exclusive. quantity: ``low`` = value*1e6 as integer, system, code.
    reference: ``system`` = target type ('' if unknown), ``code`` = id for a local one, else the whole url; an
    identifier-only reference has ``text`` = 'system|value'."""

    param: str
    kind: Kind
    system: str = ""
    code: str = ""
    text: str = ""
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class Test:
    """One ``name:modifier=a,b``: any of ``values`` must hold. ``modifier``: '', 'not', 'missing', 'exact',
    'contains', 'text', 'identifier', 'below' …. ``prefix`` of each value for date and quantity: eq ne gt lt ge le sa eb ap.
    Values are IndexValues with the fields to compare filled and ``param`` set. ``chain``: tests that the referenced
    resource of type ``chain_type`` must pass (issue of its own; empty for now)."""

    param: str
    kind: Kind
    modifier: str = ""
    values: tuple[tuple[str, IndexValue], ...] = ()
    chain_type: str = ""
    chain: tuple["Test", ...] = ()


@dataclass(frozen=True, slots=True)
class Include:
    """``_include=CarePlan:goal[:Goal]``; ``reverse`` for _revinclude; ``iterate`` for :iterate. ``param`` '*' is all."""

    source: str
    param: str
    target: str = ""
    reverse: bool = False
    iterate: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed search. ``ids`` from _id; ``updated`` tests on _lastUpdated as (prefix, low, high) in epoch ms against
    the caller's effective time (DECISIONS 4). ``sort`` (param, descending); param '_lastUpdated' and '_id' are
    built in. ``cursor`` opaque, made by the store. ``ignored`` names parameters that were not understood (lenient)."""

    type: str
    tests: tuple[Test, ...] = ()
    ids: tuple[str, ...] = ()
    updated: tuple[tuple[str, int, int], ...] = ()
    includes: tuple[Include, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    count: int = 50
    cursor: str | None = None
    total: bool = False
    summary: str = ""
    elements: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    used: tuple[tuple[str, str], ...] = field(default=())
