"""API keys: made once, shown once, kept only as a digest."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable

PREFIX = "fck_"
"""So that secret scanners, and people, recognise one."""


def make(random_bytes: Callable[[int], bytes]) -> str:
    """A fresh key of 256 bits from ``random_bytes``, which must be a cryptographic source."""
    return PREFIX + urlsafe_b64encode(random_bytes(32)).decode("ascii").rstrip("=")


def digest(key: str) -> str:
    """SHA-256, hex. Enough without salt or stretching, for a key holds 256 random bits."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def same(one: str, other: str) -> bool:
    """Compares two digests in constant time."""
    return hmac.compare_digest(one, other)
