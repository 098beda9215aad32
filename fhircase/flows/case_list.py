"""Cases that a caller may see, as short documents, with filters and paging."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fhircase.errors import Invalid, Malformed
from fhircase.fhir import jsontext, search, times
from fhircase.flows import cases, kinds
from fhircase.flows.hub import Hub
from fhircase.mapping import schema
from fhircase.plans.change import Ref
from fhircase.ports import Stored, Tx, Viewer

Doc = dict[str, Any]

_SCANNED = 1_000
"""So many cases are looked through for one page; the rest of a selective search is behind ``next``."""

FILTERS = ("name", "birth_date", "phase", "status", "owner")


def index(
    hub: Hub,
    viewer: Viewer,
    *,
    name: str = "",
    birth_date: str = "",
    phase: str = "",
    status: str = "",
    owner: str = "",
    count: int = 50,
    cursor: str | None = None,
) -> tuple[list[Doc], str | None]:
    """Cases that the viewer may see, newest first, as short documents, and the next cursor. The filters must all hold:
    ``name`` any part of a name, ``status`` the state of the episode, ``owner`` the manager's or else the organisation's
    reference or id. A page may be short while ``next`` goes on; no case is skipped.

    Raises Invalid for a phase, status or date that cannot be, Malformed for a cursor that is not ours."""
    _known_filters(hub, phase=phase, status=status, birth_date=birth_date)
    wanted = {"name": name, "birth_date": birth_date, "phase": phase, "owner": owner}
    base = search.parse("EpisodeOfCare", [("_sort", "-_lastUpdated"), *((("status", status),) if status else ())], strict=True)
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
                if doc is not None and _fits(doc, **wanted):
                    found.append(doc)
                if len(found) == count:
                    last = stored is page.matches[-1] and page.next is None
                    return found, None if last else _token(place, past, seen)
            if page.next is None:
                return found, None
            place = page.next
    return found, _token(place, past, seen)


def _known_filters(hub: Hub, *, phase: str, status: str, birth_date: str) -> None:
    words = kinds.shape(hub, kinds.SINGLES["episode"]).schema["properties"]
    asked = {"phase": (phase, words["phase"]), "status": (status, words["state"])}
    properties = {name: kind for name, (_, kind) in asked.items()}
    properties["birth_date"] = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "format": "fhir-date"}
    given = {name: value for name, value in (("phase", phase), ("status", status), ("birth_date", birth_date)) if value}
    problems = schema.closed(properties).problems(given)
    if problems:
        raise Invalid(problems)


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


def _fits(doc: Doc, *, name: str, birth_date: str, phase: str, owner: str) -> bool:
    client = doc.get("client", {})
    owned = str(doc.get("manager") or doc.get("organization") or "")
    return (
        (not name or any(name.casefold() in words for words in _names(client)))
        and (not birth_date or client.get("born") == birth_date)
        and (not phase or doc.get("phase") == phase)
        and (not owner or owner in (owned, owned.rpartition("/")[2]))
    )


def _names(client: Doc) -> list[str]:
    """Each name as people write it: given before family, and the other way round."""
    made = []
    for one in client.get("names", ()):
        given, family = " ".join(one.get("given", ())), str(one.get("family", ""))
        made += [f"{given} {family}".casefold(), f"{family} {given}".casefold(), f"{family}, {given}".casefold()]
        made.append(str(one.get("text", "")).casefold())
    return made
