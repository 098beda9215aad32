"""Cursors: where a list goes on. Opaque to callers and bound to the list that made them; they hold places, no values of a
client's record except those that sort the page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence

from fhircase.errors import Malformed

Place = int | str


def encode(scope: str, place: Sequence[Place]) -> str:
    """``scope`` names the list with all its filters: a cursor of one list is refused by another."""
    body = json.dumps(list(place), separators=(",", ":"), ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(_seal(scope, body) + body).rstrip(b"=").decode()


def decode(scope: str, cursor: str, kinds: Sequence[type]) -> list[Place]:
    """Raises Malformed for anything that ``encode`` did not make for this scope."""
    try:
        raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        seal, body = raw[:8], raw[8:]
        if seal != _seal(scope, body):
            raise ValueError
        place = json.loads(body)
    except (ValueError, binascii.Error, RecursionError):
        raise _wrong() from None
    if not isinstance(place, list) or len(place) != len(kinds) or any(type(item) is not kind for item, kind in zip(place, kinds)):
        raise _wrong()
    return place


def after(scope: str, cursor: str | None) -> int | None:
    """The single number of a simple list's cursor."""
    return None if cursor is None else int(decode(scope, cursor, (int,))[0])


def _seal(scope: str, body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=8, key=hashlib.blake2b(scope.encode("utf-8", "replace"), digest_size=32).digest()).digest()


def _wrong() -> Malformed:
    return Malformed("the cursor is not one of this list", hint="follow the next link as it was given, or start again without a cursor")
