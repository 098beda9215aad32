"""Where a process says, in memory that outlives it, what it is in the middle of, so that a kill can be aimed."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REQUESTS = (
    "request: message by MLLP", "request: message by HTTP", "request: case edit", "request: read", "request: committed, not answered",
)  # fmt: skip
TRANSACTIONS = (
    "transaction: message", "transaction: case edit", "transaction: delivery", "transaction: partner's edit", "transaction: webhook",
    "transaction: lane claim", "transaction: other", "transaction: COMMIT",
)  # fmt: skip
SENDINGS = ("sending: create", "sending: update", "sending: read", "sending: webhook", "sending: landed, not recorded")
PLACES = (*REQUESTS, *TRANSACTIONS, *SENDINGS)
"""What a thread can be in the middle of. ``request`` is somebody's request to us, from its first byte to the answer;
``transaction`` a write transaction, by who opened it, from after BEGIN to before COMMIT; ``sending`` our request to a partner."""

_CELL = struct.Struct("<q")
_SIZE = _CELL.size * (len(PLACES) + 1)


class Board:
    """Counters of threads inside each place, in a shared file. Cell 0 is the pid of the process that writes."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            made = path.with_suffix(f".{os.getpid()}")
            made.write_bytes(b"\0" * _SIZE)
            made.replace(path)  # whoever looks from outside finds it whole or not at all
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _SIZE)
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        return int(_CELL.unpack_from(self._memory, 0)[0])

    def inside(self, place: str) -> int:
        """How many threads are there now."""
        return int(_CELL.unpack_from(self._memory, self._at(place))[0])

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        self.enter(place)
        try:
            yield
        finally:
            self.leave(place)

    def enter(self, place: str) -> None:
        self._move(place, 1)

    def leave(self, place: str) -> None:
        self._move(place, -1)

    def _at(self, place: str) -> int:
        return (PLACES.index(place) + 1) * _CELL.size

    def _move(self, place: str, by: int) -> None:
        at = self._at(place)
        with self._lock:
            if self.pid != os.getpid():  # born, or forked
                self._memory[:] = b"\0" * _SIZE
                _CELL.pack_into(self._memory, 0, os.getpid())
            _CELL.pack_into(self._memory, at, max(int(_CELL.unpack_from(self._memory, at)[0]) + by, 0))
