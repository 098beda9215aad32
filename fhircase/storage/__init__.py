"""The store: SQLite and PostgreSQL behind ``fhircase.ports.Store``."""

from fhircase.storage.store import SqlStore, migrate, open

__all__ = ["SqlStore", "migrate", "open"]
