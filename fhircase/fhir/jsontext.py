"""The one JSON entry point: guarded on the way in, token-faithful on the way out (DECISIONS 12, 29)."""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any

import simplejson

from fhircase.errors import Malformed

MAX_DEPTH = 64
MAX_DIGITS = 400
_SUSPECT = re.compile("[\ud800-\udfff\x00]|\\\\u(?:[dD][89a-fA-F]|0000)")


class Number(Decimal):
    """A JSON number with a fraction or an exponent that remembers how it was written: ``72.50`` stays ``72.50``."""

    __slots__ = ("token",)
    token: str

    def __new__(cls, token: str) -> Number:
        self = super().__new__(cls, token)
        self.token = token
        return self

    def __str__(self) -> str:
        return self.token

    def __deepcopy__(self, memo: Any) -> Number:
        return self

    def __reduce__(self) -> Any:
        return (Number, (self.token,))


def _number(token: str) -> Number:
    if len(token) > MAX_DIGITS:
        raise Malformed("a number has too many digits", hint=f"at most {MAX_DIGITS} characters")
    try:
        value = Number(token)
    except InvalidOperation:  # an exponent of more than 18 digits
        raise Malformed("a number has too large an exponent") from None
    if not math.isfinite(float(value)):
        raise Malformed("a number is too large to be a FHIR decimal")
    return value


def _integer(token: str) -> int | Number:
    if len(token) > MAX_DIGITS:
        raise Malformed("a number has too many digits", hint=f"at most {MAX_DIGITS} characters")
    return Number(token) if token == "-0" else int(token)


def _constant(token: str) -> Any:
    raise Malformed(f"{token} is not JSON")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise Malformed(f"the member '{name[:64]}' is written twice", hint="keep one of them")
            seen.add(name)
    return made


# Made once: simplejson makes a new one for each call that says anything of its own.
_DECODER = simplejson.JSONDecoder(parse_float=_number, parse_int=_integer, parse_constant=_constant, object_pairs_hook=_pairs)
_ENCODER = simplejson.JSONEncoder(ensure_ascii=False, separators=(",", ":"), use_decimal=True)


def loads(data: bytes | str) -> Any:
    """Parse JSON text. Decimals come as ``Number``, integers as int.

    Raises Malformed (with line and column where there is one) for anything that is not strict JSON in UTF-8, nests
    deeper than 64, repeats a member, holds a lone surrogate or U+0000, or a number of over 400 characters."""
    if isinstance(data, bytes):
        if data[:3] == b"\xef\xbb\xbf":
            data = data[3:]
        try:
            data = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed("the body is not UTF-8", path=f"byte {error.start}", hint="send JSON in UTF-8") from None
    try:
        value = _DECODER.decode(data)
    except simplejson.JSONDecodeError as error:
        words = error.msg.partition(" %r")[0]
        raise Malformed(f"not JSON: {words}", path=f"line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise Malformed("the JSON nests too deeply", hint=f"at most {MAX_DEPTH} levels") from None
    if type(value) is dict or type(value) is list:
        check_depth(value)
    if _SUSPECT.search(data):
        _check_text(value)
    return value


def check_depth(value: Any) -> None:
    """Raises Malformed for a value that nests deeper than 64."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return
    raise Malformed("the JSON nests too deeply", hint=f"at most {MAX_DEPTH} levels")


def _check_text(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack.extend(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, str):
            if "\x00" in item:
                raise Malformed("a text holds U+0000", hint="remove the character")
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise Malformed("a text holds half of a surrogate pair", hint="send whole characters") from None


def dumps(value: Any) -> str:
    """Compact JSON text; Numbers as they were written."""
    return str(_ENCODER.encode(value))
