"""Every error that a caller can meet, and what each means on the wire.

    FhircaseError
    ├── Refused            the caller must change something
    │   ├── Malformed          400  not JSON, not ER7, not a FHIR resource
    │   ├── Invalid            422  read well, breaks a rule of FHIR or of the mapping
    │   ├── NotAcceptable      406
    │   ├── WrongMediaType     415
    │   ├── MethodNotAllowed   405
    │   ├── TooLarge           413
    │   ├── Unauthenticated    401
    │   ├── Forbidden          403  a scope is missing; a foreign resource is NotFound (DECISIONS 5)
    │   ├── NotFound           404  absent and foreign alike
    │   ├── Gone               410
    │   ├── Conflict           409  the state does not allow it
    │   ├── Stale              412  If-Match named another version
    │   └── NotUnique          412  conditional criteria match several
    └── Unavailable        503  nothing was stored: send it again

Each carries ``problems``: what is wrong, where, and what to do. No text of a Python exception ever
reaches a caller; an error outside this tree is a defect of ours and is answered 500 without detail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MOST_TOLD = 200
"""So many problems are told of one document; who has more needs no list."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: ``path`` is FHIRPath (``Goal.target[0].due``), a JSON pointer of a case
    document, or an HL7 v2 place (``PV1-36.1``); ``hint`` says what to do. ``code`` is a FHIR issue-type,
    ``severity`` a FHIR issue-severity. No value of a client's record stands in ``what``."""

    what: str
    path: str = ""
    hint: str = ""
    code: str = "invalid"
    severity: str = "error"


class FhircaseError(Exception):
    """Root of the tree. ``status`` is the HTTP status, ``code`` the FHIR issue-type
    (http://hl7.org/fhir/R4/valueset-issue-type.html)."""

    status = 500
    code = "exception"
    title = "The service failed"

    def __init__(self, what: str | Problem | Iterable[Problem] = (), *, path: str = "", hint: str = "") -> None:
        if isinstance(what, str):
            what = Problem(what, path, hint, self.code)
        self.problems: tuple[Problem, ...] = (what,) if isinstance(what, Problem) else tuple(what)
        super().__init__("; ".join(f"{p.path}: {p.what}" if p.path else p.what for p in self.problems) or self.title)


class Refused(FhircaseError):
    status, code, title = 400, "invalid", "The request was refused"


class Malformed(Refused):
    status, code, title = 400, "structure", "The body cannot be read"


class Invalid(Refused):
    status, code, title = 422, "invalid", "The content breaks a rule"


class NotAcceptable(Refused):
    status, code, title = 406, "not-supported", "No such representation"


class WrongMediaType(Refused):
    status, code, title = 415, "not-supported", "Unsupported media type"


class MethodNotAllowed(Refused):
    status, code, title = 405, "not-supported", "Method not allowed here"


class TooLarge(Refused):
    status, code, title = 413, "too-long", "The body is too large"


class Unauthenticated(Refused):
    status, code, title = 401, "login", "Credentials are missing or wrong"


class Forbidden(Refused):
    status, code, title = 403, "forbidden", "The credentials do not allow this"


class NotFound(Refused):
    status, code, title = 404, "not-found", "Not found"


class Gone(Refused):
    status, code, title = 410, "deleted", "It was deleted"


class Conflict(Refused):
    status, code, title = 409, "conflict", "The present state does not allow it"


class Stale(Refused):
    status, code, title = 412, "conflict", "It has changed since you read it"


class NotUnique(Refused):
    status, code, title = 412, "multiple-matches", "The criteria match several"


class Unavailable(FhircaseError):
    status, code, title = 503, "transient", "Not stored; send it again"
