"""Who may speak for the client, who answers for the case, and who is qualified for what. Pure.

A guardian speaks for the client on the days that the relationship covers. One person is accountable at any moment: the case
manager, or whoever covers for them. A qualification that is missing or expired is a warning, never a bar: a social worker may be
the case manager (CONCEPTS.md, "The case")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from fhircase.case.document import Doc, covers, entries, is_client, items, last_day, part, refusal, word, words
from fhircase.errors import Problem

GUARDIAN = frozenset({"guardian", "power-of-attorney", "healthcare-power-of-attorney"})
"""Relationships that speak for the client."""

Standing = Literal["valid", "ended", "not-yet", "inactive", "no-guardian", "unknown"]


def standing(doc: Doc, who: str, day: date) -> Standing:
    """How somebody stands to the client as a guardian on that day. ``no-guardian``: a contact of another relationship;
    ``unknown``: not among the contacts."""
    found = [one for one in entries(doc, "contacts") if f"RelatedPerson/{one.get('id')}" == who]
    if not found:
        return "unknown"
    guardians = [one for one in found if GUARDIAN & set(words(one.get("relationship")))]
    if not guardians:
        return "no-guardian"
    valid = [one for one in guardians if covers(one, day)]
    if any(one.get("active") is not False for one in valid):
        return "valid"
    if valid:
        return "inactive"
    ends = [last_day(one.get("until")) for one in guardians]
    return "ended" if any(end is not None and end < day for end in ends) else "not-yet"


def speaks_for_client(doc: Doc, who: Any, day: date) -> bool:
    """The client, or a guardian who is valid on that day."""
    return is_client(doc, who) or standing(doc, word(who), day) == "valid"


_SAYS: Mapping[str, str] = {
    "ended": "the guardianship had ended on that day",
    "not-yet": "the guardianship had not begun on that day",
    "inactive": "this guardian is marked as no longer active",
    "no-guardian": "this contact is no guardian of the client",
    "unknown": "this person is not among the contacts of the client",
}


def authority(doc: Doc, who: Any, day: date, *, path: str) -> Problem | None:
    """Why somebody may not express goals or give consent for the client on that day; None for the client and a valid
    guardian. ``path`` is the place of the field that names them."""
    if speaks_for_client(doc, who, day):
        return None
    stands = standing(doc, word(who), day)
    return refusal(_SAYS[stands], path, "let the client say it, or a guardian whose period covers the day; or mend the contact's period")


# ------------------------------------------------------------------------------------------ who answers for the case


@dataclass(frozen=True, slots=True)
class Owner:
    """Who is accountable on a day. ``person`` a reference, '' when there is nobody or more than one; ``covering`` True while
    somebody stands in; ``problem`` says what is wrong, for people."""

    person: str
    covering: bool = False
    problem: str = ""


def owner(doc: Doc, day: date) -> Owner:
    """The one who is accountable on that day: a team member with role ``cover`` whose period holds it; else the manager of the
    case, unless all their periods as ``case-manager`` leave the day out (leave, or gone); else, on a case without manager, the
    one team member who is case manager. Nobody, or several at once, is told in ``problem``."""
    members = [one for one in items(part(doc, "team"), "members") if word(one.get("person"))]
    covering = _persons(one for one in members if "cover" in words(one.get("role")) and _now(one, day))
    if len(covering) == 1:
        return Owner(covering[0], covering=True)
    if covering:
        return Owner("", problem="several people cover for the case manager at once")
    managing = [one for one in members if "case-manager" in words(one.get("role"))]
    manager = word(part(doc, "episode").get("manager"))
    if manager:
        periods = [one for one in managing if one.get("person") == manager]
        if not periods or any(covers(one, day) for one in periods):
            return Owner(manager)
        return Owner("", problem="the case manager is away and nobody covers")
    present = _persons(one for one in managing if covers(one, day))
    if len(present) == 1:
        return Owner(present[0])
    return Owner("", problem="several case managers and none of them leads" if present else "nobody is accountable for the case")


def _now(member: Doc, day: date) -> bool:
    """Cover is for a time: a member without any period stands by, and covers for nobody yet."""
    return (member.get("since") is not None or member.get("until") is not None) and covers(member, day)


def _persons(members: Iterable[Doc]) -> list[str]:
    return list(dict.fromkeys(word(one.get("person")) for one in members))


SPOKEN: Mapping[str, tuple[str, str]] = {"goals": ("set_by", "started"), "consents": ("by", "given_at")}
"""Entries that are the client's word: the field that says whose word it is, and the field of its day."""


