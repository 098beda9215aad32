"""Patching a resource: JSON Patch (RFC 6902) on its JSON. The patched resource goes through the same checks and the same
commit as any other write."""

from __future__ import annotations

from copy import deepcopy
from decimal import Decimal
from typing import Any

from fhircase.errors import Invalid, Malformed, Problem
from fhircase.plans.change import Resource

MAX_OPERATIONS = 1_000


def apply(resource: Resource, operations: Any) -> Resource:
    """A patched copy. Raises Malformed when ``operations`` is not a JSON Patch, Invalid when one of them does not apply
    to this resource (RFC 6902 §5: then none is)."""
    if not isinstance(operations, list):
        raise Malformed("a JSON Patch is a list of operations", hint='send [{"op": "replace", "path": "/status", "value": "active"}]')
    if len(operations) > MAX_OPERATIONS:
        raise Malformed(f"a JSON Patch has at most {MAX_OPERATIONS} operations")
    made: Any = deepcopy(resource)
    for index, operation in enumerate(operations):
        made = _one(made, operation, f"patch[{index}]")
    if not isinstance(made, dict):
        raise Invalid("the patch leaves no resource")
    return made


def _one(document: Any, operation: Any, place: str) -> Any:
    if not isinstance(operation, dict):
        raise Malformed("an operation is an object with op and path", path=place)
    name = operation.get("op")
    path = _pointer(operation.get("path"), f"{place}.path")
    if name in ("add", "replace", "test") and "value" not in operation:
        raise Malformed(f"{name} needs a value", path=place)
    if name == "add":
        return _add(document, path, deepcopy(operation["value"]), place)
    if name == "remove":
        return _remove(document, path, place)
    if name == "replace":
        _get(document, path, place)
        if not path:
            return deepcopy(operation["value"])
        parent, last = _parent(document, path, place)
        parent[_position(parent, last, place) if isinstance(parent, list) else last] = deepcopy(operation["value"])
        return document
    if name == "test":
        if not _equal(_get(document, path, place), operation["value"]):
            raise Invalid(Problem("the test does not hold", place, "read the resource again and adapt the patch", "conflict"))
        return document
    if name in ("move", "copy"):
        source = _pointer(operation.get("from"), f"{place}.from")
        value = deepcopy(_get(document, source, place))
        if name == "move":
            if path[: len(source)] == source and path != source:
                raise Invalid("an element cannot move into itself", path=place)
            document = _remove(document, source, place)
        return _add(document, path, value, place)
    raise Malformed("op is one of add, remove, replace, move, copy, test", path=f"{place}.op")


def _pointer(text: Any, place: str) -> list[str]:
    """A JSON pointer (RFC 6901) as its steps."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise Malformed("a JSON pointer is asked for", path=place, hint="write /goal/0/reference")
    return [step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:]]


def _position(items: list[Any], step: str, place: str, *, end: bool = False) -> int:
    if step == "-" and end:
        return len(items)
    if step.isascii() and step.isdigit() and len(step) < 7 and (step == "0" or step[0] != "0") and int(step) < len(items) + end:
        return int(step)
    raise Invalid("the path leads to no place in a list", path=place)


def _get(document: Any, path: list[str], place: str) -> Any:
    for step in path:
        if isinstance(document, list):
            document = document[_position(document, step, place)]
        elif isinstance(document, dict) and step in document:
            document = document[step]
        else:
            raise Invalid("the path leads nowhere", path=place)
    return document


def _parent(document: Any, path: list[str], place: str) -> tuple[Any, str]:
    parent = _get(document, path[:-1], place)
    if not isinstance(parent, dict | list):
        raise Invalid("the path leads through a plain value", path=place)
    return parent, path[-1]


def _add(document: Any, path: list[str], value: Any, place: str) -> Any:
    if not path:
        return value
    parent, last = _parent(document, path, place)
    if isinstance(parent, list):
        parent.insert(_position(parent, last, place, end=True), value)
    else:
        parent[last] = value
    return document


def _remove(document: Any, path: list[str], place: str) -> Any:
    _get(document, path, place)
    if not path:
        raise Invalid("a patch cannot remove the whole resource", path=place, hint="delete it")
    parent, last = _parent(document, path, place)
    del parent[_position(parent, last, place) if isinstance(parent, list) else last]
    return document


def _equal(one: Any, other: Any) -> bool:
    """JSON equality: numbers by value, true is not 1 (RFC 6902 §4.6)."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | Decimal) and isinstance(other, int | Decimal):
        return bool(one == other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and bool(one == other)
