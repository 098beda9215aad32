"""The case view: read and written through ``mappings/`` onto the FHIR resources of one case (law 2).

Every write is one commit. It is decided on a snapshot and written when what it was decided upon still stands; without
``If-Match`` it is decided anew when somebody else was quicker, with ``If-Match`` it is refused (Stale)."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fhircase.errors import Conflict, Forbidden, Invalid, Malformed, NotFound, Problem, Stale
from fhircase.fhir import jsontext, search, times
from fhircase.flows import commit
from fhircase.flows.hub import Hub
from fhircase.mapping import schema
from fhircase.plans.change import Agent, Change, Ref, Resource, Source, Write
from fhircase.plans.partner import HUB
from fhircase.ports import Stored, Tx, Viewer

Doc = dict[str, Any]

_TRIES = 6
_SCANNED = 1_000
"""So many cases are looked through for one page; the rest of a selective search is behind ``next``."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A list of the case view: the mapping that reads and writes it, the FHIR type, the element of the plan that
    refers to it (``activity`` for activity.reference; '' for none), and the system of its business identifier."""

    mapping: str
    type: str
    link: str = ""
    system: str = ""


KINDS: Mapping[str, Kind] = {
    "goals": Kind("goal", "Goal", "goal", "urn:fhircase:goal"),
    "services": Kind("service", "ServiceRequest", "activity", "urn:fhircase:service"),
    "equipment": Kind("equipment", "DeviceRequest", "activity", "urn:fhircase:equipment"),
    "needs": Kind("need", "Condition", "addresses", "urn:fhircase:need"),
    "assessments": Kind("assessment", "Observation", "supportingInfo", "urn:fhircase:assessment"),
    "handovers": Kind("handover", "Task"),
    "contacts": Kind("contact", "RelatedPerson"),
    "visits": Kind("visit", "Encounter"),
}
SHOWN = ("id", "version", "number")
"""What an entry shows beside its mapped fields; the hub's, not changed by a patch."""

FIXED = ("id", "client")
"""Fields of every entry that the hub fills."""

PROPOSED = frozenset({"proposal", "option", "plan"})
"""Intents of a request that nobody has ordered yet."""

FILTERS = ("name", "birth_date", "phase", "status", "owner")

WRITABLE = ("goals", "services", "equipment", "needs", "assessments")
SINGLES: Mapping[str, Kind] = {
    "episode": Kind("episode", "EpisodeOfCare"),
    "plan": Kind("plan", "CarePlan"),
    "team": Kind("team", "CareTeam"),
}


@dataclass(frozen=True, slots=True)
class CaseView:
    """``doc`` the case document; ``tag`` changes whenever anything shown does (If-Match); ``problems`` what the mapping
    could not read."""

    doc: Doc
    tag: str
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Case:
    id: str
    client: str
    episode: Stored
    plan: Stored | None
    team: Stored | None
    resources: Sequence[Stored]

    @property
    def tag(self) -> str:
        """Of everything shown: it never comes back to an earlier value, also when something is deleted."""
        shown = sorted(f"{stored.ref}/{stored.version}" for stored in self.resources)
        return hashlib.sha256("\n".join(shown).encode()).hexdigest()[:20]


def read(hub: Hub, viewer: Viewer, case: str) -> CaseView:
    """One case. Raises NotFound for an absent case and for one that the viewer is no member of."""
    with hub.store.read() as tx:
        return _view(hub, load(tx, viewer, case))


