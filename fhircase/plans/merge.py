"""Two sides have edited one resource: join what is disjoint, keep ours and say so where it is not (DESIGN "Merge"). Pure.

Merged is by element, and within an element only where FHIR says that the parts stand for themselves: entries of a list,
matched by key and never by index, and the children of a backbone element (a goal's target, a plan's activity). A datatype
(Quantity, Period, CodeableConcept, Timing …) is one statement and is taken whole: half of one side's value with half of the
other's unit would be a third value that nobody wrote.

There are two bases, because a partner's server may hold something else than it was sent (it drops an extension, writes
1.50 as 1.5): ``base`` is what *they* held, for telling what they changed, and ``meant`` what *we* had meant them to hold, for
telling what we changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fhircase.plans.change import Resource

Side = Literal["ours", "theirs"]
Authority = Callable[[str], Side | None]
"""Who decides an element that both sides changed; None: nobody, a person is asked."""

LOCAL = frozenset({"resourceType", "id", "text"})
"""Never merged: each side's own."""

_ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "absent"})()

BACKBONES: Mapping[str, tuple[str, ...]] = {
    "CarePlan.activity": ("reference", "detail.code"),
    "CarePlan.activity.detail": (),
    "CareTeam.participant": ("member", "role"),
    "Goal.target": ("measure",),
    "Task.restriction": (),
    "Task.input": ("type",),
    "Task.output": ("type",),
    "Encounter.participant": ("individual", "type"),
    "Encounter.location": ("location",),
    "Encounter.diagnosis": ("condition", "use"),
    "Encounter.hospitalization": (),
    "Encounter.statusHistory": ("status", "period"),
    "Encounter.classHistory": ("class", "period"),
    "EpisodeOfCare.diagnosis": ("condition", "role"),
    "EpisodeOfCare.statusHistory": ("status", "period"),
    "Observation.component": ("code",),
    "Patient.contact": ("relationship", "name"),
    "Patient.communication": ("language",),
    "Patient.link": ("other", "type"),
    "RelatedPerson.communication": ("language",),
    "Condition.stage": ("type",),
    "Condition.evidence": ("code", "detail"),
    "Consent.verification": ("verifiedWith", "verificationDate"),
    "NutritionOrder.supplement": ("type",),
    "QuestionnaireResponse.item": ("linkId",),
    "QuestionnaireResponse.item.item": ("linkId",),
    "Practitioner.qualification": ("code",),
    "Organization.contact": ("purpose",),
}
"""Backbone elements whose children merge one by one, and, for lists, what tells their entries apart."""


@dataclass(frozen=True, slots=True)
class Clash:
    """Both sides changed ``element`` (a top-level one; ``path`` is where in it they met). ``ours`` and ``theirs`` are the whole
    element as each side has it, {} where it was removed; a person chooses from them."""

    element: str
    path: str
    ours: Resource
    theirs: Resource


@dataclass(frozen=True, slots=True)
class Merged:
    """``resource``: ours with what they changed. ``taken``: elements in which theirs came in. ``clashes``: elements that
    stay as ours until a person has settled them."""

    resource: Resource
    taken: frozenset[str]
    clashes: tuple[Clash, ...] = ()


def merge(
    ours: Resource,
    theirs: Resource,
    base: Resource | None,
    *,
    meant: Resource | None = None,
    held: frozenset[str] = frozenset(),
    doubtful: frozenset[str] = frozenset(),
    authority: Authority | None = None,
) -> Merged:
    """Merge two versions of one resource that share ``base``.

    ``meant``: our side's base where it differs from theirs (default: the same). ``held`` elements stay as ours; a new value
    of theirs for one is told as a clash again, so that the person who settles it sees the latest. ``doubtful`` elements
    stay as ours and clash where the sides differ: it is not known whether our last write of them arrived. Element names are
    top-level and without ``_``; a primitive and its ``_`` companion are one."""
    base = base or {}
    meant = base if meant is None else meant
    type_ = str(ours.get("resourceType") or theirs.get("resourceType") or "")
    made = dict(ours)
    taken: set[str] = set()
    clashes: list[Clash] = []
    names = {name.lstrip("_"): None for name in (*ours, *theirs)}
    for element in names:
        if element in LOCAL:
            continue
        o, t = _part(ours, element), _part(theirs, element)
        bo, bt = _part(meant, element), _part(base, element)
        if o == t or (t == bt and element not in doubtful):
            continue
        path: str | None = element
        if element not in held and element not in doubtful:
            joined, path = _element(o, t, bo, bt, f"{type_}.{element}", element)
            if path is None:
                if joined != o:
                    _put(made, element, joined)
                    taken.add(element)
                continue
            side = authority(element) if authority is not None else None
            if side == "ours":
                continue
            if side == "theirs":
                _put(made, element, t)
                taken.add(element)
                continue
        clashes.append(Clash(element, path or element, o, t))
    return Merged(made, frozenset(taken), tuple(clashes))


