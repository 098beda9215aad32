"""A FHIR server in this process, as partners run them: versions, ETag and If-Match, conditional create, whole-second clocks
that are off, commits that show late, elements lost. It is a ``ports.Gateway`` and keeps a journal of every write."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from fhircase.fhir import jsontext
from fhircase.ports import PartnerDown, Reply

Resource = dict[str, Any]


@dataclass
class Row:
    """One version of one resource."""

    resource: Resource
    version: int
    updated: int  # seconds, by the server's clock
    visible: float  # when a search shows it, seconds, true time


@dataclass
class FhirServer:
    """``now`` is true time in seconds; ``skew`` how far this server's clock is off. ``drops``: elements that it loses by type.
    ``stale``: status for a wrong If-Match. ``conditional``: types for which If-None-Exist works (None: all). ``choose_ids``:
    PUT to a new id is allowed. ``history``: instance history can be read. ``answers_body``: writes are answered with the
    resource. ``absolute``: references are answered absolute. ``since``: ``_lastUpdated`` is understood."""

    name: str
    now: Callable[[], float]
    base_url: str = ""
    skew: float = 0
    drops: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stale: int = 412
    conditional: frozenset[str] | None = None
    choose_ids: bool = True
    history: bool = True
    flips: bool = False
    answers_body: bool = True
    absolute: bool = False
    since: bool = True
    refuses: frozenset[str] = frozenset()
    checks_references: bool = False
    page: int = 50
    late: Callable[[], float] = lambda: 0.0
    before: Callable[[str], None] | None = None
    after: Callable[[str], None] | None = None
    rows: dict[tuple[str, str], list[Row]] = field(default_factory=dict)
    gone: set[tuple[str, str]] = field(default_factory=set)
    journal: list[tuple[str, str, str, int]] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    idle: int = 0
    """Accepted updates that said what the last accepted one said, with nothing in between: writes without a difference."""
    _last: dict[tuple[str, str], tuple[int, Resource]] = field(default_factory=dict)
    _made: int = 0
    _odd: bool = False

    # ---------------------------------------------------------------- what clinicians there do

    def edit(self, type_: str, id_: str, change: Callable[[Resource], None]) -> None:
        resource = copy.deepcopy(self.rows[(type_, id_)][-1].resource)
        change(resource)
        self._put(type_, id_, resource)

    def add(self, resource: Resource) -> str:
        self._made += 1
        id_ = f"{self.name}-{self._made}"
        self._put(resource["resourceType"], id_, copy.deepcopy(resource))
        return id_

    def remove(self, type_: str, id_: str) -> None:
        self.gone.add((type_, id_))

    def held(self, type_: str) -> dict[str, Resource]:
        return {id_: rows[-1].resource for (t, id_), rows in self.rows.items() if t == type_ and (t, id_) not in self.gone}

    def carrying(self, value: str) -> list[Resource]:
        """Resources that carry the hub's identifier ``value``."""
        return [
            resource
            for (type_, id_), rows in self.rows.items()
            if (type_, id_) not in self.gone
            for resource in [rows[-1].resource]
            if any(i.get("value") == value for i in _identifiers(resource))
        ]

    @property
    def writes(self) -> int:
        return len(self.journal)

    # ---------------------------------------------------------------- the gateway

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        if self.before is not None:
            self.before(method)
        sent = dict(headers or {})
        self.asked.append((method, path, sent))
        text = None if body is None else jsontext.dumps(body)
        reply = self._answer(method, path, None if text is None else jsontext.loads(text), sent, list(params))
        if self.after is not None:
            self.after(method)
        return reply

    def _answer(self, method: str, path: str, body: Resource | None, headers: dict[str, str], params: list[tuple[str, str]]) -> Reply:
        path = path.removeprefix(self.base_url.rstrip("/") + "/")
        path, _, query = path.partition("?")
        params += [tuple(unquote(x) for x in pair.split("=", 1)) for pair in query.split("&") if pair]  # type: ignore[misc]
        parts = path.strip("/").split("/")
        if parts == ["metadata"]:
            return Reply(200, {"resourceType": "CapabilityStatement", "fhirVersion": "4.0.1", "software": {"name": self.name}})
        if method == "DELETE":
            self.gone.add((parts[0], parts[1]))
            return Reply(204, None)
        if method == "GET" and len(parts) == 1:
            return self._search(parts[0], params)
        if method == "GET" and len(parts) == 2:
            return self._read(parts[0], parts[1])
        if method == "GET" and len(parts) == 3:
            return self._history(parts[0], parts[1])
        if body is not None and body.get("resourceType") in self.refuses:
            return Reply(
                422, {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "business-rule", "expression": ["Goal"]}]}
            )
        if body is not None and self.checks_references and self._dangling(body):
            return Reply(400, {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "processing"}]})
        if method == "POST":
            return self._create(parts[0], body or {}, headers)
        if method == "PUT":
            return self._update(parts[0], parts[1], body or {}, headers)
        return Reply(405, None)

    def _create(self, type_: str, body: Resource, headers: dict[str, str]) -> Reply:
        wanted = headers.get("If-None-Exist")
        if wanted is not None:
            if self.conditional is not None and type_ not in self.conditional:
                return Reply(400, {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-supported"}]})
            hits = self._by_identifier(type_, unquote(wanted.removeprefix("identifier=")))
            if len(hits) > 1:
                return Reply(412, None)
            if hits:
                return self._reply(200, type_, hits[0])
        self._made += 1
        id_ = f"{self.name}-{self._made}"
        self._put(type_, id_, body)
        self.journal.append(("POST", type_, id_, 1))
        return self._reply(201, type_, id_)

    def _update(self, type_: str, id_: str, body: Resource, headers: dict[str, str]) -> Reply:
        key = (type_, id_)
        if key in self.gone:
            return Reply(410, None)
        if key not in self.rows:
            if not self.choose_ids:
                return Reply(400, {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "value"}]})
            if "If-Match" in headers:
                return Reply(404, None)
            self._put(type_, id_, body)
            self.journal.append(("PUT", type_, id_, 1))
            return self._reply(201, type_, id_)
        if headers.get("If-None-Match") == "*":
            return Reply(self.stale, None)
        version = self.rows[key][-1].version
        if "If-Match" in headers and headers["If-Match"] != f'W/"{version}"':
            return Reply(self.stale, None)
        self.idle += self._last.get(key) == (version, body)
        self._put(type_, id_, body)
        self._last[key] = (version + 1, body)
        self.journal.append(("PUT", type_, id_, version + 1))
        return self._reply(200, type_, id_)

    def _put(self, type_: str, id_: str, body: Resource) -> None:
        dropped = self.drops.get(type_, ())
        kept = {name: value for name, value in body.items() if name not in dropped}
        rows = self.rows.setdefault((type_, id_), [])
        version, updated = len(rows) + 1, int(self.now() + self.skew)
        meta = {k: v for k, v in kept.get("meta", {}).items() if k not in ("versionId", "lastUpdated")}
        kept = {**kept, "id": id_, "meta": {**meta, "versionId": str(version), "lastUpdated": _instant(updated)}}
        rows.append(Row(kept, version, updated, self.now() + self.late()))

    def _reply(self, status: int, type_: str, id_: str) -> Reply:
        row = self.rows[(type_, id_)][-1]
        resource = self._shown(row) if self.answers_body else None
        location = f"{self.base_url}/{type_}/{id_}/_history/{row.version}"
        return Reply(status, resource, f'W/"{row.version}"', location)

    def _read(self, type_: str, id_: str) -> Reply:
        if (type_, id_) in self.gone:
            return Reply(410, None)
        if (type_, id_) not in self.rows:
            return Reply(404, None)
        row = self.rows[(type_, id_)][-1]
        return Reply(200, self._shown(row), f'W/"{row.version}"')

    def _history(self, type_: str, id_: str) -> Reply:
        if not self.history:
            return Reply(404, None)
        rows = list(self.rows.get((type_, id_), ()))
        self._odd = not self._odd
        if not (self.flips and self._odd):
            rows.reverse()
        return Reply(200, self._bundle("history", [self._shown(row) for row in rows]))

    def _search(self, type_: str, params: list[tuple[str, str]]) -> Reply:
        asked = dict(params)
        found: list[tuple[int, str]] = []
        for (t, id_), rows in self.rows.items():
            if t != type_ or (t, id_) in self.gone:
                continue
            shown = [row for row in rows if row.visible <= self.now()]
            if not shown:
                continue
            row = shown[-1]
            if "_lastUpdated" in asked and (not self.since or row.updated < _seconds(asked["_lastUpdated"].removeprefix("ge"))):
                if self.since:
                    continue
            if "identifier" in asked and id_ not in self._by_identifier(type_, asked["identifier"]):
                continue
            patient = asked.get("patient") or asked.get("subject")
            if patient and not any((row.resource.get(n) or {}).get("reference") == patient for n in ("subject", "patient", "for")):
                continue
            found.append((row.updated, id_))
        if "_lastUpdated" in asked and not self.since:
            return Reply(400, None)
        found.sort(reverse=asked.get("_sort", "").startswith("-"))
        start = int(asked.get("_offset", 0))
        count = min(int(asked.get("_count", self.page)), self.page)
        some = found[start : start + count]
        bundle = self._bundle(
            "searchset", [self._shown([r for r in self.rows[(type_, i)] if r.visible <= self.now()][-1]) for _, i in some]
        )
        if start + count < len(found):
            rest = "&".join(f"{k}={v}" for k, v in params if k != "_offset")
            bundle["link"] = [{"relation": "next", "url": f"{self.base_url}/{type_}?{rest}&_offset={start + count}"}]
        return Reply(200, bundle)

    def _shown(self, row: Row) -> Resource:
        resource = copy.deepcopy(row.resource)
        if self.absolute:
            _absolute(resource, self.base_url)
        return jsontext.loads(jsontext.dumps(resource))

    def _bundle(self, type_: str, resources: list[Resource]) -> Resource:
        return {"resourceType": "Bundle", "type": type_, "entry": [{"resource": resource} for resource in resources]}

    def _by_identifier(self, type_: str, wanted: str) -> list[str]:
        return [
            id_
            for (t, id_), rows in self.rows.items()
            if t == type_
            and (t, id_) not in self.gone
            and any(f"{i.get('system', '')}|{i.get('value', '')}" == wanted for i in _identifiers(rows[-1].resource))
        ]

    def _dangling(self, body: Any) -> bool:
        if isinstance(body, dict):
            text = body.get("reference")
            if isinstance(text, str) and text.count("/") == 1 and tuple(text.split("/")) not in self.rows:
                return True
            return any(self._dangling(value) for value in body.values())
        return isinstance(body, list) and any(self._dangling(value) for value in body)


def down(_: str) -> None:
    """For ``before``: nothing gets through."""
    raise PartnerDown("no connection")


def _identifiers(resource: Resource) -> list[Resource]:
    found = resource.get("identifier", [])
    return found if isinstance(found, list) else [found]


def _absolute(item: Any, base_url: str) -> None:
    if isinstance(item, dict):
        text = item.get("reference")
        if isinstance(text, str) and text.count("/") == 1:
            item["reference"] = f"{base_url}/{text}"
        for value in item.values():
            _absolute(value, base_url)
    elif isinstance(item, list):
        for value in item:
            _absolute(value, base_url)


def _instant(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
