"""API keys, by their digest (ports.Keys)."""

from __future__ import annotations

from collections.abc import Sequence

from fhircase.ports import Key
from fhircase.storage.engine import Row, Session
from fhircase.storage.packed import pack, unpack

_SELECT = "SELECT id, name, digest, partner, user_name, scopes, admin, created, revoked FROM api_key"


class SqlKeys:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def by_digest(self, digest: str) -> Key | None:
        """A revoked one too: ``revoked`` says so."""
        row = self._session.one(f"{_SELECT} WHERE digest = ?", (digest,))
        return _key(row) if row else None

    def add(self, key: Key) -> None:
        """Raises Conflict when the id or the digest is taken."""
        self._session.run(
            "INSERT INTO api_key (id, name, digest, partner, user_name, scopes, admin, created, revoked)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (key.id, key.name, key.digest, key.partner, key.user, pack(key.scopes), int(key.admin), key.created, key.revoked),
        )

    def revoke(self, id: str, at: int) -> None:
        """The first revocation counts."""
        self._session.run("UPDATE api_key SET revoked = ? WHERE id = ? AND revoked IS NULL", (at, id))

    def list(self) -> Sequence[Key]:
        """Oldest first."""
        return [_key(row) for row in self._session.all(f"{_SELECT} ORDER BY created, id")]


def _key(row: Row) -> Key:
    id, name, digest, partner, user, scopes, admin, created, revoked = row
    return Key(id, name, digest, partner, user, tuple(unpack(scopes)), bool(admin), created, revoked)
