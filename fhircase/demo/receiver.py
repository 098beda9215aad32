"""A webhook receiver as an integration engineer would write it: it checks every signature (Standard Webhooks)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from fhircase.errors import FhircaseError
from fhircase.fhir import jsontext

TOLERANCE = 300
"""Seconds that a timestamp may be off."""


class Receiver:
    """Listens on a free loopback port. ``secret`` is set once the endpoint is registered."""

    def __init__(self) -> None:
        self.secret = ""
        self.seen: dict[str, str] = {}
        self.order: list[str] = []
        self.refused = 0
        self.repeated = 0
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                body = self.rfile.read(length)
                if len(body) < length:  # the sender died while it sent
                    self.close_connection = True
                    return
                self.send_response(204 if receiver.take(self.headers, body) else 401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, headers: Any, body: bytes) -> bool:
        """Check and count one delivery; False refuses it."""
        id_, timestamp, signatures = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
        try:
            fresh = abs(time.time() - int(timestamp)) <= TOLERANCE  # noqa: TID251 (a program of its own, with the real clock)
            kind = str(jsontext.loads(body)["type"])
        except (ValueError, KeyError, TypeError, FhircaseError):
            fresh, kind = False, ""
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        signed = base64.b64encode(hmac.new(key, f"{id_}.{timestamp}.".encode() + body, hashlib.sha256).digest()).decode()
        good = fresh and any(hmac.compare_digest(signed, given.removeprefix("v1,")) for given in signatures.split())
        with self._lock:
            if not good:
                self.refused += 1
            elif id_ not in self.seen:
                self.seen[id_] = kind
                self.order.append(id_)
            else:
                self.repeated += 1
        return good

    def kinds(self) -> Counter[str]:
        """Events by type, each id once."""
        with self._lock:
            return Counter(self.seen.values())

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
