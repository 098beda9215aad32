"""Each guard of the synchronisation has a switch, and switching it off must not go unnoticed (RELIABILITY §2, mutation gate)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from fhircase.flows import deliver
from fhircase.sync import judge
from tests.sim.test_convergence import fresh as fresh
from tests.sim.world import World

MOST_SEEDS = 40


def _without_base(monkeypatch: pytest.MonkeyPatch) -> None:
    real = judge.judge

    def two_way(ours: Any, theirs: Any, **how: Any) -> Any:
        return real(ours, theirs, **{**how, "stored": {}, "sent": ours, "pend": None, "arrived": judge.Landed.NO})

    monkeypatch.setattr(judge, "judge", two_way)


def _unconfirmed_is_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "landed", lambda pend, *rest, **how: pend)


def _blind_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    real = deliver._Planner._decide

    def decide(planner: Any, ref: Any) -> Any:
        link = planner.terms.links.get(ref)
        if link is not None and link.pend is not None:
            planner.terms.links[ref] = replace(link, pend=None)
        return real(planner, ref)

    monkeypatch.setattr(deliver._Planner, "_decide", decide)


def _always_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "unsent", lambda form, sent, held=frozenset(): frozenset(form))


def _nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pass


GUARDS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], frozenset[str], str]] = {
    "If-Match": (_nothing, frozenset({"ifmatch"}), "I2"),
    "If-None-Exist": (_nothing, frozenset({"condcreate"}), "I5"),
    "the merge base": (_without_base, frozenset(), "I2"),
    "proof that an unanswered write landed": (_unconfirmed_is_base, frozenset(), "I2"),
    "looking before writing again": (_blind_retry, frozenset(), "I"),
    "no write without a difference": (_always_writes, frozenset(), "I3"),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_is_switched_off_is_missed(guard: str, fresh: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    switch, off, broken = GUARDS[guard]
    switch(monkeypatch)
    for seed in range(MOST_SEEDS):
        try:
            found = World(fresh(), seed, off, steps=120).violations()
        except AssertionError:
            found = ["I3 the lanes do not come to rest"]
        if any(violation.startswith(broken) for violation in found):
            return
    raise AssertionError(f"{MOST_SEEDS} seeds without {guard}, and nothing broke")