def index(
    hub: Hub,
    viewer: Viewer,
    *,
    name: str = "",
    birth_date: str = "",
    phase: str = "",
    status: str = "",
    owner: str = "",
    count: int = 50,
    cursor: str | None = None,
) -> tuple[list[Doc], str | None]:
    """Cases that the viewer may see, newest first, as short documents, and the next cursor. The filters must all hold:
    ``name`` any part of a name, ``status`` the state of the episode, ``owner`` the manager's or else the organisation's
    reference or id. A page may be short while ``next`` goes on; no case is skipped.

    Raises Invalid for a phase, status or date that cannot be, Malformed for a cursor that is not ours."""
    _known_filters(hub, phase=phase, status=status, birth_date=birth_date)
    wanted = {"name": name, "birth_date": birth_date, "phase": phase, "owner": owner}
    base = search.parse("EpisodeOfCare", [("_sort", "-_lastUpdated"), *((("status", status),) if status else ())], strict=True)
    place, past, seen = _place(cursor)
    found: list[Doc] = []
    scanned = 0
    with hub.store.read() as tx:
        while scanned < _SCANNED:
            page = tx.plans.search(viewer, replace(base, count=max(count, 20), cursor=place))
            clients = tx.plans.get_many({Ref("Patient", s.client) for s in page.matches if s.client})
            for stored in page.matches:
                moment = stored.effective or stored.updated
                if past is not None and (moment > past or (moment == past and stored.id in seen)):
                    continue
                scanned += 1
                if moment != past:
                    past, seen = moment, []
                seen.append(stored.id)
                doc = _short(hub, tx, viewer, stored, clients)
                if doc is not None and _fits(doc, **wanted):
                    found.append(doc)
                if len(found) == count:
                    last = stored is page.matches[-1] and page.next is None
                    return found, None if last else _token(place, past, seen)
            if page.next is None:
                return found, None
            place = page.next
    return found, _token(place, past, seen)


def _known_filters(hub: Hub, *, phase: str, status: str, birth_date: str) -> None:
    words = shape(hub, SINGLES["episode"]).schema["properties"]
    asked = {"phase": (phase, words["phase"]), "status": (status, words["state"])}
    properties = {name: kind for name, (_, kind) in asked.items()}
    properties["birth_date"] = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "format": "fhir-date"}
    given = {name: value for name, value in (("phase", phase), ("status", status), ("birth_date", birth_date)) if value}
    problems = schema.closed(properties).problems(given)
    if problems:
        raise Invalid(problems)


def _token(place: str | None, past: int | None, seen: Sequence[str]) -> str:
    """Where to go on: the store's cursor of the page at hand, and the last row that was looked at (its moment, and which ids
    of that moment)."""
    return urlsafe_b64encode(jsontext.dumps([place, past, list(seen)]).encode()).decode("ascii").rstrip("=")


def _place(cursor: str | None) -> tuple[str | None, int | None, list[str]]:
    if not cursor:
        return None, None, []
    try:
        place, past, seen = jsontext.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if (place is None or isinstance(place, str)) and isinstance(past, int) and isinstance(seen, list):
            return place, past, [str(one) for one in seen]
    except (ValueError, TypeError, Malformed):
        pass
    raise Malformed("this 'next' is none of ours", path="next", hint="take it from the page before")


def _short(hub: Hub, tx: Tx, viewer: Viewer, stored: Stored, clients: Mapping[Ref, Stored]) -> Doc | None:
    if not _member(tx, viewer, stored):
        return None
    episode = hub.maps.mapping("episode").into(stored.body).doc
    patient = clients.get(Ref("Patient", stored.client or ""))
    client = hub.maps.mapping("client").into(patient.body).doc if patient else {}
    updated = times.instant(stored.effective or stored.updated)
    return {**episode, "id": stored.id, "client_id": stored.client, "client": client, "updated": updated}


def _fits(doc: Doc, *, name: str, birth_date: str, phase: str, owner: str) -> bool:
    client = doc.get("client", {})
    owned = str(doc.get("manager") or doc.get("organization") or "")
    return (
        (not name or any(name.casefold() in words for words in _names(client)))
        and (not birth_date or client.get("born") == birth_date)
        and (not phase or doc.get("phase") == phase)
        and (not owner or owner in (owned, owned.rpartition("/")[2]))
    )


def _names(client: Doc) -> list[str]:
    """Each name as people write it: given before family, and the other way round."""
    made = []
    for one in client.get("names", ()):
        given, family = " ".join(one.get("given", ())), str(one.get("family", ""))
        made += [f"{given} {family}".casefold(), f"{family} {given}".casefold(), f"{family}, {given}".casefold()]
        made.append(str(one.get("text", "")).casefold())
    return made


def part(view: CaseView, what: str) -> Any:
    """One list of the case, or its plan, team, episode or client. Raises NotFound."""
    if what not in KINDS and what not in SINGLES and what != "client":
        raise NotFound(f"a case has no {what}", hint="it has " + ", ".join([*KINDS, *SINGLES, "client"]))
    if what not in view.doc:
        raise NotFound(f"this case has no {what}")
    return view.doc[what]


