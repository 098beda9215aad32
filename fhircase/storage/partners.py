"""Partners' records and sealed secrets (ports.Partners)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

from fhircase.plans.partner import Partner
from fhircase.storage.engine import Session
from fhircase.storage.packed import pack, unpack

_KNOWN = frozenset(field.name for field in fields(Partner))


class SqlPartners:
    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, name: str) -> Partner | None:
        row = self._session.one("SELECT doc FROM partner WHERE name = ?", (name,))
        return _partner(row[0]) if row else None

    def all(self) -> Sequence[Partner]:
        """By name."""
        return [_partner(row[0]) for row in self._session.all("SELECT doc FROM partner ORDER BY name")]

    def save(self, partner: Partner) -> None:
        self._session.run(
            "INSERT INTO partner (name, paused, doc) VALUES (?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET paused = excluded.paused, doc = excluded.doc",
            (partner.name, int(partner.paused), pack(asdict(partner))),
        )

    def secret(self, name: str) -> str | None:
        row = self._session.one("SELECT sealed FROM secret WHERE name = ?", (name,))
        return str(row[0]) if row else None

    def save_secret(self, name: str, sealed: str) -> None:
        self._session.run(
            "INSERT INTO secret (name, sealed) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed", (name, sealed)
        )


@lru_cache(maxsize=1_000)
def _partner(text: str) -> Partner:
    """Read once a text: every message asks for all partners. A field of a later version is left out; one of an earlier
    version has its default."""
    doc: dict[str, Any] = {name: value for name, value in unpack(text).items() if name in _KNOWN}
    for name, value in doc.items():
        if isinstance(value, list):
            doc[name] = tuple(tuple(item) if isinstance(item, list) else item for item in value)
    if "poll_seconds" in doc:
        doc["poll_seconds"] = float(doc["poll_seconds"])
    return Partner(**doc)
