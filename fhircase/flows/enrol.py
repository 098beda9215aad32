"""Partners and keys: reading what an administrator sends, and enrolling it. Every mistake is told at once, by its JSON
pointer."""

from __future__ import annotations

import difflib
import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fhircase.access import keys
from fhircase.access.scopes import Scopes
from fhircase.errors import MOST_TOLD, Conflict, Invalid, NotFound, Problem
from fhircase.flows import commit
from fhircase.flows.hub import Hub
from fhircase.plans.change import Agent, Change, Resource, Source, Write
from fhircase.plans.partner import HUB, Partner
from fhircase.ports import Key, Tx

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
ROLES = ("hospital", "rehab", "home-care", "snf", "other")
OPENS = ("discharge", "admission", "roster", "never")
_PAIRS = {"identifiers": ("system", "value"), "senders": ("application", "facility")}
_TEXTS = ("title", "zone", "base_url", "site", "organization")
_LISTS = ("processing_ids", "dispositions", "networks", "send", "take")
_READ_ONLY = ("dialect",)
_KNOWN = frozenset(field.name for field in fields(Partner))


def shown(partner: Partner) -> dict[str, Any]:
    """A partner as JSON; never a secret."""
    told: dict[str, Any] = {}
    for field in fields(Partner):
        value = getattr(partner, field.name)
        if field.name in _PAIRS:
            one, other = _PAIRS[field.name]
            value = [{one: a, other: b} for a, b in value]
        elif field.name == "auth":
            value = {name: item for name, item in value.items() if name != "secret"} or {"kind": "none"}
        elif isinstance(value, tuple):
            value = list(value)
        elif isinstance(value, Mapping):
            value = dict(value)
        told[field.name] = value
    return told


def read_partner(doc: Any, onto: Partner | None = None) -> tuple[Partner, str | None]:
    """A partner from what was sent, and its new secret in plain text if there is one; members left out keep what ``onto``
    holds. Raises Invalid with every mistake."""
    if not isinstance(doc, dict):
        raise Invalid("a partner is a JSON object", hint='send {"name": "mercy", "role": "hospital"}')
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    secret: str | None = None
    for name, value in doc.items():
        path = f"/{name[:64]}"
        if name not in _KNOWN:
            if len(problems) >= MOST_TOLD:
                continue
            near = difflib.get_close_matches(name, _KNOWN, 1)
            problems.append(Problem("no such member", path, f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(_KNOWN))}"))
        elif name in _READ_ONLY:
            continue
        else:
            try:
                if name == "auth":
                    values[name], secret = _auth(value, str(doc.get("name") or (onto.name if onto else "")))
                else:
                    values[name] = _value(name, value)
            except ValueError as error:
                problems.append(Problem(str(error), path, _HINTS.get(name, "")))
    if onto is None and "name" not in doc:
        problems.append(Problem("a name is needed", "/name", _HINTS["name"]))
    if onto is not None and values.get("name", onto.name) != onto.name:
        problems.append(Problem("a name is for ever: ids begin with it", "/name", "enrol another partner"))
    if problems:
        raise Invalid(problems)
    return (replace(onto, **values) if onto is not None else Partner(**values)), secret


_HINTS = {
    "name": "letters, digits, - and _, at most 40: mercy",
    "role": "one of " + ", ".join(ROLES),
    "opens_case": "one of " + ", ".join(OPENS),
    "auth": 'send {"kind": "bearer", "token": "…"}, {"kind": "basic", "user": "…", "password": "…"} or {"kind": "none"}',
    "zone": "an IANA name: America/New_York",
    "base_url": "the base of its FHIR server: https://fhir.mercy.example/R4",
    "identifiers": 'send [{"system": "http://hl7.org/fhir/sid/us-npi", "value": "…"}]',
    "senders": 'send [{"application": "EPIC", "facility": "MERCY"}]',
    "authorities": 'send {"MERCY": "urn:oid:1.2.3"}: assigning authority to identifier system',
    "fhir_version": "R4 or R5",
    "width": "a whole number from 1 to 64",
    "poll_seconds": "a number from 0.1",
}


