"""The composition root: alone names concrete classes and reads clock, ids, randomness and environment."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import random
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from flask import Flask

from fhircase import hl7v2, storage, telemetry
from fhircase.access import keys
from fhircase.access.sealing import AesSealer
from fhircase.errors import FhircaseError, Problem, Unavailable
from fhircase.fhir import jsontext
from fhircase.flows import align, enrol, messages, take_in
from fhircase.flows.audit import ReadAudit
from fhircase.flows.hub import Hub, Policy
from fhircase.mapping import Mappings
from fhircase.mllp import Listener, Peer, Peers
from fhircase.partners.egress import guarded_session, networks_of
from fhircase.partners.gateway import HttpGateways
from fhircase.partners.poster import WebhookPoster
from fhircase.partners.probe import probe
from fhircase.plans.change import Agent
from fhircase.plans.partner import HUB, Partner
from fhircase.ports import PartnerDown
from fhircase.settings import SettingError, Settings, split_bind
from fhircase.telemetry import Log, Metrics
from fhircase.web.app import Services, create_app
from fhircase.worker.run import Workers

ADMIN_KEY_NAME = "FHIRCASE_ADMIN_KEY"


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class RandomIds:
    """UUIDs of version 4."""

    def new(self) -> str:
        return str(uuid.uuid4())


def policy(settings: Settings) -> Policy:
    """The settings that flows look at."""
    return Policy(
        base_url=settings.url,
        coordinates=settings.coordinates,
        handover_days=settings.handover_days,
        lease_ms=settings.lease_ms,
        http_timeout_s=settings.http_timeout_s,
        retry_first_ms=settings.retry_first_ms,
        retry_max_ms=settings.retry_max_ms,
        poll_overlap_s=settings.poll_overlap_s,
        body_bytes=settings.body_bytes,
        bundle_bytes=settings.bundle_bytes,
        bundle_entries=settings.bundle_entries,
    )


def secrets_of(settings: Settings) -> list[str]:
    """The secret keys, newest first. Without a setting, a file beside the SQLite database (with PostgreSQL: in the working
    folder) that only its owner reads, made when it is not there. Raises SettingError."""
    if settings.secret_key:
        found = [secret.strip() for secret in settings.secret_key.split(",") if secret.strip()]
        where = "FHIRCASE_SECRET_KEY"
    else:
        path = Path(settings.secret_key_file) if settings.secret_key_file else _beside(settings.database_url)
        where = str(path)
        try:
            if not settings.secret_key_file:
                _make_secret(path)
            found = path.read_text("ascii").split()
        except (OSError, UnicodeDecodeError):
            raise SettingError([f"FHIRCASE_SECRET_KEY_FILE: {path} cannot be read"]) from None
    if not found or any(len(secret) < 16 for secret in found):
        raise SettingError([f"{where}: a secret key has at least 16 characters; make one with: openssl rand -base64 32"])
    return found


def _beside(url: str) -> Path:
    if url.startswith("sqlite"):
        return Path(url.partition(":///")[2].partition("?")[0]).absolute().with_name("fhircase.key")
    return Path("fhircase.key").absolute()


def _make_secret(path: Path) -> None:
    """Whole or not at all, also when several processes start at once."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(keys.make(os.urandom).removeprefix(keys.PREFIX) + "\n")
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def build_hub(settings: Settings) -> Hub:
    """A Hub on the migrated store that the settings name. Call after a fork, once a process."""
    clock = SystemClock()
    store = storage.open(settings.database_url, clock=clock)
    sealer = AesSealer(secrets_of(settings), os.urandom)
    return Hub(
        store=store,
        clock=clock,
        ids=RandomIds(),
        maps=Mappings.load(Path(settings.mappings) if settings.mappings else None),
        gateways=HttpGateways(store, sealer, timeout=settings.http_timeout_s, networks=networks(settings)),
        poster=WebhookPoster(lambda: guarded_session(networks(settings)), clock, min(settings.http_timeout_s, 15.0)),
        sealer=sealer,
        random=random.SystemRandom().random,
        policy=policy(settings),
    )


def networks(settings: Settings) -> tuple[str, ...]:
    """What partners and webhooks may be reached at besides public addresses. Raises SettingError."""
    texts = tuple(text.strip() for text in settings.egress_allow.split(",") if text.strip())
    try:
        networks_of(texts)
    except ValueError:
        raise SettingError(["FHIRCASE_EGRESS_ALLOW: write networks such as 10.1.0.0/16, separated by commas"]) from None
    return texts


