"""One partner's FHIR server over HTTP (ports.Gateway): kept connections, no redirects, no cookies, one JSON reader both ways,
and credentials that go to the partner's own origin alone (RELIABILITY §3)."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.hooks import default_hooks
from requests.models import PreparedRequest
from requests.structures import CaseInsensitiveDict

from fhircase.errors import FhircaseError
from fhircase.fhir import jsontext
from fhircase.partners.egress import GuardedAdapter, literal_networks, networks_of
from fhircase.plans.change import Resource
from fhircase.plans.partner import Partner
from fhircase.ports import PartnerDown, Reply, Sealer, Store

FHIR_JSON = "application/fhir+json"
ANSWER_BYTES = 20_000_000
CONNECT_S = 5.0
SECRET_S = 60.0
"""How long an opened secret is kept: a rotation takes this long, or one 401."""

_CHUNK = 262_144
_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what must be equal, exactly, before a credential goes anywhere."""
    parts = urlsplit(url)
    return (parts.scheme.lower(), (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme.lower()))


class HttpGateway:
    """One server. Safe for many threads. ``timeout`` is the longest that one request may take, in seconds; it must stay
    below half of a lane's lease. ``authorization`` gives the header's value or None; asked again after a 401."""

    def __init__(
        self,
        base_url: str,
        adapter: HTTPAdapter,
        *,
        timeout: float,
        authorization: Authorization | None = None,
        limit: int = ANSWER_BYTES,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._origin = origin(base_url)
        self._adapter = adapter
        self._timeout = timeout
        self._authorization = authorization
        self._limit = limit

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        """See ports.Gateway. A GET whose kept connection turned out to be dead is sent once more; nothing else is."""
        url = self._url(path, params)
        data = None if body is None else jsontext.dumps(body).encode()
        reply = self._send(method, url, data, headers or {})
        if reply.status == 401 and self._authorization is not None and self._authorization.renew():
            reply = self._send(method, url, data, headers or {})
        return reply

    def _url(self, path: str, params: Sequence[tuple[str, str]]) -> str:
        if "://" in path:
            if origin(path) != self._origin:
                raise PartnerDown("a link leads to another origin")
            url = path
        else:
            url = f"{self._base}/{quote(path.lstrip('/'), safe='/?=&%:|,.-_~$')}"
        if params:
            url += ("&" if "?" in url else "?") + urlencode(params)
        return url

    def _send(self, method: str, url: str, data: bytes | None, headers: Mapping[str, str]) -> Reply:
        request = PreparedRequest()
        request.method, request.url, request.body, request.hooks = method, url, data, default_hooks()
        sent: CaseInsensitiveDict[str] = CaseInsensitiveDict({"Accept": FHIR_JSON, "Accept-Encoding": "gzip", "User-Agent": "fhircase"})
        if data is not None:
            sent["Content-Type"] = FHIR_JSON
            sent["Content-Length"] = str(len(data))
        elif method not in ("GET", "HEAD"):
            sent["Content-Length"] = "0"
        sent.update(headers)
        value = None if self._authorization is None else self._authorization.value()
        if value is not None:
            sent["Authorization"] = value
        request.headers = sent
        for attempt in (1, 2):
            try:
                return self._answer(request)
            except requests.exceptions.SSLError:
                raise PartnerDown("TLS failed") from None
            except requests.exceptions.ConnectTimeout:
                raise PartnerDown("no connection in time") from None
            except requests.Timeout:
                raise PartnerDown("no answer in time") from None
            except requests.ConnectionError as error:
                if attempt == 1 and method == "GET" and _dropped(error):
                    continue
                raise PartnerDown("no connection") from None
            except (requests.RequestException, OSError):
                raise PartnerDown("no usable answer") from None
        raise PartnerDown("no connection")

    def _answer(self, request: PreparedRequest) -> Reply:
        until = time.monotonic() + self._timeout
        answer = self._adapter.send(request, stream=True, timeout=(min(CONNECT_S, self._timeout), self._timeout))
        complete = False
        try:
            body = self._body(answer, until)
            complete = True
        finally:
            if complete:
                answer.raw.release_conn()
            else:
                answer.raw.close()  # half an answer must not be read by the next request
        told = answer.headers
        return Reply(
            status=answer.status_code,
            resource=_resource(body, told.get("Content-Type", "")),
            etag=told.get("ETag"),
            location=told.get("Location") or told.get("Content-Location"),
            retry_after=_seconds(told.get("Retry-After"), told.get("Date")),
            date=told.get("Date"),
        )

    def _body(self, answer: requests.Response, until: float) -> bytes:
        length = answer.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > self._limit:
            raise PartnerDown("its answer is too large")
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                part: bytes = answer.raw.read(_CHUNK, decode_content=True)
            except Exception as error:  # urllib3's own tree: protocol, decoding, read timeout
                raise PartnerDown("its answer broke off") from error
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
            if size > self._limit:
                raise PartnerDown("its answer is too large")
            if time.monotonic() > until:
                raise PartnerDown("no answer in time")


class Authorization:
    """The value of the Authorization header, from a sealed secret. Opened when first needed and kept for a while."""

    def __init__(self, store: Store, sealer: Sealer, kind: str, secret: str) -> None:
        self._store, self._sealer, self._kind, self._secret = store, sealer, kind, secret
        self._lock = threading.Lock()
        self._value: str | None = None
        self._until = 0.0

    def value(self) -> str | None:
        """Raises PartnerDown when the secret is not there."""
        with self._lock:
            if self._value is None or time.monotonic() >= self._until:
                self._value = self._open()
                self._until = time.monotonic() + SECRET_S
            return self._value

    def renew(self) -> bool:
        """After a 401: True when the stored secret has become another one."""
        with self._lock:
            before, self._value = self._value, self._open()
            self._until = time.monotonic() + SECRET_S
            return self._value != before

    def _open(self) -> str:
        with self._store.read() as tx:
            sealed = tx.partners.secret(self._secret)
        if sealed is None:
            raise PartnerDown("its credential is not known here")
        try:
            plain = self._sealer.open(sealed)
        except (FhircaseError, ValueError):
            raise PartnerDown("its credential cannot be opened") from None
        return f"{'Basic' if self._kind == 'basic' else 'Bearer'} {plain}"


class HttpGateways:
    """ports.Gateways: one gateway a partner, made anew when its record says something else. ``timeout`` in seconds;
    ``networks`` (CIDR) may be reached besides public addresses, as may each partner's own ``networks`` and an address that
    its ``base_url`` writes out."""

    def __init__(self, store: Store, sealer: Sealer, *, timeout: float = 20.0, networks: Sequence[str] = ()) -> None:
        self._store, self._sealer, self._timeout = store, sealer, timeout
        self._networks = networks_of(networks)
        self._lock = threading.Lock()
        self._made: dict[str, tuple[object, HttpGateway]] = {}

    def __call__(self, partner: Partner) -> HttpGateway:
        base_url = partner.base_url or ""
        wanted = (base_url, dict(partner.auth), partner.networks)
        with self._lock:
            held = self._made.get(partner.name)
            if held is not None and held[0] == wanted:
                return held[1]
            adapter = GuardedAdapter((*self._networks, *networks_of(partner.networks), *literal_networks(base_url)))
            kind = str(partner.auth.get("kind", "none"))
            secret = partner.auth.get("secret")
            authorization = Authorization(self._store, self._sealer, kind, str(secret)) if kind in ("bearer", "basic") and secret else None
            made = HttpGateway(base_url, adapter, timeout=self._timeout, authorization=authorization)
            self._made[partner.name] = (wanted, made)
            return made


def _resource(body: bytes, content_type: str) -> Resource | None:
    """The FHIR resource in an answer; None for anything else: an error page is not a reason to fall over."""
    if not body or "json" not in content_type.lower() and not body.lstrip()[:1] == b"{":
        return None
    try:
        value = jsontext.loads(body)
    except FhircaseError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("resourceType"), str) else None


def _dropped(error: requests.ConnectionError) -> bool:
    """Whether a kept connection was closed under us before any answer came."""
    text = repr(error)
    return "RemoteDisconnected" in text or "ConnectionResetError" in text


def _seconds(value: str | None, date: str | None) -> float | None:
    """Retry-After as seconds (RFC 9110 §10.2.3), against the server's own clock when it is a date."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        return max((parsedate_to_datetime(value) - parsedate_to_datetime(date or "")).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
