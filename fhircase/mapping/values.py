"""Values of case documents: what each kind looks like, and how the text of a mapping file becomes one."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

_YEAR = r"([1-9]\d{3}|0\d{3})"
_DATE = re.compile(rf"{_YEAR}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
_TIME = r"T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]((0\d|1[0-3]):[0-5]\d|14:00))"
_INSTANT = re.compile(rf"{_YEAR}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01]){_TIME}")
_DATETIME = re.compile(rf"{_YEAR}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01])({_TIME})?)?)?")
_REFERENCE = re.compile(r"([A-Z][A-Za-z]{1,63})/[A-Za-z0-9\-.]{1,64}(/_history/[A-Za-z0-9\-.]{1,64})?")


def _text(value: Any) -> bool:
    return type(value) is str and bool(value.strip())


def _number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool) or (isinstance(value, float) and value - value == 0)


def _integer(value: Any) -> bool:
    return type(value) is int


def _date(value: Any) -> bool:
    return type(value) is str and _DATE.fullmatch(value) is not None


def _datetime(value: Any) -> bool:
    return type(value) is str and _DATETIME.fullmatch(value) is not None


def _instant(value: Any) -> bool:
    return type(value) is str and _INSTANT.fullmatch(value) is not None


def _boolean(value: Any) -> bool:
    return type(value) is bool


FITS: dict[str, Callable[[Any], bool]] = {
    "text": _text, "number": _number, "integer": _integer, "boolean": _boolean, "date": _date, "dateTime": _datetime,
    "instant": _instant,
}  # fmt: skip
MUST: dict[str, str] = {
    "text": "a text", "number": "a number", "integer": "a whole number", "boolean": "true or false", "date": "a date (2026-11-22)",
    "dateTime": "a date, or a time with its offset (2026-11-22T10:00:00Z)", "instant": "a time with its offset (2026-11-22T10:00:00Z)",
}  # fmt: skip


def typed(text: str, kind: str) -> Any:
    """The value that a text of a mapping file stands for; None when it does not fit ``kind``."""
    if kind == "boolean":
        return {"true": True, "yes": True, "false": False, "no": False}.get(text.lower())
    if kind == "integer":
        return int(text) if re.fullmatch(r"-?\d{1,18}", text) else None
    if kind == "number":
        if re.fullmatch(r"-?\d{1,18}", text):
            return int(text)
        try:
            value = Decimal(text)
        except InvalidOperation:
            return None
        return value if value.is_finite() else None
    return text if FITS[kind](text) else None


def target_of(reference: str) -> str | None:
    """The type that a ``Type/id`` points to; '' for forms that are passed through unseen (``urn:``, ``#contained``, absolute);
    None when it is no reference."""
    if reference.startswith(("#", "urn:", "http://", "https://")):
        return ""
    found = _REFERENCE.fullmatch(reference)
    return found[1] if found else None


def copied(value: Any) -> Any:
    """A deep copy of JSON."""
    if type(value) is dict:
        return {key: copied(one) if type(one) is dict or type(one) is list else one for key, one in value.items()}
    if type(value) is list:
        return [copied(one) if type(one) is dict or type(one) is list else one for one in value]
    return value
