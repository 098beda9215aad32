"""One conversation with a partner's FHIR server: every request leaves a row for the ledger, every read that decides
something says ``Cache-Control: no-cache`` (DECISIONS 24), and pages are followed, never computed, except at a server that
gives no links to follow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from fhircase.flows.hub import Hub
from fhircase.plans.change import Resource
from fhircase.plans.partner import Partner
from fhircase.ports import Exchange, Gateway, PartnerDown, Reply
from fhircase.sync import judge
from fhircase.sync.dialect import Dialect

PAGES = 1_000
"""More pages than this in one answer are a server that never ends."""

FRESH = {"Cache-Control": "no-cache"}


class Later(Exception):
    """The partner cannot take or answer this now: the lane or the poll pauses. ``reason`` is one of our own words,
    ``retry_after`` seconds as the partner asked."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Unsupported(Exception):
    """The server does not do this at all (a search it refuses): another way must be taken."""


@dataclass(slots=True)
class Talk:
    """A conversation under one correlation id. ``exchanges`` are the ledger's rows, written by whoever records."""

    hub: Hub
    partner: Partner
    dialect: Dialect
    gateway: Gateway
    correlation: str
    exchanges: list[Exchange] = field(default_factory=list)
    correlations: Mapping[str, str] = field(default_factory=dict)
    """Of single resources (``Type/id`` here), where the change that is sent brought one."""

    def request(
        self,
        method: str,
        path: str,
        *,
        ref: str = "",
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
        outcome: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Raises PartnerDown when there is no usable answer; whether it took effect is then unknown."""
        sent = {"X-Request-Id": self.correlations.get(ref) or self.correlation, **(headers or {})}
        try:
            reply = self.gateway.request(method, path, body=body, headers=sent, params=params)
        except PartnerDown as down:
            self._note(method, path, ref, 0, down.reason, detail)
            raise
        self._note(method, path, ref, reply.status, outcome, detail)
        return reply

    def read(self, type_: str, remote: str, ref: str = "") -> Reply:
        """The present copy, past every cache. Raises Later for anything but 2xx, 404 and 410."""
        reply = self.request("GET", f"{type_}/{remote}", ref=ref, headers=FRESH)
        if reply.status in (404, 410):
            return reply
        if not 200 <= reply.status < 300 or not is_a(reply, type_):
            raise Later(f"reading answered {reply.status}", reply.retry_after)
        return reply

    def history(self, type_: str, remote: str, ref: str = "") -> list[Resource] | None:
        """All versions of a copy that the server tells, in no order to rely on; None where it keeps none."""
        if self.dialect.history == "none":
            return None
        try:
            return list(self._pages(f"{type_}/{remote}/_history", (("_count", "50"),), type_, ref))
        except Unsupported:
            return None

    def search(self, type_: str, params: Sequence[tuple[str, str]], ref: str = "") -> Iterator[Resource]:
        """Every match of a search, page after page. Raises Unsupported when the server refuses the search, Later when it
        cannot answer now."""
        return self._pages(type_, params, type_, ref)

    def of_client(self, type_: str, remote_client: str, ref: str = "") -> Iterator[Resource]:
        """Every resource of a type that is about one of their Patients: by the first search parameter that the server
        takes, else the whole type. A server may ignore a parameter, so what comes is filtered here as well."""
        for name in self.dialect.by_client(type_):
            try:
                found = list(self.search(type_, ((name, f"Patient/{remote_client}"), ("_count", "100")), ref))
            except Unsupported:
                continue
            return (resource for resource in found if about(resource, remote_client, self.partner.base_url or ""))
        found = list(self.search(type_, (("_count", "100"),), ref))
        return (resource for resource in found if about(resource, remote_client, self.partner.base_url or ""))

    def _pages(self, path: str, params: Sequence[tuple[str, str]], type_: str, ref: str) -> Iterator[Resource]:
        count = next((int(value) for name, value in params if name == "_count"), 0)
        taken: set[str] = set()
        reply = self.request("GET", path, ref=ref, headers=FRESH, params=params)
        for _ in range(PAGES):
            if reply.status in (400, 403, 404, 405, 410, 422, 501):
                raise Unsupported
            bundle = reply.resource
            if not 200 <= reply.status < 300 or bundle is None or bundle.get("resourceType") != "Bundle":
                raise Later(f"a search answered {reply.status}", reply.retry_after)
            entries = bundle.get("entry")
            page = [entry.get("resource") if isinstance(entry, dict) else None for entry in entries] if isinstance(entries, list) else []
            found = [r for r in page if isinstance(r, dict) and r.get("resourceType") == type_ and isinstance(r.get("id"), str)]
            yield from found
            following = _next(bundle)
            if following is not None:
                reply = self.request("GET", following, ref=ref, headers=FRESH)
                continue
            if self.dialect.paging == "links" or count < 2 or len(page) < count:
                if self.dialect.paging == "none" and _total(bundle) > len(page):
                    raise Later("its answers are cut off, and it does not say how they go on")
                return
            # A full page that leads nowhere: at a server without links nothing says whether there is more.
            fresh = {_name(resource) for resource in found} - taken
            taken |= fresh
            if self.dialect.paging == "offset":
                if not fresh:
                    return
                further = [*params, ("_offset", str(len(taken)))]
            else:
                count = len(page) * 4
                further = [(name, str(count) if name == "_count" else value) for name, value in params]
            reply = self.request("GET", path, ref=ref, headers=FRESH, params=further)
        raise Later("a search does not end")

    def _note(self, method: str, path: str, ref: str, status: int, outcome: str, detail: Mapping[str, Any] | None) -> None:
        remote = "" if "://" in path else path.partition("?")[0][:200]
        direction: Literal["in", "out"] = "in" if method == "GET" else "out"
        at = self.hub.now()
        told = self.correlations.get(ref) or self.correlation
        row = Exchange(self.partner.name, at, direction, method, ref, remote, status, outcome, told, detail or {})
        self.exchanges.append(row)


def is_a(reply: Reply, type_: str) -> bool:
    """Whether the answer holds a resource of the type (and not, say, an OperationOutcome)."""
    return reply.resource is not None and reply.resource.get("resourceType") == type_ and isinstance(reply.resource.get("id"), str)


def etag_of(reply: Reply) -> str | None:
    """The ETag as the server wrote it, else made from meta.versionId."""
    if reply.etag:
        return reply.etag
    return None if reply.resource is None else etag_in(reply.resource)


def etag_in(resource: Resource) -> str | None:
    """The weak ETag that meta.versionId stands for."""
    version = resource.get("meta", {}).get("versionId") if isinstance(resource.get("meta"), dict) else None
    return f'W/"{version}"' if version else None


def updated_in(resource: Resource) -> str | None:
    """meta.lastUpdated, as written."""
    meta = resource.get("meta")
    value = meta.get("lastUpdated") if isinstance(meta, dict) else None
    return value if isinstance(value, str) else None


def same_version(a: str | None, b: str | None) -> bool:
    """Whether two ETags name one version; a missing one is no version."""
    return a is not None and b is not None and judge.version_of(a) == judge.version_of(b)


def token(criteria: str) -> str:
    """``system|value`` fit for the query part of If-None-Exist."""
    return quote(criteria, safe=":/|.-_~")


def about(resource: Resource, remote_client: str, base_url: str) -> bool:
    """Whether a partner's resource is about one of its Patients."""
    wanted = f"Patient/{remote_client}"
    for name in ("subject", "patient", "for", "beneficiary", "individual"):
        value = resource.get(name)
        for item in value if isinstance(value, list) else (value,):
            text = item.get("reference") if isinstance(item, dict) else None
            if not isinstance(text, str):
                continue
            text = text.removeprefix(f"{base_url.rstrip('/')}/") if base_url else text
            if text == wanted or text.startswith(f"{wanted}/_history/"):
                return True
    return False


def _name(resource: Resource) -> str:
    """Which version of which resource: a history lists one id many times."""
    return f"{resource['id']}/{etag_in(resource)}"


def _total(bundle: Resource) -> int:
    total = bundle.get("total")
    return total if isinstance(total, int) else 0


def _next(bundle: Resource) -> str | None:
    links = bundle.get("link")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("relation") == "next" and isinstance(link.get("url"), str):
            return str(link["url"])
    return None
