"""Times keep their precision and their offset; a zone is never guessed (DECISIONS 16)."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhircase.fhir import times
from fhircase.hl7v2 import date, moment


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ("2026", "2026"),
        ("202611", "2026-11"),
        ("20261120", "2026-11-20"),
        ("2026112014-0500", "2026-11-20T14:00:00-05:00"),
        ("202611201425-0500", "2026-11-20T14:25:00-05:00"),
        ("20261120142530-0500", "2026-11-20T14:25:30-05:00"),
        ("20210817151943.4+0200", "2021-08-17T15:19:43.4+02:00"),
        ("198908181126+0215", "1989-08-18T11:26:00+02:15"),
        ("20261120142530.0000+0000", "2026-11-20T14:25:30.0000+00:00"),
        ("20261120-0500", "2026-11-20"),
        (" 20261120 ", "2026-11-20"),
    ],
)
def test_precision_and_odd_offsets_are_kept(sent: str, text: str) -> None:
    read = moment(sent)
    assert read is not None
    assert (read.text, read.doubt, read.raw) == (text, None, sent)


@pytest.mark.parametrize(
    "sent", [None, "", "20260230", "20261301", "202611201460", "2026112025", "0000", "99", "20261120T14", "yesterday", "20261120142560"]
)
def test_what_is_no_time_is_none(sent: str | None) -> None:
    assert moment(sent) is None
    assert date(sent) is None


def test_without_offset_the_senders_zone_counts_with_its_summer_time() -> None:
    winter, summer = moment("20261120142530", zone="America/New_York"), moment("20260720142530", zone="America/New_York")
    assert winter is not None and winter.text == "2026-11-20T14:25:30-05:00"
    assert summer is not None and summer.text == "2026-07-20T14:25:30-04:00"


def test_an_offset_that_was_sent_beats_the_zone() -> None:
    read = moment("20261120142530+0100", zone="America/New_York")
    assert read is not None and read.text == "2026-11-20T14:25:30+01:00"


def test_without_offset_and_zone_a_time_is_kept_to_the_day_and_flagged() -> None:
    early, late = moment("20261120010000"), moment("20261120230000")
    assert early is not None and late is not None
    assert (early.text, early.doubt, early.raw) == ("2026-11-20", "no-zone", "20261120010000")
    assert early.ms < late.ms


def test_a_mere_day_is_no_doubt() -> None:
    read = moment("20261120")
    assert read is not None and read.doubt is None


def test_hours_that_the_clock_shows_twice_or_never_are_flagged() -> None:
    twice, never = moment("20261101013000", zone="America/New_York"), moment("20260308023000", zone="America/New_York")
    assert twice is not None and (twice.text, twice.doubt) == ("2026-11-01T01:30:00-04:00", "repeated-hour")
    assert never is not None and never.doubt == "skipped-hour"


def test_an_offset_of_no_place_on_earth_is_kept_to_the_day() -> None:
    for sent in ("20261120142530+2500", "20261120142530-0075"):
        read = moment(sent)
        assert read is not None and (read.text, read.doubt) == ("2026-11-20", "offset")


def test_an_unknown_zone_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ValueError):
        moment("20261120142530", zone="Mars/Olympus")


def test_a_birth_date_is_the_day_whatever_its_hour() -> None:
    assert date("19881118232600+0215") == "1988-11-18"


@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),
    st.integers(-14 * 60, 14 * 60),
    st.sampled_from([4, 6, 8, 10, 12, 14]),
)
def test_every_time_is_a_legal_fhir_time_at_the_same_moment(at: datetime, minutes: int, length: int) -> None:
    offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
    sent = f"{at:%Y%m%d%H%M%S}"[:length] + (offset if length > 8 else "")
    read = moment(sent)
    assert read is not None
    assert times.ms_of(read.text) == read.ms
