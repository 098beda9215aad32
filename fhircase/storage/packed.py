"""JSON columns: text in, values out, token for token."""

from __future__ import annotations

from typing import Any

from fhircase.fhir import jsontext


def pack(value: Any) -> str:
    """Compact JSON that both databases take: no U+0000 and no lone surrogates in it (a sender's rubbish may hold them)."""
    return clean(jsontext.dumps(value))


def pack_or_none(value: Any) -> str | None:
    return None if value is None else pack(value)


def unpack(text: str) -> Any:
    return jsontext.loads(text)


def unpack_or_none(text: str | None) -> Any:
    return None if text is None else jsontext.loads(text)


def clean(text: str) -> str:
    """``text`` without what a text column refuses: U+0000 and lone surrogates become U+FFFD."""
    if text.isascii():
        return text.replace("\\u0000", "\\ufffd").replace("\x00", "\ufffd") if "\\u0000" in text or "\x00" in text else text
    return text.replace("\x00", "\ufffd").encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def clean_or_none(text: str | None) -> str | None:
    return None if text is None else clean(text)
