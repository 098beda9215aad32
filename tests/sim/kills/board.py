"""Where a process says, in memory that outlives it, what it is in the middle of, so that a kill can be aimed."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PHASES = ("request", "transaction", "sending")
_CELL = struct.Struct("<q")
_SIZE = _CELL.size * (len(PHASES) + 1)


class Board:
    """Counters of threads inside each phase, in a shared file. Cell 0 is the pid of the process that writes."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(b"\0" * _SIZE)
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _SIZE)
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Called by the process that is born."""
        for cell in range(1, len(PHASES) + 1):
            _CELL.pack_into(self._memory, cell * _CELL.size, 0)
        _CELL.pack_into(self._memory, 0, os.getpid())

    @property
    def pid(self) -> int:
        return int(_CELL.unpack_from(self._memory, 0)[0])

    def inside(self, phase: str) -> int:
        """How many threads are inside now."""
        return int(_CELL.unpack_from(self._memory, (PHASES.index(phase) + 1) * _CELL.size)[0])

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self._move(name, 1)
        try:
            yield
        finally:
            self._move(name, -1)

    def _move(self, name: str, by: int) -> None:
        at = (PHASES.index(name) + 1) * _CELL.size
        with self._lock:
            if self.pid != os.getpid():
                self.reset()
            _CELL.pack_into(self._memory, at, int(_CELL.unpack_from(self._memory, at)[0]) + by)
