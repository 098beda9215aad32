"""The composition root: alone names concrete classes and reads clock, ids, randomness and environment."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Flask

from fhircase import storage, telemetry
from fhircase.access import keys
from fhircase.access.sealing import AesSealer
from fhircase.errors import FhircaseError
from fhircase.flows import enrol
from fhircase.flows.audit import ReadAudit
from fhircase.flows.hub import Hub, Policy
from fhircase.mapping import Mappings
from fhircase.plans.partner import HUB
from fhircase.settings import Settings, SettingError
from fhircase.telemetry import Log, Metrics
from fhircase.web.app import Services, create_app

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
    from fhircase.partners.egress import guarded_session
    from fhircase.partners.gateway import HttpGateways
    from fhircase.partners.poster import WebhookPoster

    clock = SystemClock()
    store = storage.open(settings.database_url, clock=clock)
    sealer = AesSealer(secrets_of(settings), os.urandom)
    return Hub(
        store=store,
        clock=clock,
        ids=RandomIds(),
        maps=Mappings.load(settings.mappings or None),
        gateways=HttpGateways(store, sealer, timeout=settings.http_timeout_s),
        poster=WebhookPoster(lambda: guarded_session(networks(settings)), clock, min(settings.http_timeout_s, 15.0)),
        sealer=sealer,
        random=random.SystemRandom().random,
        policy=policy(settings),
    )


def networks(settings: Settings) -> tuple[str, ...]:
    return tuple(text.strip() for text in settings.egress_allow.split(",") if text.strip())


def prepare(settings: Settings) -> tuple[Hub, str | None]:
    """Migrate the store, make the hub's own partner, set the administrator's key. Returns a hub for this process and, when
    there was no key at all and only this machine reaches the server, a new administrator's key to show once.

    Raises SettingError when other machines would reach a server that has no keys."""
    storage.migrate(settings.database_url)
    hub = build_hub(settings)
    enrol.ensure_hub(hub)
    if settings.admin_key:
        enrol.known_key(hub, settings.admin_key, name=ADMIN_KEY_NAME)
    with hub.store.read() as tx:
        any_key = any(key.revoked is None for key in tx.keys.list())
    if any_key:
        return hub, None
    if not settings.loopback:
        raise SettingError([f"FHIRCASE_BIND: {settings.bind} is open to other machines and there is no key; set FHIRCASE_ADMIN_KEY, or: fhircase keys add NAME --admin"])
    _, text = enrol.key(hub, os.urandom, name="first administrator", partner=HUB, scopes=(), admin=True)
    return hub, text


class House:
    """One process of the hub: the store, the web application, and the threads that it runs."""

    def __init__(self, settings: Settings, *, lanes: bool = True, mllp: bool = True) -> None:
        self.settings = settings
        self.hub = build_hub(settings)
        self.audit = ReadAudit()
        self.metrics = Metrics()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._stoppers: list[Callable[[], Any]] = []
        self._started = False
        self._lanes = lanes and settings.coordinates
        self._mllp = mllp and bool(settings.mllp_bind)

    def app(self) -> Flask:
        """The web application of this process."""
        services = Services(
            random_bytes=os.urandom, audit=self.audit, metrics=self.metrics, ready=self.missing,
            key_cache_s=self.settings.key_cache_s, operations=PartnerOperations(self.hub),
        )  # fmt: skip
        return create_app(self.hub, services)

    def missing(self) -> list[str]:
        """What keeps the process from being ready: the store not migrated, a thread that does not run."""
        missing = [] if self.hub.store.ready() else ["store"]  # type: ignore[attr-defined]
        if not self._started:
            missing.append("threads")
        return missing + [thread.name for thread in self._threads if not thread.is_alive()]

    def start(self) -> None:
        """Start audit, lanes and listener, as asked."""
        self._run("audit", self._flush_audit)
        self._started = True

    def stop(self) -> None:
        """Finish what is under way, write what waits, let go of the store. Twice does no harm."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        for stop in self._stoppers:
            stop()
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


class PartnerOperations:
    """What an administrator starts at a partner's server (web.admin.Operations)."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub


def serve(settings: Settings) -> None:
    """Serve until SIGTERM: web processes of threads under gunicorn; lanes, collection and the MLLP listener run in the
    first of them. Work under way is finished, then the process exits 0."""
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):  # type: ignore[misc]
        house: House | None = None

        def load_config(self) -> None:
            options = {
                "bind": settings.bind,
                "workers": settings.web_processes,
                "threads": settings.web_threads,
                "worker_class": "gthread",
                "timeout": 120,
                "graceful_timeout": max(int(settings.drain_seconds), 1),
                "keepalive": 30,
                "loglevel": "error",
                "proc_name": "fhircase",
                "control_socket_disable": True,
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
