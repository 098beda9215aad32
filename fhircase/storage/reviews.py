"""What only a person can settle (ports.Reviews)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from fhircase.plans.change import Ref, Review
from fhircase.ports import OpenReview
from fhircase.storage.engine import Row, Session
from fhircase.storage.listing import Listing
from fhircase.storage.packed import clean, clean_or_none, pack, unpack, unpack_or_none

_SELECT = (
    "SELECT n, id, kind, key, what, hint, subject, client, case_id, partner, holds, detail, opened,"
    " message, settled, settled_by, resolution FROM review"
)
_OPEN = (
    "INSERT INTO review (id, kind, key, what, hint, subject, client, case_id, partner, holds, detail, opened, message)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (key) WHERE settled IS NULL DO UPDATE SET what = excluded.what, hint = excluded.hint, detail = excluded.detail,"
    " holds = excluded.holds, client = coalesce(excluded.client, review.client), case_id = coalesce(excluded.case_id, review.case_id)"
    " RETURNING id"
)


class SqlReviews:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def open(self, review: Review, *, id: str, at: int, message: str | None = None) -> str:
        row = self._session.one(
            _OPEN,
            (
                id,
                review.kind,
                clean(review.key),
                clean(review.what),
                clean(review.hint),
                str(review.subject) if review.subject else None,
                review.client,
                review.case,
                review.partner,
                clean_or_none(review.holds),
                pack(review.detail),
                at,
                message,
            ),
        )
        assert row is not None
        return str(row[0])

    def get(self, id: str) -> OpenReview | None:
        row = self._session.one(f"{_SELECT} WHERE id = ?", (clean(id),))
        return _review(row) if row else None

    def settle(self, id: str, *, at: int, by: str, resolution: Mapping[str, Any]) -> None:
        """One that is settled already stays as it is."""
        self._session.run(
            "UPDATE review SET settled = ?, settled_by = ?, resolution = ? WHERE id = ? AND settled IS NULL",
            (at, clean(by), pack(resolution), id),
        )

    def list(
        self,
        *,
        state: Literal["open", "settled", "all"] = "open",
        kind: str | None = None,
        client: str | None = None,
        case: str | None = None,
        cursor: str | None = None,
        count: int = 50,
    ) -> tuple[Sequence[OpenReview], str | None]:
        """Newest first."""
        listing = Listing("reviews", _SELECT)
        if state != "all":
            listing.where(f"settled IS {'NULL' if state == 'open' else 'NOT NULL'}")
        for column, value in (("kind", kind), ("client", client), ("case_id", case)):
            if value is not None:
                listing.where(f"{column} = ?", clean(value))
        found, following = listing.rows(self._session, cursor, count)
        return [_review(row) for row in found], following

    def holds(self, refs: Iterable[Ref]) -> Mapping[Ref, frozenset[str]]:
        wanted = self._session.array(sorted({str(ref) for ref in refs}))
        found = self._session.all(
            "SELECT subject, holds FROM review WHERE settled IS NULL AND holds IS NOT NULL AND subject IN LIST(?)", (wanted,)
        )
        held: dict[Ref, set[str]] = {}
        for subject, element in found:
            held.setdefault(Ref.of(subject), set()).add(element)
        return {ref: frozenset(elements) for ref, elements in held.items()}


def _review(row: Row) -> OpenReview:
    _, id, kind, key, what, hint, subject, client, case, partner, holds, detail, opened, message, settled, settled_by, resolution = row
    return OpenReview(
        id,
        Review(kind, key, what, hint, Ref.of(subject) if subject else None, client, case, partner, holds, unpack(detail)),
        opened,
        message,
        settled,
        settled_by,
        unpack_or_none(resolution),
    )
