"""One SELECT of a list: filters, an order by one growing number, a cursor, one row more than asked to know of the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fhircase.storage import paging
from fhircase.storage.engine import Row, Session

MOST = 1000


class Listing:
    """Collects conditions; ``rows`` runs it. The first column of ``select`` must be ``order``."""

    def __init__(self, name: str, select: str, *, order: str = "n", newest_first: bool = True) -> None:
        self._name = name
        self._select = select
        self._order = order
        self._down = newest_first
        self._conditions: list[str] = []
        self._args: list[Any] = []

    def where(self, condition: str, *args: Any) -> None:
        self._conditions.append(condition)
        self._args.extend(args)

    def rows(self, session: Session, cursor: str | None, count: int) -> tuple[Sequence[Row], str | None]:
        """Raises Malformed for a cursor that this list with these filters did not give."""
        count = max(1, min(count, MOST))
        scope = repr((self._name, self._conditions, self._args))
        conditions, args = list(self._conditions), list(self._args)
        place = paging.after(scope, cursor)
        if place is not None:
            conditions.append(f"{self._order} {'<' if self._down else '>'} ?")
            args.append(place)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        found = session.all(f"{self._select}{where} ORDER BY {self._order} {'DESC' if self._down else 'ASC'} LIMIT {int(count) + 1}", args)
        if len(found) <= count:
            return found, None
        return found[:count], paging.encode(scope, (found[count - 1][0],))
