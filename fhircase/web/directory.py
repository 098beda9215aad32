"""``/directory``: people, organizations, programs, roles and locations, in case words."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from fhircase.fhir import jsontext
from fhircase.flows import directory
from fhircase.web import asked
from fhircase.web.asked import takes

bp = Blueprint("directory", __name__, url_prefix="/directory")


@bp.get("/<what>")
def list_entries(what: str) -> Response:
    """Entries of one part of the directory by name; filters name, text, and by part kind, category, price, profession, specialty,
    person, organization, program, area, location, part_of; paging by ``next``."""
    part = directory.named(what)
    asked.who().require("search-type", part.type)
    given = asked.query(*part.filters, "count", "next")
    wanted = {name: given.get(name, "") for name in part.filters}
    items, following = directory.listed(
        asked.hub(), asked.viewer(), what, wanted, count=asked.count(given), cursor=given.get("next") or None
    )
    asked.shown("search-directory", [f"{part.type}/{item['id']}" for item in items])
    return Response(jsontext.dumps({"items": items, "next": following}), content_type="application/json")


@bp.get("/<what>/<entry>")
def read_entry(what: str, entry: str) -> Response:
    """One entry of the directory."""
    type_ = directory.named(what).type
    asked.who().require("read", type_)
    found = asked.noting("read-directory", f"{type_}/{entry}", lambda: directory.read(asked.hub(), asked.viewer(), what, entry))
    asked.shown("read-directory", [f"{type_}/{entry}"])
    return _answer(found)


@bp.post("/<what>")
@takes(directory.bodies())
def add_entry(what: str) -> Response:
    """Add an entry to the directory; it belongs to who adds it. Location names it."""
    asked.who().require("create", directory.named(what).type)
    told = asked.told()
    del told["if_match"]
    made = directory.add(asked.hub(), asked.agent(), asked.viewer(), what, asked.document(), **told)
    response = _answer(made, 201)
    response.headers["Location"] = f"{asked.hub().policy.base_url}/directory/{what}/{made.doc['id']}"
    return response


@bp.patch("/<what>/<entry>")
@takes(directory.bodies("Patch"))
def change_entry(what: str, entry: str) -> Response:
    """Merge patch (RFC 7396) of one entry, by who added it, an administrator or the hub's people."""
    asked.who().require("update", directory.named(what).type)
    return _answer(directory.change(asked.hub(), asked.agent(), asked.viewer(), what, entry, asked.document(), **asked.told()))


def _answer(made: directory.Entry, status: int = 200) -> Response:
    body: dict[str, Any] = dict(made.doc)
    if made.problems:
        body["problems"] = [{"path": p.path, "problem": p.what, "hint": p.hint} for p in made.problems]
    response = Response(jsontext.dumps(body), status, content_type="application/json")
    response.headers["ETag"] = f'W/"{made.tag}"'
    return response