def entry(view: CaseView, what: str, id: str) -> Doc:
    """One entry of one list. Raises NotFound."""
    found = part(view, what)
    for item in found if isinstance(found, list) else ():
        if item.get("id") == id:
            chosen: Doc = item
            return chosen
    raise NotFound(f"this case has no such entry in {what}")


def add(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    what: str,
    doc: Doc,
    *,
    if_match: str | None = None,
    key: str | None = None,
    correlation: str = "",
) -> tuple[str, CaseView]:
    """Add one entry to a list of the case (a goal, a service …) and to the plan, in one commit. Returns its id.

    Raises NotFound, Invalid with every problem of the document, Stale when ``if_match`` names another state."""
    kind = _kind(what)
    id_ = hub.ids.new()

    def decide(tx: Tx, held: _Case) -> _Decided:
        person(agent)
        client = f"Patient/{held.client}"
        form = shape(hub, kind)
        problems = [*form.problems(doc), *_fixed(doc, {"client": client})]
        problems += unknown_references(tx, form.references(doc), held.client, {p.path for p in problems})
        if problems:
            raise Invalid(problems)
        body, elements = _out(hub, kind, {**doc, "client": client, "id": id_}, None)
        writes = [Write(kind.type, id_, body, expect=0, client=held.client, case=case)]
        if kind.link and held.plan is not None:
            plan = held.plan.body
            _link(plan, kind.link, f"{kind.type}/{id_}")
            writes.append(Write("CarePlan", held.plan.id, plan, expect=held.plan.version, case=case))
        return _Decided(writes, f"added to {what}", {kind.type: elements})

    _attempt(hub, agent, viewer, case, decide, if_match, key, correlation)
    return id_, read(hub, viewer, case)


def change(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    what: str,
    id: str,
    patch: Doc,
    *,
    if_match: str | None = None,
    key: str | None = None,
    correlation: str = "",
) -> CaseView:
    """Merge-patch (RFC 7396) one entry of the case; ``what`` is a list of KINDS or one of plan, team, episode. What no field
    of the mapping speaks of stays as it is. Raises NotFound, Invalid, Stale."""
    if what in KINDS:
        _kind(what, changing=True)
    return change_several(hub, agent, viewer, case, {(what, id): patch}, if_match=if_match, key=key, correlation=correlation)


def change_several(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    patches: Mapping[tuple[str, str], Doc],
    *,
    if_match: str | None = None,
    key: str | None = None,
    correlation: str = "",
    pointers: bool = False,
) -> CaseView:
    """Merge-patch several parts of one case in one commit: (list, id) or (plan | team | episode, '') → patch.
    ``pointers``: problems are told below the part's name (``/plan/title``)."""

    def decide(tx: Tx, held: _Case) -> _Decided:
        parts = [(what, kind_of(what), _entry(held, what, id), patch) for (what, id), patch in patches.items()]
        person(agent)
        problems: list[Problem] = []
        writes: list[Write] = []
        elements: dict[str, dict[str, str]] = {}
        for what, kind, stored, patch in parts:
            at = f"/{what}" if pointers else ""
            before = stored.body
            doc = hub.maps.mapping(kind.mapping).into(before).doc
            shown = _shown(doc, stored)
            wrong = list(_fixed(patch, {**shown, "client": f"Patient/{held.client}"}, at))
            wanted = merge_patch(doc, {name: value for name, value in patch.items() if name not in SHOWN})
            form = shape(hub, kind)
            told = {p.path for p in wrong}
            wrong += [p for p in form.problems(wanted, before=doc, at=at) if p.path not in told]
            stood = {text for _, text in form.references(doc)}
            fresh = [(at + place, text) for place, text in form.references(wanted) if text not in stood]
            wrong += unknown_references(tx, fresh, held.client, {p.path for p in wrong})
            problems += wrong
            if not wrong:
                body, found = _out(hub, kind, wanted, before, at)
                writes.append(Write(kind.type, stored.id, body, expect=stored.version, client=stored.client, case=stored.case))
                elements[kind.type] = found
        if problems:
            raise Invalid(problems)
        return _Decided(writes, "changed in " + ", ".join(dict.fromkeys(what for what, _ in patches)), elements)

    _attempt(hub, agent, viewer, case, decide, if_match, key, correlation)
    return read(hub, viewer, case)


