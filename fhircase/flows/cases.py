"""The case view: read and written through ``mappings/`` onto the FHIR resources of one case (law 2). ``flows.kinds`` says what
the parts are.

Every write is one commit. It is decided on a snapshot and written when what it was decided upon still stands; without
``If-Match`` it is decided anew when somebody else was quicker, with ``If-Match`` it is refused (Stale)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fhircase.case import decisions, people
from fhircase.case.summary import Summary
from fhircase.errors import Conflict, Forbidden, Invalid, NotFound, Problem, Stale
from fhircase.flows import commit, documents, judged, kinds
from fhircase.flows.hub import Hub
from fhircase.flows.kinds import KINDS, SHOWN, SINGLES, Kind
from fhircase.mapping import schema
from fhircase.plans.change import Agent, Change, Ref, Resource, Source, Write
from fhircase.plans.partner import DIRECTORY_TYPES, HUB
from fhircase.ports import Stored, Tx, Viewer

Doc = dict[str, Any]

_TRIES = 6


@dataclass(frozen=True, slots=True)
class CaseView:
    """``doc`` the case document; ``tag`` changes whenever anything shown does (If-Match); ``problems`` what the mapping
    could not read; ``client`` and ``refs`` whose and which resources it shows, for the audit trail."""

    doc: Doc
    tag: str
    problems: tuple[Problem, ...]
    client: str = ""
    refs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """One case as it stands: its resources, the episode first, and those of the client that belong to no case."""

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


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall become of one part. ``what`` is a list of KINDS, or plan, team or episode; ``id`` names the entry ('' for the
    single ones). ``new``: ``doc`` is the document of a new entry, which gets this ``id``; else a merge patch (RFC 7396).
    ``at``: the JSON pointer of the part, before the paths of its problems."""

    what: str
    id: str
    doc: Doc
    new: bool = False
    at: str = ""


# ------------------------------------------------------------------------------------------------ reading


def read(hub: Hub, viewer: Viewer, case: str) -> CaseView:
    """One case. Raises NotFound for an absent case and for one that the viewer is no member of."""
    with hub.store.read() as tx:
        view = view_of(hub, load(tx, viewer, case))
        return replace(view, doc=judged.arranged(hub, tx, view.doc))


def summary(hub: Hub, viewer: Viewer, case: str, *, language: str = "", zone: str = "") -> tuple[Summary, CaseView]:
    """The case for the client to read, and what it was told from. Raises NotFound as ``read`` does, Refused for an unknown time zone."""
    with hub.store.read() as tx:
        view = view_of(hub, load(tx, viewer, case))
        return judged.told(hub, tx, view.doc, language=language, zone=zone), view


def part(view: CaseView, what: str) -> Any:
    """One list of the case, or its plan, team, episode or client. Raises NotFound."""
    if what not in KINDS and what not in SINGLES and what != "client":
        raise NotFound(f"a case has no {what[:40]}", hint="it has " + ", ".join([*KINDS, *SINGLES, "client"]))
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


def member(tx: Tx, viewer: Viewer, episode: Stored) -> bool:
    """Whether the viewer may read the case as a whole."""
    return viewer.everything or any(
        grant.kind == "member" for grant in tx.plans.grants(partner=viewer.partner, case=episode.id, at=viewer.at)
    )


_AROUND = ("Patient", *dict.fromkeys(kind.type for kind in KINDS.values() if kind.type not in DIRECTORY_TYPES))


def load(tx: Tx, viewer: Viewer, case: str) -> Held:
    """Everything of one case that the viewer may see. Raises NotFound, for an absent and a foreign case alike."""
    episode = tx.plans.read(viewer, Ref("EpisodeOfCare", case))
    if episode is None or episode.deleted or episode.client is None or not member(tx, viewer, episode):
        raise NotFound("there is no such case here")
    own = [stored for stored in tx.plans.of_case(case) if not stored.deleted and stored.type != "Provenance"]
    around = [stored for stored in tx.plans.of_client(episode.client, _AROUND) if not stored.deleted and stored.case is None]
    if not viewer.everything:
        own = [stored for stored in own if tx.plans.read(viewer, stored.ref) is not None]
        around = [stored for stored in around if tx.plans.read(viewer, stored.ref) is not None]
    plan: Stored | None = next((s for s in own if s.type == "CarePlan" and s.creator == HUB and ours(s.body, "urn:fhircase:plan")), None)
    team = next((s for s in own if s.type == "CareTeam" and s.creator == HUB), None)
    return Held(case, episode.client, episode, plan, team, [episode, *(s for s in own if s.ref != episode.ref), *around])