def prepare(settings: Settings) -> str | None:
    """Migrate the store, make the hub's own partner, set the administrator's key. Returns a new administrator's key to show
    once, when there was no key at all and only this machine reaches the server. Lets go of the store: a fork may follow.

    Raises SettingError when other machines would reach a server that has no keys."""
    storage.migrate(settings.database_url)
    hub = build_hub(settings)
    try:
        return _first_key(hub, settings)
    finally:
        hub.store.close()  # type: ignore[attr-defined]


def _first_key(hub: Hub, settings: Settings) -> str | None:
    enrol.ensure_hub(hub)
    if settings.admin_key:
        enrol.known_key(hub, settings.admin_key, name=ADMIN_KEY_NAME)
    with hub.store.read() as tx:
        any_key = any(key.revoked is None for key in tx.keys.list())
    if any_key:
        return None
    if not settings.loopback:
        hint = "set FHIRCASE_ADMIN_KEY, or: fhircase keys add NAME --admin"
        raise SettingError([f"FHIRCASE_BIND: {settings.bind} is open to other machines and there is no key; {hint}"])
    _, text = enrol.key(hub, os.urandom, name="first administrator", partner=HUB, scopes=(), admin=True)
    return text


class House:
    """One process of the hub: the store, the web application, and the threads that it runs."""

    def __init__(self, settings: Settings, *, lanes: bool = True, mllp: bool = True) -> None:
        self.settings = settings
        self.audit = ReadAudit()
        self.metrics = Metrics()
        self.hub = replace(build_hub(settings), tally=self.metrics.tally)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._workers: Workers | None = None
        self._listener: Listener | None = None
        self._started = False
        self._lanes = lanes and settings.coordinates
        self._mllp = mllp and bool(settings.mllp_bind)

    def app(self) -> Flask:
        """The web application of this process."""
        services = Services(
            random_bytes=os.urandom, audit=self.audit, metrics=self.metrics, ready=self.missing,
            key_cache_s=self.settings.key_cache_s, operations=PartnerOperations(self.hub),
            take_turns=self.settings.database_url.startswith("sqlite"),
        )  # fmt: skip
        return create_app(self.hub, services)

    def missing(self) -> list[str]:
        """What keeps the process from being ready: the store not migrated, a thread that does not run."""
        missing = [] if self.hub.store.ready() else ["store"]  # type: ignore[attr-defined]
        if not self._started:
            missing.append("threads")
        if self._workers is not None and not self._workers.alive():
            missing.append("lanes")
        return missing + [thread.name for thread in self._threads if not thread.is_alive()]

    def start(self) -> None:
        """Start audit, lanes and listener, as asked. Raises OSError when the listener's address cannot be had."""
        self._run("audit", self._flush_audit)
        if self._lanes:
            self._workers = Workers(self.hub, f"{socket.gethostname()}:{os.getpid()}", lanes=self.settings.lane_workers)
            self._workers.start()
        if self._mllp:
            self._listen()
        self._started = True

    def _listen(self) -> None:
        bind = split_bind("mllp_bind", self.settings.mllp_bind)
        with self.hub.store.read() as tx:
            partners = tx.partners.all()
        self._listener = Listener(
            bind, self._take_in, peers=peers_of(partners, self.settings.mllp_partner or None), too_large=self._too_large, watch=_watch
        )
        try:
            self._listener.start()
        except OSError as error:
            self._listener = None
            if error.errno != errno.EADDRINUSE or self.settings.web_processes == 1:
                raise SettingError([f"FHIRCASE_MLLP_BIND: {self.settings.mllp_bind} cannot be listened on"]) from None
            return  # another web process of this hub listens
        telemetry.tell(Log.MLLP_START, port=self._listener.address[1])

    def _take_in(self, raw: bytes, peer: Peer) -> bytes | None:
        correlation = self.hub.ids.new()
        telemetry.correlation.set(correlation)
        try:
            taken = take_in.take_in(
                self.hub, peer.partner, "hl7v2", raw, "application/hl7-v2", agent=Agent(peer.partner), correlation=correlation
            )
        except Unavailable:
            telemetry.tell(Log.INTAKE_UNSTORED, kind="mllp", partner=peer.partner)
            return None
        except FhircaseError as error:
            telemetry.tell(Log.INTAKE_DEFECT, partner=peer.partner, error=type(error).__name__)
            return None
        telemetry.tell(Log.INTAKE, kind="mllp", partner=peer.partner, message=taken.message.id, answer=taken.message.code)
        return taken.message.answer

    def _too_large(self, head: bytes, peer: Peer) -> bytes | None:
        """Its head is kept, and it is refused, so that it does not come again and again."""
        digest = hashlib.sha256(head).hexdigest()
        try:
            kept = messages.keep_head(
                self.hub,
                peer.partner,
                "hl7v2",
                head=head[: messages.HEAD],
                digest=digest,
                size=len(head),
                content_type="application/hl7-v2",
            )
        except Unavailable:
            return None
        problem = Problem("the message is too large", "MSH", "at most 1,000,000 bytes over MLLP", "too-long")
        return hl7v2.ack(hl7v2.header(head), "AR", [problem], control_id=kept.id.replace("-", "")[:20], now=self.hub.clock.now())

    def stop(self) -> None:
        """Finish what is under way, write what waits, let go of the store. Twice does no harm."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._listener is not None:
            self._listener.stop(self.settings.drain_seconds)
        if self._workers is not None:
            self._workers.stop(self.settings.drain_seconds)
        for thread in self._threads:
            thread.join(self.settings.drain_seconds)
        with contextlib.suppress(FhircaseError):
            self.audit.flush(self.hub.store)
        self.hub.store.close()  # type: ignore[attr-defined]

    def _run(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _flush_audit(self) -> None:
        while not self._stopping.wait(self.settings.audit_flush_ms / 1000):
            try:
                self.audit.flush(self.hub.store)
            except FhircaseError as error:
                telemetry.tell(Log.AUDIT_LATE, waiting=len(self.audit), error=type(error).__name__)
            except Exception as error:  # the thread must outlive a defect: what cannot be audited is not shown for long
                telemetry.tell(Log.AUDIT_LATE, waiting=len(self.audit), error=type(error).__name__, where=telemetry.place(error))


def peers_of(partners: Sequence[Partner], default: str | None) -> Peers:
    """Who may connect by MLLP: the networks that partners list, less those that several list (they say nothing of who
    speaks), and ``default`` on loopback."""
    owners: dict[str, set[str]] = {}
    for partner in partners:
        for network in partner.networks:
            owners.setdefault(str(ip_network(network, strict=False)), set()).add(partner.name)
    listed: dict[str, list[str]] = {}
    for network, names in owners.items():
        if len(names) == 1:
            listed.setdefault(names.pop(), []).append(network)
    return Peers.of(listed.items(), default)


def _watch(_peer: str, why: str, count: int) -> None:
    telemetry.tell(Log.MLLP_REFUSED if why in ("refused", "busy", "not-framed", "too-large") else Log.MLLP_CLOSED, reason=why, count=count)


class PartnerOperations:
    """What an administrator starts at a partner's server (web.admin.Operations). ``lanes``: whether this process has no
    workers of its own and must deliver while it waits."""

    WAIT_S = 20.0

    def __init__(self, hub: Hub, *, lanes: bool = False) -> None:
        self._hub = hub
        self._lanes = lanes

    def probe(self, partner: Partner) -> Mapping[str, Any]:
        """Raises Unavailable when the partner does not answer."""
        try:
            found = probe(self._hub.gateways(partner), self._hub.ids.new, partner.send)
        except PartnerDown as down:
            raise Unavailable(f"{partner.name} does not answer: {down.reason}", hint="try again later") from None
        with self._hub.store.write() as tx:
            current = tx.partners.get(partner.name) or partner
            tx.partners.save(replace(current, dialect=found.dialect.as_json()))
            tx.outbox.hurry(partner.name)
            tx.outbox.wake()
        telemetry.tell(Log.PROBED, partner=partner.name, count=len(found.notes))
        return found.as_json()

    def sync(self, partner: Partner) -> Mapping[str, Any]:
        """Probe a server that was never looked at, poll it, mark all that it may have, and wait a while for its lanes."""
        told: dict[str, Any] = {"partner": partner.name, "probed": False}
        if not partner.dialect:
            self.probe(partner)
            told["probed"] = True
            partner = enrol.find(self._hub, partner.name)
        told["collected"] = align.collect(self._hub, partner)
        told["marked"] = align.mark_all(self._hub, partner)
        workers = Workers(self._hub, f"sync:{os.getpid()}") if self._lanes else None
        if workers is not None:
            workers.start()
        until = time.monotonic() + self.WAIT_S
        lanes = self._lanes_of(partner)
        while any(lane["waiting"] and not lane["fails"] for lane in lanes) and not partner.paused and time.monotonic() < until:
            time.sleep(0.05)
            lanes = self._lanes_of(partner)
        if workers is not None:
            workers.stop()
        told["waiting"] = sum(int(lane["waiting"]) for lane in lanes)
        told["parked"] = sum(int(lane["parked"]) for lane in lanes)
        told["paused"] = partner.paused or any(lane["fails"] for lane in lanes)
        return told

    def _lanes_of(self, partner: Partner) -> list[Mapping[str, Any]]:
        with self._hub.store.read() as tx:
            return [lane for lane in tx.outbox.status() if lane["target"] == partner.name and lane["kind"] == "fhir"]

    def dry_run(self, partner: Partner) -> Mapping[str, Any]:
        return {"items": [row.as_json() for row in align.dry_run(self._hub, partner)], "next": None}

    def drift(self, partner: Partner) -> Mapping[str, Any]:
        rows, unread = align.drift(self._hub, partner)
        return {"items": [row.as_json() for row in rows], "unread": unread, "next": None}


def _die_with_parent() -> None:
    """On Linux the kernel ends this process when the master dies, so that a killed hub is wholly dead and its port free; what
    was under way is safe to lose (law 4). Elsewhere gunicorn's worker notices within a second or two."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def unreadable(error: str) -> bytes:
    """The answer to bytes that are no HTTP request, closing the connection. ``error``: the name of gunicorn's error."""
    status, reason, what, hint = {
        "LimitRequestLine": (414, "URI Too Long", "the address is too long", "send a long search as POST Type/_search"),
        "LimitRequestHeaders": (431, "Request Header Fields Too Large", "the headers are too large", "send fewer or shorter ones"),
        "UnsupportedTransferCoding": (501, "Not Implemented", "this transfer coding is not known", "send chunked, or Content-Length"),
        "ExpectationFailed": (417, "Expectation Failed", "this expectation is not known", "send Expect: 100-continue, or none"),
    }.get(error, (400, "Bad Request", "this is not an HTTP request that can be read", "see RFC 9112"))
    body = jsontext.dumps({
        "type": "about:blank", "title": reason, "status": status, "detail": what,
        "errors": [{"path": "", "problem": what, "hint": hint}],
    }).encode()  # fmt: skip
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/problem+json\r\nConnection: close\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def serve(settings: Settings) -> None:
    """Serve until SIGTERM: web processes of threads under gunicorn; lanes, collection and the MLLP listener run in the
    first of them. Work under way is finished, then the process exits 0."""
    from gunicorn.app.base import BaseApplication
    from gunicorn.http.errors import ParseException
    from gunicorn.workers.gthread import ThreadWorker

    class Worker(ThreadWorker):  # type: ignore[misc]
        """What is refused before it is a request is told in the words of the house, and never repeated in a log."""

        def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
            if not isinstance(exc, ParseException):
                super().handle_error(req, client, addr, exc)
                return
            with contextlib.suppress(OSError):
                client.sendall(unreadable(type(exc).__name__))

    class Server(BaseApplication):  # type: ignore[misc]
        house: House | None = None

        def load_config(self) -> None:
            options = {
                "bind": settings.bind,
                "workers": settings.web_processes,
                "threads": settings.web_threads,
                "worker_class": Worker,
                "limit_request_line": 8190,
                "timeout": 120,
                "graceful_timeout": max(int(settings.drain_seconds), 1),
                "keepalive": 30,
                "loglevel": "error",
                "proc_name": "fhircase",
                "control_socket_disable": True,
                "post_fork": lambda _server, _worker: _die_with_parent(),
                "post_worker_init": lambda _worker: self.began(),
                "worker_exit": lambda _server, _worker: self.ended(),
            }
            for name, value in options.items():
                if name in self.cfg.settings:
                    self.cfg.set(name, value)

        def load(self) -> Flask:
            self.house = House(settings)
            return self.house.app()

        def began(self) -> None:
            if self.house is not None:
                self.house.start()
                telemetry.tell(Log.SERVE_START, bind=settings.bind, threads=settings.web_threads, processes=settings.web_processes)

        def ended(self) -> None:
            if self.house is not None:
                telemetry.tell(Log.SERVE_STOP)
                self.house.stop()

    Server().run()
