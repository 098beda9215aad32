"""``open`` a store, ``migrate`` its database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fhircase import ports
from fhircase.errors import FhircaseError, Unavailable
from fhircase.storage import engine, upgrade
from fhircase.storage.audit import SqlAudit
from fhircase.storage.engine import Session
from fhircase.storage.inbox import SqlInbox
from fhircase.storage.keys import SqlKeys
from fhircase.storage.links import SqlLedger, SqlLinks
from fhircase.storage.outbox import SqlOutbox
from fhircase.storage.partners import SqlPartners
from fhircase.storage.plans import SqlPlans
from fhircase.storage.reviews import SqlReviews


@dataclass(slots=True)
class SqlTx:
    """One transaction (ports.Tx)."""

    plans: ports.Plans
    inbox: ports.Inbox
    outbox: ports.Outbox
    links: ports.Links
    ledger: ports.Ledger
    reviews: ports.Reviews
    keys: ports.Keys
    audit: ports.Audit
    partners: ports.Partners


def _transaction(session: Session) -> SqlTx:
    return SqlTx(
        SqlPlans(session),
        SqlInbox(session),
        SqlOutbox(session),
        SqlLinks(session),
        SqlLedger(session),
        SqlReviews(session),
        SqlKeys(session),
        SqlAudit(session),
        SqlPartners(session),
    )


class SqlStore:
    """ports.Store on SQLite or PostgreSQL. Open it after a fork, once per process; it is safe to share between threads."""

    def __init__(self, database: engine.Sqlite | engine.Postgres, wake: Callable[[], None] | None = None) -> None:
        self._database = database
        self._wake = wake

    @contextmanager
    def write(self) -> Iterator[ports.Tx]:
        """Committed when the block ends, rolled back when it raises. Raises Unavailable when nothing was stored, Conflict
        when a constraint forbids it."""
        with self._database.write() as session:
            yield _transaction(session)
        if session.woken and self._wake is not None:
            self._wake()

    @contextmanager
    def read(self) -> Iterator[ports.Tx]:
        """A consistent snapshot; a search that takes over five seconds raises Unavailable."""
        with self._database.read() as session:
            yield _transaction(session)

    def wait(self, seconds: float) -> None:
        self._database.wait(seconds)

    def ready(self) -> bool:
        """Whether the database answers and its tables are those of this version (for /readyz)."""
        try:
            with self._database.read() as session:
                return upgrade.current(session) == upgrade.head()
        except (FhircaseError, self._database.errors.Error):
            return False

    def close(self) -> None:
        """Let go of every connection. The store cannot be used afterwards."""
        self._database.close()


def open(url: str, *, wake: Callable[[], None] | None = None, clock: Any = None) -> SqlStore:
    """The store at ``sqlite:///file`` or ``postgresql://…``, migrated before by ``migrate``.

    ``wake`` is called after each commit that left work in the outbox, beside the wake-up of those in ``wait``. ``clock`` is
    taken for symmetry with other parts and not read: times come as arguments, lease times on PostgreSQL from the database.
    Raises ValueError for a URL that names neither."""
    return SqlStore(engine.connect(url), wake)


def migrate(url: str) -> None:
    """Bring the database at ``url`` to the tables of this version; several processes may do so at once. Raises Unavailable
    when it cannot be reached or was written by a later version."""
    upgrade.upgrade(url)


__all__ = ["SqlStore", "SqlTx", "Unavailable", "migrate", "open"]
