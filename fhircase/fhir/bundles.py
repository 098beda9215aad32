"""Bundles: put together from stored texts without reading them, and taken apart into a plan
(http://hl7.org/fhir/R4/bundle.html, http.html#transaction)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fhircase.errors import Invalid, Malformed, Problem
from fhircase.fhir import definitions, jsontext, refs, stamp
from fhircase.fhir.times import instant

Resource = dict[str, Any]
Links = Iterable[tuple[str, str]]


class Version(Protocol):
    """What is needed of one stored version (ports.Stored is one)."""

    @property
    def type(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def updated(self) -> int: ...
    @property
    def deleted(self) -> bool: ...
    @property
    def text(self) -> str: ...
    @property
    def mark(self) -> int: ...
    @property
    def effective(self) -> int: ...
    @property
    def method(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one entry of a batch or transaction. ``status`` with its words (``201 Created``); ``location`` and
    ``etag`` as in the headers; ``text`` the resource as JSON text; ``outcome`` an OperationOutcome."""

    status: str
    location: str = ""
    etag: str = ""
    updated: int | None = None
    text: str = ""
    outcome: Resource | None = None


def body(version: Version) -> str:
    """The text as this viewer sees it."""
    if version.effective and version.effective != version.updated:
        return stamp.served(version.text, version.mark, version.effective)
    return version.text


def etag(version: int) -> str:
    return f'W/"{version}"'


# ------------------------------------------------------------------------------------------------ out


def searchset(
    matches: Iterable[Version],
    included: Iterable[Version] = (),
    *,
    base_url: str,
    links: Links,
    total: int | None = None,
    outcome: Resource | None = None,
    at_ms: int | None = None,
    view: Callable[[Version], str] = body,
) -> str:
    """The JSON text of a searchset. ``links``: (relation, url), ``self`` first. ``outcome``: an OperationOutcome as an entry of
    mode outcome. ``view`` gives an entry's text (for _summary and _elements). ``at_ms``: Bundle.meta.lastUpdated."""
    base = base_url.rstrip("/")
    parts = [_found(base, version, "match", view) for version in matches]
    parts += [_found(base, version, "include", view) for version in included]
    if outcome is not None:
        parts.append(f'{{"resource":{jsontext.dumps(outcome)},"search":{{"mode":"outcome"}}}}')
    return _bundle("searchset", parts, links, total, at_ms)


def history(versions: Iterable[Version], *, base_url: str, links: Links, total: int | None = None, at_ms: int | None = None) -> str:
    """The JSON text of a history, newest first as given: each entry has its request and response, a deletion no resource."""
    base = base_url.rstrip("/")
    parts = []
    for version in versions:
        method = "DELETE" if version.deleted else version.method if version.method in ("POST", "PUT", "PATCH") else "PUT"
        url = version.type if method == "POST" else f"{version.type}/{version.id}"
        status = "204" if version.deleted else "201" if version.version == 1 or method == "POST" else "200"
        resource = "" if version.deleted else f'"resource":{body(version)},'
        parts.append(
            f'{{"fullUrl":{jsontext.dumps(f"{base}/{version.type}/{version.id}")},{resource}"request":{{"method":"{method}","url":"{url}"}},'
            f'"response":{{"status":"{status}","etag":{jsontext.dumps(etag(version.version))},'
            f'"lastModified":"{instant(version.effective or version.updated)}"}}}}'
        )
    return _bundle("history", parts, links, total, at_ms)


def response(answers: Iterable[Answer], *, transaction: bool, at_ms: int | None = None) -> str:
    """The JSON text of a batch-response or transaction-response, one entry per answer, in the order of the request."""
    parts = []
    for answer in answers:
        row: Resource = {"status": answer.status}
        if answer.location:
            row["location"] = answer.location
        if answer.etag:
            row["etag"] = answer.etag
        if answer.updated is not None:
            row["lastModified"] = instant(answer.updated)
        if answer.outcome is not None:
            row["outcome"] = answer.outcome
        resource = f'"resource":{answer.text},' if answer.text else ""
        parts.append(f'{{{resource}"response":{jsontext.dumps(row)}}}')
    return _bundle("transaction-response" if transaction else "batch-response", parts, (), None, at_ms)


def _found(base: str, version: Version, mode: str, view: Callable[[Version], str]) -> str:
    return f'{{"fullUrl":{jsontext.dumps(f"{base}/{version.type}/{version.id}")},"resource":{view(version)},"search":{{"mode":"{mode}"}}}}'


