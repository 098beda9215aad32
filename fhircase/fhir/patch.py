"""JSON Patch (RFC 6902) on a resource, as FHIR's PATCH takes it (http://hl7.org/fhir/R4/http.html#patch)."""

from __future__ import annotations

import base64
import binascii
import copy
import re
from typing import Any

from fhircase.errors import Conflict, Invalid, Malformed, Problem
from fhircase.fhir import equal, jsontext

Resource = dict[str, Any]

MAX_OPERATIONS = 1_000
MAX_COPIED = 100_000
"""JSON values that ``copy`` and ``add`` may bring in all: a patch that doubles its document again and again ends here."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)


def apply(resource: Resource, operations: Any) -> Resource:
    """A patched copy; ``resource`` is not touched. Lists and objects that a removal leaves empty go too, since FHIR has none.

    Raises Malformed for what is no JSON Patch, Invalid for an operation that does not fit the resource or that would
    change resourceType or id, Conflict for a ``test`` that fails. The path of a problem names the operation: ``[2]/path``."""
    _shape(operations)
    document: Any = copy.deepcopy(resource)
    brought, removed = 0, False
    for i, operation in enumerate(operations):
        kind, path = operation["op"], _pointer(operation["path"], i)
        value = operation.get("value")
        if kind in ("move", "copy"):
            source = _pointer(operation["from"], i, "from")
            if kind == "move" and path[: len(source)] == source and len(path) > len(source):
                raise Invalid(Problem("a value cannot be moved into itself", f"[{i}]/path"))
            value = _get(document, source, i, "from")
            if kind == "move":
                document, removed = _remove(document, source, i, "from"), True
        if kind == "test":
            if not equal.same(_get(document, path, i), value):
                raise Conflict(Problem("the test failed", f"[{i}]/path", "Read the resource again", "conflict"))
        elif kind == "remove":
            document, removed = _remove(document, path, i), True
        else:
            brought += _size(value)
            if brought > MAX_COPIED:
                raise Invalid(Problem("the patch makes the resource too large", f"[{i}]", code="too-long"))
            document = _put(document, path, copy.deepcopy(value), i, replace=kind == "replace")
    if removed:
        document = _pruned(document)
    if not isinstance(document, dict) or any(document.get(name) != resource.get(name) for name in ("resourceType", "id")):
        raise Invalid(Problem("a patch cannot change resourceType or id", "/id"))
    jsontext.check_depth(document)
    return document


def of_binary(binary: Any) -> Any:
    """The JSON Patch in the Binary of a transaction entry (http.html#patch). Raises Malformed."""
    if not isinstance(binary, dict) or binary.get("resourceType") != "Binary" or binary.get("contentType") != "application/json-patch+json":
        raise Malformed("a PATCH in a Bundle is a Binary of contentType application/json-patch+json")
    try:
        return jsontext.loads(base64.b64decode(str(binary.get("data")), validate=True))
    except binascii.Error:
        raise Malformed("Binary.data is not Base64", path="Binary.data") from None


def _shape(operations: Any) -> None:
    if not isinstance(operations, list):
        raise Malformed("a JSON Patch is a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise Malformed(f"more than {MAX_OPERATIONS} operations")
    problems = []
    for i, operation in enumerate(operations):
        if not isinstance(operation, dict):
            problems.append(Problem("an operation is an object", f"[{i}]", code="structure"))
            continue
        kind = operation.get("op")
        if kind not in ("add", "remove", "replace", "move", "copy", "test"):
            problems.append(Problem("op is add, remove, replace, move, copy or test", f"[{i}]/op", code="structure"))
            continue
        for name in ("path", *(("from",) if kind in ("move", "copy") else ())):
            if not isinstance(operation.get(name), str):
                problems.append(Problem(f"{kind} needs {name}", f"[{i}]/{name}", code="structure"))
        if kind in ("add", "replace", "test") and "value" not in operation:
            problems.append(Problem(f"{kind} needs a value", f"[{i}]/value", code="structure"))
    if problems:
        raise Malformed(problems)


def _pointer(text: str, i: int, name: str = "path") -> list[str]:
    """RFC 6901."""
    if text == "":
        return []
    if not text.startswith("/") or re.search(r"~(?![01])", text):
        raise Malformed(Problem("not a JSON Pointer", f"[{i}]/{name}", "It begins with / and has its parts between slashes", "structure"))
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _absent(i: int, name: str) -> Invalid:
    return Invalid(Problem("the resource has nothing at this place", f"[{i}]/{name}", "Read the resource again", "not-found"))


def _step(container: Any, part: str, i: int, name: str) -> Any:
    if isinstance(container, dict) and part in container:
        return container[part]
    if isinstance(container, list) and _INDEX.fullmatch(part) and int(part) < len(container):
        return container[int(part)]
    raise _absent(i, name)


def _get(document: Any, path: list[str], i: int, name: str = "path") -> Any:
    for part in path:
        document = _step(document, part, i, name)
    return document


def _remove(document: Any, path: list[str], i: int, name: str = "path") -> Any:
    if not path:
        raise Invalid(Problem("the whole resource cannot be removed", f"[{i}]/{name}"))
    parent = _get(document, path[:-1], i, name)
    _step(parent, path[-1], i, name)
    if isinstance(parent, list):
        del parent[int(path[-1])]
    else:
        del parent[path[-1]]
    return document


def _put(document: Any, path: list[str], value: Any, i: int, *, replace: bool) -> Any:
    if not path:
        return value
    parent, last = _get(document, path[:-1], i), path[-1]
    if replace:
        _step(parent, last, i, "path")
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and replace:
        parent[int(last)] = value
    elif isinstance(parent, list) and last == "-":
        parent.append(value)
    elif isinstance(parent, list) and _INDEX.fullmatch(last) and int(last) <= len(parent):
        parent.insert(int(last), value)
    else:
        raise _absent(i, "path")
    return document


def _size(value: Any) -> int:
    count, stack = 0, [value]
    while stack:
        item = stack.pop()
        count += 1
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return count


def _pruned(value: Any) -> Any:
    if isinstance(value, dict):
        made = {name: _pruned(item) for name, item in value.items()}
        return {name: item for name, item in made.items() if item != {} and item != []}
    if isinstance(value, list):
        return [item for item in map(_pruned, value) if item != {} and item != []]
    return value
