"""Kill the hub and the worker, each time in the middle of something, while clients go from hospital to rehab; then judge by
the partners' own journals: nothing lost, nothing doubled, order kept per client."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests

from fhircase.demo import messages
from fhircase.demo.processes import free_port
from fhircase.demo.receiver import Receiver
from fhircase.demo.servers import Api, Unexpected
from fhircase.fhir import jsontext
from tests.sim.kills.board import PHASES, Board
from tests.sim.kills.journal import Entry, JournalServer

ROOT = Path(__file__).resolve().parents[3]
MERCY, RIVERSIDE = "mercy", "riverside"
SENDER = messages.Sender("EPIC", "MERCY")
AUTHORITY = "urn:oid:2.16.840.1.113883.19.5.1"
DRIVERS = 3
EDITS = 4
"""Titles that the case manager gives each plan, one after the other."""


@dataclass
class Process:
    """A killable ``fhircase`` process group."""

    what: str
    home: Path
    environment: Mapping[str, str]
    running: subprocess.Popen[bytes] | None = None

    @property
    def board(self) -> Path:
        return self.home / f"{self.what}.board"

    def start(self) -> None:
        with (self.home / f"{self.what}.log").open("ab") as log:
            self.running = subprocess.Popen(
                [sys.executable, "-m", "tests.sim.kills.killable", str(self.board), self.what], cwd=ROOT, env=dict(self.environment),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def kill_inside(self, phase: str, seconds: float) -> dict[str, int] | None:
        """kill -9 while a thread is inside ``phase``; what all its threads were inside of, or None when it never was.

        The process is stopped first and looked at again while it cannot move, so the kill is inside for certain."""
        assert self.running is not None
        deadline = time.monotonic() + seconds
        board = Board(self.board) if self.board.exists() else None
        while time.monotonic() < deadline:
            if board is None:
                board = Board(self.board) if self.board.exists() else None
            elif board.inside(phase) > 0:
                os.killpg(self.running.pid, signal.SIGSTOP)
                inside = {name: board.inside(name) for name in PHASES}
                if inside[phase] > 0:
                    self.kill()
                    return inside
                os.killpg(self.running.pid, signal.SIGCONT)
            time.sleep(0.0002)
        return None

    def kill(self) -> None:
        assert self.running is not None
        os.killpg(self.running.pid, signal.SIGKILL)
        self.running.wait(20)
        self.board.unlink(missing_ok=True)


@dataclass
class Client:
    """What one made-up client's story has been acknowledged."""

    number: int
    patient: str = ""
    case: str = ""
    plan: str = ""
    acked: list[str] = field(default_factory=list)
    titles: int = 0
    accepted: bool = False


@dataclass
class Verdict:
    """``faults`` empty: nothing lost, nothing doubled, order kept."""

    kills: int
    histogram: Counter[str]
    clients: int
    messages: int
    writes: Mapping[str, int]
    events: int
    repeated: int
    faults: list[str]
    seconds: float

    def table(self) -> str:
        rows = [f"kills {self.kills} in {self.seconds:.0f} s, {self.clients} clients, {self.messages} messages acknowledged"]
        rows += [f"  inside {name:<22} {number:>5}" for name, number in sorted(self.histogram.items())]
        rows += [f"  writes at {name:<19} {number:>5}" for name, number in self.writes.items()]
        rows.append(f"  events {self.events}, delivered again {self.repeated}")
        rows += [f"  FAULT {fault}" for fault in self.faults[:40]] or ["  nothing lost, nothing doubled, order kept"]
        return "\n".join(rows)


