"""The story of the demo with other makers' FHIR servers in the partners' places: who plays whom, and the play itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from fhircase.demo import Cast, cast, cast_servers
from fhircase.demo.receiver import Receiver
from fhircase.demo.servers import Unexpected
from fhircase.demo.story import TITLES, Story
from fhircase.fhir import jsontext
from tests.live import servers

START: Mapping[str, Callable[..., servers.Server]] = {
    "sekmet": servers.start_sekmet,
    "sekmet-absolute": partial(servers.start_sekmet, absolute=True),
    "medplum": servers.start_medplum,
    "medplum-strict": partial(servers.start_medplum, validate=True),
    "hapi": servers.start_hapi,
}
MORTAL = ("sekmet", "sekmet-absolute")
"""Servers that are killed in the story: their data outlive the process, and they are back within seconds."""

OWN = "own"

PATIENT = {"FHIRCASE_HTTP_TIMEOUT_S": "4.9", "FHIRCASE_LEASE_MS": "10000"}
"""A server that has just started on a busy machine takes seconds for its first answers."""


@dataclass(slots=True)
class Played:
    """What the play found out: per partner its dialect, the probe's notes, what differs at the end; ``lines`` as told."""

    dialects: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)
    drift: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    reviews: list[Mapping[str, Any]] = field(default_factory=list)
    seconds: float = 0.0


class Foreign:
    """One server of another maker in a partner's place, on a port and a folder that stay."""

    def __init__(self, maker: str, folder: Path) -> None:
        self.maker, self.folder, self.port = maker, folder, servers.free_port()
        self.server = START[maker](folder, port=self.port, wait=False)

    def start(self) -> None:
        """Again, after a kill."""
        self.server = START[self.maker](self.folder, port=self.port)

    def kill(self) -> None:
        self.server.kill()

    def stop(self) -> None:
        self.server.stop()


class LiveStory(Story):
    """With one more step: a partner's server dies while there is something to tell it, and comes back with its data."""

    def __init__(self, who: Cast, mortal: Mapping[str, Foreign]) -> None:
        super().__init__(who)
        self.mortal = mortal

    def hub_is_killed(self) -> None:
        super().hub_is_killed()
        for name, server in self.mortal.items():
            self.partner_is_killed(name, server)

    def partner_is_killed(self, name: str, server: Foreign) -> None:
        self.step(f"{TITLES[name]}'s server ({server.maker}) is killed (kill -9), the plan changes, and it comes back with its data")
        before = self.counts(self.cast.servers[name])
        server.kill()
        title = f"Home after stroke, while {TITLES[name]} was away"
        self.cast.manager.call("PATCH", f"/cases/{self.case}/plan", {"title": title})
        for other in self.cast.servers.keys() - {name}:
            self.shows(other, "CarePlan", self.plan, "its new title", lambda held: held.get("title") == title)
        server.start()
        self.shows(name, "CarePlan", self.plan, "its new title", lambda held: held.get("title") == title)
        after = self.counts(self.cast.servers[name])
        self.told(name, ", ".join(f"{number} {type_}" for type_, number in after.items()))
        if before != after:
            raise Unexpected(f"{name} held {before} before the kill and {after} after it")


def play(folder: Path, casting: Mapping[str, str], say: Callable[[str], None] = print, *, patience: float = 60.0) -> Played:
    """Play the story with ``casting`` (partner → maker, or ``own``) from empty servers, each probed first. Everything that
    was started is stopped at the end; all output is in log files below ``folder``. Raises what the story raises."""
    began = time.monotonic()
    found = Played()
    with ExitStack() as stack:
        foreign: dict[str, Foreign] = {}
        for name, maker in casting.items():
            if maker != OWN:
                foreign[name] = Foreign(maker, folder / f"{name}-{maker}")
                stack.callback(foreign[name].stop)
        for started in foreign.values():
            started.server.up()
        told_cast = ", ".join(f"{name} is {maker}" for name, maker in casting.items())
        say(f"{told_cast}: up after {time.monotonic() - began:.0f} s; logs in {folder}")
        bases = {name: started.server.base_url for name, started in foreign.items()}
        hub, partners = cast_servers(folder, bases, settings=PATIENT)
        receiver = Receiver()
        stack.callback(receiver.stop)
        for server in (*partners.values(), hub):
            stack.callback(server.stop)
            server.start()
        who = cast(hub, partners, bases, receiver, patience)
        who.say = say
        mortal = {name: started for name, started in foreign.items() if started.maker in MORTAL}
        who.stop = {**who.stop, **{name: started.kill for name, started in mortal.items()}}
        who.start = {**who.start, **{name: started.start for name, started in mortal.items()}}
        for name in TITLES:
            told = jsontext.loads(who.hub.call("POST", f"/partners/{name}/probe", {}).content)
            found.notes[name], found.left[name] = told["notes"], told["left"]
            found.dialects[name] = who.hub.get(f"/partners/{name}")["dialect"]
            say(f"      {name} ({casting[name]}) is found to be {jsontext.dumps(found.dialects[name])}")
        who.dropped = {name: dialect.get("drops", {}) for name, dialect in found.dialects.items()}
        LiveStory(who, mortal).run()
        for name in TITLES:
            found.drift[name] = who.hub.get(f"/partners/{name}/drift")
        found.reviews = who.hub.get("/reviews?count=200")["items"]
    found.seconds = time.monotonic() - began
    return found
