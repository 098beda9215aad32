"""What must be sent, and what came from them: pure functions of the shadows (RELIABILITY §2).

``stored``: what the partner's answer said that it holds, the base for "did they change it?". ``sent``: what we last meant it
to hold, the base for "must we write?". ``pend``: what we tried to write, saved before the request, for lost answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from fhircase.plans import merge
from fhircase.plans.change import Resource
from fhircase.sync import shadow


class Landed(Enum):
    """Whether a write whose answer was lost took effect, where no version proves that it did."""

    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Version:
    """One version of their copy: ``etag`` its versionId, ``updated`` their lastUpdated, ``body`` a shadow in our terms."""

    etag: str | None
    updated: str | None
    body: Resource


@dataclass(frozen=True, slots=True)
class Judgement:
    """``merged``: our essence with what they changed; ``taken`` the elements that changed by it; ``clashes`` for a person;
    ``stored`` and ``sent`` the shadows after it."""

    merged: Resource
    taken: frozenset[str]
    clashes: tuple[merge.Clash, ...]
    stored: Resource
    sent: Resource


def unsent(form: Resource, sent: Resource | None, held: frozenset[str] = frozenset()) -> frozenset[str]:
    """Elements that the partner does not have as we mean them: empty is "no write" (I3)."""
    return shadow.differing(form, sent, held)


def meant(form: Resource, sent: Resource | None, held: frozenset[str]) -> Resource:
    """What we now mean the copy to hold: ``form``, but held elements as they were meant before (DECISIONS 11)."""
    if sent is None:
        return form
    for element in held:
        form = shadow.with_part(form, element, sent)
    return form


def written(form: Resource, stored: Resource | None, sent: Resource | None) -> Resource:
    """What to write so that ``form`` arrives and what the partner holds besides stays (IHE DCP: "leaving everything else
    intact"). Without a copy it is ``form``."""
    if stored is None:
        return form
    # A copy is kept with local references where ours has them: beside a logical one of the form it would be another entry.
    return merge.overlay(form, shadow.logical(shadow.bare(stored), form, sent), sent)


def landed(
    pend: Resource,
    stored: Resource | None,
    sent: Resource | None,
    etag: str | None,
    history: Sequence[Version] | None,
    dropped: frozenset[str],
    now: Version,
) -> Resource | Landed:
    """Did the write of ``pend`` arrive? The version that it became (as they stored it), else NO or UNKNOWN.

    ``history`` None: the partner keeps none that can be read. Only a version proves it. Elements that this partner is known to
    keep otherwise than sent are left out of the comparison; so is the order in which a history comes. Where versions are
    numbers and only one was made since, there is nothing to guess without a history either. Whether a reference was logical
    or literal does not count: ours may have changed since, and with it what a logical one is read as."""
    expected = shadow.logical(written(pend, stored, sent))
    otherwise = dropped
    if stored is not None and sent is not None:
        otherwise |= shadow.differing(shadow.logical(shadow.bare(stored)), shadow.logical(sent))
    candidates = history
    if candidates is None or (history is not None and all(v.etag != now.etag for v in history)):
        if _step(etag, now.etag) == 1:
            candidates = (now,)
        else:
            return Landed.UNKNOWN
    for version in candidates:
        if version.etag == etag:
            continue
        if not shadow.differing(shadow.logical(shadow.bare(version.body)), expected, otherwise):
            if etag is None or _step(etag, version.etag) is None or (_step(etag, version.etag) or 0) > 0:
                return version.body
    return Landed.NO


def judge(
    ours: Resource,
    theirs: Resource,
    *,
    stored: Resource | None,
    sent: Resource | None,
    pend: Resource | None,
    arrived: Resource | Landed,
    held: frozenset[str],
    form: Callable[[Resource], Resource],
    authority: merge.Authority | None = None,
) -> Judgement:
    """What came from them. ``ours`` is our essence, ``theirs`` a shadow of their copy in our terms, ``form`` turns an essence
    into the partner's form (logical references), ``arrived`` is what ``landed`` said (NO when nothing was pending)."""
    seen = shadow.bare(theirs)
    doubtful: frozenset[str] = frozenset()
    base, base_sent = shadow.bare(stored), sent or {}
    if isinstance(arrived, dict):
        base, base_sent = shadow.bare(arrived), pend or {}
    elif arrived is Landed.UNKNOWN and pend is not None:
        # An element that now is as we tried to write it needs no answer; one that is as it was before may be unwritten, or
        # written and put back by them: a person decides, nothing is lost.
        same = frozenset(element for element in shadow.differing(pend, base) if shadow.part(seen, element) == shadow.part(pend, element))
        for element in same:
            base, base_sent = shadow.with_part(base, element, seen), shadow.with_part(base_sent, element, pend)
        doubtful = frozenset(
            element for element in shadow.differing(pend, sent) - same if shadow.part(seen, element) == shadow.part(base, element)
        )
    # What a logical reference is read as follows ours, which has moved on since the base was read: neither is an edit of theirs.
    base = shadow.literal(base, seen)
    seen = shadow.literal(seen, base)
    result = merge.merge(
        ours, seen, base, meant=shadow.literal(base_sent, ours), held=held, doubtful=doubtful, authority=authority
    )
    after = base_sent
    theirs_form: Resource | None = None
    for element in shadow.differing(seen, base):
        if theirs_form is None:
            theirs_form = form(seen)
        after = shadow.with_part(after, element, theirs_form)
    for element in doubtful:
        after = shadow.with_part(after, element, seen)
    after = {**after, "resourceType": ours.get("resourceType")}
    return Judgement(result.resource, result.taken, result.clashes, theirs, after)


def behind(etag: str | None, updated: str | None, now_etag: str | None, now_ms: int | None, was_ms: int | None, slack_ms: int) -> bool:
    """Whether a copy is older than what we know it held: the partner was restored from a backup (DECISIONS 23). A lower
    number, or an earlier time by more than ``slack_ms`` under another version (clocks in a cluster drift)."""
    step = _step(etag, now_etag)
    if step is not None:
        return step < 0
    if now_etag == etag or now_ms is None or was_ms is None:
        return False
    return now_ms < was_ms - slack_ms


def mass(deleted: int, linked: int) -> bool:
    """Whether so many of ``linked`` copies are gone that a person must look first: more than 5, or more than a tenth where
    that is more than one."""
    return deleted > 5 or (deleted > 1 and deleted * 10 > linked)


def version_of(etag: str | None) -> str | None:
    """The versionId in an ETag: ``W/"3"`` → ``3``."""
    if etag is None:
        return None
    return etag.removeprefix("W/").strip('"') or None


def _step(before: str | None, after: str | None) -> int | None:
    """How many versions lie between, where versionIds are numbers."""
    if before is None or after is None or not before.isascii() or not before.isdigit() or not after.isascii() or not after.isdigit():
        return None
    return int(after) - int(before)


