"""Our own stories (``fixtures/stories``): numbered inputs into a real hub on SQLite under a frozen clock, and what they must
become. References are told by names (``Goal 2``: the second that was made), so that ids do not matter."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fhircase.errors import FhircaseError
from fhircase.flows import activate, case_list, cases
from fhircase.flows.take_in import take_in
from fhircase.plans.change import Agent
from fhircase.plans.partner import HUB, Partner
from fhircase.ports import Stored, Viewer
from tests.conftest import ROOT, FrozenClock, SequentialIds

STORIES = ROOT / "fixtures" / "stories"
PARTNERS = (
    Partner(HUB, title="County", organization="o-hub"),
    Partner(
        "mercy", title="Mercy", organization="o-mercy", role="hospital", zone="America/New_York", senders=(("ADT", "MERCY"),),
        authorities={"MERCY": "urn:oid:2.999.1"},
    ),
    Partner(
        "riverside", title="Riverside", organization="o-riverside", role="rehab", identifiers=(("urn:x", "RIVERSIDE"),),
        dispositions=("rehab",),
    ),
    Partner("homeward", title="Homeward", organization="o-homeward", role="home-care", dispositions=("home-with-services",)),
)  # fmt: skip
KIM = Agent(HUB, "Kim Lee")

TOLD: dict[str, tuple[str, ...]] = {
    "Patient": ("active", "name", "birthDate", "deceasedDateTime", "deceasedBoolean", "address", "link"),
    "Encounter": ("status", "statusHistory", "class", "subject", "episodeOfCare", "period", "hospitalization", "location", "diagnosis"),
    "EpisodeOfCare": ("status", "type", "patient", "team", "period", "diagnosis"),
    "CarePlan": (
        "status", "intent", "title", "subject", "encounter", "careTeam", "addresses", "goal", "activity", "supportingInfo", "replaces",
    ),
    "CareTeam": ("status", "subject", "participant"),
    "Goal": ("lifecycleStatus", "achievementStatus", "description", "startDate", "target", "subject"),
    "ServiceRequest": ("status", "intent", "code", "subject", "encounter", "basedOn"),
    "DeviceRequest": ("status", "intent", "codeCodeableConcept", "subject"),
    "Observation": ("status", "code", "valueQuantity", "subject"),
    "Condition": ("category", "code", "clinicalStatus", "verificationStatus", "subject", "encounter"),
    "Task": ("status", "statusReason", "intent", "description", "for", "focus", "encounter", "owner", "requester", "partOf"),
}  # fmt: skip
"""FHIR type → the elements that a story tells; of other types their number."""


class Stage:
    """One hub, and the names of what was made in it."""

    def __init__(self, hub: Any, clock: FrozenClock) -> None:
        self.hub, self.clock = hub, clock
        self.names: dict[str, str] = {}

    def current(self) -> list[Stored]:
        """Everything that is there, oldest first."""
        with self.hub.store.read() as tx:
            page = tx.plans.history(Viewer(HUB, True, self.hub.now()), None, None, since=None, count=1_000, cursor=None)
        assert page.next is None, "the story is too long"
        latest: dict[Any, Stored] = {}
        first: dict[Any, int] = {}
        for stored in page.matches:
            latest.setdefault(stored.ref, stored)
            first[stored.ref] = stored.seq
        return sorted(latest.values(), key=lambda s: (first[s.ref], s.id))

    def named(self, value: Any) -> Any:
        """Ids as names, everywhere in ``value``."""
        if isinstance(value, dict):
            return {key: self.named(one) for key, one in value.items() if key != "id"}
        if isinstance(value, list):
            return [self.named(one) for one in value]
        if isinstance(value, str):
            return re.sub(r"[A-Z][A-Za-z]+/[A-Za-z0-9\-.]+", lambda found: self.names.get(found[0], found[0]), value)
        return value

    def learn(self) -> None:
        for stored in self.current():
            if str(stored.ref) not in self.names:
                number = sum(name.rpartition(" ")[0] == stored.type for name in self.names.values()) + 1
                self.names[str(stored.ref)] = f"{stored.type} {number}"

    # ------------------------------------------------------------------------------------------ inputs

    def send(self, file: Path) -> dict[str, Any]:
        partner = file.stem.partition("-")[2]
        kind: Any = "hl7v2" if file.suffix == ".hl7" else "message"
        taken = take_in(self.hub, partner, kind, file.read_bytes(), "", agent=Agent(partner))
        self.learn()
        message = taken.message
        told: dict[str, Any] = {"input": file.name, "code": message.code, "state": message.state, "event": message.event}
        if taken.duplicate:
            told["duplicate"] = True
        if kind == "hl7v2":
            told["answer"] = [s for s in message.answer.decode().split("\r") if s.startswith(("MSA", "ERR"))]
        told["became"] = sorted({self.named(ref) for ref in message.became})
        told["problems"] = [{"path": p["path"], "what": p["what"]} for p in message.problems]
        return told

    def work(self, file: Path) -> list[dict[str, Any]]:
        """Steps of the case manager in the one case there is."""
        told = []
        for step in json.loads(file.read_text("utf-8")):
            self.clock.tick(minutes=1)
            viewer = Viewer(HUB, True, self.hub.now())
            (case,), _ = case_list.index(self.hub, viewer)
            done = {name: value for name, value in step.items() if name != "document"}
            try:
                if "activate" in step:
                    view = cases.read(self.hub, viewer, case["id"]).doc
                    goals = [g["id"] for g in view["goals"] if g["lifecycle"] == "proposed"]
                    services = [s["id"] for s in view["services"] if s["intent"] == "proposal"]
                    activate.activate(self.hub, KIM, viewer, case["id"], goals=goals, services=services)
                elif "add" in step:
                    cases.add(self.hub, KIM, viewer, case["id"], step["add"], step["document"])
                else:
                    cases.change(self.hub, KIM, viewer, case["id"], step["change"], "", step["document"])
            except FhircaseError as error:
                done["refused"] = [{"path": p.path, "what": p.what, "hint": p.hint} for p in error.problems]
            self.learn()
            told.append({"input": file.name, **done})
        return told

    # ------------------------------------------------------------------------------------------ what it became

    def told(self) -> dict[str, Any]:
        counts: dict[str, int] = {}
        resources: dict[str, Any] = {}
        for stored in self.current():
            counts[stored.type] = counts.get(stored.type, 0) + 1
            name = self.names[str(stored.ref)]
            if stored.deleted:
                resources[name] = {"version": stored.version, "deleted": True}
            elif stored.type in TOLD:
                body = stored.body
                kept = {element: body[element] for element in TOLD[stored.type] if element in body}
                case = {"case": self.names[f"EpisodeOfCare/{stored.case}"]} if stored.case else {}
                resources[name] = {"version": stored.version, "by": stored.creator, **case, **self.named(kept)}
        with self.hub.store.read() as tx:
            reviews, _ = tx.reviews.list(count=100)
            grants = tx.plans.grants(at=self.hub.now() + 1_000)
        asked = [
            {"kind": r.review.kind, "what": r.review.what, "about": self.named(str(r.review.subject or ""))}
            for r in sorted(reviews, key=lambda r: (r.opened, r.id))
        ]
        seen = sorted({f"{g.partner} {g.kind}" + (f" of {self.named(str(g.item))}" if g.item else "") for g in grants})
        return {"counts": dict(sorted(counts.items())), "resources": resources, "reviews": asked, "may see": seen}


def played(folder: Path, hub: Any, clock: FrozenClock) -> dict[str, Any]:
    stage = Stage(hub, clock)
    answers: list[dict[str, Any]] = []
    for file in sorted(folder.glob("[0-9][0-9]-*")):
        clock.tick(minutes=1)
        answers += stage.work(file) if file.stem.endswith("-case") else [stage.send(file)]
    made: dict[str, Any] = json.loads(json.dumps({"answers": answers, **stage.told()}, default=str))
    return made


@pytest.mark.parametrize("name", sorted(folder.name for folder in STORIES.iterdir() if folder.is_dir()))
def test_the_story_becomes_what_is_expected(name: str, make_hub: Callable[..., Any], maps: Any, update: bool) -> None:
    folder = STORIES / name
    clock = FrozenClock()
    hub = make_hub(maps=maps, clock=clock, ids=SequentialIds())
    with hub.store.write() as tx:
        for partner in PARTNERS:
            tx.partners.save(partner)
    became = played(folder, hub, clock)
    expected = folder / "expected.json"
    if update:
        expected.write_text(json.dumps(became, indent=1, ensure_ascii=False) + "\n", "utf-8")
    assert became == json.loads(expected.read_text("utf-8"))


def test_every_story_says_what_it_tells_and_what_it_becomes() -> None:
    folders = [folder for folder in STORIES.iterdir() if folder.is_dir()]
    assert len(folders) >= 12
    for folder in folders:
        assert (folder / "README.md").read_text("utf-8").strip()
        assert (folder / "expected.json").is_file()
        assert list(folder.glob("01-*"))
