"""Grants as SQL (DECISIONS 2–5): what a viewer may see, and since when.

A resource is visible on a path: its creator's and the directory's count from the beginning; membership in its case, or in any
case of its client when it has neither case nor sensitive label, from the later of the grant and its joining the case;
an invitation from its grant on. ``seen`` is the earliest of the paths that hold, FOREVER when none does; a version's
effective time is the later of its commit and ``seen``.

Grants are judged at the viewer's moment, or at the last commit when that is later: a clock that lags behind commit order
must not show a later commit and hide an earlier grant."""

from __future__ import annotations

from typing import Any

from fhircase.access.viewer import Viewer
from fhircase.plans.partner import DIRECTORY_TYPES, HUB
from fhircase.storage.schema import FOREVER

_NOW = "(SELECT GREATEST(at, ?) FROM counter WHERE name = 'commit')"
_DIRECTORY = ", ".join(f"'{name}'" for name in DIRECTORY_TYPES)


def _holds(kind: str) -> str:
    """Arguments: partner, at, at."""
    return f"g.partner = ? AND g.kind = '{kind}' AND g.since <= {_NOW} AND g.until > {_NOW}"


def _start(match: str, kind: str) -> str:
    return f"coalesce((SELECT min(g.start) FROM access g WHERE {match} AND {_holds(kind)}), {FOREVER})"


def _seen(r: str) -> str:
    """Arguments: partner, then those of ``_holds`` three times."""
    case = _start(f"g.case_id = {r}.case_id", "member")
    client = _start(f"g.client = {r}.client", "member")
    item = _start(f"g.item_id = {r}.id AND g.item_type = {r}.type", "invited")
    loose = f"CASE WHEN {r}.case_id IS NULL AND {r}.sensitive = 0 THEN {client} ELSE {FOREVER} END"
    return (
        f"CASE WHEN {r}.creator = ? OR {r}.type IN ({_DIRECTORY}) THEN 0"
        f" ELSE LEAST(GREATEST(LEAST({case}, {loose}), {r}.visible_from), {item}) END"
    )


_SEEN = {alias: _seen(alias) for alias in ("r", "c")}

_OF_CASE = "SELECT r.rid, GREATEST(g.start, r.visible_from) FROM access g CROSS JOIN resource r ON r.case_id = g.case_id{type} WHERE "
_OF_CLIENT = (
    "SELECT r.rid, GREATEST(g.start, r.visible_from) FROM access g"
    " CROSS JOIN resource r ON r.client = g.client AND r.case_id IS NULL AND r.sensitive = 0{type} WHERE "
)
_OF_ITEM = "SELECT r.rid, g.start FROM access g CROSS JOIN resource r ON r.id = g.item_id AND r.type = g.item_type{type} WHERE "
_OWN = "SELECT r.rid, 0 AS seen FROM resource r WHERE r.creator = ?{type}"
_GRANTED = (_OF_CASE + _holds("member"), _OF_CLIENT + _holds("member"), _OF_ITEM + _holds("invited"))
_PUBLIC = f"SELECT r.rid, 0 FROM resource r WHERE r.type IN ({_DIRECTORY})"


def unscoped(viewer: Viewer, type: str | None = None) -> bool:
    """Whether no grant decides: the viewer sees everything, or every resource of the type is for all."""
    return viewer.everything or type in DIRECTORY_TYPES


def seen(viewer: Viewer, alias: str = "r") -> tuple[str, tuple[Any, ...]]:
    """An expression on ``resource r`` (or ``c``), for few rows that something else has found."""
    one = (viewer.partner, viewer.at, viewer.at)
    return _SEEN[alias], (viewer.partner, *one, *one, *one)


def rows(viewer: Viewer, type: str | None) -> tuple[str, tuple[Any, ...]]:
    """A SELECT of (rid, seen) of all that the viewer may see, found from its grants: for searches that nothing else
    narrows. The same set as ``seen``."""
    typed = (type,) if type else ()
    clause = " AND r.type = ?" if type else ""
    own, *granted = (path.format(type=clause) for path in (_OWN, *_GRANTED))
    if viewer.partner != HUB:
        own += f" AND r.creator <> '{HUB}'"  # says to the database that its index of other creators is enough
    args: list[Any] = [viewer.partner, *typed]
    for _ in granted:
        args += [*typed, viewer.partner, viewer.at, viewer.at]
    parts = [own, *granted] if type else [own, *granted, _PUBLIC]
    return f"SELECT rid, min(seen) AS seen FROM ({' UNION ALL '.join(parts)}) path GROUP BY rid", tuple(args)
