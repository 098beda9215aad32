"""The directory in case words: people, organizations, programs, roles and locations. Readable by all callers, written by who made an
entry, by administrators and by the hub's people (DECISIONS 3).

A write is one commit, decided on a snapshot; without ``If-Match`` it is decided anew when somebody else was quicker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fhircase.errors import Gone, Invalid, Malformed, NotFound, Problem, Stale
from fhircase.fhir import index, search
from fhircase.flows import commit, documents, kinds
from fhircase.flows.hub import Hub
from fhircase.mapping import schema
from fhircase.plans.change import Agent, Change, Ref, Source, Write
from fhircase.ports import Stored, Tx, Viewer

Doc = dict[str, Any]

SHOWN = ("id", "version", "number")
"""What an entry shows beside its mapped fields; the hub's, not changed by a patch. ``number`` its business identifier, where that is
not the id."""

_TRIES = 6
_SCANNED = 1_000
"""So many entries are looked through for one page; the rest of a selective search is behind ``next``."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the directory. ``words`` and ``references``: filter → (field of the document, FHIR search parameter);
    ``sort``: the search parameter of the order in which entries are listed."""

    mapping: str
    type: str
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    references: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    sort: str = "name"

    @property
    def filters(self) -> tuple[str, ...]:
        return ("name", "text", *self.words, *self.references)


PARTS: Mapping[str, Part] = {
    "people": Part("person", "Practitioner", sort="family"),
    "organizations": Part("organization", "Organization", {"kind": ("kinds", "type")}, {"part_of": ("part_of", "partof")}),
    "programs": Part(
        "program", "HealthcareService",
        {"kind": ("kinds", "service-type"), "category": ("categories", "service-category"), "price": ("prices", "service-provision-code")},
        {
            "organization": ("organization", "organization"), "area": ("areas", "coverage-area"), "location": ("locations", "location"),
        },
    ),
    "roles": Part(
        "role", "PractitionerRole", {"profession": ("professions", "role"), "specialty": ("specialties", "specialty")},
        {
            "person": ("person", "practitioner"), "organization": ("organization", "organization"), "location": ("locations", "location"),
            "program": ("programs", "service"),
        },
        sort="practitioner",
    ),
    "locations": Part(
        "location", "Location", {"kind": ("kinds", "type")},
        {"organization": ("organization", "organization"), "part_of": ("part_of", "partof")},
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """``doc`` the document; ``tag`` of its ETag; ``problems`` what the mapping could not read."""

    doc: Doc
    tag: str
    problems: tuple[Problem, ...]


def named(what: str) -> Part:
    """Raises NotFound."""
    part = PARTS.get(what)
    if part is None:
        raise NotFound(f"the directory has no {what[:40]}", hint="it has " + ", ".join(PARTS))
    return part


# ------------------------------------------------------------------------------------------------ reading


def read(hub: Hub, viewer: Viewer, what: str, id: str) -> Entry:
    """Raises NotFound, Gone."""
    part = named(what)
    with hub.store.read() as tx:
        return _entry(hub, part, _held(tx, viewer, what, id))


def listed(
    hub: Hub, viewer: Viewer, what: str, wanted: Mapping[str, str], *, count: int = 50, cursor: str | None = None
) -> tuple[list[Doc], str | None]:
    """Entries for which all of ``wanted`` holds ('' asks for nothing), in the order of their names (roles: of their persons), and the
    next cursor. ``name``: each of its words stands in a name; ``text``: each stands anywhere in the entry; the other filters of a
    part are words of its mapping, or references or ids. A page may be short while ``next`` goes on; no entry is skipped.

    Raises NotFound for a part that is not there, Invalid for a filter that cannot be, Malformed for a cursor that is not ours."""
    part = named(what)
    query = _query(hub, part, wanted)
    found: list[Doc] = []
    scanned = 0
    with hub.store.read() as tx:
        while True:
            try:
                page = tx.plans.search(viewer, replace(query, count=count, cursor=cursor))
            except Malformed:
                raise Malformed("this 'next' is none of this list's", path="next", hint="take it from the page before") from None
            scanned += len(page.matches)
            cursor = page.next
            entries = [(stored, _entry(hub, part, stored).doc) for stored in page.matches]
            people = _people(hub, tx, entries) if wanted.get("name") and part.type == "PractitionerRole" else {}
            found += [doc for _, doc in entries if _fits(hub, part, doc, wanted, people)]
            if found or cursor is None or scanned >= _SCANNED:
                return found, cursor


def _held(tx: Tx, viewer: Viewer, what: str, id: str) -> Stored:
    stored = tx.plans.read(viewer, Ref(PARTS[what].type, id))
    if stored is None:
        raise NotFound(f"there is no such entry in {what}")
    if stored.deleted:
        raise Gone(f"this entry of {what} was deleted")
    return stored


def _entry(hub: Hub, part: Part, stored: Stored) -> Entry:
    read = hub.maps.mapping(part.mapping).into(stored.body)
    return Entry({**read.doc, **_shown(read.doc, stored)}, str(stored.version), read.problems)


def _shown(doc: Doc, stored: Stored) -> Doc:
    shown: Doc = {"id": stored.id, "version": stored.version}
    if doc.get("id") not in (None, stored.id):
        shown["number"] = doc["id"]
    return shown


def _query(hub: Hub, part: Part, wanted: Mapping[str, str]) -> Any:
    """What the index can answer. Raises Invalid, by the name of the filter."""
    form = shape(hub, part)
    asked: dict[str, Any] = {name: {"type": "string", "pattern": r"\S"} for name in ("name", "text")}
    asked |= {name: form.schema["properties"][place]["items"] for name, (place, _) in part.words.items()}
    lines = {line.name: line for line in form.lines}
    for name, (place, _) in part.references.items():
        types = "|".join(lines[place].ref)
        asked[name] = {"type": "string", "pattern": rf"^(({types})/)?[A-Za-z0-9\-.]{{1,64}}$", "description": "reference to " + types}
    given = {name: value for name, value in wanted.items() if value}
    problems = schema.closed(asked).problems(given)
    if problems:
        raise Invalid(replace(problem, path=problem.path.removeprefix("/")) for problem in problems)
    pairs: list[tuple[str, str]] = []
    filters: dict[str, str] = {}
    for name, value in given.items():
        if name == "name" and part.type != "PractitionerRole":
            filters["name:contains"] = name
            pairs += [("name:contains", _escaped(word)) for word in index.folded(value).split() or [value]]
        elif name in part.words:
            place, parameter = part.words[name]
            codes = [target for coder in lines[place].coders for target in coder.targets(value)]
            if codes:
                filters[parameter] = name
                pairs.append((parameter, ",".join(f"{_escaped(one.system)}|{_escaped(one.code)}" for one in codes)))
        elif name in part.references:
            place, parameter = part.references[name]
            filters[parameter] = name
            pairs.append((parameter, value if "/" in value else f"{lines[place].ref[0]}/{value}"))
    try:
        return search.parse(part.type, [("_sort", f"{part.sort},_id"), *pairs], strict=True)
    except search.BadSearch as error:
        raise Invalid(replace(problem, path=filters.get(problem.path, problem.path)) for problem in error.problems) from None


def _escaped(text: str) -> str:
    for mark in "\\,|$":
        text = text.replace(mark, "\\" + mark)
    return text


def _fits(hub: Hub, part: Part, doc: Doc, wanted: Mapping[str, str], people: Mapping[str, str]) -> bool:
    """What the index cannot say, or says too widely."""
    for name, (place, _) in part.words.items():
        if wanted.get(name) and wanted[name] not in doc.get(place, ()):
            return False
    if wanted.get("name") and part.type == "PractitionerRole":
        whose = index.folded(f"{doc.get('name', '')} {people.get(doc.get('person', ''), '')}")
        if not all(word in whose for word in index.folded(wanted["name"]).split()):
            return False
    if not wanted.get("text"):
        return True
    references = {text for _, text in shape(hub, part).references(doc)}
    whole = index.folded(" ".join(text for text in _texts(doc) if text not in references))
    return all(word in whole for word in index.folded(wanted["text"]).split())


def _people(hub: Hub, tx: Tx, entries: Iterable[tuple[Stored, Doc]]) -> dict[str, str]:
    """Names of those whose roles these are, by reference."""
    refs = {Ref.of(person) for _, doc in entries if (person := doc.get("person", "")).count("/") == 1}
    held = tx.plans.get_many(refs) if refs else {}
    mapping = hub.maps.mapping("person")
    return {str(ref): " ".join(_texts(mapping.into(s.body).doc.get("names", ()))) for ref, s in held.items() if not s.deleted}


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)


# ------------------------------------------------------------------------------------------------ writing


def add(hub: Hub, agent: Agent, viewer: Viewer, what: str, doc: Doc, *, key: str | None = None, correlation: str = "") -> Entry:
    """A new entry, which belongs to who makes it. Raises NotFound, Invalid with every problem of the document."""
    part = named(what)
    ref = Ref(part.type, hub.ids.new())
    form = shape(hub, part)
    problems = [*documents.fixed(doc, {}, SHOWN)]
    told = {p.path for p in problems}
    problems += [p for p in form.problems(doc) if p.path not in told]
    with hub.store.read() as tx:
        problems += _strange(tx, form, doc, (), problems)
    if problems:
        raise Invalid(problems)
    body, elements = documents.out(hub.maps.mapping(part.mapping), {**doc, "id": ref.id}, None)
    change = _change(agent, f"added to the directory: {what}", Write(part.type, ref.id, body, expect=0))
    change = documents.checked(change, {part.type: elements})
    with hub.store.write() as tx:
        commit.commit(hub, tx, change, key=key, correlation=correlation)
    return read(hub, viewer, what, ref.id)


def change(
    hub: Hub,
    agent: Agent,
    viewer: Viewer,
    what: str,
    id: str,
    patch: Doc,
    *,
    if_match: str | None = None,
    key: str | None = None,
    correlation: str = "",
) -> Entry:
    """Merge-patch (RFC 7396) one entry; what no field of the mapping speaks of stays as it was sent. Raises NotFound, Gone,
    Forbidden for an entry of somebody else's, Invalid with every problem, Stale."""
    part = named(what)
    form = shape(hub, part)
    mapping = hub.maps.mapping(part.mapping)
    for left in reversed(range(_TRIES)):
        with hub.store.read() as tx:
            stored = _held(tx, viewer, what, id)
            documents.same(str(stored.version), if_match, "the entry")
            before = mapping.into(stored.body).doc
            problems = [*documents.fixed(patch, {**before, **_shown(before, stored)}, SHOWN)]
            told = {p.path for p in problems}
            wanted = documents.merge_patch(before, {name: value for name, value in patch.items() if name not in SHOWN})
            problems += [p for p in form.problems(wanted, before=before) if p.path not in told]
            problems += _strange(tx, form, wanted, {text for _, text in form.references(before)}, problems)
        if problems:
            raise Invalid(problems)
        body, elements = documents.out(mapping, wanted, stored.body)
        made = _change(agent, f"changed in the directory: {what}", Write(part.type, id, body, expect=stored.version))
        made = documents.checked(made, {part.type: elements})
        try:
            with hub.store.write() as tx:
                commit.commit(hub, tx, made, key=key, correlation=correlation)
            break
        except Stale:
            if if_match is not None or not left:
                raise
    return read(hub, viewer, what, id)


