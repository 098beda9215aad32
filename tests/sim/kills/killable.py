"""``fhircase`` itself, telling a board when it is inside a request, a write transaction or a request to a partner.

    python -m tests.sim.kills.killable BOARD serve|work

Nothing of the program is changed but that; with ``ACK_EARLY=1`` in the environment it also answers ADT messages before they
are committed, which is the fault that the harness must be able to see."""

from __future__ import annotations

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


class Watched:
    """A store whose write transactions show on the board from after BEGIN until after COMMIT."""

    def __init__(self, store: Any, board: Board) -> None:
        self._store, self._board = store, board

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @contextmanager
    def write(self) -> Iterator[Any]:
        held: list[Any] = []
        try:
            with self._store.write() as tx:
                held.append(self._board.phase("transaction"))
                held[0].__enter__()
                yield tx
        finally:
            if held:
                held[0].__exit__(None, None, None)


def watch(board: Board) -> None:
    """Put the board around the store, the web application and what goes out."""
    opened, made = wiring.storage.open, wiring.create_app

    def open_watched(*given: Any, **named: Any) -> Any:
        return Watched(opened(*given, **named), board)

    def app_watched(*given: Any, **named: Any) -> Any:
        app = made(*given, **named)
        inner = app.wsgi_app
        outer: Callable[..., Iterable[bytes]] = early(inner) if os.environ.get("ACK_EARLY") else inner

        def wsgi(environ: Any, start: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/readyz":
                return inner(environ, start)
            with board.phase("request"):
                return list(outer(environ, start))

        app.wsgi_app = wsgi
        return app

    class Storage:
        def __getattr__(self, name: str) -> Any:
            return open_watched if name == "open" else getattr(_storage, name)

    _storage = wiring.storage
    wiring.storage = Storage()  # type: ignore[assignment]
    wiring.create_app = app_watched
    _around(gateway.HttpGateway, "request", board)
    _around(poster.WebhookPoster, "post", board)


def _around(kind: Any, method: str, board: Board) -> None:
    inner = getattr(kind, method)

    def told(self: Any, *given: Any, **named: Any) -> Any:
        with board.phase("sending"):
            return inner(self, *given, **named)

    setattr(kind, method, told)


def early(inner: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """The fault: AA at once, the work afterwards."""

    def wsgi(environ: Any, start: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/intake/hl7v2":
            return inner(environ, start)
        raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        control = re.split(rb"[\r\n]", raw)[0].split(b"|")[9]
        again = {**environ, "wsgi.input": __import__("io").BytesIO(raw)}

        def later() -> None:
            time.sleep(0.05)
            list(inner(again, lambda *given: None))

        threading.Thread(target=later).start()
        start("200 OK", [("Content-Type", "application/hl7-v2")])
        return [b"MSH|^~\\&|FHIRCASE|||||||ACK|1|P|2.5.1\rMSA|AA|" + control + b"\r"]

    return wsgi


def main() -> None:
    watch(Board(Path(sys.argv[1])))
    from fhircase.__main__ import main as fhircase

    sys.argv = ["fhircase", *sys.argv[2:]]
    fhircase()


if __name__ == "__main__":
    main()
