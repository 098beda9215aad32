"""Which client is this? (DECISIONS 5 and 8). Never a silent guess: only numbers given by an assigning authority decide,
and where they contradict each other or the person, the sender's client gets a record of its own and a person is asked.

**A clash on the same number** (birth date *and* family name differ) is either a recycled or mistyped number, or the true
name of somebody admitted as unknown. Putting a stranger's discharge into a client's plan shows it to every partner and
cannot be called back, so the event goes to a record of its own, without a claim, and a review offers to merge the two.
One thing overrules that: when the visit itself is already this client's, two numbers agree (record and visit), the news
is a correction, and it is applied; the review still tells."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fhircase.plans.change import Ref, Resource, Review

Number = tuple[str, str]
"""An identifier: (system, value)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A Patient that may be the one. ``claimed``: the numbers of the message that it holds the claim to (of itself, or of
    a record merged into it); ``borne``: those it bears as identifiers, claimed or not."""

    ref: Ref
    body: Resource
    claimed: frozenset[Number] = frozenset()
    borne: frozenset[Number] = frozenset()


@dataclass(frozen=True, slots=True)
class Decision:
    """``ref`` the matched Patient, None: make one. ``claims`` the numbers that the record may claim newly. ``linked``:
    one of the numbers had already been this client's (DECISIONS 8). ``doubt`` a review to open, its subject is filled in
    by the caller once the record has an id."""

    kind: Literal["match", "create", "review"]
    ref: Ref | None
    claims: tuple[Number, ...] = ()
    linked: bool = False
    doubt: Review | None = None


def decide(
    numbers: Sequence[Number],
    candidates: Iterable[Candidate],
    drafted: Mapping[str, Any],
    *,
    visit_client: Ref | None = None,
    partner: str = "",
) -> Decision:
    """``numbers`` are the claiming identifiers that the sender gives; ``candidates`` every Patient that claims or bears one;
    ``drafted`` the Patient as the message alone describes it; ``visit_client`` whose the visit already is, if it is
    known. Pure; the same message decides the same way each time, also when it has made an own record before."""
    found = sorted(candidates, key=lambda c: (c.ref.type, c.ref.id))
    holders = [c for c in found if c.claimed]
    taken = {number for c in holders for number in c.claimed}
    free = tuple(number for number in dict.fromkeys(numbers) if number not in taken)
    if not numbers:
        if visit_client is not None:
            return Decision("match", visit_client, linked=True)
        return Decision(
            "create", None, doubt=_doubt("unnumbered", partner, numbers, found, "a client without a number of an assigning authority")
        )
    if not holders:
        if visit_client is not None:
            body = next((c.body for c in found if c.ref == visit_client), {})
            held = {i.get("system") for i in body.get("identifier") or ()}
            if not any(system in held for system, _ in numbers):
                return Decision("match", visit_client, claims=free, linked=True)
            doubt = _doubt("renumbered", partner, numbers, found, "the visit is known under another client number")
            return Decision("review", visit_client, linked=True, doubt=doubt)
        return Decision("create", None, claims=free)
    if len(holders) > 1:
        doubt = _doubt("contradiction", partner, numbers, found, "the numbers of one client belong to different clients here")
        if visit_client is not None and any(c.ref == visit_client for c in holders):
            return Decision("review", visit_client, linked=True, doubt=doubt)
        return Decision("review", _own(numbers, found, drafted), doubt=doubt)
    holder = holders[0]
    if clash(holder.body, drafted):
        doubt = _doubt("clash", partner, numbers, found, "family name and birth date differ from those of the client with this number")
        if visit_client == holder.ref:
            return Decision("review", holder.ref, claims=free, linked=True, doubt=doubt)
        return Decision("review", _own(numbers, found, drafted), doubt=doubt)
    if visit_client is not None and visit_client != holder.ref:
        doubt = _doubt("visit", partner, numbers, found, "the visit is known for another client than the one with this number")
        return Decision("review", holder.ref, claims=free, linked=True, doubt=doubt)
    return Decision("match", holder.ref, claims=free, linked=True)


def clash(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two Patients differ in both birth date (to the precision that both give) and every family name. One alone is
    a marriage or a typing error; what one side does not say does not differ."""
    born = (str(a.get("birthDate") or ""), str(b.get("birthDate") or ""))
    shared = min(map(len, born))
    if not shared or born[0][:shared] == born[1][:shared]:
        return False
    families = _families(a), _families(b)
    return bool(families[0] and families[1]) and not families[0] & families[1]


def _families(patient: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(
        folded for name in patient.get("name") or () if isinstance(name, dict) and (folded := _folded(str(name.get("family") or "")))
    )


def _folded(text: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.sub(r"[\W_]+", "", plain.casefold())


def _own(numbers: Sequence[Number], candidates: Sequence[Candidate], drafted: Mapping[str, Any]) -> Ref | None:
    """The record that an earlier message of the same doubt made: it bears all the numbers, claims none, and does not clash."""
    wanted = frozenset(numbers)
    for candidate in candidates:
        if not candidate.claimed and candidate.borne >= wanted and not clash(candidate.body, drafted):
            return candidate.ref
    return None


def _doubt(kind: str, partner: str, numbers: Sequence[Number], candidates: Sequence[Candidate], what: str) -> Review:
    named = sorted(f"{system}|{value}" for system, value in numbers)
    return Review(
        kind="identity",
        key="identity:" + ":".join((kind, partner, *named)),
        what=what,
        partner=partner or None,
        hint="merge the two records, or leave them apart",
        detail={"doubt": kind, "numbers": named, "candidates": [str(c.ref) for c in candidates]},
    )
