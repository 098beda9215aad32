"""``fhircase`` itself, telling a board when it is inside a request, a write transaction or a request to a partner.

    python -m tests.sim.kills.killable BOARD serve|work

Nothing of the program is changed but that; with ``ACK_EARLY=1`` in the environment it also answers ADT messages before they
are committed, which is the fault that the harness must be able to see."""

from __future__ import annotations

import io
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fhircase import wiring
from fhircase.partners import gateway, poster
from tests.sim.kills.board import Board

_OPENERS = {
    "fhircase.flows.take_in": "transaction: message", "fhircase.flows.cases": "transaction: case edit",
    "fhircase.flows.deliver": "transaction: delivery", "fhircase.flows.absorb": "transaction: partner's edit",
    "fhircase.flows.receive": "transaction: partner's edit", "fhircase.flows.notify": "transaction: webhook",
    "fhircase.worker.deliver": "transaction: lane claim",
}  # fmt: skip
_WRITES = {"POST": "sending: create", "PUT": "sending: update"}
EARLY_S = 0.05


class Here(threading.local):
    """What this thread is doing, across several calls."""

    request = False
    unanswered = 0
    unrecorded = 0


class Watch:
    """Puts the board around the store, the web application, the MLLP listener and what goes out."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.here = Here()

    def install(self) -> None:
        opened, made, take_in = wiring.storage.open, wiring.create_app, wiring.House._take_in
        watch = self

        class Storage:
            def __init__(self, real: Any) -> None:
                self._real = real

            def __getattr__(self, name: str) -> Any:
                return getattr(self._real, name)

            def open(self, *given: Any, **named: Any) -> Any:
                return WatchedStore(opened(*given, **named), watch)

        def app(*given: Any, **named: Any) -> Any:
            flask = made(*given, **named)
            inner = flask.wsgi_app
            flask.wsgi_app = watch.wsgi(early(inner) if os.environ.get("ACK_EARLY") else inner)
            return flask

        def by_mllp(house: Any, raw: bytes, peer: Any) -> bytes | None:
            with watch.request("request: message by MLLP"):
                return take_in(house, raw, peer)

        wiring.storage = Storage(wiring.storage)  # type: ignore[assignment]
        wiring.create_app = app
        wiring.House._take_in = by_mllp  # type: ignore[method-assign]
        gateway.HttpGateway.request = self.sending(gateway.HttpGateway.request)  # type: ignore[method-assign]
        poster.WebhookPoster.post = self.posting(poster.WebhookPoster.post)  # type: ignore[method-assign]

    @contextmanager
    def request(self, place: str) -> Iterator[None]:
        self.here.request = True
        try:
            with self.board.at(place):
                yield
        finally:
            self.here.request = False
            while self.here.unanswered:
                self.here.unanswered -= 1
                self.board.leave("request: committed, not answered")

    def wsgi(self, inner: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        def outer(environ: Any, start: Any) -> Iterable[bytes]:
            path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
            if path == "/readyz":
                return inner(environ, start)
            edit = "request: message by HTTP" if path.startswith("/intake") else "request: case edit"
            with self.request("request: read" if method == "GET" else edit):
                return list(inner(environ, start))

        return outer

    def sending(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def told(gate: Any, method: str, *given: Any, **named: Any) -> Any:
            with self.board.at(_WRITES.get(method, "sending: read")):
                reply = inner(gate, method, *given, **named)
            if method in _WRITES and reply.status in (200, 201):
                self.here.unrecorded += 1
                self.board.enter("sending: landed, not recorded")
            return reply

        return told

    def posting(self, inner: Callable[..., Any]) -> Callable[..., Any]:
        def told(*given: Any, **named: Any) -> Any:
            with self.board.at("sending: webhook"):
                return inner(*given, **named)

        return told

    def committed(self) -> None:
        while self.here.unrecorded:
            self.here.unrecorded -= 1
            self.board.leave("sending: landed, not recorded")
        if self.here.request:
            self.here.unanswered += 1
            self.board.enter("request: committed, not answered")


class WatchedStore:
    """A store whose write transactions show on the board."""

    def __init__(self, store: Any, watch: Watch) -> None:
        self._store, self._watch = store, watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def write(self) -> Any:
        opener = sys._getframe(1).f_globals.get("__name__", "")
        return self._write(_OPENERS.get(opener, "transaction: other"))

    @contextmanager
    def _write(self, place: str) -> Iterator[Any]:
        board = self._watch.board
        committing = False
        try:
            with self._store.write() as tx:
                with board.at(place):
                    yield tx
                board.enter("transaction: COMMIT")
                committing = True
        finally:
            if committing:
                board.leave("transaction: COMMIT")
        self._watch.committed()


def early(inner: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """The fault: AA at once, the work afterwards."""

    def wsgi(environ: Any, start: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/intake/hl7v2":
            return inner(environ, start)
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        control = re.split(rb"[\r\n]", raw)[0].split(b"|")[9]
        again = {**environ, "wsgi.input": io.BytesIO(raw)}

        def later() -> None:
            time.sleep(EARLY_S)
            list(inner(again, lambda *given: None))

        threading.Thread(target=later).start()
        start("200 OK", [("Content-Type", "application/hl7-v2")])
        return [b"MSH|^~\\&|FHIRCASE|||||||ACK|1|P|2.5.1\rMSA|AA|" + control + b"\r"]

    return wsgi


def main() -> None:
    Watch(Board(Path(sys.argv[1]))).install()
    from fhircase.__main__ import main as fhircase

    sys.argv = ["fhircase", *sys.argv[2:]]
    fhircase()


if __name__ == "__main__":
    main()
