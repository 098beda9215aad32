"""When two copies of a resource say the same (DECISIONS 11): equal JSON but for what is local to each side.

Local are id, all of meta except profile and security, and narrative. Decimals are numbers here (1.50 is 1.5)."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Any

Resource = dict[str, Any]

_LOCAL = frozenset(("id", "_id", "text", "meta"))
_TRAVELS = ("profile", "security")


def comparable(resource: Resource) -> Resource:
    """What of a resource is common to all sides: a shallow copy without what is local; narrative of contained resources
    goes too. ``meta`` keeps profile and security, if there are any."""
    made = {name: value for name, value in resource.items() if name not in _LOCAL}
    meta = resource.get("meta")
    kept = {name: meta[name] for name in _TRAVELS if meta.get(name)} if isinstance(meta, dict) else {}
    if kept:
        made["meta"] = kept
    contained = resource.get("contained")
    if isinstance(contained, list):
        made["contained"] = [{k: v for k, v in item.items() if k != "text"} if isinstance(item, dict) else item for item in contained]
    return made


def differing(ours: Resource, theirs: Resource, *, held: Collection[str] = ()) -> tuple[str, ...]:
    """The names of the top elements that differ, in the order of ``ours`` and then ``theirs``; () when the two are equal.
    ``_birthDate`` counts as ``birthDate``. ``held``: elements under review, left out (by name, or by a path below them)."""
    left, right = comparable(ours), comparable(theirs)
    skip = {_top(name) for name in held}
    names = dict.fromkeys(_top(name) for name in (*left, *right))
    return tuple(
        name
        for name in names
        if name not in skip and not (_member(name, left.get(name), right.get(name)) and same(left.get(f"_{name}"), right.get(f"_{name}")))
    )


def equal(ours: Resource, theirs: Resource, *, held: Collection[str] = ()) -> bool:
    """Whether nothing differs."""
    return not differing(ours, theirs, held=held)


def same(a: Any, b: Any) -> bool:
    """Equal JSON: members in any order, lists in order, numbers by value, true and 1 apart."""
    if a is b:
        return True
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(value, b[name]) for name, value in a.items())
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return False
    if isinstance(a, int | float | Decimal) and isinstance(b, int | float | Decimal):
        return _decimal(a) == _decimal(b)
    return type(a) is type(b) and bool(a == b)


def paths(ours: Any, theirs: Any, path: str = "") -> tuple[str, ...]:
    """Where two values differ, as deep as can be told: ``target[0].due`` style paths of JSON names, for a person to read."""
    if same(ours, theirs):
        return ()
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return tuple(
            found
            for name in dict.fromkeys((*ours, *theirs))
            for found in paths(ours.get(name), theirs.get(name), f"{path}.{name}" if path else name)
        )
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return tuple(found for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) for found in paths(a, b, f"{path}[{i}]"))
    return (path,)


def _top(name: str) -> str:
    return name.lstrip("_").partition(".")[0].partition("[")[0]


def _member(name: str, a: Any, b: Any) -> bool:
    if name != "meta":
        return same(a, b)
    # Labels and profiles are sets.
    a, b = a or {}, b or {}
    return all(_is_set(a.get(key, []), b.get(key, [])) for key in _TRAVELS)


def _is_set(a: Any, b: Any) -> bool:
    if not isinstance(a, list) or not isinstance(b, list):
        return same(a, b)
    return all(any(same(x, y) for y in b) for x in a) and all(any(same(x, y) for x in a) for y in b)


def _decimal(value: int | float | Decimal) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
