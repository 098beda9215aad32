"""What is known of each resource at each partner, and every exchange (ports.Links, ports.Ledger)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fhircase.plans.change import Ref
from fhircase.ports import Exchange, Link
from fhircase.storage.engine import Row, Session
from fhircase.storage.listing import Listing
from fhircase.storage.packed import clean, clean_or_none, pack, pack_or_none, unpack, unpack_or_none

_SELECT = "SELECT partner, ref, remote, etag, updated, stored, sent, pend, state FROM link"
_SAVE = (
    "INSERT INTO link (partner, ref, type, remote, etag, updated, stored, sent, pend, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (partner, ref) DO UPDATE SET remote = excluded.remote, etag = excluded.etag, updated = excluded.updated,"
    " stored = excluded.stored, sent = excluded.sent, pend = excluded.pend, state = excluded.state"
)


class SqlLinks:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, partner: str, ref: Ref) -> Link | None:
        row = self._session.one(f"{_SELECT} WHERE partner = ? AND ref = ?", (partner, str(ref)))
        return _link(row) if row else None

    def get_many(self, partner: str, refs: Iterable[Ref]) -> Mapping[Ref, Link]:
        wanted = self._session.array(sorted({str(ref) for ref in refs}))
        found = map(_link, self._session.all(f"{_SELECT} WHERE partner = ? AND ref IN LIST(?)", (partner, wanted)))
        return {link.ref: link for link in found}

    def by_remote(self, partner: str, type: str, remote: str) -> Link | None:
        """A live link before an ended one, then the older."""
        row = self._session.one(
            f"{_SELECT} WHERE partner = ? AND type = ? AND remote = ? ORDER BY CASE WHEN state = 'live' THEN 0 ELSE 1 END, ref LIMIT 1",
            (partner, type, clean(remote)),
        )
        return _link(row) if row else None

    def save(self, links: Sequence[Link]) -> None:
        self._session.many(
            _SAVE,
            [
                (
                    link.partner,
                    str(link.ref),
                    link.ref.type,
                    clean_or_none(link.remote),
                    clean_or_none(link.etag),
                    clean_or_none(link.updated),
                    pack_or_none(link.stored),
                    pack_or_none(link.sent),
                    pack_or_none(link.pend),
                    link.state,
                )
                for link in links
            ],
        )

    def all(self, partner: str) -> Sequence[Link]:
        """By reference."""
        return [_link(row) for row in self._session.all(f"{_SELECT} WHERE partner = ? ORDER BY ref", (partner,))]

    def cursor(self, partner: str, type: str) -> str | None:
        row = self._session.one("SELECT value FROM sync_cursor WHERE partner = ? AND type = ?", (partner, type))
        return str(row[0]) if row else None

    def set_cursor(self, partner: str, type: str, value: str) -> None:
        self._session.run(
            "INSERT INTO sync_cursor (partner, type, value) VALUES (?, ?, ?)"
            " ON CONFLICT (partner, type) DO UPDATE SET value = excluded.value",
            (partner, type, clean(value)),
        )


class SqlLedger:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, exchanges: Sequence[Exchange]) -> None:
        self._session.many(
            "INSERT INTO exchange (partner, at, direction, verb, ref, remote, status, outcome, correlation, detail)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    e.partner,
                    e.at,
                    e.direction,
                    e.verb,
                    clean(e.ref),
                    clean(e.remote),
                    e.status,
                    clean(e.outcome),
                    e.correlation,
                    pack(e.detail),
                )
                for e in exchanges
            ],
        )

    def list(self, partner: str, *, cursor: str | None = None, count: int = 50) -> tuple[Sequence[Exchange], str | None]:
        """Newest first."""
        listing = Listing(
            "ledger", "SELECT n, partner, at, direction, verb, ref, remote, status, outcome, correlation, detail FROM exchange"
        )
        listing.where("partner = ?", partner)
        found, following = listing.rows(self._session, cursor, count)
        return [_exchange(row) for row in found], following


def _exchange(row: Row) -> Exchange:
    n, partner, at, direction, verb, ref, remote, status, outcome, correlation, detail = row
    return Exchange(partner, at, direction, verb, ref, remote, status, outcome, correlation, unpack(detail), n)


def _link(row: Row) -> Link:
    partner, ref, remote, etag, updated, stored, sent, pend, state = row
    return Link(partner, Ref.of(ref), remote, etag, updated, unpack_or_none(stored), unpack_or_none(sent), unpack_or_none(pend), state)
