"""Signatures of webhooks by the Standard Webhooks specification
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md)."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence

PREFIX = "whsec_"


def make(random_bytes: Callable[[int], bytes]) -> str:
    """A fresh secret of 32 bytes from ``random_bytes``, which must be a cryptographic source (the specification asks for
    24 to 64)."""
    return PREFIX + b64encode(random_bytes(32)).decode("ascii")


def headers(secrets: Sequence[str], id: str, at: int, body: bytes) -> dict[str, str]:
    """The three headers of one attempt at ``at`` (epoch ms; the header holds seconds). Every secret signs, so that a
    receiver verifies with either while one replaces the other. ``id`` stays the same across attempts, ``at`` does not."""
    seconds = str(at // 1000)
    signed = b".".join((id.encode(), seconds.encode(), body))
    signatures = [
        "v1," + b64encode(hmac.digest(b64decode(secret.removeprefix(PREFIX)), signed, hashlib.sha256)).decode("ascii") for secret in secrets
    ]
    return {"webhook-id": id, "webhook-timestamp": seconds, "webhook-signature": " ".join(signatures)}