def ours(body: Resource, system: str) -> bool:
    """Whether it bears an identifier of this system."""
    return any(isinstance(one, dict) and one.get("system") == system for one in body.get("identifier", ()))


def view_of(hub: Hub, held: Held) -> CaseView:
    """The case as its resources say; nothing is computed."""
    problems: list[Problem] = []
    doc: Doc = {"id": held.id}
    patient = next((s for s in held.resources if s.type == "Patient"), None)
    if patient is not None:
        doc["client"] = _into(hub, "client", patient, patient.body, held, problems)
    singles = {"episode": held.episode, "plan": held.plan, "team": held.team}
    for name, stored in singles.items():
        if stored is not None:
            doc[name] = _into(hub, SINGLES[name].mapping, stored, stored.body, held, problems)
    doc |= {name: [] for name in KINDS}
    for stored in held.resources:
        if stored.client != held.client or stored.type not in kinds.MAPPED or stored in singles.values():
            continue
        body = stored.body
        what = kinds.of(body)
        if what is not None:
            doc[what].append(_into(hub, KINDS[what].mapping, stored, body, held, problems))
    return CaseView(doc, held.tag, tuple(problems), held.client, tuple(str(stored.ref) for stored in held.resources))


def _into(hub: Hub, mapping: str, stored: Stored, body: Resource, held: Held, problems: list[Problem]) -> Doc:
    read = hub.maps.mapping(mapping).into(body)
    problems.extend(read.problems)
    return {**read.doc, **_shown(read.doc, stored, held)}


def _shown(doc: Doc, stored: Stored, held: Held) -> Doc:
    shown: Doc = {"id": stored.id, "version": stored.version}
    if doc.get("id") not in (None, stored.id):
        shown["number"] = doc["id"]
    if stored.case is None and stored.type not in ("Patient", "EpisodeOfCare"):
        shown["apart"] = True
    return shown


# ------------------------------------------------------------------------------------------------ writing


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
    kinds.to_add(what)
    id_ = hub.ids.new()
    view = write(hub, agent, viewer, case, [Wish(what, id_, doc, new=True)], if_match=if_match, key=key, correlation=correlation)
    return id_, view


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
    kinds.named(what)
    return write(hub, agent, viewer, case, [Wish(what, id, patch)], if_match=if_match, key=key, correlation=correlation)


def change_several(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    patch: Doc,
    *,
    if_match: str | None = None,
    key: str | None = None,
    correlation: str = "",
) -> CaseView:
    """Merge-patch several parts of one case in one commit: ``{"plan": {…}, "goals": {"<id>": {…}, "#walk": {…}}}``. A list is
    patched by the ids of its entries; a name that begins with # makes a new entry, which others of the patch may refer to
    by that name. Problems are told by JSON pointer. Raises NotFound, Invalid, Stale."""
    wishes, problems = wishes_of(patch)
    if problems:
        raise Invalid(problems)
    return write(hub, agent, viewer, case, wishes, if_match=if_match, key=key, correlation=correlation)


