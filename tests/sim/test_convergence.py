"""The real engine under faults (RELIABILITY §2): invariants I1 to I7 over seeded histories, and proof that each guard is missed.

``FHIRCASE_SIM_SEEDS`` is how many seeds are run (the first is ``FHIRCASE_SIM_FIRST``)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fhircase import storage
from tests.sim.world import World

SEEDS = int(os.environ.get("FHIRCASE_SIM_SEEDS", "12"))
FIRST = int(os.environ.get("FHIRCASE_SIM_FIRST", "0"))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Any]]:
    """A new migrated store each time it is called; one at a time."""
    folder = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    base = tmp_path_factory.mktemp("sim") if folder is None else folder / f"fhircase-sim-{os.getpid()}"
    base.mkdir(exist_ok=True)
    template = base / "template.db"
    storage.migrate(f"sqlite:///{template}")
    opened: list[Any] = []

    def make() -> Any:
        while opened:
            opened.pop().close()
        for left in base.glob("world.db*"):
            left.unlink()
        shutil.copy(template, base / "world.db")
        store = storage.open(f"sqlite:///{base / 'world.db'}")
        opened.append(store)
        return store

    yield make
    while opened:
        opened.pop().close()
    shutil.rmtree(base, ignore_errors=True)


@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_every_edit_survives_and_all_replicas_agree(seed: int, fresh: Callable[[], Any]) -> None:
    world = World(fresh(), seed)
    assert world.violations() == []
