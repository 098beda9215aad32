"""One shape for every refusal: OperationOutcome under ``/fhir``, ``application/problem+json`` (RFC 9457) elsewhere. An
error outside the tree is a defect of ours: 500 without detail, and its place in the log."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from fhircase import telemetry
from fhircase.errors import (
    MOST_TOLD,
    FhircaseError,
    Malformed,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    Problem,
    Refused,
    TooLarge,
    Unavailable,
    WrongMediaType,
)  # fmt: skip
from fhircase.fhir import jsontext, outcome

FHIR_JSON = "application/fhir+json; charset=utf-8"
PROBLEM_JSON = "application/problem+json"

_OF_STATUS: dict[int, type[FhircaseError]] = {
    400: Malformed, 404: NotFound, 405: MethodNotAllowed, 406: NotAcceptable, 413: TooLarge, 415: WrongMediaType, 503: Unavailable,
}  # fmt: skip
_HINTS = {
    404: ("there is nothing at this address", "see /openapi.json, or /fhir/metadata"),
    405: ("this method is not allowed at this address", "see the Allow header"),
    413: ("the body is too large", "send less at once"),
}


def is_fhir(path: str) -> bool:
    return path.startswith("/fhir/") or path == "/fhir"


def answer(error: FhircaseError) -> Response:
    """The error as the caller's side of the house speaks it."""
    if is_fhir(request.path):
        response = Response(jsontext.dumps(outcome.of_error(error)), error.status, content_type=FHIR_JSON)
    else:
        response = Response(jsontext.dumps(_problem(error)), error.status, content_type=PROBLEM_JSON)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="fhircase"'
    if error.status == 503:
        response.headers["Retry-After"] = "5"
    return response


def _problem(error: FhircaseError) -> dict[str, Any]:
    problems = error.problems or (Problem(error.title),)
    told: dict[str, Any] = {"type": "about:blank", "title": error.title, "status": error.status, "detail": problems[0].what}
    told["errors"] = [{"path": p.path, "problem": p.what, "hint": p.hint} for p in problems[:MOST_TOLD]]
    told["correlation"] = g.get("correlation", "")
    return told


def register(app: Flask) -> None:
    """Every error of ``app`` leaves through ``answer``."""

    @app.errorhandler(FhircaseError)
    def of_the_tree(error: FhircaseError) -> Response:
        g.reason = type(error).__name__
        return answer(error)

    @app.errorhandler(HTTPException)
    def of_http(error: HTTPException) -> Response:
        status = error.code or 500
        if status < 400 and error.response is None:
            return Response(status=status, headers=error.get_headers())
        kind = _OF_STATUS.get(status, Refused if status < 500 else FhircaseError)
        what, hint = _HINTS.get(status, (kind.title, ""))
        response = of_the_tree(kind(what, hint=hint))
        response.status_code = status
        for name, value in error.get_headers():
            if name in ("Allow", "Retry-After"):
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def of_ours(error: Exception) -> Response:
        if type(error).__module__ == "gunicorn.http.errors":  # the server reads the body as the view asks for it
            return of_the_tree(Malformed("the body breaks off, or its chunks are not framed as RFC 9112 says", hint="send it again"))
        telemetry.tell(telemetry.Log.REQUEST_DEFECT, error=type(error).__name__, where=telemetry.place(error), method=request.method)
        g.reason = "Defect"
        return answer(FhircaseError(Problem("a defect of the hub", hint="tell its operator the X-Request-Id", code="exception")))
