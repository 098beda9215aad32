"""Poll each partner when it is due. No decisions here: ``flows.receive`` decides."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from fhircase.errors import Unavailable
from fhircase.flows import receive
from fhircase.flows.hub import Hub
from fhircase.telemetry import Log, place, tell

POLLS = 16
"""Partners polled at once in one process; one that hangs holds up only itself."""

TICK_S = 0.5
DEFECT_PAUSE_S = 30.0
STORE_PAUSE_S = 1.0
STORE_AWAY = "the database does not take it now"


def loop(hub: Hub, stop: threading.Event, *, polls: int = POLLS, tick: float = TICK_S) -> None:
    """Until ``stop``: see who is due, poll them side by side, each at most once at a time."""
    busy: set[str] = set()
    later: dict[str, float] = {}
    lock = threading.Lock()
    with ThreadPoolExecutor(polls, thread_name_prefix="collect") as pool:

        def work(name: str) -> None:
            pause = turn(hub, name)
            with lock:
                busy.discard(name)
                later[name] = time.monotonic() + pause

        while not stop.is_set():
            for name in _names(hub):
                with lock:
                    if name in busy or len(busy) >= polls or later.get(name, 0.0) > time.monotonic():
                        continue
                    busy.add(name)
                pool.submit(work, name)
            stop.wait(tick)


def turn(hub: Hub, name: str) -> float:
    """Poll one partner if it is due. Returns seconds to leave it alone; whatever goes wrong concerns this partner alone."""
    try:
        what = receive.due(hub, name)
        if what == "no":
            return 0.0
        found = receive.collect(hub, name, sweep=what == "sweep")
    except Unavailable:
        tell(Log.COLLECT_FAILED, partner=name, reason=STORE_AWAY, pause_ms=int(STORE_PAUSE_S * 1000))
        return STORE_PAUSE_S
    except Exception as error:
        hub.tally("poll", name, "defect", 1)
        tell(Log.COLLECT_DEFECT, partner=name, error=type(error).__name__, where=place(error))
        return DEFECT_PAUSE_S
    hub.tally("poll", name, "failed" if found.paused else "ok", 1)
    if found.paused:
        tell(Log.COLLECT_FAILED, partner=name, reason=found.paused, pause_ms=found.pause_ms)
    elif found.taken or found.new or found.clashes or found.deleted or found.refused:
        tell(Log.COLLECTED, partner=name, count=found.taken + found.new, reviews=found.clashes + found.refused)
    return found.pause_ms / 1000


def _names(hub: Hub) -> list[str]:
    try:
        with hub.store.read() as tx:
            return [partner.name for partner in tx.partners.all() if partner.base_url and not partner.paused]
    except Unavailable:
        tell(Log.COLLECT_FAILED, reason=STORE_AWAY)
        return []
    except Exception as error:
        tell(Log.COLLECT_DEFECT, error=type(error).__name__, where=place(error))
        return []
