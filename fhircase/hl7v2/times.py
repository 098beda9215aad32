"""HL7 v2 times (DTM, TS, DT) as FHIR text: precision kept, zone never guessed (DECISIONS 16).

Source: HL7 v2.8 2A.2.22 (DTM ``YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]``); FHIR R4 dateTime."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

_DTM = re.compile(r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,6}))?)?)?)?)?)?([+-]\d{4})?")

Doubt = Literal["no-zone", "repeated-hour", "skipped-hour", "offset"]


@dataclass(frozen=True, slots=True)
class Moment:
    """``text`` a FHIR date or dateTime; ``ms`` epoch milliseconds for ordering (without a zone as if UTC, which orders one
    sender's own times rightly and means nothing else); ``raw`` as sent. ``doubt``: ``no-zone`` the sender has no zone, so
    ``text`` is kept to the day; ``repeated-hour``/``skipped-hour`` the local time stands twice or not at all on that zone's
    clock (first reading taken); ``offset`` the offset is no offset on earth, so ``text`` is kept to the day."""

    text: str
    ms: int
    raw: str
    doubt: Doubt | None = None


def moment(text: str | None, *, zone: str | None = None) -> Moment | None:
    """Read a time; None when there is none or it cannot be read (February 30, letters). ``zone`` is the sender's IANA
    zone, used only where the text has no offset. Hours without minutes and minutes without seconds are filled with
    zeroes, as FHIR demands once there is an hour.

    Raises ValueError for a zone that the time zone database does not know."""
    if not text:
        return None
    raw, text = text, text.strip()
    match = _DTM.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        local = datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0))  # noqa: DTZ001 - its zone comes below
    except ValueError:
        return None
    if local.year < 1 or hour is None:
        return Moment("-".join(part for part in (year, month, day) if part), _ms(local, UTC), raw)
    local = local.replace(microsecond=int((fraction or "0").ljust(6, "0")))
    on_day = f"{year}-{month}-{day}"
    doubt: Doubt | None = None
    if offset is not None:
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        if minutes > 14 * 60 or int(offset[3:]) > 59:
            return Moment(on_day, _ms(local, UTC), raw, "offset")
        at: timezone | ZoneInfo = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
    elif zone is not None:
        at = _zone(zone)
        doubt = _clock_doubt(local, at)
    else:
        return Moment(on_day, _ms(local, UTC), raw, "no-zone")
    shift = at.utcoffset(local)
    assert shift is not None
    # Offsets of before 1900 have seconds, which FHIR cannot say.
    total = round(shift.total_seconds() / 60)
    sign = offset[0] if offset is not None else "-" if total < 0 else "+"
    clock = f"{hour}:{minute or '00'}:{second or '00'}{'.' + fraction if fraction else ''}"
    return Moment(f"{on_day}T{clock}{sign}{abs(total) // 60:02d}:{abs(total) % 60:02d}", _ms(local, at), raw, doubt)


def date(text: str | None) -> str | None:
    """The day (or month, or year) of a time as FHIR date; None when it cannot be read. A birth date is a day where the
    sender stands, whatever its offset."""
    read = moment(text)
    return read.text[:10] if read is not None else None


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError):
        raise ValueError("not a zone of the time zone database") from None


def _clock_doubt(local: datetime, zone: ZoneInfo) -> Doubt | None:
    first, second = zone.utcoffset(local), zone.utcoffset(local.replace(fold=1))
    if first == second or first is None or second is None:
        return None
    return "repeated-hour" if first > second else "skipped-hour"


def _ms(local: datetime, zone: timezone | ZoneInfo) -> int:
    shift = zone.utcoffset(local) or timedelta()
    whole = local.replace(tzinfo=UTC) - shift if _room(local) else local.replace(tzinfo=UTC)
    return (whole - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def _room(local: datetime) -> bool:
    """False in the first and last year of the calendar, where shifting could leave it."""
    return 1 < local.year < 9999