def _value(name: str, value: Any) -> Any:
    """Raises ValueError with what is wrong."""
    if name == "name":
        if not isinstance(value, str) or not NAME.fullmatch(value):
            raise ValueError("not a name for a partner")
        return value
    if name in ("role", "opens_case", "fhir_version"):
        allowed = {"role": ROLES, "opens_case": OPENS, "fhir_version": ("R4", "R5")}[name]
        if value not in allowed:
            raise ValueError("not one of the values")
        return value
    if name in _TEXTS:
        return _text(name, value)
    if name in _LISTS:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError("a list of texts is asked for")
        return tuple(value)
    if name in _PAIRS:
        return _pairs(value, *_PAIRS[name])
    if name == "authorities":
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise ValueError("an object of texts is asked for")
        return dict(value)
    if name in ("lenient", "paused"):
        if not isinstance(value, bool):
            raise ValueError("true or false is asked for")
        return value
    if name == "width":
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 64:
            raise ValueError("not a width")
        return value
    seconds = float(value) if isinstance(value, int) or hasattr(value, "token") else 0.0
    if isinstance(value, bool) or not 0.1 <= seconds <= 86_400 * 7:
        raise ValueError("not a number of seconds")
    return seconds


def _text(name: str, value: Any) -> str | None:
    if value is None and name != "title":
        return None
    if not isinstance(value, str):
        raise ValueError("a text is asked for")
    if name == "zone":
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("no such time zone") from None
    if name == "base_url":
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ValueError("not the address of a FHIR server")
        return value.rstrip("/")
    return value


def _pairs(value: Any, one: str, other: str) -> tuple[tuple[str, str], ...]:
    made = []
    for item in value if isinstance(value, list) else [None]:
        pair = (item.get(one, ""), item.get(other, "")) if isinstance(item, dict) else tuple(item) if isinstance(item, list) else ()
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair) or (isinstance(item, dict) and item.keys() - {one, other}):
            raise ValueError(f"a list of {one} and {other} is asked for")
        made.append(pair)
    return tuple(made)


def _auth(value: Any, name: str) -> tuple[Mapping[str, Any], str | None]:
    if not isinstance(value, dict):
        raise ValueError("how the partner's server is entered")
    kind = value.get("kind", "bearer" if "token" in value else "none")
    secret = {"kind": kind, "secret": f"partner:{name}"}
    if kind == "none" and not value.keys() - {"kind"}:
        return {"kind": "none"}, None
    if kind == "bearer" and _plain(value, "token"):
        return secret, value["token"]
    if kind == "basic" and _plain(value, "user", "password") and ":" not in value["user"]:
        return secret, b64encode(f"{value['user']}:{value['password']}".encode()).decode("ascii")
    raise ValueError("not a way in that the hub knows")


def _plain(value: Mapping[str, Any], *names: str) -> bool:
    """Whether these members, and no others, are printable texts."""
    return value.keys() - {"kind"} == set(names) and all(isinstance(value[n], str) and value[n] and value[n].isprintable() for n in names)


def partner(
    hub: Hub, agent: Agent, record: Partner, *, secret: str | None = None, new: bool, key: str | None = None, correlation: str = ""
) -> Partner:
    """Save a partner. One without an Organization gets one, made by the hub, for care teams and tasks name organisations.
    Raises Conflict when ``new`` and the name is taken."""
    sealed = hub.sealer.seal(secret) if secret is not None else None
    change = None
    if record.organization is None:
        record = replace(record, organization=hub.ids.new())
        change = Change(
            (_organization(record),),
            Agent(HUB, agent.user, agent.admin),
            Source("hub"),
            f"enrolment of the partner {record.name}",
            activity="enrol",
        )
        change = commit.check(change)
    with hub.store.write() as tx:
        if new and tx.partners.get(record.name) is not None:
            raise Conflict(f"there is a partner {record.name}", path="/name", hint=f"change it: PATCH /partners/{record.name}")
        if change is not None:
            commit.commit(hub, tx, change, key=key, correlation=correlation)
        tx.partners.save(record)
        if sealed is not None:
            tx.partners.save_secret(f"partner:{record.name}", sealed)
    return record


