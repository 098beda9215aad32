"""Open a case by hand: the EpisodeOfCare, the hub's one CarePlan and its CareTeam, by the same rules as a discharge opens one
(DECISIONS 8), in one commit; with the client's Patient when the client is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fhircase.errors import Conflict, Invalid, NotFound, Problem, Stale
from fhircase.fhir import jsontext, times
from fhircase.flows import cases, commit, documents, kinds
from fhircase.flows.drafting import cases_seen
from fhircase.flows.hub import Hub
from fhircase.intake import identities
from fhircase.mapping import OPENED, schema
from fhircase.plans import opening
from fhircase.plans.change import Agent, Change, Ref, Source, Write
from fhircase.plans.handover import Receiver
from fhircase.plans.partner import HUB
from fhircase.ports import Stored, Tx, Viewer

_TRIES = 6
_NOBODY = Receiver("none")


def shape(hub: Hub) -> schema.Shape:
    """What ``POST /cases`` takes."""
    kinds = hub.maps.codes("case-kind").sources()
    return schema.closed(
        {
            "client": {
                "description": "Patient/id of a known client, or the document of a new one",
                "type": ["string", "object"],
                "pattern": r"^Patient/[A-Za-z0-9\-.]{1,64}$",
            },
            "kind": {"type": "string", "enum": kinds, "default": opening.KIND},
            "title": {"type": "string", "pattern": r"\S", "description": "title of the plan"},
            "manager": {"type": "string", "pattern": r"^(Practitioner|PractitionerRole)/[A-Za-z0-9\-.]{1,64}$"},
            "opened": schema.of(hub.maps.mapping("episode")).schema["properties"]["opened"],
            "propose": {"type": "boolean", "description": "true: the goals and services of the template for this kind are proposed"},
            "another": {"type": "boolean", "description": "true: open it although the client has an open case"},
        },
        ("client",),
        "A case to be opened by hand, with the parts that it begins with. An entry may be given an id that begins with #, by which"
        " others of the document refer to it",
    )


def published(hub: Hub) -> dict[str, Any]:
    """The same with the parts of the case, for ``/openapi.json``."""
    made = shape(hub).schema
    parts: dict[str, Any] = {name: kinds.reference(kind) for name, kind in kinds.SINGLES.items()}
    parts |= {name: {"type": "array", "items": kinds.reference(kind)} for name, kind in kinds.KINDS.items() if kind.entered}
    return {**made, "properties": {**made["properties"], **parts}}


def _own(doc: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What opens the case, and the parts that it begins with."""
    parts = {name: value for name, value in doc.items() if name in kinds.SINGLES or name in kinds.KINDS}
    return {name: value for name, value in doc.items() if name not in parts}, parts


def open_case(
    hub: Hub, agent: Agent, viewer: Viewer, doc: dict[str, Any], *, key: str | None = None, correlation: str = ""
) -> tuple[str, cases.CaseView]:
    """Open a case and return its id and view.

    Raises Forbidden for partners, Invalid with every problem, Conflict when the client has an open case already (unless
    ``another`` says so) or the new client's record number is somebody's."""
    cases.person(agent)
    own, parts = _own(doc)
    problems = list(shape(hub).problems(own))
    wishes, wrong_parts = cases.wishes_of(parts, opening=True)
    problems += wrong_parts
    wishes += _proposed(hub, own)
    client = doc.get("client")
    if isinstance(client, dict):
        problems += schema.of(hub.maps.mapping("client"), ("id",)).problems(client, at="/client")
        if "id" in client:
            problems.append(Problem("this is the hub's to say", "/client/id", "leave it out, or send \"client\": \"Patient/…\""))
    if problems:
        raise Invalid(problems)
    named = cases.names_of(hub, wishes)
    for left in reversed(range(_TRIES)):
        with hub.store.read() as tx:
            patient = _client(hub, tx, doc)
            episodes = () if patient.expect == 0 else tx.plans.of_client(patient.id, ("EpisodeOfCare",))
            seen = cases_seen(episodes)
            standing = _standing(tx, episodes, bool(doc.get("another")), hub.now())
            wrong = documents.unknown_references(tx, [(f"/{n}", doc[n]) for n in ("manager",) if n in doc], patient.id)
            if wrong:
                raise Invalid(wrong)
            partners = tx.partners.all()
            case, writes = _opened(hub, patient.id, doc, standing, next((p for p in partners if p.name == HUB), None))
            begun = cases.fulfilled(hub, tx, _as_held(case, patient.id, writes), wishes, named)
        new = [patient] if patient.expect == 0 else []
        drafted = {write.ref: write for write in (*new, *writes)} | {write.ref: write for write in begun.writes}
        whole = (replace(write, creator=HUB) if write.ref in {one.ref for one in writes} else write for write in drafted.values())
        change = Change(tuple(whole), agent, Source("case"), "case management", activity="opened a case by hand")
        change = documents.checked(change, {**begun.elements, **({"Patient": _elements(hub, patient)} if new else {})})
        try:
            with hub.store.write() as tx:
                tx.plans.lock(f"Patient/{patient.id}")
                if not new and cases_seen(tx.plans.of_client(patient.id, ("EpisodeOfCare",))) != seen:
                    raise Stale("the client's cases have changed meanwhile", hint="send it again")
                commit.commit(hub, tx, change, key=key, correlation=correlation)
            return case, cases.read(hub, viewer, case)
        except (Stale, Conflict):
            if not left:
                raise
    raise AssertionError("unreachable")


