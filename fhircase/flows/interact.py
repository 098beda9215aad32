"""The RESTful interactions of FHIR (http://hl7.org/fhir/R4/http.html) as use cases: who may, on what, in which
transaction. Reads go to the store as a viewer; writes become one Change and go through ``flows.commit``.

Foreign and absent are answered alike (DECISIONS 5), ids are the hub's to give (DECISIONS 6), strict unless the caller
or its partner's record asks for lenient (DECISIONS 13)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from fhircase.access.principal import Principal
from fhircase.access.viewer import Viewer
from fhircase.errors import (
    FhircaseError,
    Gone,
    Invalid,
    Malformed,
    MethodNotAllowed,
    NotFound,
    NotUnique,
    Problem,
    Refused,
    Stale,
    TooLarge,
)  # fmt: skip
from fhircase.fhir import bundles, checks, definitions, models, refs
from fhircase.fhir import patch as patching
from fhircase.fhir import search as grammar
from fhircase.fhir.bundles import Entry
from fhircase.fhir.query import Query
from fhircase.flows import commit, published
from fhircase.flows.hub import Hub
from fhircase.intake import identities
from fhircase.plans.change import Change, Ref, Resource, Review, Source, Write
from fhircase.ports import Page, Stored, Tx

Pairs = Sequence[tuple[str, str]]

TRIES = 5
"""How often a patch without If-Match is tried on a resource that others are writing."""

_URN = ("urn:uuid:", "urn:oid:")
_CONDITIONAL = re.compile(r"([A-Z][A-Za-z]+)\?(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, under which id it is traced, and how its content is handled: ``lenient`` None leaves it to the
    partner's record."""

    who: Principal
    correlation: str = ""
    lenient: bool | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What a write did: 201 created, 200 found or updated, 204 deleted. ``wrote`` False when nothing changed."""

    status: int
    stored: Stored | None
    wrote: bool = True
    reviews: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one entry; exactly one of ``error``, ``found`` (a search or history) and ``stored``, or none of them
    (a deletion)."""

    status: int
    stored: Stored | None = None
    found: tuple[Query | None, Page] | None = None
    error: FhircaseError | None = None


# ------------------------------------------------------------------------------------------------ reading


def read(hub: Hub, caller: Caller, ref: Ref) -> Stored:
    """Raises NotFound (absent and foreign alike), Gone, Forbidden. What the hub publishes of its own words is everybody's."""
    ours = published.read(hub, ref)
    if ours is not None:
        return ours
    caller.who.require("read", ref.type)
    with hub.store.read() as tx:
        return _seen(tx, caller.who.viewer(hub.now()), ref)


def vread(hub: Hub, caller: Caller, ref: Ref, version: int) -> Stored:
    """Raises NotFound, Gone, Forbidden."""
    ours = published.read(hub, ref, version)
    if ours is not None:
        return ours
    caller.who.require("vread", ref.type)
    with hub.store.read() as tx:
        stored = tx.plans.vread(caller.who.viewer(hub.now()), ref, version)
    if stored is None:
        raise _absent(ref)
    if stored.deleted:
        raise Gone(f"{ref} was deleted in version {version}")
    return stored


def search(hub: Hub, caller: Caller, type: str, pairs: Pairs, *, strict: bool = True) -> tuple[Query, Page]:
    """``strict``: an unknown parameter is refused, else it is left out and named in ``Query.ignored``."""
    if type not in published.TYPES:
        caller.who.require("search-type", type)
    query = grammar.parse(type, pairs, strict=strict, base_url=fhir_base(hub))
    since = published.place(query)
    if since is not None:
        return query, _with_published(hub, caller, query, since)
    caller.who.require("search-type", type)
    with hub.store.read() as tx:
        return query, _search(tx, caller, query, hub.now())


def _with_published(hub: Hub, caller: Caller, query: Query, since: int) -> Page:
    """The hub's own first, then those that clients stored, which take a scope."""
    ours = published.found(hub, query)
    theirs = Page((), total=0 if query.total or query.count <= 0 else None)
    if caller.who.may("search-type", query.type):
        asked = published.stored_part(query, len(ours) - since)
        if asked is not None:
            with hub.store.read() as tx:
                theirs = _search(tx, caller, asked, hub.now())
    return published.page(query, ours, since, theirs)