def _organization(record: Partner) -> Write:
    body: Resource = {"resourceType": "Organization", "active": True, "name": record.title or record.name}
    if record.identifiers:
        body["identifier"] = [{"system": system, "value": value} for system, value in record.identifiers]
    assert record.organization is not None
    return Write("Organization", record.organization, body, expect=0, creator=HUB)


def ensure_hub(hub: Hub, title: str = "Case management") -> Partner:
    """The reserved partner ``hub``, the case management organisation (DECISIONS 7), made at first start."""
    with hub.store.read() as tx:
        held = tx.partners.get(HUB)
    if held is not None and held.organization is not None:
        return held
    record = held or Partner(HUB, title=title, opens_case="roster", send=(), take=())
    try:
        return partner(hub, Agent(HUB), record, new=held is None)
    except Conflict:
        return ensure_hub(hub, title)


def find(hub: Hub, name: str) -> Partner:
    """Raises NotFound."""
    with hub.store.read() as tx:
        held = tx.partners.get(name)
    if held is None:
        raise NotFound(f"no partner is called {name[:64]}", hint="see GET /partners")
    return held


def key(
    hub: Hub,
    random_bytes: Callable[[int], bytes],
    *,
    name: str,
    partner: str,
    scopes: tuple[str, ...],
    user: str | None = None,
    admin: bool = False,
) -> tuple[Key, str]:
    """A new key and its text, which is shown this one time. Raises Invalid with every mistake."""
    problems: list[Problem] = []
    if not name or len(name) > 200 or not name.isprintable():
        problems.append(Problem("a name is needed", "/name", "say what the key is for"))
    if user is not None and partner != HUB:
        problems.append(Problem("people belong to the hub", "/user", f"leave it out, or use the partner '{HUB}'"))
    if admin and partner != HUB:
        problems.append(Problem("an administrator belongs to the hub", "/admin", f"use the partner '{HUB}'"))
    if not scopes and not admin:
        problems.append(Problem("scopes are needed", "/scopes", "such as system/*.rs"))
    try:
        Scopes.of(scopes)
    except Invalid as error:
        problems += [Problem(p.what, f"/scopes: {p.path}", p.hint) for p in error.problems]
    if problems:
        raise Invalid(problems)
    text = keys.make(random_bytes)
    made = Key(hub.ids.new(), name, keys.digest(text), partner, user, scopes or ("system/*.cruds",), admin, hub.now())
    with hub.store.write() as tx:
        if tx.partners.get(partner) is None:
            raise Invalid(Problem("no such partner", "/partner", f"enrol it first: fhircase partner add {partner[:40]}"))
        tx.keys.add(made)
    return made, text


def known_key(hub: Hub, text: str, *, name: str) -> None:
    """Make ``text`` an administrator's key under ``name``; a key of this name with another text is revoked."""
    digest = keys.digest(text)
    with hub.store.write() as tx:
        held = _current(tx, name)
        if held is not None and held.digest == digest:
            return
        if held is not None:
            tx.keys.revoke(held.id, hub.now())
        if tx.keys.by_digest(digest) is None:
            tx.keys.add(Key(hub.ids.new(), name, digest, HUB, None, ("system/*.cruds",), True, hub.now()))


def _current(tx: Tx, name: str) -> Key | None:
    return next((key for key in tx.keys.list() if key.name == name and key.revoked is None), None)
