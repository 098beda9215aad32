"""Reads of one process take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

Wsgi = Callable[[Any, Any], Iterable[bytes]]

PATIENCE_S = 0.02
"""How long a read waits for its turn; then it goes on beside the one that takes so long. Eight short ones pass in half of it."""


def taking_turns(inner: Wsgi, *, patience: float = PATIENCE_S) -> Wsgi:
    """``inner`` with one read of ``/fhir`` at a time, for a store that computes in this process (SQLite).

    Only one thread of Python computes anyway, and SQLite lets go of it at each row: threads that read at the same time hand it
    to and fro, which costs a fifth of the rate (tests/bench/test_polls.py)."""
    turn = threading.Lock()

    def wsgi(environ: Any, start: Any) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET" or not environ["PATH_INFO"].startswith("/fhir"):
            return inner(environ, start)
        mine = turn.acquire(timeout=patience)
        try:
            return inner(environ, start)
        finally:
            if mine:
                turn.release()

    return wsgi
