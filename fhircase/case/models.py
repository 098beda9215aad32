"""Models and kinds of case management as tables: what each asks of a case, and what that comes to for one case. Pure.

The numbers are defaults of ours, to be overridden by a site; what each model and kind is about is from CONCEPTS.md, "The case"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

from fhircase.case.document import Doc, words
from fhircase.errors import Invalid, Problem

Performer = Literal["any", "others", "own"]


@dataclass(frozen=True, slots=True)
class Model:
    """How a case is managed. ``contact_days`` and ``review_days``: the longest time between two contacts and two reviews of the
    plan. ``performed_by``: who does the services; ``strengths_first`` and ``client_solutions_first``: what is shown first;
    ``flags_own_services``: a service of the own organisation deserves a look."""

    contact_days: int
    review_days: int
    performed_by: Performer = "any"
    strengths_first: bool = False
    client_solutions_first: bool = False
    flags_own_services: bool = False


USUAL = Model(30, 90)
"""A case without a model."""

MODELS: Mapping[str, Model] = {
    "brokerage": Model(30, 90, "others", flags_own_services=True),
    "direct-service": Model(14, 90, "own"),
    "strengths-based": Model(14, 60, strengths_first=True, client_solutions_first=True),
    "intensive": Model(7, 30),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a case is about. ``domains`` are asked for beside those of every case; ``outcomes`` are measured beside those of every
    case; ``label`` is the privacy that it needs (substance-use, mental-health, justice or none); ``template`` the kind of plan
    template."""

    domains: tuple[str, ...]
    outcomes: tuple[str, ...]
    label: str = ""
    template: str = ""


EVERY = Kind(
    ("biological", "psychological", "social", "functional", "cultural", "family", "financial", "environment"),
    ("satisfaction", "quality-of-life"),
)
"""What every case asks for: the whole person."""

KINDS: Mapping[str, Kind] = {
    "medical": Kind(("medication",), ("health-status", "functional-status", "readmitted"), template="medical"),
    "mental-health": Kind(
        ("mental-health", "safety"), ("symptoms", "hospital-days", "housed", "employed"), "mental-health", "mental-health"
    ),
    "substance-use": Kind(("substance-use", "safety"), ("relapse", "housed", "employed"), "substance-use", "substance-use"),
    "disability": Kind(
        ("self-care", "mobility", "housing", "employment"), ("functional-status", "housed", "employed"), template="disability"
    ),
    "legal": Kind(("legal",), ("represented", "matter-resolved"), template="legal"),
    "youth": Kind(("education", "safety", "housing"), ("in-school", "housed", "employed", "placement-stable"), template="youth"),
    "social": Kind(("housing", "food", "transport", "employment"), ("housed", "food-secure", "employed"), template="social"),
    "re-entry": Kind(("legal", "housing", "employment", "substance-use"), ("recidivism", "housed", "employed"), "justice", "re-entry"),
}


@dataclass(frozen=True, slots=True)
class Effective:
    """What all models and kinds of a case come to. ``models`` and ``kinds`` are those that the tables know, in their order on the
    case; ``template`` kinds too, the first is the main one."""

    models: tuple[str, ...]
    kinds: tuple[str, ...]
    contact_days: int
    review_days: int
    performed_by: Performer
    strengths_first: bool
    client_solutions_first: bool
    flags_own_services: bool
    wants_own_activity: bool
    domains: tuple[str, ...]
    outcomes: tuple[str, ...]
    labels: frozenset[str]
    templates: tuple[str, ...]


