"""The threads of one process that deliver and collect."""

from __future__ import annotations

import threading
from collections.abc import Callable

from fhircase.flows.hub import Hub
from fhircase.worker import collect, deliver


class Workers:
    """Started once, stopped once. ``me`` names this process in the lanes that it owns, for whoever looks at them.
    ``lanes`` and ``polls`` are how many lanes and partners are served at once."""

    def __init__(self, hub: Hub, me: str, *, lanes: int = deliver.LANES, polls: int = collect.POLLS) -> None:
        self._stop = threading.Event()
        self._threads = [
            self._thread("deliver", lambda: deliver.loop(hub, me, self._stop, lanes=lanes)),
            self._thread("collect", lambda: collect.loop(hub, self._stop, polls=polls)),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def alive(self) -> bool:
        """Whether every loop runs (for /readyz)."""
        return all(thread.is_alive() for thread in self._threads)

    def stop(self, seconds: float = 20.0) -> bool:
        """Claim nothing more, let what is under way finish. False when it did not within ``seconds``; then its leases end
        by themselves and its pending writes are looked up by the next owner."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(seconds)
        return not any(thread.is_alive() for thread in self._threads)

    def _thread(self, name: str, target: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=target, name=name, daemon=True)