def without_authority(what: str, wanted: Doc, before: Doc, contacts: Sequence[Doc], today: date, at: str = "") -> list[Problem]:
    """Who is newly named in an entry of ``what`` as speaking for the client, and may not on that day. A goal may be expressed by any
    contact but a guardian whose time is over or has not come; consent is given by the client or a valid guardian alone."""
    if what not in SPOKEN:
        return []
    field, on = SPOKEN[what]
    day = min(last_day(wanted.get(on)) or today, today)
    said, stood = wanted.get(field), words(before.get(field))
    doc = {"contacts": list(contacts)}
    found = []
    for n, who in enumerate(words(said)):
        if who in stood or not who.startswith("RelatedPerson/"):
            continue
        if what == "consents" or standing(doc, who, day) in ("ended", "not-yet", "inactive"):
            found.append(authority(doc, who, day, path=f"{at}/{field}" if isinstance(said, str) else f"{at}/{field}/{n}"))
    return [problem for problem in found if problem is not None]


# ------------------------------------------------------------------------------------------ qualifications

NEEDED: Mapping[str, tuple[str, ...]] = {
    "case-manager": ("case manage*", "ccm", "acm", "nurs*", "rn", "social work*", "lcsw", "lmsw", "msw", "bsw"),
    "care-coordinator": ("care coordinat*", "case manage*", "ccm", "nurs*", "rn", "lpn", "social work*", "lcsw", "lmsw", "msw", "bsw"),
    "social-worker": ("social work*", "lcsw", "lmsw", "lsw", "msw", "bsw"),
    "nurse": ("nurs*", "rn", "lpn", "lvn", "bsn", "msn", "aprn"),
    "physician": ("medic*", "physician", "md", "do", "surge*"),
    "primary-care": ("medic*", "physician", "md", "do", "family practice", "nurse practitioner", "np", "aprn", "physician assistant"),
    "medical-director": ("medic*", "physician", "md", "do"),
    "physical-therapist": ("physical therap*", "physiotherap*", "pt", "dpt"),
    "occupational-therapist": ("occupational therap*", "ot", "otr", "otd"),
    "speech-therapist": ("speech*", "slp", "ccc slp"),
    "dietitian": ("dietit*", "nutrition*", "rd", "rdn"),
    "pharmacist": ("pharm*", "rph"),
    "psychologist": ("psycholog*", "psyd"),
    "counselor": ("counsel*", "lpc", "lmhc", "lcpc", "cadc", "social work*", "lcsw", "psycholog*"),
    "home-health-aide": ("home health aide", "hha", "nurs*", "cna"),
    "interpreter": ("interpret*", "cmi", "chi"),
    "legal-advocate": ("law*", "legal*", "attorney", "jd", "advocate*", "paralegal"),
}
"""Role in the team → words of a qualification, any of which fits; ``*`` stands for the rest of a word. Roles not named here
(family, peer support, housing navigator …) need none. Ours; a site gives its own."""


@dataclass(frozen=True, slots=True)
class Lack:
    """``person`` takes ``role`` without what it needs; ``why`` missing, expired or not-yet."""

    person: str
    role: str
    why: Literal["missing", "expired", "not-yet"]


def lacking(role: str, person: str, held: Iterable[Doc], day: date, needed: Mapping[str, tuple[str, ...]] = NEEDED) -> Lack | None:
    """What somebody lacks to take on a role on that day; None when nothing. ``held``: their qualifications, each {what, since,
    until}."""
    fit = [one for one in held if _fits(word(one.get("what")), needed.get(role, ()))]
    if role not in needed or any(covers(one, day) for one in fit):
        return None
    if not fit:
        return Lack(person, role, "missing")
    ends = [last_day(one.get("until")) for one in fit]
    return Lack(person, role, "expired" if any(end is not None and end < day for end in ends) else "not-yet")


def lacks(doc: Doc, qualifications: Mapping[str, Iterable[Doc]], day: date, needed: Mapping[str, tuple[str, ...]] = NEEDED) -> list[Lack]:
    """What the members of the team lack on that day, and the manager of the case. Somebody who is not in ``qualifications`` is not
    known and not judged; one who is known to have none is there with an empty list."""
    taken = [
        (role, word(member.get("person")))
        for member in items(part(doc, "team"), "members")
        if covers(member, day)
        for role in words(member.get("role"))
    ]
    manager = word(part(doc, "episode").get("manager"))
    if manager:
        taken.append(("case-manager", manager))
    found = [
        lacking(role, person, list(qualifications[person]), day, needed)
        for role, person in dict.fromkeys(taken)
        if person in qualifications
    ]
    return [one for one in found if one is not None]


def _fits(what: str, needed: tuple[str, ...]) -> bool:
    said = re.findall(r"\w+", what.casefold())
    for one in needed:
        wanted = one.casefold().split()
        for at in range(len(said) - len(wanted) + 1):
            if all(_same(want, have) for want, have in zip(wanted, said[at:])):
                return True
    return False


def _same(wanted: str, said: str) -> bool:
    return said.startswith(wanted[:-1]) if wanted.endswith("*") else said == wanted