def wishes_of(patch: Doc, *, opening: bool = False) -> tuple[list[Wish], list[Problem]]:
    """The parts of a patch of a whole case; new entries still bear their names (``#walk``). ``opening``: lists hold new entries;
    in a patch a list would mean that all others go, so entries are given by their ids."""
    wishes: list[Wish] = []
    problems: list[Problem] = []
    for what, value in patch.items():
        at = "/" + schema.escaped(what[:64])
        if what in SINGLES:
            if isinstance(value, dict):
                wishes.append(Wish(what, "", value, at=at))
            else:
                problems.append(Problem("an object is needed", at))
        elif what not in KINDS:
            problems.append(Problem("no such part, or not changed here", at, "one of " + ", ".join([*SINGLES, *KINDS])))
        elif opening and isinstance(value, list):
            for n, one in enumerate(value):
                if isinstance(one, dict):
                    wishes.append(Wish(what, str(one.get("id", f"#{what}/{n}")), one, new=True, at=f"{at}/{n}"))
                else:
                    problems.append(Problem("an object is needed", f"{at}/{n}"))
        elif not isinstance(value, dict):
            problems.append(Problem("entries are given by their ids", at, 'send {"<id>": {…}}, or {"#name": {…}} for a new one'))
        else:
            for id_, doc in value.items():
                below = f"{at}/{schema.escaped(id_[:80])}"
                if isinstance(doc, dict):
                    wishes.append(Wish(what, id_, doc, new=id_.startswith("#"), at=below))
                else:
                    problems.append(Problem("an object is needed", below, "an entry is ended by its state, never taken away"))
    for wish in wishes:
        if wish.new and not wish.id.startswith("#"):
            hint = 'leave it out, or call it "#…" to refer to it'
            problems.append(Problem("this is the hub's to say", f"{wish.at}/id", hint, "business-rule"))
        elif wish.new and wish.what in KINDS and not KINDS[wish.what].entered:
            hint = "they come from intake and from hand-overs"
            problems.append(Problem(f"{wish.what} are not added here", wish.at, hint, "business-rule"))
    return wishes, problems


def write(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    wishes: Sequence[Wish],
    *,
    if_match: str | None = None,
    key: str | None = None,
    correlation: str = "",
) -> CaseView:
    """Fulfil all wishes in one commit, or none. Raises NotFound, Invalid with every problem, Stale, Forbidden."""
    named = names_of(hub, wishes)

    def decide(tx: Tx, held: Held) -> Decided:
        person(agent)
        return fulfilled(hub, tx, held, wishes, named)

    attempt(hub, agent, viewer, case, decide, if_match, key, correlation)
    return read(hub, viewer, case)


def names_of(hub: Hub, wishes: Iterable[Wish]) -> dict[str, Ref]:
    """The ids that new entries shall have, by the name that they go by in the document (or by the id that they were given). Raises
    Invalid when two go by one name: one of them would take the other's place."""
    made: dict[str, Ref] = {}
    twice: list[Problem] = []
    for wish in wishes:
        if wish.new and wish.id in made:
            twice.append(Problem("another entry of this document goes by this name", wish.at, "give each a name of its own"))
        elif wish.new:
            made[wish.id] = Ref(KINDS[wish.what].type, hub.ids.new() if wish.id.startswith("#") else wish.id)
    if twice:
        raise Invalid(twice)
    return made


def fulfilled(
    hub: Hub, tx: Tx, held: Held, wishes: Sequence[Wish], named: Mapping[str, Ref], *, moving: bool = False
) -> Decided:
    """The writes that fulfil the wishes on the case as it stands. ``moving``: the lifecycle has judged them; else phase and state of
    the case are not theirs to change. Raises Invalid with every problem of all."""
    problems: list[Problem] = []
    writes: dict[Ref, Write] = {}
    elements: dict[str, dict[str, str]] = {}
    links: list[tuple[str, Ref]] = []
    contacts = _contacts(hub, held, wishes, named)
    for wish in wishes:
        kind = kinds.named(wish.what)
        stored = None if wish.new else held_entry(held, wish.what, wish.id)
        before = None if stored is None else stored.body
        doc = {} if before is None else hub.maps.mapping(kind.mapping).into(before).doc
        wanted, wrong = _wanted(hub, tx, held, wish, kind, stored, doc, named, moving)
        wrong += people.without_authority(wish.what, wanted, doc, contacts, judged.today(hub), wish.at)
        if stored is None and not wrong:
            wrong += _unasked(hub, held, wish, wanted)
        problems += wrong
        if wrong:
            continue
        mapping = hub.maps.mapping(kind.mapping)
        if stored is None:
            ref = named[wish.id]
            body, found = documents.out(mapping, _whole(hub, kind, wanted, ref, held), None, wish.at)
            writes[ref] = Write(kind.type, ref.id, body, expect=0, client=held.client, case=held.id)
            if kind.link:
                links.append((kind.link, ref))
        else:
            body, found = documents.out(mapping, wanted, before, wish.at)
            writes[stored.ref] = Write(kind.type, stored.id, body, expect=stored.version, client=stored.client, case=stored.case)
        elements.setdefault(kind.type, {}).update(found)
    if problems:
        raise Invalid(problems)
    if links and held.plan is not None:
        changed = writes.get(held.plan.ref)
        plan = held.plan.body if changed is None or changed.body is None else changed.body
        for element, ref in links:
            link(plan, element, str(ref))
        writes[held.plan.ref] = Write("CarePlan", held.plan.id, plan, expect=held.plan.version, client=held.client, case=held.id)
    added = dict.fromkeys(wish.what for wish in wishes if wish.new)
    changed_ = dict.fromkeys(wish.what for wish in wishes if not wish.new)
    words = ["added to " + ", ".join(added)] if added else []
    words += ["changed in " + ", ".join(changed_)] if changed_ else []
    return Decided(list(writes.values()), "; ".join(words), elements)