def overlay(form: Resource, held_there: Resource, meant: Resource | None) -> Resource:
    """What to write over a copy so that our changes arrive and everything else there stays: ``form`` is what it shall say,
    ``held_there`` what it says now, ``meant`` what we last meant it to say. Where both speak, ours stands."""
    meant = meant or {}
    made = dict(form)
    type_ = str(form.get("resourceType") or "")
    for element in {name.lstrip("_"): None for name in (*form, *held_there)}:
        if element in LOCAL:
            continue
        o, t, b = _part(form, element), _part(held_there, element), _part(meant, element)
        if o == t:
            continue
        if o == b:
            _put(made, element, t)
            continue
        joined, path = _element(o, t, b, b, f"{type_}.{element}", element)
        if path is None:
            _put(made, element, joined)
    return made


def _part(resource: Resource, element: str) -> Resource:
    return {name: resource[name] for name in (element, "_" + element) if name in resource}


def _put(resource: Resource, element: str, part: Resource) -> None:
    for name in (element, "_" + element):
        if name in part:
            resource[name] = part[name]
        else:
            resource.pop(name, None)


def _element(o: Resource, t: Resource, bo: Resource, bt: Resource, path: str, element: str) -> tuple[Resource, str | None]:
    """The joined part and None, or ours and the path of the clash."""
    companion = "_" + element
    if any(companion in part for part in (o, t, bo, bt)):
        if t == bt:
            return o, None
        return (t, None) if o == bo else (o, path.partition(".")[2])
    values = [part.get(element, _ABSENT) for part in (o, t, bo, bt)]
    try:
        value = _join(values[0], values[1], values[2], values[3], path)
    except _Clash as clash:
        return o, clash.path.partition(".")[2]
    return ({} if value is _ABSENT or value == [] or value == {} else {element: value}), None


class _Clash(Exception):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def _join(o: Any, t: Any, bo: Any, bt: Any, path: str) -> Any:
    if o == t or t == bt:
        return o
    if o == bo and bo == bt:
        return t
    if isinstance(o, list) and isinstance(t, list):
        return _lists(o, t, bo if isinstance(bo, list) else [], bt if isinstance(bt, list) else [], path)
    if isinstance(o, dict) and isinstance(t, dict):
        if path in BACKBONES or path.endswith(".meta"):
            return _children(o, t, bo if isinstance(bo, dict) else {}, bt if isinstance(bt, dict) else {}, path)
        if "coding" in o and "coding" in t:
            return _concept(o, t, bo, bt, path)
    if o == bo:
        return t
    raise _Clash(path)


def _children(o: Resource, t: Resource, bo: Resource, bt: Resource, path: str) -> Resource:
    made = dict(o)
    for child in {name.lstrip("_"): None for name in (*o, *t)}:
        joined, clash = _element(_part(o, child), _part(t, child), _part(bo, child), _part(bt, child), f"{path}.{child}", child)
        if clash is not None:
            raise _Clash(f"{path.partition('.')[0]}.{clash}")
        _put(made, child, joined)
    return made


