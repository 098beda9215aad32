"""Take in what a partner's copy now says: judge it by the shadows, join it with ours, and commit the result as the
partner's own write (DECISIONS 2, 11, 13). Whatever cannot be joined stays untouched on both sides until a person settles it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fhircase.errors import Refused, Stale
from fhircase.fhir import checks, jsontext
from fhircase.flows import commit as commits
from fhircase.flows.hub import Hub
from fhircase.flows.talk import etag_in, same_version, updated_in
from fhircase.flows.terms import Terms
from fhircase.plans.change import WHOLE, Agent, Change, Ref, Resource, Review, Source, Write
from fhircase.plans.merge import Clash
from fhircase.plans.partner import Partner
from fhircase.ports import Exchange, Lane, Link, Stored, Tx
from fhircase.sync import judge, shadow
from fhircase.sync.dialect import Dialect

TRIES = 8


class LaneLost(Exception):
    """Another worker owns the lane: what this one found out must not be recorded."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A partner's copy as just read past every cache: ``raw`` as sent, ``etag``, and its versions (``history``, None where
    the partner keeps none)."""

    raw: Resource
    etag: str | None
    history: Sequence[Resource] | None = None

    @property
    def remote(self) -> str:
        return str(self.raw["id"])


Absorbed = Literal["same", "taken", "clash", "moved", "absent"]


def absorb(
    hub: Hub,
    partner: Partner,
    dialect: Dialect,
    ref: Ref,
    copy: Copy,
    *,
    exchanges: Sequence[Exchange] = (),
    correlation: str = "",
    lane: Lane | None = None,
) -> Absorbed:
    """Bring our resource, the shadows and the marks up to ``copy``.

    ``lane``: the delivery lane that asks, which alone may do so while a write's outcome is unknown (``Link.pend``); its lease is
    renewed in the same transaction. Without it a link with a pending write is left alone ("moved"). Raises LaneLost."""
    denied = False
    for _ in range(TRIES):
        with hub.store.read() as tx:
            draft = _draft(hub, tx, partner, dialect, ref, copy, correlation)
        if draft is None:
            return "absent"
        if draft.link.pend is not None and lane is None:
            return "moved"
        try:
            with hub.store.write() as tx:
                return _record(hub, tx, partner, dialect, draft, exchanges, correlation, lane, denied)
        except Stale:
            continue
        except Refused:
            denied = True  # the transaction is gone; once more, with a question to a person in place of the write
        except _Moved:
            if lane is None:
                return "moved"
    return "moved"


class _Moved(Exception):
    """The link changed between reading and writing."""


@dataclass(frozen=True, slots=True)
class _Draft:
    link: Link
    known: Link | None
    stored: Stored
    copy: Copy
    judgement: judge.Judgement
    body: Resource | None
    broken: tuple[Clash, ...]


def _draft(hub: Hub, tx: Tx, partner: Partner, dialect: Dialect, ref: Ref, copy: Copy, correlation: str) -> _Draft | None:
    stored = tx.plans.get(ref)
    if stored is None:
        return None
    known = tx.links.get(partner.name, ref)
    link = known or Link(partner.name, ref)
    terms = Terms(tx, partner, dialect, hub.now())
    held = tx.reviews.holds([ref]).get(ref, frozenset())
    base_url = partner.base_url or ""
    ours_full = {} if stored.deleted else stored.body
    ours = shadow.essence(ours_full) if ours_full else (shadow.bare(link.sent) or {"resourceType": ref.type})

    def version(raw: Resource) -> judge.Version:
        body = shadow.incoming(raw, ref, terms.local_of, base_url=base_url, ours=ours)
        return judge.Version(judge.version_of(etag_in(raw)), updated_in(raw), shadow.shadow(body))

    now = version(copy.raw)
    arrived: Resource | judge.Landed = judge.Landed.NO
    if link.pend is not None:
        past = None if copy.history is None else [version(raw) for raw in copy.history]
        arrived = judge.landed(
            link.pend, link.stored, link.sent, judge.version_of(link.etag), past, dialect.dropped(ref.type),
            replace(now, etag=judge.version_of(copy.etag) or now.etag),
        )  # fmt: skip
        if link.remote is None and not isinstance(arrived, dict):
            arrived = _first(copy, past, now) if shadow.claimed(copy.raw) == ref else arrived
    found = judge.judge(
        ours,
        now.body,
        stored=link.stored,
        sent=link.sent,
        pend=link.pend,
        arrived=arrived,
        held=held,
        form=lambda body: shadow.outgoing(body, terms.known),
    )
    if stored.deleted:
        clashes = tuple(Clash(element, element, {}, shadow.part(now.body, element)) for element in sorted(found.taken))
        found = replace(found, taken=frozenset(), clashes=clashes)
        return _Draft(link, known, stored, copy, found, None, ())
    body, broken = _lawful(ours_full, found)
    return _Draft(link, known, stored, copy, found, body, broken)


def _first(copy: Copy, past: Sequence[judge.Version] | None, now: judge.Version) -> Resource | judge.Landed:
    """A copy that carries our identifier was made by us: its first version is what we sent, whatever became of it since."""
    if not past:
        return judge.Landed.UNKNOWN
    numbered = [(int(version.etag), version) for version in past if version.etag and version.etag.isdigit()]
    if len(numbered) == len(past):
        return min(numbered, key=lambda item: item[0])[1].body
    timed = [version for version in past if version.updated]
    if len(timed) == len(past):
        first = min(str(version.updated) for version in timed)
        at_first = [version for version in timed if version.updated == first]
        if len(at_first) == 1:
            return at_first[0].body
    return now.body if len(past) == 1 else judge.Landed.UNKNOWN


def _lawful(ours: Resource, found: judge.Judgement) -> tuple[Resource | None, tuple[Clash, ...]]:
    """Our resource with what they changed, less elements that would break the checks: these stay ours, and clash."""
    if not found.taken:
        return None, ()
    was = {(p.path, p.what) for p in checks.check(ours) if p.severity == "error"}
    taken, broken = found.taken, frozenset[str]()
    body = shadow.onto(ours, found.merged, taken)
    for _ in range(2):
        wrong = [p for p in checks.check(body) if p.severity == "error" and (p.path, p.what) not in was]
        if not wrong:
            break
        blamed = frozenset(element for element in taken if any(_names(p.path, element) for p in wrong)) or taken
        broken |= blamed
        taken -= blamed
        body = shadow.onto(ours, found.merged, taken)
    else:
        broken, taken, body = found.taken, frozenset(), dict(ours)
    clashes = tuple(_clash(element, ours, found.stored) for element in sorted(broken))
    return (body if taken else None), clashes


def _names(path: str, element: str) -> bool:
    """Whether a FHIRPath (``Goal.target[0].due``) lies in a top-level element; a choice is named without its type."""
    parts = path.split(".")
    first = (parts[1] if len(parts) > 1 else "").partition("[")[0]
    return first == element or (bool(first) and element.startswith(first) and element[len(first) : len(first) + 1].isupper())


def _record(
    hub: Hub,
    tx: Tx,
    partner: Partner,
    dialect: Dialect,
    draft: _Draft,
    exchanges: Sequence[Exchange],
    correlation: str,
    lane: Lane | None,
    denied: bool,
) -> Absorbed:
    ref, found, copy = draft.stored.ref, draft.judgement, draft.copy
    standing = tx.links.get(partner.name, ref)
    if not _unmoved(standing, draft.known):
        raise _Moved
    now = hub.now()
    if lane is not None and not tx.outbox.renew(lane, now, hub.policy.lease_ms):
        raise LaneLost
    reviews = [_review(partner, draft.stored, clash, copy, "conflict") for clash in found.clashes]
    reviews += [_review(partner, draft.stored, clash, copy, "invalid") for clash in draft.broken]
    outcome: Absorbed = "clash" if reviews else "same"
    after = draft.stored
    if draft.body is not None and denied:
        ours = draft.stored.body
        reviews += [_review(partner, draft.stored, _clash(e, ours, found.stored), copy, "widening") for e in sorted(found.taken)]
        outcome = "clash"
    elif draft.body is not None:
        source = Source("partner", identifier=_told_by(partner, ref, copy), at=updated_in(copy.raw))
        change = Change(
            writes=(Write(ref.type, ref.id, draft.body, expect=draft.stored.version),),
            agent=Agent(partner.name),
            source=source,
            reason=f"{partner.title or partner.name} changed {', '.join(sorted(found.taken))}",
            activity="collect",
        )
        held = tx.reviews.holds([ref]).get(ref, frozenset())
        after = commits.commit(hub, tx, change, correlation=correlation).stored[ref]
        outcome = "taken"
        if WHOLE in held and not any(p.severity == "error" for p in checks.check(after.body)):
            _corrected(hub, tx, after)
        wanted, is_now = shadow.essence(draft.body), shadow.essence(after.body)
        put_back = shadow.differing(wanted, is_now) - held - tx.reviews.holds([ref]).get(ref, frozenset())
        reviews += [_review(partner, after, _clash(e, is_now, found.stored), copy, "widening") for e in sorted(put_back)]
    for review in reviews:
        tx.reviews.open(review, id=hub.ids.new(), at=now)
    link = replace(
        draft.link,
        remote=copy.remote,
        etag=copy.etag or etag_in(copy.raw),
        updated=updated_in(copy.raw),
        stored=found.stored,
        sent=found.sent,
        pend=None,
        state=draft.link.state if draft.link.state in ("live", "ended") else "live",
    )
    tx.links.save([link])
    detail = {"taken": sorted(found.taken), "clashes": sorted({r.holds for r in reviews if r.holds})}
    made = Exchange(partner.name, now, "in", "TAKE", str(ref), f"{ref.type}/{copy.remote}", 200, outcome, correlation, detail)
    tx.ledger.add([*exchanges, made])
    if _needs(tx, partner, dialect, now, after, link):
        tx.outbox.mark(partner, [(ref, after.client)])
    return outcome


def _corrected(hub: Hub, tx: Tx, stored: Stored) -> None:
    """It broke the checks, was stored as sent, and is now right at its source: nobody needs to look any more."""
    for item in tx.reviews.list(kind="invalid", client=stored.client, count=200)[0]:
        if item.review.subject == stored.ref and item.review.holds == WHOLE:
            tx.reviews.settle(item.id, at=hub.now(), by="hub", resolution={"corrected": stored.version})
    for partner in tx.partners.all():
        if partner.base_url and Terms(tx, partner, Dialect.of(partner.dialect), hub.now()).allowed(stored):
            tx.outbox.mark(partner, [(stored.ref, stored.client)])


def _clash(element: str, ours: Resource, theirs: Resource) -> Clash:
    return Clash(element, element, shadow.part(ours, element), shadow.part(theirs, element))


def _needs(tx: Tx, partner: Partner, dialect: Dialect, now: int, stored: Stored, link: Link) -> bool:
    """Whether the partner now lacks something of ours, so that its lane must look."""
    if link.state != "live" or stored.deleted:
        return stored.deleted and link.state == "live"
    terms = Terms(tx, partner, dialect, now)
    held = tx.reviews.holds([stored.ref]).get(stored.ref, frozenset())
    form = shadow.outgoing(stored.body, terms.known)
    return bool(judge.unsent(judge.meant(form, link.sent, held), link.sent, held)) and terms.allowed(stored)


def _unmoved(a: Link | None, b: Link | None) -> bool:
    if a is None or b is None:
        return a is b
    if a.remote != b.remote or a.state != b.state or (a.pend is None) != (b.pend is None):
        return False
    return a.etag == b.etag or same_version(a.etag, b.etag)


def _told_by(partner: Partner, ref: Ref, copy: Copy) -> str:
    version = judge.version_of(copy.etag) or judge.version_of(etag_in(copy.raw)) or "1"
    return f"{(partner.base_url or '').rstrip('/')}/{ref.type}/{copy.remote}/_history/{version}"


def _review(partner: Partner, stored: Stored, clash: Clash, copy: Copy, kind: str) -> Review:
    words = {
        "conflict": (
            f"{clash.element} was changed here and by {partner.name}",
            "Choose one of the values, or write another; both sides keep theirs until then",
        ),
        "invalid": (
            f"{partner.name} changed {clash.element} to something that breaks the checks",
            "Correct it there or here; both sides keep theirs until then",
        ),
        "widening": (
            f"{partner.name} may not change {clash.element} here",
            "Make the change yourself, or settle this and ours is sent again",
        ),
    }
    what, hint = words[kind]
    return Review(
        kind=kind,
        key=f"sync:{partner.name}:{stored.ref}:{clash.element}",
        what=what,
        hint=hint,
        subject=stored.ref,
        client=stored.client,
        case=stored.case,
        partner=partner.name,
        holds=clash.element,
        detail={
            "element": clash.element,
            "path": clash.path,
            "ours": jsontext.dumps(clash.ours),
            "theirs": jsontext.dumps(clash.theirs),
            "version": judge.version_of(copy.etag) or "",
            "updated": updated_in(copy.raw) or "",
        },
    )
