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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from fhircase.demo.processes import free_port
from fhircase.demo.receiver import Receiver
from fhircase.fhir import jsontext
from fhircase.telemetry import Log
from tests.sim.kills.board import PLACES, REQUESTS, SENDINGS, TRANSACTIONS, Board
from tests.sim.kills.journal import JournalServer
from tests.sim.kills.story import AUTHORITY, MERCY, RIVERSIDE, Load
from tests.sim.kills.verdict import Judge, Verdict

ROOT = Path(__file__).resolve().parents[3]
OF_SERVE = (*REQUESTS, *TRANSACTIONS, *SENDINGS)
OF_SERVE_ALONE = ("transaction: message", "transaction: case edit", "transaction: other")
OF_WORK = tuple(place for place in (*TRANSACTIONS, *SENDINGS) if place not in OF_SERVE_ALONE)
AIM_S = 6.0
"""How long to lie in wait for one place; then the next has its turn."""

LATE_S = 1.3
"""Some writes take effect this late: after the hub's timeout (0.9 s), often after its death and its successor's first look."""


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

    @property
    def log(self) -> Path:
        return self.home / f"{self.what}.log"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [sys.executable, "-m", "tests.sim.kills.killable", str(self.board), self.what], cwd=ROOT, env=dict(self.environment),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def inside(self) -> dict[str, int]:
        """What its threads are in the middle of."""
        if not self.board.exists():
            return {}
        board = Board(self.board)
        return {place: number for place in PLACES if (number := board.inside(place))}

    def kill_inside(self, place: str, seconds: float) -> bool:
        """kill -9 while a thread is at ``place``. False when none was within ``seconds``.

        The process is stopped first and looked at again when none of its threads can move, so the kill is inside for certain."""
        assert self.running is not None
        deadline = time.monotonic() + seconds
        board: Board | None = None
        while time.monotonic() < deadline:
            if board is None:
                board = Board(self.board) if self.board.exists() else None
            elif board.inside(place) > 0:
                os.killpg(self.running.pid, signal.SIGSTOP)
                if _stands_still(board.pid) and board.inside(place) > 0:
                    self.kill()
                    return True
                os.killpg(self.running.pid, signal.SIGCONT)
            time.sleep(0.0002)
        return False

    def kill(self) -> None:
        assert self.running is not None
        os.killpg(self.running.pid, signal.SIGKILL)
        self.running.wait(20)
        self.board.unlink(missing_ok=True)


