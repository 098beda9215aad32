"""Log events, the correlation id and metrics: names only. Nothing is configured or opened at import; ``wiring`` calls
``configure``. Every line is a row of ``Log``, and every field passes an allow-list, so that privacy can be reviewed on
this one page: ids, counts, codes and hashes may be logged, bodies, names, texts and query strings never."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from enum import Enum
from typing import Any, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

correlation: ContextVar[str] = ContextVar("correlation", default="")
"""The id that follows one piece of work from the request (X-Request-Id) to the delivery."""


class Log(Enum):
    """code, level, words. Codes are never used again for something else."""

    SERVE_START = ("FHC001", "info", "the hub serves")
    SERVE_STOP = ("FHC002", "info", "the hub drains and stops")
    SERVE_STORE = ("FHC003", "info", "the store is migrated")
    SERVE_WARNING = ("FHC004", "warning", "the settings deserve a look")
    SERVE_KEY = ("FHC005", "info", "an administrator key was set from the settings")

    REQUEST = ("FHC101", "info", "a request was answered")
    REQUEST_READ = ("FHC102", "debug", "a read was answered")
    REQUEST_REFUSED = ("FHC103", "info", "a request was refused")
    REQUEST_DEFECT = ("FHC104", "error", "a defect of ours: answered 500 without detail")

    COMMIT = ("FHC201", "info", "a change was committed")
    INTAKE = ("FHC202", "info", "a message was taken in")
    INTAKE_DEFECT = ("FHC203", "error", "a message met a defect of ours and was kept")
    REVIEW = ("FHC204", "info", "a review was opened")
    INTAKE_UNSTORED = ("FHC205", "warning", "a message could not be stored and got no answer: its sender sends it again")

    LANE_PAUSED = ("FHC301", "warning", "a lane pauses: the receiver cannot be reached")
    LANE_LOST = ("FHC302", "warning", "a lane was lost to another worker")
    LANE_DEFECT = ("FHC303", "error", "a lane met a defect of ours and pauses")
    DELIVERED = ("FHC304", "debug", "a delivery was made")
    PARKED = ("FHC305", "warning", "content that the receiver refuses was parked")
    COLLECTED = ("FHC306", "debug", "a partner was polled")
    COLLECT_FAILED = ("FHC307", "warning", "a partner could not be polled")
    COLLECT_DEFECT = ("FHC308", "error", "polling met a defect of ours and goes on later")
    PROBED = ("FHC309", "info", "a partner was probed")
    ENDPOINT_DISABLED = ("FHC310", "warning", "a webhook endpoint was disabled: it failed for too long, or said that it is gone")

    AUDIT_LATE = ("FHC401", "error", "read audit could not be written and waits")
    MLLP_START = ("FHC501", "info", "the MLLP listener is open")
    MLLP_REFUSED = ("FHC502", "warning", "an MLLP connection was refused")
    MLLP_CLOSED = ("FHC503", "debug", "an MLLP connection was closed")

    @property
    def code(self) -> str:
        return self.value[0]

    @property
    def level(self) -> str:
        return self.value[1]

    @property
    def words(self) -> str:
        return self.value[2]


ALLOWED = frozenset({
    "code", "level", "event", "timestamp", "correlation", "process", "thread",
    "route", "method", "status", "ms", "bytes", "key", "partner", "interaction", "type", "ref", "refs", "version", "seq",
    "message", "control_hash", "digest", "kind", "state", "answer", "review", "reviews",
    "count", "attempt", "attempts", "lane", "fence", "fails", "pause_ms", "endpoint", "delivery", "event_id", "event_type",
    "outcome", "reason", "error", "where", "setting", "bind", "store", "waiting", "workers", "processes", "threads", "peer", "port",
})  # fmt: skip
"""Fields that may be logged. ``error`` is the class of an exception and ``where`` its place in our code, never its text;
``reason`` is one of our own fixed words."""

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _only_allowed(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value for name, value in fields.items() if name in ALLOWED}


def _correlated(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if "correlation" not in fields and (id_ := correlation.get()):
        fields["correlation"] = id_
    return fields


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Log JSON lines to ``stream`` (stderr) from ``level`` on; called once by the composition root."""
    structlog.configure(
        processors=[
            _correlated,
            _only_allowed,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=stream or sys.stderr),
        cache_logger_on_first_use=False,
    )


def tell(entry: Log, **fields: Any) -> None:
    """Log one event. Fields outside ``ALLOWED`` are dropped. Silent below the level, and before ``configure``."""
    if not structlog.is_configured():
        return
    logger = structlog.get_logger()
    getattr(logger, entry.level)(entry.words, code=entry.code, level=entry.level, **fields)


def place(error: BaseException) -> str:
    """Where in the code an exception came from, ``module:line``, without its text (which may hold a client's data)."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}" if trace else "?"


class Metrics:
    """The hub's Prometheus metrics in a registry of their own. Labels are routes, kinds and codes, never ids."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter("fhircase_requests", "Requests answered", ("route", "method", "status"), registry=r)
        self.request_seconds = Histogram(
            "fhircase_request_seconds",
            "Time to answer",
            ("route",),
            registry=r,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )
        self.intake = Counter("fhircase_intake_messages", "Messages taken in", ("kind", "answer"), registry=r)
        self.deliveries = Counter("fhircase_deliveries", "Deliveries tried", ("kind", "outcome"), registry=r)
        self.polls = Counter("fhircase_polls", "Polls of partners", ("partner", "outcome"), registry=r)
        self._of = {"intake": self.intake, "delivery": self.deliveries, "poll": self.polls}
        self.audit_waiting = Gauge("fhircase_audit_waiting", "Read audit entries not yet written", registry=r)
        self.lane_waiting = Gauge("fhircase_lane_waiting", "Marks and events that wait, by receiver", ("target",), registry=r)
        self.lane_oldest = Gauge("fhircase_lane_oldest_seconds", "Age of what waits longest, by receiver", ("target",), registry=r)
        self.reviews_open = Gauge("fhircase_reviews_open", "Open reviews (up to 200)", registry=r)

    def tally(self, what: str, which: str, outcome: str, count: int) -> None:
        """Count ``flows.hub.Hub.tally``: intake (by kind and answer), delivery (by kind), poll (by partner)."""
        if count:
            self._of[what].labels(which, outcome).inc(count)