def history(
    hub: Hub,
    caller: Caller,
    type: str | None,
    id: str | None,
    *,
    since: int | None = None,
    at: tuple[int, int] | None = None,
    count: int = 50,
    cursor: str | None = None,
    total: bool = False,
) -> Page:
    """Newest first. Of one resource: raises NotFound when the caller may see no version of it."""
    kind = "history-instance" if id else "history-type" if type else "history-system"
    caller.who.require(kind, type)
    with hub.store.read() as tx:
        viewer = caller.who.viewer(hub.now())
        page = tx.plans.history(viewer, type, id, since=since, at=at, count=count, cursor=cursor, total=total)
        if type and id and not page.matches and cursor is None and tx.plans.read(viewer, Ref(type, id)) is None:
            raise _absent(Ref(type, id))
    return page


def everything(
    hub: Hub,
    caller: Caller,
    client: str,
    *,
    types: Sequence[str] = (),
    since: int | None = None,
    count: int = 200,
    after: str | None = None,
) -> Page:
    """All that the caller may see of one client (http://hl7.org/fhir/R4/patient-operation-everything.html), the Patient
    first, in a fixed order; ``after`` is the ``Type/id`` that the page before ended with."""
    caller.who.require("read", "Patient")
    with hub.store.read() as tx:
        viewer = caller.who.viewer(hub.now())
        patient = _seen(tx, viewer, Ref("Patient", client))
        wanted = [s.ref for s in tx.plans.of_client(client, tuple(types)) if s.ref != patient.ref and caller.who.may("read", s.type)]
        order = ([patient.ref] if not types or "Patient" in types else []) + sorted(wanted, key=str)
        if after is not None:
            order = [ref for ref in order if ref != patient.ref and str(ref) > after]
        shown: list[Stored] = []
        more = False
        for ref in order:
            stored = patient if ref == patient.ref else tx.plans.read(viewer, ref)
            if stored is None or stored.deleted or (since is not None and lastly(stored) < since):
                continue
            if len(shown) == count:
                more = True
                break
            shown.append(stored)
        cited = _cited(tx, caller, viewer, shown) if not types else []
    return Page(shown, cited, str(shown[-1].ref) if more else None)


def _cited(tx: Tx, caller: Caller, viewer: Viewer, shown: Sequence[Stored]) -> list[Stored]:
    """The directory resources that these refer to (who and where)."""
    directory = ("Practitioner", "PractitionerRole", "Organization", "Location")
    found: dict[Ref, None] = {}
    for stored in shown:
        for _, reference in refs.references(stored.body):
            literal = refs.literal(reference.get("reference"))
            if literal and not literal.base and literal.type in directory and caller.who.may("read", literal.type):
                found[Ref(literal.type, literal.id)] = None
    read_ = (tx.plans.read(viewer, ref) for ref in found)
    return [stored for stored in read_ if stored is not None and not stored.deleted]


def lastly(stored: Stored) -> int:
    """When the version counts as changed for its reader (DECISIONS 4), in epoch milliseconds."""
    return stored.effective or stored.updated


def fhir_base(hub: Hub) -> str:
    return hub.policy.base_url.rstrip("/") + "/fhir"


def _absent(ref: Ref) -> NotFound:
    return NotFound(f"{ref.type} {ref.id} is not known here")


def _seen(tx: Tx, viewer: Viewer, ref: Ref) -> Stored:
    stored = tx.plans.read(viewer, ref)
    if stored is None:
        raise _absent(ref)
    if stored.deleted:
        raise Gone(f"{ref} was deleted")
    return stored


def _search(tx: Tx, caller: Caller, query: Query, now: int) -> Page:
    page = tx.plans.search(caller.who.viewer(now), query)
    if page.included and not caller.who.may("read", None):
        page = replace(page, included=[stored for stored in page.included if caller.who.may("read", stored.type)])
    return page


# ------------------------------------------------------------------------------------------------ writing


def create(hub: Hub, caller: Caller, type: str, body: Any, *, if_none_exist: Pairs | None = None) -> Done:
    """A new resource under an id of ours. ``if_none_exist``: when exactly one that the caller may see matches, that one
    is the answer (200). Raises NotUnique when several match."""
    caller.who.require("create", type)
    query = _criteria(hub, caller, type, if_none_exist)
    write = Write(type, hub.ids.new(), _resource(type, body), expect=0)
    change = _checked(hub, caller, "create", write)
    with hub.store.write() as tx:
        if query is not None:
            found = _match(tx, caller, query, hub.now())
            if found is not None:
                return Done(200, found, wrote=False)
        return _commit(hub, tx, caller, change, write.ref)