def _stands_still(pid: int) -> bool:
    """Wait until every thread is stopped, or sleeps in the kernel from where it cannot come back (fsync)."""
    for _ in range(500):
        try:
            states = [task.read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").glob("*/stat")]
        except OSError:
            return False
        if states and all(state in "TtD" for state in states):
            return True
        time.sleep(0.0002)
    return False


class Run:
    """One store, one hub (and a worker where the store is PostgreSQL), two journal partners, a webhook receiver."""

    def __init__(self, home: Path, url: str, *, worker: bool, ack_early: bool = False, seed: int = 1, patience: float = 180.0) -> None:
        self.home = home
        self.random = random.Random(seed)
        self.base = f"http://127.0.0.1:{free_port()}"
        self.key = "kills-" + "k" * 32
        mllp_port = free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FHIRCASE_")}
        environment |= {
            "FHIRCASE_DATABASE_URL": url, "FHIRCASE_BIND": self.base.removeprefix("http://"), "FHIRCASE_BASE_URL": self.base,
            "FHIRCASE_MLLP_BIND": f"127.0.0.1:{mllp_port}", "FHIRCASE_MLLP_PARTNER": MERCY,
            "FHIRCASE_ADMIN_KEY": self.key, "FHIRCASE_LEASE_MS": "2000", "FHIRCASE_HTTP_TIMEOUT_S": "0.9",
            "FHIRCASE_SECRET_KEY": "a secret of the kill run, thirty-two and more", "FHIRCASE_EGRESS_ALLOW": "127.0.0.0/8",
            "FHIRCASE_RETRY_FIRST_MS": "100", "FHIRCASE_RETRY_MAX_MS": "400",
        }  # fmt: skip
        if ack_early:
            environment["ACK_EARLY"] = "1"
        self.processes = [Process("serve", home, environment)]
        if worker:
            self.processes.append(Process("work", home, environment))
        self.partners = {name: JournalServer(name, self._delay) for name in (MERCY, RIVERSIDE)}
        self.receiver = Receiver()
        self.load = Load(self.base, self.key, mllp_port, self.partners[RIVERSIDE], patience=patience)
        self.histogram: Counter[tuple[str, str]] = Counter()
        self.missed: Counter[tuple[str, str]] = Counter()
        self.back: list[float] = []
        self._late = random.Random(seed)
        self._lock = threading.Lock()

    def _delay(self, method: str) -> float:
        with self._lock:
            draw = self._late.random()
        return LATE_S if method != "GET" and draw < 0.01 else draw * 0.012

    def play(self, kills: int, *, quiet: float = 60.0, aims: Sequence[tuple[str, str]] = ()) -> Verdict:
        """Kill ``kills`` times, at each of ``aims`` (process, place) in turn; by default everywhere."""
        return self._around(lambda: self._kill(kills, aims), quiet)

    def outages(self, cluster: Any, times: int, *, quiet: float = 90.0) -> Verdict:
        """In place of the processes, the database dies ``times`` times in the middle of a transaction, and comes back."""
        return self._around(lambda: self._stop_database(cluster, times), quiet, frozenset({Log.AUDIT_LATE.code}))

    def _around(self, disturb: Callable[[], None], quiet: float, due: frozenset[str] = frozenset()) -> Verdict:
        began = time.monotonic()
        try:
            for process in self.processes:
                process.start()
                self._ready(40)
            self._enrol()
            self.load.start()
            disturb()
            self.load.stop(200.0)
            judge = Judge(self.load, self.partners, self.receiver, [process.log for process in self.processes], due)
            faults = judge.judge(quiet)
        finally:
            for name, server in self.partners.items():
                server.dump(self.home / f"{name}.versions")
            for process in self.processes:
                if process.running is not None and process.running.poll() is None:
                    process.kill()
            for server in self.partners.values():
                server.stop()
            self.receiver.stop()
        figures: dict[str, object] = dict(judge.figures)
        if self.back:
            figures["seconds until ready again, longest"] = round(max(self.back), 1)
        if self.missed:
            figures["aims that nothing came to"] = ", ".join(f"{who} {place}" for who, place in sorted(self.missed))
        return Verdict(self.histogram.total(), self.histogram, figures, faults, time.monotonic() - began)

    def _kill(self, kills: int, aims: Sequence[tuple[str, str]]) -> None:
        by_name = {process.what: process for process in self.processes}
        every = [("serve", place) for place in OF_SERVE] + [("work", place) for place in OF_WORK if "work" in by_name]
        self.random.shuffle(every)
        missed = 0
        for what, place in itertools.cycle(aims or every):
            if self.histogram.total() >= kills or missed > 2 * len(every):
                return
            time.sleep(self.random.uniform(0.1, 1.0))  # some come through between two kills
            if not by_name[what].kill_inside(place, AIM_S):
                missed += 1
                self.missed[what, place] += 1
                continue
            missed = 0
            self.histogram[what, place] += 1
            by_name[what].start()
            if what == "serve":
                self.back.append(self._ready(40))

    def _stop_database(self, cluster: Any, times: int) -> None:
        for _ in range(times):
            time.sleep(self.random.uniform(3.0, 5.0))
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                inside = [(p.what, place) for p in self.processes for place in p.inside() if place.startswith("transaction")]
                if inside:
                    break
            cluster.stop("immediate")
            self.histogram.update(inside[:1])
            time.sleep(self.random.uniform(0.2, 1.5))
            cluster.start()
            self.back.append(self._ready(60))

    def _ready(self, seconds: float) -> float:
        """Wait for /readyz; how long it took."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            try:
                if requests.get(f"{self.base}/readyz", timeout=1).status_code == 200:
                    return time.monotonic() - began
            except requests.RequestException:
                pass
            time.sleep(0.03)
        raise AssertionError(f"the hub did not come back: {self.processes[0].log.read_text()[-2000:]}")

    def _enrol(self) -> None:
        admin = self.load.api()
        endpoint = {"url": self.receiver.url, "events": [], "thin": True, "fifo": True}
        made = jsontext.loads(admin.call("POST", "/webhooks/endpoints", endpoint).content)
        self.receiver.secret = made["secret"]
        for name, server in self.partners.items():
            admin.call("POST", "/partners", {
                "name": name, "title": name.title(), "base_url": server.base, "poll_seconds": 1.0, "zone": "UTC",
                "role": "hospital" if name == MERCY else "rehab", "auth": {"kind": "none"}, "networks": ["127.0.0.0/8"],
                "senders": [["EPIC", "MERCY"]] if name == MERCY else [], "authorities": {"MERCY": AUTHORITY},
                "identifiers": [["urn:fhircase:facility", name.upper()]],
            })  # fmt: skip
        made = jsontext.loads(admin.call("POST", "/keys", {"name": "mercy", "partner": MERCY, "scopes": ["system/*.cruds"]}).content)
        self.load.sender_key = made["key"]
