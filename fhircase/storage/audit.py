"""The audit: append-only, hash-chained per batch (ports.Audit, DECISIONS 26).

``hash`` of a batch = SHA-256 over the hash before it, its number, and its rows' numbers and texts. Changing, removing or
slipping in a row breaks its batch; dropping the oldest batches whole (retention) does not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from fhircase.ports import AuditEntry
from fhircase.storage import schema
from fhircase.storage.engine import Insert, Session
from fhircase.storage.listing import Listing
from fhircase.storage.packed import pack, unpack

_LOCK = 0x66686972_61756474
"""The advisory lock that serialises the chain on PostgreSQL ('fhiraudt')."""
_ROWS = Insert(schema.audit, "n", "batch", "at", "partner", "entry")
_CLIENTS = Insert(schema.audit_client, "client", "n")


class SqlAudit:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, entries: Sequence[AuditEntry]) -> None:
        """Call it late in a transaction: on PostgreSQL others that audit wait from here until it ends."""
        if not entries:
            return
        session = self._session
        if session.dialect.postgres:
            session.all("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
        batch, last, before = session.one("SELECT batch, last, hash FROM audit_chain ORDER BY batch DESC LIMIT 1") or (0, 0, "")
        batch += 1
        made = [(n, pack(_values(entry))) for n, entry in enumerate(entries, last + 1)]
        session.insert(
            _ROWS,
            [(n, batch, entry.at, entry.partner, text) for (n, text), entry in zip(made, entries)],
        )
        clients = {(client, n): None for (n, _), entry in zip(made, entries) for client in entry.clients}
        session.insert(_CLIENTS, list(clients))
        session.run(
            "INSERT INTO audit_chain (batch, last, before, hash) VALUES (?, ?, ?, ?)",
            (batch, made[-1][0], before, _hash(before, batch, made)),
        )

    def list(
        self, *, client: str | None = None, partner: str | None = None, since: int | None = None, cursor: str | None = None, count: int = 50
    ) -> tuple[Sequence[tuple[int, AuditEntry]], str | None]:
        """Newest first."""
        listing = Listing("audit", "SELECT n, entry FROM audit")
        if client is not None:
            listing.where("n IN (SELECT c.n FROM audit_client c WHERE c.client = ?)", client)
        if partner is not None:
            listing.where("partner = ?", partner)
        if since is not None:
            listing.where("at >= ?", since)
        found, following = listing.rows(self._session, cursor, count)
        return [(n, _entry(text)) for n, text in found], following

    def verify(self) -> int | None:
        """Reads the whole audit, a thousand batches at a time."""
        previous: tuple[int, int, str] | None = None
        at = -1
        while True:
            chain = self._session.all("SELECT batch, last, before, hash FROM audit_chain WHERE batch > ? ORDER BY batch LIMIT 1000", (at,))
            if not chain:
                break
            rows: dict[int, list[tuple[int, str]]] = {}
            for batch, n, text in self._session.all(
                "SELECT batch, n, entry FROM audit WHERE batch >= ? AND batch <= ? ORDER BY n", (chain[0][0], chain[-1][0])
            ):
                rows.setdefault(batch, []).append((n, text))
            for batch, last, before, hash in chain:
                held = rows.get(batch, [])
                first = held[0][0] if held else last
                if previous is not None and (previous[0] + 1, previous[2]) != (batch, before):
                    return previous[1] + 1
                expected = first if previous is None else previous[1] + 1
                if [n for n, _ in held] != list(range(expected, last + 1)):
                    present = {n for n, _ in held}
                    return next((n for n in range(expected, last + 1) if n not in present), first)
                if _hash(before, batch, held) != hash:
                    return first
                previous = (batch, last, hash)
            at = chain[-1][0]
        stray = self._session.one("SELECT min(a.n) FROM audit a WHERE NOT EXISTS (SELECT 1 FROM audit_chain c WHERE c.batch = a.batch)")
        return None if stray is None or stray[0] is None else int(stray[0])


def _hash(before: str, batch: int, rows: Sequence[tuple[int, str]]) -> str:
    made = hashlib.sha256(f"{before}\n{batch}".encode())
    for n, text in rows:
        made.update(f"\n{n} ".encode())
        made.update(text.encode())
    return made.hexdigest()


def _values(e: AuditEntry) -> tuple[Any, ...]:
    return (e.at, e.action, e.interaction, e.partner, e.user, e.key, e.refs, e.clients, e.outcome, e.correlation, e.detail)


def _entry(text: str) -> AuditEntry:
    values: Any = [tuple(value) if isinstance(value, list) else value for value in unpack(text)]
    return AuditEntry(*values)
