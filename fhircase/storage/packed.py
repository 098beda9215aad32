"""JSON columns: text in, values out, token for token."""

from __future__ import annotations

import re
from typing import Any

from fhircase.fhir import jsontext

_REFUSED = re.compile("[\x00\ud800-\udfff]")


def pack(value: Any) -> str:
    """Compact JSON. A sender's rubbish may hold U+0000 and lone surrogates, which no database takes: they become U+FFFD."""
    text = jsontext.dumps(value)
    if "\\u0000" in text or (not text.isascii() and _REFUSED.search(text)):
        return jsontext.dumps(_cleaned(value))
    return text


def pack_or_none(value: Any) -> str | None:
    return None if value is None else pack(value)


def unpack(text: str) -> Any:
    return jsontext.loads(text)


def unpack_or_none(text: str | None) -> Any:
    return None if text is None else jsontext.loads(text)


def clean(text: str) -> str:
    """``text`` without what a text column refuses: U+0000 and lone surrogates become U+FFFD."""
    return _REFUSED.sub("\ufffd", text)


def clean_or_none(text: str | None) -> str | None:
    return None if text is None else clean(text)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(name)): _cleaned(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value
