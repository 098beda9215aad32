"""What every write of a case document goes through, of a case and of the directory alike: the merge patch, the fields that are the
hub's, references, the way out through a mapping, and the checks told by the field of the document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fhircase.errors import Invalid, Problem, Stale
from fhircase.flows import commit
from fhircase.mapping import Mapping as Lines
from fhircase.mapping import schema
from fhircase.plans.change import Change, Ref, Resource
from fhircase.ports import Tx

Doc = dict[str, Any]


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merge_patch(made.get(name), value)
    return made


def fixed(doc: Any, expected: Mapping[str, Any], names: Iterable[str], at: str = "") -> Iterable[Problem]:
    """What is the hub's may be sent back as it was shown, not changed."""
    if isinstance(doc, dict):
        for name in names:
            if name in doc and doc[name] != expected.get(name):
                yield Problem("this is the hub's to say", f"{at}/{name}", "leave it out", "business-rule")


def same(tag: str, if_match: str | None, what: str) -> None:
    """Raises Stale when ``if_match`` names another state than ``tag`` (an ETag without W/ and quotes)."""
    if if_match is None:
        return
    given = {one.strip().removeprefix("W/").strip('"') for one in if_match.split(",")}
    if "*" not in given and tag not in given:
        raise Stale(f"{what} has changed since you read it", hint="read it again and send its ETag as If-Match")


def unknown_references(tx: Tx, found: Iterable[tuple[str, str]], client: str | None, told: Iterable[str] = ()) -> list[Problem]:
    """References (JSON pointer, text) to what is not here, or is another client's: both are answered alike. ``client`` None: of
    the directory, which has no client."""
    local: dict[str, Ref] = {}
    for place, text in found:
        if text.count("/") == 1 and not text.startswith(("#", "urn:")) and place not in told:
            local[place] = Ref.of(text)
    held = tx.plans.get_many(local.values()) if local else {}
    whose = " of this client" if client is not None else " here"
    problems = []
    for place, ref in local.items():
        stored = held.get(ref)
        if stored is None or stored.deleted or (client is not None and stored.client not in (None, client)):
            problems.append(Problem(f"no such {ref.type}{whose}", place, "name one that is here, or leave it out", "not-found"))
    return problems


def out(mapping: Lines, doc: Doc, onto: Resource | None, at: str = "") -> tuple[Resource, dict[str, str]]:
    """The resource, and JSON pointer of the case document → FHIR element of what it holds. Raises Invalid."""
    made = mapping.out(doc, onto=onto)
    broken = [replace(p, path=at + schema.pointer(p.path)) for p in made.problems if p.severity == "error"]
    if broken:
        raise Invalid(broken)
    return made.resource, {at + schema.pointer(name): element for name, element in made.elements.items()}


def checked(change: Change, elements: Mapping[str, Mapping[str, str]]) -> Change:
    """``commit.check``, with every problem told by the field of the case document where there is one. Raises Invalid."""
    try:
        return commit.check(change)
    except Invalid as error:
        raise Invalid(replace(problem, path=_by_field(problem.path, elements)) for problem in error.problems) from None


def _by_field(path: str, elements: Mapping[str, Mapping[str, str]]) -> str:
    type_, _, below = path.partition(".")
    wanted = _bare(below)
    best = ""
    length = -1
    for name, element in elements.get(type_, {}).items():
        bare = _bare(element)
        fits = bare == wanted or bare.startswith(wanted + ".") or wanted.startswith(bare + ".")
        shared = min(len(bare), len(wanted))
        if fits and wanted and shared > length:
            best, length = name, shared
    return best or path


def _bare(path: str) -> str:
    """``target[0].due.ofType(date)`` and ``target.dueDate``: comparable."""
    steps: list[str] = []
    rest = path
    while rest:
        step, _, rest = rest.partition(".")
        while "(" in step and ")" not in step and rest:
            more, _, rest = rest.partition(".")
            step += "." + more
        name, mark, inner = step.partition("[")
        kind, found, type_ = name.partition("(")
        if kind == "ofType" and steps:
            steps[-1] += type_[:1].upper() + type_[1:-1]
        elif not found:
            index = inner.partition("]")[0] if mark else ""
            steps.append(f"{name}[{index}]" if index not in ("", "0") else name)
    return ".".join(steps)
