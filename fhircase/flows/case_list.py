"""Cases that a caller may see, as short documents, with filters and paging."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from fhircase.case import lifecycle, people
from fhircase.case.due import PARTS, due
from fhircase.errors import Invalid, Malformed
from fhircase.fhir import jsontext, search, times
from fhircase.flows import cases, judged, kinds
from fhircase.flows.hub import Hub
from fhircase.mapping import schema
from fhircase.plans.change import Ref
from fhircase.plans.partner import HUB
from fhircase.ports import Stored, Tx, Viewer

Doc = dict[str, Any]

_SCANNED = 1_000
"""So many cases are looked through for one page; the rest of a selective search is behind ``next``."""

FILTERS = ("name", "birth_date", "phase", "status", "owner", "partner", "due")


@dataclass(frozen=True, slots=True)
class Wanted:
    """All must hold; '' asks for nothing. ``name`` any part of a name, ``status`` the state of the episode, ``owner`` the reference
    or id of who is accountable today (the manager, or who covers), or else of the organisation; ``partner`` one that is a member of
    the case; ``due`` a day: something is due by then (``case.due``)."""

    name: str = ""
    birth_date: str = ""
    phase: str = ""
    status: str = ""
    owner: str = ""
    partner: str = ""
    due: str = ""


ANY = Wanted()


def index(
    hub: Hub, viewer: Viewer, wanted: Wanted = ANY, *, count: int = 50, cursor: str | None = None
) -> tuple[list[Doc], str | None]:
    """Cases that the viewer may see, newest first, as short documents, and the next cursor. A page may be short while ``next`` goes
    on; no case is skipped.

    Raises Invalid for a phase, status or day that cannot be, Malformed for a cursor that is not ours."""
    _known_filters(hub, wanted)
    status = (("status", wanted.status),) if wanted.status else ()
    base = search.parse("EpisodeOfCare", [("_sort", "-_lastUpdated"), *status], strict=True)
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
                if doc is not None and _fits(doc, wanted) and _more(hub, tx, viewer, stored, doc, wanted):
                    found.append(doc)
                if len(found) == count:
                    last = stored is page.matches[-1] and page.next is None
                    return found, None if last else _token(place, past, seen)
            if page.next is None:
                return found, None
            place = page.next
    return found, _token(place, past, seen)


def _known_filters(hub: Hub, wanted: Wanted) -> None:
    words = kinds.shape(hub, kinds.SINGLES["episode"]).schema["properties"]
    day = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "format": "fhir-date"}
    asked = {"phase": words["phase"], "status": words["state"], "birth_date": day, "due": day}
    given = {name: value for name in asked if (value := getattr(wanted, name))}
    problems = schema.closed(asked).problems(given)
    if problems:
        raise Invalid(problems)


def _more(hub: Hub, tx: Tx, viewer: Viewer, stored: Stored, doc: Doc, wanted: Wanted) -> bool:
    """The filters that look into the case; asked last, for they read it."""
    if wanted.partner and not any(
        grant.kind == "member" for grant in tx.plans.grants(partner=wanted.partner, case=stored.id, at=viewer.at)
    ):
        return False
    if wanted.owner and not _owned(hub, tx, stored, doc, wanted.owner):
        return False
    if wanted.due:
        held = _parts(hub, tx, viewer, stored, tuple(PARTS))
        doc["due"] = [
            {"what": one.what, "id": one.id, "day": one.day.isoformat(), "title": one.title}
            for one in due(held, date.fromisoformat(wanted.due))
        ]
        return bool(doc["due"])
    return True


def _owned(hub: Hub, tx: Tx, stored: Stored, doc: Doc, owner: str) -> bool:
    teams = [s for s in tx.plans.of_case(stored.id, ["CareTeam"]) if s.creator == HUB and not s.deleted]
    team = hub.maps.mapping("team").into(teams[0].body).doc if teams else {}
    accountable = people.owner({"episode": doc, "team": team}, judged.today(hub)).person
    named = accountable or str(doc.get("manager") or doc.get("organization") or "")
    return owner in (named, named.rpartition("/")[2])


def _parts(hub: Hub, tx: Tx, viewer: Viewer, stored: Stored, names: Sequence[str]) -> Doc:
    types = {kinds.KINDS[name].type for name in names}
    made: Doc = {name: [] for name in names}
    for one in tx.plans.of_case(stored.id, sorted(types)):
        if one.deleted or (not viewer.everything and tx.plans.read(viewer, one.ref) is None):
            continue
        body = one.body
        name = kinds.of(body)
        if name in made:
            made[name].append({**hub.maps.mapping(kinds.KINDS[name].mapping).into(body).doc, "id": one.id})
    return made


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
    if not cases.member(tx, viewer, stored):
        return None
    episode = hub.maps.mapping("episode").into(stored.body).doc
    patient = clients.get(Ref("Patient", stored.client or ""))
    client = hub.maps.mapping("client").into(patient.body).doc if patient else {}
    updated = times.instant(stored.effective or stored.updated)
    return {**episode, "id": stored.id, "client_id": stored.client, "client": client, "updated": updated}


def _fits(doc: Doc, wanted: Wanted) -> bool:
    client = doc.get("client", {})
    return (
        (not wanted.name or any(wanted.name.casefold() in words for words in _names(client)))
        and (not wanted.birth_date or client.get("born") == wanted.birth_date)
        and (not wanted.phase or lifecycle.phase_of(doc) == wanted.phase)
    )


def _names(client: Doc) -> list[str]:
    """Each name as people write it: given before family, and the other way round."""
    made = []
    for one in client.get("names", ()):
        given, family = " ".join(one.get("given", ())), str(one.get("family", ""))
        made += [f"{given} {family}".casefold(), f"{family} {given}".casefold(), f"{family}, {given}".casefold()]
        made.append(str(one.get("text", "")).casefold())
    return made