def update(hub: Hub, caller: Caller, type: str, id: str, body: Any, *, if_match: int | None = None) -> Done:
    """Raises Refused for an id that the caller may not choose, absent and foreign alike (DECISIONS 6); Stale."""
    caller.who.require("update", type)
    resource = _resource(type, body)
    if resource.get("id") != id:
        raise Refused(Problem("the id in the body is not the id in the address", f"{type}.id", f'send "id": "{id[:64]}"'))
    published.keep(hub, Ref(type, id))
    write = Write(type, id, resource, expect=if_match)
    change = _checked(hub, caller, "update", write)
    with hub.store.write() as tx:
        return _commit(hub, tx, caller, _replacing(hub, tx, caller, change), write.ref)


def conditional_update(hub: Hub, caller: Caller, type: str, criteria: Pairs, body: Any, *, if_match: int | None = None) -> Done:
    """Update the one that matches, else create. Raises NotUnique when several match."""
    caller.who.require("update", type)
    query = _criteria(hub, caller, type, criteria)
    assert query is not None
    resource = _resource(type, body)
    change = _checked(hub, caller, "update", Write(type, hub.ids.new(), resource, expect=if_match))
    with hub.store.write() as tx:
        write = _settled(hub, tx, caller, change.writes[0], query)
        change = replace(change, writes=(write,), reviews=tuple(_retold(change.reviews, write.ref)))
        return _commit(hub, tx, caller, _replacing(hub, tx, caller, change), write.ref)


def patch(hub: Hub, caller: Caller, type: str, id: str, operations: Any, *, if_match: int | None = None) -> Done:
    """Apply a JSON Patch to the current version. Without ``if_match`` a resource that changes meanwhile is tried again."""
    caller.who.require("patch", type)
    ref = Ref(type, id)
    for attempt in range(TRIES):
        with hub.store.read() as tx:
            before = _seen(tx, caller.who.viewer(hub.now()), ref)
        if if_match is not None and before.version != if_match:
            raise _stale(before)
        write = _patched(before, operations)
        change = _checked(hub, caller, "patch", write)
        try:
            with hub.store.write() as tx:
                return _commit(hub, tx, caller, _replacing(hub, tx, caller, change), ref)
        except Stale:
            if if_match is not None or attempt == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def conditional_patch(hub: Hub, caller: Caller, type: str, criteria: Pairs, operations: Any, *, if_match: int | None = None) -> Done:
    """Patch the one that matches. Raises NotFound when none does, NotUnique when several do."""
    caller.who.require("patch", type)
    query = _criteria(hub, caller, type, criteria)
    assert query is not None
    with hub.store.read() as tx:
        found = _one(_search(tx, caller, query, hub.now()))
    if found is None:
        raise NotFound("nothing matches the criteria")
    return patch(hub, caller, type, found.id, operations, if_match=if_match)


def delete(hub: Hub, caller: Caller, type: str, id: str, *, if_match: int | None = None) -> Done:
    """Leaves a tombstone (410). Deleting what is deleted changes nothing."""
    caller.who.require("delete", type)
    ref = Ref(type, id)
    change = _change(caller, "delete", (Write(type, id, None, expect=if_match),))
    with hub.store.write() as tx:
        before = tx.plans.read(caller.who.viewer(hub.now()), ref)
        if before is None:
            raise _absent(ref)
        if before.deleted:
            return Done(204, before, wrote=False)
        done = _commit(hub, tx, caller, change, ref)
    return replace(done, status=204)


def conditional_delete(hub: Hub, caller: Caller, type: str, criteria: Pairs) -> Done:
    """Delete the one that matches; none matching is no error. Raises NotUnique when several match."""
    caller.who.require("delete", type)
    query = _criteria(hub, caller, type, criteria)
    assert query is not None
    with hub.store.write() as tx:
        found = _match(tx, caller, query, hub.now())
        if found is None:
            return Done(204, None, wrote=False)
        done = _commit(hub, tx, caller, _change(caller, "delete", (Write(type, found.id, None, expect=found.version),)), found.ref)
    return replace(done, status=204)


def validate(type: str | None, body: Any) -> list[Problem]:
    """Every problem that the checks find, else what the models of fhir.resources find; warnings too. Raises
    Malformed when there is no resource to look at."""
    if not isinstance(body, dict):
        raise Malformed("a resource is a JSON object")
    if body.get("resourceType") == "Parameters" and type != "Parameters":
        inner = next((p.get("resource") for p in body.get("parameter") or () if isinstance(p, dict) and p.get("name") == "resource"), None)
        if inner is None:
            raise Malformed("the Parameters hold no resource", path="Parameters.parameter", hint="name the parameter 'resource'")
        body = inner
    if not isinstance(body, dict) or not isinstance(body.get("resourceType"), str):
        raise Malformed("a resource has a resourceType")
    if type is not None and body["resourceType"] != type:
        raise Malformed(f"{body['resourceType'][:64]} was sent to {type}/$validate")
    if broken := checks.unrepresentable(body):
        return broken
    return (checks.check(body) or models.second_opinion(body)) + checks.warnings(body)


