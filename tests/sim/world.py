"""Seeded simulation of the real engine: the real flows, commit and SQLite store between clinicians who edit at four places
and three FHIR servers that lose requests and answers, commit late, tell the time wrongly and drop an element; processes
that crash at every commit and every request. One seed is one history; it replays exactly.

``off`` switches single guards off, so that a test can prove that each is missed (mutation testing)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from fhircase.flows.hub import Policy
from fhircase.plans.change import Ref, Resource
from fhircase.ports import PartnerDown, Reply
from tests.conftest import FrozenClock
from tests.sim.scene import Scene, server
from tests.sim.server import FhirServer

GOALS = (Ref("Goal", "g1"), Ref("Goal", "g2"))
FIELDS = ("description", "priority", "category", "note", "statusReason")
LEASE_S = 10


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing may catch it on the way."""


class CrashingStore:
    """The real store, with a crash point before a transaction, before its commit and after it."""

    def __init__(self, store: Any, world: World) -> None:
        self._store, self._world = store, world

    @contextmanager
    def write(self) -> Iterator[Any]:
        self._world.crash_point()
        with self._store.write() as tx:
            yield tx
            self._world.crash_point()
        self._world.crash_point()

    def read(self) -> Any:
        return self._store.read()


class Careless:
    """A gateway that leaves headers off: the mutation of the guards that live in them."""

    def __init__(self, server: FhirServer, without: Sequence[str]) -> None:
        self._server, self._without = server, without

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
        params: Sequence[tuple[str, str]] = (),
    ) -> Reply:
        kept = {name: value for name, value in (headers or {}).items() if name not in self._without}
        return self._server.request(method, path, body=body, headers=kept, params=params)


