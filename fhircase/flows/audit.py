"""Read audit, written in batches (DECISIONS 26): a read notes what it showed; ``flush`` writes what was noted, and the
composition root calls it at least once a second. A crash can lose that second. A write's audit is part of its commit."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

from fhircase.access.principal import Principal
from fhircase.errors import Unavailable
from fhircase.ports import AuditEntry, Store, Stored

LIMIT = 100_000
"""Entries that may wait. Beyond it reads are refused: what cannot be audited is not shown."""

BATCH = 5_000


class ReadAudit:
    """The queue between reads and the audit table; any thread may note, one flushes."""

    def __init__(self) -> None:
        self._waiting: deque[AuditEntry] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, entry: AuditEntry) -> None:
        """Raises Unavailable when too many wait (the store takes no audit)."""
        if len(self._waiting) >= LIMIT:
            raise Unavailable("the audit trail cannot be written", hint="try again later")
        self._waiting.append(entry)

    def shown(self, who: Principal, interaction: str, shown: Sequence[Stored], *, at: int, correlation: str, names: str = "") -> None:
        """Note that ``shown`` was read. ``names``: the names (never values) of search parameters."""
        clients = tuple([stored.client for stored in shown if stored.client])
        refs = [f"{stored.type}/{stored.id}" for stored in shown]
        self.named(who, interaction, refs, clients, at=at, correlation=correlation, names=names)

    def named(
        self, who: Principal, interaction: str, refs: Sequence[str], clients: Sequence[str], *, at: int, correlation: str, names: str = ""
    ) -> None:
        """The same, by references and the ids of the clients that they are of."""
        action: Literal["E", "R"] = "E" if interaction.startswith("search") else "R"
        once = tuple(dict.fromkeys(clients))
        self.note(AuditEntry(at, action, interaction, who.partner, who.user, who.key, tuple(refs), once, "0", correlation, names))

    def refused(self, who: Principal, interaction: str, ref: str, *, at: int, correlation: str, reason: str) -> None:
        """Note an attempt that was answered 403 or 404 (outcome 4: minor failure, DICOM)."""
        self.note(AuditEntry(at, "E", interaction, who.partner, who.user, who.key, (ref,) if ref else (), (), "4", correlation, reason))

    def flush(self, store: Store) -> int:
        """Write what waits; how many. When the store refuses, all stay in the queue in their order and the error is raised."""
        written = 0
        while self._waiting:
            batch: list[AuditEntry] = []
            while self._waiting and len(batch) < BATCH:
                batch.append(self._waiting.popleft())
            try:
                with store.write() as tx:
                    tx.audit.add(batch)
            except BaseException:
                self._waiting.extendleft(reversed(batch))
                raise
            written += len(batch)
        return written