def etag_version(etag: str) -> int | None:
    """``W/"3"`` → 3, ``*`` → None (any version); what is none of our tags → -1, which no version has."""
    if etag.strip() == "*":
        return None
    found = re.fullmatch(r'\s*(?:W/)?"([1-9]\d{0,8})"\s*', etag)
    return int(found[1]) if found else -1


def _resource(type: str, body: Any) -> Resource:
    if not isinstance(body, dict):
        raise Malformed("a resource is a JSON object", hint=f'send {{"resourceType": "{type}", …}}')
    if "resourceType" not in body:
        raise Malformed("resourceType is missing", hint=f'send {{"resourceType": "{type}", …}}')
    if body["resourceType"] != type:
        raise Malformed(f"the body is not a {type}", path="resourceType", hint="send it to the address of its own type")
    return body


def _change(caller: Caller, activity: str, writes: tuple[Write, ...]) -> Change:
    return Change(writes, caller.who.agent(), Source("fhir"), reason=f"{activity} through FHIR", activity=activity)


def _checked(hub: Hub, caller: Caller, activity: str, write: Write) -> Change:
    return commit.check(_change(caller, activity, (write,)), lenient=_lenient(hub, caller))


def _lenient(hub: Hub, caller: Caller) -> bool:
    if caller.lenient is not None:
        return caller.lenient
    with hub.store.read() as tx:
        partner = tx.partners.get(caller.who.partner)
    return partner is not None and partner.lenient


def _commit(hub: Hub, tx: Tx, caller: Caller, change: Change, ref: Ref) -> Done:
    change = _claiming(tx, caller, change)
    existed = tx.plans.get(ref)
    committed = commit.commit(hub, tx, change, key=caller.who.key, correlation=caller.correlation)
    stored = committed.stored[ref]
    wrote = ref not in committed.unchanged
    if not wrote:
        stored = tx.plans.read(caller.who.viewer(hub.now()), ref) or stored
    return Done(201 if existed is None or existed.deleted else 200, stored, wrote, committed.reviews)


def _replacing(hub: Hub, tx: Tx, caller: Caller, change: Change) -> Change:
    """Guards for writes to an address: foreign and absent ids get one answer."""
    viewer = caller.who.viewer(hub.now())
    writes = []
    for write in change.writes:
        if tx.plans.read(viewer, write.ref) is None and write.body is not None:
            if not _may_choose(caller.who, write):
                _refuse_id(write)
            if tx.plans.get(write.ref) is not None:
                raise _absent(write.ref)
            if write.expect not in (None, 0):
                raise Stale(f"{write.ref} is not known here", hint="leave If-Match out to create it")
            write = replace(write, expect=0)
        writes.append(write)
    return replace(change, writes=tuple(writes))


def _may_choose(who: Principal, write: Write) -> bool:
    made_here = write.expect == 0
    return made_here or who.admin or write.id.startswith(f"{who.partner}.")


def _refuse_id(write: Write) -> NoReturn:
    raise Refused(
        Problem(
            "ids are given by the hub",
            f"{write.type}.id",
            f"POST {write.type}, or use conditional update: PUT {write.type}?identifier=system|value",
            "business-rule",
        )
    )


def _patched(before: Stored, operations: Any) -> Write:
    return Write(before.type, before.id, patching.apply(before.body, operations), expect=before.version)


def _stale(before: Stored) -> Stale:
    return Stale(
        f"{before.ref} is now version {before.version}", hint="read it again, apply your change to that, and send its ETag as If-Match"
    )


# ------------------------------------------------------------------------------------------------ criteria and claims


def _criteria(hub: Hub, caller: Caller, type: str, pairs: Pairs | None) -> Query | None:
    """The criteria of a conditional interaction. Raises Refused when they would select everything."""
    if pairs is None:
        return None
    caller.who.require("search-type", type)
    query = grammar.parse(type, tuple(pairs), strict=True, base_url=fhir_base(hub))
    if not query.tests and not query.ids and not query.updated:
        raise Refused("the criteria are empty", hint=f"write {type}?identifier=system|value")
    return replace(query, count=2, includes=(), sort=(), cursor=None, total=False)