def _proposed(hub: Hub, own: dict[str, Any]) -> list[cases.Wish]:
    """What the template for this kind of case proposes, where that is asked for; a person activates it (DECISIONS 9)."""
    if own.get("propose") is not True:
        return []
    template = hub.maps.templates(str(own.get("kind", opening.KIND)), OPENED)
    offered = (("goals", template.goals), ("services", template.services))
    return [
        cases.Wish(what, f"#{what} of {template.name} {n}", dict(doc), new=True, at=f"/{what}/{template.name}/{n}")
        for what, docs in offered
        for n, doc in enumerate(docs)
    ]


def _as_held(case: str, client: str, writes: Sequence[Write]) -> cases.Held:
    """The case as it will stand when it is opened, before its first entries."""
    held = {
        write.type: Stored(write.type, write.id, 0, 0, 0, False, client, case, HUB, jsontext.dumps(write.body)) for write in writes
    }
    return cases.Held(case, client, held["EpisodeOfCare"], held.get("CarePlan"), held.get("CareTeam"), list(held.values()))


def _client(hub: Hub, tx: Tx, doc: dict[str, Any]) -> Write:
    """The client: a Write that makes one (``expect`` 0), or names the one that is there."""
    client = doc["client"]
    if isinstance(client, str):
        ref = Ref.of(client)
        stored = tx.plans.get(ref)
        if stored is None or stored.deleted:
            raise Invalid(Problem("no such client here", "/client", "create the Patient, or send the client's document", "not-found"))
        links = stored.body.get("link", ())
        merged = next((link.get("other", {}).get("reference") for link in links if link.get("type") == "replaced-by"), None)
        if merged is not None:
            raise Invalid(Problem("this record was merged into another", "/client", f"name {merged}", "business-rule"))
        return Write("Patient", ref.id, stored.body, expect=stored.version, client=ref.id)
    made = hub.maps.mapping("client").out(client)
    broken = [p for p in made.problems if p.severity == "error"]
    if broken:
        raise Invalid(Problem(p.what, "/client" + schema.pointer(p.path), p.hint, p.code) for p in broken)
    claims = [(one.system, one.value) for one in identities.of_resource(made.resource) if one.claims]
    holder = next((found for system, value in claims if (found := tx.plans.holder("Patient", system, value))), None)
    if holder is not None:
        raise Conflict("a record number of this client is known here", path="/client/identifiers", hint=f'send "client": "{holder}"')
    id_ = hub.ids.new()
    return Write("Patient", id_, {**made.resource, "id": id_}, expect=0, client=id_, claims=tuple(claims))


def _elements(hub: Hub, patient: Write) -> dict[str, str]:
    mapping = hub.maps.mapping("client")
    made = mapping.out(mapping.into(patient.body).doc)
    return {"/client" + schema.pointer(name): element for name, element in made.elements.items()}


def _standing(tx: Tx, episodes: Sequence[Stored], another: bool, now: int) -> opening.Standing:
    bodies = [(stored, stored.body) for stored in episodes if not stored.deleted]
    running = [stored for stored, body in bodies if body.get("status") in opening.OPEN]
    if running and not another:
        raise Conflict(
            "the client has an open case", path="/client", hint=f'use /cases/{running[0].id}, or send "another": true for a second case'
        )
    if running:
        return opening.Standing("new")
    ended = []
    for stored, body in bodies:
        if body.get("status") in ("cancelled", "entered-in-error"):
            continue
        end = (body.get("period") or {}).get("end")
        plans = (s for s in tx.plans.of_case(stored.id, ["CarePlan"]) if s.creator == HUB)
        plan = next((s.id for s in plans if cases.ours(s.body, opening.PLAN)), None)
        ended.append((times.ms_of(end) if end else stored.updated, plan))
    last = max(ended, key=lambda one: one[0])[1] if ended else None
    return opening.Standing("new", replaces=last)


def _opened(hub: Hub, client: str, doc: dict[str, Any], standing: opening.Standing, organization: Any) -> tuple[str, list[Write]]:
    if organization is None:
        raise NotFound("the case management organisation is not enrolled yet", hint="start the hub once")
    now = hub.now()
    opened = opening.on_admission(
        standing,
        opening.Discharge(
            client=client, encounter=None, at=now, when=doc.get("opened"), now=times.instant(now), answer_by=None, route=None,
            disposition=None, sender=organization, hub=organization, receiver=_NOBODY, care_manager=doc.get("manager"),
        ),
        hub.ids.new,
        opens=True,
        linked=False,
    )  # fmt: skip
    assert opened.case is not None
    mapping = hub.maps.mapping("episode")
    writes = []
    for write in opened.writes:
        body = dict(write.body or {})
        if write.type == "EpisodeOfCare":
            body = mapping.out({**mapping.into(body).doc, "kinds": [doc.get("kind", opening.KIND)]}, onto=body).resource
        elif write.type == "CarePlan":
            plan = hub.maps.mapping("plan")
            held = plan.into(body).doc
            wanted = {**held, "kinds": [*held.get("kinds", ()), doc.get("kind", opening.KIND)], "title": doc.get("title", held["title"])}
            body = plan.out(wanted, onto=body).resource
        writes.append(Write(write.type, write.id, body, expect=0, client=client, case=opened.case, creator=HUB))
    return opened.case, writes
