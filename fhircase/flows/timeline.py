"""What happened to a case, in order: each commit with who, when, why, from which message, and what it changed in the words of
the case. Made from versions and their Provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fhircase.errors import Malformed
from fhircase.fhir import times
from fhircase.flows import cases, kinds
from fhircase.flows.hub import Hub
from fhircase.plans.change import Ref, Resource
from fhircase.plans.provenance import MESSAGE, ORIGIN
from fhircase.ports import Stored, Tx, Viewer

Doc = dict[str, Any]

def timeline(hub: Hub, viewer: Viewer, case: str, *, count: int = 50, cursor: str | None = None) -> tuple[list[Doc], str | None, str]:
    """Entries oldest first, the next cursor, and the client's id. Raises NotFound as ``cases.read`` does, Malformed for a cursor of
    nobody."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise Malformed("this 'next' is none of ours", path="next", hint="take it from the page before")
    with hub.store.read() as tx:
        held = cases.load(tx, viewer, case)
        shown = {stored.ref for stored in held.resources}
        singles = {Ref("Patient", held.client): "client", held.episode.ref: "episode"}
        singles |= {stored.ref: name for name, stored in (("plan", held.plan), ("team", held.team)) if stored is not None}
        found = [(p, p.body) for p in _provenances(tx, viewer, held.client, shown) if cursor is None or p.seq > int(cursor)]
        found.sort(key=lambda one: (one[0].seq, one[0].id))
        made: list[Doc] = []
        last = 0
        told: set[tuple[Ref, int]] = set()
        for stored, body in found:
            made_of = [_change(hub, tx, viewer, case, shown, singles, told, ref, version, body) for ref, version in _targets(body)]
            changes = [change for change in made_of if change]
            if not changes:
                continue
            if len(made) >= count and stored.seq != last:  # a commit by rule stands beside the one that it follows
                return made, str(last), held.client
            made.append(_entry(tx, stored, body, changes))
            last = stored.seq
    return made, None, held.client


def _provenances(tx: Tx, viewer: Viewer, client: str, shown: Iterable[Ref]) -> list[Stored]:
    found = {stored.ref: stored for stored in tx.plans.of_client(client, ["Provenance"])}
    # A commit over several clients (a merge of records) belongs to none of them alone.
    found.update((stored.ref, stored) for stored in tx.plans.referring(Ref("Patient", client), "Provenance", "target"))
    return [s for s in found.values() if not s.deleted and (viewer.everything or tx.plans.read(viewer, s.ref) is not None)]


def _targets(body: Resource) -> list[tuple[Ref, int]]:
    made = []
    for target in body.get("target", ()):
        parts = str(target.get("reference", "")).split("/")
        if len(parts) == 4 and parts[2] == "_history" and parts[3].isdigit():
            made.append((Ref(parts[0], parts[1]), int(parts[3])))
    return made


def _change(
    hub: Hub,
    tx: Tx,
    viewer: Viewer,
    case: str,
    shown: set[Ref],
    singles: Mapping[Ref, str],
    told: set[tuple[Ref, int]],
    ref: Ref,
    version: int,
    provenance: Resource,
) -> Doc | None:
    """One version, if it belongs to the case and the viewer may see it."""
    if (ref, version) in told:
        return None
    after = tx.plans.vread(viewer, ref, version)
    if after is None or (ref not in shown and after.case != case):
        return None
    told.add((ref, version))
    before = tx.plans.vread(viewer, ref, version - 1) if version > 1 else None
    name, mapping = _part(ref, after if not after.deleted else before, singles)
    done = "deleted" if after.deleted else "created" if before is None or before.deleted else "changed"
    made: Doc = {"what": name, "id": ref.id, "reference": str(ref), "version": version, "done": done}
    if mapping:
        made["fields"] = _fields(hub, mapping, before, after)
    origins = _origins(provenance, ref)
    if origins:
        made["origins"] = origins
    return made


def _part(ref: Ref, stored: Stored | None, singles: Mapping[Ref, str]) -> tuple[str, str]:
    """The part of the case that it is, and its mapping ('' for what the case view does not show)."""
    single = singles.get(ref)
    if single is not None:
        return single, kinds.SINGLES[single].mapping if single in kinds.SINGLES else single
    what = kinds.of(stored.body) if stored is not None else None
    return (what, kinds.KINDS[what].mapping) if what is not None else (ref.type, "")


def _fields(hub: Hub, mapping: str, before: Stored | None, after: Stored) -> list[Doc]:
    docs = [hub.maps.mapping(mapping).into(s.body).doc if s is not None and not s.deleted else {} for s in (before, after)]
    made = []
    for name in dict.fromkeys((*docs[1], *docs[0])):
        old, new = docs[0].get(name), docs[1].get(name)
        if old != new:
            one: Doc = {"field": name}
            if name in docs[0]:
                one["from"] = old
            if name in docs[1]:
                one["to"] = new
            made.append(one)
    return made


def _origins(provenance: Resource, ref: Ref) -> list[Doc]:
    """Element and place in the message that its value was read from."""
    made = []
    for extension in provenance.get("extension", ()):
        if extension.get("url") != ORIGIN:
            continue
        parts = {part.get("url"): part.get("valueString") for part in extension.get("extension", ())}
        if parts.get("target") == str(ref):
            made.append({"element": parts.get("element"), "place": parts.get("place")})
    return made


def _entry(tx: Tx, stored: Stored, body: Resource, changes: list[Doc]) -> Doc:
    made: Doc = {"at": times.instant(stored.updated), "who": _who(tx, body), "did": (body.get("activity") or {}).get("text", "")}
    why = "; ".join(text for reason in body.get("reason", ()) if (text := reason.get("text")))
    if why:
        made["why"] = why
    for entity in body.get("entity", ()):
        what = entity.get("what") or {}
        identifier = what.get("identifier") or {}
        if identifier.get("system") == MESSAGE:
            made["message"] = {"id": identifier.get("value"), "number": what.get("display", "")}
        elif identifier.get("value"):
            made["source"] = identifier["value"]
    made["changes"] = changes
    return made


def _who(tx: Tx, body: Resource) -> Doc:
    made: Doc = {}
    agent = (body.get("agent") or [{}])[0]
    who = agent.get("who")
    parts = {"person": who, "organization": agent["onBehalfOf"]} if "onBehalfOf" in agent else {"organization": who}
    for name, reference in parts.items():
        text = str((reference or {}).get("reference", ""))
        made[name] = text or (reference or {}).get("display", "")
        if text.startswith("Organization/"):
            stored = tx.plans.get(Ref.of(text))
            if stored is not None and not stored.deleted:
                made["name"] = stored.body.get("name", "")
    return made
