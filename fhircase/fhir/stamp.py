"""The hub's own three elements on a resource: id, meta.versionId, meta.lastUpdated. All else stays as sent (DECISIONS 12)."""

from __future__ import annotations

from typing import Any

from fhircase.fhir import jsontext
from fhircase.fhir.times import instant

Resource = dict[str, Any]

_WIDTH = 24
_OURS = frozenset(("versionId", "lastUpdated", "_versionId", "_lastUpdated"))


def stamp(resource: Resource, *, id: str, version: int, at_ms: int) -> tuple[str, int]:
    """The text to store and the offset in it of the 24 characters of meta.lastUpdated. resourceType, id and meta stand
    first, versionId and lastUpdated first within meta; every other member keeps its order and its tokens."""
    sent = resource.get("meta")
    meta = {name: value for name, value in sent.items() if name not in _OURS} if isinstance(sent, dict) else {}
    rest = {name: value for name, value in resource.items() if name not in ("resourceType", "id", "meta")}
    type_, name = jsontext.dumps(resource["resourceType"]), jsontext.dumps(id)
    head = f'{{"resourceType":{type_},"id":{name},"meta":{{"versionId":"{version}","lastUpdated":"'
    after = jsontext.dumps(meta)[1:] if meta else "}"
    body = jsontext.dumps(rest)[1:] if rest else "}"
    return f'{head}{instant(at_ms)}"{"," if meta else ""}{after}{"," if rest else ""}{body}', len(head)


def served(text: str, mark: int, effective_ms: int) -> str:
    """``text`` with the viewer's effective time in meta.lastUpdated (DECISIONS 4)."""
    return text[:mark] + instant(effective_ms) + text[mark + _WIDTH :]


def unstamped(resource: Resource) -> Resource:
    """A shallow copy without id, meta.versionId and meta.lastUpdated; a meta left empty goes too."""
    made = {name: value for name, value in resource.items() if name not in ("id", "meta")}
    meta = resource.get("meta")
    if isinstance(meta, dict):
        kept = {name: value for name, value in meta.items() if name not in _OURS}
        if kept:
            made["meta"] = kept
    elif meta is not None:
        made["meta"] = meta
    return made