def activate(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    *,
    goals: Sequence[str] = (),
    services: Sequence[str] = (),
    equipment: Sequence[str] = (),
    if_match: str | None = None,
    key: str | None = None,
    correlation: str = "",
) -> CaseView:
    """Make proposals real (DECISIONS 9): a proposed goal becomes active; a proposed service or equipment is ordered by a new
    request based on it, which takes its place in the plan, and the proposal is completed. All in one commit.

    Raises NotFound, Invalid naming each id that is no proposal of this case, Stale."""
    orders = {("services", id_): hub.ids.new() for id_ in services} | {("equipment", id_): hub.ids.new() for id_ in equipment}

    def decide(tx: Tx, held: _Case) -> _Decided:
        person(agent)
        by_ref = {stored.ref: stored for stored in held.resources}
        plan = held.plan.body if held.plan else None
        writes: list[Write] = []
        problems: list[Problem] = []
        now = times.instant(hub.now())
        for at, id_ in enumerate(goals):
            stored = by_ref.get(Ref("Goal", id_))
            body = stored.body if stored else {}
            if stored is None or body.get("lifecycleStatus") not in ("proposed", "planned", "accepted"):
                hint = "name ids of goals whose lifecycle is proposed, planned or accepted"
                problems.append(Problem("no proposed goal of this case", f"/goals/{at}", hint, "not-found"))
                continue
            body["lifecycleStatus"] = "active"
            if "startDate" not in body and "startCodeableConcept" not in body:
                body["startDate"] = now[:10]
            writes.append(Write("Goal", id_, body, expect=stored.version, case=case))
        for what, ids in (("services", services), ("equipment", equipment)):
            kind = KINDS[what]
            for at, id_ in enumerate(ids):
                stored = by_ref.get(Ref(kind.type, id_))
                body = stored.body if stored else {}
                if stored is None or body.get("intent") not in PROPOSED or body.get("status") not in ("draft", "active"):
                    hint = f"name ids of {what} whose intent is proposal and whose state is draft or active"
                    problems.append(Problem(f"no proposed entry of {what} of this case", f"/{what}/{at}", hint, "not-found"))
                    continue
                order_id = orders[what, id_]
                order: Resource = {k: v for k, v in body.items() if k not in ("id", "meta", "identifier")}
                order.update(status="active", intent="order", authoredOn=now)
                order["identifier"] = [{"system": kind.system, "value": order_id}]
                order["basedOn"] = [{"reference": f"{kind.type}/{id_}"}]
                if agent.user and agent.user.startswith("Practitioner/"):
                    order["requester"] = {"reference": agent.user}
                body["status"] = "completed"
                writes.append(Write(kind.type, order_id, order, expect=0, client=held.client, case=case))
                writes.append(Write(kind.type, id_, body, expect=stored.version, case=case))
                if plan is not None:
                    _replace(plan, f"{kind.type}/{id_}", f"{kind.type}/{order_id}")
        if problems:
            raise Invalid(problems)
        if plan is not None and held.plan is not None:
            if plan.get("status") == "draft":
                plan["status"] = "active"
            writes.append(Write("CarePlan", held.plan.id, plan, expect=held.plan.version, case=case))
        return _Decided(writes, "activated what was proposed", {})

    _attempt(hub, agent, viewer, case, decide, if_match, key, correlation)
    return read(hub, viewer, case)


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


# ------------------------------------------------------------------------------------------------ shapes


def kind_of(what: str) -> Kind:
    """Raises NotFound for what a case has not."""
    found = SINGLES.get(what) or KINDS.get(what)
    if found is None:
        raise NotFound(f"a case has no {what[:40]}", hint="it has " + ", ".join([*KINDS, *SINGLES]))
    return found


def shape(hub: Hub, kind: Kind) -> schema.Shape:
    """The JSON Schema of an entry of ``kind``; ``id`` and ``client`` are the hub's to fill."""
    return schema.of(hub.maps.mapping(kind.mapping), FIXED)


