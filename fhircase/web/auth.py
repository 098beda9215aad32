"""Bearer API key → ``flask.g.principal``. Every blueprint but ``running`` requires one."""

from __future__ import annotations

import time

from flask import Flask, current_app, g, request

from fhircase.access import keys
from fhircase.access.principal import Principal
from fhircase.access.scopes import ALL, Scopes
from fhircase.errors import Unauthenticated
from fhircase.flows.hub import Hub
from fhircase.ports import Key

OPEN = frozenset({"running"})
"""Blueprints that answer without a key: they show nothing of any client or partner."""

_MOST = 10_000


class KeyRing:
    """Keys by digest, each remembered for ``seconds``: that long a revocation made elsewhere may take to be seen; one
    made here is seen at once (``forget``)."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._held: dict[str, tuple[float, Principal]] = {}

    def principal(self, hub: Hub, key: str) -> Principal:
        """Raises Unauthenticated for a key that is unknown or revoked."""
        digest = keys.digest(key)
        now = time.monotonic()
        held = self._held.get(digest)
        if held is not None and held[0] > now:
            return held[1]
        with hub.store.read() as tx:
            found = tx.keys.by_digest(digest)
        if found is None or found.revoked is not None or not keys.same(found.digest, digest):
            self._held.pop(digest, None)
            raise Unauthenticated("the key is not valid", hint="ask an administrator for a key")
        if len(self._held) >= _MOST:
            self._held.clear()
        principal = of_key(found)
        self._held[digest] = (now + self._seconds, principal)
        return principal

    def forget(self) -> None:
        self._held.clear()


def of_key(key: Key) -> Principal:
    scopes = Scopes.of(key.scopes) if key.scopes else ALL if key.admin else Scopes.of(())
    return Principal(key.partner, key.user, key.admin, scopes, key.id)


def principal() -> Principal:
    """Who calls, inside a request."""
    found: Principal = g.principal
    return found


def bearer(sent: str) -> str:
    """Raises Unauthenticated when there is no bearer credential."""
    scheme, _, key = sent.partition(" ")
    key = key.strip()
    if scheme.lower() != "bearer" or not key:
        raise Unauthenticated("a key is needed", hint="send Authorization: Bearer fck_…")
    return key


def register(app: Flask, ring: KeyRing) -> None:
    """Authenticate before anything else of ``app`` runs."""

    @app.before_request
    def authenticate() -> None:
        if request.blueprint in OPEN:
            return
        g.principal = ring.principal(current_app.extensions["fhircase"], bearer(request.headers.get("Authorization", "")))