class Run:
    """One store, one hub (and a worker where the store is PostgreSQL), two journal partners, a webhook receiver."""

    def __init__(self, home: Path, url: str, *, worker: bool, ack_early: bool = False, seed: int = 1) -> None:
        self.home = home
        self.patience = 8.0 if ack_early else 60.0
        self.random = random.Random(seed)
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.key = "kills-" + "k" * 32
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FHIRCASE_")}
        environment |= {
            "FHIRCASE_DATABASE_URL": url, "FHIRCASE_BIND": f"127.0.0.1:{self.port}", "FHIRCASE_BASE_URL": self.base,
            "FHIRCASE_ADMIN_KEY": self.key, "FHIRCASE_LEASE_MS": "2000", "FHIRCASE_HTTP_TIMEOUT_S": "0.9",
            "FHIRCASE_SECRET_KEY": "a secret of the kill run, thirty-two and more", "FHIRCASE_EGRESS_ALLOW": "127.0.0.0/8",
            "FHIRCASE_RETRY_FIRST_MS": "100", "FHIRCASE_RETRY_MAX_MS": "400",
        }  # fmt: skip
        if ack_early:
            environment["ACK_EARLY"] = "1"
        self.processes = [Process("serve", home, environment)]
        if worker:
            self.processes.append(Process("work", home, environment))
        self.partners = {name: JournalServer(name) for name in (MERCY, RIVERSIDE)}
        self.receiver = Receiver()
        self.clients: list[Client] = []
        self.numbers = itertools.count(1)
        self.histogram: Counter[str] = Counter()
        self.kills = 0
        self.stopping = threading.Event()
        self.trouble: list[str] = []
        self._lock = threading.Lock()
        self.now = datetime.now(UTC).replace(microsecond=0)

    # ---------------------------------------------------------------------------------------------- the run

    def play(self, kills: int, *, quiet: float = 60.0) -> Verdict:
        started = time.monotonic()
        try:
            for process in self.processes:
                process.start()
            self.ready(40)
            self.enrol()
            drivers = [threading.Thread(target=self.drive, daemon=True) for _ in range(DRIVERS)]
            for driver in drivers:
                driver.start()
            aims = itertools.cycle([(p, phase) for p in self.processes for phase in PHASES if (p.what, phase) != ("work", "request")])
            given_up = 0
            while self.kills < kills and given_up < 12:
                process, phase = next(aims)
                time.sleep(self.random.uniform(0.0, 0.15))
                inside = process.kill_inside(phase, 10)
                if inside is None:
                    given_up += 1
                    continue
                given_up = 0
                self.kills += 1
                self.histogram[f"{phase} ({process.what})"] += 1
                process.start()
                if process.what == "serve":
                    self.ready(40)
            self.stopping.set()
            for driver in drivers:
                driver.join(90)
            faults = self.judge(quiet)
        finally:
            for process in self.processes:
                if process.running is not None and process.running.poll() is None:
                    process.kill()
            for server in self.partners.values():
                server.stop()
            self.receiver.stop()
        return Verdict(
            self.kills, self.histogram, len(self.clients), sum(len(c.acked) for c in self.clients),
            {name: len(server.journal) for name, server in self.partners.items()}, len(self.receiver.seen),
            self.receiver.repeated, faults, time.monotonic() - started,
        )  # fmt: skip

    def ready(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{self.base}/readyz", timeout=1).status_code == 200:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the hub did not come back: {(self.home / 'serve.log').read_text()[-2000:]}")

    def enrol(self) -> None:
        admin = self.api()
        for name, server in self.partners.items():
            admin.call("POST", "/partners", {
                "name": name, "title": name.title(), "base_url": server.base, "poll_seconds": 1.0, "zone": "UTC",
                "role": "hospital" if name == MERCY else "rehab", "auth": {"kind": "none"}, "networks": ["127.0.0.0/8"],
                "senders": [["EPIC", "MERCY"]] if name == MERCY else [], "authorities": {"MERCY": AUTHORITY},
                "identifiers": [["urn:fhircase:facility", name.upper()]],
            })  # fmt: skip
        made = jsontext.loads(admin.call("POST", "/keys", {"name": "mercy", "partner": MERCY, "scopes": ["system/*.cruds"]}).content)
        self.sender_key = made["key"]
        made = jsontext.loads(admin.call("POST", "/webhooks/endpoints", {"url": self.receiver.url, "events": [], "thin": True, "fifo": True}).content)
        self.receiver.secret = made["secret"]

    def api(self, key: str | None = None) -> Api:
        return Api(self.base, key or self.key)

    # ---------------------------------------------------------------------------------------------- the load

    def drive(self) -> None:
        """Client after client, until told to stop; whoever has begun is brought to the end."""
        try:
            while not self.stopping.is_set():
                self.one_client()
        except Exception as error:
            self.trouble.append(f"driver: {type(error).__name__}: {error}")

    def one_client(self) -> None:
        client = Client(next(self.numbers))
        with self._lock:
            self.clients.append(client)
        number = client.number
        who = messages.Client(f"KILL{number}", "ANNA", "19500101", "F", f"K{number}^^^MERCY^MR")
        admitted = self.now - timedelta(days=3)
        for event in ("A01", "A03"):
            more: dict[str, Any] = {"discharged": self.now, "disposition": "62", "destination": "RIVERSIDE"} if event == "A03" else {}
            control = f"{event}-{number}"
            raw = messages.adt(event, SENDER, who, at=self.now, control=control, visit=f"V{number}^^^MERCY^VN", admitted=admitted, location="1^1^1", **more)
            self.until(lambda raw=raw: b"MSA|AA|" in self.push(raw))
            client.acked.append(control)
        client.patient = self.until(lambda: self.api().search(f"/fhir/Patient?identifier={AUTHORITY}|K{number}"))[0]["id"]
        episode = self.until(lambda: self.api().search(f"/fhir/EpisodeOfCare?patient={client.patient}"))[0]
        client.case = episode["id"]
        client.plan = self.until(lambda: self.api().search(f"/fhir/CarePlan?patient={client.patient}"))[0]["id"]
        task = self.until(lambda: self.api().search(f"/fhir/Task?patient={client.patient}"))[0]["id"]
        for title in range(1, EDITS + 1):
            words = f"title {title}"
            self.until(lambda words=words: self.api().call("PATCH", f"/cases/{client.case}/plan", {"title": words}))
            client.titles = title
            if title == 2:
                self.partners[RIVERSIDE].edit("Task", f"Task/{task}", lambda body: body | {"status": "accepted"})

    def push(self, raw: bytes) -> bytes:
        answer = requests.post(
            f"{self.base}/intake/hl7v2", data=raw, timeout=10, headers={"Authorization": f"Bearer {self.sender_key}", "Content-Type": "application/hl7-v2"}
        )
        return answer.content if answer.status_code == 200 else b""

    def until(self, ask: Callable[[], Any], seconds: float | None = None) -> Any:
        """Ask again and again, as an engine does whose connection breaks. Raises AssertionError after ``seconds``."""
        seconds = seconds or self.patience
        deadline = time.monotonic() + seconds
        last: Exception | None = None
        while time.monotonic() < deadline:
            try:
                found = ask()
                if found:
                    return found
            except (requests.RequestException, Unexpected) as error:
                last = error
            time.sleep(0.03)
        raise AssertionError(f"no answer in {seconds:.0f} s ({last})")

    # ---------------------------------------------------------------------------------------------- the verdict

    def judge(self, quiet: float) -> list[str]:
        faults = list(self.trouble)
        faults += self.messages_lost()
        self.settle(quiet)
        for name, server in self.partners.items():
            faults += self.at_partner(name, server)
        faults += self.webhooks()
        return faults

    def messages_lost(self) -> list[str]:
        """Whatever was acknowledged is there."""
        api = self.api()
        lost = []
        for client in self.clients:
            for control in client.acked:
                found = api.get(f"/intake/messages?control_id={control}")["items"]
                if [m["code"] for m in found] != ["AA"]:
                    lost.append(f"{control} was acknowledged, the hub holds {len(found)}")
        return lost

    def settle(self, seconds: float) -> None:
        """Until the journals have been quiet for three seconds and every plan has its last title everywhere."""
        deadline = time.monotonic() + seconds
        size, since = -1, time.monotonic()
        while time.monotonic() < deadline:
            now = sum(len(s.journal) for s in self.partners.values()) + len(self.receiver.seen)
            if now != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > 3.0:
                return
            time.sleep(0.2)

    def at_partner(self, name: str, server: JournalServer) -> list[str]:
        faults = []
        held: Counter[str] = Counter()
        for resource in server.current():
            identity = next((i["value"] for i in resource.get("identifier", ()) if i.get("system") == "urn:fhircase:id"), None)
            if identity:
                held[identity] += 1
        faults += [f"{name} holds {identity} {number} times" for identity, number in held.items() if number > 1]
        titles = self.titles(server.journal)
        for client in self.clients:
            if not client.titles or not client.plan:
                continue
            seen = titles.get(f"CarePlan/{client.plan}", [])
            if not seen:
                faults.append(f"{name} never got the plan of client {client.number}")
            elif seen != sorted(seen):
                faults.append(f"{name} got the titles of client {client.number} in the order {seen}")
            elif seen[-1] != client.titles:
                faults.append(f"{name} holds title {seen[-1]} of client {client.number}, acknowledged was {client.titles}")
        return faults + self.parents_first(name, server)

    def titles(self, journal: list[Entry]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for entry in journal:
            if entry.type == "CarePlan" and entry.identity:
                title = str(entry.body.get("title", ""))
                found.setdefault(entry.identity, []).append(int(title.removeprefix("title ")) if title.startswith("title ") else 0)
        return found

    def parents_first(self, name: str, server: JournalServer) -> list[str]:
        """No reference ever pointed at what was not there yet."""
        faults, known = [], set()
        for entry in server.journal:
            known.add(f"{entry.type}/{entry.id}")
            patient = entry.body.get("subject", entry.body.get("for", entry.body.get("patient", {}))).get("reference")
            if patient and patient not in known:
                faults.append(f"{name}: {entry.type}/{entry.id} came before {patient}")
        return faults

    def webhooks(self) -> list[str]:
        api = self.api()
        meant: list[str] = []
        following: str | None = "/webhooks/events?count=200"
        while following:
            page = api.get(following)
            meant += [event["id"] for event in page["items"]]
            following = f"/webhooks/events?count=200&next={page['next']}" if page.get("next") else None
        missing = set(meant) - set(self.receiver.seen)
        faults = [f"{len(missing)} of {len(meant)} events never came"] if missing else []
        place = {id_: at for at, id_ in enumerate(reversed(meant))}
        came = [place[id_] for id_ in self.receiver.order if id_ in place]
        if came != sorted(came):
            faults.append("events came out of order")
        if self.receiver.refused:
            faults.append(f"{self.receiver.refused} signatures did not hold")
        return faults