def schemas(hub: Hub) -> dict[str, Any]:
    """Every case document, for ``/openapi.json``: ``Goal``, ``Service`` … and the whole ``Case``. Nothing on a plain server."""
    if hub.maps is None:
        return {}
    kinds = {**SINGLES, **KINDS}
    made: dict[str, Any] = {"Client": schema.of(hub.maps.mapping("client"), ("id",)).schema}
    made |= {kind.mapping.capitalize(): shape(hub, kind).schema for kind in kinds.values()}
    shown = {
        "id": {"type": "string", "readOnly": True},
        "version": {"type": "integer", "readOnly": True},
        "number": {"type": "string", "readOnly": True, "description": "its business identifier, where that is not the id"},
    }
    made = {title: {**one, "properties": {**one["properties"], **shown}} for title, one in made.items()}
    held: dict[str, Any] = {"client": {"$ref": "#/components/schemas/Client"}}
    for name, kind in kinds.items():
        entry = {"$ref": f"#/components/schemas/{kind.mapping.capitalize()}"}
        held[name] = {"type": "array", "items": entry} if name in KINDS else entry
    made["Case"] = {"type": "object", "properties": {"id": {"type": "string"}, **held}, "description": "One case, whole"}
    return made


def _shown(doc: Doc, stored: Stored) -> Doc:
    shown: Doc = {"id": stored.id, "version": stored.version}
    if doc.get("id") not in (None, stored.id):
        shown["number"] = doc["id"]
    return shown


def _fixed(doc: Any, expected: Mapping[str, Any], at: str = "") -> Iterable[Problem]:
    """What is the hub's may be sent back as it was shown, not changed."""
    if isinstance(doc, dict):
        for name in (*SHOWN, "client"):
            if name in doc and doc[name] != expected.get(name):
                yield Problem("this is the hub's to say", f"{at}/{name}", "leave it out", "business-rule")


def unknown_references(tx: Tx, found: Iterable[tuple[str, str]], client: str | None, told: Iterable[str] = ()) -> list[Problem]:
    """References (JSON pointer, text) to what is not here, or is another client's: both are answered alike."""
    local: dict[str, Ref] = {}
    for place, text in found:
        if text.count("/") == 1 and not text.startswith(("#", "urn:")) and place not in told:
            local[place] = Ref.of(text)
    held = tx.plans.get_many(local.values()) if local else {}
    problems = []
    for place, ref in local.items():
        stored = held.get(ref)
        if stored is None or stored.deleted or (client is not None and stored.client not in (None, client)):
            problems.append(Problem(f"no such {ref.type} of this client", place, "name one that is here, or leave it out", "not-found"))
    return problems


def _kind(what: str, *, changing: bool = False) -> Kind:
    if what in WRITABLE or (changing and what in KINDS):
        return KINDS[what]
    if what in KINDS:
        raise Conflict(f"{what} are not added here", hint="they come from intake and from hand-overs")
    raise NotFound(f"a case has no {what[:40]}", hint="it has " + ", ".join(KINDS))


# ------------------------------------------------------------------------------------------------ one case