def _wanted(
    hub: Hub, tx: Tx, held: Held, wish: Wish, kind: Kind, stored: Stored | None, doc: Doc, named: Mapping[str, Ref], moving: bool
) -> tuple[Doc, list[Problem]]:
    """The document as it shall be, and every mistake in it. ``doc``: as it stands."""
    client = f"Patient/{held.client}"
    expected = {"client": client} if stored is None else {**doc, **_shown(doc, stored, held), "client": client}
    named_so = wish.new and wish.doc.get("id") == wish.id
    given = _renamed({name: value for name, value in wish.doc.items() if not (named_so and name == "id")}, named)
    wrong = list(documents.fixed(given, expected, (*SHOWN, "client"), wish.at))
    if wish.what == "episode" and not moving:
        wrong += _moves(given, doc, wish.at)
    edit = {name: value for name, value in given.items() if name not in SHOWN}
    wanted = kinds.with_client(kind, given, client) if stored is None else documents.merge_patch(doc, edit)
    wanted = kinds.filled(kind, wanted)
    form = kinds.shape(hub, kind)
    told = {p.path for p in wrong}
    wrong += [p for p in form.problems(wanted, before=doc if stored else None, at=wish.at) if p.path not in told]
    stood = {text for _, text in form.references(doc)} | {str(ref) for ref in named.values()}
    fresh = [(wish.at + place, text) for place, text in form.references(wanted) if text not in stood]
    wrong += [Problem("nothing goes by this name", at, "name an entry of this document") for at, text in fresh if text.startswith("#")]
    wrong += documents.unknown_references(tx, fresh, held.client, {p.path for p in wrong})
    return wanted, wrong


def _whole(hub: Hub, kind: Kind, wanted: Doc, ref: Ref, held: Held) -> Doc:
    """A new entry with what is the hub's to say."""
    made = {**wanted, "id": ref.id}
    if kind.part_of and held.plan is not None:
        made.setdefault(kind.part_of, [str(held.plan.ref)])
    if "client" in kinds.shape(hub, kind).schema["properties"]:
        made["client"] = f"Patient/{held.client}"
    if kind.spoken is not None and kind.spoken[0] in made:
        made.setdefault(kind.spoken[1], f"Patient/{held.client}")
    return made


def _unasked(hub: Hub, held: Held, wish: Wish, wanted: Doc) -> list[Problem]:
    """What the client has declined is not offered again, unless the client asks for it."""
    if wish.what not in ("services", "equipment") or wanted.get("intent") not in kinds.PROPOSED:
        return []
    asked = str(wanted.get("ordered_by", "")) == f"Patient/{held.client}"
    kind = str(wanted.get("kind", ""))
    if asked or decisions.offerable(kind, judged.with_decisions(view_of(hub, held).doc), judged.today(hub)):
        return []
    hint = "leave it, or say that the client asks for it: ordered_by"
    return [Problem("the client has declined this kind", f"{wish.at}/kind", hint, "business-rule")]


