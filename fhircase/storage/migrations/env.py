"""Run by Alembic, always on the connection that ``storage.upgrade`` hands over."""

from __future__ import annotations

from alembic import context

from fhircase.storage.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
