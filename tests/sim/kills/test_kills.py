"""kill -9 in the middle of things, on both stores, and a database that dies. KILLS in the environment says how many on each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sim.kills.harness import Run

KILLS = int(os.environ.get("KILLS", "50"))
OUTAGES = 3

pytestmark = [pytest.mark.timeout(3600)]


@pytest.fixture
def durable_cluster() -> Iterator[Any]:
    """A PostgreSQL that keeps what it has committed when it is stopped at once."""
    from tests import postgres

    try:
        cluster = postgres.Cluster(fsync=True)
    except postgres.Absent as absent:
        pytest.skip(str(absent))
    yield cluster
    cluster.remove()


def test_kills_on_sqlite_lose_nothing_double_nothing_and_keep_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Run(tmp_path, f"sqlite:///{tmp_path / 'hub.db'}", worker=False).play(KILLS)
    with capsys.disabled():
        print("\n\nSQLite, kill -9 inside: " + verdict.table())
    assert verdict.kills == KILLS
    assert not verdict.faults


def test_kills_on_postgresql_lose_nothing_double_nothing_and_keep_order(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = Run(tmp_path, postgres_url, worker=True, seed=2).play(KILLS)
    with capsys.disabled():
        print("\n\nPostgreSQL, kill -9 inside: " + verdict.table())
    assert verdict.kills == KILLS
    assert not verdict.faults


def test_a_database_that_dies_under_load_costs_time_and_nothing_else(
    tmp_path: Path, durable_cluster: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = Run(tmp_path, durable_cluster.create(), worker=True, seed=4).outages(durable_cluster, OUTAGES)
    with capsys.disabled():
        print("\n\nPostgreSQL stopped at once while inside: " + verdict.table())
    assert verdict.kills == OUTAGES
    assert not verdict.faults


def test_the_harness_turns_red_when_the_answer_is_sent_before_the_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(tmp_path, f"sqlite:///{tmp_path / 'hub.db'}", worker=False, ack_early=True, seed=3, patience=4.0)
    verdict = run.play(3, quiet=5, aims=[("serve", "transaction: message")])
    lost = [fault for fault in verdict.faults if "was acknowledged, the hub holds nothing" in fault]
    with capsys.disabled():
        print("\n\nAnswer sent before the commit, kill -9 inside: " + replace(verdict, faults=lost).table())
    assert verdict.kills == 3
    assert lost
