"""Models and kinds of case management as tables: what each asks of a case, and what that comes to for one case. Pure.

The numbers are defaults of ours, to be overridden by a site; what each model and kind is about is from CONCEPTS.md, "The case"."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
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
    "every": {...}}``; what is left out stays as it stands above. Raises Invalid with every word and value that cannot be."""
    broken: list[Problem] = []
    models, kinds, usual, every = _tables(overrides or {}, broken)
    if broken:
        raise Invalid(broken)
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


@dataclass(frozen=True, slots=True)
class Known:
    """Words that the tables of a deployment have: ``kinds`` what a case may be said to be, models among them; ``domains`` of needs;
    ``labelled`` the kinds whose cases get a privacy label. None: not judged."""

    kinds: Collection[str] | None = None
    domains: Collection[str] | None = None
    labelled: Collection[str] | None = None


def problems(overrides: Any, known: Known = Known()) -> tuple[Problem, ...]:
    """Every word and value of ``overrides`` that cannot be, by JSON pointer, with what was probably meant."""
    broken: list[Problem] = []
    _tables(overrides, broken)
    for table in ("models", "kinds"):
        for name in _part(overrides, table):
            if known.kinds is not None and name not in known.kinds:
                broken.append(Problem("no case can be of this word", _at(table, name), _meant(name, known.kinds)))
    rows = {_at("kinds", name): row for name, row in _part(overrides, "kinds").items()} | {"/every": _part(overrides, "every")}
    for path, row in rows.items():
        domains = row.get("domains") if isinstance(row, Mapping) else None
        for at, word in enumerate(domains if isinstance(domains, list | tuple) else ()):
            if known.domains is not None and isinstance(word, str) and word and word not in known.domains:
                broken.append(Problem("no such domain", f"{path}/domains/{at}", _meant(word, known.domains)))
    for name, row in _part(overrides, "kinds").items():
        if known.labelled is not None and isinstance(row, Mapping) and row.get("label") and name not in known.labelled:
            what = "has a label, and no case of this kind would get one"
            broken.append(Problem(what, _at("kinds", name, "label"), "give the kind its rows in codes/privacy-label.json"))
    return tuple(broken)


def _part(overrides: Any, table: str) -> Mapping[str, Any]:
    held = overrides.get(table) if isinstance(overrides, Mapping) else None
    return held if isinstance(held, Mapping) else {}


def _tables(overrides: Any, broken: list[Problem]) -> tuple[Mapping[str, Model], Mapping[str, Kind], Model, Kind]:
    if not isinstance(overrides, Mapping):
        broken.append(Problem("must be a table", "", "models, kinds, usual and every, each with what differs"))
        return MODELS, KINDS, USUAL, EVERY
    for name in overrides:
        if name not in _TABLES:
            broken.append(Problem("no such table", _at(name), _meant(name, _TABLES)))
    models = dict(MODELS)
    for name, changed in _rows(overrides, "models", broken):
        models[name] = _changed(MODELS.get(name, USUAL), changed, _at("models", name), broken)
    kinds = dict(KINDS)
    for name, changed in _rows(overrides, "kinds", broken):
        kinds[name] = _changed(KINDS.get(name, Kind((), ())), changed, _at("kinds", name), broken)
    usual = _changed(USUAL, overrides.get("usual", {}), "/usual", broken)
    every = _changed(EVERY, overrides.get("every", {}), "/every", broken)
    return models, kinds, usual, every


_TABLES = ("models", "kinds", "usual", "every")


def _rows(overrides: Mapping[str, Any], table: str, broken: list[Problem]) -> list[tuple[str, Any]]:
    held = overrides.get(table, {})
    if isinstance(held, Mapping):
        return list(held.items())
    broken.append(Problem("must be a table", _at(table), "a word, and the values that differ"))
    return []


Row = TypeVar("Row", Model, Kind)


def _changed(row: Row, changed: Any, path: str, broken: list[Problem]) -> Row:
    if not isinstance(changed, Mapping):
        broken.append(Problem("must be a table", path, "the values that differ"))
        return row
    known = sorted(one.name for one in fields(row))
    made: dict[str, Any] = {}
    for name, value in changed.items():
        if name not in known:
            broken.append(Problem("no such value", path + _at(name), _meant(name, known)))
        elif not _may_be(name, getattr(row, name), value):
            allowed = _meant(value, _PERFORMED) if name == "performed_by" else _ALLOWED.get(name, "the same kind of value as the default")
            broken.append(Problem("cannot have this value", path + _at(name), allowed))
        else:
            made[name] = tuple(value) if isinstance(value, list) else value
    return replace(row, **made)


def _at(*steps: str) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _meant(word: Any, known: Collection[str]) -> str:
    near = get_close_matches(word, known, 1, 0.6) if isinstance(word, str) else ()
    some = list(known)[:20]
    return f"did you mean '{near[0]}'?" if near else "one of " + ", ".join(some) + (", …" if len(known) > len(some) else "")


_PERFORMED = ("any", "others", "own")
_ALLOWED: Mapping[str, str] = {
    "contact_days": "whole days, at least 1",
    "review_days": "whole days, at least 1",
    "domains": "a list of words",
    "outcomes": "a list of words",
}


def _may_be(name: str, held: Any, value: Any) -> bool:
    if name == "performed_by":
        return value in _PERFORMED
    if isinstance(held, bool):
        return isinstance(value, bool)
    if isinstance(held, int):
        return isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if isinstance(held, tuple):
        return isinstance(value, list | tuple) and all(isinstance(one, str) and one for one in value)
    return isinstance(value, str)