def _match(tx: Tx, caller: Caller, query: Query, now: int) -> Stored | None:
    """The one that matches, under the lock of its criteria, so that identical conditional creates follow each other."""
    tx.plans.lock(_lock_key(query))
    return _one(_search(tx, caller, query, now))


def _lock_key(query: Query) -> str:
    return f"{query.type}?{sorted(query.used)!r}{sorted(query.ids)!r}{sorted(map(repr, query.tests))!r}"


def _one(page: Page) -> Stored | None:
    if len(page.matches) > 1:
        raise NotUnique("several match the criteria", hint="name one, by an identifier that it alone holds")
    return page.matches[0] if page.matches else None


def _settled(hub: Hub, tx: Tx, caller: Caller, write: Write, query: Query) -> Write:
    """A conditional update's write, aimed at what matches, else at a new id (R4 §3.1.0.4.3)."""
    found = _match(tx, caller, query, hub.now())
    assert write.body is not None
    own = write.body.get("id")
    if found is not None:
        if own is not None and own != found.id:
            raise Refused(Problem("the id in the body is not that of the resource that matches", f"{write.type}.id", "leave the id out"))
        return replace(write, id=found.id)
    if write.expect is not None:
        raise Stale("nothing matches the criteria, so no version of it can be current")
    return replace(write, expect=0) if own is None else replace(write, id=own)


def _retold(reviews: Iterable[Review], ref: Ref) -> list[Review]:
    return [replace(review, subject=ref, key=f"{review.kind}:{ref}") if review.kind == "invalid" else review for review in reviews]


def _claiming(tx: Tx, caller: Caller, change: Change) -> Change:
    """What each Patient and visit may claim. A number that another record holds is not claimed; a person decides whether
    the two are one, and the caller is not told (DECISIONS 5)."""
    writes: list[Write] = []
    reviews = list(change.reviews)
    for write in change.writes:
        claims: dict[tuple[str, str], None] = dict.fromkeys(write.claims or ())
        for identity in identities.of_resource(write.body) if write.body is not None else ():
            holder = tx.plans.holder(write.type, identity.system, identity.value)
            if holder == write.ref or (identity.claims and holder is None):
                claims[identity.system, identity.value] = None
            elif identity.claims and holder is not None:
                reviews.append(_same_number(caller, write, holder, identity.system))
        writes.append(replace(write, claims=tuple(claims)) if claims else write)
    return replace(change, writes=tuple(writes), reviews=tuple(reviews))


def _same_number(caller: Caller, write: Write, holder: Ref, system: str) -> Review:
    return Review(
        kind="identity",
        key=f"identity:{write.ref}:{holder}",
        what=f"{write.ref} and {holder} carry the same number",
        hint="Merge them if they are one; otherwise correct the number at its source",
        subject=write.ref,
        client=write.id if write.type == "Patient" else None,
        partner=caller.who.partner,
        detail={"candidates": [str(holder)], "system": system},
    )


# ------------------------------------------------------------------------------------------------ batch and transaction


def entries(hub: Hub, bundle: Resource) -> Sequence[Entry]:
    """The entries of a batch or transaction. Raises Malformed when this is none, TooLarge when it has too many."""
    rows = bundle.get("entry")
    if isinstance(rows, list) and len(rows) > hub.policy.bundle_entries:
        raise TooLarge(f"a Bundle has at most {hub.policy.bundle_entries} entries", path="Bundle.entry", hint="send several")
    return bundles.entries(bundle, base_url=fhir_base(hub), limit=hub.policy.bundle_entries)


def pairs_of(query: str) -> Pairs:
    """A query string, decoded. Raises Malformed when it is no UTF-8 or has too many parameters."""
    try:
        return tuple(parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100))
    except ValueError:
        raise Malformed("the query cannot be read", hint="encode it in UTF-8, with at most 100 parameters") from None


def criteria_of(text: str) -> Pairs:
    """The pairs of If-None-Exist: a query, with or without the type and ``?`` in front."""
    head, mark, query = text.partition("?")
    return pairs_of(query if mark and re.fullmatch("[A-Za-z]*", head) else text)


def batch(hub: Hub, caller: Caller, items: Sequence[Entry]) -> list[Answer]:
    """Each entry by itself, as if sent alone; answers in the order of the entries."""
    answers = []
    for entry in items:
        try:
            _readable(entry)
            answers.append(_alone(hub, caller, entry))
        except FhircaseError as error:
            answers.append(Answer(error.status, error=error))
    return answers


