"""The case view: read and written through ``mappings/`` onto the FHIR resources of one case (law 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fhircase.errors import Conflict, Forbidden, Invalid, NotFound, Problem, Stale
from fhircase.fhir import search, times
from fhircase.flows import commit
from fhircase.flows.hub import Hub
from fhircase.plans.change import Agent, Change, Ref, Resource, Source, Write
from fhircase.plans.partner import HUB
from fhircase.ports import Stored, Tx, Viewer

Doc = dict[str, Any]


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
"""What an entry shows beside its mapped fields; not changed by a patch."""

WRITABLE = ("goals", "services", "equipment", "needs", "assessments")
SINGLES: Mapping[str, Kind] = {"episode": Kind("episode", "EpisodeOfCare"), "plan": Kind("plan", "CarePlan"), "team": Kind("team", "CareTeam")}


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
        return str(max(stored.seq for stored in self.resources))


def read(hub: Hub, viewer: Viewer, case: str) -> CaseView:
    """One case. Raises NotFound for an absent case and for one that the viewer is no member of."""
    with hub.store.read() as tx:
        return _view(hub, _load(tx, viewer, case))


def index(
    hub: Hub, viewer: Viewer, *, name: str = "", birth_date: str = "", phase: str = "", status: str = "", owner: str = "", count: int = 50, cursor: str | None = None
) -> tuple[list[Doc], str | None]:
    """Cases that the viewer may see, newest first, as short documents, and the next cursor. The filters must all hold."""
    pairs = [("_sort", "-_lastUpdated"), ("_count", str(count))]
    if status:
        pairs.append(("status", status))
    query = search.parse("EpisodeOfCare", pairs, strict=True)
    if cursor:
        query = replace(query, cursor=cursor)
    found: list[Doc] = []
    with hub.store.read() as tx:
        page = tx.plans.search(viewer, query)
        clients = tx.plans.get_many({Ref("Patient", s.client) for s in page.matches if s.client})
        for stored in page.matches:
            if not _member(tx, viewer, stored):
                continue
            episode = hub.maps.mapping("episode").into(stored.body).doc
            patient = clients.get(Ref("Patient", stored.client or ""))
            client = hub.maps.mapping("client").into(patient.body).doc if patient else {}
            shown = {"id": stored.id, "client_id": stored.client, "client": client, "updated": times.instant(stored.effective or stored.updated)}
            doc = {**episode, **shown}
            if _fits(doc, name=name, birth_date=birth_date, phase=phase, owner=owner):
                found.append(doc)
    return found, page.next


def _fits(doc: Doc, *, name: str, birth_date: str, phase: str, owner: str) -> bool:
    client = doc.get("client", {})
    words = str(client.get("names", client)).casefold()
    return (
        (not name or name.casefold() in words)
        and (not birth_date or client.get("born") == birth_date)
        and (not phase or doc.get("phase") == phase)
        and (not owner or str(doc.get("manager", "")).endswith(owner))
    )


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


def add(hub: Hub, agent: Agent, viewer: Viewer, case: str, what: str, doc: Doc, *, if_match: str | None = None, key: str | None = None, correlation: str = "") -> tuple[str, CaseView]:
    """Add one entry to a list of the case (a goal, a service …) and to the plan, in one commit. Returns its id.

    Raises NotFound, Invalid with every problem of the document, Stale when ``if_match`` names another state."""
    kind = _kind(what)
    if not isinstance(doc, dict):
        raise Invalid("a document is needed", hint="send a JSON object")
    id_ = hub.ids.new()
    with hub.store.read() as tx:
        held = _load(tx, viewer, case)
    _fresh(held, if_match)
    full = {**doc, "client": f"Patient/{held.client}"}
    full.setdefault("id", id_)
    body = _out(hub, kind, full, None)
    writes = [Write(kind.type, id_, body, expect=0, client=held.client, case=case)]
    if kind.link and held.plan is not None:
        plan = held.plan.body
        _link(plan, kind.link, f"{kind.type}/{id_}")
        writes.append(Write("CarePlan", held.plan.id, plan, expect=held.plan.version, case=case))
    _commit(hub, agent, writes, f"added to {what}", key, correlation)
    return id_, read(hub, viewer, case)


def change(
    hub: Hub, agent: Agent, viewer: Viewer, case: str, what: str, id: str, patch: Doc, *, if_match: str | None = None, key: str | None = None, correlation: str = ""
) -> CaseView:
    """Merge-patch (RFC 7396) one entry of the case; ``what`` is a list of KINDS or one of plan, team, episode."""
    kind = SINGLES.get(what) or _kind(what, changing=True)
    with hub.store.read() as tx:
        held = _load(tx, viewer, case)
    _fresh(held, if_match)
    stored = next((s for s in held.resources if s.type == kind.type and (s.id == id or what in SINGLES)), None)
    if what == "plan":
        stored = held.plan
    elif what == "team":
        stored = held.team
    if stored is None:
        raise NotFound(f"this case has no such entry in {what}")
    mapping = hub.maps.mapping(kind.mapping)
    before = stored.body
    wanted = merge_patch(mapping.into(before).doc, {name: value for name, value in patch.items() if name not in SHOWN})
    body = _out(hub, kind, wanted, before)
    _commit(hub, agent, [Write(kind.type, stored.id, body, expect=stored.version, case=case)], f"changed in {what}", key, correlation)
    return read(hub, viewer, case)


def activate(
    hub: Hub, agent: Agent, viewer: Viewer, case: str, *, goals: Sequence[str], services: Sequence[str], if_match: str | None = None, key: str | None = None, correlation: str = ""
) -> CaseView:
    """Make proposals real (DECISIONS 9): a proposed goal becomes active; a proposed service is ordered by a new
    ServiceRequest based on it, which takes its place in the plan, and the proposal is completed. All in one commit."""
    with hub.store.read() as tx:
        held = _load(tx, viewer, case)
    _fresh(held, if_match)
    by_ref = {stored.ref: stored for stored in held.resources}
    plan = held.plan.body if held.plan else None
    writes: list[Write] = []
    problems: list[Problem] = []
    today = times.instant(hub.now())
    for id_ in goals:
        stored = by_ref.get(Ref("Goal", id_))
        body = stored.body if stored else {}
        if stored is None or body.get("lifecycleStatus") not in ("proposed", "planned", "accepted"):
            problems.append(Problem("no proposed goal of this case", f"goals.{id_}", "name ids of goals whose lifecycle is proposed", "not-found"))
            continue
        body["lifecycleStatus"] = "active"
        body.setdefault("startDate", today[:10])
        writes.append(Write("Goal", id_, body, expect=stored.version, case=case))
    for id_ in services:
        stored = by_ref.get(Ref("ServiceRequest", id_))
        body = stored.body if stored else {}
        if stored is None or body.get("intent") not in ("proposal", "option", "plan") or body.get("status") not in ("draft", "active"):
            problems.append(Problem("no proposed service of this case", f"services.{id_}", "name ids of services whose intent is proposal", "not-found"))
            continue
        order_id = hub.ids.new()
        order: Resource = {k: v for k, v in body.items() if k not in ("id", "meta", "identifier")}
        order.update(status="active", intent="order", authoredOn=today)
        order["identifier"] = [{"system": "urn:fhircase:service", "value": order_id}]
        order["basedOn"] = [{"reference": f"ServiceRequest/{id_}"}]
        body["status"] = "completed"
        writes.append(Write("ServiceRequest", order_id, order, expect=0, client=held.client, case=case))
        writes.append(Write("ServiceRequest", id_, body, expect=stored.version, case=case))
        if plan is not None:
            _replace(plan, f"ServiceRequest/{id_}", f"ServiceRequest/{order_id}")
    if problems:
        raise Invalid(problems)
    if plan is not None and held.plan is not None:
        if plan.get("status") == "draft":
            plan["status"] = "active"
        writes.append(Write("CarePlan", held.plan.id, plan, expect=held.plan.version, case=case))
    _commit(hub, agent, writes, "activated what was proposed", key, correlation)
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


# ------------------------------------------------------------------------------------------------------------


def _kind(what: str, *, changing: bool = False) -> Kind:
    if what in WRITABLE or (changing and what in KINDS):
        return KINDS[what]
    if what in KINDS:
        raise Conflict(f"{what} are not added here", hint="they come from intake and from hand-overs")
    raise NotFound(f"a case has no {what}", hint="it has " + ", ".join(KINDS))


def _fresh(held: _Case, if_match: str | None) -> None:
    if if_match is not None and if_match.strip() not in ("*", f'W/"{held.tag}"', f'"{held.tag}"'):
        raise Stale("the case has changed since you read it", hint="read it again and send its ETag as If-Match")


def _member(tx: Tx, viewer: Viewer, episode: Stored) -> bool:
    return viewer.everything or any(
        grant.kind == "member" for grant in tx.plans.grants(partner=viewer.partner, case=episode.id, at=viewer.at)
    )


def _load(tx: Tx, viewer: Viewer, case: str) -> _Case:
    episode = tx.plans.read(viewer, Ref("EpisodeOfCare", case))
    if episode is None or episode.deleted or episode.client is None or not _member(tx, viewer, episode):
        raise NotFound("there is no such case here")
    own = [stored for stored in tx.plans.of_case(case) if not stored.deleted]
    around = [
        stored
        for stored in tx.plans.of_client(episode.client, ["Patient", "Encounter", "RelatedPerson", "Condition"])
        if not stored.deleted and stored.case is None and (not stored.sensitive or viewer.everything)
    ]
    plan = next((s for s in own if s.type == "CarePlan" and s.creator == HUB), None)
    team = next((s for s in own if s.type == "CareTeam" and s.creator == HUB), None)
    return _Case(case, episode.client, episode, plan, team, [episode, *(s for s in own if s.ref != episode.ref), *around])


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
    doc = dict(read.doc)
    if doc.get("id") not in (None, stored.id):
        doc["number"] = doc["id"]
    doc["id"] = stored.id
    doc["version"] = stored.version
    return doc


def _out(hub: Hub, kind: Kind, doc: Doc, onto: Resource | None) -> Resource:
    made = hub.maps.mapping(kind.mapping).out(doc, onto=onto)
    broken = [p for p in made.problems if p.severity == "error"]
    if broken:
        raise Invalid(broken)
    resource: Resource = made.resource
    return resource


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


def _commit(hub: Hub, agent: Agent, writes: Sequence[Write], activity: str, key: str | None, correlation: str) -> None:
    if agent.partner != HUB and not agent.admin:
        raise Forbidden("the case view is written by the case management organisation", hint="change the resource under /fhir")
    change_ = Change(tuple(writes), agent, Source("case"), "case management", activity=activity)
    change_ = commit.check(change_)
    with hub.store.write() as tx:
        commit.commit(hub, tx, change_, key=key, correlation=correlation)