def _concept(o: Resource, t: Resource, bo: Any, bt: Any, path: str) -> Resource:
    """Both sides may add translations to one concept; once a side says another concept, it is taken whole or clashes."""
    if o == bo:
        return t
    if not isinstance(bo, dict) or not isinstance(bt, dict):
        raise _Clash(path)
    added = [coding for coding in t["coding"] if coding not in bt.get("coding", ())]
    kept_o = all(coding in o["coding"] for coding in bo.get("coding", ()))
    kept_t = all(coding in t["coding"] for coding in bt.get("coding", ()))
    rest_o, rest_t, rest_b = ({k: v for k, v in x.items() if k != "coding"} for x in (o, t, bt))
    if not (kept_o and kept_t and bt.get("coding")) or (rest_t != rest_b and rest_o != {k: v for k, v in bo.items() if k != "coding"}):
        raise _Clash(path)
    made = {**(o if rest_t == rest_b else t), "coding": [*o["coding"], *(coding for coding in added if coding not in o["coding"])]}
    return made


def _lists(o: list[Any], t: list[Any], bo: list[Any], bt: list[Any], path: str) -> list[Any]:
    """Entries are matched by key. Ours keeps its order, what they added follows."""
    ko, kt, kbo, kbt = (_keyed(entries, path) for entries in (o, t, bo, bt))
    lost_o = kbo.keys() - ko.keys()
    lost_t = (kbt.keys() & kbo.keys() | kbt.keys() & ko.keys()) - kt.keys()
    new_o = ko.keys() - kbo.keys()
    new_t = kt.keys() - kbt.keys()
    if lost_o & lost_t and {key for key in new_o if key not in kt} and {key for key in new_t if key not in ko}:
        raise _Clash(path)  # both sides replaced the same entry, each by something else
    made: list[Any] = []
    for key, entry in ko.items():
        if key in kt:
            made.append(_join(entry, kt[key], kbo.get(key, _ABSENT), kbt.get(key, _ABSENT), path))
        elif key in lost_t:
            if entry != kbo.get(key, _ABSENT):
                raise _Clash(path)  # they removed what we edited
        else:
            made.append(entry)  # ours alone, or never held there
    for key, entry in kt.items():
        if key in ko:
            continue
        if key in new_t and key not in kbo:
            made.append(entry)
        elif key in kbt and entry != kbt[key]:
            raise _Clash(path)  # we removed what they edited
        elif key in new_t:
            raise _Clash(path)  # they brought back what we removed
    return made


def _keyed(entries: list[Any], path: str) -> dict[Any, Any]:
    """Entries by key; a key that occurs again counts on, so that no entry is lost."""
    made: dict[Any, Any] = {}
    for entry in entries:
        key = _key(entry, path)
        n = 0
        while (key, n) in made:
            n += 1
        made[(key, n)] = entry
    return made


def _key(entry: Any, path: str) -> Any:
    if not isinstance(entry, dict):
        return _frozen(entry)
    by = BACKBONES.get(path)
    if by:
        found = tuple(_told(_at(entry, place)) for place in by)
        if any(part is not None for part in found):
            return found
        return _frozen(entry.get("id")) if "id" in entry else _frozen(entry)
    if isinstance(entry.get("url"), str):
        return ("url", entry["url"])
    return _told(entry)


def _at(entry: Resource, place: str) -> Any:
    value: Any = entry
    for name in place.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _told(value: Any) -> Any:
    """What identifies a datatype's value: a Reference by its target, an Identifier or ContactPoint by system and value, a
    Coding or concept by its codes, an Annotation by author, time and text; everything else by all of it."""
    if isinstance(value, list):
        return tuple(sorted((_told(item) for item in value), key=repr))
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("reference"), str):
        return ("reference", value["reference"])
    if isinstance(value.get("coding"), list) and value["coding"]:
        codes = ((str(coding.get("system", "")), str(coding.get("code", ""))) for coding in value["coding"] if isinstance(coding, dict))
        return ("concept", tuple(sorted(codes)))
    if "system" in value and "value" in value and not isinstance(value["value"], dict):
        return ("value", value["system"], _frozen(value["value"]))
    if "code" in value and "system" in value:
        return ("coding", value["system"], _frozen(value["code"]))
    return _frozen(value)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted((name, _frozen(item)) for name, item in value.items()))
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)