def _readable(entry: Entry) -> None:
    """Raises NotFound for an unknown type, Malformed for anything else that cannot be done with any data."""
    if entry.type and not definitions.is_resource(entry.type):
        raise NotFound(Problem(f"{entry.type[:64]} is no resource type of R4", entry.path, code="not-found"))
    if entry.problems:
        raise Malformed(entry.problems)
    if entry.operation:
        raise Refused(f"{entry.operation} cannot be called from a Bundle", path=entry.path)


def _alone(hub: Hub, caller: Caller, entry: Entry) -> Answer:
    type_, id_ = entry.type, entry.id
    tag = _tag(entry)
    if entry.method in ("GET", "HEAD"):
        return _get(hub, caller, entry)
    if entry.method == "POST":
        done = create(hub, caller, type_, entry.resource, if_none_exist=_none_exist(entry))
    elif entry.method == "PUT" and id_:
        done = update(hub, caller, type_, id_, entry.resource, if_match=tag)
    elif entry.method == "PUT":
        done = conditional_update(hub, caller, type_, pairs_of(entry.query), entry.resource, if_match=tag)
    elif entry.method == "PATCH" and id_:
        done = patch(hub, caller, type_, id_, patching.of_binary(entry.resource), if_match=tag)
    elif entry.method == "PATCH":
        done = conditional_patch(hub, caller, type_, pairs_of(entry.query), patching.of_binary(entry.resource), if_match=tag)
    elif id_:
        done = delete(hub, caller, type_, id_, if_match=tag)
    else:
        done = conditional_delete(hub, caller, type_, pairs_of(entry.query))
    return Answer(done.status, done.stored if done.status != 204 else None)


def _tag(entry: Entry) -> int | None:
    return etag_version(entry.if_match) if entry.if_match else None


def _none_exist(entry: Entry) -> Pairs | None:
    return criteria_of(entry.if_none_exist) if entry.if_none_exist else None


_READ = re.compile(r"/?([A-Z][A-Za-z]+)(?:/([A-Za-z0-9\-.]{1,64}))?(?:/(_history)(?:/([1-9]\d{0,8}))?)?(?:\?(.*))?", re.DOTALL)


def _get(hub: Hub, caller: Caller, entry: Entry) -> Answer:
    type_, id_, past, version, query = _wanted(hub, entry)
    if id_ and version:
        return Answer(200, vread(hub, caller, Ref(type_, id_), int(version)))
    if past:
        return Answer(200, found=(None, history(hub, caller, type_, id_ or None)))
    if id_:
        return Answer(200, read(hub, caller, Ref(type_, id_)))
    return Answer(200, found=search(hub, caller, type_, pairs_of(query)))


def _wanted(hub: Hub, entry: Entry) -> tuple[str, str, str, str, str]:
    """type, id, '_history' or '', version, query of a GET."""
    found = _READ.fullmatch(entry.url.removeprefix(fhir_base(hub)))
    if found is None or not definitions.is_resource(found[1]) or (found[4] and not found[2]):
        raise NotFound(Problem("the url leads nowhere", f"{entry.path}.request.url", "Type, Type/id or Type?criteria", "not-found"))
    return found[1], found[2] or "", found[3] or "", found[4] or "", found[5] or ""


@dataclass(slots=True)
class _Step:
    """An entry of a transaction on its way: checked, then aimed at an id."""

    entry: Entry
    write: Write | None = None
    query: Query | None = None
    found: Stored | None = None
    drafted: Ref | None = None


def transaction(hub: Hub, caller: Caller, items: Sequence[Entry]) -> list[Answer]:
    """All entries or none, in one commit: deletions, creations, updates, then reads (R4 §3.1.0.11.2). References to the
    ``fullUrl`` of another entry and conditional references (``Patient?identifier=…``) are replaced. Raises the error of
    the first step that fails, its place in the Bundle named."""
    lenient = _lenient(hub, caller)
    steps = [_Step(entry) for entry in items]
    _once(items)
    problems: list[Problem] = []
    reviews: list[Review] = []
    for step in steps:
        try:
            _readable(step.entry)
            reviews += _prepare(hub, caller, step, lenient)
            step.drafted = step.write.ref if step.write is not None else None
        except Invalid as error:
            problems += _placed(error, step.entry.index)
        except FhircaseError as error:
            raise type(error)(_placed(error, step.entry.index)) from None
    if problems:
        raise Invalid(problems)
    with hub.store.write() as tx:
        change = _aimed(hub, tx, caller, steps, reviews)
        existing = tx.plans.get_many([step.write.ref for step in steps if step.write is not None])
        before = {ref: stored for ref, stored in existing.items() if not stored.deleted}
        stored: Mapping[Ref, Stored] = {}
        if change.writes:
            committed = commit.commit(hub, tx, _claiming(tx, caller, change), key=caller.who.key, correlation=caller.correlation)
            stored = committed.stored
        return [_told(hub, tx, caller, step, before, stored) for step in steps]


