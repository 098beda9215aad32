"""Claim lanes and hand each to the flow that works on it. No decisions here: ``flows.deliver`` and ``flows.notify`` decide."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fhircase.errors import Unavailable
from fhircase.flows import deliver, notify
from fhircase.flows.hub import Hub
from fhircase.ports import Lane
from fhircase.telemetry import Log, place, tell

LANES = 64
"""Lanes at work at once in one process. A partner that hangs holds at most its own lanes (width and one), so the others go
on as long as this is more than all that hang together; threads that wait cost little."""

WAIT_S = 0.5
DEFECT_PAUSE_MS = 30_000
STORE_AWAY = "the database does not take it now"


def loop(hub: Hub, me: str, stop: threading.Event, *, lanes: int = LANES) -> None:
    """Until ``stop``: claim, hand over, claim again; with nothing to do, wait for the store to say that there is. On
    ``stop`` the lanes at work finish their batch and are let go. ``me`` names this process in the lanes it owns."""
    free = threading.Semaphore(lanes)
    with ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool:

        def work(lane: Lane) -> None:
            try:
                turn(hub, lane, stop.is_set)
            finally:
                free.release()

        while not stop.is_set():
            if not free.acquire(timeout=WAIT_S):
                continue
            lane = _claim(hub, me)
            if lane is None:
                free.release()
                _wait(hub, stop)
                continue
            pool.submit(work, lane)


def turn(hub: Hub, lane: Lane, stop: Callable[[], bool] = lambda: False) -> None:
    """Work on one claimed lane. Whatever goes wrong pauses this lane and nothing else."""
    try:
        if lane.kind == "fhir":
            deliver.step(hub, lane, stop=stop)
        else:
            notify.step(hub, lane)
    except Unavailable:
        tell(Log.LANE_PAUSED, lane=lane.key, fence=lane.fence, reason=STORE_AWAY, pause_ms=hub.policy.retry_first_ms)
        _let_go(hub, lane, hub.policy.retry_first_ms)
    except Exception as error:
        tell(Log.LANE_DEFECT, lane=lane.key, fence=lane.fence, error=type(error).__name__, where=place(error))
        _let_go(hub, lane, DEFECT_PAUSE_MS)


def _let_go(hub: Hub, lane: Lane, pause: int) -> None:
    try:
        with hub.store.write() as tx:
            tx.outbox.release(lane, now=hub.now(), pause=pause, failed=True)
    except Unavailable:  # the lease ends by itself
        tell(Log.LANE_PAUSED, lane=lane.key, fence=lane.fence, reason=STORE_AWAY)
    except Exception as error:
        tell(Log.LANE_DEFECT, lane=lane.key, fence=lane.fence, error=type(error).__name__, where=place(error))


def _claim(hub: Hub, me: str) -> Lane | None:
    try:
        with hub.store.write() as tx:
            return tx.outbox.claim(me, hub.now(), hub.policy.lease_ms)
    except Unavailable:
        tell(Log.LANE_PAUSED, reason=STORE_AWAY)
        return None
    except Exception as error:
        tell(Log.LANE_DEFECT, error=type(error).__name__, where=place(error))
        return None


def _wait(hub: Hub, stop: threading.Event) -> None:
    try:
        hub.store.wait(WAIT_S)
    except Exception as error:
        tell(Log.LANE_DEFECT, error=type(error).__name__, where=place(error))
        stop.wait(WAIT_S)
