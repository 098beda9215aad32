from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import servers


def _running(start: Callable[..., servers.Server], folder: Path, **how: Any) -> Iterator[servers.Server]:
    try:
        server = start(folder, **how)
    except servers.Unavailable as missing:
        pytest.skip(str(missing))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sekmet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    yield from _running(servers.start_sekmet, tmp_path_factory.mktemp("sekmet"))


@pytest.fixture(scope="session")
def sekmet_absolute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """Answers with absolute references."""
    yield from _running(servers.start_sekmet, tmp_path_factory.mktemp("sekmet-absolute"), absolute=True)


@pytest.fixture(scope="session")
def medplum(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    yield from _running(servers.start_medplum, tmp_path_factory.mktemp("medplum"))


@pytest.fixture(scope="session")
def medplum_strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    """Refuses what breaks its checks."""
    yield from _running(servers.start_medplum, tmp_path_factory.mktemp("medplum-strict"), validate=True)


@pytest.fixture(scope="session")
def hapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Server]:
    yield from _running(servers.start_hapi, tmp_path_factory.mktemp("hapi"))