def _once(items: Sequence[Entry]) -> None:
    """Raises Malformed for two entries of one fullUrl, resource or criteria (R4 §3.1.0.11.2)."""
    try:
        bundles.plan([replace(entry, problems=()) for entry in items if entry.method])
    except Invalid as error:
        raise Malformed(error.problems) from None


def _placed(error: FhircaseError, index: int) -> list[Problem]:
    return [replace(problem, path=_under(problem.path, index)) for problem in error.problems]


def _under(path: str, index: int) -> str:
    here = f"Bundle.entry[{index}]"
    if path.startswith(here):
        return path
    head, dot, rest = path.partition(".")
    return f"{here}.resource{dot}{rest}" if head[:1].isupper() else here


def _prepare(hub: Hub, caller: Caller, step: _Step, lenient: bool) -> Sequence[Review]:
    """What can be done before the writer is held: scopes, criteria, checks. Returns reviews of lenient content."""
    entry, who = step.entry, caller.who
    if entry.method in ("GET", "HEAD"):
        return ()
    if entry.method == "POST":
        who.require("create", entry.type)
        step.query = _criteria(hub, caller, entry.type, _none_exist(entry))
        step.write = Write(entry.type, hub.ids.new(), _found(hub, caller, _resource(entry.type, entry.resource)), expect=0)
        activity = "create"
    elif entry.method == "PUT":
        who.require("update", entry.type)
        published.keep(hub, Ref(entry.type, entry.id))
        resource = _found(hub, caller, _resource(entry.type, entry.resource))
        step.query = _criteria(hub, caller, entry.type, pairs_of(entry.query)) if not entry.id else None
        step.write = Write(entry.type, entry.id or hub.ids.new(), resource, expect=_tag(entry))
        activity = "update"
    elif entry.method == "PATCH":
        who.require("patch", entry.type)
        if not entry.id:
            raise Refused("conditional patch inside a transaction is not supported", hint="name the id")
        with hub.store.read() as tx:
            before = _seen(tx, who.viewer(hub.now()), Ref(entry.type, entry.id))
        if _tag(entry) not in (None, before.version):
            raise _stale(before)
        step.write = _patched(before, patching.of_binary(entry.resource))
        activity = "patch"
    else:
        who.require("delete", entry.type)
        step.query = _criteria(hub, caller, entry.type, pairs_of(entry.query)) if not entry.id else None
        step.write = Write(entry.type, entry.id or hub.ids.new(), None, expect=_tag(entry))
        return ()
    return commit.check(_change(caller, activity, (step.write,)), lenient=lenient).reviews


def _aimed(hub: Hub, tx: Tx, caller: Caller, steps: Sequence[_Step], reviews: Sequence[Review]) -> Change:
    """The Change of a whole transaction: criteria are settled, ids known, references rewritten."""
    viewer = caller.who.viewer(hub.now())
    assigned: dict[int, str] = {}
    aimed: dict[Ref, int] = {}
    criteria: dict[str, int] = {}
    for step in sorted((s for s in steps if s.query is not None), key=lambda s: _lock_key(s.query) if s.query else ""):
        assert step.query is not None  # locks are taken in one order, so that two transactions cannot wait for each other
        tx.plans.lock(_lock_key(step.query))
    for step in steps:
        entry = step.entry
        if step.write is None:
            continue
        try:
            if step.query is not None:
                key = _lock_key(step.query)
                if key in criteria:
                    raise Refused(
                        f"the same criteria stand in entry {criteria[key]}", hint="let one entry create it, and refer to its fullUrl"
                    )
                criteria[key] = entry.index
                _settle_step(hub, tx, caller, step)
            elif step.write.body is None:
                before = tx.plans.read(viewer, step.write.ref)
                if before is None:
                    raise _absent(step.write.ref)
                if before.deleted:
                    step.write, step.found = None, before
            if step.write is not None and entry.method in ("PUT", "PATCH"):
                step.write = _replacing(hub, tx, caller, _change(caller, "update", (step.write,))).writes[0]
        except FhircaseError as error:
            raise type(error)(_placed(error, entry.index)) from None
        target = step.write.ref if step.write is not None else step.found.ref if step.found is not None else None
        if target is None:
            continue
        if step.write is not None:
            if target in aimed:
                raise Refused(f"entries {aimed[target]} and {entry.index} are about the same resource", path=f"Bundle.entry[{entry.index}]")
            aimed[target] = entry.index
        if step.write is None or step.write.body is not None:
            assigned[entry.index] = str(target)
    names = bundles.full_urls([step.entry for step in steps], assigned, base_url=fhir_base(hub))
    settled = {step.drafted: step.write.ref for step in steps if step.write is not None}
    for step in steps:
        if step.write is not None and step.write.body is not None:
            body = bundles.relinked(step.write.body, names)
            _all_named(body, step.entry.index)
            step.write = replace(step.write, body=body)
    order = {"Patient": 0, "EpisodeOfCare": 1}
    writes = sorted((s.write for s in steps if s.write is not None), key=lambda w: (w.body is not None, order.get(w.type, 2)))
    kept = [told for review in reviews if review.subject in settled for told in _retold([review], settled[review.subject])]
    return replace(_change(caller, "transaction", tuple(writes)), reviews=tuple(kept))


