"""Secrets at rest: AES-256-GCM, with the id of the key in front, so that a key can be replaced while old seals open."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class SealBroken(ValueError):
    """The seal was made with another key, or was tampered with."""


def _key_of(secret: str) -> bytes:
    return hashlib.sha256(b"fhircase secret key\0" + secret.encode("utf-8")).digest()


class AesSealer:
    """``secrets`` newest first: the first seals, all open. Each is high-entropy text (44 characters of Base64 or more)."""

    def __init__(self, secrets: Sequence[str], random_bytes: Callable[[int], bytes]) -> None:
        if not secrets:
            raise ValueError("a sealer needs a secret")
        self._random = random_bytes
        self._keys: dict[str, AESGCM] = {}
        for secret in secrets:
            key = _key_of(secret)
            self._keys[hashlib.sha256(key).hexdigest()[:8]] = AESGCM(key)
        self._first = next(iter(self._keys))

    def seal(self, plain: str) -> str:
        """``key id.nonce and ciphertext``."""
        nonce = self._random(_NONCE)
        sealed = nonce + self._keys[self._first].encrypt(nonce, plain.encode("utf-8"), self._first.encode())
        return f"{self._first}.{urlsafe_b64encode(sealed).decode('ascii')}"

    def open(self, sealed: str) -> str:
        """Raises SealBroken."""
        name, _, rest = sealed.partition(".")
        key = self._keys.get(name)
        if key is None:
            raise SealBroken("sealed with a key that is not known here")
        try:
            raw = urlsafe_b64decode(rest)
            return key.decrypt(raw[:_NONCE], raw[_NONCE:], name.encode()).decode("utf-8")
        except (InvalidTag, ValueError):
            raise SealBroken("the seal does not open") from None
