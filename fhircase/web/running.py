"""What runs, for machines that watch: no key is asked for, and nothing of clients or partners is shown."""

from __future__ import annotations

import re
from typing import Any

import prometheus_client
from flask import Blueprint, Flask, Response, current_app

from fhircase import __version__
from fhircase.fhir import capability, definitions, jsontext
from fhircase.flows import directory, kinds, open_case
from fhircase.flows.hub import Hub
from fhircase.web import asked
from fhircase.web.problem import FHIR_JSON

bp = Blueprint("running", __name__)


@bp.get("/healthz")
def healthz() -> Response:
    """200 while the process answers."""
    return _json({"status": "alive"})


@bp.get("/readyz")
def readyz() -> Response:
    """200 once the store is migrated and the lanes run; else 503 with what is missing."""
    missing = current_app.extensions["fhircase.services"].ready()
    return _json({"status": "waiting" if missing else "ready", "missing": missing}, 503 if missing else 200)


@bp.get("/metrics")
def metrics() -> Response:
    """Prometheus text."""
    services = current_app.extensions["fhircase.services"]
    services.metrics.audit_waiting.set(len(services.audit))
    _watch_lanes(services.metrics)
    return Response(prometheus_client.generate_latest(services.metrics.registry), content_type=prometheus_client.CONTENT_TYPE_LATEST)


def _watch_lanes(metrics: Any) -> None:
    hub = _hub()
    now = hub.now()
    waiting: dict[str, int] = {}
    oldest: dict[str, int] = {}
    with hub.store.read() as tx:
        for lane in tx.outbox.status():
            target = str(lane["target"])
            waiting[target] = waiting.get(target, 0) + int(lane["waiting"] or 0)
            if lane.get("oldest") is not None:
                oldest[target] = min(oldest.get(target, now), int(lane["oldest"]))
        items, _ = tx.reviews.list(count=200)
    metrics.reviews_open.set(len(items))
    for target, count in waiting.items():
        metrics.lane_waiting.labels(target).set(count)
        metrics.lane_oldest.labels(target).set((now - oldest.get(target, now)) / 1000 if count else 0)


@bp.get("/fhir/metadata")
def metadata() -> Response:
    """What the FHIR API can do (http://hl7.org/fhir/R4/http.html#capabilities)."""
    services = current_app.extensions["fhircase.services"]
    if services.shown.get("metadata") is None:
        rows = [capability.Row(name) for name in sorted(definitions.resource_types() - _NOT_STORED)]
        made = capability.statement(
            rows, base_url=f"{_hub().policy.base_url}/fhir", version=__version__, at_ms=_hub().now(), operations=OPERATIONS
        )
        services.shown["metadata"] = jsontext.dumps(made)
    return Response(services.shown["metadata"], content_type=FHIR_JSON)


OPERATIONS = (
    capability.Operation("process-message", "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message"),
    capability.Operation("validate", "http://hl7.org/fhir/OperationDefinition/Resource-validate"),
    capability.Operation("everything", "http://hl7.org/fhir/OperationDefinition/Patient-everything", "Patient"),
)
_NOT_STORED = frozenset({"Parameters", "OperationOutcome"})


@bp.get("/openapi.json")
def openapi() -> Response:
    """This description, made from the routes themselves."""
    return _json(describe(current_app))


def describe(app: Flask) -> dict[str, Any]:
    """OpenAPI 3.1 of every route of ``app``; the words are the views' docstrings."""
    hub: Hub = app.extensions["fhircase"]
    paths: dict[str, Any] = {}
    names: dict[str, int] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        path = re.sub(r"<(?:[^:<>]+:)?([^<>]+)>", r"{\1}", rule.rule)
        if path != "/" and path.endswith("/"):
            path = path.rstrip("/")
        view = app.view_functions[rule.endpoint]
        blueprint = rule.endpoint.partition(".")[0]
        words = " ".join((view.__doc__ or rule.endpoint).split())
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            fhir = path == "/fhir" or path.startswith("/fhir/")
            schema = "OperationOutcome" if fhir else "Problem"
            refusal = "application/fhir+json" if fhir else "application/problem+json"
            operation: dict[str, Any] = {
                "operationId": _name(f"{rule.endpoint}.{method.lower()}", names),
                "tags": [blueprint],
                "summary": words.partition(". ")[0].rstrip("."),
                "description": words,
                "responses": {
                    "2XX": {"description": "Done"},
                    "4XX": {"description": "Refused", "content": {refusal: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}},
                },
            }
            if rule.arguments:
                operation["parameters"] = [
                    {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in sorted(rule.arguments)
                ]
            body = asked.taken(view)
            if body is not None:
                media = ("application/merge-patch+json", "application/json") if method == "PATCH" else ("application/json",)
                operation["requestBody"] = {"required": True, "content": {one: {"schema": body} for one in media}}
            if blueprint == "running":
                operation["security"] = []
            paths.setdefault(path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "fhircase",
            "version": __version__,
            "description": "One shared care plan per client, in step between all who care.",
        },
        "servers": [{"url": hub.policy.base_url}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}, "schemas": _schemas(hub)},
    }


def _schemas(hub: Hub) -> dict[str, Any]:
    """Case documents and the directory as the mappings make them, and refusals."""
    of_cases = kinds.schemas(hub)
    if of_cases:
        of_cases["CaseOpening"] = open_case.published(hub)
    return {**of_cases, **directory.schemas(hub), **_SCHEMAS}


def _name(name: str, taken: dict[str, int]) -> str:
    """Two addresses of one view get names of their own."""
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else f"{name}.{taken[name]}"


_SCHEMAS: dict[str, Any] = {
    "Problem": {
        "type": "object",
        "description": "RFC 9457, with every problem at once",
        "required": ["type", "title", "status", "errors"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "correlation": {"type": "string"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"path": {"type": "string"}, "problem": {"type": "string"}, "hint": {"type": "string"}},
                },
            },
        },
    },
    "OperationOutcome": {
        "type": "object",
        "description": "http://hl7.org/fhir/R4/operationoutcome.html",
        "required": ["resourceType", "issue"],
        "properties": {"resourceType": {"const": "OperationOutcome"}, "issue": {"type": "array", "items": {"type": "object"}}},
    },
}


def _hub() -> Hub:
    hub: Hub = current_app.extensions["fhircase"]
    return hub


def _json(value: Any, status: int = 200) -> Response:
    return Response(jsontext.dumps(value), status, content_type="application/json")
