"""kill -9 in the middle of things, on both stores. The environment's KILLS says how many on each (default 50)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.sim.kills.harness import Run

KILLS = int(os.environ.get("KILLS", "50"))

pytestmark = [pytest.mark.timeout(3600)]


def test_kills_on_sqlite_lose_nothing_double_nothing_and_keep_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Run(tmp_path, f"sqlite:///{tmp_path / 'hub.db'}", worker=False).play(KILLS)
    with capsys.disabled():
        print("\nSQLite: " + verdict.table())
    assert verdict.kills == KILLS
    assert not verdict.faults


def test_kills_on_postgresql_lose_nothing_double_nothing_and_keep_order(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = Run(tmp_path, postgres_url, worker=True, seed=2).play(KILLS)
    with capsys.disabled():
        print("\nPostgreSQL: " + verdict.table())
    assert verdict.kills == KILLS
    assert not verdict.faults


def test_the_harness_turns_red_when_the_answer_is_sent_before_the_commit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Run(tmp_path, f"sqlite:///{tmp_path / 'hub.db'}", worker=False, ack_early=True, seed=3).play(12, quiet=5)
    with capsys.disabled():
        print("\nAnswer before commit (must lose): " + verdict.table())
    assert any("was acknowledged, the hub holds" in fault for fault in verdict.faults)