def effective(episode: Doc, overrides: Mapping[str, Any] | None = None) -> Effective:
    """What the models and kinds of a case come to: the most frequent contact and review, all domains, outcomes and labels. The
    words are looked for in ``model`` and ``kinds`` alike. Where a direct-service model is among them, the own organisation's
    services are wanted and not flagged.

    ``overrides``: ``{"models": {"intensive": {"contact_days": 3}}, "kinds": {"youth": {"domains": [...]}}, "usual": {...},
    "every": {...}}``. Raises Invalid with every word and value that cannot be."""
    models, kinds, usual, every = _tables(overrides or {})
    said = [*words(episode.get("model")), *words(episode.get("kinds"))]
    own_models = tuple(dict.fromkeys(word for word in said if word in models))
    own_kinds = tuple(dict.fromkeys(word for word in said if word in kinds))
    led = [models[word] for word in own_models] or [usual]
    about = [kinds[word] for word in own_kinds]
    by: set[Performer] = {model.performed_by for model in led}
    direct = "own" in by
    return Effective(
        models=own_models,
        kinds=own_kinds,
        contact_days=min(model.contact_days for model in led),
        review_days=min(model.review_days for model in led),
        performed_by="own" if direct else "others" if "others" in by else "any",
        strengths_first=any(model.strengths_first for model in led),
        client_solutions_first=any(model.client_solutions_first for model in led),
        flags_own_services=not direct and any(model.flags_own_services for model in led),
        wants_own_activity=direct,
        domains=_all([every.domains, *(kind.domains for kind in about)]),
        outcomes=_all([every.outcomes, *(kind.outcomes for kind in about)]),
        labels=frozenset(kind.label for kind in about if kind.label),
        templates=_all([(kind.template,) for kind in about if kind.template]),
    )


def _all(several: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for one in several for word in one))


def _tables(overrides: Mapping[str, Any]) -> tuple[Mapping[str, Model], Mapping[str, Kind], Model, Kind]:
    problems: list[Problem] = []
    for name in overrides:
        if name not in ("models", "kinds", "usual", "every"):
            problems.append(Problem("no such table", f"/{name}", "models, kinds, usual or every"))
    models = dict(MODELS)
    for name, changed in _rows(overrides, "models", problems):
        models[name] = _changed(MODELS.get(name, USUAL), changed, f"/models/{name}", problems)
    kinds = dict(KINDS)
    for name, changed in _rows(overrides, "kinds", problems):
        kinds[name] = _changed(KINDS.get(name, Kind((), ())), changed, f"/kinds/{name}", problems)
    usual = _changed(USUAL, overrides.get("usual", {}), "/usual", problems)
    every = _changed(EVERY, overrides.get("every", {}), "/every", problems)
    if problems:
        raise Invalid(problems)
    return models, kinds, usual, every


def _rows(overrides: Mapping[str, Any], table: str, problems: list[Problem]) -> list[tuple[str, Any]]:
    held = overrides.get(table, {})
    if isinstance(held, Mapping):
        return list(held.items())
    problems.append(Problem("must be a table", f"/{table}", "a word, and the values that differ"))
    return []


Row = TypeVar("Row", Model, Kind)


def _changed(row: Row, changed: Any, path: str, problems: list[Problem]) -> Row:
    if not isinstance(changed, Mapping):
        problems.append(Problem("must be a table", path, "the values that differ"))
        return row
    known = {one.name for one in fields(row)}
    made: dict[str, Any] = {}
    for name, value in changed.items():
        if name not in known:
            problems.append(Problem("no such value", f"{path}/{name}", ", ".join(sorted(known))))
        elif not _may_be(name, getattr(row, name), value):
            problems.append(
                Problem("cannot have this value", f"{path}/{name}", _ALLOWED.get(name, "the same kind of value as the default"))
            )
        else:
            made[name] = tuple(value) if isinstance(value, list) else value
    return replace(row, **made)


_ALLOWED: Mapping[str, str] = {
    "contact_days": "whole days, at least 1",
    "review_days": "whole days, at least 1",
    "performed_by": "any, others or own",
    "domains": "a list of words",
    "outcomes": "a list of words",
}


def _may_be(name: str, held: Any, value: Any) -> bool:
    if name == "performed_by":
        return value in ("any", "others", "own")
    if isinstance(held, bool):
        return isinstance(value, bool)
    if isinstance(held, int):
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if isinstance(held, tuple):
        return isinstance(value, list | tuple) and all(isinstance(one, str) and one for one in value)
    return isinstance(value, str)
