"""Problems as OperationOutcome (http://hl7.org/fhir/R4/operationoutcome.html)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from fhircase.errors import FhircaseError, Problem

_STEP = r"(?:[a-z][A-Za-z0-9]*|ofType\([A-Za-z]+\)|extension\('[^']+'\)|where\([a-z][A-Za-z]*='[^']+'\))"
_FHIRPATH = re.compile(rf"[A-Z][A-Za-z]*(?:\[\d+\])?(?:\.{_STEP}(?:\[\d+\])?)*")


def of(problems: Iterable[Problem]) -> dict[str, Any]:
    """One issue a problem; without problems one information that all is well (an OperationOutcome has at least one
    issue). A path that is FHIRPath becomes ``expression``; another place (a parameter, a line) goes into the words."""
    issues = [_issue(problem) for problem in problems]
    if not issues:
        issues = [{"severity": "information", "code": "informational", "diagnostics": "No problems found"}]
    return {"resourceType": "OperationOutcome", "issue": issues}


def of_error(error: FhircaseError) -> dict[str, Any]:
    """What a caller may know of an error of the tree; an error without problems says its title."""
    return of(error.problems or (Problem(error.title, code=error.code),))


def _issue(problem: Problem) -> dict[str, Any]:
    is_path = bool(problem.path) and _FHIRPATH.fullmatch(problem.path) is not None
    words = problem.what if is_path or not problem.path else f"{problem.path}: {problem.what}"
    issue: dict[str, Any] = {"severity": problem.severity, "code": problem.code}
    issue["diagnostics"] = f"{words}. {problem.hint[:1].upper()}{problem.hint[1:]}" if problem.hint else words
    if is_path:
        issue["expression"] = [problem.path]
    return issue