class World:
    """Run once by making it; then ``violations``."""

    def __init__(self, store: Any, seed: int, off: frozenset[str] = frozenset(), steps: int = 60) -> None:
        self.r = random.Random(seed)
        self.off, self.healed, self.quiet = off, True, False
        self.probed = seed % 2 == 0  # else nobody knows that an element is lost there
        self.clock = FrozenClock()
        self.crashes = self.lost_requests = self.lost_answers = self.edits = 0
        self.parents: dict[str, tuple[str, ...]] = {}
        self.settled_losers: set[str] = set()
        self.chosen: set[str] = set()  # a person's choice: theirs is its authorship
        self.down: set[str] = set()
        odd: dict[str, dict[str, Any]] = {
            "hosp": {},
            "rehab": {"skew": -300, "stale": 409, "flips": True},
            "home": {"skew": 200, "drops": {"Goal": ("note",)}, "answers_body": False},
        }
        self.servers = {
            name: server(name, self.clock, late=self._late, before=self._before(name), after=self._after, **how)
            for name, how in odd.items()
        }
        policy = Policy(lease_ms=LEASE_S * 1000, poll_overlap_s=0 if "overlap" in off else 60, retry_first_ms=500, retry_max_ms=4000)
        self.scene = Scene(
            CrashingStore(store, self), self.servers, self.clock, send=("Patient", "Goal"), width=2, policy=policy, take=("Goal",),
            dialects={name: {"ids": "any", "drops": dict(how.get("drops", {})) if self.probed else {}} for name, how in odd.items()},
        )  # fmt: skip
        without = [h for h, name in (("If-Match", "ifmatch"), ("If-None-Exist", "condcreate")) if name in off]
        if without:
            self.scene.gateway = lambda partner: Careless(self.servers[partner.name], without)
        self.scene.hub = self._hub()
        for ref in GOALS:
            self.scene.write(self._goal(ref))
        self.healed = False
        for _ in range(steps):
            self._step()
        self._heal()

    def _hub(self) -> Any:
        from dataclasses import replace

        return replace(self.scene.hub, random=self.r.random, gateways=lambda partner: self.scene.gateway(partner))

    def _goal(self, ref: Ref) -> Resource:
        return {
            "resourceType": "Goal", "id": ref.id, "lifecycleStatus": "active", "description": {"text": self._token("hub", ())},
            "subject": {"reference": f"Patient/{self.scene.client}"},
        }  # fmt: skip

    # ---------------------------------------------------------------- faults

    def _late(self) -> float:
        return 0.0 if self.healed else self.r.choice([0, 0, 0, 45])

    def crash_point(self) -> None:
        if not self.healed and self.r.random() < 0.015:
            self.crashes += 1
            raise Crash

    def _before(self, name: str) -> Any:
        def before(method: str) -> None:
            self.crash_point()
            if name in self.down:
                raise PartnerDown("no connection")
            if not self.healed and self.r.random() < 0.05:
                self.lost_requests += 1
                raise PartnerDown("no connection")

        return before

    def _after(self, method: str) -> None:
        if not self.healed and self.r.random() < 0.08:
            self.lost_answers += 1
            raise PartnerDown("no answer in time")
        self.crash_point()

    # ---------------------------------------------------------------- people

    def _token(self, actor: str, seen: tuple[str, ...]) -> str:
        token = f"{actor}#{len(self.parents) + 1}"
        self.parents[token] = seen
        self.edits += 1
        return token

    def _edit(self) -> None:
        ref, field = self.r.choice(GOALS), self.r.choice(FIELDS)
        where = self.r.choice(["hub", "hub", *self.servers])
        if where == "hub":
            self._quietly(lambda: self._edit_here(ref, field))
            return
        made = self.servers[where]
        if field in made.drops.get("Goal", ()):
            return
        copies = made.carrying(str(ref))
        if copies:
            id_ = copies[0]["id"]
            token = self._token(where, tuple(tokens(copies[0], field)))
            made.edit("Goal", id_, lambda goal: goal.__setitem__(field, value(field, token)))

    def _edit_here(self, ref: Ref, field: str) -> None:
        was, self.healed = self.healed, True  # a person's own write is not the engine's: it is made or refused as a whole
        try:
            body = self.scene.ours(ref)
            self.scene.edit(ref, **{field: value(field, self._token("hub", tuple(tokens(body, field))))})
        finally:
            self.healed = was

    def _settle_one(self) -> None:
        """A person settles a conflict: ours or theirs, with both values before them."""
        was, self.healed = self.healed, True
        try:
            with self.scene.hub.store.read() as tx:
                items = tx.reviews.list(count=200)[0]
            if not items:
                return
            item = self.r.choice(list(items))
            review = item.review
            assert review.subject is not None and review.holds is not None and review.partner is not None, review
            field = review.holds
            ours, theirs = self.scene.ours(review.subject), json.loads(review.detail["theirs"])
            take = self.r.random() < 0.5 and theirs
            loser = ours if take else theirs
            self.settled_losers.update(tokens(loser, field))
            body = self.scene.ours(review.subject)
            if take:
                body[field] = theirs[field]
                self.chosen.update(tokens(theirs, field))
            with self.scene.hub.store.write() as tx:
                tx.reviews.settle(item.id, at=self.scene.hub.now(), by="a person", resolution={"take": "theirs" if take else "ours"})
            if take:
                self.scene.write(body)
            with self.scene.hub.store.write() as tx:
                for name in self.servers:
                    partner = tx.partners.get(name)
                    assert partner is not None
                    tx.outbox.mark(partner, [(review.subject, self.scene.client)])
        finally:
            self.healed = was

    # ---------------------------------------------------------------- the course of things

    def _quietly(self, action: Any) -> None:
        try:
            action()
        except Crash:
            self.clock.tick(seconds=LEASE_S + 1)  # until the dead process's leases have ended

    def _step(self) -> None:
        self.clock.tick(seconds=self.r.random() * 4)
        x, name = self.r.random(), self.r.choice(list(self.servers))
        if x < 0.35:
            self._edit()
        elif x < 0.6:
            self._quietly(lambda: self.scene.collect(name))
        elif x < 0.92:
            self._quietly(self.scene.deliver_one)
        elif x < 0.95:
            self._settle_one()
        elif name in self.down:
            self.down.discard(name)
        else:
            self.down.add(name)

    def _heal(self) -> None:
        self.healed = True
        self.down.clear()
        quiet = 0
        for _ in range(40):
            self.clock.tick(seconds=120)
            before = self._state()
            for name in self.servers:
                self.scene.collect(name)
            self.scene.deliver(rounds=200)
            while self.scene.reviews():
                self._settle_one()
                self.scene.deliver(rounds=200)
            quiet = quiet + 1 if before == self._state() else 0
            if quiet >= 3:
                self.quiet = True
                return

    def _state(self) -> Any:
        return [s.writes for s in self.servers.values()], [self.scene.ours(ref).get("meta", {}).get("versionId") for ref in GOALS]

    # ---------------------------------------------------------------- what must hold

    def violations(self) -> list[str]:
        bad: list[str] = []
        if not self.quiet:
            bad.append("I3 it does not come to rest")
        kept: set[str] = set()
        roots: list[str] = list(self.settled_losers)
        for ref in GOALS:
            ours = self.scene.ours(ref)
            for field in FIELDS:
                roots += tokens(ours, field)
            for name, made in self.servers.items():
                copies = made.carrying(str(ref))
                if len(copies) > 1:
                    bad.append(f"I5 {len(copies)} copies of {ref} at {name}")
                if not copies:
                    bad.append(f"I1 {ref} is missing at {name}")
                    continue
                for field in FIELDS:
                    if field not in made.drops.get("Goal", ()) and copies[0].get(field) != ours.get(field):
                        bad.append(f"I1 {field} of {ref} differs at {name}")
            bad += self._authors(ref)
        stack = roots
        while stack:
            token = stack.pop()
            if token not in kept:
                kept.add(token)
                stack += self.parents.get(token, ())
        lost = set(self.parents) - kept
        if lost:
            bad.append(f"I2 lost: {', '.join(sorted(lost))}")
        for name, made in self.servers.items():
            if made.idle and (self.probed or not made.drops):
                bad.append(f"I3 {made.idle} writes without a difference at {name}")
            created = [entry for entry in made.journal if entry[3] == 1]
            patients = [i for i, entry in enumerate(created) if entry[1] == "Patient"]
            if len(patients) != 1:
                bad.append(f"I5 {len(patients)} Patients were created at {name}")
            elif created and created[0][1] != "Patient":
                bad.append(f"I7 a child came before its parent at {name}")
        if self.scene.waiting():
            bad.append("marks are left")
        return bad

    def _authors(self, ref: Ref) -> list[str]:
        """I6: the version that brought a value in names its author."""
        with self.scene.hub.store.read() as tx:
            current = tx.plans.get(ref)
            assert current is not None
            versions = [tx.plans.get_version(ref, n) for n in range(1, current.version + 1)]
            told = {}
            for stored in tx.plans.referring(ref, "Provenance", "target"):
                body = stored.body
                who = body["agent"][0]["who"]
                for target in body["target"]:
                    told[target["reference"]] = who
        bad: list[str] = []
        before: set[str] = set()
        for version in versions:
            assert version is not None
            now = {token for field in FIELDS for token in tokens(version.body, field)}
            for token in now - before - self.settled_losers - self.chosen:
                who = told.get(f"{ref}/_history/{version.version}")
                if who is None or token.split("#")[0] not in json.dumps(who):
                    bad.append(f"I6 {token} in {ref} version {version.version} is told to be by {who}")
            before |= now
        return bad


def value(field: str, token: str) -> Any:
    if field == "statusReason":
        return token
    if field == "category":
        return [{"text": token}]
    return [{"text": token}] if field == "note" else {"text": token}


def tokens(resource: Mapping[str, Any], field: str) -> list[str]:
    found = resource.get(field)
    if found is None:
        return []
    if isinstance(found, str):
        return [found]
    return [item["text"] for item in (found if isinstance(found, list) else [found])]