def _settle_step(hub: Hub, tx: Tx, caller: Caller, step: _Step) -> None:
    assert step.query is not None and step.write is not None
    if step.entry.method == "PUT":
        step.write = _settled(hub, tx, caller, step.write, step.query)
        return
    found = _one(_search(tx, caller, step.query, hub.now()))
    if step.entry.method == "POST":
        if found is not None:
            step.write, step.found = None, found
    elif found is None:
        step.write = None
    else:
        step.write = replace(step.write, id=found.id)


def _found(hub: Hub, caller: Caller, resource: Resource) -> Resource:
    """Conditional references (``Patient?identifier=…``) as what they find (R4 §3.1.0.11.2.1)."""

    def find(text: str) -> str:
        criteria = _CONDITIONAL.fullmatch(text)
        if criteria is None or not definitions.is_resource(criteria[1]):
            return text
        query = _criteria(hub, caller, criteria[1], pairs_of(criteria[2]))
        assert query is not None
        with hub.store.read() as tx:
            found = _one(_search(tx, caller, query, hub.now()))
        if found is None:
            hint = "create it first, or in this Bundle with a fullUrl"
            raise NotUnique(Problem("a conditional reference matches nothing", resource["resourceType"], hint, "not-found"))
        return str(found.ref)

    return refs.rewrite(resource, find)


def _all_named(resource: Resource, index: int) -> None:
    """Raises Refused for a reference that should name an entry of the Bundle and names none."""
    for path, reference in refs.references(resource):
        if str(reference.get("reference", "")).startswith(_URN):
            raise Refused(
                Problem(
                    "a reference names no entry of this Bundle",
                    _under(path, index),
                    "give that entry this fullUrl, or refer by identifier",
                    "not-found",
                )
            )


def _told(hub: Hub, tx: Tx, caller: Caller, step: _Step, before: Mapping[Ref, Stored], stored: Mapping[Ref, Stored]) -> Answer:
    entry = step.entry
    if entry.method == "DELETE":
        return Answer(204)
    if step.write is not None:
        written = stored[step.write.ref]
        return Answer(200 if step.write.ref in before else 201, written)
    if step.found is not None:
        return Answer(200, step.found)
    try:
        return _get_within(hub, tx, caller, entry)
    except FhircaseError as error:
        raise type(error)(_placed(error, entry.index)) from None


def _get_within(hub: Hub, tx: Tx, caller: Caller, entry: Entry) -> Answer:
    """A read of a transaction sees what the transaction wrote."""
    viewer = caller.who.viewer(hub.now())
    type_, id_, past, _, query_text = _wanted(hub, entry)
    if past:
        raise MethodNotAllowed("a history cannot be read inside a transaction", hint="send it in a batch")
    if id_:
        ours = published.read(hub, Ref(type_, id_))
        if ours is not None:
            return Answer(200, ours)
        caller.who.require("read", type_)
        return Answer(200, _seen(tx, viewer, Ref(type_, id_)))
    caller.who.require("search-type", type_)
    query = grammar.parse(type_, pairs_of(query_text), strict=True, base_url=fhir_base(hub))
    return Answer(200, found=(query, _search(tx, caller, query, hub.now())))