def _fresh(held: _Case, if_match: str | None) -> None:
    if if_match is None:
        return
    given = {tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")}
    if "*" not in given and held.tag not in given:
        raise Stale("the case has changed since you read it", hint="read it again and send its ETag as If-Match")


def _member(tx: Tx, viewer: Viewer, episode: Stored) -> bool:
    return viewer.everything or any(
        grant.kind == "member" for grant in tx.plans.grants(partner=viewer.partner, case=episode.id, at=viewer.at)
    )


def load(tx: Tx, viewer: Viewer, case: str) -> _Case:
    """Everything of one case that the viewer may see. Raises NotFound, for an absent and a foreign case alike."""
    episode = tx.plans.read(viewer, Ref("EpisodeOfCare", case))
    if episode is None or episode.deleted or episode.client is None or not _member(tx, viewer, episode):
        raise NotFound("there is no such case here")
    own = [stored for stored in tx.plans.of_case(case) if not stored.deleted and stored.type != "Provenance"]
    around = [
        stored
        for stored in tx.plans.of_client(episode.client, ["Patient", "Encounter", "RelatedPerson", "Condition"])
        if not stored.deleted and stored.case is None
    ]
    if not viewer.everything:
        own = [stored for stored in own if tx.plans.read(viewer, stored.ref) is not None]
        around = [stored for stored in around if tx.plans.read(viewer, stored.ref) is not None]
    plan = next((s for s in own if s.type == "CarePlan" and s.creator == HUB), None)
    team = next((s for s in own if s.type == "CareTeam" and s.creator == HUB), None)
    return _Case(case, episode.client, episode, plan, team, [episode, *(s for s in own if s.ref != episode.ref), *around])


def _entry(held: _Case, what: str, id: str) -> Stored:
    kind = kind_of(what)
    if what in SINGLES:
        found = {"plan": held.plan, "team": held.team, "episode": held.episode}[what]
    else:
        found = next((s for s in held.resources if s.type == kind.type and s.id == id and s.client == held.client), None)
    if found is None:
        raise NotFound(f"this case has no such entry in {what}")
    return found


def _view(hub: Hub, held: _Case) -> CaseView:
    problems: list[Problem] = []
    doc: Doc = {"id": held.id}
    patient = next((s for s in held.resources if s.type == "Patient"), None)
    if patient is not None:
        doc["client"] = _into(hub, "client", patient, problems)
    for name, stored in (("episode", held.episode), ("plan", held.plan), ("team", held.team)):
        if stored is not None:
            doc[name] = _into(hub, SINGLES[name].mapping, stored, problems)
    for name, kind in KINDS.items():
        entries = [_into(hub, kind.mapping, s, problems) for s in held.resources if s.type == kind.type and s.client == held.client]
        doc[name] = entries
    return CaseView(doc, held.tag, tuple(problems))


def _into(hub: Hub, mapping: str, stored: Stored, problems: list[Problem]) -> Doc:
    read = hub.maps.mapping(mapping).into(stored.body)
    problems.extend(read.problems)
    return {**read.doc, **_shown(read.doc, stored)}


def _out(hub: Hub, kind: Kind, doc: Doc, onto: Resource | None, at: str = "") -> tuple[Resource, dict[str, str]]:
    """The resource, and JSON pointer of the case document → FHIR element of what it holds."""
    made = hub.maps.mapping(kind.mapping).out(doc, onto=onto)
    broken = [replace(p, path=at + schema.pointer(p.path)) for p in made.problems if p.severity == "error"]
    if broken:
        raise Invalid(broken)
    return made.resource, {at + schema.pointer(name): element for name, element in made.elements.items()}


def _link(plan: Resource, element: str, reference: str) -> None:
    if element == "activity":
        plan.setdefault("activity", []).append({"reference": {"reference": reference}})
    else:
        plan.setdefault(element, []).append({"reference": reference})


def _replace(plan: Resource, old: str, new: str) -> None:
    for activity in plan.get("activity", ()):
        if activity.get("reference", {}).get("reference") == old:
            activity["reference"] = {**activity["reference"], "reference": new}
            return
    _link(plan, "activity", new)


# ------------------------------------------------------------------------------------------------ one commit


@dataclass(frozen=True, slots=True)
class _Decided:
    """``elements``: FHIR type → JSON pointer → FHIR element, so that what breaks a check of FHIR is told by the field."""

    writes: Sequence[Write]
    activity: str
    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def person(agent: Agent) -> None:
    """Raises Forbidden unless one of the hub's people or an administrator."""
    if agent.partner != HUB and not agent.admin:
        raise Forbidden("the case view is written by the case management organisation", hint="change the resource under /fhir")


def _attempt(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    decide: Callable[[Tx, _Case], _Decided],
    if_match: str | None,
    key: str | None,
    correlation: str,
) -> None:
    """Decide on a snapshot, check outside the write transaction, write what still stands."""
    for left in reversed(range(_TRIES)):
        with hub.store.read() as tx:
            held = load(tx, viewer, case)
            _fresh(held, if_match)
            decided = decide(tx, held)
        made = Change(tuple(decided.writes), agent, Source("case"), "case management", activity=decided.activity)
        made = checked(made, decided.elements)
        try:
            with hub.store.write() as tx:
                tx.plans.lock(f"case|{case}")
                if if_match is not None:
                    _fresh(load(tx, viewer, case), if_match)
                commit.commit(hub, tx, made, key=key, correlation=correlation)
            return
        except (Stale, Conflict):
            if if_match is not None or not left:
                raise


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
