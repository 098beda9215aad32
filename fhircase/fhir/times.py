"""FHIR dates as epoch milliseconds and back (http://hl7.org/fhir/R4/datatypes.html#dateTime).

All arithmetic is on whole days and milliseconds, so that 9999-12-31 plus one day is a number and no overflow."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from fhircase.errors import Malformed

_EPOCH = date(1970, 1, 1).toordinal()
_DAY = 86_400_000

_DATETIME = re.compile(
    r"(?P<year>\d{4})(?:-(?P<month>\d\d)(?:-(?P<day>\d\d)"
    r"(?:T(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?"
    r"(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?",
    re.ASCII,
)


def instant(ms: int) -> str:
    """Epoch milliseconds as the 24 characters of a FHIR instant in UTC: ``2026-11-22T05:24:38.123Z``.
    Raises Malformed outside the years 1 to 9999."""
    seconds, thousandths = divmod(ms, 1000)
    try:
        t = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise Malformed("a time outside the years 1 to 9999") from None
    return f"{t.year:04d}-{t.month:02d}-{t.day:02d}T{t.hour:02d}:{t.minute:02d}:{t.second:02d}.{thousandths:03d}Z"


def ms_of(text: str) -> int:
    """The first millisecond that a FHIR date, dateTime or instant can mean; a date or a time without offset is taken
    as UTC. Raises Malformed."""
    return bounds(text)[0]


def bounds(text: str) -> tuple[int, int]:
    """The interval that a date, dateTime or instant means by its precision: first millisecond, and the one after the
    last. ``2026`` is the whole year; ``2026-11-22T05:24`` that minute; finer than a millisecond is cut. A date or a
    time without offset is taken as UTC (whoever knows the sender's zone adds it before, DECISIONS 16).

    Raises Malformed for anything else and for days that do not exist; 24:00 is not FHIR, second 60 is."""
    found = _DATETIME.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise _not_a_date()
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        start = date(int(year), int(month or 1), int(day or 1)).toordinal()
    except ValueError:
        raise _not_a_date() from None
    low = (start - _EPOCH) * _DAY
    if hour is None:
        if day is not None:
            return low, low + _DAY
        if month is not None:
            return low, low + _DAY * _days(int(year), int(month))
        return low, low + _DAY * (366 if _leap(int(year)) else 365)
    if int(hour) > 23 or int(minute) > 59 or int(second or 0) > 60:
        raise _not_a_date()
    low += int(hour) * 3_600_000 + int(minute) * 60_000 - _offset(zone)
    if second is None:
        return low, low + 60_000
    low += min(int(second), 59) * 1000 + (1000 if second == "60" else 0)
    if fraction is None:
        return low, low + 1000
    low += int(fraction[:3].ljust(3, "0"))
    return low, low + 10 ** max(0, 3 - len(fraction))


def has_zone(text: str) -> bool:
    """Whether a dateTime that gives a time gives its offset too; True for a mere date."""
    return "T" not in text or text.endswith("Z") or text[-6:-5] in ("+", "-")


def _offset(zone: str | None) -> int:
    if zone is None or zone == "Z":
        return 0
    hours, minutes = int(zone[1:3]), int(zone[4:6])
    if minutes > 59 or hours * 60 + minutes > 14 * 60:
        raise _not_a_date()
    ms = (hours * 60 + minutes) * 60_000
    return -ms if zone[0] == "-" else ms


def _leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days(year: int, month: int) -> int:
    if month == 2:
        return 29 if _leap(year) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def _not_a_date() -> Malformed:
    return Malformed("not a FHIR date or dateTime", hint="YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss+zz:zz, year 0001 to 9999")