def _change(agent: Agent, activity: str, write: Write) -> Change:
    return Change((write,), agent, Source("case"), "the directory", activity=activity)


def _strange(tx: Tx, form: schema.Shape, doc: Doc, stood: Iterable[str], told: Sequence[Problem]) -> list[Problem]:
    """References that were not there before, to what is not here."""
    known = set(stood)
    fresh = [(at, text) for at, text in form.references(doc) if text not in known]
    made = [Problem("nothing goes by this name", at, "name an entry of the directory") for at, text in fresh if text.startswith("#")]
    return made + documents.unknown_references(tx, fresh, None, {p.path for p in told})


# ------------------------------------------------------------------------------------------------ described


def shape(hub: Hub, part: Part) -> schema.Shape:
    """The JSON Schema of an entry; ``id`` is the hub's to fill."""
    return schema.of(hub.maps.mapping(part.mapping), ("id",))


def schemas(hub: Hub) -> dict[str, Any]:
    """Every entry of the directory, for ``/openapi.json``: ``Person``, ``Program`` … Nothing on a plain server."""
    if hub.maps is None:
        return {}
    shown = {name: kinds.DESCRIBED[name] for name in SHOWN}
    made = {kinds.title(part.mapping): shape(hub, part).schema for part in PARTS.values()}
    made = {name: {**one, "properties": {**one["properties"], **shown}} for name, one in made.items()}
    return made | {f"{name}Patch": schema.patch_of(one) for name, one in made.items()}


def bodies(of: str = "") -> dict[str, Any]:
    """JSON Schema of an entry of one of the parts, or (``Patch``) of a merge patch of one."""
    told = ", ".join(f"{what}: {kinds.title(part.mapping)}{of}" for what, part in PARTS.items())
    anything = [{"$ref": f"#/components/schemas/{kinds.title(part.mapping)}{of}"} for part in PARTS.values()]
    return {"anyOf": anything, "description": f"By the part that the address names. {told}"}