def _contacts(hub: Hub, held: Held, wishes: Sequence[Wish], named: Mapping[str, Ref]) -> list[Doc]:
    """Who is around the client, those of these wishes included; empty where nobody may be asked for."""
    if not any(wish.what in people.SPOKEN for wish in wishes):
        return []
    mapping = hub.maps.mapping("contact")
    known = [{**mapping.into(s.body).doc, "id": s.id} for s in held.resources if s.type == "RelatedPerson" and s.client == held.client]
    return known + [{**wish.doc, "id": named[wish.id].id} for wish in wishes if wish.what == "contacts" and wish.new]


def _renamed(doc: Any, named: Mapping[str, Ref]) -> Any:
    """``doc`` with the names of new entries (``#walk``) as references to them."""
    if isinstance(doc, str):
        return str(named[doc]) if doc.startswith("#") and doc in named else doc
    if isinstance(doc, dict):
        return {name: _renamed(value, named) for name, value in doc.items()}
    return [_renamed(value, named) for value in doc] if isinstance(doc, list) else doc


_MOVED = {
    "phase": "POST /cases/{id}/phase",
    "state": "POST /cases/{id}/hold, /resume, /close or /reopen",
    "closed": "POST /cases/{id}/close",
    "closed_because": "POST /cases/{id}/close",
    "history": "it is kept by the moves of the case",
}


def _moves(patch: Doc, held: Doc, at: str) -> Iterable[Problem]:
    """What a case moves by is not patched: a move is judged, and says why."""
    for name, hint in _MOVED.items():
        if name in patch and patch[name] != held.get(name):
            yield Problem("a case is moved, not patched", f"{at}/{name}", hint, "business-rule")


def held_entry(held: Held, what: str, id: str) -> Stored:
    """The resource behind one entry, or behind the plan, team or episode. Raises NotFound."""
    kind = kinds.named(what)
    if what in SINGLES:
        found = {"plan": held.plan, "team": held.team, "episode": held.episode}[what]
    else:
        candidates = (s for s in held.resources if s.type == kind.type and s.id == id and s.client == held.client)
        found = next((s for s in candidates if s is not held.plan and s is not held.team and kinds.of(s.body) == what), None)
    if found is None:
        raise NotFound(f"this case has no such entry in {what}")
    return found


def link(plan: Resource, element: str, reference: str) -> None:
    """Let the plan refer to it."""
    if element == "activity":
        plan.setdefault("activity", []).append({"reference": {"reference": reference}})
    else:
        plan.setdefault(element, []).append({"reference": reference})


# ------------------------------------------------------------------------------------------------ one commit


@dataclass(frozen=True, slots=True)
class Decided:
    """``elements``: FHIR type → JSON pointer → FHIR element, so that what breaks a check of FHIR is told by the field.
    ``informant``: who decided it, when that is not who writes it down."""

    writes: Sequence[Write]
    activity: str
    elements: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    reason: str = "case management"
    informant: str | None = None


def person(agent: Agent) -> None:
    """Raises Forbidden unless one of the hub's people or an administrator."""
    if agent.partner != HUB and not agent.admin:
        raise Forbidden("the case view is written by the case management organisation", hint="change the resource under /fhir")


def fresh(held: Held, if_match: str | None) -> None:
    """Raises Stale when ``if_match`` names another state of the case."""
    documents.same(held.tag, if_match, "the case")


def attempt(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    case: str,
    decide: Callable[[Tx, Held], Decided],
    if_match: str | None,
    key: str | None,
    correlation: str,
) -> None:
    """Decide on a snapshot, check outside the write transaction, write what still stands."""
    for left in reversed(range(_TRIES)):
        with hub.store.read() as tx:
            held = load(tx, viewer, case)
            fresh(held, if_match)
            decided = decide(tx, held)
        made = Change(tuple(decided.writes), agent, Source("case"), decided.reason, activity=decided.activity, informant=decided.informant)
        made = documents.checked(made, decided.elements)
        try:
            with hub.store.write() as tx:
                tx.plans.lock(f"case|{case}")
                if if_match is not None:
                    fresh(load(tx, viewer, case), if_match)
                commit.commit(hub, tx, made, key=key, correlation=correlation)
            return
        except (Stale, Conflict):
            if if_match is not None or not left:
                raise
