"""Our own codes, extensions and identifier systems at ``/fhir``: read and searched beside what clients stored there, but not
stored, not versioned by writes and readable by every caller. Made once from the mappings; the version is a figure made from the
text, so that it is the same in every process and changes when a table does."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from fhircase.errors import MethodNotAllowed
from fhircase.fhir import index, jsontext, times
from fhircase.fhir.match import matches
from fhircase.fhir.query import IndexValue, Query
from fhircase.fhir.stamp import stamp
from fhircase.flows.hub import Hub
from fhircase.mapping import published
from fhircase.plans.change import Ref
from fhircase.ports import Page, Stored

TYPES = frozenset(published.TYPES)
_MARK = "published."


@dataclass(frozen=True, slots=True)
class _One:
    stored: Stored
    values: tuple[IndexValue, ...]


def read(hub: Hub, ref: Ref, version: int | None = None) -> Stored | None:
    """The published resource; None when there is none, or none of this version."""
    if ref.type not in TYPES:
        return None
    found = _all(hub).get(ref)
    return found.stored if found is not None and version in (None, found.stored.version) else None


def keep(hub: Hub, ref: Ref) -> None:
    """Raises MethodNotAllowed for what is published: it changes with the files that it is made from."""
    if read(hub, ref) is not None:
        raise MethodNotAllowed(f"{ref} is the hub's own and is not written here", hint="edit mappings/ instead")


def place(query: Query) -> int | None:
    """How many of the published ones the pages before have shown; None for a search that is among the stored ones already."""
    if query.type not in TYPES:
        return None
    cursor = query.cursor
    if cursor is None:
        return 0
    shown = cursor.removeprefix(_MARK)
    return int(shown) if cursor.startswith(_MARK) and shown.isascii() and shown.isdigit() and len(shown) < 10 else None


def found(hub: Hub, query: Query) -> list[Stored]:
    """Those that match, by id."""
    return [
        one.stored for ref, one in _all(hub).items() if ref.type == query.type and matches(query, ref.id, one.stored.updated, one.values)
    ]


def stored_part(query: Query, left: int) -> Query | None:
    """What to ask of the store: to fill the page behind the ``left`` published ones that are still to be shown, or the total
    alone; None when it need not be asked."""
    room = query.count - max(left, 0)
    if room <= 0 and not query.total and query.count > 0:
        return None
    return replace(query, cursor=None, count=max(room, 0))


def page(query: Query, ours: Sequence[Stored], since: int, theirs: Page) -> Page:
    """One page: published ones from ``since`` on, then what the store gave. As long as they fill it, the next page begins
    with a mark of ours."""
    shown = list(ours[since : since + query.count])
    total = None if theirs.total is None else theirs.total + len(ours)
    full = 0 < query.count == len(shown)
    return replace(theirs, matches=[*shown, *theirs.matches], total=total, next=f"{_MARK}{since + len(shown)}" if full else theirs.next)


def _all(hub: Hub) -> dict[Ref, _One]:
    """Nothing on a plain FHIR server, which has no words of its own."""
    return _made(hub.maps) if hub.maps is not None and hub.policy.coordinates else {}


@lru_cache(maxsize=2)
def _made(maps: Any) -> dict[Ref, _One]:
    return {Ref(one["resourceType"], one["id"]): _one(one) for one in published.resources(maps)}


def _one(resource: dict[str, Any]) -> _One:
    at = times.bounds(resource["date"])[0]
    version = zlib.crc32(jsontext.dumps(resource).encode()) % 999_999_999 + 1
    text, mark = stamp(resource, id=resource["id"], version=version, at_ms=at)
    stored = Stored(
        type=resource["resourceType"], id=resource["id"], version=version, updated=at, seq=0, deleted=False, client=None, case=None,
        creator="hub", text=text, effective=at, mark=mark,
    )  # fmt: skip
    return _One(stored, tuple(index.extract(resource)))
