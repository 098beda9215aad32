"""A partner FHIR server that survives every kill and keeps a journal of what was really written to it.

It lives in the harness's process, so no kill of the hub can touch its memory: the journal is the truth that the run is
judged by. It answers as slowly as it is told to, and some writes take effect long after the hub has given up or died."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Resource = dict[str, Any]
IDENTITY = "urn:fhircase:id"
STATEMENT = {
    "resourceType": "CapabilityStatement", "status": "active", "date": "2026-01-01", "kind": "instance", "fhirVersion": "4.0.1",
    "format": ["json"], "rest": [{"mode": "server"}],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted write. ``number`` is the order at this server; ``identity`` the hub's ``Type/id``; ``before`` what it held
    until then; ``dangling`` references of it to what this server did not hold."""

    number: int
    method: str
    type: str
    id: str
    version: int
    identity: str | None
    body: Resource
    before: Resource | None
    dangling: tuple[str, ...]


class JournalServer:
    """FHIR R4 over HTTP/1.1 on a free loopback port: conditional create, If-Match, search, history."""

    def __init__(self, name: str, delay: Callable[[str], float] = lambda method: 0.0) -> None:
        """``delay(method)``: seconds between a request's arrival and its effect."""
        self.name = name
        self.delay = delay
        self.torn = 0
        self.journal: list[Entry] = []
        self.versions: dict[tuple[str, str], list[Resource]] = {}
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_one(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                data = self.rfile.read(length)
                if len(data) < length:  # the hub died while it sent this
                    server.torn += 1
                    self.close_connection = True
                    return
                if pause := server.delay(self.command):
                    time.sleep(pause)
                url = urlsplit(self.path)
                parts = [part for part in url.path.removeprefix("/fhir").split("/") if part]
                status, body = server.answer(self.command, parts, parse_qsl(url.query), data, self.headers)
                text = json.dumps(body).encode() if body is not None else b""
                self.send_response(status)
                self.send_header("Content-Type", "application/fhir+json")
                self.send_header("Content-Length", str(len(text)))
                if body and body.get("meta", {}).get("versionId"):
                    self.send_header("ETag", f'W/"{body["meta"]["versionId"]}"')
                    self.send_header("Location", f"{server.base}/{body['resourceType']}/{body['id']}/_history/{body['meta']['versionId']}")
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = handle_one  # type: ignore[assignment]

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A killed client's broken pipe is the point of the run, not an error."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self._server.server_address[1]}/fhir"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # ------------------------------------------------------------------------------------------------------

    def answer(self, method: str, parts: list[str], query: list[tuple[str, str]], data: bytes, headers: Any) -> tuple[int, Resource | None]:
        if parts == ["metadata"]:
            return 200, STATEMENT
        with self.lock:
            if method == "POST" and len(parts) == 1:
                return self._create(parts[0], json.loads(data), headers.get("If-None-Exist"))
            if method == "PUT" and len(parts) == 2:
                return self._update(parts[0], parts[1], json.loads(data), headers.get("If-Match"))
            if method == "GET" and len(parts) == 1:
                return 200, self._bundle("searchset", self._search(parts[0], query))
            if method == "GET" and len(parts) == 2 and (parts[0], parts[1]) in self.versions:
                return 200, self.versions[parts[0], parts[1]][-1]
            if method == "GET" and len(parts) == 3 and parts[2] == "_history" and (parts[0], parts[1]) in self.versions:
                return 200, self._bundle("history", self.versions[parts[0], parts[1]][::-1])
            if method == "GET" and len(parts) == 4 and (parts[0], parts[1]) in self.versions:
                held = [r for r in self.versions[parts[0], parts[1]] if r["meta"]["versionId"] == parts[3]]
                if held:
                    return 200, held[0]
        return 404, _outcome("not-found")

    def edit(self, type_: str, identity: str, change: Callable[[Resource], Resource]) -> Resource | None:
        """An edit by the partner's own staff; None when it is not here yet. Not in the journal: the hub did not write it."""
        with self.lock:
            held = self._of_hub(type_, identity)
            return None if held is None else self._store(type_, held["id"], change(json.loads(json.dumps(held))))

    def find(self, type_: str, identity: str) -> Resource | None:
        """This server's copy of the hub's ``Type/id``."""
        with self.lock:
            return self._of_hub(type_, identity)

    def _of_hub(self, type_: str, identity: str) -> Resource | None:
        for (held_type, _), versions in self.versions.items():
            if held_type == type_ and identity_of(versions[-1]) == identity:
                return versions[-1]
        return None

    def dump(self, path: Path) -> None:
        """Every version that this server ever held, one a line, for whoever looks for the cause of a fault."""
        with self.lock, path.open("w") as file:
            for versions in self.versions.values():
                file.writelines(json.dumps(version) + "\n" for version in versions)

    def current(self) -> list[Resource]:
        with self.lock:
            return [versions[-1] for versions in self.versions.values()]

    def _create(self, type_: str, body: Resource, criteria: str | None) -> tuple[int, Resource | None]:
        if criteria is not None:
            found = self._search(type_, parse_qsl(criteria.removeprefix("?")))
            if len(found) == 1:
                return 200, found[0]
            if found:
                return 412, _outcome("multiple-matches")
        made = self._store(type_, f"{self.name}-{len(self.versions) + 1}", body)
        self._journal("POST", made, None)
        return 201, made

    def _update(self, type_: str, id_: str, body: Resource, if_match: str | None) -> tuple[int, Resource | None]:
        held = self.versions.get((type_, id_))
        before = held[-1] if held else None
        if if_match is not None and (held is None or if_match != f'W/"{held[-1]["meta"]["versionId"]}"'):
            return 412, _outcome("conflict")
        made = self._store(type_, id_, body)
        self._journal("PUT", made, before)
        return (200 if held else 201), made

    def _store(self, type_: str, id_: str, body: Resource) -> Resource:
        versions = self.versions.setdefault((type_, id_), [])
        meta = {k: v for k, v in body.get("meta", {}).items() if k not in ("versionId", "lastUpdated")}
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        made = {**body, "resourceType": type_, "id": id_, "meta": {"versionId": str(len(versions) + 1), "lastUpdated": now, **meta}}
        versions.append(made)
        return made

    def _journal(self, method: str, made: Resource, before: Resource | None) -> None:
        dangling = tuple(sorted({text for text in references(made) if tuple(text.split("/")[:2]) not in self.versions}))
        type_, id_, version = made["resourceType"], made["id"], int(made["meta"]["versionId"])
        self.journal.append(Entry(len(self.journal), method, type_, id_, version, identity_of(made), made, before, dangling))

    def _search(self, type_: str, query: list[tuple[str, str]]) -> list[Resource]:
        found = [versions[-1] for (held, _), versions in self.versions.items() if held == type_]
        for name, value in query:
            if name == "identifier":
                found = [r for r in found if any(f"{i.get('system', '')}|{i.get('value', '')}" == value for i in _identifiers(r))]
            elif name == "_id":
                found = [r for r in found if r["id"] in value.split(",")]
            elif name in ("patient", "subject"):
                wanted = f"Patient/{value.removeprefix('Patient/')}"
                found = [r for r in found if any(r.get(e, {}).get("reference") == wanted for e in ("subject", "patient", "for"))]
            elif name == "_lastUpdated":
                found = [r for r in found if _after(r["meta"]["lastUpdated"], value)]
        return sorted(found, key=lambda r: r["meta"]["lastUpdated"])

    def _bundle(self, type_: str, resources: list[Resource]) -> Resource:
        entry = [{"fullUrl": f"{self.base}/{r['resourceType']}/{r['id']}", "resource": r, "search": {"mode": "match"}} for r in resources]
        return {"resourceType": "Bundle", "type": type_, "total": len(entry), "link": [], "entry": entry}


def identity_of(resource: Resource) -> str | None:
    return next((i["value"] for i in _identifiers(resource) if i.get("system") == IDENTITY), None)


def references(value: Any) -> list[str]:
    """Every relative literal reference (``Type/id``) in a resource."""
    if isinstance(value, list):
        return [text for item in value for text in references(item)]
    if not isinstance(value, dict):
        return []
    found = [text for item in value.values() for text in references(item)]
    text = value.get("reference")
    if isinstance(text, str) and text.count("/") == 1 and "//" not in text and not text.startswith(("#", "urn:")):
        found.append(text)
    return found


def _identifiers(resource: Resource) -> list[Resource]:
    value = resource.get("identifier", [])
    return value if isinstance(value, list) else [value]


def _after(updated: str, value: str) -> bool:
    prefix, moment = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
    asked, held = datetime.fromisoformat(moment.replace(" ", "+")), datetime.fromisoformat(updated)
    return held >= asked if prefix == "ge" else held > asked if prefix == "gt" else held <= asked if prefix == "le" else held == asked


def _outcome(code: str) -> Resource:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code}]}
