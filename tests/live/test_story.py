"""The story of the demo against other makers' servers. ``LIVE_CASTINGS`` plays others instead: ``all`` every rotation of the
three at once, or ``mercy=hapi riverside=sekmet; homeward=medplum`` and so on (who is not named is one of our own)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fhircase.demo.story import HOMEWARD, MERCY, RIVERSIDE
from tests.live import playing, servers

pytestmark = pytest.mark.timeout(900)

PLACES = (MERCY, RIVERSIDE, HOMEWARD)
ROTATIONS = ("hapi sekmet medplum", "medplum hapi sekmet", "sekmet medplum hapi")
CASTINGS = ("own sekmet own", "own own medplum", "sekmet-absolute own medplum-strict", ROTATIONS[0])
"""Played in CI: makers of the servers of hospital, rehab and home care."""


def _wanted() -> list[str]:
    asked = os.environ.get("LIVE_CASTINGS", "").strip()
    if not asked:
        return list(CASTINGS)
    if asked == "all":
        return [*CASTINGS, *ROTATIONS[1:]]
    named = [dict(pair.split("=", 1) for pair in casting.split()) for casting in asked.split(";")]
    return [" ".join(casting.get(place, playing.OWN) for place in PLACES) for casting in named]


@pytest.mark.parametrize("casting", _wanted())
def test_the_story_ends_equal(casting: str, tmp_path: Path) -> None:
    try:
        found = playing.play(tmp_path, dict(zip(PLACES, casting.split(), strict=True)))
    except servers.Unavailable as missing:
        pytest.skip(str(missing))
    assert found.left == {name: [] for name in PLACES}, "probing leaves nothing behind"
    assert {name: drift["items"] for name, drift in found.drift.items()} == {name: [] for name in PLACES}
    assert {name: drift["unread"] for name, drift in found.drift.items()} == {name: [] for name in PLACES}
    assert found.reviews == [], "the one conflict was settled, and nothing else needs a person"
