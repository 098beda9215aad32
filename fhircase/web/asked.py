"""What a request for case documents asks: who, with which parameters, with which document; and what a route takes, said beside it and
published in ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from flask import current_app, g, request

from fhircase.access.principal import Principal
from fhircase.access.viewer import Viewer
from fhircase.errors import Forbidden, Invalid, Malformed, NotFound, Problem, WrongMediaType
from fhircase.fhir import jsontext
from fhircase.flows.hub import Hub
from fhircase.plans.change import Agent

JSON = ("application/json", "application/merge-patch+json", "application/fhir+json")

Schema = Mapping[str, Any]
Value = TypeVar("Value")
View = TypeVar("View", bound=Callable[..., Any])


def takes(body: Schema) -> Callable[[View], View]:
    """The JSON Schema of the body of a POST or PATCH; it may refer to ``#/components/schemas``."""

    def mark(view: View) -> View:
        vars(view)["takes"] = body
        return view

    return mark


def taken(view: Callable[..., Any]) -> Schema | None:
    """What ``takes`` said of a view."""
    body: Schema | None = vars(view).get("takes")
    return body


def hub() -> Hub:
    """Raises NotFound on a plain FHIR server, which runs no cases and has no mappings."""
    found: Hub = current_app.extensions["fhircase"]
    if found.maps is None:
        raise NotFound("this server runs no cases", hint="its resources are under /fhir")
    return found


def who() -> Principal:
    found: Principal = g.principal
    return found


def agent() -> Agent:
    return who().agent()


def viewer() -> Viewer:
    """The caller, at this moment."""
    return who().viewer(hub().now())


def told() -> dict[str, Any]:
    """What a write is told of its caller: key, correlation and If-Match."""
    return {"key": who().key, "correlation": g.get("correlation", ""), "if_match": request.headers.get("If-Match")}


def shown(interaction: str, refs: Iterable[str], clients: Iterable[str] = ()) -> None:
    """Note in the audit trail what the answer shows. Raises Unavailable when it cannot be noted."""
    services = current_app.extensions["fhircase.services"]
    services.audit.named(who(), interaction, list(refs), list(clients), at=hub().now(), correlation=g.get("correlation", ""))


def noting(interaction: str, ref: str, run: Callable[[], Value]) -> Value:
    """Runs a read; what is refused is in the audit trail too."""
    try:
        return run()
    except (Forbidden, NotFound) as error:
        services = current_app.extensions["fhircase.services"]
        services.audit.refused(who(), interaction, ref, at=hub().now(), correlation=g.get("correlation", ""), reason=error.code)
        raise


def document() -> dict[str, Any]:
    """The body. Raises WrongMediaType, Malformed."""
    if request.mimetype not in JSON:
        raise WrongMediaType("a case document is JSON", hint="send Content-Type: application/json")
    found = jsontext.loads(request.get_data())
    if not isinstance(found, dict):
        raise Malformed("a JSON object is needed")
    return found


def query(*known: str) -> dict[str, str]:
    """The query parameters. Raises Invalid for one that is not known or stands twice."""
    asked = request.args
    wrong = [Problem("no such parameter", name[:64], "known: " + ", ".join(known)) for name in asked if name not in known]
    wrong += [Problem("given twice", name, "give it once") for name in known if len(asked.getlist(name)) > 1]
    if wrong:
        raise Invalid(wrong)
    return asked.to_dict()


def count(asked: Mapping[str, str]) -> int:
    """How many entries a page shall have. Raises Malformed."""
    try:
        return min(max(int(asked.get("count", "50")), 1), 200)
    except ValueError:
        raise Malformed("count is a whole number", path="count") from None