def _bundle(kind: str, parts: Sequence[str], links: Links, total: int | None, at_ms: int | None) -> str:
    made = ['{"resourceType":"Bundle"']
    if at_ms is not None:
        made.append(f'"meta":{{"lastUpdated":"{instant(at_ms)}"}}')
    made.append(f'"type":"{kind}"')
    if total is not None:
        made.append(f'"total":{total}')
    rows = [{"relation": relation, "url": url} for relation, url in links]
    if rows:
        made.append(f'"link":{jsontext.dumps(rows)}')
    if parts:
        made.append(f'"entry":[{",".join(parts)}]')
    return ",".join(made) + "}"


# ------------------------------------------------------------------------------------------------ in


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a batch or transaction. ``index`` its place in the Bundle. ``url`` relative to our base; ``type``, ``id``,
    ``query`` its parts ('' where it has none); ``operation`` the ``$name``. ``problems``: why it cannot be done, found
    without looking at any data."""

    index: int
    method: str
    url: str
    type: str = ""
    id: str = ""
    query: str = ""
    operation: str = ""
    full_url: str = ""
    resource: Resource | None = None
    if_match: str = ""
    if_none_match: str = ""
    if_none_exist: str = ""
    if_modified_since: str = ""
    problems: tuple[Problem, ...] = ()

    @property
    def path(self) -> str:
        return f"Bundle.entry[{self.index}]"


_ORDER = {"DELETE": 0, "POST": 1, "PUT": 2, "PATCH": 2, "GET": 3, "HEAD": 3}
_URL = re.compile(
    r"(?:(?P<type>[A-Z][A-Za-z]{1,63})(?:/(?P<id>[A-Za-z0-9\-.]{1,64}))?)?(?:/?(?P<operation>\$[a-z][A-Za-z0-9\-.]*))?(?:\?(?P<query>.*))?",
    re.DOTALL,
)


def entries(bundle: Any, *, base_url: str = "", limit: int = 2_000) -> tuple[Entry, ...]:
    """The entries of a batch or transaction in the order given. What is wrong with a single one stands in its ``problems``
    (a batch goes on without it). Raises Malformed if this is no Bundle, Invalid if it is of another type or too long."""
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise Malformed("a Bundle was expected", path="Bundle")
    if bundle.get("type") not in ("batch", "transaction"):
        raise Invalid("only a batch or a transaction can be processed here", path="Bundle.type")
    rows = bundle.get("entry", [])
    if not isinstance(rows, list):
        raise Malformed("entry must be a list", path="Bundle.entry")
    if len(rows) > limit:
        raise Invalid(Problem(f"more than {limit} entries", "Bundle.entry", "Send it in parts", "too-costly"))
    return tuple(_entry(i, row, base_url) for i, row in enumerate(rows))


def _entry(i: int, row: Any, base_url: str) -> Entry:
    path = f"Bundle.entry[{i}]"
    request = row.get("request") if isinstance(row, dict) else None
    if not isinstance(request, dict):
        return Entry(i, "", "", problems=(Problem("an entry needs a request (bdl-3)", f"{path}.request", code="required"),))
    problems: list[Problem] = []

    def text(item: Resource, name: str, where: str) -> str:
        value = item.get(name, "")
        if isinstance(value, str):
            return value
        problems.append(Problem(f"{name} must be text", f"{path}{where}.{name}", code="structure"))
        return ""

    def bad(what: str, where: str, code: str = "value", hint: str = "") -> None:
        problems.append(Problem(what, f"{path}.{where}", hint, code))

    method, url, full_url = text(request, "method", ".request"), text(request, "url", ".request"), text(row, "fullUrl", "")
    if_match, if_none_match, if_none_exist, since = (
        text(request, name, ".request") for name in ("ifMatch", "ifNoneMatch", "ifNoneExist", "ifModifiedSince")
    )
    base = base_url.rstrip("/")
    if base and url.startswith(f"{base}/"):
        url = url[len(base) + 1 :]
    found = _URL.fullmatch(url.lstrip("/"))
    type_, id_, operation, query = (
        (found["type"] or "", found["id"] or "", found["operation"] or "", found["query"] or "") if found else ("", "", "", "")
    )
    if method not in _ORDER:
        bad("method is GET, HEAD, POST, PUT, PATCH or DELETE", "request.method", "code-invalid")
    if method not in ("GET", "HEAD") and found is None:
        bad("the url is not Type, Type/id or Type?criteria", "request.url")
    if type_ and not definitions.is_resource(type_) and not operation:
        bad("the url names no resource type", "request.url", "not-supported")
    if full_url and "/_history/" in full_url:
        bad("fullUrl shall not name a version (bdl-8)", "fullUrl", "invariant")
    resource = row.get("resource")
    if resource is not None and not isinstance(resource, dict):
        bad("resource must be an object", "resource", "structure")
        resource = None
    if method in ("POST", "PUT", "PATCH") and not operation:
        if resource is None:
            bad(f"{method} needs a resource", "resource", "required")
        elif method != "PATCH" and type_ and resource.get("resourceType") != type_:
            bad("the resource is not of the type in the url", "resource.resourceType")
        if method == "POST" and (id_ or query) and found is not None:
            bad("POST goes to a type", "request.url", hint="Give criteria in ifNoneExist, or PUT to Type/id")
    if method in ("PUT", "PATCH", "DELETE") and found is not None and not operation and not (type_ and (id_ or query)):
        bad(f"{method} goes to Type/id or Type?criteria", "request.url")
    if method == "PUT" and id_ and isinstance(resource, dict) and resource.get("id") != id_:
        bad("the resource's id differs from the id in the url", "resource.id")
    if method == "POST" and not type_ and not operation and found is not None:
        bad("POST goes to a type", "request.url")
    return Entry(
        i, method, url, type_, id_, query, operation, full_url, resource, if_match, if_none_match, if_none_exist, since, tuple(problems)
    )


def plan(rows: Sequence[Entry]) -> tuple[Entry, ...]:
    """The entries of a transaction in the order that FHIR processes them: DELETE, POST, PUT and PATCH, GET and HEAD; within
    each as given. Raises Invalid with every problem: of single entries, and of two that name the same resource, the same
    criteria or the same fullUrl."""
    problems = [problem for entry in rows for problem in entry.problems]
    seen: dict[str, int] = {}

    def once(key: str, entry: Entry, what: str, where: str) -> None:
        first = seen.setdefault(key, entry.index)
        if first != entry.index:
            problems.append(
                Problem(
                    f"{what} as in Bundle.entry[{first}]", f"{entry.path}.{where}", "A transaction changes a resource once", "duplicate"
                )
            )

    for entry in rows:
        if entry.full_url:
            once(f"fullUrl {entry.full_url}", entry, "the same fullUrl", "fullUrl")
        if entry.method in ("PUT", "PATCH", "DELETE") and entry.type and not entry.operation:
            once(f"{entry.type}/{entry.id}?{entry.query}", entry, "the same resource", "request.url")
        if entry.method == "POST" and entry.if_none_exist:
            once(f"{entry.type}?{entry.if_none_exist.lstrip('?')}", entry, "the same criteria", "request.ifNoneExist")
    if problems:
        raise Invalid(problems)
    return tuple(sorted(rows, key=lambda entry: _ORDER[entry.method]))


def full_urls(rows: Iterable[Entry], assigned: Mapping[int, str], *, base_url: str = "") -> dict[str, str]:
    """fullUrl -> ``Type/id``, for rewriting references: ``assigned`` says what resource each entry (by index) became. For an
    absolute fullUrl that ends in Type/id, that short form is mapped too, where an entry was created under another id."""
    made: dict[str, str] = {}
    for entry in rows:
        target = assigned.get(entry.index)
        if target is None or not entry.full_url:
            continue
        made[entry.full_url] = target
        literal = refs.literal(entry.full_url, base_url)
        if literal is not None and f"{literal.type}/{literal.id}" != target:
            made.setdefault(f"{literal.type}/{literal.id}", target)
    return made


_URI_MEMBERS = frozenset(("url", "uri", "contentUrl"))


def relinked(resource: Resource, links: Mapping[str, str]) -> Resource:
    """A copy whose references, urls and narrative links that equal a key of ``links`` are its value; all else is untouched
    (DECISIONS 12). A ``#fragment`` is kept; a version of another server is left off, since it says nothing here. Identifiers
    and canonicals are not links and stay."""
    if not links:
        return resource

    def link(text: str) -> str:
        found = links.get(text)
        if found is None and "/_history/" in text:
            found = links.get(text.partition("/_history/")[0])
        if found is None and "#" in text:
            head, _, fragment = text.partition("#")
            found = f"{links[head]}#{fragment}" if head in links else None
        return text if found is None else found

    made = refs.rewrite(resource, link)
    changed = _urls(made, link)
    assert isinstance(changed, dict)
    return changed


def _urls(item: Any, link: Callable[[str], str]) -> Any:
    if isinstance(item, list):
        made = [_urls(value, link) if isinstance(value, dict | list) else value for value in item]
        return made if any(a is not b for a, b in zip(made, item, strict=True)) else item
    changed: Resource | None = None
    for name, value in item.items():
        new: Any = value
        if isinstance(value, dict | list):
            new = _urls(value, link)
        elif isinstance(value, str):
            if name == "div":
                new = re.sub(r'((?:href|src)=")([^"]*)(")', lambda found: found[1] + link(found[2]) + found[3], value)
            elif value.startswith("urn:") and (name in _URI_MEMBERS or name.startswith(("valueUr", "valueUuid", "valueOid"))):
                new = link(value)
        if new is not value and new != value:
            changed = changed or dict(item)
            changed[name] = new
    return item if changed is None else changed
