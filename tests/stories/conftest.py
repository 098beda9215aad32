"""``pytest tests/stories --update`` writes what each story becomes now into its ``expected.json``; look at the difference before
committing it."""

from __future__ import annotations

from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", default=False, help="rewrite fixtures/stories/*/expected.json")


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Known only when this folder is named on the command line."""
    return bool(request.config.getoption("--update", default=False))


@pytest.fixture(scope="session")
def maps() -> Any:
    """The project's mappings, read once."""
    from fhircase.mapping import Mappings

    return Mappings.load()
