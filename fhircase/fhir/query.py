"""Values that the search grammar, the index and the SQL agree on (http://hl7.org/fhir/R4/search.html)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

OPEN_LOW = -(2**62)
OPEN_HIGH = 2**62
"""The ends of a period without start or without end: before and after every date, and within 64 bits."""

Kind = Literal["token", "string", "date", "reference", "quantity", "uri", "special"]


@dataclass(frozen=True, slots=True)
class IndexValue:
    """One value of one search parameter of one resource, ready for an index row.

    token: ``system`` ('' none), ``code``; ``text`` the display or text, folded (for ``:text``; a row may have ``text`` alone).
    string: ``text`` folded (lower case, no accents, single spaces), ``code`` as written (for ``:exact``). uri: ``code``.
    date: ``low``/``high`` epoch milliseconds, inclusive/exclusive; an open end is OPEN_LOW or OPEN_HIGH.
    quantity (and number): ``low`` = ``high`` = value*1e6 as integer, ``system`` and ``code`` of the unit, ``text`` the
    human unit folded. reference: ``system`` = target type ('' if unknown), ``code`` = id for a local one, else the whole
    url (of a canonical without its ``|version``); a Reference with an identifier has ``text`` = 'system|value' (``code``
    '' when it has nothing else)."""

    param: str
    kind: Kind
    system: str = ""
    code: str = ""
    text: str = ""
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class Test:
    """One ``name:modifier=a,b``: any of ``values`` must hold. Each value is (how, IndexValue with the fields to compare):

    - modifier ``missing``: one value whose ``how`` is 'true' or 'false'; the same for every kind.
    - date: ``how`` eq ne gt lt ge le sa eb ap against [low, high) (ap: already widened; overlap is enough).
    - quantity: the same prefixes; [low, high) is what the number's digits allow, for eq, ne, ap; for the others ``low``
      = ``high`` = the number itself. ``system`` '' any; ``code`` '' any; ``system`` '' with a ``code``: the code or (``text``) the unit.
    - token, modifier '' or ``not``: ``how`` 'code' (this code in any system), 'both' (system and code equal; ``system``
      '' means that there is none), 'system' (any code of it). ``not`` holds for resources without the parameter too.
      Modifier ``text``: ``text`` begins the display (after folding).
    - string: ``how`` ''. Modifier '': ``text`` begins it; ``contains``: ``text`` is within; ``exact``: ``code`` is equal.
    - uri: ``how`` ''. ``code`` equal; ``below``: equal or begins with ``code`` + '/'; ``above``: the reverse.
    - reference: ``how`` ''. ``code`` equal, and ``system`` equal unless '' (any type). Modifier ``identifier``: ``how`` 'both'
      (``text`` equal), 'code' (``text`` ends with '|value'), 'system' (``text`` begins with 'system|').

    ``chain``: tests that the referenced resource of type ``chain_type`` must pass (issue of its own; empty for now)."""

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
    built in. ``cursor`` opaque, made by the store. ``ignored`` names parameters that were not understood (lenient);
    ``used`` are the pairs that were, as they came, for the self link. ``ids`` (): no ``_id`` given; ('',) when no
    id can match. ``updated``: low inclusive, high exclusive, of the precision given; prefixes as for date."""

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
