"""The Flask application: what is around every request, and the blueprints."""

from __future__ import annotations

import importlib
import importlib.util
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.routing import BaseConverter

from fhircase import telemetry
from fhircase.flows.audit import ReadAudit
from fhircase.flows.hub import Hub
from fhircase.telemetry import Log, Metrics
from fhircase.web import auth, problem
from fhircase.web.turns import taking_turns

BLUEPRINTS = ("fhir", "intake", "events", "cases", "directory", "admin", "running")
"""Modules of this package with a blueprint ``bp``."""

_PLACE = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,64}")


@dataclass(frozen=True, slots=True)
class Services:
    """What the web needs besides the hub. ``ready`` names what is not ready yet; ``random_bytes`` a cryptographic source;
    ``open_gateway`` … are the operations on partners that the admin pages start."""

    random_bytes: Callable[[int], bytes]
    audit: ReadAudit = field(default_factory=ReadAudit)
    metrics: Metrics = field(default_factory=Metrics)
    ready: Callable[[], list[str]] = list
    key_cache_s: float = 2.0
    operations: Any = None
    take_turns: bool = False
    """Whether reads take turns (web.turns)."""

    shown: dict[str, str] = field(default_factory=dict)
    """Texts that are made once, such as the CapabilityStatement."""


class ResourceType(BaseConverter):
    """What may be the name of a resource type; whether R4 has it is judged later."""

    regex = "[A-Za-z]+"


class ResourceId(BaseConverter):
    """An id (http://hl7.org/fhir/R4/datatypes.html#id); so ``_history`` and ``$validate`` are none."""

    regex = r"[A-Za-z0-9\-.]{1,64}"


def create_app(hub: Hub, services: Services) -> Flask:
    """One application on one hub; nothing global, so that several can live in one process."""
    app = Flask("fhircase", static_folder=None)
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    app.url_map.converters |= {"rtype": ResourceType, "rid": ResourceId}
    app.config["MAX_CONTENT_LENGTH"] = hub.policy.bundle_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = hub.policy.body_bytes
    app.extensions["fhircase"] = hub
    app.extensions["fhircase.services"] = services
    ring = auth.KeyRing(services.key_cache_s)
    app.extensions["fhircase.keyring"] = ring
    _around(app, hub, services)
    auth.register(app, ring)
    problem.register(app)
    for name in BLUEPRINTS:
        if importlib.util.find_spec(f"fhircase.web.{name}") is not None:
            app.register_blueprint(importlib.import_module(f"fhircase.web.{name}").bp)
    if services.take_turns:
        app.wsgi_app = taking_turns(app.wsgi_app)  # type: ignore[assignment, method-assign]
    return app


def _around(app: Flask, hub: Hub, services: Services) -> None:
    """Correlation id, metrics and one log line around each request."""
    metrics = services.metrics
    counters: dict[tuple[str, str, int], Any] = {}
    timers: dict[str, Any] = {}
    routes: dict[str, str] = {}

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()
        sent = request.headers.get("X-Request-Id", "")
        g.correlation = sent if _REQUEST_ID.fullmatch(sent) else hub.ids.new()
        telemetry.correlation.set(g.correlation)

    @app.after_request
    def end(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.correlation
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Cache-Control", "private, no-cache")
        rule = request.url_rule
        route = routes.get(rule.rule) if rule is not None else "none"
        if route is None:
            route = routes[rule.rule] = _PLACE.sub(r"{\1}", rule.rule)  # type: ignore[union-attr]
        label = (route, request.method if rule is not None else "none", response.status_code)
        counter = counters.get(label)
        if counter is None:
            counter = counters[label] = metrics.requests.labels(*label)
        counter.inc()
        seconds = time.perf_counter() - g.began
        timer = timers.get(route)
        if timer is None:
            timer = timers[route] = metrics.request_seconds.labels(route)
        timer.observe(seconds)
        status = response.status_code
        entry = Log.REQUEST_REFUSED if status >= 400 else Log.REQUEST_READ if request.method in ("GET", "HEAD") else Log.REQUEST
        who = g.get("principal")
        telemetry.tell(
            entry, method=request.method, route=route, status=status, ms=round(seconds * 1000, 1),
            partner=who.partner if who else None, key=who.key if who else None, reason=g.get("reason"),
        )  # fmt: skip
        return response
