"""FHIR dates as intervals of milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhircase.errors import Malformed
from fhircase.fhir import times

DAY = 86_400_000


def at(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("2026", at(2026, 1, 1), at(2027, 1, 1)),
        ("2024-02", at(2024, 2, 1), at(2024, 3, 1)),
        ("2026-02-28", at(2026, 2, 28), at(2026, 3, 1)),
        ("2026-11-22T05:24Z", at(2026, 11, 22, 5, 24), at(2026, 11, 22, 5, 25)),
        ("2026-11-22T05:24:38Z", at(2026, 11, 22, 5, 24, 38), at(2026, 11, 22, 5, 24, 39)),
        ("2026-11-22T05:24:38.123Z", at(2026, 11, 22, 5, 24, 38) + 123, at(2026, 11, 22, 5, 24, 38) + 124),
        ("2026-11-22T05:24:38.1Z", at(2026, 11, 22, 5, 24, 38) + 100, at(2026, 11, 22, 5, 24, 38) + 200),
        ("2026-11-22T05:24:38.123999999999Z", at(2026, 11, 22, 5, 24, 38) + 123, at(2026, 11, 22, 5, 24, 38) + 124),
        ("2026-11-22T05:24:38+10:30", at(2026, 11, 21, 18, 54, 38), at(2026, 11, 21, 18, 54, 39)),
        ("2026-11-22T05:24:38-03:30", at(2026, 11, 22, 8, 54, 38), at(2026, 11, 22, 8, 54, 39)),
        ("2026-12-31T23:59:60Z", at(2027, 1, 1), at(2027, 1, 1) + 1000),
    ],
)
def test_an_interval_follows_the_precision(text: str, low: int, high: int) -> None:
    assert times.bounds(text) == (low, high)
    assert times.ms_of(text) == low


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0000",
        "0000-01-01",
        "26",
        "2026-13",
        "2026-00",
        "2026-02-29",
        "2026-13-45",
        "01/02/2026",
        "2026-1-1",
        "2026-11-22T24:00:00Z",
        "2026-11-22T05",
        "2026-11-22T05:60:00Z",
        "2026-11-22T05:24:61Z",
        "2026-11-22T05:24:38+15:00",
        "2026-11-22T05:24:38+01:60",
        "2026-11-22 05:24:38",
        "2026-11-22T05:24:38.Z",
        "２０２６",
        "2026\n",
        " 2026",
    ],
)
def test_what_is_no_fhir_date_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        times.bounds(text)


def test_the_last_day_that_there_is_does_not_overflow() -> None:
    low, high = times.bounds("9999-12-31")
    assert high - low == DAY and times.bounds("9999")[1] == high == times.bounds("9999-12")[1]


def test_an_instant_has_twenty_four_characters_in_every_year() -> None:
    for text in ("0001-01-01T00:00:00.000Z", "1969-12-31T23:59:59.999Z", "2026-11-22T05:24:38.123Z", "9999-12-31T23:59:59.999Z"):
        assert times.instant(times.ms_of(text)) == text and len(text) == 24


def test_an_instant_outside_the_calendar_is_malformed() -> None:
    for ms in (times.bounds("9999")[1], 2**62, -(2**62)):
        with pytest.raises(Malformed):
            times.instant(ms)


def test_a_time_without_offset_is_told() -> None:
    assert not times.has_zone("2026-11-22T05:24:38") and not times.has_zone("2026-11-22T05:24:38.123")
    assert times.has_zone("2026-11-22") and times.has_zone("2026-11-22T05:24:38-03:30") and times.has_zone("2026-11-22T05:24Z")


@settings(deadline=None)
@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_milliseconds_survive_the_way_through_text(ms: int) -> None:
    assert times.bounds(times.instant(ms)) == (ms, ms + 1)
