"""Whether a JSON value is a value of an R4 primitive (http://hl7.org/fhir/R4/datatypes.html#primitive). Each test gives
None when it is, else what is wrong, in words without the value."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from fhircase.errors import Malformed
from fhircase.fhir import times, xhtml

Fault = Callable[[Any], str | None]

MAX_TEXT = 1_048_576

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SPACE = re.compile(r"\s")
_CODE = re.compile(r"\S+( \S+)*")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_OID = re.compile(r"urn:oid:[0-2](\.(0|[1-9][0-9]*))+")
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_BASE64 = re.compile(r"[0-9a-zA-Z+/]*={0,2}")
_MIMETYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+\-]*/[A-Za-z0-9*][A-Za-z0-9!#$&^_.+\-*]*( ?;.+)?")
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d)?)?", re.ASCII)
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?", re.ASCII)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_DATETIME = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d))?)?)?", re.ASCII)


def string(value: Any) -> str | None:
    if type(value) is not str:
        return "must be text in quotes"
    if not value:
        return "is empty"
    if len(value) > MAX_TEXT:
        return "is longer than 1,048,576 characters"
    if _CONTROL.search(value):
        return "holds a control character"
    return None


def boolean(value: Any) -> str | None:
    return None if value is True or value is False else "must be true or false"


def decimal(value: Any) -> str | None:
    return None if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else "must be a number"


def integer(value: Any) -> str | None:
    return _whole(value, -(2**31), "must be a whole number of 32 bits")


def unsigned(value: Any) -> str | None:
    return _whole(value, 0, "must be a whole number, 0 or more")


def positive(value: Any) -> str | None:
    return _whole(value, 1, "must be a whole number, 1 or more")


def _whole(value: Any, least: int, words: str) -> str | None:
    if type(value) is not int:
        if not isinstance(value, Decimal) or str(value) != "-0":  # -0 is a whole number that int would not keep
            return words
        value = 0
    return None if least <= value < 2**31 else words


def uri(value: Any) -> str | None:
    fault = string(value)
    return fault or ("holds a space" if _SPACE.search(value) else None)


def code(value: Any) -> str | None:
    fault = string(value)
    return fault or (None if _CODE.fullmatch(value) else "must be a code without spaces around it or double spaces in it")


def id(value: Any) -> str | None:
    return string(value) or (None if _ID.fullmatch(value) else "must be 1 to 64 of A-Z a-z 0-9 - .")


def oid(value: Any) -> str | None:
    return string(value) or (None if _OID.fullmatch(value) else "must be urn:oid: and an OID")


def uuid(value: Any) -> str | None:
    return string(value) or (None if _UUID.fullmatch(value) else "must be urn:uuid: and a UUID in lower case")


def base64(value: Any) -> str | None:
    if type(value) is not str or not value:
        return string(value)
    bare = re.sub(r"[ \t\r\n]", "", value)
    return None if len(bare) % 4 == 0 and _BASE64.fullmatch(bare) else "must be Base64, padded"


def date(value: Any) -> str | None:
    return string(value) or (_day(value) if _DATE.fullmatch(value) else "must be a date: YYYY, YYYY-MM or YYYY-MM-DD")


def datetime(value: Any) -> str | None:
    fault = string(value)
    if fault:
        return fault
    if not _DATETIME.fullmatch(value):
        if "T" in value and _INSTANT.fullmatch(value + "Z"):
            return "gives a time without its offset"
        return "must be a dateTime: YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss+zz:zz"
    return _day(value)


def instant(value: Any) -> str | None:
    fault = string(value)
    if fault:
        return fault
    if not _INSTANT.fullmatch(value):
        if _INSTANT.fullmatch(value + "Z"):
            return "gives a time without its offset"
        return "must be an instant: YYYY-MM-DDThh:mm:ss.sss+zz:zz"
    return _day(value)


def time(value: Any) -> str | None:
    return string(value) or (None if _TIME.fullmatch(value) else "must be a time: hh:mm:ss")


def _day(value: str) -> str | None:
    try:
        times.bounds(value)
    except Malformed:
        return "is a time that does not exist"
    return None


def div(value: Any) -> str | None:
    return string(value) or xhtml.fault(value)


def mimetype(value: Any) -> str | None:
    return code(value) or (None if _MIMETYPE.fullmatch(value) else "must be a media type like text/plain (BCP 13)")


def currency(value: Any) -> str | None:
    return code(value) or (None if _CURRENCY.fullmatch(value) else "must be a currency of three capital letters (ISO 4217)")


FORMS: Mapping[str, Fault] = {"currency": currency, "mimetype": mimetype}
"""By ``form`` of an element (``definitions.Element``)."""

FAULTS: Mapping[str, Fault] = {
    "base64Binary": base64,
    "boolean": boolean,
    "canonical": uri,
    "code": code,
    "date": date,
    "dateTime": datetime,
    "decimal": decimal,
    "id": id,
    "instant": instant,
    "integer": integer,
    "markdown": string,
    "oid": oid,
    "positiveInt": positive,
    "string": string,
    "time": time,
    "unsignedInt": unsigned,
    "uri": uri,
    "url": uri,
    "uuid": uuid,
    "xhtml": div,
}
